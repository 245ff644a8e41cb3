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
    from ternzip.backend import backend
    from ternzip.files import load, load_file, safe_open, save, save_file
    from ternzip.ops import clip_, count_symbols, ternarize
    from ternzip.symbols import SymbolCounts

_LAZY = {
    "SymbolCounts": "ternzip.symbols",
    "backend": "ternzip.backend",
    "clip_": "ternzip.ops",
    "count_symbols": "ternzip.ops",
    "load": "ternzip.files",
    "load_file": "ternzip.files",
    "safe_open": "ternzip.files",
    "save": "ternzip.files",
    "save_file": "ternzip.files",
    "ternarize": "ternzip.ops",
}

__all__ = [
    "SymbolCounts",
    "TernzipError",
    "__version__",
    "backend",
    "clip_",
    "count_symbols",
    "load",
    "load_file",
    "safe_open",
    "save",
    "save_file",
    "ternarize",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'ternzip' has no attribute {name!r}")
    module = import_module(_LAZY[name])
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_LAZY))
