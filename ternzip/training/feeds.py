"""What a run is fed with: batches for training and testing, and how they become inputs and targets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import Tensor

from ternzip._core.errors import TernzipError
from ternzip.training.batches import ImageBatches, augment, normalize
from ternzip.training.catalog import DatasetInfo
from ternzip.training.images import Dataset
from ternzip.training.network import normalization
from ternzip.training.recipe import Recipe


class Feed(Protocol):
    """Where a learner's batches come from."""

    @property
    def info(self) -> DatasetInfo | None:
        """What is known of the images; None where they are none, or nothing is known."""

    def to(self, device: torch.device) -> None:
        """Bring what stays in memory to the device, once and for good."""

    def batches(self, training: bool, epoch: int, rank: int, world: int) -> Iterable[Any]:
        """The batches of an epoch (from 0), or the part of them that process `rank` of `world` takes."""

    def arguments(self, batch: Any, dtype: torch.dtype) -> tuple[tuple[Any, ...], Tensor]:
        """What the model is called with for a batch, and the targets."""


class ImageFeed:
    """Images in memory, augmented and normalized as a recipe says, on the device that they lie on.

    Raises TernzipError for fewer than two training images, of which no batch can be made.
    """

    def __init__(self, recipe: Recipe, dataset: Dataset) -> None:
        self.recipe = recipe
        self.dataset = dataset
        if len(dataset.train) < 2:
            raise TernzipError(
                f"{recipe.data}: expected two training images or more, found {len(dataset.train)} beside "
                f"{len(dataset.test):,} for testing"
            )
        self.mean, self.std = (torch.tensor(part) for part in normalization(recipe, dataset.info))

    @property
    def info(self) -> DatasetInfo:
        """What is known of the images."""
        return self.dataset.info

    def to(self, device: torch.device) -> None:
        """Bring the images to the device."""
        splits = (self.dataset.train.resident(device), self.dataset.test.resident(device))
        self.dataset = Dataset(self.info, *splits)
        self.mean, self.std = self.mean.to(device), self.std.to(device)

    def batches(self, training: bool, epoch: int, rank: int, world: int) -> ImageBatches:
        """Shuffled and augmented images for training, all others as they are."""
        recipe = self.recipe
        split = (
            self.dataset.train.sample(recipe.train_images)
            if training
            else self.dataset.test.sample(recipe.test_images)
        )
        augmented = training and recipe.augment
        shift = 4 if self.info.image_shape[1] >= 28 else 1
        mirrors = self.info.mirrors if recipe.mirror is None else recipe.mirror
        return ImageBatches(
            split,
            recipe.batch_size,
            seed=recipe.seed,
            shuffle=training,
            padding=shift if augmented else 0,
            mirror=augmented and mirrors,
            rank=rank,
            world=world,
            epoch=epoch,
        )

    def arguments(self, batch: Any, dtype: torch.dtype) -> tuple[tuple[Tensor], Tensor]:
        """Images of `dtype`, channels last, and their labels."""
        images, labels, crop = batch
        if crop is not None:
            images = augment(images, crop)
        inputs = normalize(images, self.mean, self.std).to(dtype)
        # Without a copy: the images are laid out so.
        return (inputs.contiguous(memory_format=torch.channels_last),), labels
