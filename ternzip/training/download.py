"""Data sets from their public places, when the user asks: by pooch, md5 sums checked."""

from __future__ import annotations

from pathlib import Path

from ternzip._core.errors import TernzipError
from ternzip._core.extras import require
from ternzip._core.text import first_line
from ternzip.training.catalog import DatasetInfo


def fetch(info: DatasetInfo, folder: Path) -> None:
    """Fetch what is missing of a data set into `folder`, where `ternzip.training.images` looks for it.

    Raises TernzipError without pooch, without a network, and when an md5 sum is wrong.
    """
    require("downloading", "train", "pooch")
    import pooch

    try:
        for file, md5 in info.files.items():
            if file.endswith(".tar.gz"):
                target, processor = folder, pooch.Untar(extract_dir=".")
            else:
                target, processor = folder / info.name, None
            pooch.retrieve(info.base + file, f"md5:{md5}", fname=file, path=target, processor=processor)
    except (OSError, ValueError) as error:
        reason = first_line(error)
        raise TernzipError(f"{info.name}: download failed: {reason}") from error
