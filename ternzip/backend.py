"""What the native core on this machine can do."""

from __future__ import annotations

from typing import Any


def backend() -> dict[str, Any]:
    """Instruction set and threads of the CPU kernels, and what the CUDA kernels would use.

    `{"cpu": {"isa": str, "threads": int}, "cuda": {"compiled": bool, "devices": [...]}}`; one entry a
    device, each `{"index", "name", "capability", "native", "reason"}`, `reason` saying why the aten
    composite serves it instead.
    """
    import torch

    from ternzip.native import core

    return {
        "cpu": {"isa": core.active_isa(), "threads": torch.get_num_threads()},
        "cuda": {"compiled": False, "devices": []},
    }
