"""Top-1 accuracy of any checkpoint. Needs no Lightning."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ternzip import models
from ternzip._core.errors import TernzipError
from ternzip.checkpoint.base import LATENT_MARK
from ternzip.training.batches import ImageBatches, normalize
from ternzip.training.images import Split, open_dataset
from ternzip.training.network import build, normalization, restore
from ternzip.training.recipe import Recipe
from ternzip.training.runs import read_run_checkpoint


@dataclass(frozen=True)
class Score:
    """How many of the images a network got right."""

    correct: int
    images: int

    @property
    def accuracy(self) -> float:
        """Share of the images, in [0, 1]."""
        return self.correct / self.images


def evaluate(path: str | Path, recipe: Recipe, *, device: str | torch.device = "cpu") -> Score:
    """Accuracy of a checkpoint on the test images of the recipe's data set.

    `path` is any file ternzip reads that fits the recipe's architecture, or a run's .ckpt, whose own recipe
    then says all but where the data lie and how many images to take. Leaves the global random generator alone.
    Raises TernzipError when names or shapes do not fit, and for a device that is not there.
    """
    device = usable_device(device)
    if Path(path).suffix == ".ckpt":
        run = read_run_checkpoint(path)
        given = {"data": recipe.data, "download": recipe.download, "test_images": recipe.test_images}
        recipe = run.recipe.with_options(given)
        network = restore(recipe, run.state, str(path))
    else:
        network = _load_plain(path, recipe)
    dataset = open_dataset(recipe.dataset, recipe.data, download=recipe.download)
    split = dataset.test.first(recipe.test_images)
    return score(network.to(device).eval(), split, *normalization(recipe))


def _load_plain(path: str | Path, recipe: Recipe) -> nn.Module:
    weights = models.read_weights(path)
    if any(LATENT_MARK in name for name in weights):
        raise TernzipError(f"{path}: holds latent weights: evaluate the run's .ckpt or a converted model")
    with torch.random.fork_rng(devices=[]):
        network = build(dataclasses.replace(recipe, init=None))
    return models.load_weights(network, weights)


def score(network: nn.Module, split: Split, mean: tuple[float, ...], std: tuple[float, ...]) -> Score:
    """Top-1 of a network in evaluation mode, 500 images at a time, on its device."""
    device = next(network.parameters()).device
    correct = 0
    with torch.no_grad():
        for images, labels, _ in ImageBatches(split, 500):
            scores = network(normalize(images.to(device), mean, std))
            correct += int((scores.argmax(1).cpu() == labels).sum())
    return Score(correct, len(split))


def usable_device(device: str | torch.device) -> torch.device:
    """The device by that name; TernzipError unless this machine and this build of torch can compute on it."""
    try:
        torch.zeros(1, device=device).item()
    except Exception as error:  # every backend says in its own way that it is not there
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TernzipError(f"device {str(device)!r} cannot be used: {reason}") from error
    return torch.device(device)
