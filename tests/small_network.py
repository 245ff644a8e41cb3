"""A network small enough for every test, with a convolution, a batch norm and a linear layer."""

from __future__ import annotations

import torch
from torch import nn


def small() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 5)
    )
    nn.init.normal_(model[4].weight, std=0.2)  # torch's own lie within 0.09, the paper's Delta at 0.1
    return model


IMAGES = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(3))
