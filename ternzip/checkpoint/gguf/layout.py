"""Where a GGUF file keeps its tensors: header, metadata and tensor infos, each length checked before it is used."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from ternzip._core.errors import TernzipError
from ternzip.checkpoint.source_file import SourceFile

MAGIC = b"GGUF"
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32

_MOST_PADDING = 1 << 32
"""Bytes between tensors and behind them: a small .tnz file with a head of a million tensors could ask for 2^40."""
_MOST_TENSORS = 1 << 20
_MOST_DIMENSIONS = 4
_LONGEST_NAME = 1 << 16
_DEEPEST_ARRAY = 8
_HEAD_PIECE = 1 << 20


@dataclass(frozen=True)
class GgmlType:
    """A type of tensors: `block` elements, consecutive in a row, take `bytes` bytes.

    Attributes:
        name, code: as ggml has them.
        dtype: the element type in a .tnz file of what has one, else None.
    """

    name: str
    code: int
    block: int
    bytes: int
    dtype: str | None = None


TYPES = {
    kind.code: kind
    for kind in (
        GgmlType("F32", 0, 1, 4, "float32"),
        GgmlType("F16", 1, 1, 2, "float16"),
        GgmlType("Q4_0", 2, 32, 18),
        GgmlType("Q4_1", 3, 32, 20),
        GgmlType("Q5_0", 6, 32, 22),
        GgmlType("Q5_1", 7, 32, 24),
        GgmlType("Q8_0", 8, 32, 34),
        GgmlType("Q8_1", 9, 32, 40),
        GgmlType("Q2_K", 10, 256, 84),
        GgmlType("Q3_K", 11, 256, 110),
        GgmlType("Q4_K", 12, 256, 144),
        GgmlType("Q5_K", 13, 256, 176),
        GgmlType("Q6_K", 14, 256, 210),
        GgmlType("Q8_K", 15, 256, 292),
        GgmlType("IQ2_XXS", 16, 256, 66),
        GgmlType("IQ2_XS", 17, 256, 74),
        GgmlType("IQ3_XXS", 18, 256, 98),
        GgmlType("IQ1_S", 19, 256, 50),
        GgmlType("IQ4_NL", 20, 32, 18),
        GgmlType("IQ3_S", 21, 256, 110),
        GgmlType("IQ2_S", 22, 256, 82),
        GgmlType("IQ4_XS", 23, 256, 136),
        GgmlType("I8", 24, 1, 1, "int8"),
        GgmlType("I16", 25, 1, 2, "int16"),
        GgmlType("I32", 26, 1, 4, "int32"),
        GgmlType("I64", 27, 1, 8, "int64"),
        GgmlType("F64", 28, 1, 8, "float64"),
        GgmlType("IQ1_M", 29, 256, 56),
        GgmlType("BF16", 30, 1, 2, "bfloat16"),
        GgmlType("TQ1_0", 34, 256, 54),
        GgmlType("TQ2_0", 35, 256, 66),
        GgmlType("MXFP4", 39, 32, 17),
        GgmlType("NVFP4", 40, 64, 36),
        GgmlType("Q1_0", 41, 128, 18),
    )
}

REFUSED = {
    36: "I2_S, which exists in three orders that nothing in the file tells apart",
    38: "TL1, which is tiled for one machine",
    42: "Q2_0, which publishers write with blocks of 64 and of 128 weights",
}
"""Codes that some programs use, and why they cannot be read."""

_SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of the metadata types that have a fixed size."""
_UINT32, _STRING, _ARRAY = 4, 8, 9


