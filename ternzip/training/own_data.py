"""Samples of the user's own as a learner's feed: a pair of tensors, a Dataset or a DataLoader."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning.fabric.utilities import move_data_to_device
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

from ternzip._core.errors import TernzipError
from ternzip.lowrank.passes import modes_kept
from ternzip.training.catalog import DatasetInfo
from ternzip.training.feeds import Feed, ImageFeed
from ternzip.training.objective import Objective, check_labels
from ternzip.training.recipe import Recipe

EXPECTED = "a pair of tensors (inputs, targets), a Dataset or a DataLoader"


@dataclass(frozen=True)
class SampleBatches:
    """Batches of samples in memory or of a Dataset, in an order that the seed and the epoch alone decide.

    The batch size is that of all processes together, as of `ImageBatches`: process `rank` of `world` takes every
    `world`-th sample of each. For training, a remainder too small for a batch norm is left out.
    """

    take: Callable[[list[int]], Any]
    count: int
    batch_size: int
    seed: int
    epoch: int
    shuffle: bool
    rank: int
    world: int

    def __len__(self) -> int:
        whole, rest = divmod(self.count, self.batch_size)
        return whole + (rest > 0 if not self.shuffle else rest >= 2 * self.world)

    def __iter__(self) -> Iterator[Any]:
        generator = torch.Generator().manual_seed((self.seed << 20) + self.epoch)
        order = torch.randperm(self.count, generator=generator) if self.shuffle else torch.arange(self.count)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            batch = order[start : start + self.batch_size]
            if self.shuffle:
                batch = batch[: len(batch) - len(batch) % self.world]
            yield self.take(batch[self.rank :: self.world].tolist())


@dataclass(frozen=True)
class LoaderBatches:
    """The batches of a DataLoader, which draws its random numbers from the global generator as the epoch left it.

    Lightning asks for an iterator now before and now after an epoch has been seeded: the loader's own begins with its
    first batch, so that a run that is resumed sees the batches of a whole one. Workers that outlive an epoch
    (persistent_workers) would go on with the random numbers that they began with: every epoch has workers of its own.

    Raises TernzipError, with what the loader is called, in place of an epoch without batches.
    """

    loader: DataLoader[Any]
    name: str

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        if self.loader.persistent_workers:
            self.loader._iterator = None
        found = False
        for batch in self.loader:
            found = True
            yield batch
        if not found:
            raise TernzipError(f"{self.name}: expected batches, found none")


@dataclass(frozen=True)
class Parts:
    """The samples of some indices out of tensors."""

    tensors: tuple[Tensor, ...]

    def __call__(self, chosen: list[int]) -> tuple[Tensor, ...]:
        """Those samples, a tensor each part."""
        return tuple(part[chosen] for part in self.tensors)


class SampleFeed:
    """Samples as they are: no augmentation and no normalization beside the data's own.

    Args:
        recipe: its batch size and seed; not for a DataLoader, which has its own.
        train, test: a pair of tensors (inputs, targets) whose dimension 0 counts samples, a Dataset of such pairs, or a
            DataLoader. A sample of more than two parts has several inputs; the last is the target. A DataLoader with a
            generator of its own goes on from where that stands, also in a run that is resumed.

    Raises TernzipError for anything else, and for no samples.
    """

    info: DatasetInfo | None = None

    def __init__(self, recipe: Recipe, train: object, test: object) -> None:
        self.recipe = recipe
        self.sources = {True: _source(train, "train"), False: _source(test, "test")}

    def to(self, device: torch.device) -> None:
        """Nothing: batches are sent one by one."""

    def batches(self, training: bool, epoch: int, rank: int, world: int) -> Iterable[Any]:
        """An epoch's batches of training or test samples; a DataLoader itself."""
        source, name = self.sources[training], "train" if training else "test"
        if isinstance(source, DataLoader):
            if world > 1:
                raise TernzipError(
                    f"{name}: a DataLoader is not shared out over {world} processes: "
                    "expected a Dataset or a pair of tensors"
                )
            return LoaderBatches(source, name)
        take, count = source
        recipe = self.recipe
        return SampleBatches(take, count, recipe.batch_size, recipe.seed, epoch, training, rank, world)

    def arguments(self, batch: Any, dtype: torch.dtype) -> tuple[tuple[Any, ...], Tensor]:
        """Inputs and targets of a batch."""
        if not isinstance(batch, list | tuple) or len(batch) < 2:
            raise TernzipError(f"expected batches of (inputs, targets), found {type(batch).__name__}")
        *inputs, targets = batch
        if not isinstance(targets, Tensor) or not targets.ndim:
            raise TernzipError(f"expected targets (batch, ...) as a tensor, found {type(targets).__name__}")
        if self.recipe.precision == "64":  # as Lightning does, which does not see every batch
            inputs = apply_to_collection(inputs, Tensor, _doubled)
        return tuple(inputs), targets

    def check(self, model: nn.Module, objective: Objective) -> None:
        """TernzipError where what a model makes of the first test samples is not what the objective compares."""
        source = self.sources[True]
        if not isinstance(source, DataLoader) and source[1] < 2:
            raise TernzipError(f"train: expected two samples or more, found {source[1]}")
        if self.recipe.precision == "64":
            model = copy.deepcopy(model).double()
        outputs, targets = _first_outputs(self, model, torch.float32)
        if not objective.accuracy:
            check_loss(objective, outputs, targets)
            return
        check_scores(objective, outputs, targets)
        if not isinstance(source, DataLoader) and isinstance(source[0], Parts):
            check_labels(source[0].tensors[-1], outputs.shape[1])


