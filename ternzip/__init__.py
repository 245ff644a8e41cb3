"""Train ternary networks, count their cost in bits, store them in files that really are that small.

Names are loaded when they are first used, so that importing ternzip stays light: the container and the
command line do not need torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ternzip._core.errors import TernzipError
from ternzip._version import __version__

if TYPE_CHECKING:
    from ternzip import lowrank, models, ops, quantization, search
    from ternzip._core.symbols import SymbolCounts
    from ternzip.checkpoint.compress import compress
    from ternzip.checkpoint.decompress import decompress
    from ternzip.checkpoint.verify import verify
    from ternzip.io.files import load, load_file, safe_open, save, save_file
    from ternzip.io.models import load_model, save_model
    from ternzip.ops import clip_, count_symbols, ternarize
    from ternzip.ops.backends import backend
    from ternzip.quantization import (
        DeltaSchedule,
        clip_latent_,
        convert,
        count_layers,
        prepare,
        ternary_state,
    )

_LAZY = {
    "DeltaSchedule": "ternzip.quantization",
    "SymbolCounts": "ternzip._core.symbols",
    "backend": "ternzip.ops.backends",
    "clip_": "ternzip.ops",
    "clip_latent_": "ternzip.quantization",
    "compress": "ternzip.checkpoint.compress",
    "convert": "ternzip.quantization",
    "count_layers": "ternzip.quantization",
    "count_symbols": "ternzip.ops",
    "decompress": "ternzip.checkpoint.decompress",
    "load": "ternzip.io.files",
    "load_file": "ternzip.io.files",
    "load_model": "ternzip.io.models",
    "safe_open": "ternzip.io.files",
    "prepare": "ternzip.quantization",
    "save": "ternzip.io.files",
    "save_file": "ternzip.io.files",
    "save_model": "ternzip.io.models",
    "ternarize": "ternzip.ops",
    "ternary_state": "ternzip.quantization",
    "verify": "ternzip.checkpoint.verify",
}
_SUBMODULES = ("lowrank", "models", "ops", "quantization", "search")

__all__ = [
    "DeltaSchedule",
    "SymbolCounts",
    "TernzipError",
    "__version__",
    "backend",
    "clip_",
    "clip_latent_",
    "compress",
    "convert",
    "count_layers",
    "count_symbols",
    "decompress",
    "load",
    "load_file",
    "load_model",
    "lowrank",
    "models",
    "ops",
    "prepare",
    "quantization",
    "safe_open",
    "save",
    "save_file",
    "save_model",
    "search",
    "ternarize",
    "ternary_state",
    "verify",
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
    return sorted({*globals(), *_LAZY, *_SUBMODULES})
