"""Packages whose names load their modules when they are first used."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from ternzip._core.extras import needing


def lazy_names(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and the `__dir__` of a package.

    Args:
        package: its name, which is in sys.modules.
        homes: the module below the package that each name comes from; one of the same name stands for itself.

    A name whose module needs torch raises MissingPackage where that is not installed.
    """
    own = vars(sys.modules[package])

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        with needing(f"{package}.{name}", "torch", "torch"):
            home = import_module(f"{package}.{homes[name]}")
        own[name] = home if homes[name] == name else getattr(home, name)
        return own[name]

    def names() -> list[str]:
        return sorted({*own, *homes})

    return get, names
