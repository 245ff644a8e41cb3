"""Byte planes of tensors that are not ternary: splitting, Huffman codes, and the choice between methods."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ternzip._core.dtypes import BY_NAME, DType
from ternzip._core.native import core
from ternzip.codecs.base import CorruptPayload
from ternzip.codecs.plane import Method, Search, decode_plane, encode_plane
from ternzip.codecs.planes import MAX_BLOCK_BYTES, Run, decode_block, encode_block
from ternzip.codecs.zstd import compress_zstd

Bytes = NDArray[np.uint8]


def load_reference() -> ModuleType:
    path = Path(__file__).parents[1] / "tools" / "reference_huffman.py"
    spec = importlib.util.spec_from_file_location("reference_huffman", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference_huffman = load_reference()
RNG = np.random.default_rng


def huffman(plane: Bytes) -> bytes:
    counts = np.bincount(plane, minlength=256).astype(np.uint32)
    return core.huffman_encode(plane.ctypes.data, plane.size, counts.ctypes.data)


def decoded(payload: bytes, size: int) -> Bytes:
    return decode_plane(Method.HUFFMAN, memoryview(payload), size)


def skewed(size: int, seed: int, ratio: float = 0.5) -> Bytes:
    """Geometrically distributed bytes around 120, as exponents are."""
    return (120 - np.minimum(RNG(seed).geometric(ratio, size), 100)).astype(np.uint8)


SIZES = (1, 2, 3, 4, 5, 7, 8, 255, 4095, 4096, 4097, 10_001, 70_003)


@pytest.mark.parametrize("isa", core.available_isas())
def test_splitting_and_merging_are_the_arithmetic_of_the_format(isa: str) -> None:
    before = core.active_isa()
    core.set_isa(isa)
    try:
        for width, rotation, count in itertools.product((1, 2, 4, 8), (0, 1, 4, 7), (0, 1, 5, 1023, 2049)):
            raw = RNG(count).integers(0, 256, count * width, np.uint8)
            numbers = raw.view(f"<u{width}")
            bits = 8 * width
            turned = numbers << np.uint64(rotation).astype(numbers.dtype)
            turned |= numbers >> np.uint64((bits - rotation) % bits).astype(numbers.dtype)
            expected = turned.view(np.uint8).reshape(-1, width).T
            planes = np.full((width, count), 0xEE, np.uint8)
            addresses = [plane.ctypes.data for plane in planes]
            core.split_planes(raw.ctypes.data, count, width, rotation, addresses)
            assert np.array_equal(planes, expected)
            back = np.empty_like(raw)
            core.merge_planes(addresses, count, width, rotation, back.ctypes.data)
            assert np.array_equal(back, raw)
    finally:
        core.set_isa(before)


@pytest.mark.parametrize(("width", "rotation"), [(0, 0), (3, 0), (16, 0), (1, 8), (2, 16), (8, 64)])
def test_what_cannot_be_split_is_refused(width: int, rotation: int) -> None:
    buffer = np.zeros(64, np.uint8)
    with pytest.raises(ValueError, match="width must be 1, 2, 4 or 8, rotation below its bits"):
        core.split_planes(buffer.ctypes.data, 1, width, rotation, [buffer.ctypes.data] * width)
    with pytest.raises(ValueError, match="width must be"):
        core.merge_planes([buffer.ctypes.data] * width, 1, width, rotation, buffer.ctypes.data)
    if rotation == 0:
        with pytest.raises(ValueError, match="width must be"):
            core.has_repeats(buffer.ctypes.data, 1, width)
    with pytest.raises(ValueError, match="one address a byte of width"):
        core.split_planes(buffer.ctypes.data, 1, 2, 0, [buffer.ctypes.data])


@pytest.mark.parametrize("size", SIZES)
def test_bytes_are_counted(size: int) -> None:
    plane = skewed(size, size)
    counts = np.full(256, 7, np.uint32)
    core.count_bytes(plane.ctypes.data, size, counts.ctypes.data)
    assert np.array_equal(counts, np.bincount(plane, minlength=256))


def shortest_bits(counts: list[int]) -> int:
    """The bits of the best code without a limit, by Huffman's own algorithm; only for counts that need none."""
    weights = sorted(counts)
    total = 0
    while len(weights) > 1:
        pair = weights[0] + weights[1]
        total += pair
        weights = sorted([*weights[2:], pair])
    return total


