"""What goes into a .tnz file comes out of it bit for bit: elements, order, names, ties, metadata."""

from __future__ import annotations

import io

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from round_trips import describe, round_trip
from samples import (
    ALL_DTYPES,
    TERNARY_DTYPES,
    alpha_sign_mask,
    assert_same,
    bits,
    name_of,
    random_bits,
    trits,
)
from torch import Tensor, nn

import ternzip
from ternzip import codecs
from ternzip._core.errors import TernzipError
from ternzip.container.reader import Reader

CODECS = sorted(codecs.BY_NAME)
every_dtype = pytest.mark.parametrize("dtype", ALL_DTYPES, ids=name_of)
every_ternary_dtype = pytest.mark.parametrize("dtype", TERNARY_DTYPES, ids=name_of)


# --- everything comes back ---------------------------------------------------------------------------------

SHAPES = [(), (1,), (5,), (0,), (3, 4), (0, 3), (3, 0), (2, 3, 4), (2, 3, 1, 2), (1, 2, 3, 2, 1), (1,) * 12]


@every_dtype
def test_every_dtype_and_shape(dtype: torch.dtype) -> None:
    tensors = {f"t{number}": random_bits(dtype, *shape, seed=number) for number, shape in enumerate(SHAPES)}
    assert_same(ternzip.load(ternzip.save(tensors)), tensors)
    for tensor in tensors.values():
        round_trip(tensor)


