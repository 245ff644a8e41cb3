"""Valid golden files with levels for many blocks: section 6 of the format."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from golden import builder as b
from golden.valid import F32, SIX, Expected, Golden, built, elements, level, noise, saved, symbols
from ternzip._core.dtypes import BY_NAME, DType
from ternzip.container.layout import Storage
from ternzip.container.writer import Options

HALF, QUARTER, ONE, THREE = (level(F32, value) for value in (-0.5, -0.25, 1.0, 3.0))
NONE = bytes(4)
ROWS = b"\1\0"  # blocks of one row, each a whole row


def levels_per_row() -> Golden:
    """With and without opposites, absent ones among them."""
    made = [
        ("opposite", 1 | 2 | 4 | 8, (1, 2), [HALF + QUARTER], SIX),
        ("absent", 1 | 2 | 8, (2, 1), [NONE + QUARTER, THREE + NONE], [0, 1, 0, -1, 0, -1]),
        ("same in both rows", 1 | 2 | 8, (1, 2), [HALF * 2, ONE * 2], SIX),
        ("negative only", 1 | 8, (2,), [HALF + QUARTER], None),
    ]
    data = [
        elements([1, 0, -1], F32) + elements([0, 0, 1], F32, -0.25, 0.25),
        elements([0, 1, 0], F32, 0, 3.0) + elements([-1, 0, -1], F32, -0.25),
        elements(SIX, F32, -0.5, 1.0),
        elements([0, -1, 0], F32) + elements([0, 0, -1], F32, -0.25),
    ]
    items, records = [], []
    for name, flags, counts, sequences, trits in made:
        items.append(b.Item(name.encode(), b.TERNARY, F32.code, (2, 3), b.ternary(flags, ROWS, counts)))
        records += [b.levels(sequence, 4) for sequence in sequences]
        # Of two symbols, eight to a byte: the bits of elements 0, 2, 3 and 4, which are the zeros.
        records.append(b.Record(b"\x1d" if trits is None else b.pack(trits), 6))
    return built("levels per row", items, records, data)


def level_grids() -> Golden:
    """Blocks of every shape in a tensor of 4 x 6 and in a vector, their edges cut off or not."""
    shapes = {
        "rows": (4, 6, 1, 0),
        "pairs of rows": (4, 6, 2, 0),
        "three rows and one": (4, 6, 3, 0),
        "groups": (4, 6, 1, 3),
        "groups that do not divide": (4, 6, 1, 4),
        "columns": (4, 6, 0, 2),
        "columns that do not divide": (4, 6, 0, 5),
        "squares": (4, 6, 2, 2),
        "cut off on both sides": (4, 6, 3, 4),
        "vector": (1, 24, 0, 8),
        "vector that does not divide": (1, 24, 0, 7),
    }
    items, records, data = [], [], []
    for number, (name, (rows, row_size, height, width)) in enumerate(shapes.items()):
        dtype = list(BY_NAME.values())[number % 12]
        trits = symbols(name, rows * row_size)
        tall, wide = height or rows, width or row_size
        per_row = -(-row_size // wide)
        blocks = -(-rows // tall) * per_row
        low = [own_level(dtype, block, negative=True) for block in range(blocks)]
        high = [own_level(dtype, block, negative=False) for block in range(blocks)]
        shape = (rows, row_size) if rows > 1 else (row_size,)
        grid = b.varint(height) + b.varint(width)
        counts = (trits.count(-1), trits.count(1))
        parameters = b.ternary(1 | 2 | 8, grid, counts)
        items.append(b.Item(name.encode(), b.TERNARY, dtype.code, shape, parameters))
        records += [b.levels(b"".join(part), dtype.itemsize) for part in (low, high)]
        records.append(b.Record(b.pack(trits), len(trits)))
        out = []
        for place, trit in enumerate(trits):
            block = place // row_size // tall * per_row + place % row_size // wide
            out.append(bytes(dtype.itemsize) if trit == 0 else low[block] if trit < 0 else high[block])
        data.append(b"".join(out))
    return built("blocks of levels of every shape and type", items, records, data)


def own_level(dtype: DType, block: int, *, negative: bool) -> bytes:
    """A level that no other block has, neither NaN nor zero in any type."""
    bits = (0x10 + 3 * block + negative) << 8 * dtype.itemsize - 8
    return (bits | negative << 8 * dtype.itemsize - 1).to_bytes(dtype.itemsize, "little")


def grouped(name: str, dtype: str, rows: int, row_size: int, width: int, *, pairs: bool = False) -> Expected:
    """A tensor as ternary language models have them: a level, or a pair, for each group along a row."""
    kind = BY_NAME[dtype]
    unsigned = np.dtype(f"<u{kind.itemsize}")
    blocks = rows * -(-row_size // width)
    mantissas = np.frombuffer(noise(f"{name} levels", 2 * 2 * blocks), "<u2").reshape(2, blocks)
    # Between 2^-8 and 2^-4 or so, whatever the type.
    one = np.array({"bfloat16": 0x3C00, "float16": 0x2000, "float32": 0x3C000000}[dtype], unsigned)
    step = np.array({"bfloat16": 1, "float16": 4, "float32": 1 << 16}[dtype], unsigned)
    magnitudes = one + (mantissas % 512).astype(unsigned) * step
    sign = unsigned.type(1 << (8 * kind.itemsize - 1))
    place = np.arange(rows * row_size)
    block = place // row_size * -(-row_size // width) + place % row_size // width
    trits = np.array(symbols(name, rows * row_size, zeros=107, negatives=74))
    low, high = magnitudes[1 if pairs else 0] | sign, magnitudes[0]
    bits = np.where(trits < 0, low[block], np.where(trits > 0, high[block], unsigned.type(0)))
    return Expected(name, dtype, (rows, row_size), bits.astype(unsigned).tobytes())


def level_groups() -> Golden:
    """As ternzip finds and writes them: Huffman codes and constant planes among the levels."""
    tensors = [
        grouped("groups of 128", "bfloat16", 24, 1024, 128),
        grouped("groups of 32, pairs", "float16", 16, 512, 32, pairs=True),
        grouped("groups of 96 in rows of 200", "float32", 16, 200, 96),
    ]
    # Shards of columns: one row's levels, repeated.
    row = grouped("row", "bfloat16", 1, 4 * 60, 60).data
    tensors.append(Expected("shards of columns", "bfloat16", (32, 240), row * 32))
    return saved(
        "groups of levels as ternzip writes them",
        tensors,
        options=Options(codec="fast", threads=1),
        storage=dict.fromkeys((tensor.name for tensor in tensors), Storage.TERNARY),
    )


CASES: dict[str, Callable[[], Golden]] = {
    "levels-per-row": levels_per_row,
    "level-grids": level_grids,
    "level-groups": level_groups,
}
