"""What goes into a .tnz file comes out of it bit for bit, and takes no more than it should."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import (
    ALL_DTYPES,
    FLOATS,
    OTHERS,
    SIGNED,
    SMALL_FLOATS,
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
from ternzip.codecs.geometry import MAX_CHUNK_SYMBOLS, Geometry
from ternzip.container.describe import FileInfo, TensorInfo, describe_file
from ternzip.container.reader import Reader

CODECS = sorted(codecs.BY_NAME)
every_dtype = pytest.mark.parametrize("dtype", ALL_DTYPES, ids=name_of)
every_ternary_dtype = pytest.mark.parametrize("dtype", TERNARY_DTYPES, ids=name_of)


def describe(data: bytes) -> FileInfo:
    with Reader.open(data) as reader:
        return describe_file(reader)


def round_trip(tensor: Tensor, codec: str = "auto") -> TensorInfo:
    """Stores one tensor and checks that it comes back; returns what the file says of it."""
    data = ternzip.save({"t": tensor}, codec=codec)
    assert_same(ternzip.load(data), {"t": tensor})
    return describe(data).tensors[0]


# --- everything comes back ---------------------------------------------------------------------------------

SHAPES = [(), (1,), (5,), (0,), (3, 4), (0, 3), (3, 0), (2, 3, 4), (2, 3, 1, 2), (1, 2, 3, 2, 1), (1,) * 12]


@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
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


# --- what is ternary ---------------------------------------------------------------------------------------


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
        assert info.level_rows == 8
        assert info.levels is None
        assert info.codec == codec or codec == "auto"
        assert info.counts is not None
        assert (info.counts.negative, info.counts.zero, info.counts.positive) == tuple(
            int((weight.sign() == s).sum()) for s in (-1, 0, 1)
        )
    # Full rows of both levels: the symmetric ones need half the bytes.
    full = torch.tensor([[-1.0, 0.0, 1.0] * 20] * 8).to(dtype) * rows.view(8, 1).to(dtype)
    lopsided = torch.where(full < 0, 2 * full, full)
    assert round_trip(lopsided, codec).bytes - round_trip(full, codec).bytes == 8 * dtype.itemsize


def test_rows_with_signs_of_zeros() -> None:
    weight = alpha_sign_mask(6, 50) * torch.arange(1.0, 7.0).view(6, 1)
    info = round_trip(weight)
    assert info.level_rows == 6
    assert info.negative_zeros > 0


def test_levels_per_column_are_not_ternary() -> None:
    weight = trits(50, 6).float() * torch.arange(1.0, 7.0)
    assert round_trip(weight).codec == "solid"
    assert round_trip(weight.t()).level_rows == 6  # the same numbers, seen the other way


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


# --- sizes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zeros", [0.0, 0.2, 0.45, 0.73, 0.99, 0.9999])
@pytest.mark.parametrize("shape", [(2, 1), (4, 4, 3, 3), (64, 64, 3, 3), (1, 700_001), (1000, 1000)])
def test_static_takes_what_the_entropy_predicts(shape: tuple[int, ...], zeros: float) -> None:
    weight = alpha_sign_mask(*shape, zeros=zeros) + 0.0  # + 0.0 turns -0.0 into +0.0
    data = ternzip.save({"t": weight}, codec="static")
    assert_same(ternzip.load(data), {"t": weight})
    info = describe(data).tensors[0]
    if info.counts is not None and info.codec == "static":
        assert info.bytes <= 1.001 * info.counts.entropy * info.counts.total / 8 + 32
        assert info.bytes == describe(data).ternary_bytes
    else:
        assert torch.unique(weight).numel() == 1


@pytest.mark.parametrize("counts", [(1, 10**6, 1), (500_000, 1, 3), (0, 999_999, 1), (400_000, 0, 7)])
def test_static_with_rare_symbols(counts: tuple[int, int, int]) -> None:
    symbols = torch.repeat_interleave(torch.tensor([-1, 0, 1], dtype=torch.int8), torch.tensor(counts))
    order = torch.randperm(len(symbols), generator=torch.Generator().manual_seed(1))
    info = round_trip(symbols[order].view(1, -1), "static")
    assert info.counts is not None
    assert info.bytes <= 1.001 * info.counts.entropy * info.counts.total / 8 + 32


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(2, 60)),
    zeros=st.sampled_from([0.0, 0.1, 0.33, 0.6]),
    seed=st.integers(0, 999),
)
def test_auto_never_exceeds_five_trits_a_byte(shape: tuple[int, int], zeros: float, seed: int) -> None:
    tensor = trits(*shape, seed=seed, zeros=zeros)
    with Reader.open(ternzip.save({"t": tensor})) as reader:
        entry = reader.entries["t"]
    if entry.ternary is not None:
        assert sum(record.stored for record in entry.records) <= -(-tensor.numel() // 5)


def test_auto_is_as_small_as_any_codec() -> None:
    for seed, zeros in ((0, 0.1), (1, 0.5), (2, 0.9)):
        for shape in ((4, 4, 3, 3), (64, 32, 3, 3)):
            tensors = {"t": trits(*shape, seed=seed, zeros=zeros).float()}
            sizes = [len(ternzip.save(tensors, codec=codec)) for codec in CODECS]
            assert len(ternzip.save(tensors)) <= min(sizes)


def test_random_bytes_are_stored_as_they_are() -> None:
    info = round_trip(random_bits(torch.uint8, 1 << 20))
    assert info.bytes <= (1 << 20) + 16


def test_shares_add_up() -> None:
    """Every byte of a file is some tensor's or overhead."""
    tensors = {"w": trits(30, 30).float(), "b": torch.randn(30), "c": torch.randn(7), "p": torch.randn(20000)}
    data = ternzip.save(tensors)
    info = describe(data)
    assert info.bytes == len(data) == info.overhead + sum(tensor.bytes for tensor in info.tensors)
    assert info.overhead < 32 + 100


