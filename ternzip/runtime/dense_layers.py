"""Layers with dense weights that torch runs, with what follows folded into the weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ternzip.runtime.layers import RuntimeLayer, buffer_of, finished
from ternzip.runtime.plan import LayerPlan


class DenseLayer(RuntimeLayer):
    """The dense layer, float32, with what follows it folded into its weights."""

    description = "dense"
    memory_format = torch.contiguous_format
    weights: Tensor
    biases: Tensor

    def __init__(self, plan: LayerPlan) -> None:
        super().__init__(plan)
        shape = (-1, *[1] * (len(plan.weight.shape) - 1))
        weight = plan.weight.dense() * plan.scale.float().view(shape)
        self.register_buffer("weights", weight.contiguous(memory_format=self.memory_format))
        self.register_buffer("biases", buffer_of(plan.bias))
        self._adds_as_it_is = self._are_ones(self.residual_scales)

    @staticmethod
    def _are_ones(scales: Tensor) -> bool:
        return bool((scales == 1).all())

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *rest)
        self._adds_as_it_is = self._are_ones(self.residual_scales)

    def _run(self, x: Tensor, residual: Tensor | None, lowest: float, highest: float) -> Tensor:
        wide = x.float()
        window = self.window
        scales = None if self._adds_as_it_is else self.residual_scales
        if not window.dimensions:
            y = F.linear(wide, self.weights, self.biases)
            return finished(y, residual, scales, lowest, highest).to(x.dtype)
        top, bottom, left, right = window.padding
        first = 2 - window.dimensions
        padding = (top, left)[first:]
        # Where inputs or weights are channels_last, torch reads out of bounds for outputs of padding alone.
        pads = window.padding_mode != "zeros" or window.may_read_padding_only
        if pads or (top, left) != (bottom, right):
            mode = "constant" if window.padding_mode == "zeros" else window.padding_mode
            batched = x.dim() == window.dimensions + 2
            amounts = (left, right, top, bottom)[: 2 * window.dimensions]
            wide = F.pad(wide if batched else wide.unsqueeze(0), amounts, mode=mode)
            wide = wide if batched else wide.squeeze(0)
            padding = (0, 0)[first:]
        convolve = F.conv1d if window.dimensions == 1 else F.conv2d
        y = convolve(
            wide,
            self.weights,
            self.biases,
            window.stride[first:],
            padding,
            window.dilation[first:],
            window.groups,
        )
        scales = None if scales is None else self._over_pixels(scales)
        y = finished(y, residual, scales, lowest, highest).to(x.dtype)
        # torch answers in the layout of the input or of the weights, whoever reads it.
        return y if self.keeps_layout else y.contiguous()


class ChannelsLastLayer(DenseLayer):
    """The dense layer of two dimensions, with its weights in torch's layout channels_last; it takes inputs in any."""

    description = "channels_last"
    memory_format = torch.channels_last
