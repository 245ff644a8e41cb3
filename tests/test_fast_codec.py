"""The `fast` codec: round trips, literal bytes, the reference decoder, garbage, every instruction set."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest
from fast_strategies import densities, encoder_options
from hypothesis import given, settings
from hypothesis import strategies as st

from ternzip._core.native import core

Trits = npt.NDArray[np.int8]
Counts = tuple[int, int, int]


def load_reference() -> ModuleType:
    path = Path(__file__).parent.parent / "tools" / "reference_fast.py"
    spec = importlib.util.spec_from_file_location("reference_fast", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = load_reference()


def is_short(payload: bytes) -> bool:
    """Whether it is of the form without blocks."""
    return bool(payload and payload[0] & 0x80)


def count(trits: Trits) -> Counts:
    return int((trits == -1).sum()), int((trits == 0).sum()), int((trits == 1).sum())


def encode(trits: Trits, counts: Counts | None = None, **options: int) -> bytes:
    return core.fast_encode(trits.ctypes.data, trits.size, *(counts or count(trits)), **options)


def decode(payload: bytes, n: int, counts: Counts) -> Trits | None:
    """Decodes between guard bytes; None where the decoder refuses."""
    guard = 64
    out = np.full(n + 2 * guard, 85, np.int8)
    data = np.frombuffer(payload, np.uint8)
    ok = core.fast_decode(data.ctypes.data, data.size, n, *counts, out.ctypes.data + guard)
    assert (out[:guard] == 85).all()
    assert (out[guard + n :] == 85).all()
    return out[guard : guard + n] if ok else None


def random_trits(seed: int, n: int, negative: float, zero: float) -> Trits:
    rng = np.random.default_rng(seed)
    p = [negative, zero, max(0.0, 1 - negative - zero)]
    return rng.choice(np.array([-1, 0, 1], np.int8), n, p=p)


def entropy_bytes(counts: Counts) -> float:
    p = np.array(counts)[np.array(counts) > 0] / sum(counts)
    return float(-(p * np.log2(p)).sum() * sum(counts) / 8)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(0, 20000), density=densities, options=encoder_options)
def test_round_trip(seed: int, n: int, density: tuple[float, float], options: dict[str, int]) -> None:
    trits = random_trits(seed, n, *density)
    decoded = decode(encode(trits, **options), n, count(trits))
    assert decoded is not None
    assert np.array_equal(decoded, trits)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(0, 3000), density=densities, options=encoder_options)
def test_reference_decoder_agrees(
    seed: int, n: int, density: tuple[float, float], options: dict[str, int]
) -> None:
    trits = random_trits(seed, n, *density)
    assert reference.decode(encode(trits, **options), n, count(trits)) == trits.tolist()


@settings(max_examples=100, deadline=None)
@given(
    trits=st.lists(st.sampled_from([-1, 0, 1]), max_size=60),
    extra=st.tuples(*[st.sampled_from([0, 1, 100, 2**30 - 1, 2**40, 2**62])] * 3),
)
def test_chunk_of_a_larger_tensor(trits: list[int], extra: Counts) -> None:
    array = np.array(trits, np.int8)
    counts = tuple(a + b for a, b in zip(count(array), extra, strict=True))
    payload = encode(array, counts)
    decoded = decode(payload, array.size, counts)
    assert decoded is not None
    assert decoded.tolist() == trits
    assert reference.decode(payload, array.size, counts) == trits


@pytest.mark.parametrize(
    ("trits", "counts", "options", "payload"),
    [
        ([], None, {}, ""),
        ([0] * 5, None, {}, ""),
        ([1], (0, 0, 7), {}, ""),
        ([-1, 1], None, {}, "81 0040"),
        ([0, 1, -1, 0, 0, 0, 1, 0, 0, -1], None, {}, "81 d665 0e02"),
        ([0, 1, -1, 0, 0, 0, 1, 0, 0, -1], None, {"lanes": 1}, "000c 07ff 1100 0000 0002 0000 ff3e da8d"),
        (
            [1, 0, -1] * 40 + [0] * 9,
            (200, 1000, 150),
            {"lanes": 8, "max_length": 4},
            "030c 04ff 1100 0800 0012 0000 e3ee 6205 41ee dc02 e49e 0100 e25e 0a00 2d5e 0200 ea3e 0100"
            " df9e 0900 2d5e 0200 402e e77e e3ce 455e e6ce dffe 270e ea8e",
        ),
        (
            [1, 1, -1] * 30,
            None,
            {"lanes": 2, "block_bits": 10, "precision": 8},
            "0108 07ff 0a00 0400 000d 0000 6866 1020 8619 4000 9941 6726 6726 8419",
        ),
    ],
)
def test_literal_bytes(
    trits: list[int], counts: Counts | None, options: dict[str, int], payload: str
) -> None:
    array = np.array(trits, np.int8)
    assert encode(array, counts, **options).hex(" ", 2) == payload


def patterned(n: int) -> Trits:
    """Trits that depend on nothing but integer arithmetic here: about 80 % zeros, correlated."""
    value = np.arange(n, dtype=np.uint64)
    value = (value * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)
    trits = np.zeros(n, np.int8)
    trits[value % np.uint64(10) == 3] = 1
    trits[value % np.uint64(10) == 7] = -1
    return trits


def test_large_payload_is_pinned() -> None:
    trits = patterned(300_000)
    payload = encode(trits)
    assert (
        hashlib.sha256(payload).hexdigest()
        == "d6c3496da5545ed61794ca722ae1c3ab5f4334b4b41be7eed4c8a30925773d0a"
    )
    decoded = decode(payload, trits.size, count(trits))
    assert decoded is not None
    assert np.array_equal(decoded, trits)


@pytest.mark.parametrize("isa", core.available_isas()[:-1])
def test_instruction_sets_agree(isa: str) -> None:
    script = Path(__file__).with_name("fast_isa_digest.py")
    digests = []
    for name in (isa, core.available_isas()[-1]):
        result = subprocess.run(
            [sys.executable, str(script)],
            env={**os.environ, "TERNZIP_ISA": name, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        used, digest = result.stdout.split()
        assert used == name
        digests.append(digest)
    assert digests[0] == digests[1]


@pytest.mark.parametrize("zero", [0.33, 0.5, 0.9, 0.98, 0.995])
@pytest.mark.parametrize("n", [20_000, 1_000_000])
def test_size_is_near_the_entropy(n: int, zero: float) -> None:
    trits = random_trits(5, n, (1 - zero) / 2, zero)
    assert len(encode(trits)) <= 1.005 * entropy_bytes(count(trits)) + 64


@pytest.mark.parametrize("zero", [0.0, 0.33, 0.5, 0.9, 0.98, 0.995])
@pytest.mark.parametrize("n", [50, 500, 2000, 10_000, 60_000])
def test_a_small_tensor_costs_little_beside_its_entropy(n: int, zero: float) -> None:
    trits = random_trits(n, n, (1 - zero) / 2, zero)
    payload = encode(trits)
    assert len(payload) <= 1.006 * entropy_bytes(count(trits)) + (5 if is_short(payload) else 45)


def test_small_sparse_tensors_come_near_order_0() -> None:
    """As many weights as the layers of a small network, 98 % zeros."""
    layers = [random_trits(i, n, 0.01, 0.98) for i, n in enumerate([2304] * 4 + [9216] * 6 + [18_432] * 6)]
    order0 = sum(entropy_bytes(count(trits)) for trits in layers)
    assert sum(len(encode(trits)) for trits in layers) <= 1.03 * order0


def test_clustered_small_tensors_get_factors() -> None:
    trits = np.repeat(random_trits(3, 6000, 0.02, 0.96), 4)
    payload = encode(trits)
    assert is_short(payload)
    assert payload[0] & 0x10
    assert len(payload) < 0.92 * entropy_bytes(count(trits))
    decoded = decode(payload, trits.size, count(trits))
    assert decoded is not None
    assert np.array_equal(decoded, trits)


@pytest.mark.parametrize(
    "counts", [(1, 999_998, 1), (0, 500_000, 500_000), (1, 500_000, 499_999), (333_333, 0, 666_667)]
)
def test_size_of_lopsided_tensors(counts: Counts) -> None:
    trits = np.repeat(np.array([-1, 0, 1], np.int8), counts)
    np.random.default_rng(0).shuffle(trits)
    assert len(encode(trits)) <= 1.01 * entropy_bytes(counts) + 64


def test_factors_pay_where_trits_are_correlated() -> None:
    trits = np.repeat(random_trits(2, 200_000, 0.25, 0.5), 2)
    assert encode(trits)[0] & 0x10
    assert len(encode(trits)) < 0.85 * entropy_bytes(count(trits))


@pytest.mark.parametrize(
    ("code", "dtype", "negative", "positive"),
    [
        (8, np.int8, -1, 1),
        (8, np.int8, -128, 127),
        (2, np.float16, -0.5, 2.0),
        (1, np.float32, -1.25e-3, 3.5),
        (11, np.int64, -(2**40), 7),
        (0, np.float64, -1 / 3, 1 / 7),
    ],
)
@pytest.mark.parametrize(("n", "zero"), [(0, 0.5), (777, 0.5), (100_003, 0.5), (150_001, 0.97), (5000, 1.0)])
def test_decodes_into_elements(
    code: int, dtype: npt.DTypeLike, negative: float, positive: float, n: int, zero: float
) -> None:
    trits = random_trits(n, n, (1 - zero) / 3, zero)
    levels = np.array([negative, positive], dtype)
    width = levels.itemsize
    bits = [np.array([level], np.uint64) for level in levels.view(f"u{width}")]
    found, body = decode_elements(encode(trits), n, count(trits), code, width, bits, 0)
    assert found == (*count(trits), 0, None)
    expected = np.where(trits > 0, levels[1], np.where(trits < 0, levels[0], np.zeros((), dtype)))
    assert body == expected.astype(dtype).tobytes()


def decode_elements(
    payload: bytes,
    n: int,
    counts: Counts,
    code: int,
    width: int,
    levels: list[npt.NDArray[np.uint64]],
    row: int,
) -> tuple[tuple[int, int, int, int, tuple[int, int] | None] | None, bytes]:
    """What was put, and the bytes of the elements between guard bytes; a level for each `row` elements, 0: for all."""
    out = np.full(width * (n + 2), 85, np.uint8)
    body = out[width : width * (n + 1)]
    data = np.frombuffer(payload, np.uint8)
    native = [level.astype(f"<u{width}") for level in levels]
    span = row or max(n, 1)
    put = core.fast_decode_into(
        data.ctypes.data,
        data.size,
        n,
        *counts,
        code,
        *(a.ctypes.data for a in native),
        (span, 1, span),
        0,
        body.ctypes.data,
    )
    assert (out[:width] == 85).all()
    assert (out[width * (n + 1) :] == 85).all()
    return put, body.tobytes()


@pytest.mark.parametrize(("rows", "cols"), [(1000, 7), (30, 5000), (3, 40_000)])
def test_decodes_into_elements_with_levels_by_row(rows: int, cols: int) -> None:
    trits = random_trits(rows, rows * cols, 0.2, 0.6)
    negative = np.arange(1, rows + 1, dtype=np.uint64) | np.uint64(0x8000)
    positive = np.arange(2, rows + 2, dtype=np.uint64)
    found, body = decode_elements(encode(trits), trits.size, count(trits), 9, 2, [negative, positive], cols)
    assert found == (*count(trits), 0, None)
    by_row = trits.reshape(rows, cols)
    expected = np.where(by_row > 0, positive[:, None], np.where(by_row < 0, negative[:, None], 0))
    assert body == expected.astype(np.uint16).tobytes()
    positive[1] = 0
    found, _ = decode_elements(encode(trits), trits.size, count(trits), 9, 2, [negative, positive], cols)
    assert found == (*count(trits), 0, (1, 1))


def test_elements_of_a_refused_payload() -> None:
    trits = random_trits(1, 2000, 0.2, 0.6)
    levels = [np.array([0xFF], np.uint64), np.array([1], np.uint64)]
    assert decode_elements(encode(trits)[:-1], 2000, count(trits), 8, 1, levels, 0)[0] is None
    with pytest.raises(ValueError, match="no dtype has the code 99"):
        decode_elements(encode(trits), 2000, count(trits), 99, 1, levels, 0)


def refuses(payload: bytes, n: int, counts: Counts) -> bool:
    """Whether the payload is refused, by both decoders alike; else both must find the same trits."""
    native = decode(payload, n, counts)
    try:
        expected = reference.decode(payload, n, counts)
    except reference.InvalidPayload:
        assert native is None
        return True
    assert native is not None
    assert native.tolist() == expected
    return False


def test_every_truncation_is_refused() -> None:
    for options in ({"lanes": 1}, {"lanes": 32, "block_bits": 10}):
        trits = random_trits(3, 1500, 0.2, 0.6)
        payload = encode(trits, **options)
        assert all(refuses(payload[:i], trits.size, count(trits)) for i in range(len(payload)))
        assert refuses(payload + b"\0", trits.size, count(trits))
        assert refuses(payload, 0, count(trits))
        assert refuses(payload, trits.size, (0, 0, 0))
        assert refuses(payload, trits.size, (0, 5, 0))


def test_truncated_short_payloads_end_as_the_reference_says() -> None:
    """Their state holds no redundancy: a file's checksum tells what is missing."""
    trits = random_trits(3, 1500, 0.2, 0.6)
    payload = encode(trits)
    assert is_short(payload)
    for i in range(len(payload)):
        refuses(payload[:i], trits.size, count(trits))
    assert refuses(payload + b"\0\0", trits.size, count(trits))


