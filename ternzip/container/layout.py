"""The parts of a .tnz file and their order: preamble, records, index. docs/FORMAT.md has the tables.

Everything that can be derived is not stored: how many records a tensor has and how many symbols each holds
follow from its shape, where each record lies follows from the lengths of those before it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum

from ternzip._core.dtypes import BY_CODE, DType
from ternzip._core.errors import TernzipError
from ternzip.codecs.planes import MAX_BLOCK_BYTES, Run
from ternzip.codecs.ternary import Coding, Ternary
from ternzip.container.limits import MAX_EXPANSION, SOLID_BLOCK_BYTES

MAGIC = b"\x89TNZ\x01\r\n\x1a"
"""Eight bytes; the fifth is the major version of the format. The others betray text-mode transfers."""

PREAMBLE = struct.Struct(
    "<8sQIIII"
)  # magic, index offset, parameters, directory, CRC of both, CRC of the above


class Storage(IntEnum):
    """How a tensor is stored."""

    TIED = 0  # the elements of an earlier tensor
    SOLID = 1  # a part of a solid block
    PLANES = 2  # blocks of its own
    TERNARY = 3


@dataclass(frozen=True)
class Preamble:
    """The first 32 bytes."""

    index_offset: int
    parameters_size: int
    directory_size: int
    index_crc: int

    def to_bytes(self) -> bytes:
        """As it stands in the file, with its own checksum."""
        fields = (self.index_offset, self.parameters_size, self.directory_size, self.index_crc)
        head = PREAMBLE.pack(MAGIC, *fields, 0)[:-4]
        return head + struct.pack("<I", zlib.crc32(head))

    @classmethod
    def from_bytes(cls, data: bytes, file_size: int) -> Preamble:
        """Checks everything the preamble alone can tell; `data` is the file's first 32 bytes or fewer."""
        if data[:4] != MAGIC[:4]:
            raise TernzipError(
                f"offset 0: expected a .tnz file starting with {MAGIC.hex()}, found {data[:8].hex()}"
            )
        if len(data) >= 5 and data[4] != MAGIC[4]:
            raise TernzipError(
                f"offset 4: format version {data[4]}, this ternzip reads version {MAGIC[4]}: upgrade ternzip"
            )
        if len(data) < PREAMBLE.size:
            raise TernzipError(f"offset {len(data)}: truncated: expected a preamble of {PREAMBLE.size} bytes")
        magic, offset, parameters, directory, index_crc, crc = PREAMBLE.unpack(data)
        if magic != MAGIC:
            raise TernzipError(f"offset 0: expected the magic {MAGIC.hex()}, found {magic.hex()}")
        if zlib.crc32(data[:-4]) != crc:
            raise TernzipError(
                f"offset 28: preamble checksum: expected {crc:#010x}, found {zlib.crc32(data[:-4]):#010x}"
            )
        if offset < PREAMBLE.size:
            raise TernzipError(f"offset 8: index offset: expected at least {PREAMBLE.size}, found {offset}")
        end = offset + parameters + directory
        if end != file_size:
            problem = "truncated" if end > file_size else "further bytes after its end"
            raise TernzipError(
                f"offset {min(end, file_size)}: {problem}: expected {end} bytes, found {file_size}"
            )
        return cls(offset, parameters, directory, index_crc)


@dataclass(frozen=True, slots=True)
class Record:
    """A stretch of the file that is decoded alone.

    Attributes:
        offset: where it starts in the file.
        size: bytes its codec wrote.
        stored: bytes in the file: `size`, or more zeros where the codec needed next to nothing.
        units: symbols or bytes it stands for.
        crc: CRC-32 of the stored bytes.
    """

    offset: int
    size: int
    stored: int
    units: int
    crc: int


