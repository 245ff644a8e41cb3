"""What the native core on this machine can do."""

from __future__ import annotations

from typing import Any


def backend() -> dict[str, Any]:
    """Instruction set and threads of the CPU kernels, and what the CUDA kernels would use.

    `{"cpu": {"isa": str, "threads": int}, "cuda": {"compiled": bool, "devices": [...]}}`; one entry a
    device, each `{"index", "name", "capability", "native", "reason"}`, `reason` saying why PyTorch's own
    operations serve it instead, None where they do not. A device that PyTorch has not used yet is judged by its
    capability alone.
    """
    import torch

    from ternzip._core.native import core

    return {
        "cpu": {"isa": core.active_isa(), "threads": torch.get_num_threads()},
        "cuda": {"compiled": core.cuda_compiled(), "devices": _devices()},
    }


def _devices() -> list[dict[str, Any]]:
    import torch

    from ternzip.ops._cuda import obstacle

    used = torch.cuda.current_device() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
    devices = []
    for index in range(torch.cuda.device_count()):
        reason = obstacle(index, thorough=index == used)
        devices.append(
            {
                "index": index,
                "name": torch.cuda.get_device_name(index),
                "capability": ".".join(map(str, torch.cuda.get_device_capability(index))),
                "native": not reason,
                "reason": reason or None,
            }
        )
    return devices
