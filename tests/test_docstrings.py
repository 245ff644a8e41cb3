"""Every public definition says what it is: modules, their functions and classes, and the methods of those."""

from __future__ import annotations

import functools
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

import ternzip

MODULES = [module.name for module in pkgutil.walk_packages(ternzip.__path__, "ternzip.")]


def public(names: dict[str, Any], module: str) -> Iterator[tuple[str, Any]]:
    """What was defined in that module under a name of its own."""
    for name, value in names.items():
        if isinstance(value, classmethod | staticmethod):
            value = value.__func__
        elif isinstance(value, property):
            value = value.fget
        elif isinstance(value, functools.cached_property):
            value = value.func
        if not (inspect.isfunction(value) or inspect.isclass(value)) or name.startswith("_"):
            continue
        if (value.__module__, value.__name__) == (module, name):  # neither imported nor another name for it
            yield name, value


def undocumented(module: ModuleType) -> list[str]:
    found = [] if module.__doc__ else ["the module"]
    for name, value in public(vars(module), module.__name__):
        # A dataclass without a docstring gets its signature for one.
        if not value.__doc__ or value.__doc__.startswith(f"{name}("):
            found.append(name)
        if isinstance(value, type):
            for method, function in public(dict(vars(value)), module.__name__):
                inherited = any(hasattr(base, method) for base in value.__bases__)
                if not function.__doc__ and not inherited:  # an override keeps its base's contract
                    found.append(f"{name}.{method}")
    return found


@pytest.mark.parametrize("name", MODULES)
def test_public_definitions_have_docstrings(name: str) -> None:
    assert undocumented(pytest.importorskip(name)) == []


def test_what_lacks_one_is_found() -> None:
    class Base:
        def kept(self) -> None:
            """Said once."""

    class Bare(Base):
        def kept(self) -> None: ...

        @property
        def lacking(self) -> None: ...

    module = ModuleType(__name__)
    module.Bare = Bare  # type: ignore[attr-defined]
    assert undocumented(module) == ["the module", "Bare", "Bare.lacking"]
