"""The networks that the paper, its peers and published ternary checkpoints use."""

from ternzip.models.fully_connected import FullyConnected, fc3
from ternzip.models.he import HeResNet, he_resnet20, he_resnet32, he_resnet44, he_resnet56
from ternzip.models.paper import PaperResNet, resnet20
from ternzip.models.registry import ARCHITECTURES, Architecture, architecture
from ternzip.models.weights import load_weights, read_weights

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "FullyConnected",
    "HeResNet",
    "PaperResNet",
    "architecture",
    "fc3",
    "he_resnet20",
    "he_resnet32",
    "he_resnet44",
    "he_resnet56",
    "load_weights",
    "read_weights",
    "resnet20",
]
