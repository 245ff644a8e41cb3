"""Ternary image classification as a LightningModule: the network, its loss, its optimizer, its metrics."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ternzip import models
from ternzip._core.errors import TernzipError
from ternzip.quantization import (
    EC2T,
    TTQ,
    TWN,
    Binary,
    Delta,
    DeltaSchedule,
    Quantizer,
    parameter_groups,
    prepare,
)
from ternzip.training import data
from ternzip.training.recipe import Recipe

PAPER_LR = (
    (220, 0.002),
    (184, 0.02),
    (142, 0.1),
    (101, 0.2),
    (0, 1.0),
)  # from epoch, share of the first rate
NORMS = (nn.modules.batchnorm._BatchNorm,)


class Learner(lightning.LightningModule):
    """Trains the network a recipe names on a data set; the callback of ternzip.training.callbacks makes it ternary.

    Attributes:
        model: the network, prepared unless the recipe's quantizer is "none".
        schedule: Delta's schedule, or None where no Delta moves.
    """

    correct: Tensor
    seen: Tensor

    def __init__(self, recipe: Recipe, dataset: data.Dataset) -> None:
        super().__init__()
        self.recipe = recipe
        self.dataset = dataset
        torch.manual_seed(recipe.seed)
        self.model = build(recipe, dataset)
        self.schedule = None
        if recipe.quantizer != "none":
            prepare(self.model, quantizer_of(recipe), skip=recipe.skip)
        if recipe.quantizer == "delta":
            self.schedule = DeltaSchedule(
                self.model, recipe.delta, recipe.growth, recipe.multiplier, recipe.max_delta
            )
        self.frozen = frozen_modules(self.model, recipe.freeze)
        self.mean, self.std = normalization(recipe.statistics, dataset)
        self.plateau: torch.optim.lr_scheduler.ReduceLROnPlateau | None = None
        self.register_buffer("correct", torch.zeros((), dtype=torch.int64), persistent=False)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Scores (batch, num_classes) of uint8 images."""
        inputs = data.normalize(images, self.mean, self.std).to(next(self.model.parameters()).dtype)
        scores: Tensor = self.model(inputs.contiguous(memory_format=torch.channels_last))
        return scores

    def _batches(self, split: data.Split, training: bool) -> data.Batches:
        colour = self.dataset.image_shape[0] == 3
        augmented = training and self.recipe.augment
        return data.Batches(
            split,
            self.recipe.batch_size,
            seed=self.recipe.seed,
            shuffle=training,
            padding=4 * augmented if self.dataset.image_shape[1] >= 28 else 1 * augmented,
            mirror=augmented and (colour or self.dataset.name == "fashion-mnist"),
            rank=self.trainer.global_rank,
            world=self.trainer.world_size,
            epoch=self.current_epoch,
        )

    def train_dataloader(self) -> Any:
        return self._batches(self.dataset.train.first(self.recipe.train_images), training=True)

    def val_dataloader(self) -> Any:
        return self._batches(self.dataset.test.first(self.recipe.test_images), training=False)

    @property
    def is_frozen(self) -> bool:
        """Whether the frozen modules are frozen in this epoch."""
        until = self.recipe.unfreeze_epoch
        return bool(self.frozen) and (until is None or self.current_epoch + 1 < until)

    def on_train_epoch_start(self) -> None:
        # Every epoch starts from a seed of its own, so that a resumed run draws what the whole run drew.
        torch.manual_seed((self.recipe.seed << 20) + self.current_epoch)
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
        images, labels, crop = batch
        if crop is not None:
            images = data.augment(images, crop)
        loss = F.cross_entropy(self(images), labels)
        if not bool(torch.isfinite(loss)):
            raise TernzipError(
                f"loss is {loss.item()} in epoch {self.current_epoch + 1}, step {index + 1}: "
                "training stopped; the last good checkpoint is kept"
            )
        self.log(
            "loss", loss, prog_bar=True, on_step=True, on_epoch=True, batch_size=len(labels), sync_dist=True
        )
        return loss

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        # Gradients are dropped rather than never asked for: a distributed reducer must see the same
        # parameters before and after they are unfrozen.
        if self.is_frozen:
            for module in self.frozen:
                for parameter in module.parameters(recurse=False):
                    parameter.grad = None

    def configure_gradient_clipping(self, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        if self.recipe.clip_value is not None:
            nn.utils.clip_grad_value_(self.parameters(), self.recipe.clip_value)
        if self.recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters(), self.recipe.clip_norm)

    def validation_step(self, batch: Any, index: int) -> None:
        images, labels, _ = batch
        self.correct += (self(images).argmax(1) == labels).sum()
        self.seen += len(labels)

    def on_validation_epoch_end(self) -> None:
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

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["ternzip_recipe"] = dataclasses.asdict(self.recipe)
        checkpoint["ternzip_accuracy"] = float(self.trainer.callback_metrics["accuracy"])
        if self.plateau is not None:
            checkpoint["ternzip_plateau"] = self.plateau.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.plateau is not None and "ternzip_plateau" in checkpoint:
            self.plateau.load_state_dict(checkpoint["ternzip_plateau"])


