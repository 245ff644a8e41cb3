"""Blocks of byte planes: how tensors that are not ternary are stored.

A block holds runs of elements of one width. A run is a byte, by how many bits its elements were rotated, then one
stream for each of its planes: a method byte, the stream's length as a varint, and its bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ternzip._core.dtypes import DType
from ternzip._core.errors import TernzipError
from ternzip._core.native import core
from ternzip._core.varint import Cursor, encode_varint
from ternzip.codecs.base import CorruptPayload
from ternzip.codecs.plane import Bytes, Search, decode_plane, encode_plane

MAX_BLOCK_BYTES = 1 << 22
"""The largest block, before compression."""

_SMALL = 1 << 20  # up to this many bytes a run is worth trying more, and at zstd's highest level
_QUICK_SMALL = 1 << 13
_SAMPLE_ELEMENTS = 1 << 12


@dataclass(frozen=True)
class Run:
    """Consecutive bytes of a block that are elements of one type: `size` of them, at least one element."""

    size: int
    dtype: DType

    @property
    def width(self) -> int:
        """Bytes of an element that get a plane each."""
        return self.dtype.plane_width


def encode_block(data: Bytes, runs: Sequence[Run], *, quick: bool = False) -> bytes:
    """The block that holds `data`, whose bytes the runs share out in order.

    With `quick`, runs of more than some kilobytes are not searched for what only zstd's highest level finds.
    """
    small = _QUICK_SMALL if quick else _SMALL
    block: list[bytes | memoryview] = []
    start = 0
    for run in runs:
        part = data[start : start + run.size]
        start += run.size
        if run.size <= small:
            tried = sorted({0, *run.dtype.rotations})
            block += min((_encode_run(part, run.width, one, Search.THOROUGH) for one in tried), key=_size)
        else:
            block += _encode_run(part, run.width, _rotation(part, run.dtype), _search(part, run.width))
    return b"".join(block)


def _size(pieces: Iterable[bytes | memoryview]) -> int:
    return sum(map(len, pieces))


def _rotation(data: Bytes, dtype: DType) -> int:
    """The rotation that serves the first, the middle and the last of many elements best."""
    if len(dtype.rotations) == 1:
        return dtype.rotations[0]
    part = _SAMPLE_ELEMENTS * dtype.plane_width
    middle = data.size // 2 // part * part
    sample = np.concatenate([data[:part], data[middle : middle + part], data[-part:]])
    tried = {one: _encode_run(sample, dtype.plane_width, one, Search.WHOLE) for one in dtype.rotations}
    return min(tried, key=lambda one: _size(tried[one]))


def _search(data: Bytes, width: int) -> Search:
    # Samples of a plane tell what is near; strings that are repeated far apart are looked for in all elements.
    repeated = core.has_repeats(data.ctypes.data, data.size // width, width)
    return Search.WHOLE if repeated else Search.SAMPLES


def _encode_run(data: Bytes, width: int, rotation: int, search: Search) -> list[bytes | memoryview]:
    planes = np.empty((width, data.size // width), np.uint8)
    core.split_planes(data.ctypes.data, planes.shape[1], width, rotation, _addresses(planes))
    pieces: list[bytes | memoryview] = [bytes([rotation])]
    for plane in planes:
        method, stream = encode_plane(plane, search)
        pieces += [bytes([method]) + encode_varint(len(stream)), stream]
    return pieces


def decode_block(block: memoryview, runs: Sequence[Run], out: Bytes) -> None:
    """Fills `out`, the bytes that the runs share out, or raises CorruptPayload."""
    cursor = Cursor(block, "block")
    try:
        start = 0
        for run in runs:
            _decode_run(cursor, run.width, out[start : start + run.size])
            start += run.size
        cursor.end()
    except TernzipError as error:
        raise CorruptPayload(str(error)) from None


def _decode_run(cursor: Cursor, width: int, out: Bytes) -> None:
    count = out.size // width
    rotation = cursor.byte("rotation")
    if rotation >= 8 * width:
        raise CorruptPayload(f"block: expected a rotation below {8 * width}, found {rotation}")
    planes = []
    for _ in range(width):
        method = cursor.byte("plane method")
        stream = cursor.take(cursor.varint("plane length"), "plane")
        planes.append(decode_plane(method, stream, count))
    core.merge_planes(_addresses(planes), count, width, rotation, out.ctypes.data)


def _addresses(planes: Sequence[Bytes] | Bytes) -> list[int]:
    return [plane.ctypes.data for plane in planes]
