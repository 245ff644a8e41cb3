"""One byte plane: the methods that may store it, and the choice between them.

Exponents have few values but no repeated strings: an entropy coder serves them, and a match finder costs time and
bytes. Mantissas mostly have neither, and are stored as they are. Sorted and repeated data need the match finder. A
histogram says what entropy coding gains; whether there is anything to match is tried on samples first. Pruned tensors
have so many zeros that a code of a whole bit or more for each is too long: these are told by a bitmap.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

import numpy as np
from numpy.typing import NDArray

from ternzip._core.errors import TernzipError
from ternzip._core.native import core
from ternzip._core.varint import Cursor, encode_varint
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
    SPARSE = 4


class Search(Enum):
    """How hard to look for repeated strings in a plane, beside entropy coding."""

    SAMPLES = "samples"  # zstd on some of it first
    WHOLE = "whole"  # zstd in any case
    THOROUGH = "thorough"  # and at its highest level where that may help


def encode_plane(plane: Bytes, search: Search) -> tuple[Method, bytes | memoryview]:
    """The method for the bytes `plane`, at least one and contiguous, and the stream it makes of them."""
    counts = _count(plane)
    size = _coded_size(counts, plane.size)
    parts = _split(plane, counts, size)
    if parts is None:
        return _encode_whole(plane, counts, size, _matched(plane, size, search))
    if search is Search.WHOLE and not core.has_repeats(parts.rest.ctypes.data, parts.rest.size, 1):
        search = Search.SAMPLES  # strings that are nearly all zeros are repeated by chance
    sparse, matched = parts.encode(search), _matched(plane, parts.size, search)
    method, stream = _encode_whole(plane, counts, size, matched)
    return (Method.SPARSE, sparse) if len(sparse) < len(stream) else (method, stream)


def _encode_whole(
    plane: Bytes, counts: NDArray[np.uint32], size: int, matched: bytes | None
) -> tuple[Method, bytes | memoryview]:
    """Without a bitmap; `size` as _coded_size has it, `matched` what zstd makes of the plane if it was asked."""
    if np.count_nonzero(counts) == 1:
        return Method.CONSTANT, plane[:1].tobytes()
    if matched is not None and len(matched) < size:
        return Method.ZSTD, matched
    if size < plane.size:
        return Method.HUFFMAN, core.huffman_encode(plane.ctypes.data, plane.size, counts.ctypes.data)
    return Method.STORED, plane.data


@dataclass(frozen=True)
class _Parts:
    """A plane with many zeros as two: which bytes are none, and these; `size` bytes in all, or fewer."""

    bitmap: Bytes
    rest: Bytes
    size: int

    def encode(self, search: Search) -> bytes:
        method, stream = _encode_part(self.bitmap, search)
        rest_method, rest = _encode_part(self.rest, search)
        head = bytes([method]) + encode_varint(len(stream))
        return b"".join((head, stream, bytes([rest_method]), rest))


def _encode_part(plane: Bytes, search: Search) -> tuple[Method, bytes | memoryview]:
    counts = _count(plane)
    size = _coded_size(counts, plane.size)
    return _encode_whole(plane, counts, size, _matched(plane, size, search))


def _split(plane: Bytes, counts: NDArray[np.uint32], size: int) -> _Parts | None:
    """The parts of a plane that takes `size` bytes otherwise, if they take fewer."""
    zeros = int(counts[0])
    if zeros <= plane.size // 4 or zeros == plane.size:
        return None
    bitmap = np.empty((plane.size + 7) // 8, np.uint8)
    rest = np.empty(plane.size - zeros + core.REST_OVERRUN, np.uint8)
    found = core.split_zeros(plane.ctypes.data, plane.size, bitmap.ctypes.data, rest.ctypes.data)
    rest = rest[:found]
    coded = _coded_size(_count(bitmap), bitmap.size) + _coded_size(_count(rest), rest.size) + 8
    return _Parts(bitmap, rest, coded) if coded < size - size // 64 else None


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


def _size_alone(plane: Bytes) -> int:
    """What a plane takes without any match."""
    counts = _count(plane)
    size = _coded_size(counts, plane.size)
    parts = _split(plane, counts, size)
    return size if parts is None else parts.size


def _sample_matches(plane: Bytes, size: int) -> bool:
    """Whether zstd finds something in samples of a plane that takes `size` bytes without it."""
    last = plane.size - _SAMPLE_BYTES
    found = own = 0
    for i in range(_SAMPLES):  # each alone, as zstd would meet it: with what it has seen nearby
        start = last * i // (_SAMPLES - 1)
        sample = plane[start : start + _SAMPLE_BYTES]
        found += len(compress_zstd(sample.data, _QUICK))
        own += _size_alone(sample)
    # Either beside one code for the plane, or beside one for each sample; their tables differ a little in size.
    return found * plane.size < size * _SAMPLES * _SAMPLE_BYTES or found < own - own // 64


def _matched(plane: Bytes, size: int, search: Search) -> bytes | None:
    """What zstd makes of a plane that takes `size` bytes without it, None where that is hopeless."""
    if size == 1:
        return None  # a constant
    if search is Search.SAMPLES and not _sample_matches(plane, size):
        return None
    quick = compress_zstd(plane.data, _QUICK)
    # The highest level finds more, but hardly where the quick one found nothing.
    hopeless = size if size == plane.size else size + size // 16
    if search is not Search.THOROUGH or len(quick) >= hopeless:
        return quick
    return compress_zstd(plane.data, _SMALLEST)


def _decode_sparse(stream: memoryview, size: int) -> Bytes:
    cursor = Cursor(stream, "sparse plane")
    try:
        method = cursor.byte("method of the bitmap")
        coded = cursor.take(cursor.varint("length of the bitmap"), "bitmap")
        rest_method = cursor.byte("method of the rest")
    except TernzipError as error:
        raise CorruptPayload(str(error)) from None
    if Method.SPARSE in (method, rest_method):
        raise CorruptPayload("sparse plane: expected no sparse plane within")
    bitmap = decode_plane(method, coded, (size + 7) // 8)
    ones = core.count_bitmap(bitmap.ctypes.data, size)
    if not ones:
        raise CorruptPayload(f"sparse plane: expected some of the first {size} bits, and no others")
    rest = decode_plane(rest_method, cursor.take(cursor.remaining, "rest"), ones)
    plane = np.empty(size, np.uint8)
    if not core.merge_zeros(bitmap.ctypes.data, rest.ctypes.data, ones, size, plane.ctypes.data):
        raise CorruptPayload("sparse plane: the bitmap changed while it was read")
    return plane


def decode_plane(method: int, stream: memoryview, size: int) -> Bytes:
    """The `size` bytes of a plane, or CorruptPayload; a stored plane is not copied."""
    if method == Method.STORED:
        if len(stream) != size:
            raise CorruptPayload(f"plane: expected {size} stored bytes, found {len(stream)}")
        return np.frombuffer(stream, np.uint8)
    if method == Method.ZSTD:
        return decompress_zstd(stream, size)
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
    if method == Method.SPARSE:
        return _decode_sparse(stream, size)
    raise CorruptPayload(f"plane: expected method 0 to {max(Method)}, found {method}")
