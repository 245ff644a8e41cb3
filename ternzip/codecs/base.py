"""What every ternary codec offers, and the numbers that identify codecs in a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ternzip._core.symbols import SymbolCounts
from ternzip.codecs.geometry import Geometry

Trits = NDArray[np.int8]


class CorruptPayload(Exception):
    """A payload that no encoder wrote; the container adds tensor and offset and raises TernzipError."""


@dataclass(frozen=True)
class DecodeJob:
    """One chunk to decode: the arguments of TernaryCodec.decode."""

    payload: memoryview
    geometry: Geometry
    counts: SymbolCounts
    parameters: bytes
    out: Trits


class TernaryCodec(Protocol):
    """Turns chunks of trits into bytes and back.

    `counts` are those of the whole tensor the chunk belongs to, known to both sides; at least two of the
    three symbols occur in it. `parameters` are the codec's own bytes in the file, the same for all chunks
    of a tensor.
    """

    code: int
    name: str

    def encode(self, trits: Trits, geometry: Geometry, counts: SymbolCounts, parameters: bytes) -> bytes:
        """The payload of one chunk; `trits` is contiguous, ``(geometry.symbols,)``, values -1, 0, +1."""
        ...

    def decode(
        self, payload: memoryview, geometry: Geometry, counts: SymbolCounts, parameters: bytes, out: Trits
    ) -> None:
        """Fills `out` or raises CorruptPayload. Any payload ends in bounded time and memory."""
        ...

    def check_parameters(self, parameters: bytes) -> None:
        """Raises CorruptPayload if `parameters` are none this version can have written."""
        ...


@runtime_checkable
class BatchDecoder(TernaryCodec, Protocol):
    """A codec that decodes `batch` chunks together quicker than one after the other."""

    batch: int

    def decode_many(self, jobs: Sequence[DecodeJob]) -> list[bool]:
        """Whether each payload could be decoded; the symbols of one that could not are unspecified."""
        ...
