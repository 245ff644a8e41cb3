"""Builds .tnz files field by field, well-formed or not, straight from docs/FORMAT.md.

The package's writer has no part in it, so what the reader accepts here is what the document says.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

MAGIC = bytes.fromhex("89544e5a010d0a1a")
TIED, SOLID, PLANES, TERNARY = range(4)
F64, F32, F16, BF16, E4M3 = range(5)
I8, I16, I32, I64, U8 = 8, 9, 10, 11, 12
PACKED, STATIC = 0, 1


def varint(value: int) -> bytes:
    """The shortest LEB128 form."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


@dataclass
class Tensor:
    """A row of the directory, and the tensor's ternary parameters."""

    name: str | bytes = "t"
    storage: int = SOLID
    dtype: int = F32
    shape: Sequence[int] = (1,)
    tied: int = 0
    parameters: bytes = b""


@dataclass
class Forge:
    """A whole file. Every field that repeats another is derived unless it is given."""

    tensors: list[Tensor] = field(default_factory=list)
    records: list[bytes] = field(default_factory=list)
    metadata: list[tuple[bytes, bytes]] = field(default_factory=list)
    codec_parameters: list[bytes] = field(default_factory=list)
    extensions: list[tuple[bytes, bytes]] = field(default_factory=list)
    sizes: list[int] | None = None
    checksums: list[int] | None = None
    flags: int = 0
    tensor_count: int | None = None
    metadata_count: int | None = None
    name_lengths: list[int] | None = None
    table_tail: bytes = b""
    parameters_tail: bytes = b""
    tail: bytes = b""

    def table(self) -> bytes:
        """The directory's table."""
        own = [tensor for tensor in self.tensors if tensor.storage != TIED]
        names = [t.name if isinstance(t.name, bytes) else t.name.encode() for t in self.tensors]
        pairs = [text for pair in self.metadata for text in pair]
        extensions = [name for name, _ in self.extensions]
        records = [*self.records, *(content for _, content in self.extensions)]
        sizes = [len(record) for record in records] if self.sizes is None else self.sizes
        sums = [zlib.crc32(record) for record in records] if self.checksums is None else self.checksums
        lengths = [len(name) for name in names] if self.name_lengths is None else self.name_lengths
        return b"".join(
            (
                bytes([self.flags]),
                varint(len(self.tensors) if self.tensor_count is None else self.tensor_count),
                varint(len(self.metadata) if self.metadata_count is None else self.metadata_count),
                varint(len(self.codec_parameters)),
                varint(len(self.extensions)),
                bytes(tensor.storage for tensor in self.tensors),
                bytes(tensor.dtype for tensor in own),
                bytes(len(tensor.shape) for tensor in own),
                *(varint(length) for tensor in own for length in tensor.shape),
                *(varint(tensor.tied) for tensor in self.tensors if tensor.storage == TIED),
                *(varint(len(string)) for string in self.codec_parameters),
                *(varint(size) for size in sizes),
                *(struct.pack("<I", crc) for crc in sums),
                *(varint(length) for length in lengths),
                *(varint(len(text)) for text in [*pairs, *extensions]),
                *names,
                *pairs,
                *extensions,
                self.table_tail,
            )
        )

    def to_bytes(self) -> bytes:
        """The file, its directory stored as it is."""
        table = self.table()
        own = b"".join(tensor.parameters for tensor in self.tensors)
        parameters = b"".join(self.codec_parameters) + own + self.parameters_tail
        records = b"".join([*self.records, *(content for _, content in self.extensions)])
        return seal(records, parameters, b"\0" + varint(len(table)) + table) + self.tail


def preamble(offset: int, parameters: int, directory: int, index_crc: int, magic: bytes = MAGIC) -> bytes:
    """The first 32 bytes, with the right checksum of their own."""
    head = magic + struct.pack("<QIII", offset, parameters, directory, index_crc)
    return head + struct.pack("<I", zlib.crc32(head))


def seal(records: bytes, parameters: bytes, directory: bytes) -> bytes:
    """A file of these parts with correct offsets and checksums."""
    index = parameters + directory
    head = preamble(32 + len(records), len(parameters), len(directory), zlib.crc32(index))
    return head + records + index


def parts(data: bytes) -> tuple[bytes, bytes, bytes]:
    """(records, parameters, directory) of a well-formed file."""
    offset, parameters, directory = struct.unpack_from("<QII", data, 8)
    split = offset + parameters
    return data[32:offset], data[offset:split], data[split : split + directory]


def table_of(directory: bytes) -> bytes:
    """The directory's table, decompressed by the zstandard package alone."""
    import zstandard

    size, start = 0, 1
    while True:
        byte = directory[start]
        size |= (byte & 127) << 7 * (start - 1)
        start += 1
        if byte < 128:
            break
    if directory[0] == 0:
        return directory[start:]
    return zstandard.ZstdDecompressor().decompress(directory[start:], max_output_size=size)


def stored_directory(table: bytes) -> bytes:
    """A directory that holds its table as it is."""
    return b"\0" + varint(len(table)) + table


def reseal_record(data: bytes, start: int, old: bytes, new: bytes) -> bytes:
    """The file with the record at `start` replaced by one of the same length, and every checksum right."""
    assert len(old) == len(new)
    assert data[start : start + len(old)] == old
    _, parameters, directory = parts(data)
    table = table_of(directory)
    before, after = (struct.pack("<I", zlib.crc32(record)) for record in (old, new))
    assert table.count(before) == 1
    records = data[32:start] + new + data[start + len(old) : struct.unpack_from("<Q", data, 8)[0]]
    return seal(records, parameters, stored_directory(table.replace(before, after)))


def levels(*numbers: float) -> bytes:
    """float32 levels."""
    return struct.pack(f"<{len(numbers)}f", *numbers)
