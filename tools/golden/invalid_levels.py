"""Invalid files whose levels lie in several blocks: section 6 of the format."""

from __future__ import annotations

import zlib

from golden import builder as b
from golden.cases import add
from golden.invalid_ternary import HIGH, LOW, MINUS, SIX, P
from golden.valid_levels import ROWS

NONE = bytes(4)
AT_START, AT_POSITIVE = "tensor 'x': offset 32: ", "tensor 'x': offset 53: "


def case(
    name: str,
    rule: str,
    error: str,
    *,
    grid: bytes = ROWS,
    levels: tuple[bytes, ...] = (LOW * 2, HIGH * 2),
    flags: int = 1 | 2 | 8,
    counts: tuple[int, ...] = (1, 2),
    codec: int | None = 0,
    shape: tuple[int, ...] = (2, 3),
    dtype: int = b.FLOAT32,
    records: list[b.Record] | None = None,
) -> None:
    """A tensor "x" of six elements with levels for each of its two rows; valid as it stands."""
    width = 4 if dtype == b.FLOAT32 else 1
    of_levels = [b.levels(part, width) for part in levels] if records is None else records
    item = b.Item(b"x", b.TERNARY, dtype, shape, b.ternary(flags, grid, counts, codec))
    add(name, f"6: {rule}", error, b.file([item], [*of_levels, b.Record(b.pack(SIX), 6)]))


BLOCKS = "levels: expected 2 to 3 blocks, found "

case("blocks-of-nothing", "flag 8 needs 1 or 2", P + "flags: blocks of levels need a level", flags=8)
case("blocks-one", "at least two blocks", P + BLOCKS + "1 of 2 x 3 elements", grid=b"\0\0")
case("blocks-many", "one block for two elements", P + BLOCKS + "4 of 1 x 2 elements", grid=b"\1\2")
case(
    "block-height",
    "a height below that of the tensor",
    P + "rows of a block of levels: expected at most 1, found 2",
    grid=b"\2\1",
)
case(
    "block-width",
    "a width below that of a row",
    P + "elements of a block of levels: expected at most 2, found 3",
    grid=b"\1\3",
)
case(
    "block-height-of-vector",
    "a height below that of the tensor",
    P + "rows of a block of levels: expected at most 0, found 1",
    grid=b"\1\3",
    shape=(6,),
)
case(
    "blocks-end",
    "parameters as the flags say",
    P + "elements of a block of levels: expected 1 bytes, found 0",
    grid=b"\1",
    counts=(),
    codec=None,
)
case(
    "level-minus-zero",
    "a negative level of floating point has another bit",
    AT_START + "levels: expected negative values",
    levels=(LOW + MINUS, HIGH * 2),
)
case(
    "level-positive",
    "a negative level has the highest bit",
    AT_START + "levels: expected negative values",
    levels=(LOW + HIGH, HIGH * 2),
)
case(
    "level-negative",
    "a positive level has not the highest bit",
    AT_START + "levels: expected positive values",
    levels=(LOW * 2, HIGH + LOW),
)
case(
    "levels-without-negatives",
    "at least one level of each flagged kind",
    AT_START + "levels: expected at least one that is not zero",
    levels=(NONE * 2, HIGH * 2),
)
case(
    "levels-without-positives",
    "at least one level of each flagged kind",
    AT_START + "levels: expected at least one that is not zero",
    levels=(LOW * 2, NONE * 2),
)
case(
    "levels-without-opposite",
    "a positive level has not the highest bit",
    AT_START + "levels: expected negatives that have an opposite",
    levels=(b"\xff\x80",),
    flags=15,
    dtype=b.INT8,
)
case(
    "block-without-negative",
    "a block without a level has no such symbol",
    AT_START + r"block 0 of levels: expected no symbol -1 without a level",
    levels=(NONE + LOW, HIGH * 2),
)
case(
    "block-without-positive",
    "a block without a level has no such symbol",
    AT_START + r"block 1 of levels: expected no symbol \+1 without a level",
    levels=(LOW * 2, HIGH + NONE),
)
case(
    "block-without-opposite",
    "a block without a level has no opposite",
    AT_START + r"block 1 of levels: expected no symbol \+1 without a level",
    levels=(LOW + NONE,),
    flags=15,
)

DAMAGED = b.levels(LOW * 2, 4)
case(
    "levels-short",
    "5: a plane has a byte for each element",
    AT_START + "plane: expected 2 stored bytes, found 1",
    records=[b.levels(LOW, 4)._replace(units=8), b.levels(HIGH * 2, 4)],
)
case(
    "levels-crc",
    "4: the CRC covers the record",
    AT_START + "checksum: expected",
    records=[DAMAGED._replace(crc=zlib.crc32(DAMAGED.data) ^ 1), b.levels(HIGH * 2, 4)],
)
case(
    "levels-missing",
    "4: a record for each sequence",
    "directory table, byte .*",
    records=[b.levels(LOW * 2, 4)],
)
