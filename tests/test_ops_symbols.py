"""Counts, sparsity and entropy."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ternzip import ops
from ternzip._core.symbols import SymbolCounts

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
COUNTABLE = [*FLOATS, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8]


@given(st.lists(st.integers(0, 1 << 40), min_size=3, max_size=3))
def test_entropy_is_its_definition(counts: list[int]) -> None:
    symbols = SymbolCounts(*counts, invalid=7)
    n = sum(counts)
    assert symbols.symbols == n
    assert symbols.total == n + 7
    expected = -sum(c / n * math.log2(c / n) for c in counts if c)
    assert symbols.entropy == pytest.approx(expected, abs=1e-12)
    assert 0 <= symbols.entropy <= math.log2(3) + 1e-12
    assert symbols.sparsity == (counts[1] / n if n else 0)


def test_known_entropies() -> None:
    assert SymbolCounts(1, 0, 1).entropy == 1.0
    assert SymbolCounts(1, 2, 1).entropy == 1.5
    assert math.copysign(1, SymbolCounts(0, 9, 0).entropy) == 1.0
    assert SymbolCounts().entropy == 0.0
    assert SymbolCounts(invalid=3).sparsity == 0.0


def test_counts_add_up_beyond_32_bits() -> None:
    big = SymbolCounts(1 << 33, 1 << 40, 3, 1)
    assert sum([big, big], SymbolCounts()) == SymbolCounts(1 << 34, 1 << 41, 6, 2)
    assert SymbolCounts.of([1, 2, 3, 4]) == SymbolCounts(1, 2, 3, 4)
    with pytest.raises(TypeError):
        big + 1  # type: ignore[operator]


def test_symbols_import_neither_torch_nor_numpy() -> None:
    code = "import sys, ternzip._core.symbols; sys.exit(any(m in sys.modules for m in ('torch', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("dtype", COUNTABLE, ids=str)
def test_count_symbols_by_sign(dtype: torch.dtype) -> None:
    low = 0 if dtype == torch.uint8 else -2
    values = torch.randint(low, 3, (20_009,)).to(dtype)
    tally = Counter(int(v > 0) - int(v < 0) for v in values.tolist())
    expected = SymbolCounts(tally[-1], tally[0], tally[1])
    assert ops.count_symbols(values) == expected
    assert ops.count_symbols(values.reshape(-1, 11)[:, 2:3].expand(-1, 4)) == ops.count_symbols(
        values[2::11].clone().repeat(4)
    )
    if dtype.is_floating_point:
        values = values.clone()
        values[:6] = torch.tensor([-0.0, 0.0, math.inf, -math.inf, math.nan, -math.nan])
        got = ops.count_symbols(values)
        assert got.invalid == 2
        assert got.total == values.numel()
        tiny = torch.finfo(dtype).smallest_normal / 2
        assert ops.count_symbols(torch.tensor([tiny, -tiny], dtype=dtype)) == SymbolCounts(1, 0, 1)


def test_count_symbols_takes_many() -> None:
    a, b, c = torch.tensor([1.0, -1.0, 0.0]), torch.tensor([[0, 1]], dtype=torch.int8), torch.zeros(0)
    both = SymbolCounts(1, 2, 2)
    assert ops.count_symbols([a, b, c]) == both
    assert ops.count_symbols({"a": a, "b": b}) == both
    assert ops.count_symbols(t for t in (a, b)) == both
    assert ops.count_symbols([]) == SymbolCounts()
    assert ops.count_many([]).shape == (0, 4)
    assert ops.count_many([a, b]).tolist() == [[1, 1, 1, 0], [0, 1, 1, 0]]


def test_ternarized_counts_are_those_of_the_result() -> None:
    weights = [torch.randn(1000), torch.randn(30, 20, dtype=torch.float64)]
    quantized, counts = ops.ternarize_many(weights, -0.3, 0.6)
    assert ops.symbol_counts(counts) == [ops.count_symbols(q) for q in quantized]
