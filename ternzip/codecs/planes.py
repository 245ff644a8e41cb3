"""Byte planes through zstd: how tensors that are not ternary are stored.

A block is a transform byte, then one stream for every plane of every run: a method byte, the stream's length
as a varint, and its bytes. Exponents compress, mantissas mostly do not; a plane is stored as it is where zstd
gains nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import zstandard
from numpy.typing import NDArray

from ternzip._core.errors import TernzipError
from ternzip._core.native import core
from ternzip._core.varint import Cursor, encode_varint
from ternzip.codecs.base import CorruptPayload

Bytes = NDArray[np.uint8]

MAX_BLOCK_BYTES = 1 << 22
"""The largest block, before compression."""

_PLAIN, _ROTATED = 0, 1  # transform: elements as they are, or rotated left by one bit before the split
_STORED, _ZSTD = 0, 1  # method of one plane
_THOROUGH = 1 << 20  # up to this many bytes a block is worth zstd's highest levels
_MAX_WINDOW = 1 << 23
_STATED = 0b11100011  # of a frame header's descriptor: content size, single segment, dictionary ID


@dataclass(frozen=True)
class Run:
    """Consecutive bytes of a block whose elements are `width` bytes wide: 1, 2, 4 or 8."""

    size: int
    width: int


def compress_zstd(data: bytes | memoryview, level: int) -> bytes:
    """One zstd frame without content size and checksum: the container states both."""
    compressor = zstandard.ZstdCompressor(
        level=level, write_content_size=False, write_checksum=False, write_dict_id=False
    )
    return compressor.compress(data)


def decompress_zstd(data: bytes | memoryview, size: int) -> bytes:
    """Exactly `size` bytes, or CorruptPayload. The caller has bounded `size`; no more is allocated."""
    # A content size in the frame would override `max_output_size`, so a frame must not state one.
    if bytes(data[:4]) != zstandard.FRAME_HEADER or (len(data) > 4 and data[4] & _STATED):
        raise CorruptPayload("zstd: expected a frame without content size and dictionary")
    try:
        decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
        out = decompressor.decompress(data, max_output_size=max(size, 1), allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise CorruptPayload(f"zstd: {error}") from None
    if len(out) != size:
        raise CorruptPayload(f"zstd: expected {size} bytes, found {len(out)}")
    return out


def encode_block(data: Bytes, runs: Sequence[Run], *, rotate: bool | None = None) -> bytes:
    """The block that holds `data`, whose bytes the runs share out in order.

    `rotate` chooses the transform for wide elements; None tries both and keeps the smaller.
    """
    if rotate is None:
        candidates = [encode_block(data, runs, rotate=choice) for choice in (False, True)]
        return min(candidates, key=len)
    level = 19 if data.size <= _THOROUGH else 3
    block = bytearray([_ROTATED if rotate else _PLAIN])
    start = 0
    for run in runs:
        part = data[start : start + run.size]
        start += run.size
        count = run.size // run.width
        planes = np.empty(run.size, np.uint8)
        core.split_planes(part.ctypes.data, count, run.width, rotate and run.width > 1, planes.ctypes.data)
        for plane in planes.reshape(run.width, count):
            stream = compress_zstd(plane.data, level)
            stored = len(stream) >= count
            block.append(_STORED if stored else _ZSTD)
            block += encode_varint(count if stored else len(stream))
            block += plane.tobytes() if stored else stream
    return bytes(block)


def decode_block(block: memoryview, runs: Sequence[Run], out: Bytes) -> None:
    """Fills `out`, the bytes that the runs share out, or raises CorruptPayload."""
    cursor = Cursor(block, "block")
    try:
        transform = cursor.byte("transform")
        if transform not in (_PLAIN, _ROTATED):
            raise CorruptPayload(f"block: expected transform 0 or 1, found {transform}")
        start = 0
        for run in runs:
            count = run.size // run.width
            planes = np.empty((run.width, count), np.uint8)
            for plane in planes:
                _decode_plane(cursor, plane)
            rotate = transform == _ROTATED and run.width > 1
            part = out[start : start + run.size]
            core.merge_planes(planes.ctypes.data, count, run.width, rotate, part.ctypes.data)
            start += run.size
        cursor.end()
    except TernzipError as error:
        raise CorruptPayload(str(error)) from None


def _decode_plane(cursor: Cursor, plane: Bytes) -> None:
    method = cursor.byte("plane method")
    stream = cursor.take(cursor.varint("plane length"), "plane")
    if method == _ZSTD:
        plane[:] = np.frombuffer(decompress_zstd(stream, plane.size), np.uint8)
    elif method == _STORED:
        if len(stream) != plane.size:
            raise CorruptPayload(f"plane: expected {plane.size} stored bytes, found {len(stream)}")
        plane[:] = np.frombuffer(stream, np.uint8)
    else:
        raise CorruptPayload(f"plane: expected method 0 or 1, found {method}")
