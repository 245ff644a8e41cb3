"""`fast`: variable-length symbols and interleaved rANS in the native core, made for quick decoding."""

from __future__ import annotations

import numpy as np

from ternzip._core.native import core
from ternzip._core.symbols import SymbolCounts
from ternzip.codecs.base import CorruptPayload, Trits, WithoutParameters
from ternzip.codecs.elements import Elements, FillCounts
from ternzip.codecs.geometry import Geometry


class FastCodec(WithoutParameters):
    """Quick to decode, straight into elements. docs/format-fast.md is its specification."""

    code = 3
    name = "fast"

    def encode(self, trits: Trits, geometry: Geometry, counts: SymbolCounts, parameters: bytes) -> bytes:
        """See TernaryCodec."""
        return core.fast_encode(trits.ctypes.data, trits.size, counts.negative, counts.zero, counts.positive)

    def decode(
        self, payload: memoryview, geometry: Geometry, counts: SymbolCounts, parameters: bytes, out: Trits
    ) -> None:
        """See TernaryCodec."""
        data = np.frombuffer(payload, np.uint8)
        if not core.fast_decode(
            data.ctypes.data,
            data.size,
            out.size,
            counts.negative,
            counts.zero,
            counts.positive,
            out.ctypes.data,
        ):
            raise _refused(data.size, out.size)

    def decode_elements(
        self, payload: memoryview, counts: SymbolCounts, parameters: bytes, elements: Elements
    ) -> FillCounts:
        """See ElementDecoder."""
        data = np.frombuffer(payload, np.uint8)
        filled = core.fast_decode_into(
            data.ctypes.data,
            data.size,
            elements.size,
            counts.negative,
            counts.zero,
            counts.positive,
            *elements.native_arguments,
        )
        if filled is None:
            raise _refused(data.size, elements.size)
        return FillCounts(*filled)


def _refused(size: int, symbols: int) -> CorruptPayload:
    return CorruptPayload(f"fast payload: {size} bytes cannot stand for {symbols} symbols")