@pytest.mark.parametrize(
    "options", [{}, {"lanes": 1}, {"lanes": 4}, {"lanes": 8}, {"lanes": 16, "precision": 16}]
)
def test_flipped_bytes_end_as_the_reference_says(options: dict[str, int]) -> None:
    trits = random_trits(4, 300, 0.2, 0.6)
    payload = bytearray(encode(trits, **options))
    for i in range(len(payload)):
        for flip in (1, 0x80, 0xFF):
            payload[i] ^= flip
            refuses(bytes(payload), trits.size, count(trits))
            payload[i] ^= flip


@pytest.mark.parametrize(
    ("at", "value"),
    [(0, 7), (0, 0x20), (0, 0x45), (1, 7), (1, 17), (2, 0), (2, 64), (3, 0), (3, 1), (4, 9), (4, 23), (5, 1)],
)
def test_header_fields_out_of_range_are_refused(at: int, value: int) -> None:
    trits = random_trits(6, 200, 0.2, 0.6)
    payload = bytearray(encode(trits, lanes=2))
    payload[at] = value
    assert refuses(bytes(payload), trits.size, count(trits))


def test_block_with_a_foreign_word_count_is_refused() -> None:
    trits = random_trits(7, 4000, 0.2, 0.6)
    payload = encode(trits, lanes=8, block_bits=10)
    for at in range(6, 6 + 4 * 6):
        for value in (0, 255):
            if payload[at] != value:
                changed = payload[:at] + bytes([value]) + payload[at + 1 :]
                assert refuses(changed, trits.size, count(trits))


