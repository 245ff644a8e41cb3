"""What a model would take as a .tnz file, from the entropy of its symbols, before any is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from ternzip._core.symbols import SymbolCounts
from ternzip.io.files import save
from ternzip.quantization import count_layers, ternary_state
from ternzip.quantization.state import ternary_names


@dataclass(frozen=True)
class Projection:
    """Predicted size in bytes: order-0 entropy of each ternary tensor, and all else as it is stored."""

    ternary: float
    other: int

    @property
    def total(self) -> float:
        return self.ternary + self.other


def project(model: nn.Module, counts: Mapping[str, SymbolCounts] | None = None) -> Projection:
    """The projected size of a prepared model; `counts` saves counting again.

    The tensors that are not ternary are compressed for it: their size has no formula, but they are few.
    """
    counts = count_layers(model) if counts is None else counts
    ternary = ternary_names(model)
    others = {name: tensor for name, tensor in ternary_state(model).items() if name not in ternary}
    return Projection(
        ternary=sum(count.entropy * count.total / 8 for count in counts.values()), other=len(save(others))
    )
