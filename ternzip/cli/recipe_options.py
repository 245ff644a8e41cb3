"""The options of a training recipe as flags of a command."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from ternzip.training.options import Option, flag
from ternzip.training.recipe import OPTIONS


def recipe_options(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command flags for these options of a Recipe, or for all.

    Those that the user set reach the command as its argument `options`, by name.
    """
    flags = [_parameter(name, OPTIONS[name]) for name in names or OPTIONS]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        own = {name: parameter for name, parameter in signature.parameters.items() if name != "options"}

        @functools.wraps(command)
        def run(**given: Any) -> None:
            options = {name: value for name, value in given.items() if name not in own and value is not None}
            command(options=options, **{name: given[name] for name in own})

        keywords = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own.values()] + flags
        run.__signature__ = signature.replace(parameters=keywords)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in keywords}
        return run

    return decorate


def _parameter(name: str, known: Option) -> inspect.Parameter:
    if isinstance(known.default, bool):
        default = "yes" if known.default else "no"
    else:
        shown = ",".join(known.default) if isinstance(known.default, tuple) else str(known.default)
        default = known.unset if known.default in (None, ()) else shown
    notes = [
        " | ".join([*known.choices, *([known.pattern_name] if known.pattern else [])]),
        f"in {known.within}" * bool(known.within),
        f"default {default}",
    ]
    option = typer.Option(
        # What is off by default needs no flag to turn it off.
        *([flag(name)] if known.default is False else []),
        help=f"{known.text} ({'; '.join(note for note in notes if note)})",
        rich_help_panel=known.panel,
        show_default=False,
    )
    kind: Any = list[str] if known.kind is tuple else known.kind
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )
