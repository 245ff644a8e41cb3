"""Ternary training in a loop of your own: prepare before it, clip and step within it, convert behind it.

A network for scikit-learn's 8 x 8 digits is trained twice by the same loop, with float32 weights and with weights in
{-1, 0, +1} as the paper has them, and both are stored. Needs `pip install "ternzip[demo]"`; takes some seconds.
"""

import tempfile
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

import ternzip
from ternzip.quantization import Delta

EPOCHS = 15

digits = load_digits()
images, labels = torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target)
test = torch.arange(len(images)) % 5 == 0  # every fifth image is kept for the test


def network() -> nn.Sequential:
    """Two layers with a batch norm behind each: weights of -1 and +1 have no scale of their own."""
    return nn.Sequential(
        *(nn.Linear(64, 256, bias=False), nn.BatchNorm1d(256), nn.Hardtanh()),
        *(nn.Linear(256, 10, bias=False), nn.BatchNorm1d(10)),
    )


def train(model: nn.Module, schedule: ternzip.DeltaSchedule | None = None) -> None:
    """An ordinary loop. What is ternary about it are the two lines that mention ternzip and schedule."""
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(EPOCHS):
        for index in torch.randperm(int((~test).sum())).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[~test][index]), labels[~test][index]).backward()
            optimizer.step()
            ternzip.clip_latent_(model)  # to [-1, 1], beyond which no gradient would come back
        if schedule is not None:
            schedule.step()  # Delta of the next epoch


def accuracy(model: nn.Module) -> float:
    """Share of test images that are recognised."""
    with torch.inference_mode():
        return float((model.eval()(images[test]).argmax(1) == labels[test]).float().mean())


folder = Path(tempfile.mkdtemp())

torch.manual_seed(0)
full = network()
train(full)
ternzip.save_model(full, folder / "full.tnz")

torch.manual_seed(0)
model = network()
ternzip.prepare(model, Delta(0.04))  # from here on, the weights that the layers compute with are ternary
train(model, ternzip.DeltaSchedule(model, initial=0.04, growth="log", multiplier=0.8))
ternzip.convert(model)  # plain weights again, of three values
ternzip.save_model(model, folder / "ternary.tnz")

again = ternzip.load_model(network(), folder / "ternary.tnz")
assert accuracy(again) == accuracy(model)  # the same bits
counts = ternzip.count_symbols([model[0].weight, model[3].weight])
for name, trained in (("full", full), ("ternary", again)):
    print(f"{name:8} {accuracy(trained):6.1%} right, {(folder / f'{name}.tnz').stat().st_size:7,} bytes")
print(f"ternary weights: {counts.sparsity:.0%} zeros, {counts.entropy:.2f} bits each, of 32")
