"""The torch.library operators of the runtime: how torch.compile and other machinery of torch see its kernels.

They have no gradient: the layers refuse to be trained.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ternzip.runtime import _kernels

runtime_convolve = torch.library.custom_op("ternzip::runtime_convolve", _kernels.convolve, mutates_args=())


@runtime_convolve.register_fake
def _(
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
    return x.new_empty(_kernels.output_shape(x, scales.shape[0], window))


runtime_multiply = torch.library.custom_op("ternzip::runtime_multiply", _kernels.multiply, mutates_args=())


@runtime_multiply.register_fake
def _(
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
    return x.new_empty((x.shape[0], biases.shape[0]))


@torch.library.custom_op("ternzip::runtime_dense", mutates_args=())
def runtime_dense(
    codes: Tensor, positives: Tensor, negatives: Tensor | None, rows: int, columns: int, group_width: int
) -> Tensor:
    """The matrix (rows, columns) of codes and levels, float32."""
    trits = _kernels.read_codes(codes, rows, columns, group_width)
    positive, negative = (
        levels[:, :rows].t().repeat_interleave(group_width, 1)[:, :columns]
        for levels in (positives, -positives if negatives is None else negatives)
    )
    return torch.where(trits > 0, positive, torch.where(trits < 0, negative, 0.0))


@runtime_dense.register_fake
def _(
    codes: Tensor, positives: Tensor, negatives: Tensor | None, rows: int, columns: int, group_width: int
) -> Tensor:
    return positives.new_empty((rows, columns))


runtime_convolve_bitwise = torch.library.custom_op(
    "ternzip::runtime_convolve_bitwise", _kernels.convolve_bitwise, mutates_args=()
)


@runtime_convolve_bitwise.register_fake
def _(
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
    return x.new_empty(_kernels.output_shape(x, scales.shape[0], window))


def is_plain(x: Tensor) -> bool:
    """Whether nothing would come between an operator and its kernel, so that the kernel may be called at once."""
    return (
        (type(x) is Tensor or type(x) is torch.nn.Parameter)
        and not torch.compiler.is_compiling()
        and not torch._C._is_tracing()
        and not torch._C._are_functorch_transforms_active()
        and torch._C._len_torch_dispatch_stack() == 0
    )
