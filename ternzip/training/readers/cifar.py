"""CIFAR-10 and CIFAR-100 in both layouts of their authors: binary records, and pickles for Python.

Krizhevsky 2009. Both hold an image as its red, green and blue planes of 32 x 32 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ternzip._core.errors import TernzipError
from ternzip.training.catalog import DatasetInfo
from ternzip.training.images import MissingDataError, Split
from ternzip.training.readers.files import checked_labels, read_bytes
from ternzip.training.readers.inert_pickle import read_inert_pickle

PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class CifarLayout:
    """How one of the two sets lies in files.

    Attributes:
        train, test: names of the files, in the binary layout with .bin behind.
        label: which of the label bytes of a binary record is the class.
        label_bytes: how many a record has before its pixels.
        labels: key of the classes in a pickle.
        binary_folder, python_folder: what its authors' archives unpack to.
        binary_names: file of the class names, a name a line.
        python_names: pickle of the class names, and their key in it.
    """

    train: tuple[str, ...]
    test: str
    label: int
    label_bytes: int
    labels: str
    binary_folder: str
    python_folder: str
    binary_names: str
    python_names: tuple[str, str]


LAYOUTS = {
    "cifar10": CifarLayout(
        train=tuple(f"data_batch_{i}" for i in range(1, 6)),
        test="test_batch",
        label=0,
        label_bytes=1,
        labels="labels",
        binary_folder="cifar-10-batches-bin",
        python_folder="cifar-10-batches-py",
        binary_names="batches.meta.txt",
        python_names=("batches.meta", "label_names"),
    ),
    "cifar100": CifarLayout(
        train=("train",),
        test="test",
        label=1,  # the first is the coarse one of 20
        label_bytes=2,
        labels="fine_labels",
        binary_folder="cifar-100-binary",
        python_folder="cifar-100-python",
        binary_names="fine_label_names.txt",
        python_names=("meta", "fine_label_names"),
    ),
}


def cifar_folder(folder: Path, name: str) -> tuple[Path, bool] | None:
    """Where in or below `folder` the first training file lies, and whether its layout is the binary one."""
    layout = LAYOUTS[name]
    for inner in (layout.binary_folder, layout.python_folder, "."):
        for suffix in (".bin", ""):
            if (folder / inner / (layout.train[0] + suffix)).is_file():
                return folder / inner, suffix == ".bin"
    return None


def read_cifar(info: DatasetInfo, folder: Path) -> tuple[Split, Split, tuple[str, ...]]:
    """Training and test images and the names of the classes, none where their file is missing.

    Raises TernzipError for a missing or damaged file, and a label beyond the classes.
    """
    layout = LAYOUTS[info.name]
    found = cifar_folder(folder, info.name)
    if found is None:
        raise MissingDataError(
            f"{folder / layout.train[0]}.bin: no such data file, nor {layout.train[0]} of the python layout: "
            "give its folder, or ask for a download"
        )
    place, binary = found
    read = _read_binary if binary else _read_python
    parts = [read(info, layout, place, name) for name in layout.train]
    train = Split(torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts]))
    return train, read(info, layout, place, layout.test), _names(info, layout, place, binary)


def _read_binary(info: DatasetInfo, layout: CifarLayout, folder: Path, name: str) -> Split:
    path = folder / f"{name}.bin"
    data = np.frombuffer(read_bytes(path), np.uint8)
    record = layout.label_bytes + PIXELS
    if not data.size or data.size % record:
        raise TernzipError(f"{path}: damaged: expected a multiple of {record} bytes, found {data.size}")
    records = torch.from_numpy(data.reshape(-1, record).copy())
    labels = checked_labels(records[:, layout.label], info.num_classes, path)
    return Split(records[:, layout.label_bytes :].reshape(-1, *info.image_shape), labels)


def _read_python(info: DatasetInfo, layout: CifarLayout, folder: Path, name: str) -> Split:
    path = folder / name
    batch = _dictionary(path)
    pixels, labels = batch.get("data"), batch.get(layout.labels)
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (PIXELS,):
        found = f"{pixels.dtype}{pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise TernzipError(f"{path}: expected 'data' of bytes (images, {PIXELS}), found {found}")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise TernzipError(f"{path}: expected {layout.labels!r}, a list of numbers, among {', '.join(batch)}")
    if not len(labels) or len(labels) != len(pixels):
        raise TernzipError(
            f"{path}: damaged: expected as many labels as images, found {len(labels)} and {len(pixels)}"
        )
    images = torch.from_numpy(np.array(pixels).reshape(-1, *info.image_shape))
    return Split(images, checked_labels(torch.tensor(labels), info.num_classes, path))


def _dictionary(path: Path) -> dict[str, Any]:
    """A pickled dictionary by its keys as strings."""
    content = read_inert_pickle(read_bytes(path), path)
    if not isinstance(content, dict):
        raise TernzipError(f"{path}: expected a pickled dictionary, found {type(content).__name__}")
    return {_text(key): value for key, value in content.items()}


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _names(info: DatasetInfo, layout: CifarLayout, folder: Path, binary: bool) -> tuple[str, ...]:
    file, key = (layout.binary_names, "") if binary else layout.python_names
    path = folder / file
    if not path.is_file():
        return ()
    if binary:
        names = tuple(read_bytes(path).decode("utf-8", "replace").split())
    else:
        listed = _dictionary(path).get(key)
        names = tuple(map(_text, listed)) if isinstance(listed, list) else ()
    if len(names) != info.num_classes:
        raise TernzipError(f"{path}: expected the names of {info.num_classes} classes, found {len(names)}")
    return names
