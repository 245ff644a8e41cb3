"""Valid files of each codec, and of tensors in several chunks."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from golden.valid import F32, Expected, Golden, elements, level, noise, saved, symbols
from golden.vectors import echoing
from ternzip._core.dtypes import BY_NAME
from ternzip.container.layout import Storage
from ternzip.container.writer import Options

# Every codec has a file of its own, and every effort of one that has efforts.
CODECS = {
    "packed": Options(codec="packed", threads=1),
    "static": Options(codec="static", threads=1),
    "fast": Options(codec="fast", threads=1),
    **{f"context-{effort}": Options(codec="context", effort=effort, threads=1) for effort in (1, 2, 3)},
}


def of_codec(name: str, options: Options) -> Callable[[], Golden]:
    """What every codec must do: all alphabets, geometries, types, levels and signs."""

    def make() -> Golden:
        tensors = []

        def add(name: str, shape: tuple[int, ...], data: bytes, dtype: str = "float32") -> None:
            tensors.append(Expected(name, dtype, shape, data))

        count = 8 * 4 * 3 * 3
        add("conv", (8, 4, 3, 3), elements(symbols("conv", count, zeros=160, negatives=48), F32))
        add("linear", (10, 24), elements(symbols("linear", 240, zeros=77, negatives=120), F32, -2.0, 1.5))
        add("depthwise", (16, 1, 3, 3), elements(symbols("depthwise", 144), F32))
        add("volume", (2, 3, 2, 3, 4), elements(symbols("volume", 144), F32))
        add("vector", (301,), elements(symbols("vector", 301), F32))
        add("one row", (1, 64), elements(symbols("one row", 64), F32))
        add("one column", (64, 1), elements(symbols("one column", 64), F32))
        add("two", (2, 1), elements([1, 0], F32))
        add("no zero", (4, 17), elements(symbols("no zero", 68, zeros=0, negatives=100), F32))
        add("no positive", (4, 17), elements(symbols("no positive", 68, zeros=200, negatives=56), F32))
        add("no negative", (4, 17), elements(symbols("no negative", 68, zeros=90, negatives=0), F32))
        lonely = [0] * 4096
        lonely[1234] = -1
        lonely[1235] = 1
        add("nearly all zero", (64, 64), elements(lonely, F32))
        add("runs", (32, 32), elements([(i // 100) % 3 - 1 for i in range(1024)], F32))
        rows = [symbols(f"row {row}", 20) for row in range(6)]
        rows[2] = [0] * 20
        rows[3] = [abs(symbol) for symbol in rows[3]]
        scaled = [elements(row, F32, -(1 + number), 0.5 + number) for number, row in enumerate(rows)]
        add("levels per row", (6, 20), b"".join(scaled))
        signs = symbols("signs", 120)
        minus = [level(F32, -0.0) if byte < 100 else bytes(4) for byte in noise("minus", 120)]
        add(
            "signs of zeros",
            (12, 10),
            b"".join(elements([s], F32) if s else minus[i] for i, s in enumerate(signs)),
        )
        for dtype in list(BY_NAME.values())[:12]:
            whole = dtype.name.startswith("int")
            low, high = (-3, 7) if whole else (-0.5, 0.5)
            add(dtype.name, (3, 16), elements(symbols(dtype.name, 48), dtype, low, high), dtype.name)
        storage = {tensor.name: Storage.TERNARY for tensor in tensors}
        return saved(f"ternary tensors of the codec {name}", tensors, options=options, storage=storage)

    return make


def chunks() -> Golden:
    """Tensors of several chunks, nearly all zeros: cut along rows, as a vector, and signs of zeros."""

    def sparse(size: int, marks: Mapping[int, int]) -> bytes:
        data = bytearray(size)
        for position, value in marks.items():
            data[position] = value
        return bytes(data)

    limit = 1 << 22
    rows, wide, vector = 1025 * 4096, limit + 1, limit + 9
    marks = {0: 1, 77: 255, 513 * 4096 - 1: 255, 513 * 4096: 1, limit: 255}
    tensors = [
        Expected("rows", "int8", (1025, 64, 8, 8), sparse(rows, {**marks, rows - 1: 1})),
        Expected("wide", "int8", (1, wide), sparse(wide, {**marks, wide - 1: 1})),
        Expected("vector", "int8", (vector,), sparse(vector, {5: 255, limit // 2 + 5: 255})),
        Expected("signs", "float8_e5m2", (vector,), sparse(vector, {3: 0x80, 9: 0x38, limit // 2 + 9: 0x80})),
    ]
    storage = {tensor.name: Storage.TERNARY for tensor in tensors}
    return saved("tensors of several chunks", tensors, storage=storage)


def rows_over_chunks() -> Golden:
    """Two rows longer than a chunk: levels per row, chunks that end within rows."""
    half = (1 << 22) + 1
    data = bytearray(2 * half)
    for position, value in {1: 255, 2: 1, half - 1: 1, half: 254, half + 9: 2, 2 * half - 1: 2}.items():
        data[position] = value
    tensors = [Expected("rows", "int8", (2, half), bytes(data))]
    return saved("levels per row over chunks", tensors, storage={"rows": Storage.TERNARY})


def smooth(name: str, rows: int, cols: int, kernel: int) -> list[int]:
    """Kernels of few and similar filters, rows and columns of unequal strength: all there is to learn."""
    filters = [[byte - 128 for byte in noise(f"{name} {f}", cols * kernel)] for f in range(3)]
    strength = noise(f"{name} rows", rows), noise(f"{name} columns", cols)
    result = []
    for row in range(rows):
        walk = 0
        for i, value in enumerate(filters[row % 3]):
            walk = value + (walk * 3) // 4 if i % kernel else value
            scaled = walk * (64 + strength[0][row]) * (64 + strength[1][i // kernel])
            result.append((scaled > 4_000_000) - (scaled < -4_000_000))
    return result


def pruned(name: str, rows: int, cols: int, kernel: int) -> list[int]:
    """The same, but whole rows and columns of it are zero."""
    values = smooth(name, rows, cols, kernel)
    for i in range(len(values)):
        row, column = i // (cols * kernel), i // kernel % cols
        if row % 3 == 1 or row == rows - 1 or column in (0, 4, 5):
            values[i] = 0
    return values


def structure(effort: int) -> Callable[[], Golden]:
    """What `context` learns: kernels with and without a plane, matrices, rows enough to be similar, dead ones."""

    def make() -> Golden:
        tensors = [
            Expected(str(shape), "float32", shape, elements(smooth(str(shape), *sizes), F32))
            for shape, sizes in {
                (24, 10, 3, 3): (24, 10, 9),
                (140, 3, 3): (140, 3, 3),
                (18, 4, 5, 5): (18, 4, 25),
                (17, 3, 3, 3, 3): (17, 3, 27),
                (20, 70): (20, 70, 1),
                (140, 20): (140, 20, 1),
                (8, 12, 3, 3): (8, 12, 9),
                (2, 3, 1025): (2, 3, 1025),
            }.items()
        ]
        tensors += [
            Expected(f"pruned {shape}", "float32", shape, elements(pruned(str(shape), *sizes), F32))
            for shape, sizes in {(30, 9, 3, 3): (30, 9, 9), (40, 33): (40, 33, 1)}.items()
        ]
        storage = {tensor.name: Storage.TERNARY for tensor in tensors}
        options = Options(codec="context", effort=effort, threads=1)
        return saved(f"structure, as context codes it at effort {effort}", tensors, None, options, storage)

    return make


def bands() -> Golden:
    """A matrix that the highest effort codes in bands, and one of them with dead rows and columns."""
    shape = (60, 90)
    whole = echoing(symbols("bands", 60 * 90, zeros=128, negatives=64))
    some = [0 if i // 90 % 5 == 2 or i % 90 < 4 else value for i, value in enumerate(whole)]
    tensors = [
        Expected("whole", "float32", shape, elements(whole, F32)),
        Expected("pruned", "float32", shape, elements(some, F32)),
    ]
    storage = {tensor.name: Storage.TERNARY for tensor in tensors}
    options = Options(codec="context", effort=3, threads=1)
    return saved("matrices that context codes in bands", tensors, None, options, storage)


CASES: dict[str, Callable[[], Golden]] = {
    "chunks": chunks,
    "rows-over-chunks": rows_over_chunks,
    **{f"codec-{name}": of_codec(name, options) for name, options in CODECS.items()},
    "context-bands": bands,
    **{f"context-structure-{effort}": structure(effort) for effort in (1, 2, 3)},
}
