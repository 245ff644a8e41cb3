"""Where decoded symbols become elements of a tensor, and what is counted on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ternzip._core.native import core
from ternzip._core.symbols import SymbolCounts
from ternzip.codecs.base import TernaryCodec, Trits
from ternzip.codecs.levels import Levels
from ternzip.codecs.ternary import Ternary


@dataclass(frozen=True)
class FillCounts:
    """What was counted while symbols became elements.

    Attributes:
        negative, zero, positive: how many symbols of each kind.
        invalid: how many values were no symbols.
        missing_level: (block, symbol) of the first block of levels that was given a symbol whose level it does not
            have, or None.
    """

    negative: int
    zero: int
    positive: int
    invalid: int
    missing_level: tuple[int, int] | None


@dataclass(frozen=True)
class Elements:
    """The elements of one chunk of a ternary tensor.

    Attributes:
        ternary: dtype and grid of the tensor.
        levels: those of all its blocks.
        start: number of the chunk's first element in the tensor.
        data: uint8, contiguous: the bytes of the chunk's elements in memory.
    """

    ternary: Ternary
    levels: Levels
    start: int
    data: NDArray[np.uint8]

    @property
    def size(self) -> int:
        """How many there are."""
        return self.data.size // self.ternary.dtype.itemsize

    @property
    def native_arguments(self) -> tuple[int, int, int, tuple[int, int, int], int, int]:
        """The arguments by which the native core knows them; valid as long as this object lives."""
        negative, positive = self.levels.negative.ctypes.data, self.levels.positive.ctypes.data
        ternary = self.ternary
        return ternary.dtype.code, negative, positive, ternary.grid.native, self.start, self.data.ctypes.data

    def fill(self, trits: Trits) -> FillCounts:
        """Fills them from `trits`, ``(size,)``; every zero becomes +0."""
        return FillCounts(*core.put_trits(trits.ctypes.data, trits.size, *self.native_arguments))


@runtime_checkable
class ElementDecoder(TernaryCodec, Protocol):
    """A codec that decodes into elements without holding a chunk's symbols in memory."""

    def decode_elements(
        self, payload: memoryview, counts: SymbolCounts, parameters: bytes, elements: Elements
    ) -> FillCounts:
        """Fills `elements` or raises CorruptPayload. `counts` and `parameters` as for TernaryCodec."""
        ...
