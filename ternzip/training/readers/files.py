"""What the readers share: bytes of a file, labels within their range, where files may lie."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ternzip._core.errors import TernzipError
from ternzip.training.images import MissingDataError


def read_bytes(path: Path) -> bytes:
    """All bytes of a file, unpacked if it ends in .gz; MissingDataError where there is none."""
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except FileNotFoundError:
        raise MissingDataError(f"{path}: no such data file: give its folder, or ask for a download") from None
    except (OSError, EOFError, zlib.error) as error:
        raise TernzipError(f"{path}: data file cannot be read: {error}") from error


def checked_labels(labels: Tensor, num_classes: int, source: object) -> Tensor:
    """Labels as int64; TernzipError, naming their source, for one that is not in 0 to num_classes - 1."""
    labels = labels.to(torch.int64)
    for wrong in labels[(labels < 0) | (labels >= num_classes)][:1].tolist():
        raise TernzipError(f"{source}: damaged: expected labels 0 to {num_classes - 1}, found {wrong}")
    return labels


def first_with(pattern: str, places: Sequence[Path]) -> Path | None:
    """The first of several folders that holds a file of that pattern."""
    return next((place for place in places if any(place.glob(pattern))), None)
