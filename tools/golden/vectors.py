"""Test vectors: payloads of each codec, with all that a decoder is told and the checksum of what it must give."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import TypedDict

import numpy as np

from golden.valid import symbols
from ternzip import codecs
from ternzip._core.symbols import SymbolCounts
from ternzip.codecs.geometry import Geometry


class Vector(TypedDict):
    """One chunk, which is a tensor of its own."""

    codec: int
    name: str
    effort: int | None  # of the encoder; decoders are not told
    rows: int
    cols: int
    kernel: int
    counts: list[int]  # of -1, 0 and +1
    parameters: str  # hexadecimal
    payload: str  # hexadecimal
    crc32: str  # of the symbols, one int8 each


# Sizes; how many in 256 are zeros and how many are -1.
SHAPES = {
    "one symbol of each": (1, 3, 1, 100, 50),
    "convolution": (6, 5, 9, 150, 53),
    "matrix": (24, 17, 1, 90, 60),
    "vector": (1, 211, 1, 128, 64),
    "column": (70, 1, 1, 128, 100),
    "no zeros": (8, 9, 1, 0, 128),
    "no positives": (7, 3, 9, 200, 56),
    "no negatives": (9, 4, 4, 60, 0),
    "sparse": (16, 8, 9, 250, 3),
    "bands": (43, 97, 1, 128, 64),
}


def vectors() -> list[Vector]:
    """All vectors, those of one codec together."""
    made = []
    for name, codec in codecs.BY_NAME.items():
        for effort in (1, 2, 3) if name == "context" else (None,):
            (candidate,) = codecs.candidates(name, effort or codecs.DEFAULT_EFFORT)
            made += [
                _vector(codec.code, name, effort, candidate, geometry, trits)
                for geometry, trits in _tensors()
            ]
    return made


def _tensors() -> Iterator[tuple[Geometry, np.ndarray]]:
    for label, (rows, cols, kernel, zeros, negatives) in SHAPES.items():
        geometry = Geometry(rows, cols, kernel)
        values = symbols(f"vector {label}", geometry.symbols, zeros=zeros, negatives=negatives)
        if label == "one symbol of each":
            values = [1, 0, -1]
        if label == "bands":
            values = echoing(values)
        yield geometry, np.array(values, np.int8)


def echoing(values: list[int]) -> list[int]:
    """Four values of five are what the one three before them is: that is what the banded recipes of `context` see."""
    result = values[:3]
    for i in range(3, len(values)):
        result.append(values[i] if i % 5 == 0 else result[i - 3])
    return result


def _vector(
    code: int,
    name: str,
    effort: int | None,
    candidate: codecs.Candidate,
    geometry: Geometry,
    trits: np.ndarray,
) -> Vector:
    counts = SymbolCounts(*(int((trits == symbol).sum()) for symbol in (-1, 0, 1)))
    parameters = candidate.shared
    if candidate.chooser is not None:
        parameters = candidate.chooser.choose_parameters(trits, geometry, counts, candidate.shared)
    payload = candidate.codec.encode(trits, geometry, counts, parameters)
    return Vector(
        codec=code,
        name=name,
        effort=effort,
        rows=geometry.rows,
        cols=geometry.cols,
        kernel=geometry.kernel,
        counts=[counts.negative, counts.zero, counts.positive],
        parameters=parameters.hex(),
        payload=payload.hex(),
        crc32=f"{zlib.crc32(trits.tobytes()):08x}",
    )
