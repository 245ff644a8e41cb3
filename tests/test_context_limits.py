"""What a payload of `context` may cost: no more time than its bytes are worth, and little memory for any geometry."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
from test_context_codec import counts_of, decode, encode, reference, structured

Geometry = tuple[int, int, int]
MEGABYTE = 1 << 20
CHUNK = 1 << 22
"""Trits that a chunk has at most."""


def least_bytes(trits: int, effort: int) -> int:
    return trits >> (18 - effort)


def effort_of(payload: bytes) -> int:
    """Of an adaptive payload."""
    assert payload[0]
    return 1 + (payload[0] - 1) % 3


@pytest.mark.parametrize("effort", [1, 2, 3])
def test_payloads_have_a_byte_for_so_many_trits(effort: int) -> None:
    """The fewer nonzeros, the lower the effort that is chosen: rows of nonzeros, which all efforts find."""
    geometry = (1 << 12, 1 << 8, 1)
    chosen = set()
    for rows in (1, 2, 4, 8, 16, 64):
        trits = np.zeros(geometry, np.int8)
        trits[:rows] = np.random.default_rng(rows).integers(0, 2, (rows, *geometry[1:])) * 2 - 1
        trits[-1, -1] = 1
        payload = encode(trits, geometry, effort)
        assert decode(payload, geometry, counts_of(trits))[1].tolist() == trits.ravel().tolist()
        if payload[0]:
            chosen.add(effort_of(payload))
            assert len(payload) >= least_bytes(trits.size, effort_of(payload))
    assert max(chosen) == effort


@pytest.mark.parametrize("effort", [2, 3])
def test_a_tensor_too_sparse_for_its_effort_takes_a_lower_one(effort: int) -> None:
    geometry = (1 << 9, 1 << 9, 9)
    trits = np.zeros(geometry, np.int8)
    trits[::100, 7] = np.array([1, 1, -1, 0, 0, 0, 1, 1, -1])
    payload = encode(trits, geometry, effort)
    assert len(payload) < least_bytes(trits.size, effort)
    assert payload[0] == 0 or effort_of(payload) == 1
    ok, back = decode(payload, geometry, counts_of(trits))
    assert ok
    assert (back == trits.ravel()).all()


@pytest.mark.parametrize("effort", [1, 2, 3])
def test_shorter_payloads_are_refused_before_anything_is_decoded(effort: int) -> None:
    geometry = (6, 1 << (18 - effort), 1)
    for length in (1, 5):
        payload = bytes([effort]) + b"\1" * (length - 1)
        ok, back = decode(payload, geometry, (1, 1 << 20, 1))
        assert not ok
        assert not back.any()
        with pytest.raises(reference.DamagedError, match="more trits"):
            reference.decode(payload, geometry, (1, 1 << 20, 1))


SCRATCH = """
import resource, sys
import numpy as np
from ternzip._core.native import core
rows, cols, kernel, recipe, size = map(int, sys.argv[1:])
out = np.ones((rows, cols, kernel), np.int8)
payload = np.full(size, 0x55, np.uint8)
payload[0] = recipe
if recipe >= 244:
    payload[1:5] = 0  # nothing is dead
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
counts = (1 << 20, 1 << 20, 1 << 20)
core.context_decode(payload.ctypes.data, size, rows, cols, kernel, *counts, out.ctypes.data)
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere the peak is counted in other units, or not at all"
)
@pytest.mark.parametrize("recipe", [2, 3, 249])
@pytest.mark.parametrize(
    "geometry",
    [
        (1, CHUNK, 1),
        (CHUNK, 1, 1),
        (16, CHUNK // 16, 1),
        (32, CHUNK // 32, 1),
        (64, 1 << 16, 1),
        (256, 1 << 14, 1),
        (16, 256, 1024),
    ],
)
def test_scratch_stays_below_16_megabytes(geometry: Geometry, recipe: int) -> None:
    """A process of its own for each, as the peak of one never falls."""
    size = max(least_bytes(math.prod(geometry), 3), 2) + 1  # bands have whole words after 69 bytes
    done = subprocess.run(
        [sys.executable, "-c", SCRATCH, *map(str, (*geometry, recipe, size))],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) < 16 * MEGABYTE


def test_wide_rows_are_coded_in_blocks() -> None:
    """The reference decoder follows, and every block learns what is in it."""
    width = (1 << 18) + 700
    trits = structured((2, width, 1), 5)
    trits[: 1 << 18] = np.repeat(trits[:64], 1 << 12)
    geometry = (2, width, 1)
    payload = encode(trits, geometry, 1)
    assert effort_of(payload) == 1
    assert decode(payload, geometry, counts_of(trits))[1].tolist() == trits.tolist()
    assert reference.decode(payload, geometry, counts_of(trits)) == trits.tolist()


def blurred(geometry: Geometry, seed: int) -> np.ndarray:
    """Filters that are mixtures of two smooth ones, and as much noise: alike in the large only."""
    rng = np.random.default_rng(seed)
    rough = rng.normal(size=(2, geometry[1], 5, 5))
    smooth = sum(
        weight * rough[:, :, y : y + 3, x : x + 3]
        for (y, x), weight in np.ndenumerate(np.outer((1, 2, 1), (1, 2, 1)) / 6)
    )
    mixed = np.tensordot(rng.normal(size=(geometry[0], 2)), smooth, 1)
    mixed += 2 * rng.normal(size=mixed.shape)
    return np.where(np.abs(mixed) > 0.5, np.sign(mixed), 0).astype(np.int8).ravel()


@pytest.mark.parametrize("effort", [2, 3])
def test_filters_alike_in_the_large_take_the_smooth_variant(effort: int) -> None:
    geometry = (40, 12, 9)
    trits = blurred(geometry, 3)
    payload = encode(trits, geometry, effort)
    assert (payload[0] - 1) // 81 == 1
    assert reference.decode(payload, geometry, counts_of(trits)) == trits.tolist()


@pytest.mark.parametrize("recipe", range(1, 244, 7))
def test_all_recipes_are_decoded_as_the_reference_decodes_them(recipe: int) -> None:
    """Of damaged bytes, as encoders choose few of them."""
    geometry = (20, 3, 9)
    payload = bytes([recipe]) + np.random.default_rng(recipe).bytes(300)
    counts = (200, 140, 200)
    ok, back = decode(payload, geometry, counts)
    assert not ok
    whole = reference.Tensor(*geometry)
    stream = reference.BitStream(payload[1:])
    try:
        whole.trits = reference.decode_living(stream, geometry, counts, reference.read_recipe(recipe))
    except reference.DamagedError:
        return
    assert back.tolist() == whole.trits
