"""Latent weights beside the thresholds and levels that make them ternary, as arrays for figures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ternzip.quantization import ternary_layers


@dataclass(frozen=True)
class LatentLayer:
    """The latent weights of one layer, flat, and what its quantizer makes of them.

    A weight above `hi` becomes `pos`, one below `lo` becomes `neg`, all others zero.
    """

    name: str
    weights: NDArray[np.float32]
    lo: float
    hi: float
    neg: float
    pos: float

    def taking(self, symbol: int) -> NDArray[np.float32]:
        """The latent weights that become the symbol -1, 0 or +1."""
        symbols = (self.weights > self.hi).astype(np.int8) - (self.weights < self.lo)
        taken: NDArray[np.float32] = self.weights[symbols == symbol]
        return taken

    def level(self, symbol: int) -> float:
        """The value that stands for the symbol -1, 0 or +1."""
        return (0.0, self.pos, self.neg)[symbol]


def latent_layers(model: nn.Module) -> list[LatentLayer]:
    """The prepared layers of `model`, with the thresholds and levels that their quantizers now have."""
    found = []
    with torch.no_grad():
        for layer in ternary_layers(model):
            numbers = (*layer.quantizer.thresholds(layer.latent), *layer.quantizer.levels(layer.latent))
            weights = layer.latent.detach().float().flatten().cpu().numpy()
            found.append(LatentLayer(layer.name, weights, *(float(number) for number in numbers)))
    return found
