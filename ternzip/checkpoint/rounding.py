"""Rounds full-precision tensors to a narrower type on their way into a file, when asked to."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from ternzip._core.errors import TernzipError
from ternzip._core.tensor import RawTensor, Tie
from ternzip.checkpoint.base import Checkpoint
from ternzip.codecs.ternary import detect, is_weight
from ternzip.io.tensors import from_raw, to_raw

_WIDE = (torch.float64, torch.float32)


@dataclass
class Rounding:
    """float32 and float64 tensors that are not ternary weights become `dtype`.

    Attributes:
        dtype: torch.bfloat16 or torch.float16.
        changed: names of the tensors rounded so far.
        elements: how many elements they have.
        largest: the largest absolute error of any element so far.
    """

    dtype: torch.dtype
    changed: list[str] = field(default_factory=list)
    elements: int = 0
    largest: float = 0.0

    def applied_to(self, checkpoint: Checkpoint) -> Checkpoint:
        """The checkpoint with its tensors rounded as they are read."""

        def tensors() -> Iterator[tuple[str, RawTensor | Tie]]:
            for name, raw in checkpoint.tensors():
                yield name, raw if isinstance(raw, Tie) else self._round(name, raw)

        return dataclasses.replace(checkpoint, tensors=tensors)

    def _round(self, name: str, raw: RawTensor) -> RawTensor:
        tensor = from_raw(name, raw)
        if tensor.dtype not in _WIDE or not tensor.numel():
            return raw
        found = detect(raw)
        if found is not None and is_weight(raw.shape, found.counts):
            return raw
        rounded = tensor.to(self.dtype)
        if (torch.isinf(rounded) & ~torch.isinf(tensor)).any():
            most = tensor[torch.isfinite(tensor)].abs().max().item()
            limit = torch.finfo(self.dtype).max
            raise TernzipError(
                f"tensor {name!r}: cannot round to {str(self.dtype).removeprefix('torch.')}: "
                f"expected at most {limit:g}, found {most:g}"
            )
        error = (rounded.double() - tensor.double()).abs().nan_to_num(0.0)  # infinities and NaNs stay
        self.changed.append(name)
        self.elements += tensor.numel()
        self.largest = max(self.largest, error.max().item())
        return to_raw(name, rounded)
