"""What a file says of the network in it, so that it can be built again without being asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from ternzip._core.errors import TernzipError
from ternzip._core.text import first_line
from ternzip.models.registry import ARCHITECTURES, architecture

if TYPE_CHECKING:
    from torch import nn

MOST_PIXELS = 1 << 16  # a side of an image; more is damage
MOST_CLASSES = 1 << 20
ImageFit: TypeAlias = Literal["crop", "stretch"]
IMAGE_FITS: tuple[ImageFit, ...] = get_args(ImageFit)


@dataclass(frozen=True)
class NetworkSpec:
    """What builds a network for images and feeds it.

    Attributes:
        arch: name of the architecture, or MODULE:FUNCTION.
        options: its keyword arguments beside those that the images decide.
        image_shape: (channels, height, width) of an image.
        num_classes: outputs.
        mean, std: by which images in [0, 1] are normalized, for each channel; empty where that is not known.
        classes: names, in the order of the outputs; empty where they are not known.
        image_fit: how pictures of another shape were brought to that size; None as by default.
        test_share: of pictures without a test set, how many it was not trained on, in (0, 1]; None as by default.
    """

    arch: str
    options: Mapping[str, Any] = field(default_factory=dict)
    image_shape: tuple[int, int, int] = (3, 32, 32)
    num_classes: int = 10
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    classes: tuple[str, ...] = ()
    image_fit: ImageFit | None = None
    test_share: float | None = None

    def build(self) -> nn.Module:
        """The network with fresh weights; TernzipError where the architecture does not take its options.

        Imports code of the user's where `arch` names some: see `check_consent`.
        """
        made = architecture(self.arch)
        try:
            return made(self.image_shape, self.num_classes, **self.options)
        except (TypeError, RuntimeError, ValueError) as error:
            reason = first_line(error)
            raise TernzipError(f"{self.arch}: cannot be built with {dict(self.options)}: {reason}") from error

    def check_consent(self, source: str | Path, named: str | None = None, trusted: bool = False) -> None:
        """TernzipError unless the architecture is built in, or code that the user has `named` or `trusted`.

        A file may come from anybody, and building a network from MODULE:FUNCTION runs what that names.
        """
        if not trusted and self.arch != named and self.arch.replace("_", "-") not in ARCHITECTURES:
            raise TernzipError(
                f"{source}: its network is made by code, {self.arch}, which is not run because a file says so: "
                f"give --arch {self.arch}, or --trust-arch"
            )

    def to_metadata(self) -> dict[str, str]:
        """The spec as a file's metadata."""
        numbers = {"mean": self.mean, "std": self.std}
        return {
            "arch": self.arch,
            **({"arch_options": json.dumps(dict(self.options))} if self.options else {}),
            "image_shape": "x".join(map(str, self.image_shape)),
            "num_classes": str(self.num_classes),
            **{key: ",".join(f"{number:g}" for number in value) for key, value in numbers.items() if value},
            **({"classes": json.dumps(self.classes, ensure_ascii=False)} if self.classes else {}),
            **({} if self.image_fit is None else {"image_fit": self.image_fit}),
            **({} if self.test_share is None else {"test_share": repr(self.test_share)}),
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], source: str | Path) -> NetworkSpec | None:
        """The spec in a file's metadata, None where it names no architecture; TernzipError where it makes no sense."""
        if "arch" not in metadata or "image_shape" not in metadata:
            return None
        try:
            shape = tuple(int(part) for part in metadata["image_shape"].split("x"))
            options = json.loads(metadata.get("arch_options", "{}"))
            classes = tuple(json.loads(metadata.get("classes", "[]")))
            mean, std = (
                tuple(float(part) for part in metadata.get(key, "").split(",") if part)
                for key in ("mean", "std")
            )
            spec = cls(
                metadata["arch"],
                options,
                shape,  # type: ignore[arg-type]
                int(metadata["num_classes"]),
                mean,
                std,
                classes,
                image_fit=metadata.get("image_fit"),  # type: ignore[arg-type]
                test_share=float(metadata["test_share"]) if "test_share" in metadata else None,
            )
        except (KeyError, ValueError, TypeError) as error:
            raise TernzipError(f"{source}: metadata of its network cannot be read: {error}") from error
        if not spec._is_sound():
            raise TernzipError(f"{source}: metadata of its network makes no sense: {dict(metadata)}")
        return spec

    def _is_sound(self) -> bool:
        channels = len(self.image_shape) and self.image_shape[0]
        return (
            isinstance(self.options, dict)
            and len(self.image_shape) == 3
            and all(0 < n < MOST_PIXELS for n in self.image_shape)
            and 0 < self.num_classes < MOST_CLASSES
            and len(self.mean) == len(self.std)
            and len(self.mean) in (0, channels)
            and all(std > 0 for std in self.std)
            and all(isinstance(name, str) for name in self.classes)
            and len(self.classes) in (0, self.num_classes)
            and self.image_fit in (None, *IMAGE_FITS)
            and (self.test_share is None or 0 < self.test_share <= 1)
        )


def read_spec(path: str | Path) -> NetworkSpec | None:
    """What a checkpoint's metadata say of the network in it; None where they do not. Runs no code from the file."""
    from ternzip.checkpoint.load import open_checkpoint

    with closing(open_checkpoint(str(path))) as checkpoint:
        return NetworkSpec.from_metadata(checkpoint.metadata, path)
