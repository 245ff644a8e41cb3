"""The native context codec: round trips of any geometry, sizes that mean something, damaged payloads."""

import importlib.util
import itertools
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_context_numbers import log2_q16

from ternzip._core.native import core

Geometry = tuple[int, int, int]
Counts = tuple[int, int, int]


def counts_of(trits: np.ndarray) -> Counts:
    return int((trits < 0).sum()), int((trits == 0).sum()), int((trits > 0).sum())


def encode(trits: np.ndarray, geometry: Geometry, effort: int, counts: Counts | None = None) -> bytes:
    trits = np.ascontiguousarray(trits, dtype=np.int8)
    assert trits.size == geometry[0] * geometry[1] * geometry[2]
    payload: bytes = core.context_encode(trits.ctypes.data, *geometry, *(counts or counts_of(trits)), effort)
    return payload


def decode(payload: bytes, geometry: Geometry, counts: Counts) -> tuple[bool, np.ndarray]:
    source = np.frombuffer(payload, dtype=np.uint8)
    out = np.full(geometry[0] * geometry[1] * geometry[2] + 32, 99, dtype=np.int8)
    ok = core.context_decode(source.ctypes.data, source.size, *geometry, *counts, out.ctypes.data)
    assert (out[-32:] == 99).all()
    return ok, out[:-32]


def entropy_bytes(trits: np.ndarray) -> float:
    p = np.array([n / trits.size for n in counts_of(trits) if n])
    return float(-(p * np.log2(p)).sum() * trits.size / 8)


