"""Architectures that are code of the user's: MODULE:FUNCTION, imported when asked for."""

from __future__ import annotations

import ast
import inspect
import json
import math
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ternzip._core.errors import TernzipError

if TYPE_CHECKING:
    from torch import nn

OWN_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def is_own(name: str) -> bool:
    """Whether an architecture's name is that of code, as mypackage.models:make_net."""
    return OWN_NAME.fullmatch(name) is not None


@dataclass(frozen=True)
class OwnArchitecture:
    """A function, or a class, that makes a network.

    Called as `Architecture` is. Of what is known of the images, num_classes, in_channels, in_features and image_shape,
    it is given what it has a parameter for; `options` are given as they are and win.
    """

    name: str
    function: Callable[..., object]

    def __call__(self, image_shape: tuple[int, int, int], num_classes: int, **options: Any) -> nn.Module:
        """The network for images of a shape (channels, height, width); TernzipError where it makes none."""
        from torch import nn

        known = {
            "num_classes": num_classes,
            "in_channels": image_shape[0],
            "in_features": math.prod(image_shape),
            "image_shape": image_shape,
        }
        signature = inspect.signature(self.function)
        given = {key: value for key, value in known.items() if key in signature.parameters} | options
        try:
            signature.bind(**given)
        except TypeError as error:
            raise TernzipError(
                f"{self.name}: {error}: arguments are given by --arch-arg NAME=VALUE"
            ) from error
        try:
            made = self.function(**given)
        except Exception as error:
            raise TernzipError(f"{self.name}: {_told(error)}") from error
        if not isinstance(made, nn.Module):
            raise TernzipError(f"{self.name}: expected a torch.nn.Module, found {type(made).__name__}")
        return made


def own_architecture(name: str) -> OwnArchitecture:
    """Import what MODULE:FUNCTION names, also from the current folder, as `python -m` would.

    Runs code: only for names that the user has given. Raises TernzipError for a module that is not there or fails to
    be imported, and for a name in it that is no function.
    """
    module_name, _, function_name = name.partition(":")
    # For good, as what is imported may import more when it is called.
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.insert(0, os.getcwd())
    try:
        module = import_module(module_name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}."):
            raise TernzipError(f"{name}: no module {error.name!r} here or among what is installed") from None
        raise TernzipError(f"{name}: {module_name} cannot be imported: {_told(error)}") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        found = "no such name" if function is None else type(function).__name__
        raise TernzipError(f"{name}: expected a function {function_name} in {module.__file__}, found {found}")
    return OwnArchitecture(name, function)


def _told(error: Exception) -> str:
    """An error of the user's code in one line, with where it happened."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    reason = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {reason}{place}"


def parse_arguments(given: Sequence[str]) -> dict[str, Any]:
    """Arguments as NAME=VALUE, each value a Python literal or else a string.

    Raises TernzipError where one is not so written, or a value is none that a file's metadata can hold.
    """
    found: dict[str, Any] = {}
    for entry in given:
        name, equals, text = entry.partition("=")
        if not equals or not name.isidentifier():
            raise TernzipError(f"--arch-arg: expected NAME=VALUE, found {entry!r}")
        if name in found:
            raise TernzipError(f"--arch-arg: {name} is given twice")
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            value = text
        check_plain({name: value}, "--arch-arg")
        found[name] = value
    return found


def check_plain(options: Mapping[str, Any], source: str) -> None:
    """TernzipError unless all values are numbers, strings, booleans, None, and lists and dictionaries of them."""
    for name, value in options.items():
        try:
            same = json.loads(json.dumps(value)) == value
        except (TypeError, ValueError):
            same = False
        if not same:
            raise TernzipError(
                f"{source}: {name}: expected a number, a string, a list or a dictionary, found {value!r}"
            )
