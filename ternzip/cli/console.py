"""What the commands share: messages on stderr, a progress bar where somebody watches, readable numbers."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ternzip._core.errors import DestinationExists

if TYPE_CHECKING:
    from ternzip.container.progress import Progress


def say(message: str) -> None:
    """One line for the person, out of the way of data on stdout."""
    print(one_line(message), file=sys.stderr)


def told(error: BaseException) -> str:
    """What the person is told of an error: one line, with the option that helps where there is one."""
    if isinstance(error, DestinationExists):
        return one_line(f"{error}; it is only replaced with --force")
    if isinstance(error, OSError) and error.strerror:
        return one_line(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
    return one_line(str(error) or type(error).__name__)


def print_error(error: BaseException) -> None:
    """The one line of an error on stderr."""
    print(f"ternzip: error: {told(error)}", file=sys.stderr)


def one_line(message: str) -> str:
    """The message without line breaks or control characters a hostile file may have put into a name."""
    if message.isprintable():
        return message
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)


@contextmanager
def progress_bar(title: str, total_bytes: int, *, quiet: bool = False) -> Iterator[Progress | None]:
    """A bar over the bytes of tensors on stderr, or None where stderr is no terminal or nothing is to be seen."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total_bytes)

        def advance(name: str, nbytes: int) -> None:
            bar.update(task, advance=nbytes)

        yield advance


@contextmanager
def no_collection() -> Iterator[None]:
    """Within this context Python does not look for garbage, which takes half the time of making very many objects."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def plural(count: int, word: str) -> str:
    """``1 tensor``, ``2 tensors``."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"
