"""The application: global options, and the one place where errors become exit statuses."""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated, NoReturn

import typer

from ternzip._version import __version__
from ternzip.cli.console import one_line
from ternzip.errors import TernzipError


class UsageError(TernzipError):
    """An option's value makes no sense, whatever the data are: exit status 2."""


app = typer.Typer(
    name="ternzip",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Store ternary neural networks in files that really are that small, and train them.",
    epilog="Exit status: 0 done, 1 bad data, a failed check or an existing destination, 2 bad usage.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"ternzip {__version__}")
        raise typer.Exit


@app.callback()
def _global_options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    del version, debug  # --debug is read by main, which also serves errors before this runs


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


from ternzip.cli import files as _files  # noqa: E402, F401 - registers the commands
from ternzip.cli import training as _training  # noqa: E402, F401
