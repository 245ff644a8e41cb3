"""Architectures by name, for the command line and for configuration files."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from ternzip._core.errors import TernzipError
from ternzip.models.fully_connected import fc3
from ternzip.models.he import he_resnet20, he_resnet32, he_resnet44, he_resnet56
from ternzip.models.paper import resnet20


@dataclass(frozen=True)
class Architecture:
    """How to build a network for images of a shape (channels, height, width); `flat` ones take in_features."""

    name: str
    build: Callable[..., nn.Module]
    activation: str
    flat: bool = False

    def __call__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        *,
        activation: str | None = None,
        **options: Any,
    ) -> nn.Module:
        if self.flat:
            options["in_features"] = math.prod(image_shape)
        else:
            options["in_channels"] = image_shape[0]
        return self.build(num_classes=num_classes, activation=activation or self.activation, **options)


def _resnet20_star(**options: Any) -> nn.Module:
    return resnet20(inflate=5, **options)


ARCHITECTURES: dict[str, Architecture] = {
    entry.name: entry
    for entry in (
        Architecture("resnet20", resnet20, "hardtanh"),
        Architecture("resnet20-star", _resnet20_star, "hardtanh"),
        Architecture("he-resnet20", he_resnet20, "relu"),
        Architecture("he-resnet32", he_resnet32, "relu"),
        Architecture("he-resnet44", he_resnet44, "relu"),
        Architecture("he-resnet56", he_resnet56, "relu"),
        Architecture("fc3", fc3, "relu", flat=True),
    )
}


def architecture(name: str) -> Architecture:
    """The architecture of that name, with - or _ inside; raises TernzipError for another name."""
    found = ARCHITECTURES.get(name.replace("_", "-"))
    if found is None:
        raise TernzipError(f"unknown architecture {name!r}: expected one of {', '.join(ARCHITECTURES)}")
    return found
