"""Files that appear whole or not at all."""

from __future__ import annotations

import io
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from ternzip._core.errors import DestinationExists, TernzipError


@contextmanager
def atomic_path(path: str | os.PathLike[str], *, overwrite: bool = True) -> Iterator[Path]:
    """The name of a new empty file that takes `path`'s place if the block ends well, and vanishes otherwise.

    It lies in the same folder and is flushed to the disk before it is renamed. The block is for writing the file
    and nothing else: an OSError in it becomes a TernzipError that the file cannot be written.

    Raises DestinationExists if the path exists and `overwrite` is false, TernzipError if the system refuses (no
    folder, no permission, no space left).
    """
    with _part_of(path, overwrite) as part, _cannot_write(path):
        yield part


@contextmanager
def atomic_file(
    path: str | os.PathLike[str], *, overwrite: bool = True, sources: Iterable[str] = ()
) -> Iterator[IO[bytes]]:
    """The same, open for writing and reading in binary.

    What only its owner or group may read stays so: a new file is open to nobody else to whom one of `sources`, the
    files that it is made of, is closed. One that is replaced keeps its permissions.

    Only what goes wrong with this file becomes a TernzipError that it cannot be written; the block's other
    exceptions, such as those of a progress callback, leave it as they are.
    """
    with (
        _part_of(path, overwrite, sources) as part,
        io.BufferedRandom(PartFile(part, path)) as stream,
    ):
        yield stream


class PartFile(io.FileIO):
    """An open file, by its path or its descriptor, whose errors name the file that it is going to be."""

    def __init__(self, part: Path | int, path: str | os.PathLike[str]) -> None:
        self._target = path
        with _cannot_write(path):
            super().__init__(part, "r+b")

    def write(self, data: Any, /) -> int:
        with _cannot_write(self._target):
            return super().write(data)

    def readinto(self, buffer: Any, /) -> int:
        with _cannot_write(self._target):
            return super().readinto(buffer)

    def close(self) -> None:
        with _cannot_write(self._target):
            super().close()


@contextmanager
def _part_of(path: str | os.PathLike[str], overwrite: bool, sources: Iterable[str] = ()) -> Iterator[Path]:
    """A new file beside `path`, which is given that name if the block ends well."""
    with _cannot_write(path):
        target = Path(os.path.realpath(path))
        _check(target, path, overwrite)
        part, mode = _create_part(target, sources)
    try:
        yield part
        with _cannot_write(path):
            with part.open("r+b") as stream:
                os.fsync(stream.fileno())
            part.chmod(mode)
            _check(target, path, overwrite)
            _put(part, target, path, overwrite)
            _sync_folder(target.parent)
    finally:
        with suppress(OSError):  # gone already when all went well
            part.unlink()


def make_folder(path: str | os.PathLike[str]) -> None:
    """The folder and those above it are there; TernzipError where one cannot be made, or is a file."""
    with _cannot_write(path):
        try:
            os.makedirs(path, exist_ok=True)
        except FileExistsError:
            raise TernzipError(f"{os.fspath(path)}: expected a folder, found a file") from None


@contextmanager
def _cannot_write(path: str | os.PathLike[str]) -> Iterator[None]:
    """Within this context an OSError becomes a TernzipError about `path`."""
    try:
        yield
    except OSError as error:
        raise TernzipError(f"{os.fspath(path)}: cannot write: {error.strerror or error}") from error


def _check(target: Path, path: str | os.PathLike[str], overwrite: bool) -> None:
    if target.is_dir():
        raise TernzipError(f"{os.fspath(path)}: cannot write: is a directory")
    if not target.exists():
        return
    if not target.is_file():  # a device must not become a file
        raise TernzipError(f"{os.fspath(path)}: cannot write: not a regular file")
    if not overwrite:
        raise DestinationExists(f"{os.fspath(path)}: exists already")


def _put(part: Path, target: Path, path: str | os.PathLike[str], overwrite: bool) -> None:
    """Gives the new file its name; unless `overwrite`, not that of a file which another process has made meanwhile."""
    if not overwrite:
        try:
            os.link(part, target)  # unlike a rename, it replaces nothing; `part` is unlinked in the end
            return
        except FileExistsError:
            raise DestinationExists(f"{os.fspath(path)}: exists already") from None
        except OSError:
            pass  # a file system without links
    part.replace(target)


def _create_part(target: Path, sources: Iterable[str]) -> tuple[Path, int]:
    """An empty file that only its owner may read, and the mode to give it at the end.

    That is the mode of the file that will be replaced, or else what the system gives a new file here: it alone
    knows the umask of this process, which cannot be asked for without changing it for all threads. Of the latter, group
    and others get no more than each of `sources` gives them.
    """
    # Names are bounded in bytes, of which a character may take four.
    part = target.with_name(f".{target.name[:32]}.{secrets.token_hex(8)}.part")
    handle = os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
    try:
        try:
            mode = stat.S_IMODE(os.fstat(handle).st_mode)
        finally:
            os.close(handle)
        for source in sources:
            with suppress(OSError):  # the name of a stream, or gone
                mode = no_more_than(source, mode)
        with suppress(FileNotFoundError):
            mode = stat.S_IMODE(target.stat().st_mode)
        part.chmod(0o600)
    except BaseException:  # a target that is a link to itself has no mode
        part.unlink()
        raise
    return part, mode


def no_more_than(source: str | os.PathLike[str], mode: int) -> int:
    """Of these permissions, to group and others what `source` gives them too; OSError where it is not there."""
    return mode & (stat.S_IMODE(os.stat(source).st_mode) | ~(stat.S_IRWXG | stat.S_IRWXO))


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