@settings(max_examples=300, deadline=None)
@given(
    first=st.integers(0x80, 0x97),
    body=st.binary(max_size=200),
    n=st.integers(1, 2000),
    counts=st.tuples(*[st.sampled_from([0, 1, 50, 10**6, 2**63])] * 3),
)
def test_short_garbage_ends_as_the_reference_says(first: int, body: bytes, n: int, counts: Counts) -> None:
    refuses(bytes([first]) + body, n, counts)


@pytest.mark.parametrize("n", [1, 2, 3, 100, 5000])
def test_symbols_that_cost_nothing(n: int) -> None:
    """The first symbol leaves a state of 0 as it is: no byte of the stream is needed, at whatever length."""
    assert encode(np.full(n, -1, np.int8), (n, 0, 0)) == b""
    for header in (0x81, 0x84, 0x87):
        found = decode(bytes([header]), n, (5, 7, 9))
        assert found is not None
        assert found.tolist() == reference.decode(bytes([header]), n, (5, 7, 9))
        assert refuses(bytes([header, 0]), n, (5, 7, 9))


@settings(max_examples=300, deadline=None)
@given(
    header=st.tuples(
        st.integers(0, 0x17).filter(lambda b: b & 15 <= 6),
        st.integers(8, 16),
        st.integers(1, 63),
        st.integers(2, 255),
        st.integers(10, 22),
    ),
    body=st.binary(max_size=700),
    n=st.integers(1, 5000),
    counts=st.tuples(*[st.sampled_from([0, 1, 50, 10**6, 2**63])] * 3),
    plausible=st.booleans(),
)
def test_garbage_ends_as_the_reference_says(
    header: tuple[int, ...], body: bytes, n: int, counts: Counts, plausible: bool
) -> None:
    if plausible:  # states at their floor or above, so that decoding begins
        body = body[:6] + b"".join(body[i : i + 2] + b"\1\0" for i in range(6, len(body), 4))
    refuses(bytes((*header, 0)) + body, n, counts)