@every_dtype
def test_large_tensors_of_every_dtype(dtype: torch.dtype) -> None:
    """Large enough for byte planes of their own, for one block and for several, the last one short."""
    wide = random_bits(dtype, 70001 // dtype.itemsize + 1)
    assert round_trip(wide).codec == "planes"
    several = random_bits(dtype, (9 << 20) // dtype.itemsize + 1)
    info = round_trip(several)
    assert info.codec == "planes"
    assert info.bytes <= several.nbytes + 3 * (1 + 8 * 5)


@every_ternary_dtype
@pytest.mark.parametrize("codec", ["auto", *CODECS])
def test_ternary_tensors_of_every_dtype(dtype: torch.dtype, codec: str) -> None:
    for shape in [(6, 7), (1, 300), (300,), (4, 3, 5, 5), (2, 2, 2, 2, 2)]:
        tensor = trits(*shape, seed=len(shape)).to(torch.float32).to(dtype)
        info = round_trip(tensor, codec)
        assert info.codec == codec or (codec == "auto" and info.codec in CODECS)
        assert info.levels == (-1.0, 1.0)
        assert info.counts is not None
        values = tensor.to(torch.float64)
        assert info.counts.negative == int((values < 0).sum())
        assert info.counts.positive == int((values > 0).sum())
        assert info.counts.total == tensor.numel()


def test_layouts() -> None:
    weight = trits(4, 6, 5, 3).float()
    complex_weight = torch.complex(torch.randn(3, 4), torch.randn(3, 4))
    tensors = {
        "transposed": weight.permute(3, 1, 0, 2),
        "channels_last": weight.to(memory_format=torch.channels_last),
        "strided": weight[::2, :, 1:4],
        "flipped": weight.flip(0),
        "expanded": torch.tensor([1.0, 0.0, -1.0]).expand(4, 3),
        "expanded scalar": torch.tensor(2.5).expand(3, 2),
        "conjugate": complex_weight.conj(),
        "negated": complex_weight.conj().imag,
        "real part": complex_weight.real,
        "slice": torch.arange(100.0)[90:],
        "empty slice": torch.arange(4.0)[4:],
        "empty expanded": torch.empty(1, 0).expand(7, 0),
    }
    assert tensors["negated"].is_neg()
    assert tensors["conjugate"].is_conj()
    loaded = ternzip.load(ternzip.save(tensors))
    assert_same(loaded, tensors)
    assert all(tensor.is_contiguous() and not tensor.is_conj() for tensor in loaded.values())


def test_booleans_of_any_bytes() -> None:
    """torch takes every byte but 0 for True, and makes 1 of it in a copy."""
    stored = torch.arange(24, dtype=torch.uint8).reshape(4, 6)
    for view in (stored, stored.T, stored[:, ::2], stored[1:2].expand(3, 6), stored[2, 3]):
        found = ternzip.load(ternzip.save({"b": view.view(torch.bool)}))["b"]
        assert found.dtype is torch.bool
        assert torch.equal(found.view(torch.uint8), view)
    with ternzip.safe_open(io.BytesIO(ternzip.save({"b": stored.view(torch.bool)}))) as file:
        for index in (slice(1, 3), (slice(None), slice(0, 6, 2)), 2):
            assert torch.equal(file.get_slice("b")[index].view(torch.uint8), stored[index])


def test_parameters_and_buffers() -> None:
    layer = nn.BatchNorm2d(5)
    layer.register_parameter("extra", nn.Parameter(torch.tensor([[1.0, -1.0, 0.0]]), requires_grad=True))
    loaded = ternzip.load(ternzip.save(dict(layer.state_dict(keep_vars=True))))
    assert_same(loaded, layer.state_dict())
    assert not any(tensor.requires_grad or isinstance(tensor, nn.Parameter) for tensor in loaded.values())


@settings(max_examples=60, deadline=None)
@given(
    dtype=st.sampled_from(TERNARY_DTYPES),
    shape=st.lists(st.integers(0, 6), max_size=4),
    codec=st.sampled_from(["auto", *CODECS]),
    seed=st.integers(0, 99),
    zeros=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    merge=st.booleans(),
)
def test_any_small_tensor(
    dtype: torch.dtype, shape: list[int], codec: str, seed: int, zeros: float, merge: bool
) -> None:
    symbols = trits(*shape, seed=seed, zeros=zeros)
    random = random_bits(dtype, *shape, seed=seed)
    tensors = {
        "a": symbols.float().to(dtype),
        "b": random,
        "c": symbols.t() if len(shape) == 2 else symbols,
        "d": alpha_sign_mask(*shape, seed=seed, zeros=zeros),
    }
    data = ternzip.save(tensors, codec=codec, merge_zeros=merge)
    expected = dict(tensors)
    if merge:
        found = ternzip.load(data)
        with Reader.open(data) as reader:
            is_ternary = {name: entry.ternary is not None for name, entry in reader.entries.items()}
        for name, tensor in tensors.items():
            if is_ternary[name]:
                expected[name] = torch.where(tensor == 0, torch.zeros_like(tensor), tensor)
        assert_same(found, expected)
    else:
        assert_same(ternzip.load(data, threads=1), tensors)


# --- ties, order, metadata ---------------------------------------------------------------------------------


def test_tied_tensors_are_stored_once_and_come_back_tied() -> None:
    weight = trits(64, 64).float()
    view = weight.view(64, 64)
    tensors = {"first": weight, "between": torch.ones(3), "second": view, "third": nn.Parameter(weight)}
    data = ternzip.save(tensors)
    loaded = ternzip.load(data)
    assert_same(loaded, tensors)
    assert loaded["first"] is loaded["second"] is loaded["third"]
    infos = {info.name: info for info in describe(data).tensors}
    assert infos["second"].tied_to == infos["third"].tied_to == "first"
    assert infos["second"].bytes == infos["third"].bytes == 0
    assert len(data) - len(ternzip.save({"first": weight, "between": torch.ones(3)})) < 40


def test_what_is_not_a_tie() -> None:
    base = torch.arange(12.0)
    square = torch.arange(9.0).view(3, 3)
    tensors = {
        "square": square,
        "square transposed": square.t(),
        "base": base,
        "start": base[:6],
        "shifted": base[1:],
        "other shape": base.view(3, 4),
        "transposed": base.view(3, 4).t(),
        "other type": base.view(torch.int32),
        "equal": base.clone(),
        "empty": torch.empty(0),
        "other empty": torch.empty(0),
    }
    data = ternzip.save(tensors)
    loaded = ternzip.load(data)
    assert_same(loaded, tensors)
    assert len({id(tensor) for tensor in loaded.values()}) == len(tensors)
    assert [info.tied_to for info in describe(data).tensors] == [None] * len(tensors)
    z = torch.tensor([1 + 2j])
    conjugates = {"z": z, "conjugate": z.conj(), "imaginary": z.imag, "negated": z.conj().imag}
    assert_same(ternzip.load(ternzip.save(conjugates)), conjugates)


def test_order_and_names() -> None:
    names = ["z", "a", "", "\u00e9\u4e2d", "a.b", "a b\n", "\0", "n" * 65536, "\U0001f600", "__metadata__"]
    tensors = {name: torch.tensor([float(i)]) for i, name in enumerate(names)}
    tensors["big"] = torch.randn(20000)
    tensors["last"] = torch.tensor(1)
    assert_same(ternzip.load(ternzip.save(tensors)), tensors)


def test_many_tensors_take_several_solid_blocks() -> None:
    """Small ones in between larger ones; the members of a block need not lie together in the file."""
    tensors: dict[str, Tensor] = {}
    for number in range(150):
        tensors[f"small{number}"] = random_bits([torch.float32, torch.uint8, torch.int64][number % 3], 1900)
        tensors[f"weight{number}"] = trits(3, 40 + number).float()
    data = ternzip.save(tensors)
    assert_same(ternzip.load(data), tensors)
    with Reader.open(data) as reader:
        assert len(reader.blocks) >= 2
        for name in reversed(tensors):
            assert reader.read(name).data.tobytes() == bits(tensors[name])


def test_metadata() -> None:
    metadata = {"": "", "author": "\u00e4\n\0", "long": "x" * 100_000, "\u4e2d": "{}"}
    data = ternzip.save({}, metadata=metadata)
    assert describe(data).metadata == metadata
    assert list(describe(data).metadata) == list(metadata)
    assert describe(ternzip.save({})).metadata == {}
    assert ternzip.load(ternzip.save({})) == {}


@pytest.mark.parametrize(
    "metadata", [{"a": 1}, {1: "a"}, {"a": None}, {"a": "\ud800"}, {"\ud800": "a"}], ids=ascii
)
def test_metadata_that_cannot_be_stored(metadata: dict[str, str]) -> None:
    with pytest.raises(TernzipError, match="metadata"):
        ternzip.save({}, metadata=metadata)


def test_progress_names_every_tensor_once() -> None:
    tensors = {"w": trits(40, 30).float(), "b": torch.randn(3), "p": torch.randn(20000), "c": torch.ones(5)}
    seen: dict[str, int] = {}
    ternzip.save(tensors, progress=lambda name, nbytes: seen.__setitem__(name, nbytes))
    assert seen == {name: tensor.nbytes for name, tensor in tensors.items()}
