"""One byte plane: the methods that may store it, and the choice between them.

Exponents have few values but no repeated strings: an entropy coder serves them, and a match finder costs time and
bytes. Mantissas mostly have neither, and are stored as they are. Sorted and repeated data need the match finder. A
histogram says what entropy coding gains; whether there is anything to match is tried on samples first.
"""

from __future__ import annotations

from enum import Enum, IntEnum

import numpy as np
from numpy.typing import NDArray

from ternzip._core.native import core
from ternzip.codecs.base import CorruptPayload
from ternzip.codecs.zstd import compress_zstd, decompress_zstd

Bytes = NDArray[np.uint8]

_QUICK, _SMALLEST = 3, 19  # levels of zstd
_SAMPLES, _SAMPLE_BYTES = 4, 1 << 13


class Method(IntEnum):
    """How a plane is stored."""

    STORED = 0
    ZSTD = 1
    HUFFMAN = 2
    CONSTANT = 3


class Search(Enum):
    """How hard to look for repeated strings in a plane, beside entropy coding."""

    SAMPLES = "samples"  # zstd on some of it first
    WHOLE = "whole"  # zstd in any case
    THOROUGH = "thorough"  # and at its highest level where that may help


def encode_plane(plane: Bytes, search: Search) -> tuple[Method, bytes | memoryview]:
    """The method for the bytes `plane`, at least one and contiguous, and the stream it makes of them."""
    counts = _count(plane)
    if np.count_nonzero(counts) == 1:
        return Method.CONSTANT, plane[:1].tobytes()
    size = _coded_size(counts, plane.size)
    matched = _matched(plane, size, search)
    if matched is not None and len(matched) < size:
        return Method.ZSTD, matched
    if size < plane.size:
        return Method.HUFFMAN, core.huffman_encode(plane.ctypes.data, plane.size, counts.ctypes.data)
    return Method.STORED, plane.data


def _count(plane: Bytes) -> NDArray[np.uint32]:
    counts = np.empty(256, np.uint32)
    core.count_bytes(plane.ctypes.data, plane.size, counts.ctypes.data)
    return counts


def _coded_size(counts: NDArray[np.uint32], size: int) -> int:
    """What `size` bytes that occur so often take without any match: in Huffman codes, if that is worth decoding."""
    if np.count_nonzero(counts) == 1:
        return 1
    coded = core.huffman_size(counts.ctypes.data)
    return coded if coded < size - size // 64 else size


def _sample_matches(plane: Bytes, size: int) -> bool:
    """Whether zstd finds something in samples of a plane that takes `size` bytes without it."""
    last = plane.size - _SAMPLE_BYTES
    found = own = 0
    for i in range(_SAMPLES):  # each alone, as zstd would meet it: with what it has seen nearby
        start = last * i // (_SAMPLES - 1)
        sample = plane[start : start + _SAMPLE_BYTES]
        found += len(compress_zstd(sample.data, _QUICK))
        own += _coded_size(_count(sample), sample.size)
    # Either beside one code for the plane, or beside one for each sample; their tables differ a little in size.
    return found * plane.size < size * _SAMPLES * _SAMPLE_BYTES or found < own - own // 64


def _matched(plane: Bytes, size: int, search: Search) -> bytes | None:
    """What zstd makes of a plane that takes `size` bytes without it, None where that is hopeless."""
    if search is Search.SAMPLES and not _sample_matches(plane, size):
        return None
    quick = compress_zstd(plane.data, _QUICK)
    # The highest level finds more, but hardly where the quick one found nothing.
    hopeless = size if size == plane.size else size + size // 16
    if search is not Search.THOROUGH or len(quick) >= hopeless:
        return quick
    return compress_zstd(plane.data, _SMALLEST)


def decode_plane(method: int, stream: memoryview, size: int) -> Bytes:
    """The `size` bytes of a plane, or CorruptPayload; a stored plane is not copied."""
    if method == Method.STORED:
        if len(stream) != size:
            raise CorruptPayload(f"plane: expected {size} stored bytes, found {len(stream)}")
        return np.frombuffer(stream, np.uint8)
    if method == Method.ZSTD:
        return np.frombuffer(decompress_zstd(stream, size), np.uint8)
    if method == Method.HUFFMAN:
        plane = np.empty(size, np.uint8)
        coded = np.frombuffer(stream, np.uint8)
        if not core.huffman_decode(coded.ctypes.data, coded.size, plane.ctypes.data, size):
            raise CorruptPayload(f"plane: {len(stream)} bytes of Huffman codes cannot stand for {size} bytes")
        return plane
    if method == Method.CONSTANT:
        if len(stream) != 1:
            raise CorruptPayload(f"plane: expected 1 byte for a constant plane, found {len(stream)}")
        return np.full(size, stream[0], np.uint8)
    raise CorruptPayload(f"plane: expected method 0 to {max(Method)}, found {method}")
