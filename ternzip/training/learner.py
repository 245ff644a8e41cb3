"""Ternary training as a LightningModule: its loss, its optimizer, its metrics."""

from __future__ import annotations

import dataclasses
import itertools
import random
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning
import numpy as np
import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor, nn

from ternzip._core.errors import TernzipError
from ternzip._core.text import first_line
from ternzip.lowrank.batch_norm import statistics_anew
from ternzip.lowrank.passes import modes_kept
from ternzip.quantization import (
    DeltaSchedule,
    Quantizer,
    TernaryActivation,
    expected_bits,
    parameter_groups,
)
from ternzip.training.fast import CompiledForward
from ternzip.training.feeds import Feed, ImageFeed
from ternzip.training.images import Dataset
from ternzip.training.losses import distillation, rate_price
from ternzip.training.network import NORMS, build_teacher, build_ternary, check_start, frozen_modules
from ternzip.training.objective import Objective, right
from ternzip.training.recipe import Recipe
from ternzip.training.runs import ACCURACY_KEY, DATASET_KEY, EPOCHS_KEY, RECIPE_KEY, info_state

# (first epoch, share of the first rate), the latest first.
PAPER_LR = (
    (220, 0.002),
    (184, 0.02),
    (142, 0.1),
    (101, 0.2),
    (0, 1.0),
)
LOSS_CHECK_STEPS = 10  # the device is waited for this seldom, to see whether a loss was not finite


