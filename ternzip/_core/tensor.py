"""A tensor as the container sees it: a name for its element type, a shape, and bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ternzip._core.dtypes import DType


@dataclass(frozen=True)
class RawTensor:
    """The elements of a dense tensor in C order.

    Attributes:
        dtype: the element type.
        shape: any number of dimensions, also none or of length zero.
        data: uint8, one-dimensional and contiguous, ``prod(shape) * dtype.itemsize`` bytes, little-endian.
    """

    dtype: DType
    shape: tuple[int, ...]
    data: NDArray[np.uint8]

    def __post_init__(self) -> None:
        expected = self.size * self.dtype.itemsize
        if self.data.dtype != np.uint8 or self.data.shape != (expected,) or not self.data.flags.c_contiguous:
            raise ValueError(
                f"data must be {expected} contiguous bytes, got {self.data.shape} {self.data.dtype}"
            )

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Tie:
    """Stands for a tensor that shares every element with an earlier one."""

    target: str
