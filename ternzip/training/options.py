"""One field of a recipe as the command line, TOML files and checkpoints know it: its help, its type, its limits.

Written by hand where pydantic would do, as every `ternzip` command, also one that never trains, must have the options
before it can print its help: importing pydantic takes longer than all the rest of `ternzip --help`.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin

from ternzip._core.errors import TernzipError


@dataclass(frozen=True)
class Option:
    """What is known of one option beside its name.

    Attributes:
        kind: bool, int, float, str, or tuple for any number of strings.
        default: its value where none is given.
        panel: heading of --help that it stands under.
        text: what it means, with its unit.
        choices: the strings that it may be; empty for any. Of any number of strings each is one of them, and one string
            may be several with commas between them.
        pattern: a regular expression that other strings must match to be accepted beside the choices.
        pattern_name: what such a string is called.
        within: the interval that a number must lie in, as "[0, 1)".
        unset: what a default of None or () means.
        only: other options and the values of them under which a run uses this one.
    """

    kind: type
    default: Any
    panel: str
    text: str
    choices: tuple[str, ...] = ()
    pattern: str = ""
    pattern_name: str = ""
    within: str = ""
    unset: str = ""
    only: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    def checked(self, value: Any) -> Any:
        """The value as the recipe holds it; TernzipError, without the option's name, for one that makes no sense."""
        if value is None and self.default is None:
            return None
        if self.kind is tuple:
            return self._strings(value)
        accepted: Any = (int, float) if self.kind is float else self.kind
        if not isinstance(value, accepted) or (isinstance(value, bool) and self.kind is not bool):
            raise TernzipError(f"expected {self.kind.__name__}, found {value!r}")
        if self.choices and value not in self.choices and not self._matches(value):
            others = f", or {self.pattern_name}" if self.pattern else ""
            raise TernzipError(f"unknown {value!r}: expected one of {', '.join(self.choices)}{others}")
        if self.within and not is_within(value, self.within):
            raise TernzipError(f"expected a number in {self.within}, found {value}")
        return _plain(value)

    def _matches(self, value: str) -> bool:
        return bool(self.pattern) and re.fullmatch(self.pattern, value) is not None

    def _strings(self, value: Any) -> tuple[str, ...]:
        strings = (value,) if isinstance(value, str) else value
        if not isinstance(strings, list | tuple) or not all(isinstance(one, str) for one in strings):
            raise TernzipError(f"expected a string or a list of strings, found {value!r}")
        if self.choices:
            strings = [part.strip() for one in strings for part in one.split(",")]
            for unknown in [part for part in strings if part not in self.choices][:1]:
                raise TernzipError(f"unknown {unknown!r}: expected some of {', '.join(self.choices)}")
        return tuple(map(_plain, strings))


def _plain(value: Any) -> Any:
    """The value as Python's own type: checkpoints hold it, and are read without code for any other.

    numpy.float64 and numpy.str_ are a float and a str, and so are the members of some enumerations.
    """
    if isinstance(value, str):
        return str.__str__(value)
    number = next((kind for kind in (bool, int, float) if isinstance(value, kind)), None)
    return value if number is None else number(value)


def option(default: Any, panel: str, text: str, **known: Any) -> Any:
    """A dataclass field that is an option; `known` are further attributes of `Option`."""
    return field(default=default, metadata={"panel": panel, "text": text, **known})


def options_of(recipe: type) -> dict[str, Option]:
    """The options of a dataclass by name, in order. Its annotations must be types and not strings."""
    return {
        entry.name: Option(_kind(entry.type), entry.default, **entry.metadata)
        for entry in dataclasses.fields(recipe)
    }


def _kind(hint: Any) -> type:
    if get_origin(hint) is tuple:
        return tuple
    found: type = next((part for part in get_args(hint) if part is not type(None)), hint)
    return found


def is_within(value: float, interval: str) -> bool:
    """Whether a number lies in an interval in mathematics' notation: "[0, 1)" holds 0 and not 1."""
    start, end = (float(part) for part in interval[1:-1].split(","))
    above = value >= start if interval[0] == "[" else value > start
    below = value <= end if interval[-1] == "]" else value < end
    return above and below


def flag(name: str) -> str:
    """The command-line flag of an option."""
    return "--" + name.replace("_", "-")


def read_toml(path: str | Path) -> dict[str, Any]:
    """Options in a TOML file, at top level or in tables of any name.

    Raises TernzipError if it cannot be read, and for an option that stands in it twice.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        from ternzip._core.extras import require

        require("reading TOML", "train", "tomli")
        import tomli as tomllib
    try:
        with open(path, "rb") as stream:
            document = tomllib.load(stream)
    except FileNotFoundError:
        raise TernzipError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TernzipError(f"{path}: not a readable TOML file: {error}") from error
    options: dict[str, Any] = {}
    for name, value in document.items():
        for inner, one in (value if isinstance(value, dict) else {name: value}).items():
            if inner.replace("-", "_") in options:
                raise TernzipError(f"{path}: option {inner!r} stands in it twice")
            options[inner.replace("-", "_")] = one
    return options
