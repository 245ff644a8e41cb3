"""Pictures in a folder for each class, the layout of ImageNet and of torchvision's ImageFolder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ternzip._core.errors import TernzipError
from ternzip.training.images import MissingDataError
from ternzip.training.readers.pictures import Picture

SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".pnm", ".tif", ".tiff", ".webp")
)
TEST_NAMES = ("test", "val", "valid", "validation")


@dataclass(frozen=True)
class Labelled:
    """Encoded pictures, the label of each, and the names of the classes in the order of their labels."""

    pictures: list[Picture]
    labels: list[int]
    classes: tuple[str, ...]


def class_folders(folder: Path, *, deep: bool) -> list[Path]:
    """The folders in `folder` that hold pictures, by name; `deep` are also those that hold them in further folders."""
    if not folder.is_dir():
        return []
    inner = (entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    return sorted(
        (entry for entry in inner if any(_pictures(entry, deep=deep))), key=lambda entry: entry.name
    )


def holds_class_folders(folder: Path) -> bool:
    """Whether `folder`, or its train/, holds a folder of pictures for each class."""
    return bool(class_folders(folder / "train", deep=True) or class_folders(folder, deep=False))


def list_class_folders(folder: Path) -> tuple[Labelled, Labelled | None]:
    """Training and test pictures in `folder`/train/CLASS and test/CLASS (or val, ...); no test pictures in CLASS alone.

    Classes are numbered by the order of their names. What lies in folders within a class is of it, but for hidden
    ones. Raises TernzipError where a class of one has no folder in the other, where there are fewer than two, and where
    training or test pictures are of no class.
    """
    train_folders = class_folders(folder / "train", deep=True)
    if not train_folders:
        found = class_folders(folder, deep=False)
        if not found:
            raise MissingDataError(f"{folder}: expected a folder of pictures for each class, found none")
        if {entry.name for entry in found} <= {"train", *TEST_NAMES}:
            raise TernzipError(
                f"{found[0]}: expected a folder of pictures for each class, found pictures of no class"
            )
        # Without train/ beside it, such a folder may be a class or another split.
        for other in sorted(set(class_folders(folder, deep=True)) - set(found)):
            raise TernzipError(
                f"{other}: expected pictures of a class in it, found them in folders in it alone"
            )
        return _labelled(folder, found), None
    train = _labelled(folder / "train", train_folders)
    for name in TEST_NAMES:
        test_folders = class_folders(folder / name, deep=True)
        if test_folders:
            names = tuple(map(_class_name, test_folders))
            for odd in sorted(set(names) ^ set(train.classes))[:1]:
                lacking = folder / ("train" if odd in names else name) / odd
                raise TernzipError(
                    f"{lacking}: expected pictures of class {odd!r}, as in the other split, found none"
                )
            return train, _labelled(folder / name, test_folders)
    return train, None


def _labelled(folder: Path, classes: list[Path]) -> Labelled:
    if len(classes) < 2:
        raise TernzipError(
            f"{folder}: expected folders of two classes or more, found {classes[0].name!r} alone"
        )
    pictures, labels = [], []
    for label, inner in enumerate(classes):
        found = {path.relative_to(inner).as_posix(): path for path in _pictures(inner)}
        for name, path in sorted(found.items()):
            pictures.append(Picture(str(path), path, _encoded(f"{inner.name}/{name}")))
            labels.append(label)
    return Labelled(pictures, labels, tuple(map(_class_name, classes)))


def _class_name(folder: Path) -> str:
    """The folder's name; bytes in it that are no UTF-8, which a .tnz file could not hold, as \\xNN."""
    return _encoded(folder.name).decode("utf-8", "backslashreplace")


def _encoded(name: str) -> bytes:
    """The bytes of a file's name, which need not be UTF-8."""
    return name.encode("utf-8", "surrogateescape")


def _pictures(folder: Path, *, deep: bool = True) -> Iterator[Path]:
    """Those in a folder and, if `deep`, in folders in it, links followed, once each; nothing hidden."""
    seen = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        folders[:] = [name for name in folders if deep and real not in seen and not name.startswith(".")]
        if real not in seen:
            yield from (
                Path(root, name)
                for name in files
                if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
            )
        seen.add(real)
