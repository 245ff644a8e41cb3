"""`context`: an adaptive model of the tensor's own geometry, made for the smallest files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ternzip._core.native import core
from ternzip._core.symbols import SymbolCounts
from ternzip.codecs.base import CorruptPayload, DecodeJob, Trits, WithoutParameters
from ternzip.codecs.geometry import Geometry

EFFORTS = (1, 2, 3)
"""How much the model may cost: quick, default, the smallest. Every payload says which it was."""

DEFAULT_EFFORT = 2


class ContextCodec(WithoutParameters):
    """`effort` is how much encoding may cost; every instance decodes all efforts."""

    code = 2
    name = "context"
    batch = 2
    """Two chunks decoded in lockstep keep one core busier."""

    def __init__(self, effort: int = DEFAULT_EFFORT) -> None:
        if effort not in EFFORTS:
            raise ValueError(f"effort: expected one of {', '.join(map(str, EFFORTS))}, got {effort!r}")
        self._effort = effort

    def encode(self, trits: Trits, geometry: Geometry, counts: SymbolCounts, parameters: bytes) -> bytes:
        """See TernaryCodec."""
        return core.context_encode(
            trits.ctypes.data,
            geometry.rows,
            geometry.cols,
            geometry.kernel,
            counts.negative,
            counts.zero,
            counts.positive,
            self._effort,
        )

    def decode(
        self, payload: memoryview, geometry: Geometry, counts: SymbolCounts, parameters: bytes, out: Trits
    ) -> None:
        """See TernaryCodec."""
        job = DecodeJob(payload, geometry, counts, parameters, out)
        if not self.decode_many([job])[0]:
            raise CorruptPayload(f"context payload: {len(payload)} bytes cannot stand for {out.size} symbols")

    def decode_many(self, jobs: Sequence[DecodeJob]) -> list[bool]:
        """See BatchDecoder."""
        buffers = [np.frombuffer(job.payload, np.uint8) for job in jobs]
        return core.context_decode_many(
            [
                (
                    buffer.ctypes.data,
                    buffer.size,
                    job.geometry.rows,
                    job.geometry.cols,
                    job.geometry.kernel,
                    job.counts.negative,
                    job.counts.zero,
                    job.counts.positive,
                    job.out.ctypes.data,
                )
                for buffer, job in zip(buffers, jobs, strict=True)
            ]
        )
