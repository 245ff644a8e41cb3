"""Where a reader gets its bytes: a file or a stream, read by position, or a buffer."""

from __future__ import annotations

import os
import threading
from typing import IO, Protocol

from ternzip._core.errors import TernzipError


class Source(Protocol):
    """Random access to the bytes of one file; safe to use from several threads."""

    name: str
    size: int

    def read(self, offset: int, size: int) -> memoryview:
        """Exactly `size` bytes, or TernzipError."""
        ...

    def close(self) -> None:
        """Gives the bytes up; closing twice does no harm."""
        ...


_CLOSED = "cannot read: already closed"


class BufferSource:
    """Bytes in memory."""

    def __init__(self, data: bytes | bytearray | memoryview, name: str = "<bytes>") -> None:
        self._data = memoryview(data).cast("B")
        self.name = name
        self.size = len(self._data)

    def read(self, offset: int, size: int) -> memoryview:
        """See Source; the caller has checked that the bytes are there."""
        try:
            return self._data[offset : offset + size]
        except ValueError:  # another thread has closed it meanwhile
            raise TernzipError(_CLOSED) from None

    def close(self) -> None:
        """See Source."""
        self._data.release()


class _ReadByPosition:
    """What is read piece by piece: `_read_at` fills as much of a view as it can at once."""

    name: str
    size: int

    def read(self, offset: int, size: int) -> memoryview:
        """See Source."""
        data = bytearray(size)
        view = memoryview(data)
        filled = 0
        try:
            while filled < size:
                count = self._read_at(offset + filled, view[filled:])
                if not count:
                    raise TernzipError(
                        f"offset {offset + filled}: truncated: expected {size - filled} more bytes"
                    )
                filled += count
        except OSError as error:
            raise TernzipError(f"offset {offset + filled}: cannot read: {error.strerror or error}") from None
        return view

    def _read_at(self, offset: int, view: memoryview) -> int:
        raise NotImplementedError


class FileSource(_ReadByPosition):
    """A file on disk; only what is asked for is read."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = os.fspath(path)
        try:
            self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed by close()
            self.size = os.fstat(self._file.fileno()).st_size
        except OSError as error:
            raise TernzipError(f"{self.name}: cannot read: {error.strerror}") from None
        self._lock = threading.Lock()

    def _read_at(self, offset: int, view: memoryview) -> int:
        try:
            if hasattr(os, "preadv"):
                return os.preadv(self._file.fileno(), [view], offset)
            with self._lock:  # no positional reads on this platform
                self._file.seek(offset)
                return self._file.readinto(view) or 0
        except ValueError:  # another thread has closed it meanwhile
            raise TernzipError(_CLOSED) from None

    def close(self) -> None:
        """See Source."""
        self._file.close()


class StreamSource(_ReadByPosition):
    """A seekable binary stream, from where it stands to its end. It is its owner's to close.

    Only what is asked for is read, so nobody else may move the stream meanwhile.
    """

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self.name = name
        self._stream = stream
        self._lock = threading.Lock()
        try:
            self._start = stream.tell()
            self.size = stream.seek(0, os.SEEK_END) - self._start
        except OSError as error:
            raise TernzipError(f"{name}: cannot read: {error.strerror or error}") from None

    def _read_at(self, offset: int, view: memoryview) -> int:
        with self._lock:
            if self._stream.closed:
                raise TernzipError(f"offset {offset}: cannot read: the stream has been closed")
            self._stream.seek(self._start + offset)
            data = self._stream.read(len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """See Source."""
