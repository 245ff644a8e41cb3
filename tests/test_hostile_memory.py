"""Hostile files that ask for more memory than they are worth."""

from __future__ import annotations

import tracemalloc

import pytest
from forge import F32, I64, PLANES, TERNARY, U8, Forge, Tensor, levels, varint
from reading import read, refused

from ternzip._core.errors import TernzipError
from ternzip._core.tensor import RawTensor
from ternzip.codecs.zstd import compress_zstd


@pytest.mark.parametrize("storage", [PLANES, TERNARY])
@pytest.mark.parametrize("shape", [(1 << 60,), (1 << 30, 1 << 30), (2, 1 << 59), (1 << 59, 2, 1)])
@pytest.mark.parametrize("flags", [0, 1, 2, 8, 9, 10, 15, 32])
def test_a_header_that_claims_exa_elements(storage: int, shape: tuple[int, ...], flags: int) -> None:
    parameters = bytes([flags]) + levels(-1.0, 1.0) + varint(5) * 2 + b"\0\0"
    data = Forge([Tensor("t", storage, F32, shape, parameters=parameters * (storage == TERNARY))]).to_bytes()
    tracemalloc.start()
    with pytest.raises(TernzipError):
        read(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_the_greediest_file_of_100_bytes() -> None:
    chunks = 3
    tensor = Tensor("t", TERNARY, I64, (chunks << 22,), parameters=b"\0")
    data = Forge([tensor], [bytes(8)] * chunks, sizes=[0] * chunks).to_bytes()
    assert len(data) <= 100
    tracemalloc.start()
    try:
        raw = read(data)["t"]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(raw, RawTensor)
    assert raw.data.nbytes == chunks << 25
    assert peak < 256 << 20


def test_planes_do_not_burst() -> None:
    bomb = compress_zstd(bytes(1 << 26), 3)
    data = Forge([Tensor("t", PLANES, U8, (64,))], [b"\0\1" + varint(len(bomb)) + bomb]).to_bytes()
    tracemalloc.start()
    refused(data, "tensor 't': offset 32: zstd: ")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
