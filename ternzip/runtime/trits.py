"""Ternary weights as trits and levels, from a tensor or straight from a file."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ternzip.codecs.levels import Grid, Levels, Patterns
from ternzip.codecs.ternary import detect, trits_of
from ternzip.container.reader import Reader
from ternzip.io.tensors import to_raw, torch_dtype

WEIGHT_DTYPES = (torch.float32, torch.bfloat16)
"""Those whose levels float32 holds exactly, and whose activations the kernels take."""


@dataclass(frozen=True)
class TernaryWeight:
    """A weight that takes at most the values {negative, 0, positive} in each row, or in each group of a row.

    Attributes:
        trits: int8 of the weight's shape, at least two dimensions; rows are its first.
        negatives, positives: float32 (rows, groups): the value of -1 (at most 0) and of +1 (at least 0); 0 where it
            does not occur. Only matrices have more groups than one.
        group_width: consecutive elements of a row that make a group; the last one of a row may have fewer.
        dtype: of the weight, one of WEIGHT_DTYPES.
    """

    trits: Tensor
    negatives: Tensor
    positives: Tensor
    group_width: int
    dtype: torch.dtype

    @property
    def shape(self) -> torch.Size:
        """Of the weight."""
        return self.trits.shape

    @property
    def groups(self) -> int:
        """Groups of a row."""
        return int(self.positives.shape[1])

    @property
    def is_opposite(self) -> bool:
        """Whether both levels are opposite wherever both occur, so that one magnitude serves."""
        alone = (self.positives == 0) | (self.negatives == 0)
        return bool((alone | (self.positives == -self.negatives)).all())

    @property
    def magnitudes(self) -> Tensor:
        """float32 (rows, groups), of opposite levels; 0 where neither occurs."""
        return torch.where(self.positives != 0, self.positives, -self.negatives)

    @property
    def density(self) -> float:
        """Share of the weights that are not zero."""
        return int(self.trits.count_nonzero()) / max(1, self.trits.numel())

    def dense(self) -> Tensor:
        """The weight as float32."""
        trits = self.trits.flatten(1)
        negatives, positives = (
            levels.repeat_interleave(self.group_width, 1)[:, : trits.shape[1]]
            for levels in (self.negatives, self.positives)
        )
        return torch.where(trits > 0, positives, torch.where(trits < 0, negatives, 0.0)).view_as(self.trits)


@dataclass(frozen=True)
class FloatWeight:
    """A weight of any numbers.

    Attributes:
        values: float32.
    """

    values: Tensor

    @property
    def shape(self) -> torch.Size:
        """Of the weight."""
        return self.values.shape

    @property
    def dtype(self) -> torch.dtype:
        """Of the weight."""
        return self.values.dtype

    @property
    def density(self) -> float:
        """As of a ternary weight: none counts as zero."""
        return 1.0

    def dense(self) -> Tensor:
        """The weight as float32."""
        return self.values


def ternary_weight(name: str, weight: Tensor) -> TernaryWeight | None:
    """The trits of a weight; None if it is not ternary or of a dtype or device that the kernels do not take.

    Raises TernzipError for a tensor that cannot be read.
    """
    if weight.dtype not in WEIGHT_DTYPES or not weight.is_cpu or weight.dim() < 2 or not weight.numel():
        return None
    raw = to_raw(name, weight)
    ternary = detect(raw)
    if ternary is None:
        return _sparse_weight(weight)
    if ternary.levels is None:
        return None
    trits = torch.from_numpy(trits_of(raw)).view(weight.shape)
    return _weight(trits, ternary.levels, ternary.grid, weight.dtype)


def _sparse_weight(weight: Tensor) -> TernaryWeight | None:
    """The trits of a weight with so few elements in a row that no two of them are alike; None if it is not ternary.

    A file would not be smaller by them; but a kernel leaves out the zeros, which must be half of all at least.
    """
    rows = weight.flatten(1).float()
    positives, negatives = rows.amax(1, keepdim=True).clamp(min=0), rows.amin(1, keepdim=True).clamp(max=0)
    is_ternary = (rows == 0) | (rows == positives) | (rows == negatives)
    few = 2 * int(rows.count_nonzero()) <= rows.numel()
    if not (few and is_ternary.all() and rows.isfinite().all()):
        return None
    return TernaryWeight(
        weight.sign().to(torch.int8), negatives, positives, max(1, rows.shape[1]), weight.dtype
    )


def stored_weight(reader: Reader, name: str) -> TernaryWeight | None:
    """The trits of a tensor in a file, decoded without making its elements; None as for ternary_weight.

    Raises TernzipError for a payload that is damaged.
    """
    entry = reader.entries[name]
    if entry.tied_to is not None:
        entry = reader.entries[entry.tied_to]
    dtype = torch_dtype(entry.dtype.name)
    if entry.ternary is None or dtype not in WEIGHT_DTYPES or len(entry.shape) < 2:
        return None
    trits, levels = reader.read_trits(name)
    return _weight(torch.from_numpy(trits).view(entry.shape), levels, entry.ternary.grid, dtype)


def _weight(trits: Tensor, levels: Levels, grid: Grid, dtype: torch.dtype) -> TernaryWeight | None:
    rows = trits.shape[0]
    if grid.rows != rows or (grid.blocks_per_row > 1 and trits.dim() > 2):
        return None  # no kernel has convolutions whose levels differ within a row
    negatives, positives = (
        _values(patterns, dtype)
        .view(-1, grid.blocks_per_row)
        .repeat_interleave(grid.height, 0)[:rows]
        .contiguous()
        for patterns in (levels.negative, levels.positive)
    )
    if not (negatives.isfinite().all() and positives.isfinite().all()):
        return None  # an infinite level times a sum of nothing is no zero
    return TernaryWeight(trits, negatives, positives, grid.width, dtype)


def _values(patterns: Patterns, dtype: torch.dtype) -> Tensor:
    """Bit patterns as float32."""
    words = patterns.view(f"<i{patterns.itemsize}")
    return torch.from_numpy(words.copy()).view(dtype).float()
