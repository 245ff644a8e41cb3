"""Train ternary networks, count their cost in bits, store them in files that really are that small.

Names are loaded when they are first used, so that importing ternzip stays light: the container and the
command line do not need torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ternzip._version import __version__
from ternzip.errors import TernzipError

if TYPE_CHECKING:
    from ternzip import models
    from ternzip.backends import backend
    from ternzip.files import load, load_file, safe_open, save, save_file
    from ternzip.modules import convert, prepare
    from ternzip.ops import clip_, count_symbols, ternarize
    from ternzip.schedules import DeltaSchedule
    from ternzip.symbols import SymbolCounts

_LAZY = {
    "DeltaSchedule": "ternzip.schedules",
    "SymbolCounts": "ternzip.symbols",
    "backend": "ternzip.backends",
    "clip_": "ternzip.ops",
    "convert": "ternzip.modules",
    "count_symbols": "ternzip.ops",
    "load": "ternzip.files",
    "load_file": "ternzip.files",
    "safe_open": "ternzip.files",
    "prepare": "ternzip.modules",
    "save": "ternzip.files",
    "save_file": "ternzip.files",
    "ternarize": "ternzip.ops",
}
_SUBMODULES = ("models", "modules", "ops", "quantizers", "schedules")

__all__ = [
    "DeltaSchedule",
    "SymbolCounts",
    "TernzipError",
    "__version__",
    "backend",
    "clip_",
    "convert",
    "count_symbols",
    "load",
    "load_file",
    "models",
    "prepare",
    "safe_open",
    "save",
    "save_file",
    "ternarize",
]


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return import_module(f"ternzip.{name}")
    if name not in _LAZY:
        raise AttributeError(f"module 'ternzip' has no attribute {name!r}")
    module = import_module(_LAZY[name])
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_LAZY))
