"""The layers of an optimized model that kernels of ours run: lists of weights, tables of sums, or dense weights.

All compute y = min(max(a (w * x) + b + c r, lowest), highest): w the ternary weight, a, b and c one number an output
channel (bias and batch norm), r the residual. These layers add in float32 and round to the input's dtype
once, at the end. With S = |a| sum |w| |x| over the n weights of an output that are not zero, and u = 2^-24,

    |y - exact| <= (n + 6) u S + 3 u (|b| + |c r|)      (1 + O(n u)), and u 2^16 |y| more in bfloat16,

as long as a |w| is no subnormal number: then 2^-149 sum |x| more.

A weight that is zero does not see its input: an infinite or NaN activation reaches only the outputs it has a weight
for, while a dense layer makes NaNs of 0 x inf.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ternzip._core.errors import TernzipError
from ternzip.quantization.activations import ternary_steps
from ternzip.runtime import _kernels, operators
from ternzip.runtime.plan import LayerPlan, LayerSizes
from ternzip.runtime.trits import TernaryWeight

BLOCK_CODES = 180
"""About how many weights a channel block has for each output: what they read nearly fits the first cache."""
MANY_VECTORS = 256
"""More vectors than this are cheaper by one dense product, although its weights must be made first."""


class RuntimeLayer(LayerSizes, nn.Module):
    """A layer in evaluation mode on the CPU, with the affine map, residual and activation that follow it.

    Holds buffers only: `state_dict`, `copy.deepcopy` and pickling work. Has no gradient.

    Attributes:
        plan_name: the layer's name in the model it comes from.
        description: "sparse", "lookup", "bitwise", "direct", "dense" or "channels_last".
        input_scale: the scale of the ternary activations that it makes of its input, None where it reads floats.
        is_ternary: whether its weights were; False for one that was folded because of what follows it.
        keeps_layout: whether outputs may lie in memory as the layer likes it best: only layers like this one read
            them. Others may ask for a view, which not every layout has.
    """

    description = ""
    residual_scales: Tensor
    input_scale: Tensor | None

    def __init__(self, plan: LayerPlan) -> None:
        super().__init__()
        self.plan_name = plan.name
        self.window = plan.window
        self.rows = plan.rows
        self.columns = int(plan.weight.shape[1])
        self.kernel_size = tuple(plan.weight.shape[2:])
        self.has_norm = plan.has_norm
        self.density = plan.density
        self.is_ternary = plan.is_ternary
        self.lowest, self.highest = plan.lowest, plan.highest
        scale = None if plan.input_scale is None else torch.tensor(plan.input_scale)
        self.register_buffer("input_scale", scale)
        self.register_buffer("residual_scales", plan.residual_scale.float())
        self.keeps_layout = False
        self.training = False

    def forward(self, input: Tensor, residual: Tensor | float | None = None) -> Tensor:  # noqa: A002 - as torch calls it
        """The layer's output for an input as the layer it stands for takes it, in the input's dtype.

        `residual` is what the network adds, by torch's rules on shapes and dtypes. Raises TernzipError for an input
        that requires a gradient, or of another dtype, device or size than the layer takes.
        """
        x = input
        if residual is not None and not isinstance(residual, Tensor):
            residual = torch.as_tensor(residual)
        self._check(x, residual)
        scale = self._buffers["input_scale"]
        if scale is not None:
            x = self._quantized(x, scale)
        if residual is None:
            return self._run(x, None, self.lowest, self.highest)
        shape, unfold = self._canonical(x)
        fits = residual.dtype == x.dtype and residual.dim() == x.dim()
        if fits and tuple(residual.shape) == tuple(unfold(shape)):
            return self._run(x, residual, self.lowest, self.highest)
        # Another shape or dtype: torch's own rules, without the fused addition.
        scales = (
            self.residual_scales if not self.window.dimensions else self._over_pixels(self.residual_scales)
        )
        y = self._run(x, None, -math.inf, math.inf)
        dtype = torch.result_type(y, residual)
        wide = torch.promote_types(dtype, torch.float32)
        total = (y.to(wide) + residual.to(wide) * scales.to(wide)).to(dtype)
        return total.clamp(self.lowest, self.highest) if self._clamps else total

    # --- what the kinds of layers differ in ---

    def _run(self, x: Tensor, residual: Tensor | None, lowest: float, highest: float) -> Tensor:
        raise NotImplementedError

    def _quantized(self, x: Tensor, scale: Tensor) -> Tensor:
        """The ternary activations of x, as `ternzip.quantization.TernaryActivation` makes them."""
        return (ternary_steps(x.float(), scale / 2) * scale).to(x.dtype)

    # --- shared ---

    @property
    def _clamps(self) -> bool:
        return (self.lowest, self.highest) != (-math.inf, math.inf)

    def _over_pixels(self, values: Tensor) -> Tensor:
        return values.view(-1, *[1] * self.window.dimensions)

    def _check(self, x: Tensor, residual: Tensor | None) -> None:
        if torch.is_grad_enabled() and (x.requires_grad or (residual is not None and residual.requires_grad)):
            raise TernzipError(
                f"layer {self.plan_name}: an optimized model has no gradient: call it under torch.inference_mode(), "
                "or train the model it was made from"
            )
        dimensions = self.window.dimensions
        channels = self.columns * self.window.groups
        found = x.shape[-1] if not dimensions else x.shape[-1 - dimensions] if x.dim() > dimensions else -1
        most = dimensions + 2 if dimensions else x.dim()
        if found != channels or x.dim() > most:
            raise TernzipError(
                f"layer {self.plan_name}: expected {channels} {'channels' if dimensions else 'features'}, "
                f"found an input of shape {tuple(x.shape)}"
            )
        if x.dtype not in _kernels.DTYPE_CODES or x.device.type != "cpu":
            raise TernzipError(
                f"layer {self.plan_name}: expected float32 or bfloat16 on the cpu, found {x.dtype} on {x.device}"
            )
        if self.has_norm and x.dim() != (dimensions + 2 if dimensions else 2):
            raise TernzipError(
                f"layer {self.plan_name}: its batch norm is folded in: expected a batch of "
                f"{'samples' if dimensions else 'vectors'}, found an input of shape {tuple(x.shape)}"
            )

    def _canonical(self, x: Tensor) -> tuple[tuple[int, ...], Callable[[tuple[int, ...]], tuple[int, ...]]]:
        """The output's shape as (batch, rows, height, width) or (vectors, rows), and how to get the layer's own."""
        dimensions = self.window.dimensions
        if not dimensions:
            return (0, self.rows), lambda shape: (*x.shape[:-1], shape[1])
        batched = x.dim() == dimensions + 2
        height = x.shape[-2] if dimensions == 2 else 1
        size = self.window.output(height, x.shape[-1])
        spatial = size if dimensions == 2 else size[1:]
        lead = (x.shape[0],) if batched else ()
        return (x.shape[0] if batched else 1, self.rows, *size), lambda shape: (*lead, shape[1], *spatial)

    def __getattr__(self, name: str) -> Any:
        """As torch's, but says what to do where a network reads what only the original layer has."""
        if name in ("weight", "bias"):
            raise UnreadableError(
                f"layer {self.plan_name}: the network reads its {name}, which an optimized layer has not: give "
                "optimize example_inputs, so that such layers are seen and stay as they are"
            )
        return super().__getattr__(name)

    def train(self, mode: bool = True) -> RuntimeLayer:
        """Refuses to leave evaluation mode: TernzipError, with the whole network as it was."""
        if mode:
            _put_back()
            raise TernzipError(
                f"layer {self.plan_name}: an optimized model cannot be trained: train the model it was made from"
            )
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> RuntimeLayer:
        """Moves of the model to another dtype leave the layer's numbers alone; another device is refused."""
        for name, buffer in self._buffers.items():
            if buffer is None:
                continue
            moved = fn(buffer)
            if moved.device.type != "cpu":
                raise TernzipError(
                    f"layer {self.plan_name}: an optimized model runs on the cpu: found {moved.device}"
                )
            if moved.dtype == buffer.dtype:
                self._buffers[name] = moved
        return self

    def extra_repr(self) -> str:
        """What `print(model)` says of the layer."""
        shape = f"{self.columns * self.window.groups}, {self.rows}"
        kernel = f", kernel={'x'.join(map(str, self.kernel_size))}" if self.kernel_size else ""
        bounds = f", clamp=[{self.lowest:g}, {self.highest:g}]" if self._clamps else ""
        return f"{shape}{kernel}, density={self.density:.3f}{bounds}"