@given(st.lists(st.integers(1, 40), min_size=2, max_size=60))
@settings(max_examples=60, deadline=None)
def test_codes_are_as_short_as_can_be(counts: list[int]) -> None:
    """Counts as close as these need no limit, so the unlimited optimum is what must come out."""
    plane = np.repeat(np.arange(len(counts), dtype=np.uint8) * 4, counts)
    lengths, _ = reference_huffman.read_lengths(huffman(plane))
    assert sum(lengths[4 * i] * count for i, count in enumerate(counts)) == shortest_bits(counts)


def test_lengths_are_limited() -> None:
    """Fibonacci's numbers make the deepest trees."""
    fibonacci = [1, 1]
    while len(fibonacci) < 24:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    plane = np.repeat(np.arange(24, dtype=np.uint8), fibonacci)
    payload = huffman(plane)
    lengths, _ = reference_huffman.read_lengths(payload)
    assert max(lengths.values()) in (11, 12)
    assert np.array_equal(decoded(payload, plane.size), plane)


def test_twelve_bits_where_eleven_cost_much() -> None:
    """Many rare bytes beside few frequent ones."""
    plane = np.concatenate([skewed(300_000, 4), np.arange(256, dtype=np.uint8)])
    lengths, _ = reference_huffman.read_lengths(huffman(plane))
    assert max(lengths.values()) == 12


@pytest.mark.parametrize("size", SIZES[1:])
def test_reference_decoder_reads_what_is_written(size: int) -> None:
    for plane in (skewed(size, size), skewed(size, size, 0.05), RNG(size).integers(0, 256, size, np.uint8)):
        plane[:2] = 3, 9  # at least two values
        payload = huffman(plane)
        counts = np.bincount(plane, minlength=256).astype(np.uint32)
        assert 0 <= len(payload) - core.huffman_size(counts.ctypes.data) <= 3
        assert np.array_equal(decoded(payload, size), plane)
        if size < 20_000:
            assert reference_huffman.decode(payload, size) == plane.tobytes()


def test_every_instruction_set_writes_and_reads_the_same() -> None:
    before = core.active_isa()
    plane, dense = skewed(100_001, 5), RNG(1).integers(0, 256, 100_001, np.uint8)
    try:
        found = []
        for isa in core.available_isas():
            core.set_isa(isa)
            payloads = huffman(plane), huffman(dense)
            found.append(
                (payloads, encode_block(np.concatenate([plane, dense]), [Run(200_002, BY_NAME["bfloat16"])]))
            )
            assert np.array_equal(decoded(payloads[0], plane.size), plane)
            assert np.array_equal(decoded(payloads[1], dense.size), dense)
        assert all(one == found[0] for one in found)
    finally:
        core.set_isa(before)


def test_literal_bytes() -> None:
    plane = np.frombuffer(b"\x7f" * 5 + b"\x7e" * 2 + b"\x7d", np.uint8)
    assert huffman(plane).hex(" ") == "7d 7f 22 01 01 00 00 01 00 00 01 00 00 00 00 06 07"
    assert decoded(bytes.fromhex("7d7f2201 010000 010000 010000 00 00 06 07"), 8).tobytes() == plane.tobytes()


@pytest.mark.parametrize(
    "plane", [np.zeros(0, np.uint8), np.full(9, 4, np.uint8), np.zeros((1 << 22) + 1, np.uint8)]
)
def test_what_has_no_code_is_refused(plane: Bytes) -> None:
    with pytest.raises(ValueError, match="needs two distinct bytes, at most 2\\^22 in all, and their counts"):
        huffman(plane)


def test_what_has_no_code_has_no_size() -> None:
    for occurring in (0, 1):
        counts = np.zeros(256, np.uint32)
        counts[9] = 5 * occurring
        assert core.huffman_size(counts.ctypes.data) == 0


def test_a_short_run_beside_a_long_one_survives() -> None:
    data = np.concatenate([np.arange(6, dtype=np.uint8), skewed(1 << 21, 8)])
    runs = [Run(6, BY_NAME["int16"]), Run(1 << 21, BY_NAME["bfloat16"])]
    out = np.empty_like(data)
    decode_block(memoryview(encode_block(data, runs)), runs, out)
    assert np.array_equal(out, data)


