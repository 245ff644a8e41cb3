"""Batch norm of compressed networks: its statistics, estimated anew, and the affine map that it is at inference.

gamma (x - mean) / sqrt(var + eps) + beta is s x + t. A compressed network holds s and t as weight and bias beside the
statistics 0 and 1, which cost nothing in a file: two vectors a norm instead of four. In training mode such a norm
would divide by the batch's deviation once more: where a loaded network is to be trained on, `trainable_batch_norm`
comes first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import torch
from torch import Tensor, nn

from ternzip.lowrank.passes import BATCH, modes_kept, run_through

_Norm: TypeAlias = nn.modules.batchnorm._BatchNorm
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def estimate_batch_norm(model: nn.Module, inputs: Tensor) -> None:
    """Running means and variances anew, in place, as plain averages over batches of `inputs` (n, ...)."""
    norms = [module for module in model.modules() if isinstance(module, BATCH_NORMS)]
    with statistics_anew(norms):
        for batch in torch.split(inputs, BATCH):
            if len(batch) > 1 or len(inputs) == 1:
                model(batch)


@contextmanager
def statistics_anew(norms: Iterable[_Norm]) -> Iterator[None]:
    """What these norms meet within this context, without gradients, are their statistics afterwards, as averages."""
    norms = [norm for norm in norms if norm.track_running_stats]
    before = [(norm.momentum, norm.training) for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    try:
        with torch.no_grad():
            yield
    finally:
        for norm, (momentum, training) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.train(training)


def affine_batch_norm(model: nn.Module) -> None:
    """Gives every batch norm the statistics 0 and 1, in place; outputs in eval mode stay the same, to rounding.

    Norms without weights or statistics, or with such as another module shares, stay as they are.
    """
    for norm in _own(model):
        scale, shift = _map(norm)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.zero_()
        norm.running_var.fill_(1.0)
        with torch.no_grad():
            norm.weight.copy_(scale * (1.0 + norm.eps) ** 0.5)
            norm.bias.copy_(shift)


def trainable_batch_norm(model: nn.Module, inputs: Tensor) -> None:
    """Undoes `affine_batch_norm`, in place, with the statistics of what norms meet in eval mode on `inputs` (n, ...).

    Outputs in eval mode stay the same, to rounding, and in training mode they are near them.
    """
    norms = _own(model)
    met = _moments(model, norms, inputs)
    for norm, (mean, variance) in zip(norms, met, strict=True):
        scale, shift = _map(norm)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        with torch.no_grad():
            norm.weight.copy_(scale * (norm.running_var.double() + norm.eps).sqrt())
            norm.bias.copy_(shift + scale * norm.running_mean.double())


def _moments(model: nn.Module, norms: list[_Norm], inputs: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Mean and variance of each channel of what every norm reads in eval mode, float64; the mode is restored."""
    sums: list[list[Tensor]] = [[] for _ in norms]

    def record(i: int, read: Tensor) -> None:
        values = read.detach().double().transpose(0, 1).flatten(1)
        sums[i].append(
            torch.stack(
                [torch.full_like(values[:, 0], values.shape[1]), values.sum(1), values.square().sum(1)]
            )
        )

    handles = [
        norm.register_forward_pre_hook(lambda module, read, i=i: record(i, read[0]))
        for i, norm in enumerate(norms)
    ]
    with modes_kept(model):
        run_through(model.eval(), inputs, handles)
    found = []
    for norm, parts in zip(norms, sums, strict=True):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        if not parts:  # it never runs: nothing is known, and nothing matters
            found.append((norm.running_mean.double(), norm.running_var.double()))
            continue
        count, first, second = torch.stack(parts).sum(0)
        mean = first / count
        found.append((mean, (second / count - mean.square()).clamp_min(0.0)))
    return found


def _own(model: nn.Module) -> list[_Norm]:
    """The norms with weights and statistics, all of them their own."""
    owners = Counter(
        id(tensor)
        for module in model.modules()
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False))
    )
    return [
        module
        for module in model.modules()
        if isinstance(module, BATCH_NORMS)
        and module.affine
        and module.running_mean is not None
        and all(owners[id(tensor)] == 1 for tensor in (*module.parameters(), *module.buffers()))
    ]


def _map(norm: _Norm) -> tuple[Tensor, Tensor]:
    """s and t, float64."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
    return scale, norm.bias.detach().double() - scale * norm.running_mean.double()