class UnreadableError(TernzipError, AttributeError):
    """An optimized layer has no weight or bias that could be read."""


def _put_back() -> None:
    """Puts the modules whose train() is calling into evaluation mode.

    They come to their layers one by one, and those before this one train already: their batch norms would go on to
    change the statistics that they share with the original.
    """
    frame = sys._getframe(2)
    while frame is not None and frame.f_code.co_name == "train":
        module = frame.f_locals.get("self")
        if isinstance(module, nn.Module):
            module.eval()
        frame = frame.f_back  # type: ignore[assignment]


class NativeLayer(RuntimeLayer):
    """A layer whose buffers kernels of ours read by their addresses."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """As torch's, but tensors that are assigned take the dtype and layout that kernels read."""
        dtypes = {name: own.dtype for name, own in self._buffers.items() if own is not None}
        super()._load_from_state_dict(state_dict, prefix, *rest)
        for name, dtype in dtypes.items():
            self._buffers[name] = self._buffers[name].to("cpu", dtype).contiguous()  # type: ignore[union-attr]


def buffer_of(row: Tensor) -> Tensor:
    """One number an output channel, as kernels take it."""
    return row.float().contiguous()


class WindowLayer(NativeLayer):
    """A layer that the native convolution runs; a linear one is a convolution whose pixels are the vectors.

    Holds either lists of weights or dense ones; what it does not have is None.

    Attributes:
        block_channels: input channels that are summed up before the next ones are looked at.
        native_window: as `_kernels.convolve` takes it.
        index_shape: (rows, groups, channels of a group, taps, block_channels).
    """

    codes: Tensor | None
    starts: Tensor | None
    ratios: Tensor | None
    weights: Tensor | None
    scales: Tensor
    biases: Tensor

    def __init__(self, plan: LayerPlan) -> None:
        super().__init__(plan)
        window = plan.window
        channels, taps = self.columns, math.prod(self.kernel_size)
        blocks = max(1, round(channels * taps / BLOCK_CODES))
        self.block_channels = -(-channels // blocks)
        # A padding that is not of zeros is done by torch, before the kernel.
        top, bottom, left, right = window.padding if window.padding_mode == "zeros" else (0, 0, 0, 0)
        (ky, kx), (sy, sx), (dy, dx) = window.kernel, window.stride, window.dilation
        self.native_window = (ky, sy, dy, top, kx, sx, dx, left, bottom, right, window.groups)
        self.index_shape = (self.rows, window.groups, channels, taps, self.block_channels)
        for name in ("codes", "starts", "ratios", "weights"):
            self.register_buffer(name, None)
        self.register_buffer("biases", buffer_of(plan.bias))

    def _run(self, x: Tensor, residual: Tensor | None, lowest: float, highest: float) -> Tensor:
        dimensions = self.window.dimensions
        if dimensions == 2 and x.dim() == 4 and self.window.padding_mode == "zeros":
            return self._convolve(x, residual, lowest, highest)
        if not dimensions:  # a vector is a pixel of as many channels
            if not x.numel():
                return x.new_empty((*x.shape[:-1], self.rows))
            x_pixels = x.reshape(1, -1, self.columns).transpose(1, 2).unsqueeze(2)
            r_pixels = (
                None if residual is None else residual.reshape(1, -1, self.rows).transpose(1, 2).unsqueeze(2)
            )
            y = self._convolve(x_pixels, r_pixels, lowest, highest)
            return y[0, :, 0].t().reshape(*x.shape[:-1], self.rows)
        batched = x.dim() == dimensions + 2
        if self.window.padding_mode != "zeros":
            top, bottom, left, right = self.window.padding
            pads = (left, right, top, bottom)[: 2 * dimensions]
            x = F.pad(x if batched else x.unsqueeze(0), pads, mode=self.window.padding_mode)
        elif not batched:
            x = x.unsqueeze(0)
        if residual is not None and not batched:
            residual = residual.unsqueeze(0)
        if dimensions == 1:
            x = x.unsqueeze(2)
            residual = None if residual is None else residual.unsqueeze(2)
        y = self._convolve(x, residual, lowest, highest)
        y = y.squeeze(2) if dimensions == 1 else y
        return y if batched else y.squeeze(0)

    def _convolve(self, x: Tensor, residual: Tensor | None, lowest: float, highest: float) -> Tensor:
        run = _kernels.convolve if operators.is_plain(x) else operators.runtime_convolve
        own: Any = self._buffers  # an attribute of a module is found in a tenth of the time of a small layer
        y: Tensor = run(
            x,
            own["codes"],
            own["starts"],
            own["ratios"],
            own["weights"],
            own["scales"],
            own["biases"],
            residual,
            own["residual_scales"],
            self.native_window,
            self.block_channels,
            lowest,
            highest,
        )
        return y


class DirectLayer(WindowLayer):
    """A convolution with dense weights, float32, that a kernel of ours runs: the same bits on every processor.

    For small layers, where calls of torch cost more than the products, and for those that have no ternary weights.
    """

    description = "direct"
    weights: Tensor

    def __init__(self, plan: LayerPlan) -> None:
        super().__init__(plan)
        # Without dimensions that torch could lay out in another order.
        weights = plan.weight.dense().clone().view(self.rows, self.columns, -1)
        self.register_buffer("weights", weights.contiguous())
        self.register_buffer("scales", buffer_of(plan.scale))


def trits_by_tap(plan: LayerPlan) -> Tensor:
    """The trits of a ternary weight as (rows, channels of a group, taps)."""
    assert isinstance(plan.weight, TernaryWeight)
    return plan.weight.trits.flatten(2) if plan.window.dimensions else plan.weight.trits.unsqueeze(2)


class SparseLayer(WindowLayer):
    """A convolution, or a linear layer for many vectors, from lists of the weights that are not zero.

    Memory: two bytes a weight that is not zero, and eight for each output channel and channel block.
    """

    description = "sparse"
    codes: Tensor
    starts: Tensor
    ratios: Tensor

    def __init__(self, plan: LayerPlan) -> None:
        super().__init__(plan)
        assert isinstance(plan.weight, TernaryWeight)
        codes, starts = _kernels.build_index(trits_by_tap(plan), plan.window.groups, self.block_channels)
        ratios, scales = ratios_and_scales(plan)
        self.register_buffer("codes", codes)
        self.register_buffer("starts", starts)
        self.register_buffer("ratios", ratios)
        self.register_buffer("scales", scales)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, metadata: Any, strict: bool, *rest: Any
    ) -> None:
        """As torch's, but lists that the kernel could not run are an error and change nothing."""
        codes, starts = (
            state_dict.get(prefix + name, own)
            for name, own in (("codes", self.codes), ("starts", self.starts))
        )
        fits = codes.shape == self.codes.shape and starts.shape == self.starts.shape  # if not, torch says so
        if fits and not _kernels.is_valid_index(codes, starts, self.index_shape):
            error_messages = rest[-1]
            error_messages.append(f"{prefix}codes: expected lists of weights of this layer")
            return
        super()._load_from_state_dict(state_dict, prefix, metadata, strict, *rest)