class Learner(lightning.LightningModule):
    """Trains a network by a recipe; the callback of ternzip.training.callbacks keeps it ternary.

    Args:
        recipe: all numbers of the run.
        model: the network, prepared unless the recipe's quantizer is "none".
        feed: where batches come from.
        objective: the task.
        teacher: a network whose scores are learned as well, if the recipe wants one.
        resumed: whether the model's weights are about to be replaced by those of a checkpoint.

    Attributes:
        schedule: Delta's schedule, or None where no Delta moves.
    """

    correct: Tensor
    seen: Tensor
    lost: Tensor

    def __init__(
        self,
        recipe: Recipe,
        model: nn.Module,
        feed: Feed,
        *,
        objective: Objective = Objective(),  # noqa: B008 - frozen
        teacher: nn.Module | None = None,
        resumed: bool = False,
    ) -> None:
        super().__init__()
        self.recipe = recipe
        # Before Lightning does it: it loads a checkpoint first, which would be rounded.
        self.model = model.double() if recipe.precision == "64" else model
        self.feed = feed
        self.objective = objective
        self.schedule = None
        if recipe.quantizer == "delta":
            self.schedule = DeltaSchedule(
                self.model, recipe.delta, recipe.growth, recipe.multiplier, recipe.max_delta
            )
        if not recipe.carry_on and not resumed:
            check_start(self.model, recipe)
        # In a tuple: the teacher is no part of the model, of its parameters and of its checkpoints.
        self.teacher = () if teacher is None else (teacher,)
        self.frozen = frozen_modules(self.model, recipe.freeze)
        if recipe.norm_batches and not any(isinstance(module, NORMS) for module in self.model.modules()):
            raise TernzipError(
                f"--norm-batches: expected a network with batch norm, found none in {recipe.arch}"
            )
        self.compiled = CompiledForward(self.model) if recipe.fast else None
        self.epochs: dict[int, dict[str, float]] = {}  # figures of each finished epoch, from 1
        self.plateau: torch.optim.lr_scheduler.ReduceLROnPlateau | None = None
        self.plateau_before: dict[str, Any] | None = None  # in the checkpoint of a run that goes on
        # Over the test samples: how many are right, how many there are, the sum of their losses.
        self.register_buffer("correct", torch.zeros((), dtype=torch.int64), persistent=False)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64), persistent=False)
        self.register_buffer("lost", torch.zeros(()), persistent=False)

    def forward(self, *inputs: Any) -> Any:
        """The network's outputs; scores (batch, num_classes) for images (batch, channels, height, width)."""
        if self.training and self.compiled is not None:
            return self.compiled(*inputs)
        return self.model(*inputs)

    def setup(self, stage: str) -> None:
        """Bring the data to the device, for good."""
        self.feed.to(self.trainer.strategy.root_device)

    def _batches(self, training: bool) -> Any:
        return self.feed.batches(
            training, self.current_epoch, self.trainer.global_rank, self.trainer.world_size
        )

    def train_dataloader(self) -> Any:
        """The training batches of the current epoch."""
        return self._batches(training=True)

    def val_dataloader(self) -> Any:
        """The test samples."""
        return self._batches(training=False)

    def _arguments(self, batch: Any) -> tuple[tuple[Any, ...], Tensor]:
        return self.feed.arguments(batch, next(self.model.parameters()).dtype)

    @property
    def is_frozen(self) -> bool:
        """Whether the frozen modules are frozen in this epoch."""
        until = self.recipe.unfreeze_epoch
        return bool(self.frozen) and (until is None or self.current_epoch + 1 < until)

    def calibrate(self) -> None:
        """Set the scales of ternary activations that have none by the first training batch, and change nothing else.

        Before the processes of a run know of each other: each sets them by the same samples.
        """
        waiting = [m for m in self.model.modules() if isinstance(m, TernaryActivation) and not m.has_scale()]
        if not waiting:
            return
        inputs, _ = self._arguments(next(iter(self.feed.batches(True, 0, 0, 1))))
        device = next(self.model.parameters()).device
        inputs = move_data_to_device(inputs, device)
        buffers = [(buffer, buffer.clone()) for buffer in self.model.buffers()]  # what batch norms have seen
        with torch.no_grad(), torch.random.fork_rng(devices=[]), modes_kept(self.model):
            self._set_modes()
            self.model(*inputs)
        for buffer, before in buffers:
            buffer.copy_(before)

    def on_train_epoch_start(self) -> None:
        """Seed the epoch, freeze what is to be frozen in it."""
        self._epoch_start = time.monotonic()
        # Every epoch starts from a seed of its own, so that a resumed run draws what the whole run drew. Data sets of
        # the user's may draw from the generators of Python and numpy, too; ternzip.training.trainer puts them back.
        seed = (self.recipe.seed << 20) + self.current_epoch
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        # The first loss that is not finite. No buffers, as those are sent from the first process to all others.
        self._broken_step = torch.zeros((), dtype=torch.int64, device=self.device)
        self._broken_loss = torch.zeros((), device=self.device)
        for teacher in self.teacher:  # Lightning moves and casts what is part of the model, and that alone
            teacher.to(self.device, next(self.model.parameters()).dtype)
        if self.recipe.rebuild_adam:
            for optimizer in self.trainer.optimizers:
                optimizer.state.clear()
        self._set_modes()

    def _set_modes(self) -> None:
        """Training mode, whatever the model came in, but for what is frozen in this epoch."""
        self.model.train()
        frozen = self._frozen_now()
        for module in self.model.modules():
            if isinstance(module, NORMS):
                module.train(not (self.recipe.frozen_norm or id(module) in frozen))
            if isinstance(module, Quantizer):
                module.pinned = id(module) in frozen

    def _frozen_now(self) -> set[int]:
        """Identities of the modules that are frozen in this epoch."""
        return {id(module) for module in self.frozen} if self.is_frozen else set()

    def training_step(self, batch: Any, index: int) -> Tensor:
        """The loss of a batch: the objective's, and what the recipe adds to it; 0-d."""
        inputs, targets = self._arguments(batch)
        with self._told_of("training", index):
            loss = self._loss(inputs, targets)
            if not loss.requires_grad:
                raise TernzipError(
                    "loss: expected one with a gradient, found none: all parameters of the model are frozen, or it is "
                    "detached from them"
                )
        first = ~loss.detach().isfinite() & (self._broken_step == 0)
        self._broken_step += first * (index + 1)
        self._broken_loss = torch.where(first, loss.detach(), self._broken_loss)
        if (index + 1) % LOSS_CHECK_STEPS == 0:
            self._check_losses()
        self.log(
            "loss", loss, prog_bar=True, on_step=True, on_epoch=True, batch_size=len(targets), sync_dist=True
        )
        return loss

    @contextmanager
    def _told_of(self, part: str, index: int) -> Iterator[None]:
        """Within this context an error of the model or its loss is one that names the batch."""
        try:
            yield
        except (TernzipError, MemoryError):
            raise
        except Exception as error:  # every model and loss fails in its own way
            where = f"epoch {self.current_epoch + 1}, {part} batch {index + 1}"
            raise TernzipError(
                f"{where}: the model or its loss does not take it: {first_line(error)}"
            ) from error

    def _loss(self, inputs: tuple[Any, ...], targets: Tensor) -> Tensor:
        outputs = self(*inputs)
        loss = self.objective.loss_of(outputs, targets)
        for teacher in self.teacher:
            distance = distillation(outputs, teacher(*inputs), self.recipe.teacher_temperature)
            loss = (1 - self.recipe.teacher_share) * loss + self.recipe.teacher_share * distance
        if self.recipe.rate:
            loss = loss + rate_price(self.recipe, self.current_epoch + 1) * expected_bits(self.model)
        return loss

    def on_validation_start(self) -> None:
        """Before the epoch's checkpoints are written."""
        self._check_losses()
        if self.recipe.norm_batches and not self.recipe.frozen_norm:
            self._estimate_norms(self.recipe.norm_batches)

    def _estimate_norms(self, batches: int) -> None:
        """Batch norm's statistics for the weights as they are, by the epoch's first batches, in every process alike.

        Running averages are of weights that were: ternary ones jump between levels to the last step.
        """
        frozen = self._frozen_now()
        norms = [m for m in self.model.modules() if isinstance(m, NORMS) and id(m) not in frozen]
        found = self.feed.batches(True, self.current_epoch, 0, 1)
        with statistics_anew(norms), self.trainer.precision_plugin.forward_context():
            for index, batch in enumerate(itertools.islice(found, batches)):
                inputs, _ = self._arguments(batch)
                with self._told_of("training", index):
                    self.model(*move_data_to_device(inputs, self.device))

    def _check_losses(self) -> None:
        step = int(self._broken_step)
        if step:
            raise TernzipError(
                f"loss is {self._broken_loss.item()} in epoch {self.current_epoch + 1}, step {step}: "
                "training stopped; the last good checkpoint is kept"
            )

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Keep what is frozen from moving."""
        # Gradients are dropped rather than never asked for: a distributed reducer must see the same
        # parameters before and after they are unfrozen.
        if self.is_frozen:
            for module in self.frozen:
                for parameter in module.parameters(recurse=False):
                    parameter.grad = None

    def configure_gradient_clipping(self, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        """Clip as the recipe says, by value and then by norm."""
        if self.recipe.clip_value is not None:
            nn.utils.clip_grad_value_(self.parameters(), self.recipe.clip_value)
        if self.recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters(), self.recipe.clip_norm)

    def validation_step(self, batch: Any, index: int) -> None:
        """Count the samples that are right, and add up what they lose."""
        inputs, targets = self._arguments(batch)
        with self._told_of("test", index):
            outputs = self(*inputs)
            if self.objective.accuracy:
                self.correct += right(outputs, targets).sum()
            self.lost += self.objective.loss_of(outputs, targets).detach() * len(targets)
        self.seen += len(targets)

    def on_validation_epoch_end(self) -> None:
        """Log the loss and the accuracy over all processes."""
        both = self.trainer.strategy.reduce(torch.stack([self.correct, self.seen]), reduce_op="sum")
        lost = self.trainer.strategy.reduce(self.lost.clone(), reduce_op="sum")
        figures = {"test_loss": lost / both[1]}
        if self.objective.accuracy:
            figures["accuracy"] = (both[0].double() / both[1]).float()
        for part in (self.correct, self.seen, self.lost):
            part.zero_()
        for name, figure in figures.items():
            self.log(name, figure, prog_bar=True, rank_zero_only=False)
        if self.plateau is not None and self.delta_stands_still:
            self.plateau.step(figures[self.objective.monitor[0]].item())

    @property
    def delta_stands_still(self) -> bool:
        """Whether plateau and early stopping may judge: Delta has stopped growing."""
        return self.schedule is None or self.schedule.finished

    def configure_optimizers(self) -> Any:
        """Adam, and how its rate falls."""
        recipe = self.recipe
        optimizer = torch.optim.Adam(
            parameter_groups(self, lr=recipe.lr, levels_lr=recipe.levels_lr, weight_decay=recipe.weight_decay)
        )
        if recipe.lr_schedule == "plateau":
            self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer, self.objective.monitor[1], patience=recipe.plateau_patience
            )
            if self.plateau_before is not None:
                self.plateau.load_state_dict(self.plateau_before)
            return optimizer
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lr_factor(recipe))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "epoch"}}

    def on_train_epoch_end(self) -> None:
        """Keep what was logged of the epoch, before its checkpoints are written."""
        figures = {name: float(value) for name, value in self.trainer.callback_metrics.items()}
        self.epochs[self.current_epoch + 1] = {**figures, "seconds": time.monotonic() - self._epoch_start}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what `ternzip.training.runs` reads."""
        checkpoint[RECIPE_KEY] = dataclasses.asdict(self.recipe)
        checkpoint[EPOCHS_KEY] = self.epochs
        accuracy = self.trainer.callback_metrics.get("accuracy")
        checkpoint[ACCURACY_KEY] = None if accuracy is None else float(accuracy)
        checkpoint[DATASET_KEY] = info_state(self.feed.info)
        if self.plateau is not None:
            checkpoint["ternzip_plateau"] = self.plateau.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up what `on_save_checkpoint` added."""
        self.epochs = checkpoint[EPOCHS_KEY]
        self.plateau_before = checkpoint.get("ternzip_plateau")  # Lightning makes the optimizers after this


def image_learner(recipe: Recipe, dataset: Dataset, *, resumed: bool = False) -> Learner:
    """A learner of the network that a recipe names on a data set. Seeds the global random generator.

    One that is `resumed` has any weights, for those of a checkpoint to replace, and needs no --init file.
    """
    torch.manual_seed(recipe.seed)
    with warnings.catch_warnings():
        if resumed:
            warnings.simplefilter("ignore")  # of how the weights start
        start = dataclasses.replace(recipe, init=None) if resumed else recipe
        network = build_ternary(start, dataset.info)
    teacher = None if recipe.teacher is None else build_teacher(recipe, dataset.info)
    return Learner(recipe, network, ImageFeed(recipe, dataset), teacher=teacher, resumed=resumed)


def lr_factor(recipe: Recipe) -> Callable[[int], float]:
    """The learning rate of epoch t (from 0) as a share of the first."""
    usual = {"paper": 1.0, "power": 10.0, "exponential": 100.0}
    scale = usual.get(recipe.lr_schedule, 1.0) if recipe.lr_scale is None else recipe.lr_scale
    if recipe.lr_schedule == "paper":
        return lambda t: next(share for start, share in PAPER_LR if t / scale >= start)
    if recipe.lr_schedule == "power":
        return lambda t: float((1 + t / scale) ** -recipe.lr_power)
    if recipe.lr_schedule == "exponential":
        return lambda t: float(0.1 ** (t / scale))
    return lambda t: 1.0
