#!/usr/bin/env python3
"""Decode .tnz files in plain Python, after docs/FORMAT.md alone.

This is the proof that the document is complete, and what ternzip is tested against. It shares no code with
ternzip, follows the document section by section, and favours the shortest exact statement over speed. Only
Zstandard frames are left to a library: compression.zstd of Python 3.14, or else the zstandard package.
"""

from __future__ import annotations

import argparse
import bisect
import importlib
import struct
import sys
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, product
from math import prod
from pathlib import Path
from typing import NamedTuple, NoReturn

import reference_context
import reference_fast  # what has a document of its own has a decoder of its own
import reference_huffman


class FormatError(Exception):
    """The file breaks a rule of the format; the message begins with the place."""


def refuse(place: str, problem: str) -> NoReturn:
    raise FormatError(f"{place}: {problem}")


def require(condition: bool, place: str, problem: str) -> None:
    if not condition:
        refuse(place, problem)


class Tensor(NamedTuple):
    name: str
    type: str
    shape: tuple[int, ...]
    data: bytes


class Content(NamedTuple):
    tensors: list[Tensor]
    ties: dict[str, str]  # the name of a tied tensor -> that of the tensor whose elements it shares
    metadata: dict[str, str]
    extensions: dict[str, bytes]


# ------------------------------------------------------------------------------------ section 1: conventions