def ratios_and_scales(plan: LayerPlan) -> tuple[Tensor, Tensor]:
    """Each row's levels, times its scale, as (positive / -negative, -negative times the scale), float32.

    For a ternary weight of one group a row.

    A row without one of the levels takes 1 for its ratio.
    """
    assert isinstance(plan.weight, TernaryWeight)
    positives, negatives = (v[:, 0].double() for v in (plan.weight.positives, plan.weight.negatives))
    magnitudes = torch.where(negatives != 0, -negatives, positives)
    ratios = torch.where((negatives != 0) & (positives != 0), positives / magnitudes.clamp(min=1e-300), 1.0)
    return ratios.float(), (magnitudes * plan.scale).float()


class LookupLayer(NativeLayer):
    """A linear layer that looks up sums of two inputs: a quarter of a byte a weight, whatever the share of zeros.

    Levels may differ within a row, from group to group of its columns.
    """

    description = "lookup"
    codes: Tensor
    positives: Tensor
    negatives: Tensor | None
    biases: Tensor

    def __init__(self, plan: LayerPlan) -> None:
        super().__init__(plan)
        assert isinstance(plan.weight, TernaryWeight)
        self.group_width = plan.weight.group_width
        self.register_buffer("codes", _kernels.build_codes(plan.weight.trits, self.group_width))
        opposite = plan.weight.is_opposite  # what does not occur may have any level
        positives = plan.weight.magnitudes if opposite else plan.weight.positives
        negatives = None if opposite else self._scaled(plan.weight.negatives, plan.scale)
        self.register_buffer("positives", self._scaled(positives, plan.scale))
        self.register_buffer("negatives", negatives)
        self.register_buffer("biases", buffer_of(plan.bias))

    def _scaled(self, levels: Tensor, scale: Tensor) -> Tensor:
        """(groups, rows of whole tiles) of levels (rows, groups)."""
        missing = -self.rows % _kernels.TILE_ROWS
        return F.pad((levels.double() * scale.unsqueeze(1)).float().t(), (0, missing)).contiguous()

    def _run(self, x: Tensor, residual: Tensor | None, lowest: float, highest: float) -> Tensor:
        vectors = x.reshape(-1, self.columns)
        added = None if residual is None else residual.reshape(-1, self.rows)
        own: Any = self._buffers
        if vectors.shape[0] > MANY_VECTORS:
            y = self._multiply_dense(vectors, added, lowest, highest)
        else:
            run = _kernels.multiply if operators.is_plain(x) else operators.runtime_multiply
            y = run(
                vectors,
                own["codes"],
                own["positives"],
                own["negatives"],
                own["biases"],
                added,
                own["residual_scales"],
                self.group_width,
                lowest,
                highest,
            )
        return y.view(*x.shape[:-1], self.rows)

    def _multiply_dense(self, x: Tensor, residual: Tensor | None, lowest: float, highest: float) -> Tensor:
        weight = operators.runtime_dense(
            self.codes, self.positives, self.negatives, self.rows, self.columns, self.group_width
        )
        y = F.linear(x.float(), weight, self.biases)
        return finished(y, residual, self.residual_scales, lowest, highest).to(x.dtype)


def finished(
    y: Tensor, residual: Tensor | None, scales: Tensor | None, lowest: float, highest: float
) -> Tensor:
    """y, freshly made, with the residual, times its scales, added and clamped, in place."""
    if residual is not None:
        if scales is None:
            y = y.add_(residual)
        else:
            y = torch.addcmul(y, residual, scales) if residual.dtype == y.dtype else y.add_(residual * scales)
    if (lowest, highest) != (-math.inf, math.inf):
        y = y.clamp_(lowest, highest)
    return y
