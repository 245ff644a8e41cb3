"""Noticing that ternary training has died: layers that are all zero, gradients that are all zero."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch
from torch import nn

from ternzip._core.errors import TernzipError
from ternzip._core.symbols import SymbolCounts
from ternzip.quantization import ternary_layers


class CollapseWatch:
    """Warns once of each all-zero layer, and raises TernzipError when nothing can learn any more.

    That is when all ternary layers are all zero, or every latent gradient has been exactly zero for
    `patience` steps. (A layer that starts all zero often recovers within ten steps.)

    Args:
        model: the prepared model.
        patience: steps without any gradient before it is given up.
        carry_on: warn instead of raising.
    """

    def __init__(self, model: nn.Module, patience: int = 20, carry_on: bool = False) -> None:
        self._layers = ternary_layers(model)
        self.patience = patience
        self.carry_on = carry_on
        self.silent_steps = 0
        self._warned: set[str] = set()

    def after_backward(self) -> None:
        """Look at the latent gradients; for after every backward pass, before they are cleared."""
        gradients = [layer.latent.grad for layer in self._layers if layer.latent.grad is not None]
        if any(bool(torch.count_nonzero(gradient)) for gradient in gradients):
            self.silent_steps = 0
        elif gradients:
            self.silent_steps += 1
        if self.silent_steps == self.patience:
            self._give_up(f"every latent gradient has been exactly zero for {self.patience} steps")

    def after_counting(self, counts: Mapping[str, SymbolCounts]) -> None:
        """Look at the symbols of every layer (what `count_layers` returns)."""
        empty = [name for name, count in counts.items() if count.zero == count.total]
        if counts and len(empty) == len(counts):
            self._give_up("the weights of all ternary layers are all zero")
        for name in empty:
            if name not in self._warned:
                warnings.warn(f"layer {name}: all ternary weights are zero", stacklevel=2)
                self._warned.add(name)

    def _give_up(self, reason: str) -> None:
        message = f"training has collapsed: {reason}: start with a smaller Delta, or let it grow more slowly"
        if not self.carry_on:
            raise TernzipError(message)
        if message not in self._warned:
            warnings.warn(message, stacklevel=3)
            self._warned.add(message)
