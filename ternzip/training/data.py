"""Image data sets as tensors in memory: official files read and checked; batches that resume exactly."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ternzip._core.errors import TernzipError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
CIFAR10_RECORD = 1 + 3 * 32 * 32  # a label byte, then the red, green and blue planes


class MissingDataError(TernzipError):
    """A file of a data set is not there: it may be fetched, which a damaged one is not."""


@dataclass(frozen=True)
class Split:
    """Images as uint8 (n, channels, height, width) and labels as int64 (n,)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int | None) -> Split:
        """The first `count` images, all of them for None."""
        return self if count is None else Split(self.images[:count], self.labels[:count])


@dataclass(frozen=True)
class Dataset:
    """A training and a test split, and the statistics of the training images scaled to [0, 1]."""

    name: str
    train: Split
    test: Split
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width


def load_cifar10(folder: Path) -> Dataset:
    """CIFAR-10 in its official binary layout: `folder`, or a cifar-10-batches-bin inside it.

    Raises TernzipError for a missing file, one that is no whole number of records, and a label beyond 9.
    """
    inner = folder / "cifar-10-batches-bin"
    folder = inner if inner.is_dir() else folder
    parts = [_cifar10_file(folder / f"data_batch_{i}.bin") for i in range(1, 6)]
    train = Split(torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts]))
    return Dataset("cifar10", train, _cifar10_file(folder / "test_batch.bin"), 10, CIFAR10_MEAN, CIFAR10_STD)


def _cifar10_file(path: Path) -> Split:
    data = np.frombuffer(_read(path), np.uint8)
    if not data.size or data.size % CIFAR10_RECORD:
        raise TernzipError(
            f"{path}: damaged: expected a multiple of {CIFAR10_RECORD} bytes, found {data.size}"
        )
    records = torch.from_numpy(data.reshape(-1, CIFAR10_RECORD).copy())
    return Split(records[:, 1:].reshape(-1, 3, 32, 32), _labels(records[:, 0], path))


def load_idx(folder: Path, name: str) -> Dataset:
    """MNIST or Fashion-MNIST from its four IDX files, plain or .gz, in `folder`, its name/, raw/ or NAME/raw/.

    Raises TernzipError for a missing file, a wrong magic number or size, and a label beyond 9.
    """
    mean, std = {"mnist": (0.1307, 0.3081), "fashion-mnist": (0.2860, 0.3530)}[name]
    legacy = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}[name]
    places = [folder / name, folder, folder / "raw", folder / legacy / "raw"]
    folder = next((place for place in places if any(place.glob("train-images*"))), folder)

    def split(prefix: str) -> Split:
        images, path = _idx_file(folder, f"{prefix}-images", 3)
        labels, label_path = _idx_file(folder, f"{prefix}-labels", 1)
        if len(images) != len(labels):
            raise TernzipError(
                f"{label_path}: expected {len(images)} labels as {path} has, found {len(labels)}"
            )
        return Split(images.unsqueeze(1), _labels(labels, label_path))

    return Dataset(name, split("train"), split("t10k"), 10, (mean,), (std,))


def _idx_file(folder: Path, stem: str, dims: int) -> tuple[Tensor, Path]:
    names = [f"{stem}-idx{dims}-ubyte{suffix}" for suffix in ("", ".gz")]
    path = next((folder / name for name in names if (folder / name).is_file()), folder / names[0])
    data = _read(path)
    header = 4 + 4 * dims
    if data[:4] != bytes((0, 0, 8, dims)) or len(data) < header:
        raise TernzipError(f"{path}: expected an IDX file of {dims}-d bytes, found magic {data[:4].hex()}")
    shape = np.frombuffer(data, ">u4", dims, 4).astype(np.int64)
    if len(data) - header != int(np.prod(shape, dtype=object)):
        raise TernzipError(
            f"{path}: damaged: expected {header} + {'*'.join(map(str, shape))} bytes, found {len(data)}"
        )
    pixels: NDArray[np.uint8] = np.frombuffer(data, np.uint8, offset=header).reshape(tuple(shape))
    return torch.from_numpy(pixels.copy()), path


def load_digits(folder: Path) -> Dataset:
    """scikit-learn's digits: 8 x 8 pixels, every fifth image for testing; needs no file."""
    try:
        from sklearn.datasets import load_digits as read
    except ImportError as error:
        raise TernzipError(
            "the digits need scikit-learn and the demo matplotlib: pip install 'ternzip[demo]'"
        ) from error
    data = read()
    images = torch.tensor(data.images * (255 / 16), dtype=torch.uint8).unsqueeze(1)
    labels = torch.tensor(data.target, dtype=torch.int64)
    test = torch.arange(len(labels)) % 5 == 0
    train, held = Split(images[~test], labels[~test]), Split(images[test], labels[test])
    return Dataset("digits", train, held, 10, (0.3,), (0.38,))


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except FileNotFoundError:
        raise MissingDataError(f"{path}: no such data file: give its folder, or ask for a download") from None
    except (OSError, EOFError, zlib.error) as error:
        raise TernzipError(f"{path}: data file cannot be read: {error}") from error


def _labels(labels: Tensor, path: Path) -> Tensor:
    if int(labels.max()) > 9:
        raise TernzipError(f"{path}: damaged: expected labels 0 to 9, found {int(labels.max())}")
    return labels.to(torch.int64)


READERS: dict[str, Callable[[Path], Dataset]] = {
    "cifar10": load_cifar10,
    "mnist": lambda folder: load_idx(folder, "mnist"),
    "fashion-mnist": lambda folder: load_idx(folder, "fashion-mnist"),
    "digits": load_digits,
}


def open_dataset(name: str, folder: str | Path = "data", *, download: bool = False) -> Dataset:
    """A data set by name: "cifar10", "mnist", "fashion-mnist" or "digits", from files in `folder`.

    `download=True` fetches what is missing, checking md5 sums (needs pooch). Raises TernzipError for an
    unknown name and for missing or damaged files.
    """
    if name not in READERS:
        raise TernzipError(f"unknown data set {name!r}: expected one of {', '.join(READERS)}")
    read, folder = READERS[name], Path(folder)
    try:
        return read(folder)
    except MissingDataError:
        if not download:
            raise
    from ternzip.training.download import fetch

    fetch(name, folder)
    return read(folder)


class Crop(NamedTuple):
    """What augmentation does to each image of a batch: int64 shifts in pixels, and whether to mirror."""

    down: Tensor
    right: Tensor
    mirror: Tensor


@dataclass(frozen=True)
class Batches:
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
