"""The whole story in under a minute: train a small ternary network, write its file, read it back, compare.

The data set is scikit-learn's digits, 1,797 images of 8 x 8 pixels that come with the package: no network.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ternzip._core.symbols import SymbolCounts
from ternzip.io.files import load_file, save_file
from ternzip.quantization import Delta, DeltaSchedule, clip_latent_, convert, count_layers, prepare
from ternzip.training import plotting
from ternzip.training.batches import normalize
from ternzip.training.datasets import open_dataset
from ternzip.training.latents import latent_layers
from ternzip.training.sizes import stored_sizes

BATCH = 64
INITIAL_DELTA = 0.05
LEARNING_RATE = 2e-2


@dataclass(frozen=True)
class Epoch:
    """One line of the history: what an epoch left behind, on the test images."""

    epoch: int
    loss: float
    accuracy: float
    delta: float
    counts: SymbolCounts


@dataclass(frozen=True)
class Story:
    """What came of writing the trained network to a file and reading it back; sizes in bytes.

    `predicted` is what the entropy of the symbols says of the ternary weights, `ternary` what they take in
    the file, `dense` the same network in 32-bit floats.
    """

    path: Path
    picture: Path
    weights: int
    dense: int
    predicted: float
    ternary: int
    file: int
    identical_tensors: bool
    identical_outputs: bool


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
        """Scores (batch, 10) of images x (batch, 1, 8, 8)."""
        x = F.hardtanh(self.bn1(self.conv1(x)))
        x = F.hardtanh(self.bn2(self.conv2(x)))
        x = F.hardtanh(self.bn3(self.conv3(x)))
        scores: Tensor = self.bn4(self.linear(x.flatten(1)))
        return scores


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(train images, train labels, test images, test labels); images float32 (n, 1, 8, 8) in [-1, 1]."""
    dataset = open_dataset("digits")
    train, test = (normalize(split.images, (0.5,), (0.5,)) for split in (dataset.train, dataset.test))
    return train, dataset.train.labels, test, dataset.test.labels


@contextmanager
def _one_thread() -> Iterator[None]:
    """On one thread: layers this small gain nothing from more, which wait for each other, busily, wherever another
    program has one of the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@_one_thread()
def train_digits(
    epochs: int = 30, seed: int = 0, on_epoch: Callable[[Epoch], None] | None = None
) -> tuple[nn.Module, list[Epoch]]:
    """Train DigitsNet with ternary weights while Delta grows logarithmically, on one thread.

    Returns the model, still prepared, and its history; `on_epoch` sees every line of it as it comes.
    """
    train_x, train_y, test_x, test_y = digits()
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = prepare(DigitsNet(), Delta(INITIAL_DELTA))
    schedule = DeltaSchedule(model, initial=INITIAL_DELTA, growth="log", multiplier=2.0, maximum=0.9)
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    history = []
    for epoch in range(1, epochs + 1):
        model.train()
        losses = []
        for batch in torch.randperm(len(train_y), generator=generator).split(BATCH):  # type: ignore[no-untyped-call]
            loss = F.cross_entropy(model(train_x[batch]), train_y[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
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


def tell(model: nn.Module, history: list[Epoch], folder: Path) -> Story:
    """Write the trained model to `folder`/digits.tnz, read it back, compare; draw its weights beside it."""
    _, _, images, _ = digits()
    path, picture = folder / "digits.tnz", folder / "digits-weights.png"
    draw_weights(model, picture)

    ternary = convert(copy.deepcopy(model))
    before = scores(ternary, images)
    tensors = ternary.state_dict()
    save_file(tensors, path, metadata={"model": "ternzip demo", "accuracy": f"{history[-1].accuracy:.4f}"})

    restored = load_file(path)
    again = DigitsNet()
    again.load_state_dict(restored)
    sizes = stored_sizes(path, model)
    return Story(
        path=path,
        picture=picture,
        weights=sizes.counts.total,
        dense=sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()),
        predicted=sizes.predicted,
        ternary=sizes.ternary,
        file=sizes.file,
        identical_tensors=all(torch.equal(restored[name], tensors[name]) for name in tensors),
        identical_outputs=torch.equal(scores(again, images), before),
    )


def draw_weights(model: nn.Module, path: Path) -> None:
    """The distribution of the latent weights, cut by Delta into the three symbols, as a picture file."""
    plotting.write(plotting.weight_distribution({"all ternary layers": latent_layers(model)}), path)
