"""The native kernels of the runtime, on tensors whose shapes have been checked."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ternzip._core.errors import TernzipError
from ternzip._core.native import core

DTYPE_CODES = {torch.float32: 1, torch.bfloat16: 3}
TILE_ROWS = 16
"""Rows of a matrix whose codes lie together: csrc/core/runtime/matrix_vector.hpp; as of bit planes, bit_planes.hpp."""


Axis = tuple[int, int, int, int, int, int]


def address(tensor: Tensor | None) -> int:
    """Where a tensor's elements lie; 0 for none."""
    return 0 if tensor is None else tensor.data_ptr()


def output_shape(x: Tensor, rows: int, window: Sequence[int]) -> tuple[int, int, int, int]:
    """(batch, rows, height, width) of a convolution of x (batch, channels, height, width).

    `window` is (kernel, stride, dilation and padding before, for the height and then the width each; the height and the
    width of the padding behind; groups): eleven numbers.
    """
    ky, sy, dy, top, kx, sx, dx, left, bottom, right, _ = window
    batch, _, height, width = x.shape
    out_height = (height + top + bottom - dy * (ky - 1) - 1) // sy + 1
    out_width = (width + left + right - dx * (kx - 1) - 1) // sx + 1
    return batch, rows, out_height, out_width


def _checked_output_shape(x: Tensor, rows: int, window: Sequence[int]) -> tuple[int, int, int, int]:
    """output_shape; TernzipError for an output without pixels."""
    shape = output_shape(x, rows, window)
    if min(shape[2:]) < 1:
        raise TernzipError(
            f"expected an input of at least the kernel's size, found {x.shape[2]} x {x.shape[3]} "
            f"for a kernel of {window[0]} x {window[4]}"
        )
    return shape


def _axes(x: Tensor, shape: Sequence[int], window: Sequence[int]) -> tuple[Axis, Axis]:
    """(input, output, taps, stride, dilation, padding before) of the height and of the width."""
    ky, sy, dy, top, kx, sx, dx, left, *_ = window
    return (x.shape[2], shape[2], ky, sy, dy, top), (x.shape[3], shape[3], kx, sx, dx, left)


