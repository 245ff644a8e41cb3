"""Ternary networks and layers for the tests of the runtime, and what they should compute."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def random_trits(shape: tuple[int, ...], zeros: float, generator: torch.Generator) -> Tensor:
    """float32 of {-1, 0, +1} with about that share of zeros."""
    signs = torch.randint(0, 2, shape, generator=generator) * 2 - 1
    return (torch.rand(shape, generator=generator) >= zeros) * signs.float()


def make_ternary(model: nn.Module, zeros: float = 0.8, seed: int = 0) -> nn.Module:
    """Gives every convolution and linear layer ternary weights, and every batch norm statistics of its own."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
                trits = random_trits(tuple(module.weight.shape), zeros, generator)
                module.weight.copy_(trits * 2 / module.weight[0].numel() ** 0.5)
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_(0.0, 0.2, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)
                module.weight.normal_(1.0, 0.2, generator=generator)
                module.bias.normal_(0.0, 0.2, generator=generator)
    return model.eval()


def bound_of(layer: nn.Module, x: Tensor, exact: Tensor) -> Tensor:
    """What `ternzip.runtime.layers` promises for a layer alone: the largest error of each output."""
    magnitudes = type(layer)(**_arguments(layer)).double().eval()
    with torch.no_grad():
        magnitudes.weight.copy_(layer.weight.double().abs())
        if layer.bias is not None:
            magnitudes.bias.zero_()
        sums = magnitudes(x.double().abs())
    n = layer.weight[0].numel()
    bias = float(layer.bias.abs().max()) if layer.bias is not None else 0.0
    bound = 2**-24 * ((n + 6) * sums + 3 * bias) * (1 + n * 2**-22)
    if x.dtype == torch.bfloat16:
        bound = bound + 2**-8 * exact.abs() * 1.01
    return bound + 1e-37


def _arguments(layer: nn.Module) -> dict[str, object]:
    if isinstance(layer, nn.Linear):
        return {
            "in_features": layer.in_features,
            "out_features": layer.out_features,
            "bias": layer.bias is not None,
        }
    assert isinstance(layer, nn.Conv1d | nn.Conv2d)
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
    arguments = {name: getattr(layer, name) for name in names}
    return {**arguments, "bias": layer.bias is not None, "padding_mode": layer.padding_mode}
