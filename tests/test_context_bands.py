"""The banded recipes of the context codec: large matrices, sixteen rows side by side."""

from collections.abc import Iterator

import numpy as np
import pytest
import reference_bands
from test_context_codec import Geometry, counts_of, decode, decoders_agree, encode, reference

from ternzip._core.native import core

RECIPES = range(244, 250)
COUNTS = (200, 140, 200)


@pytest.fixture
def every_isa() -> Iterator[list[str]]:
    active = core.active_isa()
    yield core.available_isas()
    core.set_isa(active)


def echoing(geometry: Geometry, seed: int) -> np.ndarray:
    """Most weights are what the one three before them in their row is: bands look there, and rows do not."""
    rng = np.random.default_rng(seed)
    trits = rng.integers(-1, 2, (geometry[0], geometry[1] * geometry[2])).astype(np.int8)
    fresh = rng.random(trits.shape) < 0.2
    for x in range(3, trits.shape[1]):
        trits[:, x] = np.where(fresh[:, x], trits[:, x], trits[:, x - 3])
    return trits.ravel()


def banded(payload: bytes) -> bool:
    return payload[0] in RECIPES


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("geometry", [(16, 70, 1), (37, 5, 9), (33, 1, 7)])
def test_every_instruction_set_decodes_what_the_reference_decodes(
    geometry: Geometry, recipe: int, every_isa: list[str]
) -> None:
    """Of random bytes, more than are needed: all of the model has something to learn, and nothing is accepted."""
    size = geometry[0] * geometry[1] * geometry[2]
    data = np.random.default_rng(recipe).bytes(64 + 2 * size)
    payload = bytes([recipe, 0, 0, 0, 0]) + data
    expected = reference_bands.BandedDecoder(recipe, data, geometry, COUNTS).decode()
    for isa in every_isa:
        core.set_isa(isa)
        ok, back = decode(payload, geometry, COUNTS)
        assert not ok
        assert back.tolist() == expected


@pytest.mark.parametrize("geometry", [(48, 96, 1), (43, 101, 1), (30, 13, 11), (16, 2, 1025)])
def test_the_highest_effort_takes_bands_where_they_are_smaller(geometry: Geometry) -> None:
    trits = echoing(geometry, 1)
    counts = counts_of(trits)
    payload = encode(trits, geometry, 3)
    assert banded(payload)
    assert len(payload) < len(encode(trits, geometry, 2))
    ok, back = decoders_agree(payload, geometry, counts)
    assert ok
    assert (back == trits).all()
    for wrong in (payload[:-2], payload[:-1], payload + b"\0\0", payload[:5] + bytes(64) + payload[69:]):
        assert not decoders_agree(wrong, geometry, counts)[0]


@pytest.mark.parametrize("geometry", [(75, 110, 1), (60, 16, 11)])
def test_dead_rows_and_columns_are_named(geometry: Geometry) -> None:
    trits = echoing(geometry, 2).reshape(geometry)
    trits[::3] = 0
    trits[:, :6] = 0
    trits = trits.ravel()
    payload = encode(trits, geometry, 3)
    assert banded(payload)
    ok, back = decoders_agree(payload, geometry, counts_of(trits))
    assert ok
    assert (back == trits).all()
    others = (7 * 10**6, 9 * 10**6, 8 * 10**6)  # of a tensor of many chunks
    payload = encode(trits, geometry, 3, others)
    assert decoders_agree(payload, geometry, others)[1].tolist() == trits.tolist()
    of_few_rows = bytearray(payload)
    of_few_rows[1:5] = (0).to_bytes(4, "little")
    decoders_agree(bytes(of_few_rows), geometry, others)


def test_large_chunks_are_banded_where_it_costs_next_to_nothing(every_isa: list[str]) -> None:
    geometry = (1 << 10, 1 << 10, 1)
    rng = np.random.default_rng(1)
    rows, columns = (np.exp(0.3 * rng.normal(size=shape)) for shape in ((1 << 10, 1), (1, 1 << 10)))
    weights = rng.normal(size=geometry[:2]) * rows * columns
    trits = np.where(np.abs(weights) > 1.5, np.sign(weights), 0).astype(np.int8).ravel()
    payload = encode(trits, geometry, 2)
    assert banded(payload)
    assert not banded(encode(trits[: 1 << 19], (1 << 9, 1 << 10, 1), 2))  # not large
    for isa in every_isa:
        core.set_isa(isa)
        assert (decode(payload, geometry, counts_of(trits))[1] == trits).all()
    copies = np.tile(trits[: 64 << 10], 16)  # which similarity finds
    assert not banded(encode(copies, geometry, 2))