def check_images(feed: ImageFeed, model: nn.Module, objective: Objective) -> None:
    """TernzipError where a model does not give the scores of a data set's classes for its images."""
    outputs, labels = _first_outputs(feed, model, next(model.parameters()).dtype)
    check_scores(objective, outputs, labels)
    if outputs.shape[1] < feed.info.num_classes:
        raise TernzipError(f"expected scores of {feed.info.num_classes} classes, found {outputs.shape[1]}")


def _first_outputs(feed: Feed, model: nn.Module, dtype: torch.dtype) -> tuple[Any, Tensor]:
    """What a model makes of the first test batch, and that batch's targets."""
    device = next(model.parameters()).device
    inputs, targets = feed.arguments(next(iter(feed.batches(False, 0, 0, 1))), dtype)
    with modes_kept(model), torch.no_grad():
        outputs = model.eval()(*move_data_to_device(inputs, device))
    return outputs, targets


def _doubled(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def check_scores(objective: Objective, outputs: object, targets: Tensor) -> None:
    """TernzipError unless these are scores, and targets that are compared with them."""
    scores = isinstance(outputs, Tensor) and outputs.ndim == 2 and len(outputs) == len(targets)
    # Cross entropy takes numbers of classes in this type alone.
    whole = targets.dtype == torch.int64 or (
        objective.loss is not F.cross_entropy and not targets.is_floating_point()
    )
    if not isinstance(outputs, Tensor) or not scores or targets.ndim != 1 or not whole:
        found = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise TernzipError(
            "expected scores (batch, classes) and targets (batch,) of whole numbers, torch.int64, found outputs "
            f"{found} and targets {tuple(targets.shape)} of {targets.dtype}: another task has its own loss="
        )
    check_labels(targets, outputs.shape[1])
    check_loss(objective, outputs, targets)


def check_loss(objective: Objective, outputs: Any, targets: Tensor) -> None:
    """TernzipError for a loss that is not a single number."""
    if isinstance(outputs, Tensor):
        targets = targets.to(outputs.device)
        if outputs.dtype == torch.float64 and targets.is_floating_point():
            targets = targets.double()  # as --precision 64 makes of them
    with torch.no_grad():
        loss = objective.loss(outputs, targets)
    if not isinstance(loss, Tensor) or loss.ndim:
        found = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise TernzipError(f"loss: expected a tensor of one number, the mean over a batch, found {found}")


def _source(data: object, name: str) -> DataLoader[Any] | tuple[Callable[[list[int]], Any], int]:
    """A loader, or what takes the samples of some indices, and how many there are."""
    if isinstance(data, DataLoader):
        with suppress(TypeError):  # of a data set without a length
            if not len(data):
                raise TernzipError(f"{name}: expected batches, found none")
        return data
    if isinstance(data, list | tuple) and len(data) >= 2 and all(isinstance(part, Tensor) for part in data):
        lengths = [len(part) for part in data]
        if len(set(lengths)) > 1:
            raise TernzipError(f"{name}: expected tensors of as many samples each, found {lengths}")
        return _counted(Parts(tuple(data)), lengths[0], name)
    if isinstance(data, list | tuple) and any(isinstance(part, np.ndarray) for part in data):
        raise TernzipError(
            f"{name}: expected {EXPECTED}, found numpy arrays: torch.from_numpy makes tensors of them"
        )
    has_samples = hasattr(data, "__getitem__") and not isinstance(data, str | bytes | Mapping)
    if isinstance(data, IterableDataset) or not (isinstance(data, Dataset) or has_samples):
        raise TernzipError(f"{name}: expected {EXPECTED}, found {type(data).__name__}")
    samples: Any = data
    return _counted(lambda chosen: default_collate([samples[i] for i in chosen]), len(samples), name)


def _counted(
    take: Callable[[list[int]], Any], count: int, name: str
) -> tuple[Callable[[list[int]], Any], int]:
    if not count:
        raise TernzipError(f"{name}: expected samples, found none")
    return take, count
