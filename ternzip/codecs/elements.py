"""Where decoded symbols become elements of a tensor, and what is counted on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ternzip._core.native import core
from ternzip._core.symbols import SymbolCounts
from ternzip.codecs.base import TernaryCodec, Trits
from ternzip.codecs.ternary import Ternary


@dataclass(frozen=True)
class Put:
    """What became elements.

    Attributes:
        negative, zero, positive: how many symbols of each kind.
        invalid: how many values were no symbols.
        lacking: (row, symbol) of the first row that was given a symbol whose level it lacks, or None.
    """

    negative: int
    zero: int
    positive: int
    invalid: int
    lacking: tuple[int, int] | None


@dataclass(frozen=True)
class Elements:
    """The elements of one chunk of a ternary tensor.

    Attributes:
        ternary: dtype and levels of the tensor.
        start: number of the chunk's first element in the tensor.
        data: uint8, contiguous: the bytes of the chunk's elements in memory.
    """

    ternary: Ternary
    start: int
    data: NDArray[np.uint8]

    @property
    def size(self) -> int:
        return self.data.size // self.ternary.dtype.itemsize

    @property
    def sink(self) -> tuple[int, int, int, int, int, int]:
        """The arguments by which the native core knows them; valid as long as this object lives."""
        ternary = self.ternary
        row_size = ternary.level_rows[1] if ternary.per_row else 0
        negative, positive = ternary.negative.ctypes.data, ternary.positive.ctypes.data
        return ternary.dtype.code, negative, positive, row_size, self.start, self.data.ctypes.data

    def put(self, trits: Trits) -> Put:
        """Fills them from `trits`, ``(size,)``; every zero becomes +0."""
        return Put(*core.put_trits(trits.ctypes.data, trits.size, *self.sink))


@runtime_checkable
class ElementDecoder(TernaryCodec, Protocol):
    """A codec that decodes into elements without holding a chunk's symbols in memory."""

    def decode_elements(
        self, payload: memoryview, counts: SymbolCounts, parameters: bytes, elements: Elements
    ) -> Put:
        """Fills `elements` or raises CorruptPayload. `counts` and `parameters` as for TernaryCodec."""
        ...
