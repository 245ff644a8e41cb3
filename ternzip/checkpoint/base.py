"""What every kind of checkpoint looks like to the rest of the package."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ternzip._core.errors import TernzipError
from ternzip._core.tensor import RawTensor, Tie

LATENT_MARK = ".parametrizations."


def located(
    name: str, tensors: Iterator[tuple[str, RawTensor | Tie]]
) -> Iterator[tuple[str, RawTensor | Tie]]:
    """The same tensors; errors about one of them name the file too."""
    try:
        yield from tensors
    except TernzipError as error:
        raise TernzipError(f"{name}: {error}") from None


@dataclass
class Checkpoint:
    """Tensors that are read one by one, so that memory stays near the largest.

    Attributes:
        name: the file's name for messages.
        tensors: starts a pass over (name, tensor or tie) in the file's order.
        sizes: bytes in memory of each tensor by name, known without reading it.
        metadata: strings the file carries beside its tensors.
        skipped: what the file holds that is no tensor and is not stored.
        faithful: whether order and ties are those the model had; .safetensors keeps neither.
        close: releases the file.
    """

    name: str
    tensors: Callable[[], Iterator[tuple[str, RawTensor | Tie]]]
    sizes: dict[str, int]
    metadata: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    faithful: bool = True
    close: Callable[[], None] = lambda: None

    @property
    def latent(self) -> list[str]:
        """Names that are latent weights of torch parametrizations, stored in place of the ternary ones."""
        return [name for name in self.sizes if LATENT_MARK in f".{name}" and ".original" in name]
