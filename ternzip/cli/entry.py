"""The one place where errors become messages and exit statuses."""

from __future__ import annotations

import io
import os
import sys
from typing import NoReturn

from ternzip._core.errors import TernzipError
from ternzip.cli import files, training
from ternzip.cli.app import UsageError, app
from ternzip.cli.console import one_line

COMMANDS = (files, training)
"""The modules whose commands `app` has: importing them puts the commands there."""


def main() -> NoReturn:
    """Runs the command line and exits."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    # The option is welcome anywhere on the line, not only before the command.
    arguments = [argument for argument in arguments if argument != "--debug"]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names may hold what the terminal's encoding lacks
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            app(args=arguments, prog_name="ternzip", standalone_mode=True)
        finally:
            sys.stdout.flush()  # a full disk is an error like any other, not one at interpreter shutdown
    except TernzipError as error:
        if debug:
            raise
        print(f"ternzip: error: {one_line(str(error))}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except BrokenPipeError:
        _discard_output()  # whoever read it has gone
        sys.exit(1)
    except (OSError, MemoryError) as error:
        if debug:
            raise
        reason = (
            f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else error
        )
        print(f"ternzip: error: {one_line(str(reason) or type(error).__name__)}", file=sys.stderr)
        _discard_output()
        sys.exit(1)
    raise AssertionError("unreachable")  # pragma: no cover - typer exits


def _discard_output() -> None:
    """What is still buffered for a stdout that takes no more must not fail again at interpreter shutdown."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