def build(recipe: Recipe, dataset: data.Dataset) -> nn.Module:
    """The recipe's network in full precision, started from --init where that is given."""
    options: dict[str, Any] = {"dropout": recipe.dropout, "signed_activations": recipe.signed_activations}
    if recipe.arch == "resnet20":
        options["inflate"] = recipe.inflate
    elif recipe.inflate != 1:
        raise TernzipError(f"--inflate: {recipe.arch} has one width: expected 1, found {recipe.inflate}")
    network = models.architecture(recipe.arch)(
        dataset.image_shape, dataset.num_classes, activation=recipe.activation, **options
    )
    if recipe.init is not None:
        models.load_weights(network, recipe.init)
    return network


def quantizer_of(recipe: Recipe) -> Quantizer:
    """The recipe's quantizer, ready for `prepare`."""
    makers: dict[str, Callable[[], Quantizer]] = {
        "delta": lambda: Delta(recipe.delta, ste=recipe.ste),
        "binary": lambda: Binary(ste=recipe.ste),
        "twn": lambda: TWN(recipe.twn_ratio, ste=recipe.ste),
        "ttq": lambda: TTQ(recipe.ttq_ratio),
        "ec2t": lambda: EC2T(recipe.ec2t_strength),
    }
    return makers[recipe.quantizer]()


def normalization(statistics: str, dataset: data.Dataset) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std) for each channel: ImageNet's for colour images if asked for, else the data set's own."""
    if statistics == "imagenet" and dataset.image_shape[0] == 3:
        return data.IMAGENET_MEAN, data.IMAGENET_STD
    return dataset.mean, dataset.std


def lr_factor(recipe: Recipe) -> Callable[[int], float]:
    """The learning rate of epoch t (from 0) as a share of the first."""
    scale = recipe.lr_scale
    if recipe.lr_schedule == "paper":
        return lambda t: next(share for start, share in PAPER_LR if t / (scale or 1.0) >= start)
    if recipe.lr_schedule == "power":
        return lambda t: float((1 + t / (scale or 10.0)) ** -recipe.lr_power)
    if recipe.lr_schedule == "exponential":
        return lambda t: float(0.1 ** (t / (scale or 100.0)))
    return lambda t: 1.0


def frozen_modules(model: nn.Module, patterns: tuple[str, ...]) -> list[nn.Module]:
    """Modules whose name matches, all inside them, and the batch norm right after a frozen weight.

    Raises TernzipError for a pattern that matches nothing.
    """
    chosen: dict[int, nn.Module] = {}
    for pattern in patterns:
        found = [m for name, m in model.named_modules() if name and fnmatchcase(name, pattern)]
        if not found:
            raise TernzipError(f"--freeze: pattern {pattern!r} matches no module")
        chosen.update((id(inner), inner) for module in found for inner in module.modules())
    weights_before = False
    for module in model.modules():
        if isinstance(module, NORMS):
            if weights_before:
                chosen[id(module)] = module
            weights_before = False
        elif isinstance(module, nn.modules.conv._ConvNd | nn.Linear):
            weights_before = id(module) in chosen
    return list(chosen.values())
