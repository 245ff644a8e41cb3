"""Architectures by name, for the command line and for configuration files.

Imports torch only to build one, so that a command line can list them at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ternzip._core.errors import TernzipError
from ternzip.models.own import OwnArchitecture, is_own, own_architecture

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Architecture:
    """How to build a network for images.

    Attributes:
        name: as the command line spells it.
        build: takes num_classes, activation, in_channels (or in_features where `flat`) and its own options.
        activation: the one it was published with.
        flat: whether it sees an image as a vector, of any shape.
    """

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
        """The network for images of a shape (channels, height, width); `activation` None is its own."""
        if self.flat:
            options["in_features"] = math.prod(image_shape)
        else:
            options["in_channels"] = image_shape[0]
        return self.build(num_classes=num_classes, activation=activation or self.activation, **options)


def _paper(**options: Any) -> nn.Module:
    from ternzip.models.paper import PaperResNet

    return PaperResNet(**options)


def _he(depth: int, **options: Any) -> nn.Module:
    from ternzip.models.he import HeResNet

    return HeResNet(depth, **options)


def _fully_connected(**options: Any) -> nn.Module:
    from ternzip.models.fully_connected import FullyConnected

    return FullyConnected(**options)


ARCHITECTURES: dict[str, Architecture] = {
    entry.name: entry
    for entry in (
        Architecture("resnet20", _paper, "hardtanh"),
        Architecture("resnet20-star", partial(_paper, inflate=5), "hardtanh"),
        *(Architecture(f"he-resnet{depth}", partial(_he, depth), "relu") for depth in (20, 32, 44, 56)),
        Architecture("fc3", _fully_connected, "relu", flat=True),
    )
}


def architecture(name: str) -> Architecture | OwnArchitecture:
    """The architecture of that name, with - or _ inside, or of code: MODULE:FUNCTION, which is imported.

    Raises TernzipError for another name, and for code that is not there or fails.
    """
    if is_own(name):
        return own_architecture(name)
    found = ARCHITECTURES.get(name.replace("_", "-"))
    if found is None:
        raise TernzipError(
            f"unknown architecture {name!r}: expected one of {', '.join(ARCHITECTURES)}, or MODULE:FUNCTION"
        )
    return found
