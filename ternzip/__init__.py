"""Train ternary networks, count their cost in bits, store them in files that really are that small.

Names are loaded when they are first used, so that importing ternzip stays light: the container and the
command line do not need torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ternzip._core.errors import TernzipError
from ternzip._core.lazy import lazy_names
from ternzip._version import __version__

if TYPE_CHECKING:
    from ternzip import hf, lowrank, models, numpy, ops, quantization, runtime, search
    from ternzip._core.symbols import SymbolCounts
    from ternzip.checkpoint.compress import compress
    from ternzip.checkpoint.decompress import decompress
    from ternzip.checkpoint.verify import verify
    from ternzip.io.files import load, load_file, save, save_file
    from ternzip.io.models import load_model, save_model
    from ternzip.io.opening import safe_open
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
    from ternzip.training.api import train

_HOMES = {
    "DeltaSchedule": "quantization",
    "SymbolCounts": "_core.symbols",
    "backend": "ops.backends",
    "clip_": "ops",
    "clip_latent_": "quantization",
    "compress": "checkpoint.compress",
    "convert": "quantization",
    "count_layers": "quantization",
    "count_symbols": "ops",
    "decompress": "checkpoint.decompress",
    "hf": "hf",
    "load": "io.files",
    "load_file": "io.files",
    "load_model": "io.models",
    "lowrank": "lowrank",
    "models": "models",
    "numpy": "numpy",
    "ops": "ops",
    "safe_open": "io.opening",
    "prepare": "quantization",
    "quantization": "quantization",
    "save": "io.files",
    "save_file": "io.files",
    "save_model": "io.models",
    "runtime": "runtime",
    "search": "search",
    "ternarize": "ops",
    "ternary_state": "quantization",
    "train": "training.api",
    "verify": "checkpoint.verify",
}

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
    "hf",
    "load",
    "load_file",
    "load_model",
    "lowrank",
    "models",
    "numpy",
    "ops",
    "prepare",
    "quantization",
    "runtime",
    "safe_open",
    "save",
    "save_file",
    "save_model",
    "search",
    "ternarize",
    "ternary_state",
    "train",
    "verify",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