@st.composite
def tensors(draw: st.DrawFn) -> tuple[np.ndarray, Geometry]:
    geometry = (
        draw(st.integers(0, 40)),
        draw(st.integers(1, 20)),
        draw(st.sampled_from([1, 1, 2, 3, 4, 5, 8, 9, 9, 16, 25, 27, 49, 121])),
    )
    zeros = draw(st.sampled_from([0.0, 0.3, 0.5, 0.9, 0.99, 1.0]))
    positive = draw(st.sampled_from([0.0, 0.5, 0.8, 1.0]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    trits = np.where(rng.random(geometry) < positive, 1, -1) * (rng.random(geometry) >= zeros)
    if draw(st.booleans()):  # dead rows and columns
        trits *= (rng.random((geometry[0], 1, 1)) < 0.7) * (rng.random((1, geometry[1], 1)) < 0.7)
    if draw(st.booleans()):  # similar rows
        trits[1::2] = np.where(rng.random(trits[1::2].shape) < 0.9, trits[: len(trits[1::2])], trits[1::2])
    return trits.astype(np.int8).ravel(), geometry


@settings(max_examples=150, deadline=None)
@given(tensors(), st.integers(1, 3))
def test_round_trip(tensor: tuple[np.ndarray, Geometry], effort: int) -> None:
    trits, geometry = tensor
    payload = encode(trits, geometry, effort)
    assert payload == encode(trits, geometry, effort)
    ok, back = decode(payload, geometry, counts_of(trits))
    assert ok
    assert (back == trits).all()
    if trits.size:
        assert len(payload) <= entropy_bytes(trits) * 1.001 + 16


@settings(max_examples=60, deadline=None)
@given(tensors(), st.integers(1, 3), st.data())
def test_damaged_payloads_end(tensor: tuple[np.ndarray, Geometry], effort: int, data: st.DataObject) -> None:
    trits, geometry = tensor
    counts = counts_of(trits)
    payload = bytearray(encode(trits, geometry, effort))
    kind = data.draw(st.sampled_from(["flip", "cut", "extend", "random", "counts"]))
    if kind == "flip" and payload:
        payload[data.draw(st.integers(0, len(payload) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "cut":
        del payload[data.draw(st.integers(0, len(payload))) :]
    elif kind == "extend":
        payload += data.draw(st.binary(min_size=1, max_size=20))
    elif kind == "random":
        payload = bytearray(data.draw(st.binary(max_size=64)))
    else:
        counts = data.draw(st.tuples(*[st.sampled_from([0, 1, 1000, 2**32, 2**64 - 1])] * 3))
    ok, back = decode(bytes(payload), geometry, counts)
    assert ok in (True, False)
    assert np.isin(back, (-1, 0, 1)).all()


@pytest.mark.parametrize("effort", [1, 2, 3])
def test_truncation_is_noticed_or_changes_trits(effort: int) -> None:
    trits = np.random.default_rng(1).integers(-1, 2, 16 * 16 * 9).astype(np.int8)
    payload = encode(trits, (16, 16, 9), effort)
    for length in range(len(payload)):
        ok, back = decode(payload[:length], (16, 16, 9), counts_of(trits))
        assert not ok or (back != trits).any()
    ok, _ = decode(payload + b"\1", (16, 16, 9), counts_of(trits))
    assert not ok


def load_reference() -> ModuleType:
    path = Path(__file__).parents[1] / "tools" / "reference_context.py"
    spec = importlib.util.spec_from_file_location("reference_context", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = load_reference()


def decoders_agree(payload: bytes, geometry: Geometry, counts: Counts) -> tuple[bool, np.ndarray]:
    """Both refuse the payload, or both make the same trits of it. Returns what `decode` does."""
    ok, back = decode(payload, geometry, counts)
    try:
        expected = reference.decode(payload, geometry, counts)
    except reference.DamagedError:
        assert not ok
    else:
        assert ok
        assert back.tolist() == expected
    return ok, back


@settings(max_examples=40, deadline=None)
@given(tensors(), st.integers(1, 3))
def test_reference_decoder_agrees(tensor: tuple[np.ndarray, Geometry], effort: int) -> None:
    trits, geometry = tensor
    counts = counts_of(trits)
    assert reference.decode(encode(trits, geometry, effort), geometry, counts) == trits.tolist()


def structured(geometry: Geometry, seed: int) -> np.ndarray:
    """Similar rows, smooth kernels, uneven rows and columns: all of the model has something to learn."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(4, *geometry[1:]))[rng.integers(0, 4, geometry[0])]
    latent = np.cumsum(latent + 0.3 * rng.normal(size=geometry), axis=2)
    latent *= rng.uniform(0.3, 2, (geometry[0], 1, 1)) * rng.uniform(0.3, 2, (1, geometry[1], 1))
    return np.where(np.abs(latent) > 1, np.sign(latent), 0).astype(np.int8).ravel()


@pytest.mark.parametrize("effort", [1, 2, 3])
@pytest.mark.parametrize(
    "geometry",
    [(60, 6, 9), (20, 70, 1), (80, 20, 1), (17, 7, 25), (16, 4, 49), (24, 5, 27), (30, 5, 7), (2, 3, 1025)],
)
def test_reference_decoder_agrees_on_structure(geometry: Geometry, effort: int) -> None:
    trits = structured(geometry, effort)
    payload = encode(trits, geometry, effort)
    assert 1 + (payload[0] - 1) % 3 == effort
    assert reference.decode(payload, geometry, counts_of(trits)) == trits.tolist()
    wrong = bytearray(payload)
    wrong[len(wrong) // 2] ^= 0x55
    decoders_agree(bytes(wrong), geometry, counts_of(trits))


def pruned(trits: np.ndarray, geometry: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """The tensor without every third row and fourth column, as zeros and as a smaller tensor."""
    rows, columns = np.arange(geometry[0]) % 3 == 1, np.arange(geometry[1]) % 4 == 2
    left = trits.reshape(geometry).copy()
    left[rows] = 0
    left[:, columns] = 0
    return left.ravel(), left[~rows][:, ~columns]


@pytest.mark.parametrize("effort", [1, 2, 3])
@pytest.mark.parametrize("geometry", [(40, 12, 9), (40, 45, 1), (31, 6, 25)])
def test_dead_rows_and_columns_cost_next_to_nothing(geometry: Geometry, effort: int) -> None:
    trits, left = pruned(structured(geometry, effort), geometry)
    payload = encode(trits, geometry, effort)
    assert reference.decode(payload, geometry, counts_of(trits)) == trits.tolist()
    assert decode(payload, geometry, counts_of(trits))[1].tolist() == trits.tolist()
    named = (geometry[0] + geometry[1]) / 8  # bytes
    assert len(payload) <= 1.01 * len(encode(left, left.shape, effort)) + named + 3


def test_dead_rows_of_one_chunk_of_many() -> None:
    """The tensor's counts are not the chunk's: decoders still start from the same rates."""
    geometry = (30, 10, 9)
    trits, _ = pruned(structured(geometry, 1), geometry)
    of_chunk = counts_of(trits)
    for counts in [
        (of_chunk[0] * 7, of_chunk[1] * 7 + 5, of_chunk[2] * 7),
        (of_chunk[0] + 9**9, of_chunk[1], of_chunk[2]),
        (of_chunk[0], of_chunk[1] + 9**9, of_chunk[2]),
    ]:
        payload = encode(trits, geometry, 2, counts)
        ok, back = decoders_agree(payload, geometry, counts)
        assert ok
        assert back.tolist() == trits.tolist()
    zeros = np.zeros_like(trits)
    payload = encode(zeros, geometry, 2, (7, 10**6, 7))
    assert len(payload) <= 8
    assert decoders_agree(payload, geometry, (7, 10**6, 7))[1].tolist() == zeros.tolist()


@pytest.mark.parametrize("geometry", [(20, 6, 9), (18, 20, 1), (16, 3, 25)])
def test_every_recipe_is_read_alike(geometry: Geometry) -> None:
    """A recipe byte changed: the payload is damaged, but the model is one that the document describes."""
    trits = structured(geometry, 1)
    payload = bytearray(encode(trits, geometry, 3))
    for recipe in [*range(0, 256, 11), 243, *range(244, 251), 255]:
        payload[0] = recipe
        ok, back = decoders_agree(bytes(payload), geometry, counts_of(trits))
        assert ok or recipe < 250 or (back == 0).all()


def test_priors_are_fitted_to_the_tensor() -> None:
    """Rows of very unequal density: the widest prior of rows is the cheapest, and found."""
    rng = np.random.default_rng(7)
    shape = (64, 7, 9)  # too small for bands
    dense = rng.choice([0.02, 0.9], (64, 1, 1))
    trits = (rng.choice([-1, 1], shape) * (rng.random(shape) < dense)).astype(np.int8).ravel()
    digits = (encode(trits, shape, 3)[0] - 1) // 3
    assert digits % 3 == 2
    assert len(encode(trits, shape, 3)) < len(encode(trits, shape, 1))


def test_tables_are_what_they_claim() -> None:
    for j, p in enumerate(reference.SQUASH):
        exact = 65536 / (1 + np.exp(-(j - 1536) / 128))
        assert abs(p - exact) <= 1 or p in (1, 65535)
    for x in [1, 2, 3, 7, 1000, 2**31, 2**40 + 12345, 2**63 - 1]:
        assert abs(log2_q16(x) / 65536 - np.log2(float(x))) < 2e-5


def test_several_at_once() -> None:
    rng = np.random.default_rng(2)
    geometries = [(16, 8, 9), (1, 300, 1), (20, 30, 1), (16, 16, 9), (0, 5, 9), (8, 1, 25), (32, 4, 9)]
    jobs, keep = [], []
    for effort, geometry in zip([1, 2, 3, 2, 2, 3, 2], geometries, strict=True):
        trits = rng.integers(-1, 2, geometry[0] * geometry[1] * geometry[2]).astype(np.int8)
        if len(jobs) > 2:
            trits, _ = pruned(trits, geometry)
        payload = np.frombuffer(encode(trits, geometry, effort), dtype=np.uint8)
        out = np.full(trits.size, 99, dtype=np.int8)
        keep.append((trits, payload, out))
        jobs.append((payload.ctypes.data, payload.size, *geometry, *counts_of(trits), out.ctypes.data))
    assert core.context_decode_many(jobs) == [True] * len(jobs)
    for trits, _, out in keep:
        assert (out == trits).all()
    bad = list(jobs[0])
    bad[1] -= 1
    assert core.context_decode_many([jobs[1], tuple(bad), jobs[2]]) == [True, False, True]


@pytest.mark.parametrize("geometry", [(20, 3, 9), (20, 12, 1), (18, 2, 25)])
def test_every_pair_and_instruction_set_decodes_alike(geometry: Geometry) -> None:
    """Of damaged bytes, by every variant, beside every other: what one alone is decoded to on the plainest machine."""
    counts = (200, 140, 200)
    size = geometry[0] * geometry[1] * geometry[2]
    rng = np.random.default_rng(5)
    payloads = [np.frombuffer(bytes([code]) + rng.bytes(300), np.uint8) for code in (2, 83, 164, 2, 83, 84)]

    def decode_all(pairs: list[tuple[int, ...]]) -> list[list[bytes]]:
        results = []
        for members in pairs:
            outs = [np.full(size, 99, np.int8) for _ in members]
            jobs = [
                (payloads[i].ctypes.data, payloads[i].size, *geometry, *counts, out.ctypes.data)
                for i, out in zip(members, outs, strict=True)
            ]
            assert not any(core.context_decode_many(jobs))
            results.append([out.tobytes() for out in outs])
        return results

    active = core.active_isa()
    try:
        core.set_isa("baseline")
        alone = [trits for (trits,) in decode_all([(i,) for i in range(len(payloads))])]
        pairs = list(itertools.permutations(range(len(payloads)), 2))
        for isa in core.available_isas():
            core.set_isa(isa)
            assert [trits for (trits,) in decode_all([(i,) for i in range(len(payloads))])] == alone
            assert decode_all([*pairs]) == [[alone[i], alone[j]] for i, j in pairs]
    finally:
        core.set_isa(active)


def test_what_the_counts_say_costs_nothing() -> None:
    for value in (-1, 0, 1):
        assert encode(np.full(90, value), (2, 5, 9), 2) == b""
        ok, back = decode(b"", (2, 5, 9), counts_of(np.full(90, value)))
        assert ok
        assert (back == value).all()
    signs = np.random.default_rng(3).choice([-1, 1], 9000)
    assert len(encode(signs, (100, 10, 9), 2)) <= 9000 / 8 + 3
    mask = np.random.default_rng(4).integers(0, 2, 9000)
    assert len(encode(mask, (100, 10, 9), 2)) <= 9000 / 8 + 3


@pytest.mark.parametrize("zeros", [0.5, 0.9, 0.98, 0.995])
@pytest.mark.parametrize("geometry", [(200, 500, 1), (100, 111, 9)])
def test_noise_costs_its_entropy(zeros: float, geometry: Geometry) -> None:
    rng = np.random.default_rng(5)
    size = geometry[0] * geometry[1] * geometry[2]
    trits = rng.choice([-1, 0, 1], size, p=[(1 - zeros) / 2, zeros, (1 - zeros) / 2]).astype(np.int8)
    assert len(encode(trits, geometry, 2)) <= 1.003 * entropy_bytes(trits) + 48


def test_structure_is_found() -> None:
    rng = np.random.default_rng(6)
    smooth = np.cumsum(rng.normal(size=(64, 32, 9)), axis=2)  # neighbours in a kernel agree
    trits = np.where(smooth > 1, 1, np.where(smooth < -1, -1, 0)).astype(np.int8)
    assert len(encode(trits, (64, 32, 9), 2)) < 0.85 * entropy_bytes(trits)
    rows = rng.choice([-1, 0, 1], (4, 32 * 9))[rng.integers(0, 4, 64)]  # sixteen copies of four filters
    flips = rng.random(rows.shape) < 0.05
    copies = np.where(flips, -rows, rows).astype(np.int8)
    plain = encode(copies, (64, 32, 9), 1)
    assert len(encode(copies, (64, 32, 9), 2)) < 0.85 * len(plain)


def test_encode_refuses_what_is_not_counted() -> None:
    trits = np.array([1, 0, -1, 0], dtype=np.int8)
    for counts in [(0, 2, 1), (1, 0, 1), (1, 2, 0)]:
        with pytest.raises(ValueError, match="not of a counted symbol"):
            encode(trits, (1, 4, 1), 2, counts)
    with pytest.raises(ValueError, match="not of a counted symbol"):
        encode(np.array([2], dtype=np.int8), (1, 1, 1), 2, (1, 1, 1))
    with pytest.raises(ValueError, match="effort"):
        encode(trits, (1, 4, 1), 4)
    with pytest.raises(ValueError, match="overflows"):
        core.context_encode(trits.ctypes.data, 2**40, 2**40, 1, 1, 1, 1, 2)
