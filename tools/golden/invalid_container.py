"""Invalid files that break a rule of sections 1 to 5 of the format: preamble, directory, records, blocks."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from golden import builder as b
from golden.cases import add

# --- a small valid file, whose parts go wrong one by one ----------------------------------------------------

BYTES = b.Item(b"bytes", b.SOLID, b.UINT8, (3,))
BLOCK = b.Record(b"\0" + b.plane(b"abc"), 3)
PLAIN = b.file([BYTES], [BLOCK])
TABLE = b.table([BYTES], [BLOCK])


def with_directory(directory: bytes) -> bytes:
    return b.seal(BLOCK.data, b"", directory)


def with_table(table: bytes) -> bytes:
    return with_directory(b.directory(table))


# --- section 2: preamble ------------------------------------------------------------------------------------

add("empty", "2: a preamble of 32 bytes", "offset 0: expected a .tnz file", b"")
add("short-preamble", "2: a preamble of 32 bytes", "offset 31: truncated", PLAIN[:31])
add("magic", "2: the magic", "offset 0: expected a .tnz file", b"\x88" + PLAIN[1:])
add(
    "text-mode",
    "2: the magic, changed by a transfer as text",
    "offset 0: expected the magic",
    b.reseal(PLAIN[:5] + b"\n\n\x1a" + PLAIN[8:]),
)
add(
    "version",
    "2: another major version",
    "offset 4: format version 2",
    b.reseal(PLAIN[:4] + b"\2" + PLAIN[5:]),
)
add(
    "preamble-crc",
    "2: CRC-32 of bytes 0 to 27",
    "offset 28: preamble checksum",
    PLAIN[:28] + b"abcd" + PLAIN[32:],
)
add(
    "index-offset",
    "2: index offset at least 32",
    "offset 8: index offset: expected at least 32, found 31",
    b.seal(b"", b"", bytes(1) + b.directory(b.table([])), offset=31),
)
add(
    "truncated",
    "2: offset and sizes add up to the file",
    f"truncated: expected {len(PLAIN)} bytes, found {len(PLAIN) - 1}",
    PLAIN[:-1],
)
add("trailing-byte", "2: offset and sizes add up to the file", "further bytes after its end", PLAIN + b"\0")
add("index-crc", "2: CRC-32 of the index", "offset 38: index checksum", PLAIN[:-1] + b"S")

# --- section 2: directory -----------------------------------------------------------------------------------

FRAME = b.frame(TABLE)


def with_frame(frame: bytes, size: int | None = None) -> bytes:
    return with_directory(b.directory(TABLE, method=1, size=size, body=frame))


add(
    "directory-method",
    "2: method 0 or 1",
    "directory.*found method 2",
    with_directory(b.directory(TABLE, method=2, body=FRAME)),
)
add(
    "directory-empty",
    "2: method, size, body",
    "directory.*method: expected 1 bytes",
    b.seal(BLOCK.data, b"", b""),
)
add(
    "directory-size",
    "2: the body has `size` bytes",
    f"directory.*found method 0, {len(TABLE) + 1} bytes",
    with_directory(b.directory(TABLE, size=len(TABLE) + 1)),
)
BOMB = b.table([BYTES], [BLOCK], [(b"key", b"v" * 80000)])
add(
    "directory-bomb",
    "2: size at most 128 x directory size + 65,536",
    "directory.*size: expected at most .*, found 80",
    with_directory(b.directory(BOMB, method=1, body=b.repeated_frame(ord("v"), 80000, BOMB[:-80000]))),
)
add(
    "varint-long",
    "1: a varint in its shortest form",
    "directory.*size: integer not in its shortest form",
    with_directory(b"\0" + bytes([len(TABLE) | 128, 0]) + TABLE),
)
add(
    "varint-2-64",
    "1: a varint below 2^64",
    "directory.*shape: expected at most 18446744073709551615",
    with_table(b"\0\1\0\0\0\1\x0c\1" + b"\x80" * 9 + b"\2"),
)
add(
    "varint-endless",
    "1: a varint below 2^64",
    "directory.*shape: integer longer than 64 bits",
    with_table(b"\0\1\0\0\0\1\x0c\1" + b"\xff" * 20),
)
add(
    "frame-content-size",
    "2: a frame states no content size",
    "directory.*without content size",
    with_frame(b.frame(TABLE, descriptor=0x40, header=b"\0" + struct.pack("<H", 0))),
)
add(
    "frame-single-segment",
    "2: a frame is not of a single segment",
    "directory.*without content size",
    with_frame(b.frame(TABLE, descriptor=0x20, header=bytes([len(TABLE)]))),
)
add(
    "frame-dictionary",
    "2: a frame uses no dictionary",
    "directory.*without content size and dictionary",
    with_frame(b.frame(TABLE, descriptor=1, header=b"\0\7")),
)
add(
    "frame-dictionary-0",
    "2: a frame has no field for a dictionary",
    "directory.*without content size and dictionary",
    with_frame(b.frame(TABLE, descriptor=1, header=b"\0\0")),
)
add(
    "frame-window",
    "2: the window is at most 8 MiB",
    "directory.*zstd: .*too much memory",
    with_frame(b.frame(TABLE, header=bytes([13 << 3 | 1]))),
)
add(
    "frame-reserved",
    "2: a frame of RFC 8878, whose reserved bit is 0",
    "directory.*zstd",
    with_frame(b.frame(TABLE, descriptor=8)),
)
add(
    "frame-skippable",
    "2: a skippable frame",
    "directory.*zstd: expected a frame",
    with_frame(b"\x50\x2a\x4d\x18" + struct.pack("<I", 0) + FRAME),
)
add(
    "frame-trailing",
    "2: nothing follows a frame",
    "directory.*zstd: .*1 bytes of unused data",
    with_frame(FRAME + b"\0"),
)
add(
    "frame-twice",
    "2: nothing follows a frame",
    "directory.*zstd: .*unused data",
    with_frame(FRAME + b.frame(b"")),
)
add("frame-truncated", "2: a whole frame", "directory.*zstd", with_frame(FRAME[:-1]))
add(
    "frame-checksum",
    "2: the checksum of a frame",
    "directory.*zstd: .*checksum",
    with_frame(b.frame(TABLE, descriptor=4, checksum=b"abcd")),
)
add(
    "frame-longer",
    "2: a frame decompresses to `size` bytes",
    "directory.*zstd",
    with_frame(FRAME, len(TABLE) - 1),
)
add(
    "frame-shorter",
    "2: a frame decompresses to `size` bytes",
    "directory.*zstd: expected .* bytes",
    with_frame(FRAME, len(TABLE) + 1),
)

# --- section 2: table ---------------------------------------------------------------------------------------


def tensors(
    *items: b.Item, records: Sequence[b.Record] = (), metadata: Sequence[tuple[bytes, bytes]] = ()
) -> bytes:
    return b.file(list(items), records, metadata)


add(
    "table-flags",
    "2: flags are 0",
    "directory table, byte 1: flags",
    with_table(b.table([BYTES], [BLOCK], flags=1)),
)
add(
    "table-tail",
    "2: the table ends after its texts",
    "directory table.*1 further bytes",
    with_table(b.table([BYTES], [BLOCK], tail=b"\0")),
)
add(
    "table-ends",
    "2: a table ends after its texts",
    "directory table.*text: expected 5 bytes, found 4",
    with_table(TABLE[:-1]),
)
add(
    "table-count",
    "2: number of tensors",
    "directory table.*number of tensors: expected at most",
    with_table(b.table([BYTES], [BLOCK], count=1 << 40)),
)
CROWDED = b"\0" + b.varint(66000) + b"\0\0\0" + bytes(66000)
add(
    "table-crowded",
    "2: at most 65,536 + directory size / 4 tensors, metadata entries and codec parameters",
    "directory table.*expected at most 65542 tensors, .* 24 bytes, found 66000",
    with_directory(b.directory(CROWDED, method=1, body=b.repeated_frame(0, 66000, CROWDED[:-66000]))),
)
add(
    "storage",
    "2: storage 0 to 3",
    "directory table.*storage: expected at most 3, found 4",
    tensors(BYTES._replace(storage=4), records=[BLOCK]),
)
add(
    "type",
    "3: element type 0 to 21",
    "directory table.*type: expected at most 21, found 22",
    tensors(BYTES._replace(dtype=22), records=[BLOCK]),
)
add(
    "dimensions",
    "2: at most 64 dimensions",
    "directory table.*dimensions: expected at most 64, found 65",
    tensors(BYTES._replace(shape=(1,) * 64 + (3,)), records=[BLOCK]),
)
add(
    "shape-2-63",
    "2: fewer than 2^63 bytes",
    r"directory table.*shape: expected less than 2\^63 bytes",
    tensors(b.Item(b"x", b.TERNARY, b.FLOAT32, (1 << 31, 1 << 30), b.ternary(0, b"", (), None))),
)
add(
    "shape-2-63-empty",
    "2: fewer than 2^63 bytes, lengths of 0 counted as 1",
    r"directory table.*less than 2\^63 bytes",
    tensors(b.Item(b"x", b.SOLID, b.UINT8, (0, 1 << 63)), records=[b.Record(b"\0", 0)]),
)
add(
    "tie-self",
    "2: a tie refers to an earlier tensor",
    "tensor 1: expected a tie to an earlier stored tensor, found 1",
    tensors(BYTES, b.Item(b"tied", b.TIED, target=1), records=[BLOCK]),
)
add(
    "tie-later",
    "2: a tie refers to an earlier tensor",
    "tensor 0: expected a tie to an earlier stored tensor, found 1",
    tensors(b.Item(b"tied", b.TIED, target=1), BYTES, records=[BLOCK]),
)
add(
    "tie-to-tied",
    "2: a tie refers to a tensor that is not tied",
    "tensor 2: expected a tie to an earlier stored tensor",
    tensors(BYTES, b.Item(b"one", b.TIED), b.Item(b"two", b.TIED, target=1), records=[BLOCK]),
)
LONG = b.table([BYTES._replace(name=b"n" * 65537)], [BLOCK])
add(
    "name-long",
    "2: a name of at most 65,536 bytes",
    "directory table.*length of a name: expected at most 65536",
    with_directory(b.directory(LONG, method=1, body=b.repeated_frame(ord("n"), 65537, LONG[:-65537]))),
)
add(
    "name-utf8",
    "2: names are UTF-8",
    "directory table.*text: expected UTF-8",
    tensors(BYTES._replace(name=b"\xc0\xaf"), records=[BLOCK]),
)
add(
    "name-surrogate",
    "2: names are UTF-8, which has no surrogates",
    "directory table.*text: expected UTF-8",
    tensors(BYTES._replace(name=b"\xed\xa0\x80"), records=[BLOCK]),
)
add(
    "names-equal",
    "2: unique names",
    "directory table.*duplicate tensor name 'bytes'",
    tensors(BYTES, b.Item(b"bytes", b.TIED), records=[BLOCK]),
)
add(
    "metadata-utf8",
    "2: metadata is UTF-8",
    "directory table.*text: expected UTF-8",
    tensors(BYTES, records=[BLOCK], metadata=[(b"key", b"\xff")]),
)
add(
    "metadata-equal",
    "2: unique metadata keys",
    "directory table.*metadata: expected each key once",
    tensors(BYTES, records=[BLOCK], metadata=[(b"key", b"a"), (b"key", b"b")]),
)


def extended(*extensions: tuple[bytes, bytes]) -> bytes:
    return b.file([BYTES], [BLOCK], extensions=extensions)


add(
    "extension-name-empty",
    "2: an extension's name has 1 to 255 bytes",
    "directory table.*length of an extension's name: expected at least 1, found 0",
    extended((b"", b"content")),
)
add(
    "extension-name-long",
    "2: an extension's name has 1 to 255 bytes",
    "directory table.*length of an extension's name: expected at most 255, found 256",
    extended((b"n" * 256, b"content")),
)
add(
    "extension-name-utf8",
    "2: names of extensions are UTF-8",
    "directory table.*text: expected UTF-8",
    extended((b"\xff", b"content")),
)
add(
    "extensions-equal",
    "2: unique names of extensions",
    "directory table.*extensions: expected each name once",
    extended((b"same", b"content"), (b"same", b"content")),
)
add(
    "extensions-257",
    "2: at most 256 extensions",
    "directory table.*number of extensions: expected at most 256, found 257",
    extended(*((b"%d" % number, b"") for number in range(257))),
)
add(
    "extension-short",
    "4: records, those of extensions last, end at the index",
    "directory table.*records: expected their end at offset",
    b.seal(
        BLOCK.data,
        b"",
        b.directory(b.table([BYTES], [BLOCK, b.Record(b"gone", 0)], extensions=[b"name"])),
    ),
)

# --- section 4: records -------------------------------------------------------------------------------------

add(
    "record-crc",
    "4: CRC-32 of a record",
    "solid block of 1 tensors from 'bytes' on: offset 32: checksum",
    tensors(BYTES, records=[BLOCK._replace(crc=0)]),
)
add(
    "records-short",
    "4: records end at the index",
    "directory table.*records: expected their end at offset",
    tensors(BYTES, records=[BLOCK._replace(room=BLOCK.payload[:-1])]),
)
add(
    "records-long",
    "4: records end at the index",
    "directory table.*records: expected their end at offset",
    tensors(BYTES, records=[BLOCK._replace(room=BLOCK.payload + b"\0")]),
)
add(
    "records-without-tensors",
    "4: records end at the index",
    "directory table.*records: expected their end at offset 33, found 32",
    b.seal(b"\0", b"", b.directory(b.table([]))),
)
MANY = b.Item(b"many", b.TERNARY, b.INT8, ((1 << 20) + 1,), b.ternary(2, b"\5", ((1 << 20) + 1,), None))
add(
    "record-filling",
    "4: a record is filled up with zeros",
    "tensor 'many': offset 32: expected zeros after the first 0 bytes",
    tensors(MANY, records=[b.Record(b"", (1 << 20) + 1, room=b"\0\0\1")]),
)
add(
    "record-not-filled",
    "4: no byte stands for more than 2^19 units",
    "directory table.*records: expected more than the 2 bytes",
    tensors(MANY, records=[b.Record(b"", (1 << 20) + 1, room=b"\0\0")]),
)
add(
    "planes-empty",
    "4: planes have elements",
    "directory table.*tensor 0: expected elements",
    tensors(b.Item(b"x", b.PLANES, b.UINT8, (0,)), records=[]),
)
add(
    "ternary-empty",
    "4: a ternary tensor has elements",
    "parameters of tensor 0.*expected a non-empty tensor",
    tensors(b.Item(b"x", b.TERNARY, b.FLOAT32, (0, 3), b.ternary(0, b"", (), None))),
)
add(
    "ternary-type",
    "4: a ternary tensor has a type below 12",
    "parameters of tensor 0.*expected .* of a signed type, found uint8",
    tensors(b.Item(b"x", b.TERNARY, b.UINT8, (3,), b.ternary(0, b"", (), None)), records=[b.Record(b"", 3)]),
)
add(
    "solid-large",
    "4: a solid tensor is smaller than 65,536 bytes",
    "directory table.*tensor 0: expected less than 65536 bytes",
    tensors(
        b.Item(b"x", b.SOLID, b.UINT8, (65536,)),
        records=[b.Record(b"\0" + b.plane(b.repeated_frame(0, 65536), method=1), 65536)],
    ),
)

SEVENTEEN = [b.Item(b"%d" % number, b.SOLID, b.UINT8, (65535,)) for number in range(17)]
add(
    "solid-block-large",
    "4: the members of a solid block have at most 2^20 bytes together",
    "directory table.*",
    tensors(*SEVENTEEN, records=[b.Record(b"\0" + b.plane(b"\7", method=3), 17 * 65535)]),
)
add(
    "planes-large",
    "4: a block of planes has at most 2^22 bytes",
    "directory table.*size of a record: expected at most 41, found",
    tensors(
        b.Item(b"x", b.PLANES, b.UINT8, ((1 << 22) + 1,)),
        records=[b.Record(b"\0" + b.plane(b"\7", method=3), (1 << 22) + 1)],
    ),
)
LARGE = (1 << 22) + 1
add(
    "chunk-large",
    "6: a chunk has at most 2^22 symbols",
    "directory table.*",
    tensors(
        b.Item(b"x", b.TERNARY, b.INT8, (LARGE,), b.ternary(2, b"\5", (LARGE,), None)),
        records=[b.Record(b"", LARGE)],
    ),
)

# --- section 5: blocks --------------------------------------------------------------------------------------


def block(payload: bytes) -> bytes:
    return tensors(b.Item(b"x", b.PLANES, b.UINT8, (3,)), records=[b.Record(payload, 3)])


X = "tensor 'x': offset 32: "
add(
    "block-rotation",
    "5: a rotation is below 8 x width",
    X + "block: expected a rotation below 8, found 8",
    block(b"\x08" + b.plane(b"abc")),
)
add(
    "plane-method",
    "5: method 0 to 4",
    X + "plane: expected method 0 to 4, found 5",
    block(b"\0" + b.plane(b"abc", method=5)),
)
SPARSE = block(b"\0" + b.sparse(b"\5", b"ac"))
for NAME, RULE, PROBLEM, PLANE in (
    (
        "ends",
        "a bitmap has `length` bytes",
        "sparse plane, byte 2: bitmap: expected 2 bytes",
        b.plane(b"\0\2\5", method=4),
    ),
    (
        "no-rest",
        "a method of the rest",
        "sparse plane, byte 3: method of the rest",
        b.plane(b"\0\1\5", method=4),
    ),
    (
        "bitmap-long",
        "a bitmap has ceil\\(n / 8\\) bytes",
        "plane: expected 1 stored bytes, found 2",
        b.sparse(b"\5\0", b"ac"),
    ),
    (
        "bitmap-bits",
        "unused bits of a bitmap are 0",
        "sparse plane: expected some of the first 3 bits",
        b.sparse(b"\x0d", b"acd"),
    ),
    (
        "bitmap-zero",
        "a bitmap has a one",
        "sparse plane: expected some of the first 3 bits",
        b.sparse(b"\0", b""),
    ),
    ("rest-short", "as many bytes as ones", "plane: expected 2 stored bytes, found 1", b.sparse(b"\5", b"a")),
    (
        "rest-long",
        "as many bytes as ones",
        "plane: expected 2 stored bytes, found 3",
        b.sparse(b"\5", b"abc"),
    ),
    (
        "nested-bitmap",
        "methods 0 to 3 within",
        "sparse plane: expected no sparse plane",
        b.sparse(b"\0\1\1\0\5", b"ac", bitmap_method=4),
    ),
    (
        "nested-rest",
        "methods 0 to 3 within",
        "sparse plane: expected no sparse plane",
        b.sparse(b"\5", b"\0\1\3\0ac", rest_method=4),
    ),
):
    add(f"plane-sparse-{NAME}", f"5: {RULE}", X + PROBLEM, block(b"\0" + PLANE))
add(
    "plane-short",
    "5: a plane has run bytes / width bytes",
    X + "plane: expected 3 stored bytes, found 2",
    block(b"\0" + b.plane(b"ab")),
)
add(
    "plane-long",
    "5: a plane has run bytes / width bytes",
    X + "plane: expected 3 stored bytes, found 4",
    block(b"\0" + b.plane(b"abcd")),
)
add(
    "plane-ends",
    "5: a plane has `length` bytes",
    X + "block, byte .*plane: expected 3 bytes, found 2",
    block(b"\0\0\3ab"),
)
add(
    "plane-constant-empty",
    "5: a constant plane is one byte",
    X + "plane: expected 1 byte for a constant plane, found 0",
    block(b"\0" + b.plane(b"", method=3)),
)
add(
    "plane-constant-long",
    "5: a constant plane is one byte",
    X + "plane: expected 1 byte for a constant plane, found 2",
    block(b"\0" + b.plane(b"aa", method=3)),
)
add(
    "plane-frame-short",
    "5: a frame decompresses to the plane",
    X + "zstd: expected 3 bytes, found 2",
    block(b"\0" + b.plane(b.frame(b"ab"), method=1)),
)
add(
    "plane-frame-long",
    "5: a frame decompresses to the plane",
    X + "zstd",
    block(b"\0" + b.plane(b.frame(b"abcd"), method=1)),
)
add(
    "plane-frame-size",
    "2: a frame states no content size",
    X + "zstd: expected a frame without content size",
    block(b"\0" + b.plane(b.frame(b"abc", descriptor=0x20, header=b"\3"), method=1)),
)
add(
    "plane-frame-trailing",
    "2: nothing follows a frame",
    X + "zstd: .*unused data",
    block(b"\0" + b.plane(b.frame(b"abc") + b"\0", method=1)),
)
add(
    "block-trailing",
    "5: a block ends after the last plane",
    X + "block.*1 further bytes",
    block(b"\0" + b.plane(b"abc") + b"\0"),
)
add(
    "block-empty",
    "5: a run begins with its rotation",
    X + "block.*rotation: expected 1 bytes",
    block(b""),
)
add(
    "solid-trailing",
    "5: a block ends after the last plane",
    "solid block of 1 tensors from 'bytes' on: offset 32: block.*1 further bytes",
    tensors(BYTES, records=[b.Record(BLOCK.payload + b"\0", 3)]),
)
