"""What is known of data sets, and where those that `ternzip train` knows by name come from. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from ternzip._core.errors import TernzipError

if TYPE_CHECKING:
    from ternzip.models import NetworkSpec

Statistics: TypeAlias = Literal["imagenet", "dataset", "none"]
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a data set beside its images.

    Attributes:
        name: as the command line spells it, or the layout of files it was found in.
        image_shape: (channels, height, width).
        mean, std: of the training images scaled to [0, 1], for each channel.
        mirrors: whether a mirrored image is another of its kind.
        num_classes: labels are 0 to num_classes - 1.
        classes: their names, in that order; none where its files name none.
        natural: whether the paper normalizes it by ImageNet's statistics.
        base: address that the files are fetched from.
        files: md5 sums of what is fetched, by name. Addresses and sums as the data sets' own pages and torchvision
            state them.
    """

    name: str
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    mirrors: bool = False
    num_classes: int = 10
    classes: tuple[str, ...] = ()
    natural: bool = False
    base: str = ""
    files: Mapping[str, str] = field(default_factory=dict)


DATASETS = {
    info.name: info
    for info in (
        DatasetInfo(
            "cifar10",
            (3, 32, 32),
            (0.4914, 0.4822, 0.4465),
            (0.2470, 0.2435, 0.2616),
            mirrors=True,
            natural=True,
            base="https://www.cs.toronto.edu/~kriz/",
            files={"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
        ),
        DatasetInfo(
            "cifar100",
            (3, 32, 32),
            (0.5071, 0.4865, 0.4409),
            (0.2673, 0.2564, 0.2762),
            mirrors=True,
            num_classes=100,
            natural=True,
            base="https://www.cs.toronto.edu/~kriz/",
            files={"cifar-100-python.tar.gz": "eb9058c3a382ffc7106e4002c42a8d85"},
        ),
        DatasetInfo(
            "mnist",
            (1, 28, 28),
            (0.1307,),
            (0.3081,),
            base="https://ossci-datasets.s3.amazonaws.com/mnist/",
            files={
                "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
                "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
                "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
            },
        ),
        DatasetInfo(
            "fashion-mnist",
            (1, 28, 28),
            (0.2860,),
            (0.3530,),
            mirrors=True,
            # A bucket's website answers http alone; the md5 sums say whether what came is the data set.
            base="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            files={
                "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
                "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
                "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
            },
        ),
        DatasetInfo("digits", (1, 8, 8), (0.3,), (0.38,)),
    )
}


NO_IMAGES = DatasetInfo("", (0, 0, 0), (), ())
"""Of a run whose data are the user's own: nothing is known."""
# What is read without being known by name: its statistics, classes and sizes are measured.
LAYOUTS = {
    "idx": "four IDX files as MNIST has them",
    "image-folder": "a folder of pictures for each class",
    "parquet": "Parquet files of pictures",
}
AUTO = "auto"
DATASET_CHOICES = (AUTO, *DATASETS, *LAYOUTS)


def statistics_of(info: DatasetInfo, name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std) for each channel of images in [0, 1].

    "imagenet" gives ImageNet's for what the paper normalizes by them and the data set's own for others, "dataset" the
    data set's own, "none" 0 and 1.
    """
    channels = info.image_shape[0]
    if name == "none":
        return (0.0,) * channels, (1.0,) * channels
    if name == "imagenet" and info.natural:
        return IMAGENET_MEAN, IMAGENET_STD
    return info.mean, info.std


def statistics_for(
    spec: NetworkSpec, info: DatasetInfo, name: str | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std) for a network that exists: what `name` gives, or, without one, what its file says or "imagenet"."""
    if name is None and spec.mean:
        return spec.mean, spec.std
    return statistics_of(info, name or "imagenet")


def parse_image_size(text: str) -> tuple[int, int]:
    """(height, width) of "32" or "32x48"; TernzipError for anything else."""
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() and 0 < int(part) < 1 << 16 for part in parts):
        raise TernzipError(
            f"--image-size: expected a number of pixels, or height x width as 32x48, found {text!r}"
        )
    return int(parts[0]), int(parts[-1])