def test_overhead_of_a_checkpoint() -> None:
    """116 tensors as in a ResNet-20: header, framing and checksums take at most 1,500 bytes."""
    tensors: dict[str, Tensor] = {}
    for number in range(19):
        tensors[f"layer{number // 6}.{number}.conv.weight"] = trits(8, 8, 3, 3, seed=number).float()
        for what in ("weight", "bias", "running_mean", "running_var"):
            tensors[f"layer{number // 6}.{number}.bn.{what}"] = torch.randn(8)
        tensors[f"layer{number // 6}.{number}.bn.num_batches_tracked"] = torch.tensor(5)
    tensors |= {"linear.weight": trits(10, 64).float(), "linear.bias": torch.randn(10)}
    assert len(tensors) == 116
    assert describe(ternzip.save(tensors)).overhead <= 1500


# --- chunks and threads ------------------------------------------------------------------------------------


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
    assert info.level_rows == 3
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


def test_progress_names_every_tensor_once() -> None:
    tensors = {"w": trits(40, 30).float(), "b": torch.randn(3), "p": torch.randn(20000), "c": torch.ones(5)}
    seen: dict[str, int] = {}
    ternzip.save(tensors, progress=lambda name, nbytes: seen.__setitem__(name, nbytes))
    assert seen == {name: tensor.nbytes for name, tensor in tensors.items()}


# --- refused -----------------------------------------------------------------------------------------------


def refused_tensors() -> dict[str, tuple[Tensor, str]]:
    dense = torch.eye(3)
    jagged = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged)
    quantized = torch.quantize_per_tensor(dense, 0.1, 0, torch.qint8)
    return {
        "sparse": (dense.to_sparse(), "cannot store a sparse_coo tensor: expected a dense one"),
        "csr": (dense.to_sparse_csr(), "cannot store a sparse_csr tensor"),
        "quantized": (quantized, "cannot store torch.qint8: the format has no code for it"),
        "meta": (torch.ones(3, device="meta"), "cannot store a meta tensor: it has no elements"),
        "jagged": (jagged, "cannot store a nested tensor"),
        "lazy": (nn.UninitializedParameter(), "cannot store an uninitialized parameter"),
        "bits": (torch.empty(3, dtype=torch.uint4), "cannot store torch.uint4"),
    }


@pytest.mark.filterwarnings("ignore")  # torch's own, about some of these kinds
@pytest.mark.parametrize("kind", ["sparse", "csr", "quantized", "meta", "jagged", "lazy", "bits"])
def test_what_cannot_be_stored_is_refused_by_name(kind: str) -> None:
    tensor, message = refused_tensors()[kind]
    with pytest.raises(TernzipError, match=f"^tensor 'the {kind}': {message}"):
        ternzip.save({"good": torch.ones(3), f"the {kind}": tensor})


@pytest.mark.parametrize("value", [None, 3, [1.0], np.ones(3)], ids=lambda value: type(value).__name__)
def test_what_is_no_tensor_is_refused_by_name(value: object) -> None:
    with pytest.raises(TernzipError, match=r"tensor 'x': expected a torch\.Tensor, found"):
        ternzip.save({"x": value})  # type: ignore[dict-item]


def test_names_that_cannot_be_stored() -> None:
    with pytest.raises(TernzipError, match=r"tensor name '\\ud800': expected text that UTF-8 can hold"):
        ternzip.save({"\ud800": torch.ones(3)})
    with pytest.raises(TernzipError, match=r"tensor 'n{40}'\.\.\.: expected a name of at most 65536 bytes"):
        ternzip.save({"n" * 65537: torch.ones(3)})
    with pytest.raises(TernzipError, match="tensor 7: expected a name of type str, found int"):
        ternzip.save({7: torch.ones(3)})  # type: ignore[dict-item]


def test_options_that_are_none() -> None:
    with pytest.raises(ValueError, match=r"codec: expected one of auto, .*, got 'zip'"):
        ternzip.save({}, codec="zip")
    with pytest.raises(ValueError, match="threads: expected at least 1, got 0"):
        ternzip.save({}, threads=0)
    with pytest.raises(ValueError, match="threads: expected at least 1, got -1"):
        ternzip.load(ternzip.save({}), threads=-1)
