"""Unsigned LEB128 integers and a bounds-checked cursor over untrusted bytes."""

from __future__ import annotations

from ternzip._core.errors import TernzipError

MAX_VARINT = (1 << 64) - 1
"""The largest integer that has a form."""


def encode_varint(value: int) -> bytes:
    """The shortest LEB128 form of ``0 <= value < 2**64``."""
    if not 0 <= value < 1 << 64:
        raise ValueError(f"varint out of range: {value}")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class Cursor:
    """Reads fields from `data` front to back; running past the end is a TernzipError, never a short read.

    `offset` is the position of ``data[0]`` in the file, or None where the bytes were compressed there;
    `what` names the section in messages.
    """

    def __init__(self, data: bytes | memoryview, what: str, offset: int | None = None) -> None:
        self._data = memoryview(data)
        self._position = 0
        self._what = what
        self._offset = offset

    @property
    def remaining(self) -> int:
        """Bytes that have not been read."""
        return len(self._data) - self._position

    def enter(self, what: str) -> None:
        """From here on, messages name this part of the section."""
        self._what = what

    def where(self) -> str:
        """The place that has been reached, for messages."""
        if self._offset is None:
            return f"{self._what}, byte {self._position}"
        return f"{self._what}, file offset {self._offset + self._position}"

    def fail(self, message: str) -> TernzipError:
        """The error to raise about the field that was read last."""
        return TernzipError(f"{self.where()}: {message}")

    def take(self, count: int, field: str) -> memoryview:
        """The next `count` bytes."""
        if count > self.remaining:
            raise self.fail(f"{field}: expected {count} bytes, found {self.remaining}")
        start = self._position
        self._position += count
        return self._data[start : start + count]

    def byte(self, field: str) -> int:
        """The next byte as an integer."""
        position = self._position
        if position >= len(self._data):
            raise self.fail(f"{field}: expected 1 bytes, found 0")
        self._position = position + 1
        return self._data[position]

    def varint(self, field: str, maximum: int = MAX_VARINT) -> int:
        """The next integer; it is in its shortest form and at most `maximum`."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self.byte(field)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if byte == 0 and shift:
                    raise self.fail(f"{field}: integer not in its shortest form")
                if value > maximum:
                    raise self.fail(f"{field}: expected at most {maximum}, found {value}")
                return value
        raise self.fail(f"{field}: integer longer than 64 bits")

    def varints(self, count: int, field: str, maximum: int = MAX_VARINT) -> list[int]:
        """`count` integers one after another; most are of one byte, which is quicker to see from here."""
        values: list[int] = []
        data, position, end = self._data, self._position, len(self._data)
        for _ in range(count):
            value = data[position] if position < end else 0x80
            if value < 0x80:
                position += 1
            else:
                self._position = position
                value = self.varint(field)
                position = self._position
            if value > maximum:
                self._position = position
                raise self.fail(f"{field}: expected at most {maximum}, found {value}")
            values.append(value)
        self._position = position
        return values

    def end(self) -> None:
        """Refuses bytes that nobody has asked for."""
        if self.remaining:
            raise self.fail(f"expected the end of the section, found {self.remaining} further bytes")
