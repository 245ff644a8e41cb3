"""Running a model for what its hooks see, or for one look at its outputs, and leaving it as it was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

BATCH = 256
"""Samples that a model is run on at once."""


@contextmanager
def modes_kept(model: nn.Module) -> Iterator[None]:
    """Every module is in training mode afterwards if it was before."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def run_through(model: nn.Module, inputs: Tensor, handles: Iterable[RemovableHandle] = ()) -> None:
    """Runs a model, as it is, on inputs (n, ...) in batches, without gradients; then takes its hooks away."""
    try:
        with torch.no_grad():
            for batch in torch.split(inputs, BATCH):
                model(batch)
    finally:
        for handle in handles:
            handle.remove()
