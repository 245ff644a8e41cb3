"""Ternarizes a full-precision checkpoint on its way into a file, when asked to."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import torch

from ternzip._core.errors import TernzipError
from ternzip._core.symbols import SymbolCounts
from ternzip._core.tensor import RawTensor, Tie
from ternzip._core.text import listed
from ternzip.checkpoint.base import Checkpoint
from ternzip.codecs.ternary import detect, is_weight
from ternzip.io.tensors import from_raw, to_raw
from ternzip.ops import count_symbols, ternarize

_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


@dataclass
class PostTrainingTernarization:
    """Which trained tensors become ternary as they are stored, and how; and, after a pass, what was done.

    Attributes:
        delta: the fixed threshold Delta of Eq. 5, or None for TWN's: 0.7 times the mean magnitude of each
            tensor (arXiv 1605.04711).
        scaled: levels of plus and minus the mean magnitude of the kept weights instead of plus and minus 1.
        skip: patterns (``fc.*``) of names to leave alone, and with them all that is tied to such a name; each must
            match a tensor.
        counts: symbols of what has been ternarized so far.
        changed, kept: names of floating-point tensors of two or more dimensions, as the pass meets them.
        emptied: those of `changed` of which nothing is left but zeros: a network answers nothing after such a layer.

    Raises TernzipError for a delta that is negative or not finite.
    """

    delta: float | None
    scaled: bool
    skip: tuple[str, ...] = ()
    counts: SymbolCounts = field(default_factory=SymbolCounts)
    changed: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    emptied: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.delta is not None and not 0 <= self.delta < math.inf:
            raise TernzipError(f"delta: expected a finite threshold of at least 0, found {self.delta}")

    def applied_to(self, checkpoint: Checkpoint) -> Checkpoint:
        """The checkpoint with its weights ternarized as they are read; an optimizer's state is no weight.

        Raises TernzipError where a pattern of `skip` matches no tensor: what it meant would become ternary.
        """
        for pattern in self.skip:
            if not any(fnmatchcase(name, pattern) for name in checkpoint.sizes):
                raise TernzipError(
                    f"{checkpoint.name}: skip: no tensor matches {pattern!r}: "
                    f"expected one of {listed(list(checkpoint.sizes), 8)}"
                )

        skipped = {
            name for name in checkpoint.sizes if any(fnmatchcase(name, pattern) for pattern in self.skip)
        }
        skipped |= checkpoint.moments
        # A tie is stored as its first name is: a head that is to stay keeps the embedding that it is tied to.
        skipped |= {first for name, first in checkpoint.ties.items() if name in skipped}

        def tensors() -> Iterator[tuple[str, RawTensor | Tie]]:
            for name, raw in checkpoint.tensors():
                if isinstance(raw, Tie):
                    yield name, raw
                else:
                    yield name, self._convert(checkpoint.name, name, raw, name in skipped)

        return dataclasses.replace(checkpoint, tensors=tensors)

    def _convert(self, file: str, name: str, raw: RawTensor, is_skipped: bool) -> RawTensor:
        if len(raw.shape) < 2:
            return raw
        tensor = from_raw(name, raw)
        is_number = tensor.is_floating_point() or tensor.is_complex()
        if not is_number or not tensor.numel():  # of no elements there is no mean
            return raw
        found = detect(raw)
        is_ternary = found is not None and is_weight(raw.shape, found.counts)
        if is_ternary or is_skipped or tensor.dtype not in _FLOATS:
            self.kept.append(name)
            return raw
        magnitudes = tensor.double().abs()
        if not torch.isfinite(magnitudes).all():
            raise TernzipError(
                f"{file}: tensor {name!r}: cannot ternarize: expected finite weights, found NaN or infinity"
            )
        delta = self.delta if self.delta is not None else 0.7 * _mean(magnitudes)
        level = 1.0
        if self.scaled:
            surviving = magnitudes[magnitudes > torch.tensor(delta, dtype=tensor.dtype).item()]
            level = _mean(surviving) if surviving.numel() else 1.0
        result = ternarize(tensor, delta, levels=(-level, level))
        counts = count_symbols(torch.sign(result))
        self.counts += counts
        self.changed.append(name)
        if counts.zero == counts.total and bool(magnitudes.any()):
            self.emptied.append(name)
        return to_raw(name, result)


def _mean(magnitudes: torch.Tensor) -> float:
    """Finite for finite magnitudes, also where their sum is beyond float64."""
    mean = magnitudes.mean().item()
    if math.isfinite(mean):
        return mean
    largest = magnitudes.max()
    return ((magnitudes / largest).mean() * largest).item()