@pytest.mark.parametrize("recipe", [244, 249])
def test_refused_before_anything_is_decoded(recipe: int) -> None:
    """No bands, or no states."""
    payload = bytes([recipe, 0, 0, 0, 0]) + np.random.default_rng(1).bytes(64 + 2 * 1000)
    wide = (16, (1 << 17) + 1, 1)
    for geometry, counts, data in [
        ((15, 60, 1), COUNTS, payload),
        ((16, 60, 1), (0, 140, 200), payload),
        ((16, 60, 1), (200, 0, 200), payload),
        ((16, 60, 1), (200, 140, 0), payload),
        ((16, 60, 1), COUNTS, payload[:67]),
        ((16, 60, 1), COUNTS, payload[:70]),
        (wide, COUNTS, payload),
        ((16, 60, 1), COUNTS, payload[:4]),
        ((16, 60, 1), COUNTS, bytes([recipe, 0, 16, 0, 0]) + payload[5:]),  # names that are cut
        ((16, 60, 1), COUNTS, bytes([recipe, 1, 0, 0, 0, 1]) + payload[5:]),  # nothing named, in a byte
    ]:
        ok, back = decode(data, geometry, counts)
        assert not ok
        assert not back.any()
        with pytest.raises(reference.DamagedError):
            reference.decode(data, geometry, counts)
    assert decode(payload, (16, 60, 1), COUNTS)[1].any()


@pytest.mark.parametrize("length", [69, 71, 611, 613, 615, 1155, 1157])
def test_words_that_run_out(length: int, every_isa: list[str]) -> None:
    """Near the end, words are read from a copy: none is read beyond it, and a missing one is noticed."""
    geometry = (16, 400, 1)
    payload = bytes([247, 0, 0, 0, 0]) + np.random.default_rng(length).bytes(length - 5)
    for isa in every_isa:
        core.set_isa(isa)
        assert not decode(payload, geometry, COUNTS)[0]


class Told:
    """Instead of a band's coder: it knows the trits, and notes what it is asked for."""

    def __init__(self, trits: list[int]) -> None:
        self.trits = trits
        self.asked: list[tuple[int, int]] = []  # p and m

    def trit(self, p: int, m: int) -> int:
        self.asked.append((p, m))
        return self.trits[len(self.asked) - 1]


def test_a_state_below_its_least_is_refused(every_isa: list[str]) -> None:
    """No encoder leaves one. In the last step, where its band has no row, it would take words all the same: to a state
    that looks like the first."""
    trits = np.zeros((17, 2), np.int8)
    trits[[3, 7, 9, 16]] = [[1, -1], [-1, 0], [0, -1], [1, 1]]
    geometry, counts = (17, 2, 1), counts_of(trits.ravel())
    decoder = reference_bands.BandedDecoder(247, bytes(64), geometry, counts)
    told = [Told(trits[band : 17 if band == 15 else band + 1].ravel().tolist()) for band in range(16)]
    for band, coder in zip(decoder.bands, told, strict=True):
        band.coder = coder
    decoder.decode()
    states, words = [1 << 16] * 16, []  # a word by its step, column and band
    for number, coder in enumerate(told):
        for i, (trit, (p, m)) in reversed(list(enumerate(zip(coder.trits, coder.asked, strict=True)))):
            frequency, start = {0: (2**14 - p, 0), 1: (p - m, 2**14 - p), -1: (m, 2**14 - m)}[trit]
            if states[number] >= frequency << 18:
                words.append((*divmod(i, 2), number, states[number] % 2**16))
                states[number] >>= 16
            states[number] = (states[number] // frequency << 14) + states[number] % frequency + start

    def payload() -> bytes:
        stored = np.array([word for *_, word in sorted(words)], "<u2")
        return bytes([247, 0, 0, 0, 0]) + np.array(states, "<u4").tobytes() + stored.tobytes()

    ok, back = decoders_agree(payload(), geometry, counts)
    assert (ok, back.tolist()) == (True, trits.ravel().tolist())
    states[0] = 0
    words = [word for word in words if word[2]] + [(0, 0, 0, 0), (0, 1, 0, 0), (1, 0, 0, 1), (1, 1, 0, 0)]
    for isa in every_isa:
        core.set_isa(isa)
        assert not decoders_agree(payload(), geometry, counts)[0]


def test_drastic_payloads_overflow_nothing() -> None:
    """States and words of all ones or zeros drive every number to its limit."""
    geometry = (16, 3000, 3)
    for recipe in RECIPES:
        for byte in (0, 255):
            payload = bytes([recipe, 0, 0, 0, 0]) + bytes([byte]) * (64 + 2 * 16 * 9000)
            for counts in ((1, 2**62, 1), (2**62, 1, 1), (1, 1, 2**62)):
                assert not decode(payload, geometry, counts)[0]


def test_rows_too_wide_for_bands_are_coded_otherwise() -> None:
    width = 1 << 17
    rng = np.random.default_rng(2)
    nonzero = rng.random((16, width + 1)) < np.linspace(0.1, 0.9, 16)[:, None]  # rows that differ
    trits = (nonzero * rng.choice([-1, 1], nonzero.shape)).astype(np.int8).ravel()
    assert banded(encode(trits[: 16 * width], (16, width, 1), 1))
    assert not banded(encode(trits, (16, width + 1, 1), 1))
    assert not banded(encode(trits[: 15 * width], (15, width, 1), 1))
