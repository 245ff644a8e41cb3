"""Pickles of numbers, strings and numpy arrays, read without running anything that they name.

A pickle is a program: it names functions and calls them. Here it finds, under the few names that numpy and Python 2's
strings need, stand-ins that only record what they are given, and an error under every other. numpy's own
reconstruction is not among them: it was not written for pickles of strangers.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ternzip._core.errors import TernzipError
from ternzip._core.text import first_line

# Element types by the names that pickles have for them; numbers only, as an element of any other type is an object.
NUMBERS = frozenset(("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"))


def read_inert_pickle(data: bytes, path: Path) -> Any:
    """What a pickle holds: None, booleans, numbers, bytes, strings, lists, tuples, dictionaries and numpy arrays.

    Strings of Python 2 come as bytes. Raises TernzipError, naming `path`, for a pickle that holds or calls anything
    else, and for one that is damaged.
    """
    try:
        return _finished(_InertUnpickler(io.BytesIO(data), encoding="bytes").load(), path)
    except TernzipError:
        raise
    except pickle.UnpicklingError as error:
        raise TernzipError(f"{path}: {error}") from error
    except Exception as error:  # a damaged pickle is a damaged program: it may fail in any way
        reason = first_line(error)
        raise TernzipError(f"{path}: damaged: not a pickle that can be read: {reason}") from error


class _Elements:
    """Stands for numpy.dtype."""

    def __init__(self, name: str | bytes = "", *flags: object) -> None:
        self.name = name.decode("ascii", "replace") if isinstance(name, bytes) else name
        self.order = "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1]
        self.order = order.decode("ascii", "replace") if isinstance(order, bytes) else order

    def dtype(self) -> np.dtype[Any]:
        if self.name not in NUMBERS or self.order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError(f"expected an array of numbers, found elements {self.name!r}")
        return np.dtype(self.order.replace("|", "=") + self.name)


class _Array:
    """Stands for numpy.ndarray."""

    state: tuple[Any, ...] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def array(self) -> NDArray[Any]:
        if self.state is None or len(self.state) != 5 or not isinstance(self.state[2], _Elements):
            raise pickle.UnpicklingError("expected a numpy array, found one without contents")
        _, shape, elements, by_columns, data = self.state
        dtype = elements.dtype()
        if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
            raise pickle.UnpicklingError(f"expected the shape of an array, found {shape!r}")
        if not isinstance(data, bytes) or len(data) != math.prod(shape) * dtype.itemsize:
            found = len(data) if isinstance(data, bytes) else type(data).__name__
            raise pickle.UnpicklingError(
                f"expected an array of {'*'.join(map(str, shape))} elements of {dtype.itemsize} bytes, found {found}"
            )
        return np.frombuffer(data, dtype).reshape(shape, order="F" if by_columns else "C")


def _reconstruct(kind: object, *shape: object) -> _Array:
    """Stands for the function of that name in numpy, which makes an empty array for its state to come."""
    return _Array()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Stands for _codecs.encode, by which Python 3 writes bytes into pickles that Python 2 can read."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError(f"expected a string in latin1, found one in {encoding!r}")
    return text.encode("latin1")


class _Callable:
    """A function that a pickle may call and cannot change: what it set on a plain one would stay for later reads."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: object) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("refused: the pickle changes a function")


STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _Callable(_reconstruct),
    ("numpy._core.multiarray", "_reconstruct"): _Callable(_reconstruct),
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Elements,
    ("_codecs", "encode"): _Callable(_encode),
}


class _InertUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in STAND_INS:
            raise pickle.UnpicklingError(
                f"refused: the pickle calls {module}.{name}: expected only numbers, strings and numpy arrays"
            )
        return STAND_INS[module, name]


def _finished(value: Any, path: Path, done: dict[int, Any] | None = None) -> Any:
    """The value with arrays in the place of their stand-ins; what a pickle shares is finished once."""
    done = {} if done is None else done
    if id(value) in done:
        return done[id(value)]
    finished = value
    if isinstance(value, _Array):
        finished = value.array()
    elif isinstance(value, dict):
        finished = {_finished(key, path, done): _finished(one, path, done) for key, one in value.items()}
    elif isinstance(value, list | tuple):
        finished = type(value)(_finished(one, path, done) for one in value)
    elif value is not None and not isinstance(value, bool | int | float | str | bytes):
        raise TernzipError(
            f"{path}: expected numbers, strings and numpy arrays, found {type(value).__name__}"
        )
    done[id(value)] = finished
    return finished
