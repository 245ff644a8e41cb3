"""Image data sets as tensors in memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ternzip._core.errors import TernzipError
from ternzip.training.catalog import DatasetInfo


class MissingDataError(TernzipError):
    """A file of a data set is not there: it may be fetched, which a damaged one is not."""


@dataclass(frozen=True)
class Split:
    """Images as uint8 (n, channels, height, width) and labels as int64 (n,)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def sample(self, count: int | None) -> Split:
        """`count` images at even distances, all of them for None: of every class, where images lie class by class."""
        if count is None or count >= len(self):
            return self
        return self.take(torch.arange(count) * len(self) // count)

    def take(self, chosen: Tensor) -> Split:
        """The images of these indices, or of a mask."""
        return Split(self.images[chosen], self.labels[chosen])

    def resident(self, device: torch.device) -> Split:
        """The same images on a device, laid out channels last: so augmentation and convolutions are quick."""
        images = self.images.to(device).contiguous(memory_format=torch.channels_last)
        return Split(images, self.labels.to(device))


@dataclass(frozen=True)
class Dataset:
    """A training and a test split, and what is known of their images.

    `notes` are lines for the person about what was done to them on the way: scaled, set aside.
    """

    info: DatasetInfo
    train: Split
    test: Split
    notes: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """One line: how many images of which shape and how many classes."""
        shape = "x".join(map(str, self.info.image_shape))
        count = f"{len(self.train):,} + {len(self.test):,} images"
        return f"{self.info.name}: {count} of {shape}, {self.info.num_classes} classes"


def measured_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std) of uint8 images (n, channels, height, width) scaled to [0, 1], for each channel, to four decimals.

    By counting the 256 values, so that no rounding depends on order. A channel of one value has a std of 1.
    """
    values = torch.arange(256, dtype=torch.float64) / 255
    mean, std = [], []
    for channel in images.unbind(1):
        counts = torch.zeros(256, dtype=torch.int64)
        for part in torch.split(channel, 4096):
            counts += torch.bincount(part.flatten(), minlength=256)
        share = counts.double() / counts.sum()
        centre = float(share @ values)
        spread = float(share @ (values - centre) ** 2) ** 0.5
        mean.append(round(centre, 4))
        std.append(round(spread, 4) or 1.0)
    return tuple(mean), tuple(std)
