"""scikit-learn's digits, which come with the package."""

from __future__ import annotations

from pathlib import Path

import torch

from ternzip._core.extras import require
from ternzip.training.catalog import DatasetInfo
from ternzip.training.images import Split


def read_digits(info: DatasetInfo, folder: Path) -> tuple[Split, Split]:
    """scikit-learn's digits: 8 x 8 pixels, every fifth image for testing; needs no file."""
    require("reading the digits", "demo", "sklearn")
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.tensor(data.images * (255 / 16), dtype=torch.uint8).unsqueeze(1)
    labels = torch.tensor(data.target, dtype=torch.int64)
    test = torch.arange(len(labels)) % 5 == 0
    return Split(images[~test], labels[~test]), Split(images[test], labels[test])
