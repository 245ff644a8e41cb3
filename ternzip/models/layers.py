"""Parts that every network here is made of: activations by name, and the sign of an activation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ternzip._core.errors import TernzipError

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "hardtanh": nn.Hardtanh,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
}


def activation_named(name: str) -> nn.Module:
    """A fresh activation module; raises TernzipError for a name not in ACTIVATIONS."""
    if name not in ACTIVATIONS:
        raise TernzipError(f"unknown activation {name!r}: expected one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()


class Sign(nn.Module):
    """+1 where x >= 0 and -1 elsewhere; the gradient passes unchanged (Hardtanh before it saturates)."""

    def forward(self, x: Tensor) -> Tensor:
        sign = torch.where(x >= 0, 1.0, -1.0).to(x.dtype)
        return sign.detach() + (x - x.detach())


def sign_or_identity(signed: bool) -> nn.Module:
    """The option of signed activations: Sign when asked for, else nothing. Neither holds parameters."""
    return Sign() if signed else nn.Identity()
