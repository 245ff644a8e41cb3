"""Ternary image classification as a LightningModule: its loss, its optimizer, its metrics."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ternzip._core.errors import TernzipError
from ternzip.quantization import DeltaSchedule, Quantizer, expected_bits, parameter_groups
from ternzip.training.batches import ImageBatches, augment, normalize
from ternzip.training.fast import CompiledForward
from ternzip.training.images import Dataset, Split
from ternzip.training.losses import distillation, rate_price
from ternzip.training.network import (
    NORMS,
    build_teacher,
    build_ternary,
    check_start,
    frozen_modules,
    normalization,
)
from ternzip.training.recipe import Recipe
from ternzip.training.runs import ACCURACY_KEY, EPOCHS_KEY, RECIPE_KEY

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
    """Trains the network a recipe names on a data set; the callback of ternzip.training.callbacks makes it ternary.

    Attributes:
        model: the network, prepared unless the recipe's quantizer is "none".
        schedule: Delta's schedule, or None where no Delta moves.
    """

    correct: Tensor
    seen: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, recipe: Recipe, dataset: Dataset) -> None:
        super().__init__()
        self.recipe = recipe
        self.dataset = dataset
        torch.manual_seed(recipe.seed)
        self.model = build_ternary(recipe)
        self.schedule = None
        if recipe.quantizer == "delta":
            self.schedule = DeltaSchedule(
                self.model, recipe.delta, recipe.growth, recipe.multiplier, recipe.max_delta
            )
        if not recipe.carry_on:
            check_start(self.model, recipe)
        # In a tuple: the teacher is no part of the model, of its parameters and of its checkpoints.
        self.teacher = () if recipe.teacher is None else (build_teacher(recipe),)
        self.frozen = frozen_modules(self.model, recipe.freeze)
        mean, std = normalization(recipe)
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("std", torch.tensor(std), persistent=False)
        self.compiled = CompiledForward(self.model) if recipe.fast else None
        self.epochs: dict[int, dict[str, float]] = {}  # figures of each finished epoch, from 1
        self.plateau: torch.optim.lr_scheduler.ReduceLROnPlateau | None = None
        self.register_buffer("correct", torch.zeros((), dtype=torch.int64), persistent=False)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Scores (batch, num_classes) of uint8 images."""
        inputs = self._inputs(images)
        if self.training and self.compiled is not None:
            return self.compiled(inputs)
        scores: Tensor = self.model(inputs)
        return scores

    def _inputs(self, images: Tensor) -> Tensor:
        inputs = normalize(images, self.mean, self.std).to(next(self.model.parameters()).dtype)
        # Without a copy: the images are laid out so.
        return inputs.contiguous(memory_format=torch.channels_last)

    def setup(self, stage: str) -> None:
        """Bring the images to the device, for good."""
        device = self.trainer.strategy.root_device
        splits = (self.dataset.train.resident(device), self.dataset.test.resident(device))
        self.dataset = Dataset(self.dataset.info, *splits)

    def _batches(self, split: Split, training: bool) -> ImageBatches:
        augmented = training and self.recipe.augment
        shift = 4 if self.dataset.info.image_shape[1] >= 28 else 1
        return ImageBatches(
            split,
            self.recipe.batch_size,
            seed=self.recipe.seed,
            shuffle=training,
            padding=shift if augmented else 0,
            mirror=augmented and self.dataset.info.mirrors,
            rank=self.trainer.global_rank,
            world=self.trainer.world_size,
            epoch=self.current_epoch,
        )

    def train_dataloader(self) -> Any:
        """The training batches of the current epoch."""
        return self._batches(self.dataset.train.first(self.recipe.train_images), training=True)

    def val_dataloader(self) -> Any:
        """The test images."""
        return self._batches(self.dataset.test.first(self.recipe.test_images), training=False)

    @property
    def is_frozen(self) -> bool:
        """Whether the frozen modules are frozen in this epoch."""
        until = self.recipe.unfreeze_epoch
        return bool(self.frozen) and (until is None or self.current_epoch + 1 < until)

    def on_train_epoch_start(self) -> None:
        """Seed the epoch, freeze what is to be frozen in it."""
        self._epoch_start = time.monotonic()
        # Every epoch starts from a seed of its own, so that a resumed run draws what the whole run drew.
        torch.manual_seed((self.recipe.seed << 20) + self.current_epoch)
        # The first loss that is not finite. No buffers, as those are sent from the first process to all others.
        self._broken_step = torch.zeros((), dtype=torch.int64, device=self.device)
        self._broken_loss = torch.zeros((), device=self.device)
        for teacher in self.teacher:  # Lightning moves and casts what is part of the model, and that alone
            teacher.to(self.device, next(self.model.parameters()).dtype)
        if self.recipe.rebuild_adam:
            for optimizer in self.trainer.optimizers:
                optimizer.state.clear()
        frozen = {id(module) for module in self.frozen} if self.is_frozen else set()
        for module in self.model.modules():
            if isinstance(module, NORMS):
                module.train(not (self.recipe.frozen_norm or id(module) in frozen))
            if isinstance(module, Quantizer):
                module.pinned = id(module) in frozen

    def training_step(self, batch: Any, index: int) -> Tensor:
        """The loss of a batch: mean cross entropy, and what the recipe adds to it; 0-d."""
        images, labels, crop = batch
        if crop is not None:
            images = augment(images, crop)
        loss = self._loss(images, labels)
        first = ~loss.detach().isfinite() & (self._broken_step == 0)
        self._broken_step += first * (index + 1)
        self._broken_loss = torch.where(first, loss.detach(), self._broken_loss)
        if (index + 1) % LOSS_CHECK_STEPS == 0:
            self._check_losses()
        self.log(
            "loss", loss, prog_bar=True, on_step=True, on_epoch=True, batch_size=len(labels), sync_dist=True
        )
        return loss

    def _loss(self, images: Tensor, labels: Tensor) -> Tensor:
        scores = self(images)
        loss = F.cross_entropy(scores, labels)
        for teacher in self.teacher:
            taught = teacher(self._inputs(images))
            distance = distillation(scores, taught, self.recipe.teacher_temperature)
            loss = (1 - self.recipe.teacher_share) * loss + self.recipe.teacher_share * distance
        if self.recipe.rate:
            loss = loss + rate_price(self.recipe, self.current_epoch + 1) * expected_bits(self.model)
        return loss

    def on_validation_start(self) -> None:
        """Before the epoch's checkpoints are written."""
        self._check_losses()

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
        """Count the images that are right."""
        images, labels, _ = batch
        self.correct += (self(images).argmax(1) == labels).sum()
        self.seen += len(labels)

    def on_validation_epoch_end(self) -> None:
        """Log the accuracy over all processes."""
        both = self.trainer.strategy.reduce(torch.stack([self.correct, self.seen]), reduce_op="sum")
        accuracy = (both[0].double() / both[1]).float()
        self.correct.zero_()
        self.seen.zero_()
        self.log("accuracy", accuracy, prog_bar=True, rank_zero_only=False)
        if self.plateau is not None and self.delta_stands_still:
            self.plateau.step(accuracy.item())

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
                optimizer, "max", patience=recipe.plateau_patience
            )
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
        checkpoint[ACCURACY_KEY] = float(self.trainer.callback_metrics["accuracy"])
        if self.plateau is not None:
            checkpoint["ternzip_plateau"] = self.plateau.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up what `on_save_checkpoint` added."""
        self.epochs = checkpoint[EPOCHS_KEY]
        if self.plateau is not None and "ternzip_plateau" in checkpoint:
            self.plateau.load_state_dict(checkpoint["ternzip_plateau"])


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
