"""The kernels that find, extract and expand ternary tensors, against numpy, on every instruction set."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ternzip._core.native import core

# code: (unsigned numpy type, pattern of -0.0 or None, NaN patterns, negative levels, positive levels)
FORMATS = {
    0: (np.uint64, 1 << 63, [0x7FF << 52 | 1, 0xFFF8 << 48], [0xBFF << 52, 0xFFF << 52, 1 << 63 | 1], [1]),
    1: (np.uint32, 1 << 31, [0x7F800001, 0xFFC00000], [0xBF800000, 0xFF800000, 1 << 31 | 1], [0x7F800000]),
    2: (np.uint16, 1 << 15, [0x7C01, 0xFE00], [0xBC00, 0xFC00, 0x8001], [0x3C00, 0x7C00, 1]),
    3: (np.uint16, 1 << 15, [0x7F81, 0xFFC0], [0xBF80, 0xFF80, 0x8001], [0x3F80, 0x7F80, 1]),
    4: (np.uint8, 1 << 7, [0x7F, 0xFF], [0xFE, 0xB8, 0x81], [0x7E, 0x38, 1]),
    5: (np.uint8, 1 << 7, [0x7D, 0xFF], [0xFC, 0xBC, 0x81], [0x7C, 0x3C, 1]),
    6: (np.uint8, None, [0x80], [0xFF, 0xC0, 0x81], [0x7F, 0x40, 1]),
    7: (np.uint8, None, [0x80], [0xFF, 0xC0, 0x81], [0x7F, 0x40, 1]),
    8: (np.uint8, None, [], [0xFF, 0x80], [0x7F, 1]),
    9: (np.uint16, None, [], [0xFFFF, 0x8000], [0x7FFF, 1]),
    10: (np.uint32, None, [], [0xFFFFFFFF, 1 << 31], [0x7FFFFFFF, 1]),
    11: (np.uint64, None, [], [0xFFFFFFFFFFFFFFFF, 1 << 63], [(1 << 63) - 1, 1]),
}
LENGTHS = [
    0,
    1,
    2,
    3,
    7,
    15,
    16,
    17,
    31,
    33,
    63,
    64,
    65,
    127,
    129,
    255,
    257,
    1000,
    16383,
    16384,
    16385,
    40001,
]

needs_all_isas = pytest.mark.parametrize("isa", core.available_isas())


@pytest.fixture(autouse=True)
def _restore_isa() -> Iterator[None]:
    before = core.active_isa()
    yield
    assert core.set_isa(before)


def unaligned(values: np.ndarray, offset: int) -> tuple[np.ndarray, int]:
    """The bytes of values at an address that is `offset` past an aligned one; the owner and the address."""
    owner = np.zeros(values.nbytes + 128, np.uint8)
    start = -owner.ctypes.data % 64 + offset
    owner[start : start + values.nbytes] = values.view(np.uint8)
    return owner, owner.ctypes.data + start


def draw_bits(code: int, n: int, seed: int) -> tuple[np.ndarray, int, int]:
    uint, minus, _, negs, poss = FORMATS[code]
    rng = np.random.default_rng(seed)
    neg, pos = int(rng.choice(np.array(negs, np.uint64))), int(rng.choice(np.array(poss, np.uint64)))
    symbols = np.array([neg, 0, pos, minus or 0], np.uint64).astype(uint)
    return rng.choice(symbols, n), neg, pos


def oracle(bits: np.ndarray, code: int) -> tuple[bool, int, int, int, int, int, int]:
    _, minus, nans, _, _ = FORMATS[code]
    top = 8 * bits.itemsize - 1
    zeros = [0] if minus is None else [0, minus]
    patterns = set(np.unique(bits).tolist())
    levels = [p for p in patterns if p not in zeros]
    neg = [p for p in levels if p >> top]
    pos = [p for p in levels if not p >> top]
    if len(neg) > 1 or len(pos) > 1 or patterns & set(nans):
        return (False, 0, 0, 0, 0, 0, 0)
    n_neg = int((bits == neg[0]).sum()) if neg else 0
    n_pos = int((bits == pos[0]).sum()) if pos else 0
    n_minus = int((bits == minus).sum()) if minus is not None else 0
    return (True, *(neg or [0]), *(pos or [0]), n_neg, bits.size - n_neg - n_pos, n_pos, n_minus)


Found = tuple[bool, int, int, int, int, int, int]


def one_pair(src: int, n: int, code: int, threads: int = 1) -> Found:
    """What `oracle` says of a vector, in the words of the core: one pair of levels, or something else."""
    found = core.detect_levels(src, 1, n, code, threads)
    if found is None or found[1] != n:
        return (False, 0, 0, 0, 0, 0, 0)
    height, _, negative, positive, *counts = found
    assert height == 1
    return (True, *(int.from_bytes(level, "little") for level in (negative, positive)), *counts)


@needs_all_isas
@pytest.mark.parametrize("code", FORMATS)
def test_every_length_and_alignment(isa: str, code: int) -> None:
    assert core.set_isa(isa)
    _, minus, _, _, _ = FORMATS[code]
    for n, offset in zip(LENGTHS, itertools.cycle([0, 1, 2, 3, 4, 7, 8, 33]), strict=False):
        bits, neg, pos = draw_bits(code, n, seed=n)
        keep, src = unaligned(bits, offset)
        for threads in (1, 3):
            assert n == 0 or one_pair(src, n, code, threads) == oracle(bits, code)

        trits = np.full(n + 1, 99, np.int8)
        core.extract_trits(src, n, code, trits.ctypes.data)
        expected = np.where(bits == neg, -1, np.where(bits == pos, 1, 0)).astype(np.int8)
        np.testing.assert_array_equal(trits[:n], expected)
        assert trits[n] == 99
        assert core.count_trits(trits.ctypes.data, n) == (*((expected == t).sum() for t in (-1, 0, 1)), 0)

        keep2, dst = unaligned(np.zeros_like(bits), offset)
        levels = [np.array([level], bits.dtype) for level in (neg, pos)]
        put = core.put_trits(
            trits.ctypes.data, n, code, *(a.ctypes.data for a in levels), (n + 1, 1, n + 1), 0, dst
        )
        assert put == (*((expected == t).sum() for t in (-1, 0, 1)), 0, None)
        start = dst - keep2.ctypes.data
        restored = keep2[start : start + bits.nbytes].copy().view(bits.dtype)
        np.testing.assert_array_equal(restored, np.where(bits == (minus or 0), 0, bits))
        assert keep2[:start].sum() == 0
        assert keep2[start + bits.nbytes :].sum() == 0

        n_zero = int((expected == 0).sum())
        signs = np.full(n_zero + 1, 99, np.int8)
        assert core.extract_zero_signs(src, n, code, signs.ctypes.data, n_zero) == n_zero
        assert signs[n_zero] == 99
        zeros = bits[expected == 0]
        np.testing.assert_array_equal(signs[:n_zero], np.where(zeros == 0, 1, -1))
        assert core.apply_zero_signs(dst, n, code, signs.ctypes.data, n_zero)
        np.testing.assert_array_equal(
            keep2[start : start + bits.nbytes], keep[src - keep.ctypes.data :][: bits.nbytes]
        )


@needs_all_isas
@pytest.mark.parametrize("code", FORMATS)
def test_what_is_not_ternary(isa: str, code: int) -> None:
    """A NaN, a second negative or a second positive level, first, last, or beyond the first block."""
    assert core.set_isa(isa)
    _, _, nans, negs, poss = FORMATS[code]
    for n, where in [(1, 0), (50, 0), (50, 49), (40000, 39999), (40000, 16384), (700000, 650000)]:
        bits, _, _ = draw_bits(code, n, seed=where)
        for intruder in (*nans, *negs, *poss, 2, 5):
            changed = bits.copy()
            changed[where] = intruder
            for threads in (1, 2):
                assert one_pair(changed.ctypes.data, n, code, threads) == oracle(changed, code)
                if intruder in nans:
                    assert core.detect_levels(changed.ctypes.data, 1, n, code, threads) is None


def test_threads_that_each_learn_a_level_agree() -> None:
    """Both levels lie beyond the first block, each in another thread's share; then they contradict."""
    bits = np.zeros(1 << 20, np.uint32)
    bits[300_000] = bits[1_000_000] = 0x3F800000
    bits[900_000] = 0xBF800000
    assert one_pair(bits.ctypes.data, bits.size, 1, 4) == oracle(bits, 1)
    bits[1_000_000] = 0x3F800001
    assert one_pair(bits.ctypes.data, bits.size, 1, 4) == (False, 0, 0, 0, 0, 0, 0)


