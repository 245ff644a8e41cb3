"""Image data sets read from a folder: by name, or as what its files are found to be."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch

from ternzip._core.errors import TernzipError
from ternzip.models.spec import ImageFit, NetworkSpec
from ternzip.training.catalog import (
    AUTO,
    DATASET_CHOICES,
    DATASETS,
    LAYOUTS,
    DatasetInfo,
    parse_image_size,
)
from ternzip.training.images import Dataset, MissingDataError, Split, measured_statistics
from ternzip.training.options import flag
from ternzip.training.readers.cifar import cifar_folder, read_cifar
from ternzip.training.readers.digits import read_digits
from ternzip.training.readers.folder import Labelled, holds_class_folders, list_class_folders
from ternzip.training.readers.idx import idx_folder, read_idx, read_known_idx
from ternzip.training.readers.parquet import parquet_files, read_parquet
from ternzip.training.readers.pictures import Frame, common_frame, read_pictures
from ternzip.training.recipe import OPTIONS, Recipe

PICTURES = ("image-folder", "parquet")


@dataclass(frozen=True)
class Wanted:
    """How pictures are to come, where their files do not settle it.

    Attributes:
        size: (height, width); None is their own if they share one.
        channels: 1 or 3; None is 3 if any has colour.
        fit: how a picture of another shape gets that size, see `read_pictures`.
        test_share: share of the images that is for testing where none are set apart, in (0, 1].
        classes: names that the classes must have, in this order; none for any.
    """

    size: tuple[int, int] | None = None
    channels: int | None = None
    fit: ImageFit = "crop"
    test_share: float = 0.2
    classes: tuple[str, ...] = ()


def open_dataset(
    name: str,
    folder: str | Path = "data",
    *,
    download: bool = False,
    wanted: Wanted = Wanted(),
    like: NetworkSpec | None = None,
) -> Dataset:
    """A data set from files in `folder`: one of DATASET_CHOICES, "auto" for what is found there.

    `download=True` fetches what is missing, checking md5 sums (needs pooch); of "auto" that is CIFAR-10. For a network
    that exists, `like`, pictures are brought to the size and the channels it is made for, and fitted and set aside for
    testing as for its training. Raises TernzipError for an unknown name, missing or damaged files, where "auto" finds
    several data sets, and where images or classes are not those of the network.
    """
    if name not in DATASET_CHOICES:
        raise TernzipError(f"unknown data set {name!r}: expected one of {', '.join(DATASET_CHOICES)}")
    folder = Path(folder)
    if like is not None:
        channels, height, width = like.image_shape
        wanted = Wanted(
            size=(height, width),
            channels=channels,
            fit=like.image_fit or wanted.fit,
            test_share=like.test_share or wanted.test_share,
            classes=like.classes,
        )
    dataset = _present_or_fetched(name, folder, download, wanted)
    for what in ("image_shape", "num_classes") if like is not None else ():
        expected, found = getattr(like, what), getattr(dataset.info, what)
        if expected != found:
            what = what.replace("_", " ")
            raise TernzipError(f"{folder}: the network was made for {what} {expected}, found {found}")
    return dataset


def _present_or_fetched(name: str, folder: Path, download: bool, wanted: Wanted) -> Dataset:
    try:
        return _read(found_in(folder) if name == AUTO else name, folder, wanted)
    except MissingDataError:
        if not download or name in LAYOUTS:
            raise
    from ternzip.training.download import fetch

    name = "cifar10" if name == AUTO else name
    fetch(DATASETS[name], folder)
    return _read(name, folder, wanted)


def dataset_of(recipe: Recipe, like: NetworkSpec | None = None) -> Dataset:
    """The data set of a recipe, see `open_dataset`.

    Raises TernzipError also for options that are for pictures alone where the data are none.
    """
    wanted = Wanted(
        size=None if recipe.image_size is None else parse_image_size(recipe.image_size),
        fit=recipe.image_fit,  # type: ignore[arg-type]
        test_share=recipe.test_share,
    )
    dataset = open_dataset(recipe.dataset, recipe.data, download=recipe.download, wanted=wanted, like=like)
    for name in ("image_size", "image_fit", "test_share"):
        if dataset.info.name not in PICTURES and getattr(recipe, name) != OPTIONS[name].default:
            raise TernzipError(f"{flag(name)}: not used with {dataset.info.name}, only with pictures")
    return dataset


def found_in(folder: Path) -> str:
    """The one data set in a folder, by its name or layout; TernzipError for none or several."""
    if not folder.is_dir():
        raise MissingDataError(
            f"{folder}: no such folder of data: --data names another, --download fetches CIFAR-10"
        )
    known = [name for name in ("cifar10", "cifar100") if cifar_folder(folder, name)]
    # What lies in a folder of its own name is that; bare IDX files may be anything.
    known += [
        name
        for name in ("mnist", "fashion-mnist")
        if idx_folder(folder, name) not in (None, folder, folder / "raw")
    ]
    checks = {
        "idx": idx_folder(folder, "idx") is not None,
        "image-folder": holds_class_folders(folder),
        "parquet": bool(parquet_files(folder)),
    }
    found = known + [name for name, there in checks.items() if there]
    if not found:
        expected = ", ".join(["CIFAR's files (binary or python)", *LAYOUTS.values()])
        raise MissingDataError(f"{folder}: no data set found: expected {expected}")
    if len(found) > 1:
        raise TernzipError(f"{folder}: holds several data sets: {', '.join(found)}: --dataset says which")
    return found[0]


def _read(name: str, folder: Path, wanted: Wanted) -> Dataset:
    if name in PICTURES:
        train, test = list_class_folders(folder) if name == "image-folder" else read_parquet(folder)
        return _of_pictures(name, train, test, folder, wanted)
    if name == "idx":
        return _measured(name, *read_idx(folder))
    info = DATASETS[name]
    if name in ("cifar10", "cifar100"):
        first, second, classes = read_cifar(info, folder)
        return Dataset(dataclasses.replace(info, classes=classes), first, second)
    return Dataset(info, *(read_digits if name == "digits" else read_known_idx)(info, folder))


def _of_pictures(name: str, train: Labelled, test: Labelled | None, folder: Path, wanted: Wanted) -> Dataset:
    if wanted.classes and wanted.classes != train.classes:
        ours, theirs = (", ".join(names[:4]) for names in (wanted.classes, train.classes))
        raise TernzipError(f"{folder}: expected the classes {ours}, ..., found {theirs}, ...")
    frame, note = common_frame(train.pictures, wanted.size)
    frame = Frame(frame.size, wanted.channels or frame.channels)
    notes = [note] if note else []
    splits = [
        Split(read_pictures(part.pictures, frame, wanted.fit), torch.tensor(part.labels))
        for part in (train, test)
        if part is not None
    ]
    if test is None:
        splits = _set_aside(splits[0], [picture.draw for picture in train.pictures], wanted.test_share)
        notes.append(
            f"{folder}: no test images: {len(splits[1]):,} of {len(train.labels):,} set aside by --test-share"
        )
    return _measured(name, splits[0], splits[1], train.classes, tuple(notes))


def _set_aside(split: Split, draws: list[float], share: float) -> list[Split]:
    """Training and test images, each by its own draw: an image stays where it is when others come or go.

    At least one is for testing.
    """
    numbers = torch.tensor(draws, dtype=torch.float64)
    chosen = numbers < max(share, float(numbers.min()) + 2**-48)
    return [split.take(~chosen), split.take(chosen)]


def _measured(
    name: str, train: Split, test: Split, classes: tuple[str, ...] = (), notes: tuple[str, ...] = ()
) -> Dataset:
    channels, height, width = train.images.shape[1:]
    count = len(classes) or int(torch.cat([train.labels, test.labels]).max()) + 1
    mean, std = measured_statistics(train.images if len(train) else test.images)
    info = DatasetInfo(
        name, (channels, height, width), mean, std, mirrors=channels == 3, num_classes=count, classes=classes
    )
    return Dataset(info, train, test, notes)
