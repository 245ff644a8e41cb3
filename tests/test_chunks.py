"""Large tensors are stored in chunks, on any number of threads."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from round_trips import describe
from samples import assert_same, trits

import ternzip
from ternzip import codecs
from ternzip.codecs.geometry import MAX_CHUNK_SYMBOLS, Geometry
from ternzip.container.reader import Reader

CODECS = sorted(codecs.BY_NAME)


CHUNKED = {
    "whole rows": ((3, MAX_CHUNK_SYMBOLS // 2 + 1), 3),
    "rows larger than a chunk": ((2, MAX_CHUNK_SYMBOLS + 5), 3),
    "rows of a kernel": ((2100, 1000, 1, 2), 2),
    "rows of one symbol": ((MAX_CHUNK_SYMBOLS + 1, 1), 2),
}


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("kind", CHUNKED)
def test_several_chunks(kind: str, codec: str) -> None:
    """The same bytes on any number of threads, and the same symbols back."""
    shape, count = CHUNKED[kind]
    tensor = trits(*shape, seed=3, zeros=0.9)
    data = ternzip.save({"t": tensor}, codec=codec, threads=1)
    assert ternzip.save({"t": tensor}, codec=codec, threads=3) == data
    with Reader.open(data) as reader:
        assert len(reader.entries["t"].records) == count
    for threads in (1, 3):
        assert torch.equal(ternzip.load(data, threads=threads)["t"], tensor)


def test_chunks_with_levels_per_row_and_signs_of_zeros() -> None:
    """Three rows of levels, each row longer than a chunk, and more zeros than a chunk holds."""
    tensor = trits(3, MAX_CHUNK_SYMBOLS + 3, zeros=0.97).to(torch.bfloat16)
    tensor *= torch.tensor([[1.0], [2.0], [4.0]], dtype=torch.bfloat16)
    tensor[:, ::5] *= -1  # among them zeros
    data = ternzip.save({"t": tensor}, codec="packed", threads=2)
    found = ternzip.load(data)["t"]
    assert torch.equal(found.view(torch.int16), tensor.view(torch.int16))
    info = describe(data).tensors[0]
    assert info.level_blocks == 3
    assert info.negative_zeros > 10**6


@settings(max_examples=300, deadline=None)
@given(
    rows=st.one_of(st.integers(1, 9), st.integers(1, 1 << 40)),
    cols=st.one_of(st.integers(0, 9), st.integers(1, 1 << 24)),
    kernel=st.sampled_from([1, 2, 9, 49, MAX_CHUNK_SYMBOLS - 1, MAX_CHUNK_SYMBOLS, MAX_CHUNK_SYMBOLS + 1]),
)
def test_chunk_geometry(rows: int, cols: int, kernel: int) -> None:
    geometry = Geometry(rows, cols, kernel)
    if geometry.chunk_count > 2000:
        assert geometry.chunk_count >= geometry.symbols // MAX_CHUNK_SYMBOLS
        return
    chunks = list(geometry.chunks())
    assert len(chunks) == geometry.chunk_count
    position = 0
    for start, chunk in chunks:
        assert start == position
        assert 0 < chunk.symbols <= MAX_CHUNK_SYMBOLS
        assert chunk.cols == cols or (chunk.rows, chunk.kernel) == (1, 1)
        position += chunk.symbols
    assert position == geometry.symbols


def test_threads_never_change_a_byte() -> None:
    tensors = {f"w{n}": trits(40 + n, 30, seed=n).float() for n in range(40)}
    tensors |= {f"p{n}": torch.randn(18000 + n, generator=torch.Generator().manual_seed(n)) for n in range(4)}
    tensors |= {f"b{n}": torch.full((n,), n / 7) for n in range(30)}
    files = {ternzip.save(tensors, threads=threads) for threads in (1, 2, 5, None)}
    assert len(files) == 1
    (data,) = files
    for threads in (1, 2, 5, None):
        assert_same(ternzip.load(data, threads=threads), tensors)
