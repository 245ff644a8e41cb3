"""The index at the end of a file: parameters of ternary tensors, and the directory of everything.

The directory is a table stored column by column and compressed, because columns repeat where rows do not.
Reading it trusts nothing: each number is checked before it is used, sizes before anything is allocated.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ternzip._core.dtypes import BY_CODE as DTYPES
from ternzip._core.dtypes import DType
from ternzip._core.errors import TernzipError
from ternzip._core.text import quoted
from ternzip._core.varint import Cursor, encode_varint
from ternzip.codecs import BY_CODE as CODECS
from ternzip.codecs import CorruptPayload
from ternzip.codecs.parameters import StoredParameters
from ternzip.codecs.ternary import decode_parameters
from ternzip.codecs.zstd import compress_zstd, decompress_zstd
from ternzip.container.layout import (
    PREAMBLE,
    Entry,
    Record,
    SolidBlock,
    Storage,
    in_file_order,
    stored_size,
)
from ternzip.container.limits import (
    MAX_CODEC_PARAMETER_BYTES,
    MAX_DIMENSIONS,
    MAX_EXPANSION,
    MAX_EXTENSION_NAME_BYTES,
    MAX_EXTENSIONS,
    MAX_NAME_BYTES,
    SOLID_LIMIT,
    most_entries,
    most_table_bytes,
    shape_problem,
)

_STORED, _ZSTD = 0, 1
_STORAGES = tuple(Storage)  # by number; calling the enumeration takes ten times longer


@dataclass
class Index:
    """Every tensor in order, the solid blocks, the metadata, and the records of extensions by name."""

    entries: list[Entry]
    blocks: list[SolidBlock]
    metadata: dict[str, str]
    extensions: dict[str, Record]


def encode_directory(
    entries: Sequence[Entry],
    records: Sequence[Record],
    metadata: Mapping[str, str],
    codec_parameters: Sequence[bytes] = (),
    extensions: Sequence[str] = (),
) -> bytes:
    """The compressed directory.

    `records` are those of the whole file in file order, the last of them those of `extensions`; `codec_parameters` are
    the strings that stand at the head of the parameters section.
    """
    numbers = {entry.name: number for number, entry in enumerate(entries)}
    names = [entry.name.encode() for entry in entries]
    pairs = [text.encode() for pair in metadata.items() for text in pair]
    texts = [*names, *pairs, *(name.encode() for name in extensions)]
    table = b"".join(
        (
            b"\0",  # flags, all reserved
            encode_varint(len(entries)),
            encode_varint(len(metadata)),
            encode_varint(len(codec_parameters)),
            encode_varint(len(extensions)),
            bytes(entry.storage for entry in entries),
            bytes(entry.dtype.code for entry in entries if entry.tied_to is None),
            bytes(len(entry.shape) for entry in entries if entry.tied_to is None),
            *(encode_varint(d) for entry in entries if entry.tied_to is None for d in entry.shape),
            *(encode_varint(numbers[entry.tied_to]) for entry in entries if entry.tied_to is not None),
            *(encode_varint(len(string)) for string in codec_parameters),
            *(encode_varint(record.size) for record in records),
            *(struct.pack("<I", record.crc) for record in records),
            *(encode_varint(len(text)) for text in texts),
            *texts,
        )
    )
    compressed = bytes([_ZSTD]) + encode_varint(len(table)) + compress_zstd(table, 19)
    listed = len(entries) + len(metadata) + len(codec_parameters)
    fits = len(table) <= most_table_bytes(len(compressed)) and listed <= most_entries(len(compressed))
    if fits and len(compressed) < len(table):
        return compressed
    return bytes([_STORED]) + encode_varint(len(table)) + table


def _decompress_directory(data: memoryview, offset: int) -> bytes:
    cursor = Cursor(data, "directory", offset)
    method = cursor.byte("method")
    size = cursor.varint("size", most_table_bytes(len(data)))
    body = cursor.take(cursor.remaining, "table")
    if method == _ZSTD:
        try:
            return decompress_zstd(body, size).tobytes()
        except CorruptPayload as error:
            raise cursor.fail(str(error)) from None
    if method != _STORED or size != len(body):
        raise cursor.fail(
            f"expected method 1, or 0 with {len(body)} bytes; found method {method}, {size} bytes"
        )
    return bytes(body)


def decode_index(parameters: memoryview, directory: memoryview, index_offset: int) -> Index:
    """Reads and checks the whole index. Offsets in messages are those of the file."""
    table = Cursor(_decompress_directory(directory, index_offset + len(parameters)), "directory table")
    flags = table.byte("flags")
    if flags:
        raise table.fail(
            f"flags: expected 0, found {flags:#04x}: features that this ternzip does not know: upgrade it"
        )
    count = table.varint("number of tensors", table.remaining)
    metadata_count = table.varint("number of metadata entries", table.remaining)
    string_count = table.varint("number of codec parameters", table.remaining)
    extension_count = table.varint("number of extensions", MAX_EXTENSIONS)
    listed = count + metadata_count + string_count
    if listed > most_entries(len(directory)):
        raise table.fail(
            f"expected at most {most_entries(len(directory))} tensors, metadata entries and codec parameters in a "
            f"directory of {len(directory)} bytes, found {listed}"
        )
    storages = bytes(table.take(count, "storage"))
    if storages and max(storages) > max(Storage):
        raise table.fail(f"storage: expected at most {int(max(Storage))}, found {max(storages)}")
    entries = _read_shapes(table, storages)
    lengths = table.varints(string_count, "length of codec parameters", MAX_CODEC_PARAMETER_BYTES)
    if 0 in lengths:
        raise table.fail("length of codec parameters: expected at least 1, found 0")
    _read_parameters(Cursor(parameters, "codec parameters", index_offset), lengths, entries)

    blocks: list[SolidBlock] = []
    extensions = _place_records(table, index_offset, entries, blocks, extension_count)
    lengths = table.varints(count, "length of a name", MAX_NAME_BYTES)
    lengths += table.varints(2 * metadata_count, "length of metadata", table.remaining)
    extension_lengths = table.varints(
        extension_count, "length of an extension's name", MAX_EXTENSION_NAME_BYTES
    )
    if 0 in extension_lengths:
        raise table.fail("length of an extension's name: expected at least 1, found 0")
    texts = _read_texts(table, lengths)
    extension_names = _read_texts(table, extension_lengths)
    _name_entries(table, entries, texts[:count])
    keys, values = texts[count::2], texts[count + 1 :: 2]
    table.end()
    if len(set(keys)) != len(keys):
        raise table.fail("metadata: expected each key once")
    if len(set(extension_names)) != len(extension_names):
        raise table.fail("extensions: expected each name once")
    return Index(
        entries,
        blocks,
        dict(zip(keys, values, strict=True)),
        dict(zip(extension_names, extensions, strict=True)),
    )


def _read_shapes(table: Cursor, storages: bytes) -> list[Entry]:
    stored = sum(1 for storage in storages if storage != Storage.TIED)
    codes, dimensions = table.take(stored, "types"), table.take(stored, "dimensions")
    described: list[tuple[DType, tuple[int, ...]]] = []
    for code, ndim in zip(codes, dimensions, strict=True):
        if code not in DTYPES:
            raise table.fail(f"type: expected at most {max(DTYPES)}, found {code}")
        if ndim > MAX_DIMENSIONS:
            raise table.fail(f"dimensions: expected at most {MAX_DIMENSIONS}, found {ndim}")
        shape = tuple(table.varints(ndim, "shape"))
        problem = shape_problem(shape, DTYPES[code])
        if problem:
            raise table.fail(problem)
        described.append((DTYPES[code], shape))
    remaining = iter(described)
    entries: list[Entry] = []
    for number, storage in enumerate(storages):
        if storage == Storage.TIED:
            target = table.varint("tied tensor")
            if target >= number or storages[target] == Storage.TIED:
                raise table.fail(
                    f"tensor {number}: expected a tie to an earlier stored tensor, found {target}"
                )
            source = entries[target]
            entries.append(
                Entry("", Storage.TIED, source.dtype, source.shape, source.size, tied_to=str(target))
            )
            continue
        dtype, shape = next(remaining)
        entry = Entry("", _STORAGES[storage], dtype, shape, math.prod(shape))
        if storage == Storage.SOLID and entry.nbytes >= SOLID_LIMIT:
            raise table.fail(f"tensor {number}: expected less than {SOLID_LIMIT} bytes in a solid block")
        if storage == Storage.PLANES and not entry.size:
            raise table.fail(f"tensor {number}: expected elements, found shape {list(shape)}")
        entries.append(entry)
    return entries


def _read_parameters(cursor: Cursor, lengths: list[int], entries: list[Entry]) -> None:
    stored = StoredParameters([bytes(cursor.take(length, "string")) for length in lengths])
    for number, entry in enumerate(entries):
        if entry.storage is Storage.TERNARY:
            cursor.enter(f"parameters of tensor {number}")
            before = cursor.remaining
            entry.ternary, entry.coding = decode_parameters(cursor, entry.dtype, entry.shape, CODECS, stored)
            entry.parameters_size = before - cursor.remaining
    cursor.enter("parameters")
    cursor.end()
    stored.check(cursor)


def _place_records(
    table: Cursor, index_offset: int, entries: list[Entry], blocks: list[SolidBlock], extension_count: int
) -> list[Record]:
    """Reads sizes and checksums of all records and lays them end to end between preamble and index.

    Entries and blocks are given theirs; those of extensions, which come last, are returned.
    """
    # Each record takes a byte at least, which bounds their number before the first is looked at.
    space = index_offset - PREAMBLE.size
    owners: list[tuple[Entry | SolidBlock, int]] = []
    for owner in in_file_order(entries, blocks):
        count = owner.record_count() if isinstance(owner, Entry) else 1
        units = (owner.units if isinstance(owner, Entry) else owner.size) if count else 0
        space -= max(count, -(-units // MAX_EXPANSION)) if units else 0
        if space < 0:
            raise table.fail(
                f"records: expected more than the {index_offset - PREAMBLE.size} bytes there are in the file"
            )
        owners.append((owner, count))
    total = sum(count for _, count in owners) + extension_count
    sizes = table.varints(total, "size of a record", index_offset)
    checksums = struct.unpack(f"<{total}I", table.take(4 * total, "checksums"))
    stream: Iterator[tuple[int, int]] = iter(zip(sizes, checksums, strict=True))
    offset = PREAMBLE.size
    for owner, _ in owners:
        for units in owner.record_units() if isinstance(owner, Entry) else (owner.size,):
            size, crc = next(stream)
            record = Record(offset, size, stored_size(size, units), units, crc)
            offset += record.stored
            if offset > index_offset:
                raise table.fail(f"records: expected their end at offset {index_offset}, found {offset}")
            if isinstance(owner, Entry):
                owner.records.append(record)
            else:
                owner.record = record
    extensions = []
    for size, crc in stream:
        extensions.append(Record(offset, size, size, size, crc))
        offset += size
    if offset != index_offset:
        raise table.fail(f"records: expected their end at offset {index_offset}, found {offset}")
    for block in blocks:
        position = 0
        for entry in block.ordered():
            entry.block_offset = position
            position += entry.nbytes
    return extensions


def _read_texts(table: Cursor, lengths: list[int]) -> list[str]:
    texts = []
    for length in lengths:
        try:
            texts.append(bytes(table.take(length, "text")).decode())
        except UnicodeDecodeError as error:
            raise table.fail(f"text: expected UTF-8: {error.reason}") from None
    return texts


def _name_entries(table: Cursor, entries: list[Entry], names: list[str]) -> None:
    seen: set[str] = set()
    for entry, name in zip(entries, names, strict=True):
        if name in seen:
            raise TernzipError(f"{table.where()}: duplicate tensor name {quoted(name)}")
        seen.add(name)
        entry.name = name
        if entry.tied_to is not None:
            entry.tied_to = names[int(entry.tied_to)]