def stored_size(size: int, units: int) -> int:
    """Bytes a record of `size` bytes takes so that MAX_EXPANSION holds."""
    return max(size, -(-units // MAX_EXPANSION))


@dataclass(slots=True)
class Entry:
    """One tensor of the index.

    Attributes:
        tied_to: name of the tensor whose elements these are, for Storage.TIED.
        ternary, coding: for Storage.TERNARY.
        parameters_size: bytes in the parameters section.
        records: its own, in order: levels, symbols, signs of zeros. Empty for tied and solid tensors.
        block, block_offset: which solid block holds it and where in the block's raw bytes.
    """

    name: str
    storage: Storage
    dtype: DType
    shape: tuple[int, ...]
    size: int
    tied_to: str | None = None
    ternary: Ternary | None = None
    coding: Coding | None = None
    parameters_size: int = 0
    records: list[Record] = field(default_factory=list)
    block: int = -1
    block_offset: int = -1

    @property
    def nbytes(self) -> int:
        """Bytes of the elements in memory."""
        return self.size * self.dtype.itemsize

    def record_units(self) -> Iterator[int]:
        """Symbols or bytes that each of its own records stands for, in order."""
        if self.storage is Storage.PLANES:
            yield from _pieces(self.nbytes)
        elif self.ternary is not None:
            for size in self.ternary.level_bytes:
                yield from _pieces(size)
            for geometry in (self.ternary.geometry, self.ternary.zero_geometry):
                for _, chunk in geometry.chunks():
                    yield chunk.symbols

    def record_count(self) -> int:
        """How many `record_units` yields, without walking them."""
        if self.storage is Storage.PLANES:
            return -(-self.nbytes // MAX_BLOCK_BYTES)
        if self.ternary is None:
            return 0
        symbols = self.ternary.geometry.chunk_count + self.ternary.zero_geometry.chunk_count
        return self.level_record_count + symbols

    @property
    def level_record_count(self) -> int:
        """How many of its records hold levels; they come first."""
        return sum(-(-size // MAX_BLOCK_BYTES) for size in self.ternary.level_bytes) if self.ternary else 0

    @property
    def units(self) -> int:
        """What its own records stand for at least, without walking them: all but the signs of zeros."""
        if self.ternary is None:
            return self.nbytes
        return self.size + sum(self.ternary.level_bytes)


def _pieces(size: int) -> Iterator[int]:
    for start in range(0, size, MAX_BLOCK_BYTES):
        yield min(MAX_BLOCK_BYTES, size - start)


@dataclass
class SolidBlock:
    """Small tensors that are compressed as one block."""

    members: list[Entry] = field(default_factory=list)
    size: int = 0
    record: Record | None = None

    def accepts(self, nbytes: int) -> bool:
        """Whether a tensor of that many bytes still belongs to this block; an empty one takes any."""
        return not self.members or self.size + nbytes <= SOLID_BLOCK_BYTES

    def add(self, entry: Entry) -> None:
        """Makes a tensor the last member."""
        self.members.append(entry)
        self.size += entry.nbytes

    def ordered(self) -> list[Entry]:
        """The members as they lie in the block: by type, then in file order."""
        return sorted(self.members, key=lambda entry: entry.dtype.code)

    def runs(self) -> list[Run]:
        """One run a type; elements of one type meet, whatever tensor they are of."""
        sizes: dict[int, int] = {}
        for entry in self.ordered():
            sizes[entry.dtype.code] = sizes.get(entry.dtype.code, 0) + entry.nbytes
        return [Run(size, BY_CODE[code]) for code, size in sizes.items() if size]


def in_file_order(entries: Iterable[Entry], blocks: list[SolidBlock]) -> Iterator[Entry | SolidBlock]:
    """Yields everything that has records, in the order of the records; fills `blocks` as it goes.

    A solid block is written when the next small tensor no longer fits, the last one at the end.
    """
    for entry in entries:
        if entry.storage is Storage.SOLID:
            if not blocks or not blocks[-1].accepts(entry.nbytes):
                if blocks:
                    yield blocks[-1]
                blocks.append(SolidBlock())
            entry.block = len(blocks) - 1
            blocks[-1].add(entry)
        elif entry.storage is not Storage.TIED:
            yield entry
    if blocks:
        yield blocks[-1]