def test_wrong_counts_are_refused() -> None:
    plane = skewed(1000, 1)
    counts = np.zeros(256, np.uint32)
    counts[:2] = 500
    with pytest.raises(ValueError, match="and their counts"):
        core.huffman_encode(plane.ctypes.data, plane.size, counts.ctypes.data)


@given(st.integers(0, 2**32 - 1), st.integers(2, 9000), st.data())
@settings(max_examples=100, deadline=None)
def test_damaged_payloads_are_refused_or_decoded_as_the_reference_does(
    seed: int, size: int, data: st.DataObject
) -> None:
    plane = skewed(size, seed, 0.3)
    plane[0] = 200
    payload = bytearray(huffman(plane))
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] ^= data.draw(st.integers(1, 255))
    damaged = bytes(payload[: data.draw(st.integers(len(payload) - 1, len(payload)))])
    try:
        expected = reference_huffman.decode(damaged, size)
    except reference_huffman.InvalidPayload:
        with pytest.raises(CorruptPayload, match="Huffman codes cannot stand for"):
            decoded(damaged, size)
    else:
        assert decoded(damaged, size).tobytes() == expected


# --- repeated strings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 2, 4, 8])
@pytest.mark.parametrize("isa", core.available_isas())
def test_repeats_are_found_at_any_distance(width: int, isa: str) -> None:
    before = core.active_isa()
    core.set_isa(isa)
    try:
        first = RNG(width).integers(0, 256, 40_000 * width, np.uint8)
        between = RNG(width + 8).integers(0, 256, 77_777 * width, np.uint8)
        for parts, expected in (
            ([first, between], False),
            ([first, between, first], True),
            ([first, first], True),
        ):
            data = np.concatenate(parts)
            assert core.has_repeats(data.ctypes.data, data.size // width, width) is expected
        assert not core.has_repeats(first.ctypes.data, 3, width)
    finally:
        core.set_isa(before)


# --- the choice between methods -----------------------------------------------------------------------------


def pruned(plane: Bytes, zeros: float) -> Bytes:
    """Bytes of which so many are 0, at random places, and no others."""
    kept = RNG(5).random(plane.size) >= zeros
    return np.where(kept, np.maximum(plane, 1), 0).astype(np.uint8)


@pytest.mark.parametrize("isa", core.available_isas())
@pytest.mark.parametrize("size", [1, 7, 8, 9, 63, 64, 65, 1000])
@pytest.mark.parametrize("zeros", [0.0, 0.3, 0.9, 1.0])
def test_zeros_are_split_and_merged(isa: str, size: int, zeros: float) -> None:
    plane = pruned(RNG(size).integers(0, 256, size, np.uint8), zeros)
    before = core.active_isa()
    core.set_isa(isa)
    try:
        bitmap = np.full((size + 7) // 8 + 1, 85, np.uint8)
        rest = np.full(int((plane != 0).sum()) + core.REST_OVERRUN + 1, 85, np.uint8)
        ones = core.split_zeros(plane.ctypes.data, size, bitmap.ctypes.data, rest.ctypes.data)
        assert (ones, bitmap[-1], rest[-1]) == ((plane != 0).sum(), 85, 85)
        assert np.array_equal(bitmap[:-1], np.packbits(plane != 0, bitorder="little"))
        assert np.array_equal(rest[:ones], plane[plane != 0])
        assert core.count_bitmap(bitmap.ctypes.data, size) == ones
        out, exact = np.full(size + 1, 85, np.uint8), rest[:ones].copy()
        assert core.merge_zeros(bitmap.ctypes.data, exact.ctypes.data, ones, size, out.ctypes.data)
        assert out[-1] == 85
        assert np.array_equal(out[:-1], plane)
        for other in {max(ones - 1, 0), ones + 1, ones // 2} - {ones}:  # bits changed since they were counted
            room = np.zeros(other, np.uint8)
            assert not core.merge_zeros(bitmap.ctypes.data, room.ctypes.data, other, size, out.ctypes.data)
            assert out[-1] == 85
    finally:
        core.set_isa(before)


def test_a_bitmap_that_changes_while_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    plane = pruned(RNG(1).integers(0, 256, 500, np.uint8), 0.9)
    bitmap = np.packbits(plane != 0, bitorder="little").tobytes()
    stream = (
        bytes([Method.STORED, len(bitmap)]) + bitmap + bytes([Method.STORED]) + plane[plane != 0].tobytes()
    )
    memory = bytearray(stream)
    assert np.array_equal(decode_plane(Method.SPARSE, memoryview(memory), 500), plane)

    def counted_too_early(address: int, size: int) -> int | None:
        ones = core.count_bitmap(address, size)
        memory[2:10] = b"\xff" * 8
        return ones

    stand_in = SimpleNamespace(**{**vars(core), "count_bitmap": counted_too_early})
    monkeypatch.setattr("ternzip.codecs.plane.core", stand_in)
    with pytest.raises(CorruptPayload, match="the bitmap changed while it was read"):
        decode_plane(Method.SPARSE, memoryview(memory), 500)


def test_unused_bits_of_a_bitmap_are_told() -> None:
    bitmap = np.array([7], np.uint8)
    assert core.count_bitmap(bitmap.ctypes.data, 3) == 3
    assert core.count_bitmap(bitmap.ctypes.data, 2) is None


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(("zeros", "most"), [(0.7, 1.03), (0.9, 1.03)])
def test_pruned_weights_come_near_the_order_0_of_their_planes(dtype: str, zeros: float, most: float) -> None:
    kind = BY_NAME[dtype]
    weights = (RNG(3).standard_normal(1 << 19) * 0.02).astype(np.float32)
    weights[RNG(4).random(weights.size) < zeros] = 0
    bits = weights.view(np.uint32)
    if dtype == "bfloat16":
        data = (bits >> np.uint32(16)).astype(np.uint16).view(np.uint8)
    else:
        data = weights.astype(np.float16 if dtype == "float16" else np.float32).view(np.uint8)
    block = encode_block(data, [Run(data.size, kind)])
    elements = data.view(f"u{kind.itemsize}")
    turned = (elements << 1 | elements >> (8 * kind.itemsize - 1)).astype(f"<u{kind.itemsize}")
    order0 = 0.0
    for plane in turned.view(np.uint8).reshape(-1, kind.itemsize).T:
        p = np.bincount(plane, minlength=256)[np.unique(plane)] / plane.size
        order0 -= float((p * np.log2(p)).sum()) * plane.size / 8
    assert len(block) <= most * order0 + 600
    out = np.empty_like(data)
    decode_block(memoryview(block), [Run(data.size, kind)], out)
    assert np.array_equal(out, data)


@pytest.mark.parametrize("search", Search)
def test_each_method_has_its_planes(search: Search) -> None:
    size = 1 << 19
    noise = RNG(0).integers(0, 256, size, np.uint8)
    for plane, method in (
        (noise, Method.STORED),
        (np.full(size, 17, np.uint8), Method.CONSTANT),
        (skewed(size, 1), Method.HUFFMAN),
        (np.sort(noise), Method.ZSTD),
        (np.tile(noise[:1000], size // 1000), Method.ZSTD),
        (pruned(noise, 0.9), Method.SPARSE),
        (np.stack([skewed(size // 2, 1), np.zeros(size // 2, np.uint8)], 1).reshape(-1), Method.SPARSE),
    ):
        found, stream = encode_plane(plane, search)
        assert found is method
        assert np.array_equal(decode_plane(found, memoryview(bytes(stream)), plane.size), plane)


def test_strings_repeated_far_apart_go_to_zstd() -> None:
    """Farther than any sample reaches: only the elements as a whole show them."""
    rows = np.tile(RNG(3).integers(0, 256, 1 << 20, np.uint8), 3)
    block = encode_block(rows, [Run(rows.size, BY_NAME["float32"])])
    assert len(block) < rows.size // 2


DISTRIBUTIONS: dict[str, Callable[[int], NDArray[np.float64]]] = {
    "normal": lambda n: RNG(n).normal(0, 0.02, n),
    "uniform": lambda n: RNG(n).random(n),
    "constant": lambda n: np.full(n, -0.75),
    "two values": lambda n: RNG(n).choice([1.5, -2.25e-3], n),
    "sorted": lambda n: np.sort(RNG(n).normal(0, 1, n)),
    "repeated rows": lambda n: np.resize(RNG(n).normal(0, 1, 96), n),
    "mostly zeros": lambda n: RNG(n).normal(0, 1, n) * (RNG(n + 1).random(n) < 0.1),
    "denormals": lambda n: RNG(n).normal(0, 1, n) * 2.0**-140,
    "one outlier": lambda n: np.where(np.arange(n) == n // 2, 3e4, 1.0),
}
FLOATS = {"float64": "<f8", "float32": "<f4", "float16": "<f2", "complex64": "<f4"}


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    "nbytes", [16, 4000, (1 << 20) + 8000]
)  # the last is more than what is tried at length
def test_floats_survive_and_take_no_more_than_zstd_alone(dtype: str, distribution: str, nbytes: int) -> None:
    numbers = DISTRIBUTIONS[distribution](nbytes // np.dtype(FLOATS[dtype]).itemsize)
    data = numbers.astype(FLOATS[dtype]).view(np.uint8)
    run = Run(data.size, BY_NAME[dtype])
    block = encode_block(data, [run])
    out = np.full_like(data, 0xEE)
    decode_block(memoryview(block), [run], out)
    assert np.array_equal(out, data)
    if nbytes > 4000:
        assert len(block) <= planes_through_zstd(data, run) * 1.001 + 64


def planes_through_zstd(data: Bytes, run: Run) -> int:
    """Every plane through zstd alone, as the first drafts of the format had it."""
    numbers = data.view(f"<u{run.width}")
    one = np.ones(1, numbers.dtype)[0]
    turned = numbers << one | numbers >> one * (8 * run.width - 1)
    planes = turned.view(np.uint8).reshape(-1, run.width).T.copy()
    return sum(min(plane.size, len(compress_zstd(plane.data, 3))) for plane in planes)


@given(
    st.lists(st.tuples(st.sampled_from(list(BY_NAME.values())), st.binary(max_size=300)), max_size=4),
    st.integers(0, 4),
)
@settings(max_examples=150, deadline=None)
def test_any_runs_survive(pieces: list[tuple[DType, bytes]], repeat: int) -> None:
    data, runs = b"", []
    for dtype, piece in pieces:
        whole = piece * (1 << repeat)
        whole = whole[: len(whole) - len(whole) % dtype.itemsize]
        if whole:
            data += whole
            runs.append(Run(len(whole), dtype))
    raw = np.frombuffer(data, np.uint8)
    block = encode_block(raw, runs)
    out = np.full_like(raw, 0xEE)
    decode_block(memoryview(block), runs, out)
    assert np.array_equal(out, raw)


def test_every_bit_pattern_of_a_16_bit_float_survives() -> None:
    """NaNs of any payload, infinities, denormals, both zeros."""
    raw = np.arange(1 << 16, dtype="<u2").view(np.uint8)
    for name in ("float16", "bfloat16"):
        run = Run(raw.size, BY_NAME[name])
        out = np.empty_like(raw)
        decode_block(memoryview(encode_block(raw, [run])), [run], out)
        assert np.array_equal(out, raw)


def test_exponents_of_normal_weights_cost_their_entropy() -> None:
    """bf16 takes 2.55 bits for its exponent and 8 for the rest; float64 loses nothing to planes that end within it."""
    weights = RNG(9).normal(0, 0.02, 1 << 19)
    bf16 = (weights.astype("<f4").view("<u4") >> 16).astype("<u2").view(np.uint8)
    assert len(encode_block(bf16, [Run(bf16.size, BY_NAME["bfloat16"])])) < 0.665 * bf16.size
    f64 = weights.view(np.uint8)
    assert len(encode_block(f64, [Run(f64.size, BY_NAME["float64"])])) < 0.8725 * f64.size


def test_the_largest_block_survives() -> None:
    data = np.concatenate([skewed(MAX_BLOCK_BYTES - 1, 3), np.full(1, 255, np.uint8)])
    run = Run(data.size, BY_NAME["float8_e4m3fn"])
    block = encode_block(data, [run])
    out = np.empty_like(data)
    decode_block(memoryview(block), [run], out)
    assert np.array_equal(out, data)
