"""The native kernels for CPU tensors. `ternzip.ops._cuda` offers the same four calls for a device."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from ternzip._core.native import core
from ternzip.ops._ternarizer import STE, Ternarizer


def serves(tensors: Sequence[Tensor], dtypes: Collection[torch.dtype]) -> bool:
    """Whether the native kernels take all of these."""
    return all(t.is_cpu and t.dtype in dtypes for t in tensors)


def _scalars(t: Ternarizer) -> tuple[list[Tensor], list[int], list[bool]]:
    """Keep the first: it owns what the second points to."""
    owners = [value.contiguous() for value in t.scalars]
    if not all(value.is_cpu for value in owners):
        raise ValueError(f"thresholds and levels lie on {[str(v.device) for v in owners]}; expected cpu")
    return owners, [value.data_ptr() for value in owners], [value.dim() == 1 for value in owners]


def ternarize(jobs: list[int], t: Ternarizer, clip: float | None, counts: Tensor) -> None:
    """Rows (weight, elements, dtype code, output, whether it is int8); fills counts, int64 (rows, 4)."""
    owners, addresses, each = _scalars(t)
    core.ternarize_many(jobs, addresses, each, clip, counts.data_ptr(), torch.get_num_threads())
    del owners


def backward(jobs: list[int], t: Ternarizer, like: Tensor, pairs: Tensor | None, levels: bool) -> None:
    """Rows (gradient, weight, elements, dtype code, output); fills pairs, float64 (rows, 2), with zeros unless
    `levels`. `like` lies where the rows do."""
    if pairs is not None and not levels:
        pairs.zero_()
    owners, addresses, each = _scalars(t)
    sums = pairs.data_ptr() if pairs is not None and levels else 0
    core.backward_many(jobs, addresses, each, STE.index(t.ste), t.bound, sums, torch.get_num_threads())
    del owners


def clip(jobs: list[int], bound: float, like: Tensor) -> None:
    """Rows (weight, elements, dtype code)."""
    core.clip_many(jobs, bound, torch.get_num_threads())


def count(jobs: list[int], counts: Tensor) -> None:
    """Rows (tensor, elements, dtype code); fills counts, int64 (rows, 4)."""
    core.count_many(jobs, counts.data_ptr(), torch.get_num_threads())