def _readable(x: Tensor, residual: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """The inputs as kernels read them, element after element."""
    return x.resolve_neg().contiguous(), None if residual is None else residual.resolve_neg().contiguous()


def build_index(trits: Tensor, groups: int, block_channels: int) -> tuple[Tensor, Tensor]:
    """(codes, starts) of int8 trits (rows, channels of a group, taps): int16 and int32, csrc/core/runtime/index.hpp."""
    rows, channels, taps = trits.shape
    shape = (rows, groups, channels, taps, block_channels)
    blocks = -(-channels // block_channels)
    codes = torch.empty(int(trits.count_nonzero()), dtype=torch.int16)
    starts = torch.empty(2 * rows * blocks + 1, dtype=torch.int32)
    trits = trits.contiguous()
    core.runtime_build_index(trits.data_ptr(), shape, codes.data_ptr(), starts.data_ptr())
    return codes, starts


def is_valid_index(codes: Tensor, starts: Tensor, shape: tuple[int, int, int, int, int]) -> bool:
    """Whether the kernel may run these lists; `shape` is (rows, groups, channels of a group, taps, block channels).

    Lists of another dtype are those that torch makes of them where it copies them into a layer.
    """
    codes, starts = codes.to("cpu", torch.int16).contiguous(), starts.to("cpu", torch.int32).contiguous()
    return core.runtime_read_index(codes.data_ptr(), codes.numel(), starts.data_ptr(), shape, 0)


def build_codes(trits: Tensor, group_width: int) -> Tensor:
    """The codes of int8 trits (rows, columns), int32; csrc/core/runtime/matrix_vector.hpp."""
    rows, columns = trits.shape
    tiles, groups, words = -(-rows // TILE_ROWS), -(-columns // group_width), -(-group_width // 16)
    codes = torch.empty(tiles * groups * words * TILE_ROWS, dtype=torch.int32)
    trits = trits.contiguous()
    core.runtime_build_codes(trits.data_ptr(), (rows, columns, group_width), codes.data_ptr())
    return codes


def read_codes(codes: Tensor, rows: int, columns: int, group_width: int) -> Tensor:
    """The inverse of build_codes."""
    trits = torch.empty((rows, columns), dtype=torch.int8)
    core.runtime_read_codes(codes.data_ptr(), (rows, columns, group_width), trits.data_ptr())
    return trits


def convolve(
    x: Tensor,
    codes: Tensor | None,
    starts: Tensor | None,
    ratios: Tensor | None,
    weights: Tensor | None,
    scales: Tensor,
    biases: Tensor,
    residual: Tensor | None,
    residual_scales: Tensor,
    window: Sequence[int],
    block_channels: int,
    lowest: float,
    highest: float,
) -> Tensor:
    """The convolution of x (batch, channels, height, width), float32 or bfloat16; `window` as for output_shape.

    The weights are lists (`codes`, `starts`, `ratios`) or `weights`, float32 (rows, channels of a group, taps);
    the others are None. `residual` has the output's shape and dtype. Raises TernzipError for an output without pixels.
    """
    rows = len(scales)
    shape = _checked_output_shape(x, rows, window)
    ky, kx, groups = window[0], window[4], window[10]
    x, residual = _readable(x, residual)
    out = x.new_empty(shape)
    core.runtime_convolve(
        x.data_ptr(),
        DTYPE_CODES[x.dtype],
        shape[0],
        *_axes(x, shape, window),
        (rows, groups, x.shape[1] // groups, ky * kx, block_channels),
        (address(codes), address(starts), address(ratios), scales.data_ptr(), address(weights)),
        (biases.data_ptr(), address(residual), residual_scales.data_ptr()),
        lowest,
        highest,
        out.data_ptr(),
        torch.get_num_threads(),
    )
    return out


def multiply(
    x: Tensor,
    codes: Tensor,
    positives: Tensor,
    negatives: Tensor | None,
    biases: Tensor,
    residual: Tensor | None,
    residual_scales: Tensor,
    group_width: int,
    lowest: float,
    highest: float,
) -> Tensor:
    """The linear layer for x (batch, columns), float32 or bfloat16; `residual` has the output's shape and dtype.

    Levels are (groups, rows rounded up to whole tiles); no `negatives` says that they are opposite.
    """
    batch, columns = x.shape
    rows = len(biases)
    x, residual = _readable(x, residual)
    out = x.new_empty((batch, rows))
    core.runtime_multiply(
        x.data_ptr(),
        DTYPE_CODES[x.dtype],
        batch,
        (rows, columns, group_width),
        (codes.data_ptr(), positives.data_ptr(), address(negatives)),
        (biases.data_ptr(), address(residual), residual_scales.data_ptr()),
        lowest,
        highest,
        out.data_ptr(),
        torch.get_num_threads(),
    )
    return out


def build_planes(trits: Tensor, groups: int) -> Tensor:
    """The bit planes of int8 trits (rows, channels of a group, taps), int32; csrc/core/runtime/bit_planes.hpp."""
    rows, channels, taps = trits.shape
    tiles = groups * -(-(rows // groups) // TILE_ROWS)
    planes = torch.empty(tiles * taps * -(-channels // 32) * 2 * TILE_ROWS, dtype=torch.int32)
    trits = trits.contiguous()
    core.runtime_build_planes(trits.data_ptr(), (rows, groups, channels, taps), planes.data_ptr())
    return planes


def read_planes(planes: Tensor, rows: int, groups: int, channels: int, taps: int) -> Tensor:
    """The inverse of build_planes."""
    trits = torch.empty((rows, channels, taps), dtype=torch.int8)
    core.runtime_read_planes(planes.data_ptr(), (rows, groups, channels, taps), trits.data_ptr())
    return trits


def convolve_bitwise(
    x: Tensor,
    planes: Tensor,
    scales: Tensor,
    biases: Tensor,
    residual: Tensor | None,
    residual_scales: Tensor,
    window: Sequence[int],
    input_scale: Tensor,
    lowest: float,
    highest: float,
) -> Tensor:
    """The convolution of the ternary steps of x, as convolve's else; x counts as +-1 beyond half of input_scale."""
    rows = len(scales)
    shape = _checked_output_shape(x, rows, window)
    ky, kx, groups = window[0], window[4], window[10]
    x, residual = _readable(x, residual)
    out = x.new_empty(shape)
    core.runtime_convolve_bitwise(
        x.data_ptr(),
        DTYPE_CODES[x.dtype],
        shape[0],
        *_axes(x, shape, window),
        (rows, groups, x.shape[1] // groups, ky * kx),
        (planes.data_ptr(), scales.data_ptr()),
        float(input_scale) / 2,
        (biases.data_ptr(), address(residual), residual_scales.data_ptr()),
        lowest,
        highest,
        out.data_ptr(),
        torch.get_num_threads(),
    )
    return out
