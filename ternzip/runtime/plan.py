"""What a layer computes, before it is decided how: its weight and all that was folded into it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from ternzip.quantization.activations import TernaryActivation, input_quantizer
from ternzip.runtime.trits import FloatWeight, TernaryWeight

LAYER_TYPES = (nn.Conv1d, nn.Conv2d, nn.Linear)


@dataclass(frozen=True)
class Window:
    """How a convolution moves over its input, as (height, width); one in one dimension has the height 1.

    Attributes:
        dimensions: 1 or 2 of the input's, or 0 for a linear layer.
        kernel, stride, dilation: as torch's.
        padding: (top, bottom, left, right).
        padding_mode: "zeros", or a mode of torch.nn.functional.pad.
        groups: as torch's.
    """

    dimensions: int
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    padding_mode: str = "zeros"
    groups: int = 1

    @property
    def may_read_padding_only(self) -> bool:
        """Whether an output can lie so far outside that its kernel meets nothing but padding."""
        spans = (d * (k - 1) for d, k in zip(self.dilation, self.kernel, strict=True))
        (rows, columns), (top, bottom, left, right) = spans, self.padding
        return max(top, bottom) > rows or max(left, right) > columns

    def output(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the output; below 1 where the input is smaller than the kernel."""
        top, bottom, left, right = self.padding
        sizes = (height + top + bottom, width + left + right)
        spans = (d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel, strict=True))
        rows, columns = (
            (size - span) // stride + 1 for size, span, stride in zip(sizes, spans, self.stride, strict=True)
        )
        return rows, columns


def window_of(module: nn.Module) -> Window:
    """The window of a layer of LAYER_TYPES."""
    if isinstance(module, nn.Linear):
        return Window(0)
    assert isinstance(module, nn.Conv1d | nn.Conv2d)
    kernel, stride, dilation = (
        _pair(value) for value in (module.kernel_size, module.stride, module.dilation)
    )
    if module.padding == "same":
        totals = (d * (k - 1) for d, k in zip(dilation, kernel, strict=True))
        top, left = (total // 2 for total in totals)
        bottom, right = (d * (k - 1) - p for d, k, p in zip(dilation, kernel, (top, left), strict=True))
        padding = (top, bottom, left, right)
    elif module.padding == "valid":
        padding = (0, 0, 0, 0)
    else:
        assert not isinstance(module.padding, str)
        rows, columns = _pair(module.padding, 0)
        padding = (rows, rows, columns, columns)
    dimensions = 1 if isinstance(module, nn.Conv1d) else 2
    return Window(dimensions, kernel, stride, dilation, padding, module.padding_mode, module.groups)


def _pair(value: tuple[int, ...], missing: int = 1) -> tuple[int, int]:
    return (missing, value[0]) if len(value) == 1 else (value[0], value[1])


@dataclass(frozen=True)
class LayerPlan:
    """min(max(scale * layer + bias + residual_scale * residual, lowest), highest) for each output channel.

    Attributes:
        name: of the layer in its model.
        weight: ternary, or of any float32 numbers.
        window: how it is applied.
        scale, bias, residual_scale: float64, one an output channel. What is folded in is computed in float64 and
            rounded once.
        has_residual: whether another tensor of the output's shape is added.
        has_norm: whether a batch norm was folded in, which fixes what the dimensions of the input mean.
        lowest, highest: the activation, infinite where there is none.
        input_scale: the scale of the ternary activations that the layer reads, None where it reads floats.
        has_bias: whether the layer itself has one.
    """

    name: str
    weight: TernaryWeight | FloatWeight
    window: Window
    scale: Tensor
    bias: Tensor
    residual_scale: Tensor
    has_residual: bool = False
    has_norm: bool = False
    lowest: float = -math.inf
    highest: float = math.inf
    density: float = field(default=0.0)
    input_scale: float | None = None
    has_bias: bool = True

    @property
    def rows(self) -> int:
        """Output channels."""
        return int(self.weight.shape[0])

    @property
    def is_ternary(self) -> bool:
        """Whether lists and tables can hold the weight."""
        return isinstance(self.weight, TernaryWeight)

    @property
    def has_activation(self) -> bool:
        """Whether anything is clamped."""
        return (self.lowest, self.highest) != (-math.inf, math.inf)

    def with_norm(self, norm: nn.Module) -> LayerPlan:
        """Followed by a batch norm in evaluation mode."""
        assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None
        assert variance is not None
        factor = torch.rsqrt(variance.detach().double() + norm.eps)
        if norm.weight is not None:
            factor = factor * norm.weight.detach().double()
        shift = -mean.detach().double() * factor
        if norm.bias is not None:
            shift = shift + norm.bias.detach().double()
        return replace(
            self,
            scale=self.scale * factor,
            bias=self.bias * factor + shift,
            residual_scale=self.residual_scale * factor,
            has_norm=True,
        )

    def with_input(self, quantizer: nn.Module) -> LayerPlan:
        """Behind a ternary activation."""
        assert isinstance(quantizer, TernaryActivation)
        return replace(self, input_scale=float(quantizer.scale.detach().float()))

    def with_residual(self) -> LayerPlan:
        """Followed by the addition of another tensor."""
        return replace(self, has_residual=True, residual_scale=torch.ones_like(self.scale))

    def with_bounds(self, lowest: float, highest: float) -> LayerPlan:
        """Followed by an activation that clamps."""
        return replace(self, lowest=lowest, highest=highest)


def plan_of(name: str, module: nn.Module, weight: TernaryWeight | FloatWeight) -> LayerPlan:
    """The plan of a layer alone."""
    assert isinstance(module, LAYER_TYPES)
    rows = int(weight.shape[0])
    ones = torch.ones(rows, dtype=torch.float64)
    bias = torch.zeros_like(ones) if module.bias is None else module.bias.detach().double()
    quantizer = input_quantizer(module)
    plan = LayerPlan(
        name,
        weight,
        window_of(module),
        ones,
        bias,
        ones,
        density=weight.density,
        has_bias=module.bias is not None,
    )
    return plan if quantizer is None else plan.with_input(quantizer)


class LayerSizes:
    """The sizes of a layer by torch's names, for networks that ask for them.

    Attributes:
        rows: output channels.
        columns: input channels of a group.
        window: how it is applied.
    """

    rows: int
    columns: int
    window: Window

    @property
    def in_features(self) -> int:
        """Inputs, as of nn.Linear."""
        return self.columns

    @property
    def out_features(self) -> int:
        """Outputs, as of nn.Linear."""
        return self.rows

    @property
    def in_channels(self) -> int:
        """Channels of the input, as of a convolution."""
        return self.columns * self.window.groups

    @property
    def out_channels(self) -> int:
        """Channels of the output, as of a convolution."""
        return self.rows
