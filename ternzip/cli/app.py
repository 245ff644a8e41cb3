"""The application that commands add themselves to, and its global options."""

from __future__ import annotations

from typing import Annotated

import typer

from ternzip._core.errors import TernzipError
from ternzip._version import __version__


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
    del version, debug  # --debug is read by `ternzip.cli.entry`, which also serves errors before this runs
