"""IDX files, the layout of MNIST and of what is made in its likeness."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ternzip._core.errors import TernzipError
from ternzip.training.catalog import DatasetInfo
from ternzip.training.images import Split
from ternzip.training.readers.files import checked_labels, first_with, read_bytes

MARK = "train-images*"


def idx_folder(folder: Path, name: str) -> Path | None:
    """Where below `folder` the training images of a data set lie; None where they do not."""
    legacy = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}
    if name in legacy:
        return first_with(MARK, [folder / name, folder, folder / "raw", folder / legacy[name] / "raw"])
    return first_with(MARK, [folder, folder / "raw"])


def read_known_idx(info: DatasetInfo, folder: Path) -> tuple[Split, Split]:
    """MNIST or Fashion-MNIST from its four IDX files, plain or .gz, in `folder`, its name/, raw/ or NAME/raw/.

    Raises TernzipError for a missing or empty file, a wrong magic number or size, and a label beyond 9.
    """
    folder = idx_folder(folder, info.name) or folder
    return tuple(
        _split(folder, prefix, info.image_shape[1:], info.num_classes) for prefix in ("train", "t10k")
    )  # type: ignore[return-value]


def read_idx(folder: Path) -> tuple[Split, Split]:
    """Images of any size and labels 0 to 255 from four IDX files as MNIST has them, in `folder` or its raw/."""
    folder = idx_folder(folder, "") or folder
    train = _split(folder, "train", None, 256)
    return train, _split(folder, "t10k", tuple(train.images.shape[2:]), 256)


def _split(folder: Path, prefix: str, size: tuple[int, ...] | None, num_classes: int) -> Split:
    images, path = _idx_file(folder, f"{prefix}-images", 3)
    labels, label_path = _idx_file(folder, f"{prefix}-labels", 1)
    if not images.numel() or (size is not None and images.shape[1:] != size):
        wanted = "some" if size is None else "x".join(map(str, size))
        raise TernzipError(f"{path}: expected images of {wanted} pixels, found {tuple(images.shape)}")
    if len(images) != len(labels):
        raise TernzipError(f"{label_path}: expected {len(images)} labels as {path} has, found {len(labels)}")
    return Split(images.unsqueeze(1), checked_labels(labels, num_classes, label_path))


def _idx_file(folder: Path, stem: str, dims: int) -> tuple[Tensor, Path]:
    names = [f"{stem}-idx{dims}-ubyte{suffix}" for suffix in ("", ".gz")]
    path = next((folder / name for name in names if (folder / name).is_file()), folder / names[0])
    data = read_bytes(path)
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
