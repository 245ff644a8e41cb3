"""One call for a whole training run into a folder, on Lightning: `train` by a recipe, `run` with any learner."""

from __future__ import annotations

import dataclasses
import inspect
import logging
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from ternzip._core.errors import TernzipError
from ternzip._core.text import first_line, json_text
from ternzip.io.atomic import atomic_file, atomic_path
from ternzip.io.files import save_file
from ternzip.io.models import check_fit
from ternzip.lowrank.batch_norm import affine_batch_norm
from ternzip.quantization import ternary_state
from ternzip.training.callbacks import (
    ArmedEarlyStopping,
    EpochLine,
    LayerTable,
    LiveBar,
    MovableCheckpoint,
    TernaryCallback,
)
from ternzip.training.catalog import DatasetInfo
from ternzip.training.datasets import dataset_of
from ternzip.training.fast import precision_of
from ternzip.training.learner import Learner, image_learner
from ternzip.training.lock import held
from ternzip.training.loggers import log_options, loggers_named, require_loggers
from ternzip.training.network import restore, spec_of
from ternzip.training.recipe import Recipe, is_given
from ternzip.training.runs import RunCheckpoint, hyperparameters, read_run_checkpoint
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
        accuracy: on the test samples; None where the task has none.
        loss: mean on the test samples.
        weights: in all ternary layers.
        sparsity: share of zeros among them.
        entropy: bits/weight, of all layers together.
        predicted: bytes that order-0 coding of each layer takes by its entropy.
        ternary: bytes that the ternary layers take in the file.
        file: bytes of the whole file.
    """

    path: str
    epoch: int
    accuracy: float | None
    loss: float | None
    weights: int
    sparsity: float
    entropy: float
    predicted: float
    ternary: int
    file: int


@dataclass(frozen=True)
class Result:
    """What a run came to: its best epoch (picked on the test samples, as the paper does) and its last.

    `history` holds the figures of each epoch by name, among them its number, "epoch", from 1.
    """

    best: Stored
    last: Stored
    history: list[dict[str, float]]

    @property
    def path(self) -> Path:
        """The .tnz file of the last epoch."""
        return Path(self.last.path)


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
    """Train the network that a recipe names on its data set, as `run` does."""

    def make() -> Learner:
        dataset = dataset_of(recipe)
        _tell(*dataset.notes, dataset.summary)
        return image_learner(recipe, dataset, resumed=resume)

    return run(make, recipe, out, restored=partial(restore, trust_arch=True), resume=resume, force=force)


def run(
    make: Callable[[], Learner],
    recipe: Recipe,
    out: str | Path,
    *,
    restored: Callable[[RunCheckpoint, str], nn.Module],
    resume: bool = False,
    force: bool = False,
) -> Result | None:
    """Train; `out` then holds best.ckpt, last.ckpt, best.tnz, last.tnz, result.json and the logs.

    The caller's random generators of the CPU are left alone: torch's, Python's and numpy's.

    Args:
        make: makes the learner; may draw random numbers.
        recipe: the learner's.
        out: folder of the run, made if missing.
        restored: the prepared network of a checkpoint of this run, which a second argument names.
        resume: go on from `out`/last.ckpt; on a CPU the numbers are those of an uninterrupted run.
        force: start anew in a folder that holds a run, whose files are then deleted.

    Returns the result in the first process and None in the others. Raises TernzipError for data that cannot
    be read, a loss that is not finite, a training that has collapsed, a resume with another recipe, other data or fewer
    epochs than are done, a folder that holds a run when neither `resume` nor `force` says what to do with it, and one
    in which another run is training.
    """
    out = Path(out)
    if resume and force:
        raise TernzipError(
            f"{out}: --force starts anew and --resume goes on: expected one of them, found both"
        )
    require_loggers(recipe.logger)  # before the minutes that data may take
    if resume and not (out / "last.ckpt").is_file():
        check_resume(recipe, out / "last.ckpt")  # says so, and makes no folder
    with held(out):
        return _run(make, recipe, out, restored, resume, force)


def _run(
    make: Callable[[], Learner],
    recipe: Recipe,
    out: Path,
    restored: Callable[[RunCheckpoint, str], nn.Module],
    resume: bool,
    force: bool,
) -> Result | None:
    last = out / "last.ckpt"
    before = check_resume(recipe, last) if resume else None
    if not resume and last.exists() and not force:
        raise TernzipError(
            f"{out}: holds a run already: --resume it, --force to start anew, or choose another --out"
        )
    with torch.random.fork_rng(devices=[]), _generators_kept(), _quiet_lightning():
        learner = make()
        if before is not None:
            check_same_data(before.dataset, learner.feed.info, last)
            check_same_task(before, learner, last)
        else:
            learner.calibrate()
        trainer = make_trainer(recipe, out, learner)
        if trainer.is_global_zero and not resume:
            for name in RUN_FILES:
                (out / name).unlink(missing_ok=True)
        log_options(trainer.loggers, hyperparameters(recipe))
        trainer.fit(learner, ckpt_path=last.absolute() if resume else None, **WEIGHTS_ONLY)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if not trainer.is_global_zero:
        return None
    best, end = (store(path, restored, fold_norms=recipe.fold_norms) for path in (out / "best.ckpt", last))
    history = [{"epoch": epoch, **figures} for epoch, figures in sorted(learner.epochs.items())]
    result = Result(best, end, history)
    with atomic_file(out / "result.json") as stream:
        stream.write(json_text(dataclasses.asdict(result), 2).encode())
    return result


def make_trainer(recipe: Recipe, out: Path, learner: Learner) -> Trainer:
    """Lightning's trainer for a recipe: callbacks, loggers, devices, precision.

    Raises TernzipError, in Lightning's words, for devices that this machine has not.
    """
    # In full, as Lightning takes a ~ that it begins with for the home; and as a string, which checkpoints can hold.
    folder = str(out.absolute())
    figure, mode = learner.objective.monitor
    callbacks: list[Callback] = [
        TernaryCallback(
            learner.schedule, per_iteration=recipe.delta_updates == "iteration", carry_on=recipe.carry_on
        ),
        EpochLine(),
        *(
            MovableCheckpoint(
                folder,
                filename=name,
                monitor=monitor,
                mode=mode,
                save_on_train_epoch_end=True,
                enable_version_counter=False,
            )
            for name, monitor in (("best", figure), ("last", None))
        ),
    ]
    if recipe.early_stopping is not None:
        callbacks.append(ArmedEarlyStopping(recipe.early_stopping, figure, mode))
    interactive = _stderr_is_terminal()
    if interactive:
        callbacks.append(LiveBar())
    if recipe.layers is not None:
        callbacks.append(LayerTable(recipe.layers))
    loggers = loggers_named(recipe.logger, Path(folder))
    try:
        return Trainer(
            accelerator=recipe.accelerator,
            devices=recipe.devices,
            num_nodes=recipe.num_nodes,
            strategy=recipe.strategy,
            precision=precision_of(recipe),  # type: ignore[arg-type]
            max_epochs=recipe.epochs,
            logger=loggers or False,
            callbacks=callbacks,
            plugins=[AtomicCheckpoints()],
            default_root_dir=folder,
            log_every_n_steps=10,
            num_sanity_val_steps=0,
            reload_dataloaders_every_n_epochs=1,
            use_distributed_sampler=False,
            enable_progress_bar=interactive,
            enable_model_summary=False,
        )
    except (MisconfigurationException, RuntimeError, TypeError, ValueError) as error:
        asked = f"--accelerator {recipe.accelerator} --devices {recipe.devices} --strategy {recipe.strategy}"
        reason = first_line(error)
        raise TernzipError(f"{asked} --precision {precision_of(recipe)}: {reason}") from error


def check_resume(recipe: Recipe, last: Path) -> RunCheckpoint:
    """The checkpoint to go on from; TernzipError unless it is of a run by the same recipe and of no more epochs.

    That of the best epoch must be there too: no later epoch may be better.
    """
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
    if not (best := last.with_name("best.ckpt")).is_file():
        raise TernzipError(f"{best}: cannot resume without the best epoch's checkpoint: no such file")
    return before


def check_same_data(before: DatasetInfo, now: DatasetInfo | None, last: Path) -> None:
    """TernzipError where images have another shape, other classes or other statistics than when the run began."""
    for name in ("image_shape", "num_classes", "classes", "mean", "std") if now is not None else ():
        expected, found = getattr(before, name), getattr(now, name)
        if expected != found and (name != "classes" or (expected and found)):
            raise TernzipError(
                f"{last}: cannot resume with other data: {name}: expected {expected!r}, found {found!r}"
            )


def check_same_task(before: RunCheckpoint, learner: Learner, last: Path) -> None:
    """TernzipError where the network is another one, or the best epoch is told by another figure."""
    measured, measures = before.accuracy is not None, learner.objective.accuracy
    if measured != measures:
        raise TernzipError(
            f"{last}: cannot resume with another task: accuracy: expected {measured}, found {measures}: give loss= and "
            "accuracy= as the run began with"
        )
    state = {name.removeprefix("model."): tensor for name, tensor in before.state.items()}
    check_fit(learner.model, state, f"{last}: cannot resume with another network")


def store(
    checkpoint: Path, restored: Callable[[RunCheckpoint, str], nn.Module], *, fold_norms: bool
) -> Stored:
    """Write a checkpoint's ternary weights beside it as a .tnz file, with what its network is built by.

    `fold_norms` is not the checkpoint's own: a run that goes on may be told another.
    """
    run = read_run_checkpoint(checkpoint)
    network = restored(run, str(checkpoint))
    path = checkpoint.with_suffix(".tnz")
    metadata = {"epoch": str(run.epoch)}
    if run.accuracy is not None:
        metadata["accuracy"] = f"{run.accuracy:.4f}"
    if not is_given(run.recipe.arch):
        metadata = spec_of(run.recipe, run.dataset).to_metadata() | metadata
    if fold_norms:
        affine_batch_norm(network)
    save_file(ternary_state(network), path, metadata=metadata)
    sizes = stored_sizes(path, network)
    return Stored(
        path=str(path),
        epoch=run.epoch,
        accuracy=run.accuracy,
        loss=run.epochs[run.epoch].get("test_loss"),
        weights=sizes.counts.total,
        sparsity=sizes.counts.sparsity,
        entropy=sizes.counts.entropy,
        predicted=sizes.predicted,
        ternary=sizes.ternary,
        file=sizes.file,
    )


@rank_zero_only
def _tell(*lines: str) -> None:
    for line in lines:
        print(line, file=sys.stderr)


@contextmanager
def _generators_kept() -> Iterator[None]:
    own, numpys = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(own)
        np.random.set_state(numpys)  # noqa: NPY002


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
