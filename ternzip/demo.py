"""The whole story in under a minute: train a small ternary network, write its file, read it back, compare.

The data set is scikit-learn's digits, 1,797 images of 8 x 8 pixels that come with the package: no network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ternzip.errors import TernzipError
from ternzip.modules import clip_latent_, convert, count_layers, prepare
from ternzip.ops import count_symbols
from ternzip.schedules import DeltaSchedule
from ternzip.symbols import SymbolCounts

TEST_SHARE = 5  # every fifth image is kept for testing
BATCH = 64
import os
LEARNING_RATE = float(os.environ.get('LR','5e-3'))
MULT=float(os.environ.get('MULT','1'))


@dataclass(frozen=True)
class Epoch:
    """One line of the history: what an epoch left behind, on the test images."""

    epoch: int
    loss: float
    accuracy: float
    delta: float
    counts: SymbolCounts


@dataclass
class Story:
    """What came of writing the trained network to a file and reading it back."""

    path: Path
    picture: Path
    ternary_weights: int
    dense_bytes: int
    predicted_bytes: float
    ternary_bytes: int
    file_bytes: int
    identical_tensors: bool
    identical_outputs: bool
    counts: dict[str, SymbolCounts] = field(default_factory=dict)


class DigitsNet(nn.Module):
    """Three convolutions and a linear layer; input (batch, 1, 8, 8), output (batch, 10) scores."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(32)
        self.conv3 = nn.Conv2d(32, 64, 3, stride=2, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(64)
        self.linear = nn.Linear(256, 10)
        self.bn4 = nn.BatchNorm1d(10)
        for conv in (self.conv1, self.conv2, self.conv3):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        x = F.hardtanh(self.bn1(self.conv1(x)))
        x = F.hardtanh(self.bn2(self.conv2(x)))
        x = F.hardtanh(self.bn3(self.conv3(x)))
        scores: Tensor = self.bn4(self.linear(x.flatten(1)))
        return scores


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(train images, train labels, test images, test labels); images (n, 1, 8, 8) in [-1, 1]."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise TernzipError(
            "the demo needs scikit-learn and matplotlib: pip install 'ternzip[demo]'"
        ) from error
    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 8 - 1
    labels = torch.tensor(data.target)
    test = torch.arange(len(labels)) % TEST_SHARE == 0
    return images[~test], labels[~test], images[test], labels[test]


def train_digits(
    epochs: int = 30, seed: int = 0, on_epoch: Callable[[Epoch], None] | None = None
) -> tuple[nn.Module, list[Epoch]]:
    """Train DigitsNet with ternary weights, Delta growing logarithmically; returns it prepared, and its history."""
    train_x, train_y, test_x, test_y = digits()
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = prepare(DigitsNet())
    schedule = DeltaSchedule(model, initial=0.05, growth="log", multiplier=MULT, maximum=0.9)
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    history = []
    for epoch in range(1, epochs + 1):
        model.train()
        losses = []
        for batch in torch.randperm(len(train_y), generator=generator).split(BATCH):
            loss = F.cross_entropy(model(train_x[batch]), train_y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            clip_latent_(model)
            losses.append(loss.detach())
        accuracy = (scores(model, test_x).argmax(1) == test_y).double().mean().item()
        counts = sum(count_layers(model).values(), SymbolCounts())
        mean_loss = torch.stack(losses).mean().item()
        history.append(Epoch(epoch, mean_loss, accuracy, schedule.delta, counts))
        if on_epoch is not None:
            on_epoch(history[-1])
        decay.step()
        if epoch < epochs:
            schedule.step()
    return model, history


def scores(model: nn.Module, images: Tensor) -> Tensor:
    """The model's outputs in evaluation mode, without gradients."""
    model.eval()
    with torch.no_grad():
        out: Tensor = model(images)
    return out
