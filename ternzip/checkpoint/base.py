"""What every kind of checkpoint looks like to the rest of the package."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from ternzip._core.errors import TernzipError
from ternzip._core.tensor import RawTensor, Tie

Source = str | os.PathLike[str] | BinaryIO
"""Where a checkpoint or a .tnz file comes from: a path, or a stream that is read to its end."""

LONGEST_SAFETENSORS_HEADER = 100_000_000
"""Bytes of the header of a .safetensors file, as the safetensors library has it."""

LATENT_MARK = ".parametrizations."
_STATE_OF_TORCH = ("base", "_u", "_v")
"""What torch's own parametrizations (orthogonal, spectral_norm) keep beside their `original`."""


def located(
    name: str, tensors: Iterator[tuple[str, RawTensor | Tie]]
) -> Iterator[tuple[str, RawTensor | Tie]]:
    """The same tensors; errors about one of them name the file too."""
    try:
        yield from tensors
    except TernzipError as error:
        message = str(error)
        raise TernzipError(message if message.startswith(f"{name}: ") else f"{name}: {message}") from None


@dataclass
class Checkpoint:
    """Tensors that are read one by one, so that memory stays near the largest.

    Attributes:
        name: the file's name for messages.
        tensors: starts a pass over (name, tensor or tie) in the file's order. A file that changes meanwhile
            is a TernzipError before the pass ends.
        sizes: bytes in memory of each tensor by name, known without reading it.
        ties: names that share all elements with an earlier one, and that one's name.
        moments: names that are an optimizer's state, and no weights.
        metadata: strings the file carries beside its tensors.
        extensions: bytes by name, of a .tnz file.
        not_stored: what the file holds and a .tnz file of these tensors does not, a few words each.
        suffix: of the files of its format that `decompress` writes: ".pt", ".safetensors", ".gguf"; empty: unknown.
        faithful: whether order and ties are those the model had; .safetensors keeps neither.
        files: the paths it is read from; none of them may be written to.
        file_bytes: their bytes, or those that came through a pipe.
        close: releases the file.
    """

    name: str
    tensors: Callable[[], Iterator[tuple[str, RawTensor | Tie]]]
    sizes: dict[str, int]
    ties: dict[str, str] = field(default_factory=dict)
    moments: frozenset[str] = frozenset()
    metadata: dict[str, str] = field(default_factory=dict)
    extensions: Mapping[str, bytes] = field(default_factory=dict)
    not_stored: list[str] = field(default_factory=list)
    suffix: str = ""
    faithful: bool = True
    files: list[str] = field(default_factory=list)
    file_bytes: int = 0
    close: Callable[[], None] = lambda: None

    @property
    def tensor_bytes(self) -> int:
        """Bytes in memory of all tensors, tied ones counted once."""
        return sum(size for name, size in self.sizes.items() if name not in self.ties)

    @property
    def latent(self) -> list[str]:
        """Names that may be latent weights of prepared layers, stored in place of the ternary ones.

        A prepared layer has one ``parametrizations.weight.original``; weight_norm has ``original0`` and
        ``original1``, and torch's other parametrizations are told by the state they keep beside it.
        """
        found = []
        for name in self.sizes:
            owner, _, last = name.rpartition(".")
            if last != "original" or LATENT_MARK not in f".{owner}.":
                continue
            if not any(f"{owner}.0.{state}" in self.sizes for state in _STATE_OF_TORCH):
                found.append(name)
        return found
