"""The native kernels for CUDA tensors: which devices they serve, and the same four calls as `ternzip.ops._cpu`.

Everything is queued on torch's current stream of the tensors' device; nothing waits for it.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from ternzip._core.native import core
from ternzip.ops._ternarizer import STE, Ternarizer

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


def _scalars(t: Ternarizer, device: torch.device) -> tuple[list[Tensor], list[tuple[int, float, bool]]]:
    """For a launch: a number on the CPU by value, others by address. Keep the first."""
    owners, rows = [], []
    for value in t.scalars:
        if value.is_cpu and value.dim() == 0:
            rows.append((0, value.item(), False))
            continue
        owner = value.to(device).contiguous()
        owners.append(owner)
        rows.append((owner.data_ptr(), 0.0, owner.dim() == 1))
    return owners, rows


def ternarize(jobs: list[int], t: Ternarizer, clip: float | None, counts: Tensor) -> None:
    """As `_cpu.ternarize`."""
    owners, rows = _scalars(t, counts.device)
    core.cuda_ternarize_many(jobs, rows, clip, counts.data_ptr(), *target(counts.device))
    del owners


def backward(jobs: list[int], t: Ternarizer, like: Tensor, pairs: Tensor | None, levels: bool) -> None:
    """As `_cpu.backward`."""
    owners, rows = _scalars(t, like.device)
    sums = core.cuda_level_scratch(jobs) if levels else 0
    scratch = torch.empty(sums, dtype=torch.float64, device=like.device)
    found = pairs.data_ptr() if pairs is not None else 0
    core.cuda_backward_many(
        jobs, rows, STE.index(t.ste), t.bound, found, scratch.data_ptr(), *target(like.device)
    )
    del owners


def clip(jobs: list[int], bound: float, like: Tensor) -> None:
    """As `_cpu.clip`, on the device of `like`."""
    core.cuda_clip_many(jobs, bound, *target(like.device))


def count(jobs: list[int], counts: Tensor) -> None:
    """As `_cpu.count`."""
    core.cuda_count_many(jobs, counts.data_ptr(), *target(counts.device))
