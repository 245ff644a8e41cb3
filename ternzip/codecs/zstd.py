"""zstd frames as the format wants them: without content size and dictionary, which the container states."""

from __future__ import annotations

import numpy as np
import zstandard
from numpy.typing import NDArray

from ternzip._core.native import core
from ternzip.codecs.base import CorruptPayload

MAX_WINDOW_BYTES = 1 << 23
"""How far back a frame may refer."""


def compress_zstd(data: bytes | memoryview, level: int) -> bytes:
    """One zstd frame without content size and checksum: the container states both."""
    compressor = zstandard.ZstdCompressor(
        level=level, write_content_size=False, write_checksum=False, write_dict_id=False
    )
    return compressor.compress(data)


def decompress_zstd(data: bytes | memoryview, size: int) -> NDArray[np.uint8]:
    """Exactly `size` bytes, or CorruptPayload. The caller has bounded `size`; no more is allocated.

    By the core, which takes a frame for what RFC 8878 says it is and nothing else, on every machine. libzstd lets
    matches reach beyond the window and streams end early, and decodes these in ways of its own.
    """
    frame, content = np.frombuffer(data, np.uint8), np.empty(size, np.uint8)
    problem = core.zstd_decompress(frame.ctypes.data, frame.size, content.ctypes.data, size)
    if problem:
        raise CorruptPayload(problem)
    return content
