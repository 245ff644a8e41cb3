"""The ternary block types of GGUF, TQ1_0 and TQ2_0: 256 trits and a scale.

Both hold 256 consecutive weights of a row, each the scale times -1, 0 or +1. A digit is the trit plus 1. The scale is
a float16 in the last two bytes. (Types 34 and 35 of ggml; no other program's layouts of the same names are meant.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

BLOCK = 256
"""Weights in a block."""
_SCALE_BYTES = 2

_TQ1_RUNS = ((32, 5), (16, 5), (4, 4))
"""TQ1_0's digit bytes as (bytes, digits in each): 32 x 5 + 16 x 5 + 4 x 4 = 256. Digit n of byte j is element
j + n * bytes of the run."""
_TQ2_BYTES = 32
"""TQ2_0's digit bytes come 32 at a time: bits 2n and 2n + 1 of byte j are element j + 32 n of 128."""


@dataclass(frozen=True)
class BlockType:
    """One of the two types.

    Attributes:
        name, code: as ggml has them.
        bytes: of a block.
        unpack: (blocks, digit bytes) to digits (blocks, 256) from 0 to 3; 3 is no trit.
        pack: digits of 0, 1 and 2 to the one form of the digit bytes that ggml writes.
    """

    name: str
    code: int
    bytes: int
    unpack: Callable[[Bytes], Bytes]
    pack: Callable[[Bytes], Bytes]

    def split(self, data: Bytes) -> tuple[Bytes, Bytes]:
        """Digits (blocks, 256) and the bytes of the scales (blocks, 2) of whole blocks."""
        blocks = data.reshape(-1, self.bytes)
        return self.unpack(blocks[:, :-_SCALE_BYTES]), blocks[:, -_SCALE_BYTES:]

    def join(self, digits: Bytes, scales: Bytes) -> Bytes:
        """The blocks again, as flat bytes."""
        return np.concatenate([self.pack(digits), scales], axis=1).reshape(-1)


def decode(kind: BlockType, data: Bytes) -> Bytes | None:
    """The bytes of the blocks' weights as float16, or None where these would not give back every bit of the blocks.

    That is so where the scale is no positive finite number (but +0 in a block of zeros), where a block of zeros has
    another scale than +0, and where digits are written in another form than ggml's.
    """
    digits, scale_bytes = kind.split(data)
    scales = np.ascontiguousarray(scale_bytes).view("<f2")
    if digits.max(initial=0) > 2 or not np.isfinite(scales).all():
        return None
    weights = (digits.astype(np.float16) - np.float16(1)) * scales
    weights[digits == 1] = 0  # not the -0.0 of a product
    found: Bytes = np.ascontiguousarray(weights, "<f2").reshape(-1).view(np.uint8)
    again = encode(kind, found)
    return found if again is not None and np.array_equal(again, data) else None


def encode(kind: BlockType, weights: Bytes) -> Bytes | None:
    """Blocks of float16 weights that are -d, 0 or d in each run of 256, exactly; None where they are not.

    The scale is d; +0 in a run of zeros. -0.0 is no such weight, as a block cannot hold it.
    """
    values = weights.view("<f2").reshape(-1, BLOCK)
    bits = weights.view("<u2").reshape(-1, BLOCK)
    magnitudes = bits & 0x7FFF
    scales = magnitudes.max(axis=1, keepdims=True, initial=0)
    ternary = (bits == 0) | ((magnitudes == scales) & (magnitudes != 0))
    if not ternary.all() or not np.isfinite(values).all():
        return None
    digits = np.where(bits == 0, np.uint8(1), np.where(bits >> 15 == 1, np.uint8(0), np.uint8(2)))
    return kind.join(digits, np.ascontiguousarray(scales, "<u2").view(np.uint8))


def _unpack_tq1(blocks: Bytes) -> Bytes:
    """A byte holds digits v as ceil(v * 256 / 243): times 3^n modulo 256, the top digit in base 3 is digit n."""
    count, parts, place = len(blocks), [], 0
    for size, digits in _TQ1_RUNS:
        powers = (3 ** np.arange(digits)).astype(np.uint8).reshape(1, digits, 1)
        shifted = blocks[:, None, place : place + size] * powers  # modulo 256
        parts.append(((shifted.astype(np.uint16) * 3) >> 8).astype(np.uint8).reshape(count, -1))
        place += size
    return np.concatenate(parts, axis=1)


def _pack_tq1(digits: Bytes) -> Bytes:
    count, parts, place = len(digits), [], 0
    for size, number in _TQ1_RUNS:
        run = digits[:, place : place + size * number].reshape(count, number, size)
        powers = (3 ** (4 - np.arange(number))).astype(np.uint16).reshape(1, number, 1)
        value = (run * powers).sum(axis=1, dtype=np.uint16)
        parts.append(((value * 256 + 242) // 243).astype(np.uint8))
        place += size * number
    return np.concatenate(parts, axis=1)


def _unpack_tq2(blocks: Bytes) -> Bytes:
    shifts = np.arange(0, 8, 2, dtype=np.uint8).reshape(1, 1, 4, 1)
    found = (blocks.reshape(len(blocks), -1, 1, _TQ2_BYTES) >> shifts) & np.uint8(3)
    return found.astype(np.uint8).reshape(len(blocks), BLOCK)


def _pack_tq2(digits: Bytes) -> Bytes:
    shifts = np.arange(0, 8, 2, dtype=np.uint8).reshape(1, 1, 4, 1)
    shifted = digits.reshape(len(digits), -1, 4, _TQ2_BYTES) << shifts
    found: Bytes = np.bitwise_or.reduce(shifted, axis=2).astype(np.uint8)
    return found.reshape(len(digits), -1)


TQ1_0 = BlockType("TQ1_0", 34, 54, _unpack_tq1, _pack_tq1)
TQ2_0 = BlockType("TQ2_0", 35, 66, _unpack_tq2, _pack_tq2)
TERNARY = {kind.code: kind for kind in (TQ1_0, TQ2_0)}
