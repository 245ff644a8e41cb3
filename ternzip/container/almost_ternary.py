"""Says why a tensor that looks ternary is not stored as one: stray values, or levels that change along each row.

A tensor is looked at in groups: as a whole, by index of dimension 0, by index of dimension 1, by stretches of a row.
Within each group most elements of an almost ternary tensor are zero or one of two levels, one negative, one
positive. A small sample decides whether a grouping is worth a full count, so a full-precision tensor costs next to
nothing; what is said about a tensor rests on full counts alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from ternzip._core.dtypes import DType, Kind
from ternzip._core.tensor import RawTensor
from ternzip.codecs.levels import sign_bit
from ternzip.codecs.ternary import detect
from ternzip.container.storage_choice import worth_a_codec

_SAMPLED_GROUPS, _SAMPLED_ELEMENTS = 32, 128
_SPARSE_SAMPLE = 1 << 15  # elements, where most are zeros
_SAMPLE_SHARE = 0.9  # of the sample that must be zero or a level; full-precision weights reach a few percent
_SAMPLE_SLACK = 8  # elements of that larger sample by which chance may mislead
_MOST_STRAYS = 100  # one in so many elements
_MOST_STRAYS_OF_LEVELS = 10  # one for so many elements at a level: else the tensor is sparse, not ternary
_FEWEST_PER_LEVEL = 4  # elements that share a level, on average: else each group merely holds few values
_SMALLEST_GROUP = 16  # a few elements always take few values
_STRETCHES = (32, 64, 128, 256)
_LEVEL_SAMPLE = 1 << 16  # elements of one group that its levels are taken from
_PART = 1 << 20  # elements compared at a time

Patterns = NDArray[np.unsignedinteger]

_LARGEST_MAGNITUDES = {
    "float64": 0x7FF0_0000_0000_0000,
    "float32": 0x7F80_0000,
    "float16": 0x7C00,
    "bfloat16": 0x7F80,
    "float8_e5m2": 0x7C,
    "float8_e4m3fn": 0x7E,
}
"""Bits of infinity, or of the largest number where the type has none: above lie the NaNs."""


class Grouping(Enum):
    """What has a pair of levels of its own."""

    TENSOR = "tensor"
    DIMENSION_0 = "dimension 0"
    DIMENSION_1 = "dimension 1"
    STRETCH = "stretch"


@dataclass(frozen=True)
class AlmostTernary:
    """How far a tensor is from being stored as ternary.

    Attributes:
        grouping: what shares one pair of levels. There are strays, except with DIMENSION_1: levels that change from
            each element of a row to the next are not looked for when a tensor is stored.
        group_size: elements in each group.
        elements: all elements of the tensor.
        strays: those that are neither zero nor a level of their group.
        first_stray: the index of the first of these in C order; None without any.
        values: how many values the other elements take in a group at most, 1 to 3; -0.0 and +0.0 are one.
    """

    grouping: Grouping
    group_size: int
    elements: int
    strays: int
    first_stray: int | None
    values: int

    @property
    def message(self) -> str:
        """One clause without a full stop, to follow the tensor's name and a colon."""
        where = {
            Grouping.TENSOR: "",
            Grouping.DIMENSION_0: " for each index of dimension 0",
            Grouping.DIMENSION_1: " for each index of dimension 1",
            Grouping.STRETCH: f" in each {self.group_size} elements of a row",
        }[self.grouping]
        values = ("one value", "two values", "three values")[self.values - 1]
        several = "" if self.grouping is Grouping.TENSOR else "at most "
        if self.strays:
            rest = "does" if self.strays == 1 else "do"
            text = (
                f"{self.elements - self.strays:,} of {self.elements:,} elements take {several}{values}{where}; "
                f"{self.strays:,} {rest} not, the first at index {self.first_stray:,}"
            )
        else:
            text = f"all {self.elements:,} elements take {several}{values}{where}"
        if self.strays:
            return text
        return f"{text}; ternzip stores levels that eight consecutive elements of a row share, or more"


def almost_ternary(tensor: RawTensor) -> AlmostTernary | None:
    """Why `tensor` is not stored as ternary although nearly all of it is; None where it is, or is far from it.

    Nearly all means: at most one element in 100 is a stray, and at most one for every ten elements at a level.
    The time is that of a sample of some thousand elements, and that of a few passes for tensors that look ternary.
    """
    if not tensor.dtype.may_be_ternary:
        return None
    patterns: Patterns = tensor.data.view(f"<u{tensor.dtype.itemsize}")
    for grouping, groups in _groupings(patterns, tensor.shape):
        if not _looks_ternary(groups, tensor.dtype):
            continue
        found = _count(grouping, groups, tensor.dtype)
        if found is not None:
            return found if _says_why(found, tensor) else None
    return None


def _says_why(found: AlmostTernary, tensor: RawTensor) -> bool:
    """Whether this is why a tensor is not stored as ternary, if that is so at all."""
    ternary = detect(tensor)
    if ternary is None:
        return True
    # What strays from the levels of the whole tensor may be the level of its row: then it is ternary. But a stray may
    # also lie alone in blocks so small that their levels take more than they save.
    return found.strays > 0 and not worth_a_codec(tensor, ternary)


