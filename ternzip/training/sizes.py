"""What a model takes as a .tnz file: predicted by the entropy of its symbols, and as it was written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from ternzip._core.symbols import SymbolCounts
from ternzip.container.describe import describe_file
from ternzip.container.reader import Reader
from ternzip.quantization import count_layers
from ternzip.quantization.state import other_state, ternary_names


@dataclass(frozen=True)
class Projection:
    """Predicted size in bytes: order-0 entropy of each ternary tensor, and all else uncompressed."""

    ternary: float
    other: int

    @property
    def total(self) -> float:
        """The whole model."""
        return self.ternary + self.other


def predicted_bytes(counts: Mapping[str, SymbolCounts]) -> float:
    """What order-0 coding takes of each layer by the entropy of its own symbols."""
    return sum(count.entropy * count.total / 8 for count in counts.values())


def project(model: nn.Module, counts: Mapping[str, SymbolCounts] | None = None) -> Projection:
    """The projected size of a prepared model, from numbers that every epoch has anyway: nothing is compressed.

    `counts` (what `count_layers` returns) saves counting again.
    """
    others = other_state(model).values()
    return Projection(
        ternary=predicted_bytes(count_layers(model) if counts is None else counts),
        # A module's extra state may be anything.
        other=sum(entry.numel() * entry.element_size() for entry in others if isinstance(entry, Tensor)),
    )


@dataclass(frozen=True)
class StoredSizes:
    """A prepared model and the file that holds what it computes with; sizes in bytes.

    Attributes:
        counts: symbols of all ternary layers together, also of those that are all zero.
        predicted: what order-0 coding of each layer takes by its entropy.
        ternary: what the ternary layers take in the file.
        file: the whole file.
    """

    counts: SymbolCounts
    predicted: float
    ternary: int
    file: int


def stored_sizes(path: str | os.PathLike[str], model: nn.Module) -> StoredSizes:
    """Sizes of the file at `path` that `ternary_state(model)` was saved to."""
    counts = count_layers(model)
    ternary = ternary_names(model)
    with Reader.open(path) as reader:
        info = describe_file(reader)
    return StoredSizes(
        counts=sum(counts.values(), SymbolCounts()),
        predicted=predicted_bytes(counts),
        ternary=sum(tensor.bytes for tensor in info.tensors if tensor.name in ternary),
        file=info.bytes,
    )
