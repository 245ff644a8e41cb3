"""Codec parameters: strings of bytes that codecs of a file are given when they encode and decode.

A file holds each distinct string once, however many tensors use it: a start state may be one for the whole file,
or one for a tensor. Strings are numbered from 1 in the order of their first use, so that a file has one form; 0
stands for no parameters.
"""

from __future__ import annotations

from collections.abc import Sequence

from ternzip._core.errors import TernzipError
from ternzip._core.varint import Cursor

MAX_CODEC_PARAMETER_BYTES = (1 << 16) - 1
"""Bytes of one string of codec parameters; none is empty."""


class ParameterTable:
    """Collects the strings of a file that is being written."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {b"": 0}

    @property
    def strings(self) -> list[bytes]:
        """All strings, the one numbered 1 first."""
        return list(self._numbers)[1:]

    def __contains__(self, parameters: bytes) -> bool:
        """Whether using `parameters` costs nothing: they are none, or in the file already."""
        return parameters in self._numbers

    def number(self, parameters: bytes) -> int:
        """The number of `parameters`, which are in the file from now on.

        Raises ValueError for what is too long: a mistake of the codec that chose it.
        """
        if len(parameters) > MAX_CODEC_PARAMETER_BYTES:
            raise ValueError(
                f"codec parameters: expected at most {MAX_CODEC_PARAMETER_BYTES} bytes, got {len(parameters)}"
            )
        return self._numbers.setdefault(parameters, len(self._numbers))


class StoredParameters:
    """The strings of a file that is being read."""

    def __init__(self, strings: Sequence[bytes] = ()) -> None:
        self.strings = list(strings)
        self._used = 0

    def read(self, cursor: Cursor) -> bytes:
        """The string whose number comes next; one that is new must be the next of those not used yet."""
        most = min(self._used + 1, len(self.strings))
        number = cursor.varint("number of codec parameters", most)
        self._used = max(self._used, number)
        return self.strings[number - 1] if number else b""

    def check(self, cursor: Cursor) -> None:
        """Refuses strings that no tensor has used, and those that occur twice. `cursor` knows the place."""
        if self._used < len(self.strings):
            raise self._fail(cursor, f"each of {len(self.strings)} strings used, found {self._used}")
        if len(set(self.strings)) < len(self.strings):
            raise self._fail(cursor, "each string once")

    @staticmethod
    def _fail(cursor: Cursor, expected: str) -> TernzipError:
        return cursor.fail(f"codec parameters: expected {expected}")
