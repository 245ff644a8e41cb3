"""Batches of images that resume exactly, their augmentation and normalization."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ternzip.training.images import Split


class Crop(NamedTuple):
    """What augmentation does to each image of a batch: int64 shifts in pixels, and whether to mirror.

    No shift exceeds `reach`.
    """

    down: Tensor
    right: Tensor
    mirror: Tensor
    reach: int


@dataclass(frozen=True)
class ImageBatches:
    """Batches (images, labels, crop) of a split, in an order that the seed and the epoch alone decide.

    Everything is where the split is: the order and the augmentation of an epoch are drawn on the CPU, so that all
    devices see the same images, and sent to the split's device at once when the epoch begins. No batch after that
    waits for the device or for another process.

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
        images, labels = self.split.images, self.split.labels
        generator = torch.Generator().manual_seed((self.seed << 20) + self.epoch)
        count = len(self.split)
        order = torch.randperm(count, generator=generator) if self.shuffle else torch.arange(count)
        down, right = torch.randint(-self.padding, self.padding + 1, (2, count), generator=generator)
        mirror = torch.rand(count, generator=generator) < (0.5 if self.mirror else 0.0)
        order, down, right, mirror = (part.to(labels.device) for part in (order, down, right, mirror))
        augmented = self.padding > 0 or self.mirror
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            size = min(self.batch_size, count - start)
            if self.shuffle:
                size -= size % self.world
            mine = slice(start + self.rank, start + size, self.world)
            crop = Crop(down[mine], right[mine], mirror[mine], self.padding) if augmented else None
            yield images[order[mine]], labels[order[mine]], crop


def augment(images: Tensor, crop: Crop) -> Tensor:
    """Shift every image by its own pixels, black moving in, and mirror some; on the images' device, without waiting.

    The result (n, channels, height, width) is laid out channels last.
    """
    count, _, height, width = images.shape
    reach = crop.reach
    padded = F.pad(images.permute(0, 2, 3, 1), (0, 0, reach, reach, reach, reach))
    # Every window of the images' own size as a view, (n, shifts down, shifts right, height, width, channels): one copy
    # takes a window of each image.
    windows = padded.unfold(1, height, 1).unfold(2, width, 1).permute(0, 1, 2, 4, 5, 3)
    each = torch.arange(count, device=images.device)
    shifted = windows[each, crop.down + reach, crop.right + reach]
    shifted = torch.where(crop.mirror[:, None, None, None], shifted.flip(2), shifted)
    return shifted.permute(0, 3, 1, 2)


def normalize(images: Tensor, mean: Sequence[float] | Tensor, std: Sequence[float] | Tensor) -> Tensor:
    """uint8 images (n, channels, height, width) as float32, scaled to [0, 1], then (x - mean) / std for each channel.

    `mean` and `std` hold a number a channel; tensors on the images' device spare waiting for it.
    """
    shift, scale = (torch.as_tensor(part, dtype=torch.float32, device=images.device) for part in (mean, std))
    return images.float().div_(255).sub_(shift[:, None, None]).div_(scale[:, None, None])
