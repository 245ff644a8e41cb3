"""One call for a whole training run: `train` a recipe into a folder, `evaluate` any checkpoint."""

from __future__ import annotations

import dataclasses
import json
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import nn

from ternzip import models
from ternzip._core.errors import TernzipError
from ternzip.checkpoint.base import LATENT_MARK
from ternzip.container.describe import describe_file
from ternzip.container.reader import Reader
from ternzip.io.files import save_file
from ternzip.quantization import ternary_state
from ternzip.training import data
from ternzip.training.callbacks import ArmedEarlyStopping, EpochLine, LiveBar, TernaryCallback
from ternzip.training.learner import Learner, normalization
from ternzip.training.recipe import Recipe

RECIPE_KEY = "ternzip_recipe"
# What Lightning warns of without need here.
NOISE = (
    "Checkpoint directory",
    "GPU available but not used",
    "The number of training batches",
    ".*sync_dist",
    ".*in eval mode",
    ".*LeafSpec",
)


@dataclass(frozen=True)
class Stored:
    """One checkpoint of a run as a .tnz file; sizes in bytes."""

    path: str
    epoch: int
    accuracy: float
    weights: int
    sparsity: float
    entropy: float
    predicted: float
    ternary: int
    file: int


@dataclass(frozen=True)
class Result:
    """What a run came to: its best epoch (picked on the test images, as the paper does) and its last."""

    best: Stored
    last: Stored


def train(recipe: Recipe, out: str | Path, *, resume: bool = False, force: bool = False) -> Result | None:
    """Train by a recipe; `out` then holds best.ckpt, last.ckpt, best.tnz, last.tnz, result.json and the logs.

    Args:
        recipe: the run.
        out: folder of the run, made if missing.
        resume: go on from `out`/last.ckpt; on a CPU the numbers are those of an uninterrupted run.
        force: start anew in a folder that holds a run.

    Returns the result in the first process and None in the others. Raises TernzipError for data that cannot
    be read, a loss that is not finite, a training that has collapsed, a resume with another recipe, and a
    folder that holds a run when neither `resume` nor `force` says what to do with it.
    """
    out = Path(out)
    last = out / "last.ckpt"
    if resume:
        check_resume(recipe, last)
    elif last.exists() and not force:
        raise TernzipError(
            f"{out}: holds a run already: --resume it, --force to start anew, or choose another --out"
        )
    learner = Learner(recipe, data.open_dataset(recipe.dataset, recipe.data, download=recipe.download))
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    trainer = make_trainer(recipe, out, learner)
    with warnings.catch_warnings():
        for text in NOISE:
            warnings.filterwarnings("ignore", text)
        trainer.fit(learner, ckpt_path=last if resume else None, **WEIGHTS_ONLY)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if not trainer.is_global_zero:
        return None
    result = Result(store(out / "best.ckpt", learner), store(last, learner))
    (out / "result.json").write_text(json.dumps(dataclasses.asdict(result), indent=2) + "\n")
    return result


def make_trainer(recipe: Recipe, out: Path, learner: Learner) -> Trainer:
    """Lightning's trainer for a recipe: callbacks, loggers, devices, precision.

    Raises TernzipError, in Lightning's words, for devices that this machine has not.
    """
    callbacks: list[Callback] = [
        TernaryCallback(
            learner.schedule, per_iteration=recipe.delta_updates == "iteration", carry_on=recipe.carry_on
        ),
        EpochLine(),
        *(
            ModelCheckpoint(
                out,
                filename=name,
                monitor=monitor,
                mode="max",
                save_on_train_epoch_end=True,
                enable_version_counter=False,
            )
            for name, monitor in (("best", "accuracy"), ("last", None))
        ),
    ]
    if recipe.early_stopping is not None:
        callbacks.append(ArmedEarlyStopping(recipe.early_stopping))
    interactive = _stderr_is_terminal()
    if interactive:
        callbacks.append(LiveBar())
    try:
        return Trainer(
            accelerator=recipe.accelerator,
            devices=recipe.devices,
            num_nodes=recipe.num_nodes,
            strategy=recipe.strategy,
            precision=recipe.precision,  # type: ignore[arg-type]
            max_epochs=recipe.epochs,
            logger=[CSVLogger(out, name="csv"), TensorBoardLogger(out, name="tensorboard")],
            callbacks=callbacks,
            default_root_dir=out,
            log_every_n_steps=10,
            num_sanity_val_steps=0,
            reload_dataloaders_every_n_epochs=1,
            use_distributed_sampler=False,
            enable_progress_bar=interactive,
            enable_model_summary=False,
        )
    except (MisconfigurationException, RuntimeError, TypeError, ValueError) as error:
        asked = f"--accelerator {recipe.accelerator} --devices {recipe.devices} --strategy {recipe.strategy}"
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TernzipError(f"{asked} --precision {recipe.precision}: {reason}") from error


