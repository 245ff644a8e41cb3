"""What a run left in its folder, read back: its recipe, its epochs, its weights. Needs no Lightning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ternzip._core.errors import TernzipError
from ternzip._core.text import first_line
from ternzip.models.spec import NetworkSpec
from ternzip.training.catalog import DATASETS, NO_IMAGES, DatasetInfo
from ternzip.training.recipe import Recipe, is_given

# What ternzip adds to a Lightning checkpoint.
RECIPE_KEY, ACCURACY_KEY, EPOCHS_KEY = "ternzip_recipe", "ternzip_accuracy", "ternzip_epochs"
DATASET_KEY = "ternzip_dataset"
# What is known of a run's images, as its checkpoints hold it.
INFO_FIELDS = ("name", "image_shape", "mean", "std", "mirrors", "num_classes", "classes", "natural")


@dataclass(frozen=True)
class RunCheckpoint:
    """A checkpoint that `ternzip train` wrote.

    Attributes:
        recipe: of the run.
        state: the state_dict of its `Learner`.
        epoch: the last finished epoch, from 1.
        accuracy: on the test images after that epoch; None where none was measured.
        dataset: what is known of its images.
        epochs: figures of each finished epoch, from 1, by the names they were logged under, and its "seconds".
    """

    recipe: Recipe
    state: dict[str, Tensor]
    epoch: int
    accuracy: float | None
    dataset: DatasetInfo
    epochs: dict[int, dict[str, float]]


def info_state(info: DatasetInfo | None) -> dict[str, Any] | None:
    """What a checkpoint holds of a data set; None of none."""
    return None if info is None else {name: getattr(info, name) for name in INFO_FIELDS}


def _info(state: Any, recipe: Recipe, path: str | Path) -> DatasetInfo:
    """The data set of a checkpoint; without one in it, what the recipe names."""
    if state is None:
        return DATASETS.get(recipe.dataset, NO_IMAGES)
    try:
        info = DatasetInfo(**{name: state[name] for name in INFO_FIELDS})
        channels, height, width = info.image_shape
        sound = (
            min(channels, height, width, info.num_classes) > 0 and len(info.mean) == len(info.std) == channels
        )
    except (KeyError, TypeError, ValueError) as error:
        raise TernzipError(
            f"{path}: damaged: what it says of its data set cannot be read: {error}"
        ) from error
    if not sound:
        raise TernzipError(f"{path}: damaged: what it says of its data set makes no sense: {state}")
    return info


def read_run_checkpoint(path: str | Path) -> RunCheckpoint:
    """A run's .ckpt, read without running code from it; TernzipError for any other file."""
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise TernzipError(f"{path}: no such file") from None
    except Exception as error:
        reason = first_line(error)
        raise TernzipError(f"{path}: not a readable checkpoint: {reason}") from error
    if not isinstance(loaded, dict) or RECIPE_KEY not in loaded:
        raise TernzipError(f"{path}: not a checkpoint of ternzip train")
    recipe = Recipe().with_options(loaded[RECIPE_KEY], source=str(path))
    try:
        state, epoch, epochs = loaded["state_dict"], loaded["epoch"] + 1, loaded[EPOCHS_KEY]
        info = _info(loaded.get(DATASET_KEY), recipe, path)
        return RunCheckpoint(recipe, state, epoch, loaded[ACCURACY_KEY], info, epochs)
    except KeyError as error:
        raise TernzipError(f"{path}: not a whole checkpoint of ternzip train: no {error} in it") from None


def recipe_to_resume(path: str | Path, options: Mapping[str, Any], *, trust_arch: bool = False) -> Recipe:
    """The recipe of a run that is to go on from a checkpoint with some options.

    Raises TernzipError where its network is made by code that is not the `arch` of the options, unless that is trusted:
    it runs once training goes on.
    """
    run = read_run_checkpoint(path)
    named = NetworkSpec(run.recipe.arch)
    named.check_consent(path, options.get("arch"), trust_arch or is_given(run.recipe.arch))
    return run.recipe


@dataclass(frozen=True)
class RunRecord:
    """One run: `epochs` holds the figures of each epoch, from 1, by the names they were logged under.

    `trust_arch` is whether code that the run names as its network's may be run, see `NetworkSpec.check_consent`;
    `name` is what figures call the run, by default what its recipe tells.

    They come from the run's last checkpoint, which a run that is killed leaves whole: its weights and its figures are
    of the same epochs, which its logs are not.
    """

    folder: Path
    recipe: Recipe
    epochs: dict[int, dict[str, float]]
    trust_arch: bool = False
    name: str | None = None

    @property
    def label(self) -> str:
        """What tells the run from others: its name, or else its quantizer, or Delta's growth."""
        if self.name is not None:
            return self.name
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
        if not epochs:
            raise TernzipError(f"{self.folder}: no accuracy was measured in this run")
        best = int(np.argmax(accuracies))
        return epochs[best], accuracies[best]

    def at(self, epoch: int, name: str, default: float = 0.0) -> float:
        """A figure of one epoch; `default` where it was not logged."""
        return self.epochs[epoch].get(name, default)


def read_run_folder(folder: str | Path, *, trust_arch: bool = False) -> RunRecord:
    """The run in a folder that `ternzip train` wrote; TernzipError where there is none."""
    folder = Path(folder)
    last = folder / "last.ckpt"
    if not last.is_file():
        raise TernzipError(f"{folder}: not a run: expected the last.ckpt that ternzip train writes")
    checkpoint = read_run_checkpoint(last)
    return RunRecord(folder, checkpoint.recipe, checkpoint.epochs, trust_arch)


def hyperparameters(recipe: Recipe) -> dict[str, Any]:
    """The recipe as YAML and TensorBoard can hold it."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(recipe).items()}
