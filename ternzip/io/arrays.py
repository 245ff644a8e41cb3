"""numpy arrays to the container's bytes, and back without a copy. Imports no torch."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ternzip._core import dtypes
from ternzip._core.errors import TernzipError, UnstorableTensor
from ternzip._core.tensor import RawTensor, Tie
from ternzip._core.text import quoted

Array = NDArray[Any]

_IN_ML_DTYPES = (
    "bfloat16",
    "float8_e4m3fn",
    "float8_e5m2",
    "float8_e4m3fnuz",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
)
"""Types that numpy has only through the package ml_dtypes, which calls them as the format does."""
_IN_NUMPY = (
    *("float64", "float32", "float16", "int8", "int16", "int32", "int64"),
    *("uint8", "uint16", "uint32", "uint64", "bool", "complex64", "complex128"),
)


@cache
def numpy_dtype(name: str) -> np.dtype[Any] | None:
    """numpy's type of that name in the format; None where it has none, or only with ml_dtypes, which is missing."""
    if name in _IN_NUMPY:
        return np.dtype(name)
    if name not in _IN_ML_DTYPES:
        return None
    try:
        found: np.dtype[Any] = np.dtype(getattr(import_module("ml_dtypes"), name))
    except (ModuleNotFoundError, AttributeError):
        return None
    return found


def to_raw(name: str, array: object) -> RawTensor:
    """The bytes of an array, copied only where they are not in C order or not little-endian.

    Raises UnstorableTensor for what is no array, a masked one, and element types without a code.
    """
    if not isinstance(array, np.ndarray):
        raise UnstorableTensor(
            f"tensor {quoted(name)}: expected a numpy.ndarray, found {type(array).__name__}"
        )
    if isinstance(array, np.ma.MaskedArray):
        raise UnstorableTensor(f"tensor {quoted(name)}: cannot store a masked array: its mask would be lost")
    dtype = dtypes.BY_NAME.get(array.dtype.name)
    if dtype is None or numpy_dtype(dtype.name) is None or array.dtype.itemsize != dtype.itemsize:
        raise UnstorableTensor(
            f"tensor {quoted(name)}: cannot store {array.dtype}: the format has no code for it"
        )
    plain = np.asarray(array, order="C")
    if not _is_little_endian(plain.dtype):
        plain = plain.byteswap()
    return RawTensor(dtype, plain.shape, plain.reshape(-1).view(np.uint8))


def _is_little_endian(dtype: np.dtype[Any]) -> bool:
    return dtype.byteorder in "|<" or (dtype.byteorder == "=" and sys.byteorder == "little")


def from_raw(name: str, raw: RawTensor) -> Array:
    """An array over the container's bytes.

    Raises TernzipError for a type that numpy lacks: never are its bits shown as those of another.
    """
    dtype = numpy_dtype(raw.dtype.name)
    if dtype is None:
        way = "pip install ml_dtypes" if raw.dtype.name in _IN_ML_DTYPES else "load it with torch"
        raise TernzipError(f"tensor {quoted(name)}: numpy has no {raw.dtype.name}: {way}")
    if raw.dtype.itemsize > 1 and sys.byteorder == "big":
        dtype = dtype.newbyteorder("<")
    return raw.data.view(dtype).reshape(raw.shape)


def with_ties(arrays: Mapping[str, object]) -> Iterator[tuple[str, RawTensor | Tie]]:
    """Raw tensors in order; one that is the same view of the same memory as an earlier one becomes a Tie.

    The mapping may make its arrays as they are asked for: arrays are tied only while the memory of the first is alive.
    Raises UnstorableTensor, naming the tensor, for what cannot be stored.
    """
    if not hasattr(arrays, "items"):
        raise UnstorableTensor(
            f"tensors: expected a mapping of names to arrays, found {type(arrays).__name__}"
        )
    stored: dict[tuple[object, ...], tuple[str, weakref.ref[Array]]] = {}
    for name, array in arrays.items():
        if not isinstance(name, str):
            raise UnstorableTensor(
                f"tensor {name!r}: expected a name of type str, found {type(name).__name__}"
            )
        raw = to_raw(name, array)
        assert isinstance(array, np.ndarray)
        view = (array.ctypes.data, array.dtype, array.shape, array.strides)
        first = stored.get(view)
        if array.size and first is not None and first[1]() is not None:
            yield name, Tie(first[0])
            continue
        stored[view] = name, weakref.ref(_owner(array))
        yield name, raw


def _owner(array: Array) -> Array:
    """The array whose memory others are views of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def to_arrays(raws: Iterable[tuple[str, RawTensor | Tie]]) -> dict[str, Array]:
    """Arrays by name; tied names share one array."""
    arrays: dict[str, Array] = {}
    for name, raw in raws:
        arrays[name] = arrays[raw.target] if isinstance(raw, Tie) else from_raw(name, raw)
    return arrays
