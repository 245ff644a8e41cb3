"""Activations reduced to their signs."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Sign(nn.Module):
    """+1 where x >= 0 and -1 elsewhere; the gradient passes unchanged (Hardtanh before it saturates)."""

    def forward(self, x: Tensor) -> Tensor:
        """Signs of x's shape and dtype."""
        sign = torch.where(x >= 0, 1.0, -1.0).to(x.dtype)
        return sign.detach() + (x - x.detach())


def sign_or_identity(signed: bool) -> nn.Module:
    """The option of signed activations: Sign when asked for, else nothing. Neither holds parameters."""
    return Sign() if signed else nn.Identity()
