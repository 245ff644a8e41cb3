"""Streams: what they are called, and writing to those that may take less than they are given."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

UNNAMED = "<stream>"


class ByteStream(Protocol):
    """What is needed of a stream: ``write`` as io.RawIOBase and io.BufferedIOBase define it."""

    def write(self, data: memoryview, /) -> int | None:
        """Takes some of `data` and returns how many bytes; None if it can take none now."""
        ...


def write_all(stream: ByteStream, data: bytes | bytearray | memoryview) -> None:
    """Writes every byte of `data`, or raises OSError.

    An unbuffered stream takes what the system accepts in one call (on Linux at most 2,147,479,552 bytes, and less on
    a disk that becomes full) and reports it only by the number that `write` returns.

    Args:
        stream: a binary stream, buffered or not.
        data: any object of contiguous bytes.

    Raises:
        BlockingIOError: a non-blocking stream takes no more; its `characters_written` counts what it took.
        OSError: whatever else the system reports, and a stream that takes nothing or claims more than it was given.
            It names the stream, where that has a name.
    """
    view = memoryview(data).cast("B")
    done = 0
    while done < len(view):
        with named_errors(stream):
            taken = stream.write(view[done:])
        if taken is None:
            raise BlockingIOError(
                errno.EAGAIN,
                f"a non-blocking stream took {done} of {len(view)} bytes and takes no more",
                done,
            )
        if not 0 < taken <= len(view) - done:
            raise OSError(errno.EIO, f"a stream took {taken} of the {len(view) - done} bytes it was given")
        done += taken


@contextmanager
def named_errors(stream: object) -> Iterator[None]:
    """Within this context, what the system reports of a stream says which it is; of a full disk it does not."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None and named(stream) != UNNAMED:
            error.filename = named(stream)
        raise


def named(source: object) -> str:
    """What messages call a source or a destination: a path, or the name of a stream's file."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else UNNAMED


def check_binary(stream: object) -> None:
    """TypeError for what is neither a path nor a binary stream."""
    if isinstance(stream, io.TextIOBase):
        raise TypeError(
            f"expected a binary stream, got one of text ({named(stream)}): open it in binary mode"
        )
    if not hasattr(stream, "read") and not hasattr(stream, "write"):
        raise TypeError(f"expected a path or a binary stream, got {type(stream).__name__}")
