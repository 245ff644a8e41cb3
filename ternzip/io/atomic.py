"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ternzip._core.errors import TernzipError


@contextmanager
def atomic_path(path: str | os.PathLike[str], *, overwrite: bool = True) -> Iterator[Path]:
    """The name of a new empty file that takes `path`'s place if the block ends well, and vanishes otherwise.

    It lies in the same folder and is flushed to the disk before it is renamed. Raises TernzipError if the
    path exists and `overwrite` is false, or the system refuses (no folder, no permission, no space left).
    """
    try:
        target = Path(os.path.realpath(path))
        _check(target, path, overwrite)
        # Names are bounded in bytes, of which a character may take four.
        handle, name = tempfile.mkstemp(prefix=f".{target.name[:32]}.", suffix=".part", dir=target.parent)
        os.close(handle)
    except OSError as error:
        raise TernzipError(f"{os.fspath(path)}: cannot write: {error.strerror}") from None
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("r+b") as stream:
            os.fsync(stream.fileno())
        _take_permissions(temporary, target)
        _check(target, path, overwrite)
        temporary.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        raise TernzipError(f"{os.fspath(path)}: cannot write: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # gone already when all went well
            temporary.unlink()


@contextmanager
def atomic_file(path: str | os.PathLike[str], *, overwrite: bool = True) -> Iterator[IO[bytes]]:
    """The same, open for writing and reading in binary."""
    with atomic_path(path, overwrite=overwrite) as temporary, temporary.open("w+b") as stream:
        yield stream


def _check(target: Path, path: str | os.PathLike[str], overwrite: bool) -> None:
    if target.is_dir():
        raise TernzipError(f"{os.fspath(path)}: cannot write: is a directory")
    if not target.exists():
        return
    if not target.is_file():  # a device must not become a file
        raise TernzipError(f"{os.fspath(path)}: cannot write: not a regular file")
    if not overwrite:
        raise TernzipError(f"{os.fspath(path)}: exists already; it is only replaced with --force")


def _take_permissions(temporary: Path, target: Path) -> None:
    """The mode of the file that is replaced, or what a newly created file would get."""
    try:
        mode = target.stat().st_mode & 0o7777
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        mode = 0o666 & ~mask
    temporary.chmod(mode)


def _sync_folder(folder: Path) -> None:
    """Makes the rename itself survive a power cut, where the system can."""
    if os.name != "posix":
        return
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
