"""Image data sets as tensors in memory: official files read and checked."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ternzip._core.errors import TernzipError
from ternzip._core.extras import require
from ternzip.training.catalog import DatasetInfo, dataset_named

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

    def resident(self, device: torch.device) -> Split:
        """The same images on a device, laid out channels last: so augmentation and convolutions are quick."""
        images = self.images.to(device).contiguous(memory_format=torch.channels_last)
        return Split(images, self.labels.to(device))


@dataclass(frozen=True)
class Dataset:
    """A training and a test split, and what is known of their images."""

    info: DatasetInfo
    train: Split
    test: Split


def open_dataset(name: str, folder: str | Path = "data", *, download: bool = False) -> Dataset:
    """A data set by name: "cifar10", "mnist", "fashion-mnist" or "digits", from files in `folder`.

    `download=True` fetches what is missing, checking md5 sums (needs pooch). Raises TernzipError for an
    unknown name and for missing or damaged files.
    """
    info, folder = dataset_named(name), Path(folder)
    try:
        return _read_splits(info, folder)
    except MissingDataError:
        if not download:
            raise
    from ternzip.training.download import fetch

    fetch(info, folder)
    return _read_splits(info, folder)


def _read_splits(info: DatasetInfo, folder: Path) -> Dataset:
    readers: dict[str, Callable[[DatasetInfo, Path], tuple[Split, Split]]] = {
        "cifar10": read_cifar10,
        "digits": read_digits,
    }
    return Dataset(info, *readers.get(info.name, read_idx)(info, folder))


def read_cifar10(info: DatasetInfo, folder: Path) -> tuple[Split, Split]:
    """CIFAR-10 in its official binary layout: `folder`, or a cifar-10-batches-bin inside it.

    Raises TernzipError for a missing file, one that is no whole number of records, and a label beyond 9.
    """
    inner = folder / "cifar-10-batches-bin"
    folder = inner if inner.is_dir() else folder
    parts = [_cifar10_file(info, folder / f"data_batch_{i}.bin") for i in range(1, 6)]
    train = Split(torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts]))
    return train, _cifar10_file(info, folder / "test_batch.bin")


def _cifar10_file(info: DatasetInfo, path: Path) -> Split:
    data = np.frombuffer(_read(path), np.uint8)
    if not data.size or data.size % CIFAR10_RECORD:
        raise TernzipError(
            f"{path}: damaged: expected a multiple of {CIFAR10_RECORD} bytes, found {data.size}"
        )
    records = torch.from_numpy(data.reshape(-1, CIFAR10_RECORD).copy())
    return Split(records[:, 1:].reshape(-1, *info.image_shape), _labels(info, records[:, 0], path))


def read_idx(info: DatasetInfo, folder: Path) -> tuple[Split, Split]:
    """MNIST or Fashion-MNIST from its four IDX files, plain or .gz, in `folder`, its name/, raw/ or NAME/raw/.

    Raises TernzipError for a missing or empty file, a wrong magic number or size, and a label beyond 9.
    """
    legacy = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}[info.name]
    places = [folder / info.name, folder, folder / "raw", folder / legacy / "raw"]
    folder = next((place for place in places if any(place.glob("train-images*"))), folder)

    def split(prefix: str) -> Split:
        images, path = _idx_file(folder, f"{prefix}-images", 3)
        labels, label_path = _idx_file(folder, f"{prefix}-labels", 1)
        if not len(images) or images.shape[1:] != info.image_shape[1:]:
            size = "x".join(map(str, info.image_shape[1:]))
            raise TernzipError(f"{path}: expected images of {size} pixels, found {tuple(images.shape)}")
        if len(images) != len(labels):
            raise TernzipError(
                f"{label_path}: expected {len(images)} labels as {path} has, found {len(labels)}"
            )
        return Split(images.unsqueeze(1), _labels(info, labels, label_path))

    return split("train"), split("t10k")


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


def read_digits(info: DatasetInfo, folder: Path) -> tuple[Split, Split]:
    """scikit-learn's digits: 8 x 8 pixels, every fifth image for testing; needs no file."""
    require("reading the digits", "demo", "sklearn")
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.tensor(data.images * (255 / 16), dtype=torch.uint8).unsqueeze(1)
    labels = torch.tensor(data.target, dtype=torch.int64)
    test = torch.arange(len(labels)) % 5 == 0
    return Split(images[~test], labels[~test]), Split(images[test], labels[test])


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except FileNotFoundError:
        raise MissingDataError(f"{path}: no such data file: give its folder, or ask for a download") from None
    except (OSError, EOFError, zlib.error) as error:
        raise TernzipError(f"{path}: data file cannot be read: {error}") from error


def _labels(info: DatasetInfo, labels: Tensor, path: Path) -> Tensor:
    if int(labels.max()) >= info.num_classes:
        raise TernzipError(
            f"{path}: damaged: expected labels 0 to {info.num_classes - 1}, found {int(labels.max())}"
        )
    return labels.to(torch.int64)