@dataclass(frozen=True)
class GgufTensor:
    """One tensor of a file.

    Attributes:
        name: as stored.
        kind: its type.
        shape: slowest dimension first, the reverse of the file's order.
        offset: of its bytes from the start of the file.
        nbytes: how many there are.
    """

    name: str
    kind: GgmlType
    shape: tuple[int, ...]
    offset: int
    nbytes: int

    @property
    def packed_shape(self) -> tuple[int, ...]:
        """The shape of its bytes, a row of them for each row of elements."""
        if not self.shape:
            return (self.nbytes,)
        return (*self.shape[:-1], self.shape[-1] // self.kind.block * self.kind.bytes)


@dataclass(frozen=True)
class GgufLayout:
    """What is where.

    Attributes:
        head: bytes before the tensors' data: header, metadata, tensor infos and padding.
        alignment: of every tensor's offset.
        tensors: in the order of the infos.
    """

    head: int
    alignment: int
    tensors: list[GgufTensor]

    @property
    def by_offset(self) -> list[GgufTensor]:
        """The tensors as their bytes lie in the file; empty ones before others at the same place."""
        return sorted(self.tensors, key=lambda tensor: (tensor.offset, tensor.nbytes))


def read_layout(file: SourceFile, *, size: int | None = None) -> GgufLayout:
    """The layout of a GGUF file (version 2 or 3, little-endian); of a file's head alone, with the `size` of the whole.

    Raises TernzipError, naming file and offset, where it is damaged or hostile, or holds a type that is not known for
    sure.
    """
    cursor = _Cursor(file)
    if cursor.take(4, "magic") != MAGIC:
        raise cursor.fail("expected a GGUF file")
    version = cursor.u32("version")
    if version not in VERSIONS:
        known = " or ".join(map(str, VERSIONS))
        hint = ", written by a big-endian machine" if version & 0xFFFF == 0 and version else ""
        raise cursor.fail(f"expected GGUF version {known}, found {version}{hint}")
    count, entries = cursor.u64("number of tensors"), cursor.u64("number of metadata entries")
    if count > _MOST_TENSORS:
        raise cursor.fail(f"expected at most {_MOST_TENSORS:,} tensors, found {count:,}")
    alignment = _read_metadata(cursor, entries)
    infos = [_read_info(cursor) for _ in range(count)]
    head = _aligned(cursor.offset, alignment) if infos else cursor.offset
    whole = file.size if size is None else size
    tensors = [_place(info, head, alignment, file.name, whole) for info in infos]
    names = {tensor.name for tensor in tensors}
    if len(names) != len(tensors):
        raise TernzipError(f"{file.name}: expected tensor names to be unique")
    padding = whole - head - sum(tensor.nbytes for tensor in tensors)
    if tensors and padding > _MOST_PADDING:
        raise TernzipError(
            f"{file.name}: expected at most {_MOST_PADDING:,} bytes that belong to no tensor, found {padding:,}"
        )
    return GgufLayout(min(head, whole), alignment, tensors)


@dataclass(frozen=True)
class _Info:
    name: str
    kind: GgmlType
    shape: tuple[int, ...]
    start: int


def _read_metadata(cursor: _Cursor, entries: int) -> int:
    """Goes past all metadata, and returns the alignment that it may state."""
    alignment = DEFAULT_ALIGNMENT
    for _ in range(entries):
        key = cursor.string("metadata key", _LONGEST_NAME)
        kind = cursor.u32(f"type of {key!r}")
        if key == b"general.alignment":
            if kind != _UINT32:
                raise cursor.fail(f"general.alignment: expected type {_UINT32}, found {kind}")
            alignment = cursor.u32("general.alignment")
            if alignment < 1 or alignment & (alignment - 1) or alignment > 1 << 20:
                raise cursor.fail(f"general.alignment: expected a power of two up to 2^20, found {alignment}")
        else:
            _skip_value(cursor, kind, 0)
    return alignment


def _skip_value(cursor: _Cursor, kind: int, depth: int) -> None:
    if kind in _SCALARS:
        cursor.skip(_SCALARS[kind], "metadata value")
    elif kind == _STRING:
        cursor.skip(cursor.u64("length of a string"), "string")
    elif kind == _ARRAY:
        if depth == _DEEPEST_ARRAY:
            raise cursor.fail(f"expected arrays at most {_DEEPEST_ARRAY} deep")
        inner, count = cursor.u32("type of an array"), cursor.u64("length of an array")
        if inner in _SCALARS:
            cursor.skip(_SCALARS[inner] * count, "array")
            return
        cursor.expect(count * (8 if inner == _STRING else 12), "array")  # what its items take at least
        for _ in range(count):
            _skip_value(cursor, inner, depth + 1)
    else:
        raise cursor.fail(f"expected a metadata type of at most 12, found {kind}")


def _read_info(cursor: _Cursor) -> _Info:
    raw = cursor.string("tensor name", _LONGEST_NAME)
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise cursor.fail(f"tensor name {raw!r}: expected UTF-8") from None
    dimensions = cursor.u32(f"tensor {name!r}: number of dimensions")
    if dimensions > _MOST_DIMENSIONS:
        raise cursor.fail(
            f"tensor {name!r}: expected at most {_MOST_DIMENSIONS} dimensions, found {dimensions}"
        )
    shape = tuple(cursor.u64(f"tensor {name!r}: dimension") for _ in range(dimensions))[::-1]
    code, start = cursor.u32(f"tensor {name!r}: type"), cursor.u64(f"tensor {name!r}: offset")
    if code not in TYPES:
        raise cursor.fail(f"tensor {name!r}: cannot read type {code}: {REFUSED.get(code, 'not known')}")
    return _Info(name, TYPES[code], shape, start)


def _place(info: _Info, head: int, alignment: int, name: str, size: int) -> GgufTensor:
    where = f"{name}: tensor {info.name!r}"
    row = info.shape[-1] if info.shape else 1
    if row % info.kind.block:
        raise TernzipError(
            f"{where}: expected rows of whole blocks of {info.kind.block}, found rows of {row}"
        )
    nbytes = math.prod(info.shape) // info.kind.block * info.kind.bytes
    if info.start % alignment:
        raise TernzipError(
            f"{where}: expected an offset that is a multiple of {alignment}, found {info.start}"
        )
    offset = head + info.start
    if offset + nbytes > size:
        raise TernzipError(
            f"{where}: expected {nbytes:,} bytes at {offset:,}, found the end of the file at {size:,}"
        )
    return GgufTensor(info.name, info.kind, info.shape, offset, nbytes)


def _aligned(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment


class _Cursor:
    """Reads the head of a file piece by piece, never more than it has."""

    def __init__(self, file: SourceFile) -> None:
        self._file = file
        self.offset = 0
        self._start = 0
        self._piece = b""

    def fail(self, problem: str) -> TernzipError:
        return TernzipError(f"{self._file.name}: offset {self.offset}: {problem}")

    def expect(self, size: int, what: str) -> None:
        """TernzipError unless that many bytes are left."""
        left = self._file.size - self.offset
        if size > left:
            raise self.fail(f"{what}: expected {size:,} bytes, found {left:,}")

    def skip(self, size: int, what: str) -> None:
        self.expect(size, what)
        self.offset += size

    def take(self, size: int, what: str) -> bytes:
        self.expect(size, what)
        start = self.offset - self._start
        if start < 0 or start + size > len(self._piece):
            self._start, start = self.offset, 0
            self._piece = bytes(
                self._file.read(self.offset, min(max(size, _HEAD_PIECE), self._file.size - self.offset))
            )
        self.offset += size
        return self._piece[start : start + size]

    def u32(self, what: str) -> int:
        return int(struct.unpack("<I", self.take(4, what))[0])

    def u64(self, what: str) -> int:
        return int(struct.unpack("<Q", self.take(8, what))[0])

    def string(self, what: str, longest: int) -> bytes:
        size = self.u64(f"length of {what}")
        if size > longest:
            raise self.fail(f"{what}: expected at most {longest:,} bytes, found {size:,}")
        return self.take(size, what)
