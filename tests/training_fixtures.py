"""A tiny data set and a recipe for it; conftest.py hands out the fixtures."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np
import pytest
import torch

import ternzip
from ternzip.training.catalog import DATASETS
from ternzip.training.images import Dataset, Split
from ternzip.training.recipe import Recipe
from ternzip.training.runs import read_run_checkpoint

WARNINGS = [
    # Lightning's own use of torch, and its advice on logging.
    pytest.mark.filterwarnings("ignore::FutureWarning:lightning.*"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The `srun` command"),
    # Some of the models here are made to be so.
    pytest.mark.filterwarnings("ignore:.* layers start with all ternary weights zero"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """96 training and 40 test images, ten classes told apart by where they are bright."""
    folder = tmp_path_factory.mktemp("mnist")
    random = np.random.default_rng(0)
    for prefix, count in (("train", 96), ("t10k", 40)):
        labels = np.arange(count) % 10
        images = random.integers(0, 60, (count, 28, 28))
        for image, label in zip(images, labels, strict=True):
            image[2 * label : 2 * label + 6] += 150
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = bytes((0, 0, 8, array.ndim)) + b"".join(n.to_bytes(4, "big") for n in array.shape)
            (folder / f"{prefix}-{kind}-ubyte").write_bytes(header + array.astype(np.uint8).tobytes())
    return str(folder)


@pytest.fixture
def recipe(data: str, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """fc3 with 100 features a layer instead of 1,000: its own width is no part of what is tested here."""
    narrow = functools.partial(ternzip.models.fc3, hidden=100)
    wide = ternzip.models.ARCHITECTURES["fc3"]
    monkeypatch.setitem(ternzip.models.ARCHITECTURES, "fc3", dataclasses.replace(wide, build=narrow))
    return Recipe(
        arch="fc3",
        dataset="mnist",
        data=data,
        epochs=2,
        batch_size=32,
        delta=0.02,
        multiplier=0.2,
        accelerator="cpu",
        dropout=0.1,
    )


def weights(run: Path) -> dict[str, torch.Tensor]:
    return read_run_checkpoint(run / "last.ckpt").state


def digits_like() -> Dataset:
    split = Split(torch.zeros(4, 1, 28, 28, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64))
    return Dataset(DATASETS["mnist"], split, split)