def _groupings(patterns: Patterns, shape: tuple[int, ...]) -> Iterator[tuple[Grouping, Patterns]]:
    """Views of the elements as (outer, groups, inner): group g is everything at [:, g, :]."""
    size = patterns.size
    if size < _SMALLEST_GROUP:
        return
    yield Grouping.TENSOR, patterns.reshape(1, 1, size)
    if len(shape) < 2:
        return
    row = size // shape[0]
    if row >= _SMALLEST_GROUP and shape[0] > 1:
        yield Grouping.DIMENSION_0, patterns.reshape(1, shape[0], row)
    if size // shape[1] >= _SMALLEST_GROUP and shape[1] > 1:
        yield Grouping.DIMENSION_1, patterns.reshape(shape[0], shape[1], row // shape[1])
    for stretch in reversed(_STRETCHES):
        if row % stretch == 0 and row > stretch:
            yield Grouping.STRETCH, patterns.reshape(1, size // stretch, stretch)


def _looks_ternary(groups: Patterns, dtype: DType) -> bool:
    sample = _sample(groups, _SAMPLED_GROUPS, _SAMPLED_ELEMENTS)
    negative, positive = _levels(sample, dtype)
    if float(_strays(sample, negative, positive, dtype).mean()) > 1 - _SAMPLE_SHARE:
        return False
    # Pruned tensors come this far by their zeros. What their other elements are takes more of them to tell.
    outer, count, inner = groups.shape
    wanted = _SPARSE_SAMPLE // min(count, _SAMPLED_GROUPS)
    sample = _sample(groups, _SPARSE_SAMPLE // min(wanted, outer * inner), wanted)
    negative, positive = _levels(sample, dtype)
    strays = int(_strays(sample, negative, positive, dtype).sum())
    at_levels = int((sample != 0).sum()) - strays
    if dtype.negative_zero:
        at_levels -= int((sample == sign_bit(dtype)).sum())
    levels = int((negative != 0).sum()) + int((positive != 0).sum())
    return strays <= at_levels + _SAMPLE_SLACK and 2 * levels <= at_levels + _SAMPLE_SLACK


def _sample(groups: Patterns, most: int, elements: int) -> Patterns:
    """Up to `elements` of each of up to `most` groups: (groups, elements)."""
    outer, count, inner = groups.shape
    # Elements of a group from both of its directions, up to the number that is wanted.
    outers = _spread(outer, elements)
    inners = _spread(inner, max(1, elements // len(outers)))
    chosen = groups[np.ix_(outers, _spread(count, most), inners)]
    return np.moveaxis(chosen, 1, 0).reshape(chosen.shape[1], -1)


def _spread(count: int, most: int) -> NDArray[np.intp]:
    """At most `most` of the numbers below `count`, from end to end."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.intp))


def _levels(groups: Patterns, dtype: DType) -> tuple[Patterns, Patterns]:
    """The middle of the negative and of the positive patterns of each row of `groups`: its level if most of them
    are equal. (rows, 1) each; 0 where there is none."""
    # As unsigned integers: zeros, positive values, -0.0, negative values.
    ordered = np.sort(groups, axis=1)
    sign = sign_bit(dtype)
    lowest = sign + 1 if dtype.kind is Kind.FLOAT else sign
    width = groups.shape[1]
    not_zero = (ordered == 0).sum(axis=1)
    not_positive = (ordered < sign).sum(axis=1)
    negatives = width - (ordered < lowest).sum(axis=1)
    rows = np.arange(groups.shape[0])
    middles = (
        (width - negatives + negatives // 2, negatives > 0),
        (not_zero + (not_positive - not_zero) // 2, not_positive > not_zero),
    )
    found = []
    for middle, present in middles:
        level = np.where(present, ordered[rows, np.minimum(middle, width - 1)], 0).astype(groups.dtype)
        if dtype.name in _LARGEST_MAGNITUDES:  # a NaN is never a level
            level[level & (sign - 1) > _LARGEST_MAGNITUDES[dtype.name]] = 0
        found.append(level.reshape(-1, 1))
    return found[0], found[1]


def _strays(groups: Patterns, negative: Patterns, positive: Patterns, dtype: DType) -> NDArray[np.bool_]:
    zero = groups == 0
    if dtype.negative_zero:
        zero |= groups == sign_bit(dtype)
    stray: NDArray[np.bool_] = ~(zero | (groups == negative) | (groups == positive))
    return stray


def _count(grouping: Grouping, groups: Patterns, dtype: DType) -> AlmostTernary | None:
    """Counts everything; None as soon as there are too many strays."""
    outer, count, inner = groups.shape
    elements, size = groups.size, outer * inner
    strays = at_levels = levels = values = 0
    first: int | None = None
    together = max(1, _PART // size)
    for start in range(0, count, together):
        part = np.moveaxis(groups[:, start : start + together], 1, 0).reshape(-1, size)
        negative, positive = _levels(part[:, :: max(1, size // _LEVEL_SAMPLE)], dtype)
        levels += int((negative != 0).sum()) + int((positive != 0).sum())
        takes = np.zeros((3, len(part)), np.bool_)
        for column in range(0, size, _PART):
            piece = part[:, column : column + _PART]
            at_negative = (piece == negative) & (negative != 0)
            at_positive = (piece == positive) & (positive != 0)
            stray = _strays(piece, negative, positive, dtype)
            found = int(stray.sum())
            strays += found
            if strays * _MOST_STRAYS > elements:
                return None
            at_levels += int(at_negative.sum()) + int(at_positive.sum())
            takes |= np.stack(
                [
                    side.any(axis=1)
                    for side in (at_negative, at_positive, ~(stray | at_negative | at_positive))
                ]
            )
            if found:
                rows, places = np.nonzero(stray)
                places = places + column
                numbers = (places // inner * count + rows + start) * inner + places % inner
                lowest = int(numbers.min())
                first = lowest if first is None else min(first, lowest)
        values = max(values, int(takes.sum(axis=0).max()))
    if strays * _MOST_STRAYS_OF_LEVELS > at_levels or levels * _FEWEST_PER_LEVEL > at_levels:
        return None
    return AlmostTernary(grouping, size, elements, strays, first, values)
