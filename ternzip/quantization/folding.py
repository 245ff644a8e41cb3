"""Batch norm with its running statistics folded into weight and bias, for files that are evaluated only."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def fold_norms(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state_dict in which every batch norm has mean 0 and variance 1, and computes what it did.

    In evaluation mode a batch norm is y = (x - mean) / sqrt(variance + eps) * weight + bias: four numbers a channel of
    which two are enough. With new ones for weight and bias, and 0 and 1 for the statistics, any code that loads the
    state computes the same up to the rounding of weight and bias, and a file has half as much to store. The network
    can be trained on only from other statistics: keep a checkpoint.

    Args:
        model: whose modules say which entries belong to a batch norm; it is not changed.
        state: `ternary_state(model)` or `model.state_dict()`. Norms without weight or statistics are left as they are.
    """
    folded = dict(state)
    for name, module in model.named_modules():
        if not isinstance(module, nn.modules.batchnorm._BatchNorm):
            continue
        prefix = f"{name}." if name else ""
        names = [prefix + part for part in ("weight", "bias", "running_mean", "running_var")]
        if not all(part in state for part in names):
            continue
        weight, bias, mean, variance = (state[part].double() for part in names)
        slope = weight / (variance + module.eps).sqrt()
        new = (
            slope * (1 + module.eps) ** 0.5,
            bias - mean * slope,
            torch.zeros_like(mean),
            torch.ones_like(mean),
        )
        folded.update((part, value.to(state[part].dtype)) for part, value in zip(names, new, strict=True))
    return folded
