"""Train ternary networks, count their cost in bits, store them in files that really are that small."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ternzip._version import __version__
from ternzip.errors import TernzipError

if TYPE_CHECKING:
    from ternzip.backend import backend
    from ternzip.modules import convert, prepare
    from ternzip.ops import clip_, count_symbols, ternarize
    from ternzip.schedules import DeltaSchedule
    from ternzip.symbols import SymbolCounts

__all__ = [
    "DeltaSchedule",
    "SymbolCounts",
    "TernzipError",
    "__version__",
    "backend",
    "clip_",
    "convert",
    "count_symbols",
    "prepare",
    "ternarize",
]

# Where each public name lives. Importing ternzip imports none of them: the command line starts without torch.
_HOMES = {
    "DeltaSchedule": "ternzip.schedules",
    "SymbolCounts": "ternzip.symbols",
    "backend": "ternzip.backend",
    "clip_": "ternzip.ops",
    "convert": "ternzip.modules",
    "count_symbols": "ternzip.ops",
    "prepare": "ternzip.modules",
    "ternarize": "ternzip.ops",
}
_SUBMODULES = ("models", "modules", "ops", "quantizers", "schedules")


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    elif name in _SUBMODULES:
        value = importlib.import_module(f"ternzip.{name}")
    else:
        raise AttributeError(f"module 'ternzip' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBMODULES})
