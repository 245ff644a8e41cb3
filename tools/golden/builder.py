"""Puts .tnz files together from their smallest parts, so that each part can be made wrong on its own.

Nothing here is checked and nothing is compressed: zstd frames are made of raw blocks. Section numbers are
those of docs/FORMAT.md.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import NamedTuple

MAGIC = bytes.fromhex("89544E5A010D0A1A")
TIED, SOLID, PLANES, TERNARY = range(4)
FLOAT32, INT8, UINT8 = 1, 8, 12


class Item(NamedTuple):
    """A line of the directory, as codes."""

    name: bytes
    storage: int
    dtype: int = FLOAT32
    shape: Sequence[int] = ()
    parameters: bytes = b""
    target: int = 0


class Record(NamedTuple):
    """A record; `room` is what it takes up, by default what section 4 says."""

    payload: bytes
    units: int
    room: bytes | None = None
    crc: int | None = None

    @property
    def data(self) -> bytes:
        if self.room is not None:
            return self.room
        return self.payload.ljust(-(-self.units // (1 << 19)), b"\0")


def varint(value: int) -> bytes:
    out = b""
    while value >= 128:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def seal(records: bytes, parameters: bytes, directory: bytes, *, offset: int | None = None) -> bytes:
    """Section 2: the file of its parts, with all checksums."""
    index = parameters + directory
    offset = 32 + len(records) if offset is None else offset
    head = MAGIC + struct.pack("<QIII", offset, len(parameters), len(directory), zlib.crc32(index))
    return head + struct.pack("<I", zlib.crc32(head)) + records + index


def reseal(data: bytes) -> bytes:
    """The file with its preamble's checksum made right."""
    return data[:28] + struct.pack("<I", zlib.crc32(data[:28])) + data[32:]


def directory(table: bytes, *, method: int = 0, size: int | None = None, body: bytes | None = None) -> bytes:
    return bytes([method]) + varint(len(table) if size is None else size) + (table if body is None else body)


def table(
    items: Sequence[Item],
    records: Sequence[Record] = (),
    metadata: Sequence[tuple[bytes, bytes]] = (),
    *,
    strings: Sequence[bytes] = (),
    extensions: Sequence[bytes] = (),
    flags: int = 0,
    count: int | None = None,
    tail: bytes = b"",
) -> bytes:
    """The directory's table; `strings` of codec parameters, names of `extensions`, whose records are the last."""
    stored = [item for item in items if item.storage != TIED]
    texts = [text for pair in metadata for text in pair]
    return b"".join(
        [
            bytes([flags]),
            varint(len(items) if count is None else count),
            varint(len(metadata)),
            varint(len(strings)),
            varint(len(extensions)),
            bytes(item.storage for item in items),
            bytes(item.dtype for item in stored),
            bytes(len(item.shape) for item in stored),
            *(varint(length) for item in stored for length in item.shape),
            *(varint(item.target) for item in items if item.storage == TIED),
            *(varint(len(string)) for string in strings),
            *(varint(len(record.payload)) for record in records),
            *(
                struct.pack("<I", zlib.crc32(record.data) if record.crc is None else record.crc)
                for record in records
            ),
            *(varint(len(text)) for text in [*(item.name for item in items), *texts, *extensions]),
            *(item.name for item in items),
            *texts,
            *extensions,
            tail,
        ]
    )


def file(
    items: Sequence[Item],
    records: Sequence[Record] = (),
    metadata: Sequence[tuple[bytes, bytes]] = (),
    strings: Sequence[bytes] = (),
    extensions: Sequence[tuple[bytes, bytes]] = (),
) -> bytes:
    """A whole file, its directory not compressed; `strings` of codec parameters, `extensions` as (name, content)."""
    records = [*records, *(Record(content, 0) for _, content in extensions)]
    parameters = b"".join(strings) + b"".join(item.parameters for item in items)
    listed = directory(
        table(items, records, metadata, strings=strings, extensions=[name for name, _ in extensions])
    )
    return seal(b"".join(record.data for record in records), parameters, listed)


def frame(data: bytes, *, descriptor: int = 0, header: bytes = b"\x00", checksum: bytes = b"") -> bytes:
    """A zstd frame of raw blocks; `header` follows the descriptor and starts with the window, here 1 KiB."""
    pieces = [data[start : start + 1024] for start in range(0, len(data), 1024)] or [b""]
    blocks = [
        (len(piece) << 3 | (number == len(pieces) - 1)).to_bytes(3, "little") + piece
        for number, piece in enumerate(pieces)
    ]
    return b"\x28\xb5\x2f\xfd" + bytes([descriptor]) + header + b"".join(blocks) + checksum


def repeated_frame(byte: int, count: int, before: bytes = b"") -> bytes:
    """A zstd frame of some bytes and one repeated byte, each up to 128 KiB, with a window of 128 KiB."""
    raw = (len(before) << 3).to_bytes(3, "little") + before if before else b""
    run = (count << 3 | 1 << 1 | 1).to_bytes(3, "little") + bytes([byte])
    return b"\x28\xb5\x2f\xfd\x00\x38" + raw + run


def plane(data: bytes, *, method: int = 0) -> bytes:
    """Section 5: one plane of a block."""
    return bytes([method]) + varint(len(data)) + data


def sparse(bitmap: bytes, rest: bytes, *, bitmap_method: int = 0, rest_method: int = 0) -> bytes:
    """Section 5: a sparse plane, of the streams of its bitmap and of the rest."""
    return plane(plane(bitmap, method=bitmap_method) + bytes([rest_method]) + rest, method=4)


def block(elements: bytes, width: int, *, rotation: int = 0, zstd: bool = False) -> bytes:
    """Section 5: the block of one run."""
    bits = 8 * width
    numbers = [int.from_bytes(elements[i : i + width], "little") for i in range(0, len(elements), width)]
    rotated = [(n << rotation | n >> (bits - rotation)) & ((1 << bits) - 1) for n in numbers]
    turned = b"".join(n.to_bytes(width, "little") for n in rotated)
    planes = [turned[i::width] for i in range(width)]
    return bytes([rotation]) + b"".join(plane(frame(p), method=1) if zstd else plane(p) for p in planes)


def pack(symbols: Sequence[int]) -> bytes:
    """Section 7.1, with the alphabet of all three symbols."""
    padded = [*symbols, *[0] * (-len(symbols) % 5)]
    return bytes(sum((padded[i + j] + 1) * 3**j for j in range(5)) for i in range(0, len(padded), 5))


def ternary(
    flags: int,
    levels: bytes,
    counts: Sequence[int] = (),
    codec: int | None = 0,
    codec_parameters: int = 0,
    signs: bytes = b"",
) -> bytes:
    """Section 6: the parameters of a ternary tensor; `codec_parameters` is a number.

    With several blocks of levels, `levels` are their height and width.
    """
    named = b"" if codec is None else bytes([codec]) + varint(codec_parameters)
    return bytes([flags]) + levels + b"".join(map(varint, counts)) + named + signs


def levels(patterns: bytes, width: int) -> Record:
    """Section 6: the record of a sequence of levels."""
    return Record(block(patterns, width), len(patterns))
