"""One call for a whole training run: `train` a recipe into a folder, on Lightning."""

from __future__ import annotations

import dataclasses
import inspect
import json
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO

from ternzip._core.errors import TernzipError
from ternzip.io.atomic import atomic_file, atomic_path
from ternzip.io.files import save_file
from ternzip.lowrank.batch_norm import affine_batch_norm
from ternzip.quantization import ternary_state
from ternzip.training.callbacks import (
    ArmedEarlyStopping,
    EpochLine,
    LiveBar,
    MovableCheckpoint,
    TernaryCallback,
)
from ternzip.training.fast import precision_of
from ternzip.training.images import open_dataset
from ternzip.training.learner import Learner
from ternzip.training.network import restore
from ternzip.training.recipe import Recipe
from ternzip.training.runs import hyperparameters, read_run_checkpoint
from ternzip.training.sizes import stored_sizes

# What Lightning warns of without need here.
NOISE = (
    "Checkpoint directory",
    "GPU available but not used",
    "The number of training batches",
    ".*sync_dist",
    ".*in eval mode",
    ".*LeafSpec",
)
# All that a run leaves in its folder beside its logs, of which every start has its own.
RUN_FILES = ("best.ckpt", "last.ckpt", "best.tnz", "last.tnz", "result.json")


@dataclass(frozen=True)
class Stored:
    """One checkpoint of a run as a .tnz file.

    Attributes:
        path: of the file.
        epoch: from 1.
        accuracy: on the test images.
        weights: in all ternary layers.
        sparsity: share of zeros among them.
        entropy: bits/weight, of all layers together.
        predicted: bytes that order-0 coding of each layer takes by its entropy.
        ternary: bytes that the ternary layers take in the file.
        file: bytes of the whole file.
    """

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


class AtomicCheckpoints(TorchCheckpointIO):
    """Checkpoints that are whole or not there: a run killed while it writes one goes on from the one before.

    Lightning's own writes to the system's folder for temporary files, from where a checkpoint is copied if the run's
    folder lies on another disk.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write the checkpoint beside `path`, then give it that name."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            torch.save(checkpoint, temporary)


def train(recipe: Recipe, out: str | Path, *, resume: bool = False, force: bool = False) -> Result | None:
    """Train by a recipe; `out` then holds best.ckpt, last.ckpt, best.tnz, last.tnz, result.json and the logs.

    The caller's random generator of the CPU is left alone.

    Args:
        recipe: the run.
        out: folder of the run, made if missing.
        resume: go on from `out`/last.ckpt; on a CPU the numbers are those of an uninterrupted run.
        force: start anew in a folder that holds a run, whose files are then deleted.

    Returns the result in the first process and None in the others. Raises TernzipError for data that cannot
    be read, a loss that is not finite, a training that has collapsed, a resume with another recipe or fewer epochs
    than are done, and a folder that holds a run when neither `resume` nor `force` says what to do with it.
    """
    out = Path(out)
    last = out / "last.ckpt"
    if resume:
        check_resume(recipe, last)
    elif last.exists() and not force:
        raise TernzipError(
            f"{out}: holds a run already: --resume it, --force to start anew, or choose another --out"
        )
    with torch.random.fork_rng(devices=[]), _quiet_lightning():
        learner = Learner(recipe, open_dataset(recipe.dataset, recipe.data, download=recipe.download))
        trainer = make_trainer(recipe, out, learner)
        if trainer.is_global_zero and not resume:
            for name in RUN_FILES:
                (out / name).unlink(missing_ok=True)
        for logger in trainer.loggers:
            logger.log_hyperparams(hyperparameters(recipe))
        trainer.fit(learner, ckpt_path=last if resume else None, **WEIGHTS_ONLY)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if not trainer.is_global_zero:
        return None
    result = Result(store(out / "best.ckpt"), store(last))
    with atomic_file(out / "result.json") as stream:
        stream.write((json.dumps(dataclasses.asdict(result), indent=2) + "\n").encode())
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
            MovableCheckpoint(
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
    loggers = [
        CSVLogger(out, name="csv"),
        TensorBoardLogger(out, name="tensorboard", default_hp_metric=False),
    ]
    try:
        return Trainer(
            accelerator=recipe.accelerator,
            devices=recipe.devices,
            num_nodes=recipe.num_nodes,
            strategy=recipe.strategy,
            precision=precision_of(recipe),  # type: ignore[arg-type]
            max_epochs=recipe.epochs,
            logger=loggers,
            callbacks=callbacks,
            plugins=[AtomicCheckpoints()],
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
        raise TernzipError(f"{asked} --precision {precision_of(recipe)}: {reason}") from error


def check_resume(recipe: Recipe, last: Path) -> None:
    """TernzipError unless `last` is the checkpoint of a run by the same recipe that this one can go on with."""
    if not last.is_file():
        raise TernzipError(f"{last}: nothing to resume: no such checkpoint")
    before = read_run_checkpoint(last)
    changed = before.recipe.differences(recipe)
    if changed:
        name = changed[0]
        raise TernzipError(
            f"{last}: cannot resume with another configuration: {name}: expected {getattr(before.recipe, name)!r}, "
            f"found {getattr(recipe, name)!r}"
            + (f" (and {len(changed) - 1} more)" if len(changed) > 1 else "")
        )
    if recipe.epochs < before.epoch:
        raise TernzipError(
            f"{last}: cannot resume: {before.epoch} epochs are done: expected --epochs {before.epoch} or more, "
            f"found {recipe.epochs}"
        )


def store(checkpoint: Path) -> Stored:
    """Write a checkpoint's ternary weights beside it as a .tnz file."""
    run = read_run_checkpoint(checkpoint)
    network = restore(run.recipe, run.state, str(checkpoint))
    path = checkpoint.with_suffix(".tnz")
    metadata = {"arch": run.recipe.arch, "epoch": str(run.epoch), "accuracy": f"{run.accuracy:.4f}"}
    if run.recipe.fold_norms:
        affine_batch_norm(network)
    save_file(ternary_state(network), path, metadata=metadata)
    sizes = stored_sizes(path, network)
    return Stored(
        path=str(path),
        epoch=run.epoch,
        accuracy=run.accuracy,
        weights=sizes.counts.total,
        sparsity=sizes.counts.sparsity,
        entropy=sizes.counts.entropy,
        predicted=sizes.predicted,
        ternary=sizes.ternary,
        file=sizes.file,
    )


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for text in NOISE:
                warnings.filterwarnings("ignore", text)
            yield
    finally:
        logger.setLevel(level)


def _stderr_is_terminal() -> bool:
    return sys.stderr.isatty()


def _weights_only() -> dict[str, Any]:
    # Lightning before 2.6 has no such argument to fit.
    return {"weights_only": True} if "weights_only" in inspect.signature(Trainer.fit).parameters else {}


WEIGHTS_ONLY = _weights_only()
