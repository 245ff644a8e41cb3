"""Batches of images that resume exactly, their augmentation and normalization."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ternzip.training.images import Split

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Crop(NamedTuple):
    """What augmentation does to each image of a batch: int64 shifts in pixels, and whether to mirror."""

    down: Tensor
    right: Tensor
    mirror: Tensor


@dataclass(frozen=True)
class ImageBatches:
    """Batches (images, labels, crop) of a split, in an order that the seed and the epoch alone decide.

    The batch size is that of all processes together: process `rank` of `world` takes every `world`-th image
    of each batch, so the training is the same however many take part. Shuffled batches are for training: all
    processes get equally many images, and a remainder too small for a batch norm is left out. `crop` is None
    without augmentation.
    """

    split: Split
    batch_size: int
    seed: int = 0
    shuffle: bool = False
    padding: int = 0
    mirror: bool = False
    rank: int = 0
    world: int = 1
    epoch: int = 0

    def __len__(self) -> int:
        whole, rest = divmod(len(self.split), self.batch_size)
        return whole + (rest > 0 if not self.shuffle else rest >= 2 * self.world)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Crop | None]]:
        generator = torch.Generator().manual_seed((self.seed << 20) + self.epoch)
        count = len(self.split)
        order = torch.randperm(count, generator=generator) if self.shuffle else torch.arange(count)
        for batch in order.split(self.batch_size)[: len(self)]:  # type: ignore[no-untyped-call]
            crop = self._crop(len(batch), generator)
            if self.shuffle:
                batch = batch[: len(batch) - len(batch) % self.world]
                crop = crop and Crop(*(part[: len(batch)] for part in crop))
            mine = slice(self.rank, None, self.world)
            images, labels = self.split.images[batch[mine]], self.split.labels[batch[mine]]
            yield images, labels, crop and Crop(*(part[mine] for part in crop))

    def _crop(self, count: int, generator: torch.Generator) -> Crop | None:
        if not (self.padding or self.mirror):
            return None
        shifts = torch.randint(0, 2 * self.padding + 1, (2, count), generator=generator) - self.padding
        mirror = torch.rand(count, generator=generator) < (0.5 if self.mirror else 0.0)
        return Crop(shifts[0], shifts[1], mirror)


def augment(images: Tensor, crop: Crop) -> Tensor:
    """Shift every image by its own pixels, black moving in, and mirror some; on the images' device."""
    device = images.device
    down, right, mirror = (part.to(device) for part in (crop.down, crop.right, crop.mirror))
    count, channels, height, width = images.shape
    rows = torch.arange(height, device=device) + down[:, None]
    columns = torch.arange(width, device=device) + right[:, None]
    columns = torch.where(mirror[:, None], columns.flip(1), columns)
    inside = ((rows >= 0) & (rows < height))[:, None, :, None] & ((columns >= 0) & (columns < width))[
        :, None, None
    ]
    picked = images[
        torch.arange(count, device=device)[:, None, None, None],
        torch.arange(channels, device=device)[None, :, None, None],
        rows.clamp(0, height - 1)[:, None, :, None],
        columns.clamp(0, width - 1)[:, None, None, :],
    ]
    return torch.where(inside, picked, 0)


def normalize(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """uint8 images as float32, scaled to [0, 1], then (x - mean) / std for each channel."""
    shift = torch.tensor(mean, device=images.device)[:, None, None]
    scale = torch.tensor(std, device=images.device)[:, None, None]
    return (images.float() / 255 - shift) / scale
