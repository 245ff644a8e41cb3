"""How a tensor's shape looks to a codec, and how large tensors are cut into chunks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MAX_CHUNK_SYMBOLS = 1 << 22
"""A chunk is decoded alone and holds at most this many symbols."""


@dataclass(frozen=True)
class Geometry:
    """A weight as rows (output channels) x columns (input channels) x kernel positions, in C order."""

    rows: int
    cols: int
    kernel: int

    @classmethod
    def of_shape(cls, shape: Sequence[int]) -> Geometry:
        """Dimension 0, dimension 1, and the product of the rest; vectors and scalars are one row."""
        if len(shape) < 2:
            return cls(1, math.prod(shape), 1)
        return cls(shape[0], shape[1], math.prod(shape[2:]))

    @property
    def symbols(self) -> int:
        """How many there are in all."""
        return self.rows * self.cols * self.kernel

    def chunks(self) -> Iterator[tuple[int, Geometry]]:
        """The (first symbol, geometry) of every chunk, in order: even shares of whole rows.

        Where one row is larger than a chunk, the tensor is cut as one long vector instead.
        """
        if self.symbols <= MAX_CHUNK_SYMBOLS:
            if self.symbols:
                yield 0, self
            return
        unit, count = self.cols * self.kernel, self.rows
        if unit > MAX_CHUNK_SYMBOLS:
            unit, count = 1, self.symbols
        pieces = -(-count // (MAX_CHUNK_SYMBOLS // unit))
        share = -(-count // pieces)
        for start in range(0, count, share):
            size = min(share, count - start)
            if unit == 1:
                yield start, Geometry(1, size, 1)
            else:
                yield start * unit, Geometry(size, self.cols, self.kernel)

    @property
    def chunk_count(self) -> int:
        """How many chunks `chunks` yields, without walking them."""
        if self.symbols <= MAX_CHUNK_SYMBOLS:
            return 1 if self.symbols else 0
        unit, count = self.cols * self.kernel, self.rows
        if unit > MAX_CHUNK_SYMBOLS:
            unit, count = 1, self.symbols
        pieces = -(-count // (MAX_CHUNK_SYMBOLS // unit))
        return -(-count // -(-count // pieces))
