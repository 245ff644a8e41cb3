"""The way of CUDA tensors to the native kernels: which devices they serve, and the calls.

Everything is queued on torch's current stream of the tensors' device; nothing waits for it.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from ternzip._core.native import core

_served: dict[int, bool] = {}
_warned: set[str] = set()


def obstacle(index: int, *, thorough: bool = True) -> str:
    """Why the native kernels cannot serve the device of this index; empty if they can.

    Thorough: the device itself is asked, which makes a context on it where there is none.
    """
    if torch.version.hip is not None:
        return "PyTorch is built for ROCm, the kernels are for CUDA"
    if not core.cuda_compiled():
        return core.cuda_obstacle(index, 0, False)
    major, minor = torch.cuda.get_device_capability(index)
    return core.cuda_obstacle(index, 10 * major + minor, thorough)


def serves_device(device: torch.device) -> bool:
    """Whether the native kernels run on this device. If not, a warning names the reason, once a reason."""
    if device.type != "cuda":
        return False
    index = torch.cuda.current_device() if device.index is None else device.index
    if index not in _served:
        reason = obstacle(index)
        _served[index] = not reason
        if reason and reason not in _warned:
            _warned.add(reason)
            warnings.warn(
                f"ternzip on cuda:{index} goes through PyTorch's own operations: {reason}", stacklevel=2
            )
    return _served[index]


def serves(tensors: Sequence[Tensor], dtypes: Collection[torch.dtype]) -> bool:
    """Whether the native kernels take all of these, which lie on one device: aligned, of at most 32 bits."""
    return (
        bool(tensors)
        and serves_device(tensors[0].device)
        and all(
            t.dtype in dtypes and t.dtype.itemsize <= 4 and t.data_ptr() % t.dtype.itemsize == 0
            for t in tensors
        )
    )


def target(device: torch.device) -> tuple[int, int]:
    """Index and current stream of a device, as the native calls take them."""
    stream = torch.cuda.current_stream(device)
    return stream.device_index, stream.cuda_stream


def _scalars(values: Sequence[Tensor], like: Tensor) -> tuple[list[Tensor], list[tuple[int, float, bool]]]:
    """float64 scalars for a launch: a number on the CPU by value, others by address. Keep the first."""
    owners, rows = [], []
    for value in values:
        if value.device.type == "cpu" and value.dim() == 0:
            rows.append((0, value.item(), False))
            continue
        owner = value.to(like.device).contiguous()
        owners.append(owner)
        rows.append((owner.data_ptr(), 0.0, owner.dim() == 1))
    return owners, rows


def ternarize_many(jobs: list[int], scalars: Sequence[Tensor], bound: float | None, counts: Tensor) -> None:
    """Rows of `core.ternarize_many`; fills counts, int64 (jobs, 4)."""
    owners, rows = _scalars(scalars, counts)
    core.cuda_ternarize_many(jobs, rows, bound, counts.data_ptr(), *target(counts.device))
    del owners


def backward_many(
    jobs: list[int],
    scalars: Sequence[Tensor],
    ste: int,
    bound: float,
    like: Tensor,
    level_grads: Tensor | None,
    levels: bool,
) -> None:
    """Rows of `core.backward_many`, on the device of `like`; fills level_grads, float64 (jobs, 2), with zeros
    unless `levels`."""
    owners, rows = _scalars(scalars, like)
    sums = core.cuda_level_scratch(jobs) if levels else 0
    scratch = torch.empty(sums, dtype=torch.float64, device=like.device)
    grads = level_grads.data_ptr() if level_grads is not None else 0
    core.cuda_backward_many(jobs, rows, ste, bound, grads, scratch.data_ptr(), *target(like.device))
    del owners


def clip_many(jobs: list[int], bound: float, like: Tensor) -> None:
    """Rows of `core.clip_many`, on the device of `like`."""
    core.cuda_clip_many(jobs, bound, *target(like.device))


def count_many(jobs: list[int], counts: Tensor) -> None:
    """Rows of `core.count_many`; fills counts, int64 (jobs, 4)."""
    core.cuda_count_many(jobs, counts.data_ptr(), *target(counts.device))