@pytest.mark.parametrize(
    ("trits", "counts", "options"),
    [
        ([2], (1, 1, 1), {}),
        ([-2, 0], (1, 1, 1), {}),
        ([0, 0], (1, 1, 1), {}),
        ([1, 0], (1, 1, 0), {}),
        ([0, -1], (0, 2, 0), {}),
        ([0, 1], (0, 1, 1), {"lanes": 3}),
        ([0, 1], (0, 1, 1), {"lanes": 128}),
        ([0, 1], (0, 1, 1), {"block_bits": 9}),
        ([0, 1], (0, 1, 1), {"block_bits": 23}),
        ([0, 1], (0, 1, 1), {"max_length": 64}),
        ([0, 1], (0, 1, 1), {"precision": 7}),
        ([0, 1], (0, 1, 1), {"precision": 17}),
    ],
)
def test_encoder_refuses(trits: list[int], counts: Counts, options: dict[str, int]) -> None:
    expected = "an option is out of range" if options else "no trit, or a trit occurs more often than counted"
    with pytest.raises(ValueError, match=f"fast_encode: .*{expected}"):
        encode(np.array(trits, np.int8), counts, **options)


def test_too_many_trits() -> None:
    trits = np.zeros(2**22 + 1, np.int8)
    with pytest.raises(ValueError, match=r"2\^22 trits"):
        encode(trits)
    assert decode(b"", trits.size, count(trits)) is None
