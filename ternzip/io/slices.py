"""A tensor that is still in its file, and parts of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ternzip._core.errors import TernzipError
from ternzip._core.tensor import RawTensor
from ternzip._core.text import quoted
from ternzip.container.reader import Reader
from ternzip.io.frameworks import Framework


class TensorSlice:
    """A tensor of an open file. Indexing decodes what it needs, in any thread; shape and dtype are in the index.

    It has what slices of safetensors have, and what transformers (from release 5) asks of the values of a state_dict.

    Attributes:
        shape: a tuple.
    """

    def __init__(self, reader: Reader, framework: Framework, name: str, threads: int | None) -> None:
        if name not in reader.entries:
            raise TernzipError(f"{reader.name}: no tensor {quoted(name)} among {len(reader.entries)}")
        self._reader, self._framework, self._name, self._threads = reader, framework, name, threads
        self._entry = reader.entries[name]
        self.shape = self._entry.shape

    @property
    def dtype(self) -> Any:
        """The framework's type; TernzipError where it has none."""
        found = self._framework.dtype(self._entry.dtype)
        if found is None:
            raise TernzipError(
                f"{self._reader.name}: tensor {quoted(self._name)}: "
                f"this {self._framework.name} has no {self._entry.dtype.name}"
            )
        return found

    def get_shape(self) -> list[int]:
        """The shape as a list."""
        return list(self.shape)

    def get_dtype(self) -> str:
        """The type's name in a .safetensors file, as "F32"; where that format has none, ours, as "complex32"."""
        return self._entry.dtype.safetensors or self._entry.dtype.name

    def is_floating_point(self) -> bool:
        """Whether the type is one of torch's floating point types, whatever the framework."""
        return self._entry.dtype.name.startswith(("float", "bfloat"))

    def __getitem__(self, index: Any) -> Any:
        """That part of the tensor, in memory of its own.

        Where the first index is a number, or a range with steps forward, only the chunks in which these rows lie (of up
        to 2^22 symbols, or 4 MiB of what is not ternary) are read, checked and decoded. Any other index is applied to
        the whole tensor, and may be all that the framework takes.

        Raises:
            IndexError: a row that is not there.
            TernzipError: a file that is damaged in the part that is read, or has been closed.
        """
        if index is Ellipsis:
            return self._framework.read(self._reader, self._name, self._threads)
        others: tuple[Any, ...] = ()
        first = index
        if isinstance(index, tuple):
            first, others = (index[0], index[1:]) if index else (Ellipsis, ())
        rows = self._rows(first)
        if rows is None:
            whole = self._framework.read(self._reader, self._name, self._threads)
            return self._framework.own(whole[index])
        start, stop, local = rows
        part = self._part(start, stop)
        return self._framework.own(part[(local, *others)])

    def _rows(self, first: Any) -> tuple[int, int, Any] | None:
        """(start, stop, index): `index` of the rows from start to stop is `first` of all; None if all are needed."""
        if not self.shape:
            return None
        length = self.shape[0]
        if isinstance(first, int | np.integer) and not isinstance(first, bool):
            row = int(first) + (length if first < 0 else 0)
            if not 0 <= row < length:
                raise IndexError(
                    f"tensor {quoted(self._name)}: index {first} is out of bounds for dimension 0 of size {length}"
                )
            return row, row + 1, 0
        if not isinstance(first, slice):
            return None
        wanted = range(*first.indices(length))
        if wanted.step < 0:
            return None
        if not wanted:
            return 0, 0, slice(0, 0, first.step)
        return wanted[0], wanted[-1] + 1, slice(None, None, wanted.step)

    def _part(self, start: int, stop: int) -> Any:
        """The rows from start to stop."""
        shape = (stop - start, *self.shape[1:])
        width = math.prod(self.shape[1:])
        data = self._reader.read_part(self._name, start * width, stop * width, threads=self._threads)
        return self._framework.from_raw(self._name, RawTensor(self._entry.dtype, shape, data))

    def __repr__(self) -> str:
        return f"TensorSlice({self._name!r}, shape={self.shape}, dtype={self.get_dtype()})"