def check_resume(recipe: Recipe, last: Path) -> None:
    """TernzipError unless `last` is the checkpoint of a run by the same recipe."""
    if not last.is_file():
        raise TernzipError(f"{last}: nothing to resume: no such checkpoint")
    before = stored_recipe(last)
    changed = before.differences(recipe)
    if changed:
        name = changed[0]
        raise TernzipError(
            f"{last}: cannot resume with another configuration: {name}: expected {getattr(before, name)!r}, "
            f"found {getattr(recipe, name)!r}"
            + (f" (and {len(changed) - 1} more)" if len(changed) > 1 else "")
        )


def read_run(path: str | Path) -> dict[str, Any]:
    """A checkpoint that `train` wrote, read without running code from it; TernzipError for any other file."""
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TernzipError(f"{path}: not a readable checkpoint: {reason}") from error
    if not isinstance(loaded, dict) or RECIPE_KEY not in loaded:
        raise TernzipError(f"{path}: not a checkpoint of ternzip train")
    return loaded


def stored_recipe(path: str | Path) -> Recipe:
    """The recipe in a checkpoint that `train` wrote."""
    return Recipe().with_options(read_run(path)[RECIPE_KEY], source=str(path))


def store(checkpoint: Path, learner: Learner) -> Stored:
    """Write a checkpoint's ternary weights beside it as a .tnz file; the learner takes its weights over."""
    loaded = read_run(checkpoint)
    learner.load_state_dict(loaded["state_dict"])
    path = checkpoint.with_suffix(".tnz")
    accuracy, epoch = float(loaded["ternzip_accuracy"]), int(loaded["epoch"]) + 1
    save_file(
        ternary_state(learner.model),
        path,
        metadata={"arch": learner.recipe.arch, "epoch": str(epoch), "accuracy": f"{accuracy:.4f}"},
    )
    with Reader.open(path) as reader:
        info = describe_file(reader)
    return Stored(
        str(path),
        epoch,
        accuracy,
        info.counts.total,
        info.counts.sparsity,
        info.counts.entropy,
        info.predicted_bytes,
        info.ternary_bytes,
        info.bytes,
    )


@dataclass(frozen=True)
class Score:
    """How many of the images a network got right."""

    correct: int
    images: int

    @property
    def accuracy(self) -> float:
        return self.correct / self.images


def evaluate(path: str | Path, recipe: Recipe, *, device: str = "cpu") -> Score:
    """Top-1 of a checkpoint on the recipe's test images.

    `path` is any file ternzip reads that fits the recipe's architecture, or a run's .ckpt, whose own recipe
    then says all but where the data lie. Raises TernzipError when names or shapes do not fit.
    """
    if Path(path).suffix == ".ckpt":
        loaded = read_run(path)
        own = Recipe().with_options(loaded[RECIPE_KEY], source=str(path))
        recipe = dataclasses.replace(own, data=recipe.data, init=None, test_images=recipe.test_images)
        dataset = data.open_dataset(recipe.dataset, recipe.data)
        learner = Learner(recipe, dataset)
        learner.load_state_dict(loaded["state_dict"])
        network: nn.Module = learner.model
    else:
        dataset = data.open_dataset(recipe.dataset, recipe.data, download=recipe.download)
        weights = models.read_weights(path)
        if any(LATENT_MARK in name for name in weights):
            raise TernzipError(f"{path}: holds latent weights: evaluate the run's .ckpt or a converted model")
        network = Learner(dataclasses.replace(recipe, quantizer="none", init=None), dataset).model
        models.load_weights(network, weights)
    return score(
        network.to(device).eval(),
        dataset.test.first(recipe.test_images),
        *normalization(recipe.statistics, dataset),
    )


def score(network: nn.Module, split: data.Split, mean: tuple[float, ...], std: tuple[float, ...]) -> Score:
    """Top-1 of a network in evaluation mode, 500 images at a time, on its device."""
    device = next(network.parameters()).device
    correct = 0
    with torch.no_grad():
        for images, labels, _ in data.Batches(split, 500):
            scores = network(data.normalize(images.to(device), mean, std))
            correct += int((scores.argmax(1).cpu() == labels).sum())
    return Score(correct, len(split))


def _stderr_is_terminal() -> bool:
    import sys

    return sys.stderr.isatty()


def _weights_only() -> dict[str, Any]:
    # Lightning before 2.6 has no such argument to fit.
    import inspect

    return {"weights_only": True} if "weights_only" in inspect.signature(Trainer.fit).parameters else {}


WEIGHTS_ONLY = _weights_only()
