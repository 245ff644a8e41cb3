"""Data sets from their public places, when the user asks: by pooch, md5 sums checked."""

from __future__ import annotations

from pathlib import Path

from ternzip._core.errors import TernzipError

# Addresses and sums as the data sets' own pages and torchvision state them.
CIFAR10 = ("https://www.cs.toronto.edu/~kriz/", "cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530")
IDX = {
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
    "fashion-mnist": (
        # A bucket's website answers http alone; the md5 sums say whether what came is the data set.
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
    ),
}


def fetch(name: str, folder: Path) -> None:
    """Fetch what is missing of a data set into `folder`, where `ternzip.training.data` looks for it.

    Raises TernzipError without pooch, without a network, and when an md5 sum is wrong.
    """
    try:
        import pooch
    except ImportError as error:
        raise TernzipError("downloading needs pooch: pip install 'ternzip[train]'") from error
    try:
        if name == "cifar10":
            base, file, md5 = CIFAR10
            pooch.retrieve(
                base + file, f"md5:{md5}", fname=file, path=folder, processor=pooch.Untar(extract_dir=".")
            )
            return
        base, files = IDX[name]
        target = folder / name
        for file, md5 in files.items():
            pooch.retrieve(base + file, f"md5:{md5}", fname=file, path=target)
    except (OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TernzipError(f"{name}: download failed: {reason}") from error
