"""The one place where errors become messages and exit statuses."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from ternzip._core.errors import TernzipError
from ternzip._core.extras import needing
from ternzip._core.streams import named_errors
from ternzip.cli import files, running, search, training
from ternzip.cli.app import UsageError, app
from ternzip.cli.console import print_error

_EXTRAS = ("demo", "search", "train")
"""Commands with an extra of their own, of that name."""

COMMANDS = (files, training, search, running)
"""The modules whose commands `app` has: importing them puts the commands there."""


def main() -> NoReturn:
    """Runs the command line and exits."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    # The option is welcome anywhere on the line, not only before the command.
    arguments = [argument for argument in arguments if argument != "--debug"]
    _open_closed_streams()
    with _buffered_stdout():
        _run(arguments, debug)


def _run(arguments: list[str], debug: bool) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names may hold what the terminal's encoding lacks
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            with _ended_by_signals(), _told_what_to_install(arguments):
                app(args=arguments, prog_name="ternzip", standalone_mode=True)
        finally:
            with named_errors(sys.stdout):
                sys.stdout.flush()  # a full disk is an error like any other, not one at interpreter shutdown
    except TernzipError as error:
        if debug:
            raise
        print_error(error)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except BrokenPipeError:
        _discard_output()  # whoever read it has gone
        sys.exit(1)
    except (OSError, MemoryError) as error:
        if debug:
            raise
        print_error(error)
        _discard_output()
        sys.exit(1)
    raise AssertionError("unreachable")  # pragma: no cover - typer exits


def _open_closed_streams() -> None:
    """A stream that was closed before (`>&-`) is empty, or takes all and keeps nothing."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - for the whole process


@contextmanager
def _buffered_stdout() -> Iterator[None]:
    """Unbuffered (PYTHONUNBUFFERED=1), what a full disk or a pipe does not take would be lost unsaid.

    A buffered writer writes all or raises.
    """
    original = sys.stdout
    if not isinstance(original, io.TextIOWrapper) or not isinstance(original.buffer, io.RawIOBase):
        yield
        return
    buffered = io.BufferedWriter(original.buffer)
    sys.stdout = io.TextIOWrapper(buffered, encoding=original.encoding, line_buffering=True)
    try:
        yield
    finally:
        text, sys.stdout = sys.stdout, original
        with suppress(OSError):  # said already
            text.detach()
            buffered.detach()


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Within this context, requests to end (of kill, a scheduler, a closed terminal) end the command as an exception
    does, so that half-written files are removed on the way. One that is ignored stays so, as under nohup."""

    def end(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)  # what a shell reports of a process that a signal ended

    requests = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        requests = []  # only the main thread may handle signals
    caught = [number for number in requests if signal.getsignal(number) is signal.SIG_DFL]
    for number in caught:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def _told_what_to_install(arguments: list[str]) -> Iterator[None]:
    """Within this context torch that is not installed is an error that names the command and what brings it."""
    command = next((argument for argument in arguments if not argument.startswith("-")), "")
    extra = command if command in _EXTRAS else "torch"
    with needing(f"ternzip {command}", extra, "torch"):
        yield


def _discard_output() -> None:
    """What is still buffered for a stdout that takes no more must not fail again at interpreter shutdown."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
