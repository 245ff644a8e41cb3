"""What becomes of sources: results take over their times, and --rm removes them."""

from __future__ import annotations

import os
from contextlib import suppress

import typer

from ternzip._core.errors import TernzipError
from ternzip.cli.console import say
from ternzip.cli.sources import STDIO


def check_removable(pairs: list[tuple[str, str]], remove: bool) -> None:
    """A usage error for --rm without a file to remove and one to keep."""
    for src, dst in pairs if remove else []:
        # A pipe with a name cannot be read again to be compared.
        if STDIO in (src, dst) or (os.path.exists(src) and not os.path.isfile(src)):
            raise typer.BadParameter(
                "removes files that became files, no folders, pipes or streams", param_hint="--rm"
            )


def take_times(src: str, dst: str) -> None:
    """Gives a new file its source's time of change, as gzip and zstd do; where the system refuses, it is as it is."""
    if os.path.isfile(src) and os.path.isfile(dst):
        with suppress(OSError):
            times = os.stat(src)
            os.utime(dst, ns=(times.st_atime_ns, times.st_mtime_ns))


def remove_source(src: str, dst: str, lost: list[str], *, tnz: str, threads: int | None) -> None:
    """Removes a file that became another, unless something of it is in no other place: then a line says so.

    The destination is read again and compared with the source first, tensor by tensor; `tnz` is which of the two is
    the .tnz file, whatever it is called.
    """
    from ternzip.checkpoint import verify as checkpoint

    if not lost:
        lost = checkpoint.verify(tnz, src if tnz == dst else dst, threads=threads).differences
    if lost:
        say(f"ternzip: note: {src}: kept, as {dst} does not hold all of it: {'; '.join(lost)}")
        return
    try:
        os.unlink(src)
    except OSError as error:  # of several, it does not stop the others
        raise TernzipError(f"{src}: became {dst}, but cannot be removed: {error.strerror or error}") from None