class Cursor:
    """Takes fields off the front of some bytes."""

    def __init__(self, data: bytes, place: str) -> None:
        self.data = data
        self.place = place
        self.position = 0

    def take(self, size: int) -> bytes:
        require(size <= len(self.data) - self.position, self.place, f"ends within a field of {size} bytes")
        self.position += size
        return self.data[self.position - size : self.position]

    def integer(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.integer(1)
            value |= (byte & 127) << shift
            require(value < 1 << 64, self.place, "a varint is not below 2^64")
            if byte < 128:
                require(byte > 0 or shift == 0, self.place, "a varint is not in its shortest form")
                return value
            shift += 7

    def finish(self) -> None:
        left = len(self.data) - self.position
        require(left == 0, self.place, f"{left} bytes are left over")


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


# --------------------------------------------------------------------------------------- section 2: the file

MAGIC = bytes.fromhex("89544E5A010D0A1A")


def split_file(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Check the preamble and return records, parameters and directory."""
    require(len(data) >= 32, "preamble", f"the file has {len(data)} bytes, fewer than 32")
    require(data[:4] == MAGIC[:4] and data[5:8] == MAGIC[5:], "preamble", "no .tnz magic")
    require(data[4] == 1, "preamble", f"version {data[4]} of the format; this decoder reads version 1")
    preamble = Cursor(data[8:32], "preamble")
    offset, parameters_size, directory_size = preamble.integer(8), preamble.integer(4), preamble.integer(4)
    index_crc, preamble_crc = preamble.integer(4), preamble.integer(4)
    require(zlib.crc32(data[:28]) == preamble_crc, "preamble", "CRC-32 mismatch")
    require(offset >= 32, "preamble", f"index offset {offset} is below 32")
    total = offset + parameters_size + directory_size
    require(total == len(data), "preamble", f"the file has {len(data)} bytes instead of {total}")
    require(zlib.crc32(data[offset:]) == index_crc, "index", "CRC-32 mismatch")
    directory = offset + parameters_size
    return data[32:offset], data[offset:directory], data[directory:]


def table_of_directory(directory: bytes) -> bytes:
    cursor = Cursor(directory, "directory")
    method, size = cursor.integer(1), cursor.varint()
    require(size <= 128 * len(directory) + 65536, "directory", f"a table of {size} bytes is too large")
    body = directory[cursor.position :]
    if method == 0:
        require(len(body) == size, "directory", f"the table has {len(body)} bytes instead of {size}")
        return body
    require(method == 1, "directory", f"unknown method {method}")
    return unzstd(body, size, "directory")


def unzstd(frame: bytes, size: int, place: str) -> bytes:
    """Decompress exactly one frame of RFC 8878 that gives `size` bytes."""
    place = f"{place}, zstd frame"
    cursor = Cursor(frame, place)
    require(cursor.take(4) == bytes.fromhex("28B52FFD"), place, "no zstd magic")
    descriptor = cursor.integer(1)
    require(descriptor & 0b11100000 == 0, place, "it states a content size")
    require(descriptor & 0b00000011 == 0, place, "it uses a dictionary")
    window = cursor.integer(1)
    base = 1 << (10 + (window >> 3))
    require(base + base // 8 * (window & 7) <= 1 << 23, place, "the window exceeds 8 MiB")
    last = 0
    while not last:
        header = cursor.integer(3)
        last, kind = header & 1, header >> 1 & 3
        cursor.take(1 if kind == 1 else header >> 3)  # a block of kind 1 repeats one byte
    cursor.take(4 if descriptor & 0b00000100 else 0)  # the content's checksum
    cursor.finish()
    plain = zstd_library()(frame, size + 1)  # no more than tells that it is too long
    require(plain is not None, place, "damaged")
    assert plain is not None
    require(len(plain) == size, place, f"it does not decompress to {size} bytes")
    return plain


def zstd_library() -> Callable[[bytes, int], bytes | None]:
    """Return a function (frame, limit) -> at most `limit` bytes of its content, None if damaged."""
    if sys.version_info >= (3, 14):
        zstd = importlib.import_module("compression.zstd")

        def decompress(frame: bytes, limit: int) -> bytes | None:
            decompressor, plain = zstd.ZstdDecompressor(), b""
            try:
                while len(plain) < limit and not decompressor.eof:
                    piece = decompressor.decompress(frame, limit - len(plain))
                    if not piece and not decompressor.eof:
                        return None
                    plain, frame = plain + piece, b""
            except (zstd.ZstdError, EOFError):
                return None
            return plain
    else:
        zstandard = importlib.import_module("zstandard")

        def decompress(frame: bytes, limit: int) -> bytes | None:
            try:
                plain = zstandard.ZstdDecompressor().stream_reader(frame).read(limit)
            except zstandard.ZstdError:
                return None
            return bytes(plain)

    return decompress


TIED, SOLID, PLANES, TERNARY = range(4)


@dataclass
class Entry:
    """What the index says about one tensor."""

    number: int
    storage: int
    type: ElementType
    shape: tuple[int, ...]
    target: int | None = None  # of a tied tensor
    name: str = ""
    ternary: Ternary | None = None

    @property
    def place(self) -> str:
        return f"tensor '{self.name}'" if self.name else f"tensor {self.number}"

    @property
    def count(self) -> int:
        return prod(self.shape)

    @property
    def size(self) -> int:
        return self.count * self.type.size


def read_index(
    parameters: bytes, table: bytes, directory_size: int
) -> tuple[list[Entry], list[Record], dict[str, str], list[str]]:
    cursor = Cursor(table, "directory")
    require(cursor.integer(1) == 0, "directory", "unknown flags")
    tensor_count, metadata_count, string_count = cursor.varint(), cursor.varint(), cursor.varint()
    extension_count = cursor.varint()
    require(extension_count <= 256, "directory", f"{extension_count} extensions")
    count = tensor_count + metadata_count + string_count
    limit = 65536 + directory_size // 4
    require(count <= limit, "directory", f"{count} tensors, metadata entries and codec parameters")
    storages = cursor.take(tensor_count)
    for number, storage in enumerate(storages):
        require(storage <= TERNARY, f"tensor {number}", f"unknown storage {storage}")
    untied = [number for number, storage in enumerate(storages) if storage != TIED]
    codes = dict(zip(untied, cursor.take(len(untied)), strict=True))
    dimensions = dict(zip(untied, cursor.take(len(untied)), strict=True))
    shapes: dict[int, tuple[int, ...]] = {}
    for number in untied:
        require(codes[number] < len(TYPES), f"tensor {number}", f"unknown element type {codes[number]}")
        require(dimensions[number] <= 64, f"tensor {number}", f"{dimensions[number]} dimensions")
        shapes[number] = tuple(cursor.varint() for _ in range(dimensions[number]))
        size = TYPES[codes[number]].size * prod(max(1, length) for length in shapes[number])
        require(size < 1 << 63, f"tensor {number}", "its size is not below 2^63 bytes")
    entries: list[Entry] = []
    for number, storage in enumerate(storages):
        if storage == TIED:
            target = cursor.varint()
            require(
                target < number and storages[target] != TIED,
                f"tensor {number}",
                f"tied to tensor {target}, which is not an earlier tensor that is not tied itself",
            )
            entries.append(Entry(number, storage, entries[target].type, entries[target].shape, target))
        else:
            entries.append(Entry(number, storage, TYPES[codes[number]], shapes[number]))

    # How many records there are depends on levels and signs of zeros, so the parameters come in between.
    string_lengths = [cursor.varint() for _ in range(string_count)]
    for length in string_lengths:
        require(1 <= length <= 65535, "directory", f"codec parameters of {length} bytes")
    read_parameters(parameters, string_lengths, entries)
    records = list(list_records(entries))
    records += [Record(f"extension {number}", 0) for number in range(extension_count)]
    for record in records:
        record.size = cursor.varint()
    for record in records:
        record.crc = cursor.integer(4)

    lengths = [cursor.varint() for _ in range(tensor_count)]
    metadata_lengths = [cursor.varint() for _ in range(2 * metadata_count)]
    extension_lengths = [cursor.varint() for _ in range(extension_count)]
    for entry, length in zip(entries, lengths, strict=True):
        require(length <= 65536, entry.place, f"a name of {length} bytes")
        entry.name = utf8(cursor.take(length), f"name of tensor {entry.number}")
    require(len({entry.name for entry in entries}) == len(entries), "directory", "two tensors have one name")
    texts = [utf8(cursor.take(length), "metadata") for length in metadata_lengths]
    for length in extension_lengths:
        require(1 <= length <= 255, "directory", f"an extension's name of {length} bytes")
    extensions = [utf8(cursor.take(length), "name of an extension") for length in extension_lengths]
    require(len(set(extensions)) == extension_count, "directory", "two extensions have one name")
    cursor.finish()
    metadata = dict(zip(texts[::2], texts[1::2], strict=True))
    require(len(metadata) == metadata_count, "directory", "a metadata key occurs twice")
    return entries, records, metadata, extensions


def utf8(text: bytes, place: str) -> str:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        refuse(place, "not UTF-8")


def read_parameters(parameters: bytes, string_lengths: Sequence[int], entries: Sequence[Entry]) -> None:
    cursor = Cursor(parameters, "codec parameters")
    strings = [cursor.take(length) for length in string_lengths]
    require(len(set(strings)) == len(strings), cursor.place, "a string occurs twice")
    used: list[int] = []  # the numbers in the order of their first use
    for entry in entries:
        if entry.storage == TERNARY:
            cursor.place = f"parameters of tensor {entry.number}"
            entry.ternary = read_ternary(cursor, entry, [b"", *strings], used)
    cursor.place = "parameters"
    cursor.finish()
    require(len(used) == len(strings), "codec parameters", "a string is not used")


# ---------------------------------------------------------------------------------- section 3: element types


class ElementType(NamedTuple):
    code: int
    name: str
    size: int

    @property
    def width(self) -> int:
        return self.size // 2 if self.name.startswith("complex") else self.size

    @property
    def is_float(self) -> bool:
        return self.code < 8

    @property
    def sign_bit(self) -> int:
        return 1 << (8 * self.size - 1)


TYPES = [
    ElementType(code, name, size)
    for code, (name, size) in enumerate(
        [
            ("float64", 8),
            ("float32", 4),
            ("float16", 2),
            ("bfloat16", 2),
            ("float8_e4m3fn", 1),
            ("float8_e5m2", 1),
            ("float8_e4m3fnuz", 1),
            ("float8_e5m2fnuz", 1),
            ("int8", 1),
            ("int16", 2),
            ("int32", 4),
            ("int64", 8),
            ("uint8", 1),
            ("uint16", 2),
            ("uint32", 4),
            ("uint64", 8),
            ("bool", 1),
            ("complex32", 4),
            ("complex64", 8),
            ("complex128", 16),
            ("float8_e8m0fnu", 1),
            ("float4_e2m1fn_x2", 1),
        ]
    )
]


# ---------------------------------------------------------------------------------------- section 4: records


@dataclass
class Record:
    label: str
    units: int
    members: list[Entry] = field(default_factory=list)  # the tensors of a solid block, else the one tensor
    chunk: Chunk | None = None  # of a ternary tensor
    of_signs: bool = False
    levels: str = ""  # "negative" or "positive" in a record of levels
    size: int = 0
    crc: int = 0
    data: bytes = b""

    @property
    def place(self) -> str:
        if not self.members:  # an extension
            return self.label
        first = self.members[0]
        return self.label if first.storage == SOLID else f"{first.place}, {self.label}"


def list_records(entries: Sequence[Entry]) -> Iterator[Record]:
    solid = Record("solid block 0", 0)
    blocks = 0
    for entry in entries:
        if entry.storage == TERNARY:
            assert entry.ternary is not None
            for sign in entry.ternary.coded_levels:
                size = entry.ternary.grid.blocks * entry.type.size
                for start in range(0, size, 1 << 22):
                    label = f"{sign} levels at byte {start}"
                    yield Record(label, min(1 << 22, size - start), [entry], levels=sign)
            for number, chunk in enumerate(entry.ternary.chunks):
                yield Record(f"chunk {number}", chunk.units, [entry], chunk)
            for number, chunk in enumerate(entry.ternary.sign_chunks):
                yield Record(f"signs of zeros, chunk {number}", chunk.units, [entry], chunk, of_signs=True)
        elif entry.storage == PLANES:
            require(entry.count >= 1, entry.place, "stored as planes, but it has no elements")
            for start in range(0, entry.size, 1 << 22):
                yield Record(f"block at byte {start}", min(1 << 22, entry.size - start), [entry])
        elif entry.storage == SOLID:
            require(entry.size < 65536, entry.place, f"stored solid, but it has {entry.size} bytes")
            if solid.members and solid.units + entry.size > 1 << 20:
                yield solid
                blocks += 1
                solid = Record(f"solid block {blocks}", 0)
            solid.members.append(entry)
            solid.units += entry.size
    if solid.members:
        yield solid


def cut_records(region: bytes, records: Sequence[Record]) -> None:
    """Give each record its bytes, without the zeros that fill it up."""
    cursor = Cursor(region, "records")
    for record in records:
        cursor.place = record.place
        room = cursor.take(max(record.size, ceil_div(record.units, 1 << 19)))
        require(zlib.crc32(room) == record.crc, record.place, "CRC-32 mismatch")
        require(not any(room[record.size :]), record.place, "filled up with other bytes than zeros")
        record.data = room[: record.size]
    cursor.place = "records"
    cursor.finish()


# -------------------------------------------------------------------------- section 5: blocks of byte planes


UNSIGNED = {1: "B", 2: "H", 4: "I", 8: "Q"}  # the struct module's letters


def decode_block(block: bytes, runs: Sequence[tuple[int, int]], place: str) -> list[bytes]:
    """Return the bytes of each run, given as (bytes, width)."""
    cursor = Cursor(block, place)
    result = []
    for size, width in runs:
        rotation = cursor.integer(1)
        require(rotation < 8 * width, place, f"a rotation by {rotation} bits")
        plain = bytearray(size)
        for plane in range(width):
            method, length = cursor.integer(1), cursor.varint()
            plain[plane::width] = decode_plane(method, cursor.take(length), size // width, place)
        if rotation > 0:
            integers = struct.Struct(f"<{size // width}{UNSIGNED[width]}")
            bits = 8 * width
            plain = bytearray(
                integers.pack(
                    *(v >> rotation | v << bits - rotation & (1 << bits) - 1 for v in integers.unpack(plain))
                )
            )
        result.append(bytes(plain))
    cursor.finish()
    return result


def decode_plane(method: int, content: bytes, size: int, place: str) -> bytes:
    require(method <= 4, place, f"unknown method {method} of a plane")
    if method == 4:
        return decode_sparse_plane(content, size, place)
    if method == 1:
        return unzstd(content, size, place)
    if method == 2:
        try:
            return reference_huffman.decode(content, size)
        except reference_huffman.InvalidPayload as error:
            refuse(place, f"a plane in Huffman codes: {error}")
    expected = 1 if method == 3 else size
    require(len(content) == expected, place, f"a plane of {len(content)} bytes")
    return content * size if method == 3 else content


def decode_sparse_plane(content: bytes, size: int, place: str) -> bytes:
    cursor = Cursor(content, place)
    method, length = cursor.integer(1), cursor.varint()
    coded = cursor.take(length)
    rest_method = cursor.integer(1)
    require(method != 4 and rest_method != 4, place, "a sparse plane within a sparse plane")
    bitmap = decode_plane(method, coded, (size + 7) // 8, place)
    bits = [bitmap[i // 8] >> i % 8 & 1 for i in range(8 * len(bitmap))]
    require(not any(bits[size:]), place, "unused bits of a bitmap")
    require(any(bits), place, "a bitmap without a one")
    rest = iter(decode_plane(rest_method, content[cursor.position :], sum(bits), place))
    return bytes(next(rest) if bit else 0 for bit in bits[:size])


def decode_solid(record: Record, elements: dict[int, bytes]) -> None:
    kinds = sorted({member.type for member in record.members})
    members = {kind: [member for member in record.members if member.type == kind] for kind in kinds}
    sizes = {kind: sum(member.size for member in members[kind]) for kind in kinds}
    kinds = [kind for kind in kinds if sizes[kind] > 0]
    runs = decode_block(record.data, [(sizes[kind], kind.width) for kind in kinds], record.place)
    for member in record.members:
        elements[member.number] = b""
    for kind, run in zip(kinds, runs, strict=True):
        cursor = Cursor(run, record.place)
        for member in members[kind]:
            elements[member.number] = cursor.take(member.size)


# -------------------------------------------------------------------------------- section 6: ternary tensors


class Chunk(NamedTuple):
    rows: int
    cols: int
    kernel: int

    @property
    def units(self) -> int:
        return self.rows * self.cols * self.kernel


class Counts(NamedTuple):
    """How often the symbols -1, 0 and +1 occur."""

    negative: int
    zero: int
    positive: int

    @property
    def alphabet(self) -> list[int]:
        return [symbol for symbol, count in zip((-1, 0, 1), self, strict=True) if count > 0]


class CodecUse(NamedTuple):
    code: int
    parameters: bytes


@dataclass
class Grid:
    """Blocks of levels."""

    rows: int
    row_size: int
    height: int
    width: int

    @property
    def per_row(self) -> int:
        return ceil_div(self.row_size, self.width)

    @property
    def blocks(self) -> int:
        return ceil_div(self.rows, self.height) * self.per_row

    def runs(self) -> Iterator[tuple[int, int, int]]:
        """The first element, the size and the block of each run of elements that lie in one block."""
        for row in range(self.rows):
            for column in range(0, self.row_size, self.width):
                size = min(self.width, self.row_size - column)
                block = row // self.height * self.per_row + column // self.width
                yield row * self.row_size + column, size, block


@dataclass
class Ternary:
    """The parameters of a ternary tensor."""

    grid: Grid
    opposite: bool
    negative: list[int]  # the bits of each block's level, 0 where there is none; empty: in records
    positive: list[int]
    counts: Counts
    codec: CodecUse | None
    signs: int
    sign_counts: Counts
    sign_codec: CodecUse | None
    chunks: list[Chunk]
    sign_chunks: list[Chunk]

    @property
    def coded_levels(self) -> list[str]:
        """Which levels have records of their own."""
        if self.grid.blocks == 1:
            return []
        stored = {"negative": self.counts.negative, "positive": self.counts.positive and not self.opposite}
        return [sign for sign, present in stored.items() if present]


def read_ternary(cursor: Cursor, entry: Entry, strings: Sequence[bytes], used: list[int]) -> Ternary:
    place, kind, n = cursor.place, entry.type, entry.count
    require(n >= 1, place, "a ternary tensor has no elements")
    require(kind.code < 12, place, f"a ternary tensor has the type {kind.name}")
    flags = cursor.integer(1)
    has_negative, has_positive, opposite, several = (bool(flags & bit) for bit in (1, 2, 4, 8))
    signs = flags >> 4 & 3
    require(flags < 64, place, f"unknown flags {flags:#x}")
    require(signs <= 2, place, "the signs of zeros are 3")
    require(not opposite or (has_negative and has_positive), place, "flag 4 without flags 1 and 2")
    require(not several or has_negative or has_positive, place, "flag 8 without flags 1 and 2")
    grid = read_grid(cursor, entry, several)
    negative: list[int] = []
    positive: list[int] = []
    if not several:
        negative = [cursor.integer(kind.size)] if has_negative else [0]
        if not opposite:
            positive = [cursor.integer(kind.size)] if has_positive else [0]
        for levels in (negative if has_negative else [], positive if has_positive else []):
            require(0 not in levels, place, "a level of 0")

    negatives = cursor.varint() if has_negative else 0
    require(negatives >= 1 or not has_negative, place, "flag 1 but no symbol -1")
    positives = cursor.varint() if has_positive else 0
    require(positives >= 1 or not has_positive, place, "flag 2 but no symbol +1")
    zeros = n - negatives - positives
    require(zeros >= 0, place, f"{negatives} + {positives} symbols in {n} elements")
    counts = Counts(negatives, zeros, positives)
    codec = read_codec(cursor, strings, used) if len(counts.alphabet) >= 2 else None

    require(signs == 0 or kind.code <= 5, place, f"signs of zeros with the type {kind.name}")
    require(signs == 0 or zeros >= 1, place, "signs of zeros without a zero")
    sign_counts, sign_codec = Counts(0, 0, 0), None
    if signs == 2:
        minus = cursor.varint()
        require(1 <= minus < zeros, place, f"{minus} zeros of {zeros} are -0.0")
        sign_counts = Counts(minus, 0, zeros - minus)
        sign_codec = read_codec(cursor, strings, used)
    sign_chunks = cut_chunks((zeros,)) if signs == 2 else []
    chunks = cut_chunks(entry.shape)
    ternary = Ternary(
        grid, opposite, negative, positive, counts, codec, signs, sign_counts, sign_codec, chunks, sign_chunks
    )
    if not several:
        finish_levels(ternary, kind, place)
    return ternary


def read_grid(cursor: Cursor, entry: Entry, several: bool) -> Grid:
    rows = entry.shape[0] if len(entry.shape) >= 2 else 1
    row_size = entry.count // rows
    height = width = 0
    if several:
        height, width = cursor.varint(), cursor.varint()
        require(height < rows and width < row_size, cursor.place, f"blocks of {height} x {width}")
    grid = Grid(rows, row_size, height or rows, width or row_size)
    good = grid.blocks >= 2 and 2 * grid.blocks <= entry.count
    require(good or not several, cursor.place, f"{grid.blocks} blocks of levels")
    return grid


def finish_levels(ternary: Ternary, kind: ElementType, place: str) -> None:
    """Check all levels, and make those that are not stored."""
    negative, positive = ternary.negative, ternary.positive
    if ternary.opposite:
        positive = [negate(level, kind) for level in negative]
    for level in negative:
        good = level & kind.sign_bit and (not kind.is_float or level != kind.sign_bit)
        require(bool(good) or level == 0, place, f"{level:#x} as a negative level")
    for level in positive:
        require(level & kind.sign_bit == 0, place, f"{level:#x} as a positive level")
    require(ternary.counts.negative == 0 or any(negative), place, "flag 1 but no negative level")
    require(ternary.counts.positive == 0 or any(positive), place, "flag 2 but no positive level")
    ternary.negative = negative or [0] * ternary.grid.blocks
    ternary.positive = positive or [0] * ternary.grid.blocks


def decode_levels(entry: Entry, records: Sequence[Record]) -> None:
    ternary, kind = entry.ternary, entry.type
    assert ternary is not None
    for record in records:
        (run,) = decode_block(record.data, [(record.units, kind.width)], record.place)
        levels = [int.from_bytes(run[i : i + kind.size], "little") for i in range(0, len(run), kind.size)]
        (ternary.negative if record.levels == "negative" else ternary.positive).extend(levels)
    finish_levels(ternary, kind, entry.place)


def negate(level: int, kind: ElementType) -> int:
    if level == 0:
        return 0
    return level ^ kind.sign_bit if kind.is_float else (2 * kind.sign_bit - level)


def read_codec(cursor: Cursor, strings: Sequence[bytes], used: list[int]) -> CodecUse:
    code, number = cursor.integer(1), cursor.varint()
    require(number < len(strings), cursor.place, f"codec parameters {number} of {len(strings) - 1}")
    require(number <= len(used) + 1, cursor.place, f"codec parameters {number} used before {number - 1}")
    if number > len(used):
        used.append(number)
    return CodecUse(code, strings[number])


def cut_chunks(shape: tuple[int, ...]) -> list[Chunk]:
    geometry = Chunk(shape[0], shape[1], prod(shape[2:])) if len(shape) >= 2 else Chunk(1, prod(shape), 1)
    if geometry.units <= 1 << 22:
        return [geometry]
    count, cols, kernel = geometry
    unit = cols * kernel
    if unit > 1 << 22:
        unit, count = 1, geometry.units
    pieces = ceil_div(count, (1 << 22) // unit)
    share = ceil_div(count, pieces)
    shares = [min(share, count - start) for start in range(0, count, share)]
    return [Chunk(1, units, 1) if unit == 1 else Chunk(units, cols, kernel) for units in shares]


def decode_symbols(records: Sequence[Record], counts: Counts, codec: CodecUse | None) -> array[int]:
    """Decode all chunks of a tensor, or of the signs of its zeros."""
    symbols = array("b")
    for record in records:
        assert record.chunk is not None
        if codec is None:
            require(record.size == 0, record.place, "only one symbol occurs, but the record is not empty")
            symbols.extend(counts.alphabet * record.chunk.units)
            continue
        require(codec.code in CODECS, record.place, f"unknown codec {codec.code}")
        decoder = CODECS[codec.code].decode
        decoded = array("b", decoder(record.data, codec.parameters, record.chunk, counts, record.place))
        require(len(decoded) == record.chunk.units, record.place, f"decodes to {len(decoded)} symbols")
        symbols.extend(decoded)
    found = Counts(*map(symbols.tobytes().count, (b"\xff", b"\x00", b"\x01")))
    require(found == counts, records[0].place, f"symbols {tuple(found)} instead of {tuple(counts)}")
    return symbols


def decode_ternary(entry: Entry, records: Sequence[Record]) -> bytes:
    ternary, kind = entry.ternary, entry.type
    assert ternary is not None
    if ternary.coded_levels:
        decode_levels(entry, [r for r in records if r.levels])
    of_symbols = [r for r in records if not r.of_signs and not r.levels]
    symbols = decode_symbols(of_symbols, ternary.counts, ternary.codec)
    zero, minus_zero = bytes(kind.size), kind.sign_bit.to_bytes(kind.size, "little")
    if ternary.signs == 2:
        minus = decode_symbols([r for r in records if r.of_signs], ternary.sign_counts, ternary.sign_codec)
        zeros = iter([minus_zero if sign == -1 else zero for sign in minus])
    elements = []
    for start, size, block in ternary.grid.runs():
        negative, positive = ternary.negative[block], ternary.positive[block]
        run = symbols[start : start + size]
        require(negative != 0 or -1 not in run, entry.place, f"block {block} has no negative level, but -1")
        require(positive != 0 or 1 not in run, entry.place, f"block {block} has no positive level, but +1")
        bits = {-1: negative.to_bytes(kind.size, "little"), 1: positive.to_bytes(kind.size, "little")}
        bits[0] = minus_zero if ternary.signs == 1 else zero
        if ternary.signs == 2:
            elements.append(b"".join(bits[symbol] if symbol else next(zeros) for symbol in run))
        elif kind.size == 1:
            table = {symbol & 255: level[0] for symbol, level in bits.items()}
            elements.append(run.tobytes().translate(bytes(table.get(byte, 0) for byte in range(256))))
        else:
            elements.append(b"".join(map(bits.__getitem__, run)))
    return b"".join(elements)


# ----------------------------------------------------------------------------------------- section 7: codecs


class Codec(NamedTuple):
    name: str
    # (record, codec parameters, geometry of the chunk, counts of the tensor, place) -> symbols
    decode: Callable[[bytes, bytes, Chunk, Counts, str], Iterable[int]]


def decode_packed(record: bytes, parameters: bytes, chunk: Chunk, counts: Counts, place: str) -> list[int]:
    """Section 7.1."""
    require(not parameters, place, "codec packed has no parameters")
    alphabet = counts.alphabet
    base, group = (3, 5) if len(alphabet) == 3 else (2, 8)
    size = ceil_div(chunk.units, group)
    require(len(record) == size, place, f"{len(record)} bytes instead of {size}")
    digits = []
    for byte in record:
        require(byte < base**group, place, f"the byte {byte} exceeds 242")
        digits += [byte // base**j % base for j in range(group)]
    filler = alphabet.index(0) if base == 3 else 0
    require(set(digits[chunk.units :]) <= {filler}, place, "the last byte is not filled up as it should")
    return [alphabet[digit] for digit in digits[: chunk.units]]


def decode_static(record: bytes, parameters: bytes, chunk: Chunk, counts: Counts, place: str) -> array[int]:
    """Section 7.2."""
    require(not parameters, place, "codec static has no parameters")
    require(record[-1:] != b"\0", place, "the record ends in a zero byte")
    alphabet = counts.alphabet
    base, group = (3, 5) if len(alphabet) == 3 else (2, 8)
    occurrences = [counts[symbol + 1] for symbol in alphabet]

    letters = [digits[::-1] for digits in product(range(base), repeat=group)]  # the first digit counts least
    strings = [array("b", [alphabet[digit] for digit in digits]) for digits in letters]
    total = sum(occurrences) ** group
    frequencies = [max(1, (prod(occurrences[d] for d in ds) << 24) // total) for ds in letters]
    frequencies[frequencies.index(max(frequencies))] += (1 << 24) - sum(frequencies)
    starts = [0, *accumulate(frequencies)]

    filled = record + bytes(-len(record) % 4)
    words = [int.from_bytes(filled[i : i + 4], "little") for i in range(0, len(filled), 4)]
    state = 0
    for _ in range(2):
        if words:
            state = state << 32 | words.pop()
    symbols = array("b")
    for _ in range(ceil_div(chunk.units, group)):
        q = state & ((1 << 24) - 1)
        letter = bisect.bisect_right(starts, q) - 1
        state = (state >> 24) * frequencies[letter] + q - starts[letter]
        if state < 1 << 32 and words:
            state = state << 32 | words.pop()
        symbols += strings[letter]
    require(not words and state == 0, place, "the record does not end with its last symbol")
    return symbols[: chunk.units]


def decode_fast(record: bytes, parameters: bytes, chunk: Chunk, counts: Counts, place: str) -> list[int]:
    require(not parameters, place, "codec fast has no parameters")
    try:
        return reference_fast.decode(record, chunk.units, (counts.negative, counts.zero, counts.positive))
    except reference_fast.InvalidPayload as error:
        refuse(place, str(error))


def decode_context(record: bytes, parameters: bytes, chunk: Chunk, counts: Counts, place: str) -> list[int]:
    require(not parameters, place, "codec context has no parameters")
    try:
        return reference_context.decode(
            record,
            (chunk.rows, chunk.cols, chunk.kernel),
            (counts.negative, counts.zero, counts.positive),
        )
    except reference_context.DamagedError as error:
        refuse(place, str(error))


CODECS: Mapping[int, Codec] = {
    0: Codec("packed", decode_packed),
    1: Codec("static", decode_static),
    2: Codec("context", decode_context),
    3: Codec("fast", decode_fast),
}


# ------------------------------------------------------------------------------------------------- all of it


def decode(data: bytes, names: Sequence[str] | None = None) -> Content:
    """Decode a file, given as its bytes: the tensors of these names, or all of them."""
    region, parameters, directory = split_file(data)
    entries, records, metadata, extensions = read_index(
        parameters, table_of_directory(directory), len(directory)
    )
    cut_records(region, records)
    first_extension = len(records) - len(extensions)
    contents = [record.data for record in records[first_extension:]]
    records = records[:first_extension]
    wanted = [entry for entry in entries if names is None or entry.name in names]
    sources = {entry.number if entry.target is None else entry.target for entry in wanted}
    elements: dict[int, bytes] = {}
    for record in records:
        first = record.members[0]
        if sources.isdisjoint(member.number for member in record.members):
            continue
        if first.storage == SOLID:
            decode_solid(record, elements)
        elif first.storage == PLANES:
            (run,) = decode_block(record.data, [(record.units, first.type.width)], record.place)
            elements[first.number] = elements.get(first.number, b"") + run
        elif first.number not in elements:
            of_tensor = [other for other in records if other.members[0] is first]
            elements[first.number] = decode_ternary(first, of_tensor)
    tensors, ties = [], {}
    for entry in wanted:
        source = entry.number if entry.target is None else entry.target
        tensors.append(Tensor(entry.name, entry.type.name, entry.shape, elements[source]))
        if entry.target is not None:
            ties[entry.name] = entries[entry.target].name
    return Content(tensors, ties, metadata, dict(zip(extensions, contents, strict=True)))


def main() -> int:
    parser = argparse.ArgumentParser(description="List the tensors of a .tnz file.")
    parser.add_argument("file", type=Path)
    path = parser.parse_args().file
    try:
        content = decode(path.read_bytes())
    except (FormatError, OSError) as error:
        print(f"{path}: {error}", file=sys.stderr)
        return 1
    for name, kind, shape, data in content.tensors:
        tie = f" = {content.ties[name]}" if name in content.ties else ""
        print(f"{name} {kind} {'x'.join(map(str, shape)) or 'scalar'} {zlib.crc32(data):08x}{tie}")
    for key, value in content.metadata.items():
        print(f"{key}: {value}")
    for name, extension in content.extensions.items():
        print(f"extension {name} {len(extension)} bytes {zlib.crc32(extension):08x}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
