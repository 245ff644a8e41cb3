"""A file that is read while others may write to it: every surprise is an error, never a signal or old bytes."""

from __future__ import annotations

import io
import os
from typing import BinaryIO

from ternzip._core.errors import TernzipError


class SourceFile:
    """A file, or the bytes of one, read by position.

    It is read and not mapped: a mapped file that another process cuts short ends this one by SIGBUS.

    Attributes:
        name: what messages call it.
        path: where it lies; None for bytes.
        size: its bytes when it was opened.
        stream: the open file, for libraries that read it themselves.
    """

    def __init__(self, source: str | os.PathLike[str] | bytes, name: str) -> None:
        self.name = name
        self.path = None if isinstance(source, bytes) else os.fspath(source)
        try:
            self.stream: BinaryIO = io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb")  # noqa: SIM115
            self.size = self.stream.seek(0, os.SEEK_END)
            self.stream.seek(0)
            self._state = self._found()
        except OSError as error:
            raise TernzipError(f"{name}: cannot read: {error.strerror or error}") from None

    def read(self, offset: int, size: int) -> bytearray:
        """Exactly `size` bytes, or a TernzipError that says where the file ends."""
        if size > self.size - offset:  # before memory is taken for what a damaged file claims
            raise TernzipError(
                f"{self.name}: offset {offset}: truncated: "
                f"expected {size:,} more bytes, found {max(0, self.size - offset):,}"
            )
        try:
            data = bytearray(size)
            view = memoryview(data)
            self.stream.seek(offset)
            filled = 0
            while filled < size:
                count = self.stream.readinto(view[filled:])  # type: ignore[attr-defined]
                if not count:
                    raise TernzipError(
                        f"{self.name}: offset {offset + filled}: truncated: "
                        f"expected {size - filled} more bytes, found the end of the file"
                    )
                filled += count
        except OSError as error:
            raise TernzipError(f"{self.name}: cannot read: {error.strerror or error}") from None
        except (MemoryError, OverflowError):
            raise TernzipError(
                f"{self.name}: offset {offset}: cannot take {size:,} bytes of memory"
            ) from None
        return data

    def check_unchanged(self) -> None:
        """TernzipError if anybody wrote to the file since it was opened: what was read may be half old."""
        if self._found() != self._state:
            raise TernzipError(
                f"{self.name}: changed while it was read: expected a file that nobody writes to"
            )

    def close(self) -> None:
        """Closes the file, or lets go of the bytes."""
        self.stream.close()

    def _found(self) -> tuple[int, int]:
        """Size and time of the last change."""
        if self.path is None:
            return self.size, 0
        status = os.fstat(self.stream.fileno())
        return status.st_size, status.st_mtime_ns
