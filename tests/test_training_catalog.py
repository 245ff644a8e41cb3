"""Statistics by name."""

from __future__ import annotations

from ternzip.training.catalog import DATASETS, IMAGENET_MEAN, IMAGENET_STD, statistics_of


def test_statistics_by_name() -> None:
    colour, grey = DATASETS["cifar10"], DATASETS["mnist"]
    assert statistics_of(colour, "imagenet") == (IMAGENET_MEAN, IMAGENET_STD)
    assert statistics_of(grey, "imagenet") == (grey.mean, grey.std)
    assert statistics_of(colour, "dataset") == (colour.mean, colour.std)
    assert statistics_of(colour, "none") == ((0.0,) * 3, (1.0,) * 3)
