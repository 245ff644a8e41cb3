"""The networks that the paper, its peers and published ternary checkpoints use.

Importing this module imports no torch: names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ternzip._core.lazy import lazy_names
from ternzip.models.registry import ARCHITECTURES, Architecture, architecture

if TYPE_CHECKING:
    from ternzip.models.fully_connected import FullyConnected, fc3
    from ternzip.models.he import HeResNet, he_resnet20, he_resnet32, he_resnet44, he_resnet56
    from ternzip.models.paper import PaperResNet, resnet20
    from ternzip.models.spec import NetworkSpec, read_spec
    from ternzip.models.stored import StoredNetwork
    from ternzip.models.weights import load_weights, read_weights

_HOMES = {
    "FullyConnected": "fully_connected",
    "HeResNet": "he",
    "NetworkSpec": "spec",
    "PaperResNet": "paper",
    "StoredNetwork": "stored",
    "fc3": "fully_connected",
    "he_resnet20": "he",
    "he_resnet32": "he",
    "he_resnet44": "he",
    "he_resnet56": "he",
    "load_weights": "weights",
    "read_spec": "spec",
    "read_weights": "weights",
    "resnet20": "paper",
}

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "FullyConnected",
    "HeResNet",
    "NetworkSpec",
    "PaperResNet",
    "StoredNetwork",
    "architecture",
    "fc3",
    "he_resnet20",
    "he_resnet32",
    "he_resnet44",
    "he_resnet56",
    "load_weights",
    "read_spec",
    "read_weights",
    "resnet20",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
