"""Ternzip files for Hugging Face: models from folders of .tnz files, the Hub, a cache, and transformers' Trainer.

Needs the extra `hf` (transformers and huggingface_hub); `LazyTensors` and `expand` do without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ternzip._core.lazy import lazy_names

if TYPE_CHECKING:
    from ternzip.hf.cache import expand
    from ternzip.hf.lazy import LazyTensors
    from ternzip.hf.mixin import TernzipHubMixin
    from ternzip.hf.pretrained import from_pretrained, push_to_hub, save_pretrained
    from ternzip.hf.trainer import TernaryTrainerCallback

_HOMES = {
    "LazyTensors": "lazy",
    "TernaryTrainerCallback": "trainer",
    "TernzipHubMixin": "mixin",
    "expand": "cache",
    "from_pretrained": "pretrained",
    "push_to_hub": "pretrained",
    "save_pretrained": "pretrained",
}

__all__ = [
    "LazyTensors",
    "TernaryTrainerCallback",
    "TernzipHubMixin",
    "expand",
    "from_pretrained",
    "push_to_hub",
    "save_pretrained",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
