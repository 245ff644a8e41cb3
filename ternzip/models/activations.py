"""Activations by name. Imports torch only to make one, so that a command line can list them at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ternzip._core.errors import TernzipError

if TYPE_CHECKING:
    from torch import nn

# By name: the class in torch.nn.
ACTIVATIONS = {
    "hardtanh": "Hardtanh",
    "relu": "ReLU",
    "leaky_relu": "LeakyReLU",
    "elu": "ELU",
    "selu": "SELU",
}


def activation_named(name: str) -> nn.Module:
    """A fresh activation module; raises TernzipError for a name not in ACTIVATIONS."""
    if name not in ACTIVATIONS:
        raise TernzipError(f"unknown activation {name!r}: expected one of {', '.join(ACTIVATIONS)}")
    from torch import nn

    made: nn.Module = getattr(nn, ACTIVATIONS[name])()
    return made
