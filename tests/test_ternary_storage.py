"""Which tensors are stored as ternary, and with which levels."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from round_trips import round_trip
from samples import (
    FLOATS,
    OTHERS,
    SIGNED,
    SMALL_FLOATS,
    TERNARY_DTYPES,
    alpha_sign_mask,
    assert_same,
    bits,
    name_of,
    trits,
)

import ternzip
from ternzip import codecs
from ternzip._core.tensor import RawTensor
from ternzip.codecs.ternary import Ternary, detect

CODECS = sorted(codecs.BY_NAME)
every_ternary_dtype = pytest.mark.parametrize("dtype", TERNARY_DTYPES, ids=name_of)


@pytest.mark.parametrize("dtype", [*FLOATS, torch.float8_e4m3fn, torch.float8_e5m2], ids=name_of)
@pytest.mark.parametrize("codec", ["auto", *CODECS])
def test_alpha_sign_mask_keeps_the_signs_of_zeros(dtype: torch.dtype, codec: str) -> None:
    weight = alpha_sign_mask(16, 8, 3, 3, alpha=0.75).to(dtype)
    negative_zeros = int(((weight == 0) & torch.signbit(weight.float())).sum())
    assert 0 < negative_zeros < int((weight == 0).sum())
    info = round_trip(weight, codec)
    assert info.levels == (-0.75, 0.75)
    assert info.negative_zeros == negative_zeros
    assert info.counts is not None
    # The side plane is cheap: a bit for each zero, not a place for each element.
    assert info.bytes <= (info.counts.total * math.log2(3) + info.counts.zero) / 8 * 1.03 + 48


def test_merge_zeros_drops_the_signs_of_zeros_and_nothing_else() -> None:
    weight = alpha_sign_mask(40, 40)
    other = torch.tensor([0.0, -0.0, 5.0, 7.0])
    constant = torch.full((200, 200), -0.0)
    tensors = {"weight": weight, "other": other, "constant": constant}
    kept, merged = ternzip.save(tensors), ternzip.save(tensors, merge_zeros=True)
    assert_same(ternzip.load(kept), tensors)
    loaded = ternzip.load(merged)
    assert len(merged) < len(kept) - 80
    assert bits(loaded["other"]) == bits(other)
    assert torch.equal(loaded["weight"], weight)
    zeros = loaded["weight"][loaded["weight"] == 0]
    assert not torch.signbit(zeros).any()
    assert bits(loaded["constant"]) == bytes(160_000)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int8], ids=name_of)
@pytest.mark.parametrize("codec", ["auto", *CODECS])
def test_levels_per_output_channel(dtype: torch.dtype, codec: str) -> None:
    symbols = trits(8, 4, 3, 3).float()
    symbols[0] = symbols[0].abs()  # a row that lacks the negative level
    symbols[1] = -symbols[1].abs()
    symbols[2] = 0
    rows = torch.arange(1.0, 9.0).view(8, 1, 1, 1)
    symmetric = (symbols * rows).to(dtype)
    asymmetric = torch.where(symbols > 0, 2 * rows + 1, -rows).mul(symbols.abs()).to(dtype)
    for weight in (symmetric, asymmetric):
        info = round_trip(weight, codec)
        assert info.level_block_shape == (1, 36)
        assert info.level_blocks == 8
        assert info.levels is None
        assert info.codec == codec or codec == "auto"
        assert info.counts is not None
        assert (info.counts.negative, info.counts.zero, info.counts.positive) == tuple(
            int((weight.sign() == s).sum()) for s in (-1, 0, 1)
        )
    # Full rows of both levels: the symmetric ones need half the bytes.
    full = torch.tensor([[-1.0, 0.0, 1.0] * 20] * 8).to(dtype) * rows.view(8, 1).to(dtype)
    lopsided = torch.where(full < 0, 2 * full, full)
    planes = round_trip(lopsided, codec).bytes - round_trip(full, codec).bytes
    assert 0 < planes <= 2 + dtype.itemsize * 10  # at most eight bytes a plane, its method and its length


def test_rows_with_signs_of_zeros() -> None:
    weight = alpha_sign_mask(6, 50) * torch.arange(1.0, 7.0).view(6, 1)
    info = round_trip(weight)
    assert info.level_block_shape == (1, 50)
    assert info.negative_zeros > 0


def test_levels_per_column_are_not_ternary() -> None:
    weight = trits(50, 6).float() * torch.arange(1.0, 7.0)
    assert round_trip(weight).codec == "solid"
    assert round_trip(weight.t()).level_blocks == 6  # the same numbers, seen the other way


@every_ternary_dtype
def test_one_level_only(dtype: torch.dtype) -> None:
    symbols = trits(30, 20)
    for kept, levels in (((symbols > 0), (None, 1.0)), ((symbols < 0), (-1.0, None))):
        weight = (symbols * kept).float().to(dtype)
        info = round_trip(weight)
        assert info.levels == levels
        assert info.bytes < 100


@every_ternary_dtype
def test_binary(dtype: torch.dtype) -> None:
    weight = trits(30, 20, zeros=0).float().to(dtype)
    info = round_trip(weight)
    assert info.counts is not None
    assert info.counts.zero == 0
    assert info.bytes <= 600 / 8 + 32


@every_ternary_dtype
@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, -0.0])
def test_constants_take_next_to_nothing(dtype: torch.dtype, value: float) -> None:
    weight = torch.full((256, 512), value).to(dtype)
    info = round_trip(weight)
    assert info.codec == "constant"
    assert info.bytes <= 16
    assert info.bits_per_symbol is not None
    round_trip(weight[:3, :5])
    round_trip(weight[:1, 0])


def test_constants_of_several_chunks() -> None:
    info = round_trip(torch.zeros(3, 3 << 20, dtype=torch.int8))
    assert info.codec == "constant"
    assert 16 <= info.bytes <= 32  # eight bytes at least for each 2^22 symbols


@pytest.mark.parametrize("dtype", [*FLOATS, torch.float8_e5m2], ids=name_of)
def test_infinities_are_levels_like_any(dtype: torch.dtype) -> None:
    for low, high in ((-math.inf, math.inf), (-math.inf, 0.5), (-2.0, math.inf)):
        weight = torch.where(trits(9, 9) > 0, high, low) * trits(9, 9).abs().float().clamp(min=0.0)
        weight = torch.where(trits(9, 9) == 0, torch.zeros(()), weight).to(dtype)
        assert round_trip(weight).levels == (low, high)


@pytest.mark.parametrize("dtype", [*FLOATS, *SMALL_FLOATS], ids=name_of)
def test_nan_is_not_ternary(dtype: torch.dtype) -> None:
    weight = trits(20, 20).float()
    weight[7, 7] = math.nan
    info = round_trip(weight.to(dtype))
    assert info.codec == "solid"
    assert info.counts is None
    assert info.levels is None


@pytest.mark.parametrize("dtype", SIGNED, ids=name_of)
def test_the_smallest_integer_is_a_level(dtype: torch.dtype) -> None:
    """It has no opposite, so symmetry must not be assumed."""
    limits = torch.iinfo(dtype)
    symbols = trits(12, 12)
    for low, high in ((limits.min, limits.max), (limits.min, 1), (-limits.max, limits.max)):
        weight = torch.zeros(12, 12, dtype=dtype)
        weight[symbols < 0] = low
        weight[symbols > 0] = high
        assert round_trip(weight).levels == (float(low), float(high)) or dtype is torch.int64
    only = torch.zeros(12, 12, dtype=dtype)
    only[symbols < 0] = limits.min
    assert round_trip(only).levels == (limits.min, None)


@every_ternary_dtype
def test_a_third_value_is_not_ternary(dtype: torch.dtype) -> None:
    weight = torch.tensor([[1.0, 2.0, -1.0, 0.0] * 20] * 10).to(dtype)
    assert round_trip(weight).codec == "solid"
    weight = torch.tensor([[-1.0, -2.0, 0.0, 0.0] * 20] * 10).to(dtype)
    assert round_trip(weight).codec == "solid"


@pytest.mark.parametrize("dtype", [d for d in OTHERS if d not in (torch.complex32,)], ids=name_of)
def test_types_that_are_never_ternary(dtype: torch.dtype) -> None:
    symbols = trits(40, 40).abs()
    info = round_trip(symbols.view(dtype) if dtype.itemsize == 1 else symbols.to(dtype))
    assert info.counts is None
    assert info.bytes < 900


def test_denormals_and_extremes_are_levels() -> None:
    tiny = 2.0**-149
    for low, high in ((-tiny, tiny), (-3.4028234663852886e38, tiny)):
        weight = torch.where(trits(9, 9) < 0, low, high) * trits(9, 9).abs()
        assert round_trip(weight).levels == (low, high)


def test_small_vectors_stay_in_the_solid_block() -> None:
    assert round_trip(torch.tensor([1.0, 0.0, -1.0])).codec == "solid"
    assert round_trip(torch.tensor([[1.0], [-1.0]])).codec in CODECS
    assert round_trip(trits(1000).float()).codec in CODECS
    assert round_trip(torch.tensor(1.0)).codec == "solid"


def changed_when_counted(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
    """Lets `change` happen between a tensor's being looked at and its being coded."""

    def looked_at(tensor: RawTensor, threads: int = 1) -> Ternary | None:
        found = detect(tensor, threads)
        change()
        return found

    monkeypatch.setattr("ternzip.container.writer.detect", looked_at)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, -1.0])
def test_a_tensor_that_changes_while_it_is_saved(
    value: float, threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error, and no file: neither memory beyond what was counted, nor a file that nobody reads."""
    for kinds in ((-1.0, 0.0, -0.0, 1.0), (-1.0, 1.0), (0.0, 1.0)):
        w = torch.tensor(kinds)[torch.randint(len(kinds), (512, 700))]
        changed_when_counted(monkeypatch, lambda w=w: w[100:].fill_(value))
        with pytest.raises(
            ternzip.TernzipError, match="tensor 'w': expected it to stay as it is while it is saved"
        ):
            ternzip.save_file({"w": w}, tmp_path / "w.tnz", threads=threads)
    assert not list(tmp_path.iterdir())


def test_signs_of_zeros_that_change_while_they_are_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    w = torch.tensor([0.0, -0.0, 1.0])[torch.randint(3, (64, 70))]
    changed_when_counted(monkeypatch, w.abs_)
    with pytest.raises(ternzip.TernzipError, match="expected it to stay as it is while it is saved"):
        ternzip.save_file({"w": w}, tmp_path / "w.tnz")
