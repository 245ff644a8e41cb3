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
    three symbols occur in it. `parameters` are the codec's own bytes in the file, at most 65,535 of them, the same
    for all chunks of a tensor, and for all tensors that share them; empty: none.
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

    def parameters_problem(self, parameters: bytes) -> str | None:
        """Why this version cannot decode what was encoded with `parameters`; None if it can.

        Asked when a tensor is read and not before: parameters of a later version spoil the tensors that use them,
        and no others.
        """
        ...


@runtime_checkable
class ParameterChooser(TernaryCodec, Protocol):
    """A codec that chooses its parameters for each tensor."""

    def choose_parameters(
        self, trits: Trits, geometry: Geometry, counts: SymbolCounts, shared: bytes
    ) -> bytes:
        """The parameters for a tensor: `shared`, none, or any others.

        Args:
            trits, geometry: the tensor's first chunk, as for `encode`; nearly always the whole tensor.
            counts: those of the whole tensor.
            shared: the parameters that the caller chose for the whole file; empty if none. They are stored once.

        The same arguments give the same bytes, on every machine.
        """
        ...


class WithoutParameters:
    """What codecs have in common that take no parameters."""

    name: str

    def parameters_problem(self, parameters: bytes) -> str | None:
        """See TernaryCodec."""
        return f"{self.name}: expected no parameters, found {len(parameters)} bytes" if parameters else None


class UnknownCodec:
    """Stands for a codec that this version does not know, so that the rest of its file can be read."""

    def __init__(self, code: int) -> None:
        self.code = code
        self.name = f"unknown ({code})"

    def encode(self, trits: Trits, geometry: Geometry, counts: SymbolCounts, parameters: bytes) -> bytes:
        """Never asked for: only files that were read name unknown codecs."""
        raise NotImplementedError(self.name)

    def decode(
        self, payload: memoryview, geometry: Geometry, counts: SymbolCounts, parameters: bytes, out: Trits
    ) -> None:
        """Never asked for either: `parameters_problem` comes first."""
        raise NotImplementedError(self.name)

    def parameters_problem(self, parameters: bytes) -> str | None:
        """There always is one."""
        return f"codec {self.code} is not known to this version of ternzip: upgrade to read the tensor"


@runtime_checkable
class BatchDecoder(TernaryCodec, Protocol):
    """A codec that decodes `batch` chunks together quicker than one after the other."""

    batch: int

    def decode_many(self, jobs: Sequence[DecodeJob]) -> list[bool]:
        """Whether each payload could be decoded; the symbols of one that could not are unspecified."""
        ...
