"""What tests of the C library share: where it is installed, and files for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forge import PACKED, TERNARY, Forge, Tensor, levels, varint

from ternzip._core.native import core

PREFIX = os.environ.get("TERNZIP_C_PREFIX", "")
NEEDS_LIBRARY = pytest.mark.skipif(
    not PREFIX, reason="TERNZIP_C_PREFIX names no folder that libternzip was installed to"
)
GOLDEN = Path(__file__).parent / "golden"
VALID = sorted(path.stem for path in (GOLDEN / "valid").glob("*.tnz"))

TRITS = np.array([[1, 0, -1, 0, 1], [0, 0, 0, -1, 1]], np.int8)


def ternary_file(
    trits: np.ndarray[Any, np.dtype[np.int8]] = TRITS, shape: tuple[int, ...] | None = None
) -> bytes:
    """One float32 tensor `t` with levels -0.5 and +2."""
    flat = trits.reshape(-1)
    negative, positive = (int((flat == symbol).sum()) for symbol in (-1, 1))
    packed = np.empty(-(-flat.size // 5), np.uint8)
    core.pack_trits(np.ascontiguousarray(flat).ctypes.data, flat.size, packed.ctypes.data)
    parameters = b"\3" + levels(-0.5, 2.0) + varint(negative) + varint(positive) + bytes([PACKED, 0])
    return Forge(
        [Tensor("t", TERNARY, shape=shape or trits.shape, parameters=parameters)], [packed.tobytes()]
    ).to_bytes()
