"""What a run left in its folder, read back: its recipe, its epochs, its weights. Needs no Lightning."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ternzip._core.errors import TernzipError
from ternzip.training.recipe import Recipe

# What ternzip adds to a Lightning checkpoint.
RECIPE_KEY, ACCURACY_KEY, EPOCHS_KEY = "ternzip_recipe", "ternzip_accuracy", "ternzip_epochs"


@dataclass(frozen=True)
class RunCheckpoint:
    """A checkpoint that `ternzip train` wrote.

    Attributes:
        recipe: of the run.
        state: the state_dict of its `Learner`.
        epoch: the last finished epoch, from 1.
        accuracy: on the test images after that epoch.
        epochs: figures of each finished epoch, from 1, by the names they were logged under, and its "seconds".
    """

    recipe: Recipe
    state: dict[str, Tensor]
    epoch: int
    accuracy: float
    epochs: dict[int, dict[str, float]]


def read_run_checkpoint(path: str | Path) -> RunCheckpoint:
    """A run's .ckpt, read without running code from it; TernzipError for any other file."""
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise TernzipError(f"{path}: no such file") from None
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TernzipError(f"{path}: not a readable checkpoint: {reason}") from error
    if not isinstance(loaded, dict) or RECIPE_KEY not in loaded:
        raise TernzipError(f"{path}: not a checkpoint of ternzip train")
    recipe = Recipe().with_options(loaded[RECIPE_KEY], source=str(path))
    try:
        state, epoch, epochs = loaded["state_dict"], loaded["epoch"] + 1, loaded[EPOCHS_KEY]
        return RunCheckpoint(recipe, state, epoch, loaded[ACCURACY_KEY], epochs)
    except KeyError as error:
        raise TernzipError(f"{path}: not a whole checkpoint of ternzip train: no {error} in it") from None


@dataclass(frozen=True)
class RunRecord:
    """One run: `epochs` holds the figures of each epoch, from 1, by the names they were logged under.

    They come from the run's last checkpoint, which a run that is killed leaves whole: its weights and its figures are
    of the same epochs, which its logs are not.
    """

    folder: Path
    recipe: Recipe
    epochs: dict[int, dict[str, float]]

    @property
    def label(self) -> str:
        """What tells the run from others: its quantizer, or Delta's growth."""
        r = self.recipe
        if r.quantizer != "delta":
            return "full precision" if r.quantizer == "none" else r.quantizer
        if r.growth == "fixed":
            return f"fixed {r.delta:g}"
        return f"{r.growth}, M={r.multiplier:g}, D0={r.delta:g}, Df={r.max_delta:g}"

    def series(self, name: str) -> tuple[list[int], list[float]]:
        """(epochs, values) of a figure, where it was logged."""
        found = [(epoch, figures[name]) for epoch, figures in sorted(self.epochs.items()) if name in figures]
        return [epoch for epoch, _ in found], [value for _, value in found]

    @property
    def peak(self) -> tuple[int, float]:
        """(epoch, accuracy) of the best epoch, the first of equals: the paper's training speed."""
        epochs, accuracies = self.series("accuracy")
        best = int(np.argmax(accuracies))
        return epochs[best], accuracies[best]

    def at(self, epoch: int, name: str, default: float = 0.0) -> float:
        """A figure of one epoch; `default` where it was not logged."""
        return self.epochs[epoch].get(name, default)


def read_run_folder(folder: str | Path) -> RunRecord:
    """The run in a folder that `ternzip train` wrote; TernzipError where there is none."""
    folder = Path(folder)
    last = folder / "last.ckpt"
    if not last.is_file():
        raise TernzipError(f"{folder}: not a run: expected the last.ckpt that ternzip train writes")
    checkpoint = read_run_checkpoint(last)
    return RunRecord(folder, checkpoint.recipe, checkpoint.epochs)


def hyperparameters(recipe: Recipe) -> dict[str, Any]:
    """The recipe as YAML and TensorBoard can hold it."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(recipe).items()}
