"""`packed`: fixed-width packing, five trits a byte, or eight symbols a byte where only two occur.

The floor under every other codec: no tensor is ever stored larger than this.
"""

from __future__ import annotations

import numpy as np

from ternzip._core.native import core
from ternzip._core.symbols import SymbolCounts
from ternzip.codecs.base import CorruptPayload, Trits, WithoutParameters
from ternzip.codecs.geometry import Geometry


def _pair(counts: SymbolCounts) -> tuple[int, int] | None:
    """The two symbols that occur, lower first, or None where all three do."""
    occurring = [s for s, n in ((-1, counts.negative), (0, counts.zero), (1, counts.positive)) if n]
    return (occurring[0], occurring[1]) if len(occurring) == 2 else None


class PackedCodec(WithoutParameters):
    """The codec; docs/FORMAT.md, section 7.1."""

    code = 0
    name = "packed"

    def encode(self, trits: Trits, geometry: Geometry, counts: SymbolCounts, parameters: bytes) -> bytes:
        """See TernaryCodec."""
        pair = _pair(counts)
        if pair is not None:
            return np.packbits(trits == pair[1], bitorder="little").tobytes()
        out = np.empty(-(-trits.size // 5), np.uint8)
        core.pack_trits(trits.ctypes.data, trits.size, out.ctypes.data)
        return out.tobytes()

    def decode(
        self, payload: memoryview, geometry: Geometry, counts: SymbolCounts, parameters: bytes, out: Trits
    ) -> None:
        """See TernaryCodec."""
        pair = _pair(counts)
        expected = -(-out.size // (5 if pair is None else 8))
        if len(payload) != expected:
            raise CorruptPayload(f"packed payload: expected {expected} bytes, found {len(payload)}")
        packed = np.frombuffer(payload, np.uint8)
        if pair is None:
            if not core.unpack_trits(packed.ctypes.data, out.size, out.ctypes.data):
                raise CorruptPayload(
                    "packed payload: expected five trits in each byte, found a value above 242"
                )
            return
        bits = np.unpackbits(packed, bitorder="little")
        if bits[out.size :].any():
            raise CorruptPayload("packed payload: expected zero padding bits")
        np.take(np.array(pair, np.int8), bits[: out.size], out=out)
