"""GGUF's ternary blocks: against the package gguf, which reads and writes the same types."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ternzip.checkpoint.gguf.blocks import BLOCK, TERNARY, TQ1_0, TQ2_0, BlockType, decode, encode

gguf = pytest.importorskip("gguf")

KINDS = pytest.mark.parametrize("kind", [TQ1_0, TQ2_0], ids=lambda kind: kind.name)


def weights(seed: int, blocks: int = 7) -> np.ndarray:
    """float16 (blocks, 256): -d, 0 and d, another d in each block; the third block is all zero."""
    random = np.random.default_rng(seed)
    trits = random.integers(-1, 2, (blocks, BLOCK))
    scales = random.uniform(1e-4, 30, (blocks, 1)).astype(np.float16)
    found = (trits * scales).astype(np.float16)
    found[2] = 0
    return found + np.float16(0)  # no -0.0


def flat(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


@KINDS
@pytest.mark.parametrize("seed", range(5))
def test_blocks_are_those_of_gguf(kind: BlockType, seed: int) -> None:
    values = weights(seed)
    theirs = gguf.quants.quantize(values.astype(np.float32), gguf.GGMLQuantizationType[kind.name])
    ours = encode(kind, flat(values))
    assert ours is not None
    assert np.array_equal(ours, flat(theirs))
    found = decode(kind, ours)
    assert found is not None
    assert np.array_equal(found, flat(values))
    floats = gguf.quants.dequantize(ours.reshape(7, -1), gguf.GGMLQuantizationType[kind.name])
    assert np.array_equal(floats, values.astype(np.float32))


def test_codes_and_sizes_are_those_of_gguf() -> None:
    from gguf.constants import GGML_QUANT_SIZES

    from ternzip.checkpoint.gguf.layout import REFUSED, TYPES

    for kind, sizes in GGML_QUANT_SIZES.items():
        ours = TYPES[int(kind)]
        assert (ours.name, (ours.block, ours.bytes)) == (kind.name, sizes)
    assert len(TYPES) == len(GGML_QUANT_SIZES)
    assert {code: (kind.name, kind.bytes) for code, kind in TERNARY.items()} == {
        code: (TYPES[code].name, TYPES[code].bytes) for code in TERNARY
    }
    assert not set(REFUSED) & set(TYPES)


@KINDS
@given(data=st.data())
def test_any_bytes_come_back_or_are_refused(kind: BlockType, data: st.DataObject) -> None:
    """What `decode` gives is enough to make the blocks again, and what is not enough it does not give."""
    raw = np.frombuffer(data.draw(st.binary(min_size=kind.bytes, max_size=kind.bytes)), np.uint8)
    found = decode(kind, raw)
    if found is not None:
        again = encode(kind, found)
        assert again is not None
        assert np.array_equal(again, raw)


@KINDS
@pytest.mark.parametrize("scale", [np.inf, np.nan, -1.0, -0.0], ids=str)
def test_scales_that_floats_cannot_keep(kind: BlockType, scale: float) -> None:
    blocks = encode(kind, flat(weights(0)))
    assert blocks is not None
    blocks = blocks.copy()
    blocks.reshape(7, -1)[2, -2:] = np.array([scale], "<f2").view(np.uint8)
    assert decode(kind, blocks) is None


@KINDS
def test_a_scale_beside_zeros_alone(kind: BlockType) -> None:
    blocks = encode(kind, flat(np.zeros((1, BLOCK), np.float16)))
    assert blocks is not None
    assert decode(kind, blocks) is not None
    blocks = blocks.copy()
    blocks[-2:] = np.array([0.5], "<f2").view(np.uint8)
    assert decode(kind, blocks) is None


def test_the_fourth_code_of_tq2_is_no_trit() -> None:
    blocks = encode(TQ2_0, flat(weights(0)))
    assert blocks is not None
    blocks = blocks.copy()
    blocks[0] |= 3
    assert decode(TQ2_0, blocks) is None


def test_other_forms_of_a_byte_of_tq1() -> None:
    """ggml writes 243 of the 256 bytes; another that stands for the same digits would not come back."""
    blocks = encode(TQ1_0, flat(weights(0, blocks=3)))
    assert blocks is not None
    written = {-(-value * 256 // 243) for value in range(243)}
    for byte in range(256):
        other = blocks.copy()
        other[0] = byte
        assert (decode(TQ1_0, other) is not None) == (byte in written), byte


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda w: w.__setitem__((0, 3), np.float16(-0.0)), id="minus zero"),
        pytest.param(lambda w: w.__setitem__((1, 3), w.max() * np.float16(2)), id="two magnitudes"),
        pytest.param(lambda w: w.__setitem__((1, slice(None)), np.float16(np.inf)), id="infinity"),
        pytest.param(lambda w: w.__setitem__((1, 3), np.float16(np.nan)), id="nan"),
    ],
)
@KINDS
def test_weights_that_no_block_holds(kind: BlockType, change: object) -> None:
    values = weights(0)
    assert callable(change)
    change(values)
    assert encode(kind, flat(values)) is None