@needs_all_isas
@pytest.mark.parametrize("code", FORMATS)
def test_levels_by_row(isa: str, code: int) -> None:
    assert core.set_isa(isa)
    uint, minus, nans, negs, poss = FORMATS[code]
    rng = np.random.default_rng(code)
    for rows, cols in [(1, 1), (5, 9), (64, 147), (3, 40000), (2, 16384)]:
        neg = rng.choice(np.array(negs, np.uint64), rows)
        pos = rng.choice(np.array(poss, np.uint64), rows)
        pick = rng.integers(0, 4, (rows, cols))
        zero = np.zeros_like(neg)
        table = np.stack([neg, zero, pos, zero + np.uint64(minus or 0)], axis=-1).astype(uint)
        bits = np.ascontiguousarray(np.take_along_axis(table, pick, axis=1))
        each = [oracle(row, code) for row in bits]
        assert all(e[0] for e in each)
        for threads in (1, 3):
            result = core.detect_levels(bits.ctypes.data, rows, cols, code, threads)
            assert result is not None
            height, width, *levels, n_neg, n_zero, n_pos, n_minus = result
            assert width == cols
            assert [n_neg, n_zero, n_pos, n_minus] == [sum(e[j] for e in each) for j in range(3, 7)]
            for found, at in zip(levels, (1, 2), strict=True):
                of_rows = np.repeat(np.frombuffer(found, uint), height)[:rows].tolist()
                # Joined with its neighbours, a row may be given a level that it does not show.
                assert all(e[at] in (0, level) for e, level in zip(each, of_rows, strict=True))
                assert height > 1 or of_rows == [e[at] for e in each]

        got = [np.array([e[at] for e in each], uint) for at in (1, 2)]
        address = [a.ctypes.data for a in got]

        trits = np.empty((rows, cols), np.int8)
        core.extract_trits(bits.ctypes.data, rows * cols, code, trits.ctypes.data, 2)
        back = np.empty_like(bits)
        done = 0
        for part in (1, trits.size // 3, trits.size):  # pieces that begin and end within rows
            piece = trits.reshape(-1)[done : done + part]
            target = back.reshape(-1)[done:].ctypes.data
            put = core.put_trits(piece.ctypes.data, piece.size, code, *address, (cols, 1, cols), done, target)
            assert put == (*((piece == t).sum() for t in (-1, 0, 1)), 0, None)
            done += piece.size
        np.testing.assert_array_equal(back, np.where(bits == (minus or 0), 0, bits))

        for intruder in nans:
            bits[-1, -1] = intruder
            assert core.detect_levels(bits.ctypes.data, rows, cols, code) is None


@needs_all_isas
def test_counts_do_not_overflow_and_name_what_is_no_trit(isa: str) -> None:
    assert core.set_isa(isa)
    for value, place in ((-1, 0), (0, 1), (1, 2), (2, 3), (-2, 3), (127, 3), (-128, 3)):
        trits = np.full(200_003, value, np.int8)
        assert core.count_trits(trits.ctypes.data, trits.size) == tuple(
            trits.size * (place == j) for j in range(4)
        )
    every = np.arange(256).astype(np.uint8)
    for code in (4, 5, 6, 7, 8):
        zero_patterns = {0, 0x80} if code in (4, 5) else {0}
        trits = np.empty(256, np.int8)
        core.extract_trits(every.ctypes.data, 256, code, trits.ctypes.data)
        assert trits.tolist() == [0 if b in zero_patterns else 1 - 2 * (b >> 7) for b in range(256)]
    levels = [np.array([v], np.uint16) for v in (7, 9)]
    out = np.empty(256, np.uint16)
    address = [a.ctypes.data for a in levels]
    put = core.put_trits(every.ctypes.data, 256, 9, *address, (256, 1, 256), 0, out.ctypes.data)
    assert put == (1, 1, 1, 253, None)
    assert out.tolist() == [0] + [9] * 127 + [7] * 128


@pytest.mark.parametrize(
    ("wrong", "first", "lacking"),
    [({}, 0, None), ({5: 1}, 0, (1, 1)), ({11: -1, 6: -1}, 0, (1, -1)), ({11: -1}, 5, (2, -1))],
)
def test_symbols_without_a_level_are_named_by_block(
    wrong: dict[int, int], first: int, lacking: tuple[int, int] | None
) -> None:
    """Rows of 5: row 0 has both levels, row 1 none, row 2 the positive one only."""
    levels = [np.array(values, np.uint8) for values in ([0x80 + 7, 0, 0], [9, 0, 5])]
    trits = np.array([-1, 1, 0, 1, -1] + [0] * 5 + [1, 0, 0, 1, 1], np.int8)
    expected = [0x87, 9, 0, 9, 0x87, 0, 0, 0, 0, 0, 5, 0, 0, 5, 5]
    for place, symbol in wrong.items():
        trits[place] = symbol
        expected[place] = 0
    out = np.full(15, 1, np.uint8)
    address = [a.ctypes.data for a in levels]
    put = core.put_trits(
        trits[first:].ctypes.data, 15 - first, 8, *address, (5, 1, 5), first, out[first:].ctypes.data
    )
    assert put[4] == lacking
    assert out[first:].tolist() == expected[first:]


@needs_all_isas
def test_zero_signs_that_do_not_fit_change_nothing(isa: str) -> None:
    assert core.set_isa(isa)
    bits = np.array([0, 0x3F800000, 0x80000000, 0], np.uint32)
    for signs in ([1, -1], [1, -1, 1, 1], []):
        wrong = np.array(signs, np.int8)
        before = bits.copy()
        assert not core.apply_zero_signs(bits.ctypes.data, 4, 1, wrong.ctypes.data, wrong.size)
        np.testing.assert_array_equal(bits, before)
    no_minus = np.array([0, 1], np.uint8)
    for code in (6, 7, 8):
        minus = np.array([-1], np.int8)
        assert not core.apply_zero_signs(no_minus.ctypes.data, 2, code, minus.ctypes.data, 1)
        assert no_minus.tolist() == [0, 1]


def test_more_zeros_than_were_counted_write_nothing_beyond() -> None:
    zeros = np.array([0.0, -0.0, 3.0, -0.0] * 2000, np.float32)
    for room in (0, 1, 1000, 1023, 1024, 5999, 6000):
        signs = np.full(room + 1, 85, np.int8)
        assert core.extract_zero_signs(zeros.ctypes.data, zeros.size, 1, signs.ctypes.data, room) == 6000
        assert signs.tolist() == [1, -1, -1] * (room // 3) + [1, -1, -1][: room % 3] + [85]


@given(st.lists(st.integers(-1, 1), max_size=60))
@settings(max_examples=300, deadline=None)
def test_packing_is_its_formula_and_comes_back(trits: list[int]) -> None:
    src = np.array(trits, np.int8)
    size = -(-len(trits) // 5)
    packed = np.full(size + 1, 255, np.uint8)
    core.pack_trits(src.ctypes.data, src.size, packed.ctypes.data)
    filled = trits + [0] * (5 * size - len(trits))
    expected = [sum((filled[5 * i + j] + 1) * 3**j for j in range(5)) for i in range(size)]
    assert packed.tolist() == [*expected, 255]
    out = np.full(src.size + 1, 99, np.int8)
    assert core.unpack_trits(packed.ctypes.data, src.size, out.ctypes.data)
    assert out.tolist() == [*trits, 99]


def test_packed_bytes_that_mean_nothing_are_refused() -> None:
    for n in (5, 40, 43):
        size = -(-n // 5)
        for place in range(size):
            for byte in range(243, 256):
                packed = np.full(size, 121, np.uint8)
                packed[place] = byte
                out = np.empty(n, np.int8)
                assert not core.unpack_trits(packed.ctypes.data, n, out.ctypes.data)
                assert set(out.tolist()) <= {-1, 0, 1}
    for kept in range(1, 5):
        for byte in range(243):
            digits = [byte // 3**j % 3 for j in range(5)]
            packed, out = np.array([byte], np.uint8), np.empty(kept, np.int8)
            valid = core.unpack_trits(packed.ctypes.data, kept, out.ctypes.data)
            assert valid == all(d == 1 for d in digits[kept:])


def test_grids_without_elements_are_refused() -> None:
    for grid in ((0, 1, 0), (5, 0, 5), (5, 1, 0), (5, 1, 6)):
        with pytest.raises(ValueError, match="blocks of at least one element, no wider than a row"):
            core.put_trits(0, 0, 8, 0, 0, grid, 0, 0)
    assert core.detect_levels(0, 0, 7, 1) is None
    assert core.detect_levels(0, 4, 0, 1) is None


def test_unknown_codes_and_instruction_sets_are_refused() -> None:
    for code in (-1, 12):
        with pytest.raises(ValueError, match=f"no dtype has the code {code}"):
            core.detect_levels(0, 0, 0, code)
    active = core.active_isa()
    assert not core.set_isa("avx1024")
    assert core.active_isa() == active
    assert core.available_isas()[0] == "baseline"


def test_the_environment_can_lower_the_instruction_set() -> None:
    code = "from ternzip._core.native import core; print(core.active_isa())"
    for isa in [*core.available_isas(), "avx1024"]:
        env = {**os.environ, "TERNZIP_ISA": isa}
        run = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
        )
        known = isa in core.available_isas()
        assert run.stdout.strip() == (isa if known else core.available_isas()[-1])
