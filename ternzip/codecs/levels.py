"""Levels of a ternary tensor: how they lie, what they may be, and the sequences that are stored of them.

One pair of levels serves a block of `height` rows (indices of dimension 0) by `width` consecutive elements of a row.
So levels for a tensor, for each row, for groups of 128 along a row ("group size 128": blocks of 1 x 128), for shards
of columns or for squares are one idea with two numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ternzip._core.dtypes import DType, Kind
from ternzip.codecs.base import CorruptPayload
from ternzip.codecs.geometry import Geometry

MIN_LEVEL_BLOCK_ELEMENTS = 2
"""Elements of a block of levels on average: the levels of both signs then take no more memory than the elements, and
limits on these hold for both."""

Buffer = memoryview | NDArray[np.uint8]
Patterns = NDArray[np.unsignedinteger]
"""Bit patterns of elements: unsigned integers of the type's size."""


@dataclass(frozen=True)
class Grid:
    """The blocks that have levels of their own, numbered from left to right, then downwards.

    Attributes:
        rows: of the tensor.
        row_size: elements of a row.
        height: rows of a block; the last ones may have fewer.
        width: consecutive elements of a row in a block; the last one of a row may have fewer.
    """

    rows: int
    row_size: int
    height: int
    width: int

    @classmethod
    def of(cls, geometry: Geometry, height: int = 0, width: int = 0) -> Grid:
        """Blocks of `height` rows and `width` elements of a row; 0 stands for all of them."""
        rows, row_size = geometry.rows, geometry.cols * geometry.kernel
        return cls(rows, row_size, height or rows, width or row_size)

    @property
    def blocks_per_row(self) -> int:
        """How many blocks lie side by side."""
        return -(-self.row_size // self.width)

    @property
    def blocks(self) -> int:
        """How many there are in all."""
        return -(-self.rows // self.height) * self.blocks_per_row

    @property
    def block_shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    @property
    def stored_shape(self) -> tuple[int, int]:
        """(height, width) as a file states them: 0 for all rows, and for a whole row."""
        return (
            0 if self.height == self.rows else self.height,
            0 if self.width == self.row_size else self.width,
        )

    @property
    def native(self) -> tuple[int, int, int]:
        """What the native core is told."""
        return self.row_size, self.height, self.width


@dataclass(frozen=True)
class Levels:
    """The levels of each block, ``(blocks,)`` each, 0 where a block has no such level."""

    negative: Patterns
    positive: Patterns


def pattern_type(dtype: DType) -> np.dtype[np.unsignedinteger]:
    """The unsigned integers that hold patterns of a type, as they lie in memory and in a file."""
    return np.dtype(f"<u{dtype.itemsize}")


def sign_bit(dtype: DType) -> int:
    """The pattern whose highest bit alone is set."""
    return 1 << (8 * dtype.itemsize - 1)


def negated(levels: Patterns, dtype: DType) -> Patterns:
    """The bit patterns of the opposite values; an absent level (0) stays absent."""
    if dtype.kind is not Kind.FLOAT:
        return np.negative(levels)
    flipped: Patterns = levels ^ levels.dtype.type(sign_bit(dtype))
    flipped[levels == 0] = 0
    return flipped


def level_problem(levels: Patterns, dtype: DType, *, negative: bool) -> str | None:
    """What is wrong with stored levels of one sign; None if nothing is. 0 marks a block without this level."""
    top = levels.dtype.type(sign_bit(dtype))
    wrong = (levels < top) & (levels != 0) if negative else levels >= top
    if negative and dtype.kind is Kind.FLOAT:
        wrong |= levels == top  # the pattern of -0.0 is a zero and never a level; fnuz types have a NaN there
    if wrong.any():
        return f"levels: expected {'negative' if negative else 'positive'} values"
    if not levels.any():
        return "levels: expected at least one that is not zero"
    return None


def opposite_levels(negative: Patterns, dtype: DType) -> Patterns | None:
    """The positive levels where one magnitude serves both; None where one of them has no opposite."""
    positive = negated(negative, dtype)
    return None if np.any(positive >= sign_bit(dtype)) else positive


def with_one_magnitude(levels: Levels, dtype: DType) -> Levels | None:
    """The same levels, each block with both of one magnitude or with none; None where the two differ in one.

    Where a block has one level only, the other does no harm: its symbol does not occur there.
    """
    opposite = negated(levels.positive, dtype)
    has_both = (levels.negative != 0) & (opposite != 0)
    if np.any((levels.negative != opposite) & has_both):
        return None
    negative = levels.negative | opposite  # equal, or one of them 0
    positive = opposite_levels(negative, dtype)
    return None if positive is None else Levels(negative, positive)


def restored_levels(
    sequences: Sequence[Buffer], blocks: int, dtype: DType, *, negative: bool, positive: bool, symmetric: bool
) -> Levels:
    """Levels from their bytes: `blocks` negative ones, then as many positive ones, as far as these are stored.

    Args:
        negative, positive: whether levels of that sign occur.
        symmetric: whether the positive ones are the opposites of the negative ones, and so not stored.

    Raises CorruptPayload where they are not what they should be.
    """
    if blocks == 1:  # nearly all tensors; numpy takes ten times as long over a single element
        return _restored_pair(sequences, dtype, negative, positive, symmetric)
    stored = iter(sequences)
    low = high = np.zeros(blocks, pattern_type(dtype))
    if negative:
        low = _checked(next(stored), dtype, negative=True)
    if symmetric:
        opposite = opposite_levels(low, dtype)
        if opposite is None:
            raise CorruptPayload("levels: expected negatives that have an opposite")
        high = opposite
    elif positive:
        high = _checked(next(stored), dtype, negative=False)
    return Levels(low, high)


def _restored_pair(
    sequences: Sequence[Buffer], dtype: DType, negative: bool, positive: bool, symmetric: bool
) -> Levels:
    """`restored_levels` of one block, in plain integers."""
    stored = iter(sequences)
    top = sign_bit(dtype)
    low = high = 0
    if negative:
        low = int.from_bytes(next(stored), "little")
        if 0 < low < top or (low == top and dtype.kind is Kind.FLOAT):
            raise CorruptPayload("levels: expected negative values")
        if not low:
            raise CorruptPayload("levels: expected at least one that is not zero")
    if symmetric:
        high = low ^ top if dtype.kind is Kind.FLOAT else 2 * top - low
        if high >= top:
            raise CorruptPayload("levels: expected negatives that have an opposite")
    elif positive:
        high = int.from_bytes(next(stored), "little")
        if high >= top:
            raise CorruptPayload("levels: expected positive values")
        if not high:
            raise CorruptPayload("levels: expected at least one that is not zero")
    patterns = np.array([[low], [high]], pattern_type(dtype))
    return Levels(patterns[0], patterns[1])


def _checked(data: Buffer, dtype: DType, *, negative: bool) -> Patterns:
    levels = np.frombuffer(data, pattern_type(dtype))
    problem = level_problem(levels, dtype, negative=negative)
    if problem is not None:
        raise CorruptPayload(problem)
    return levels
