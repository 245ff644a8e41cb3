"""Compressors that leave a layer one layer: ternary thresholds, magnitude pruning, bits of codes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ternzip.search.compressors.base import HALF, CompressedLayer, LayerView, kept_whole
from ternzip.search.compressors.encodings import Codes, Encoding, TernaryLevels


@dataclass(frozen=True)
class TernaryCompressor:
    """Weights become -a, 0, +a: Delta = c mean abs(w), c from `highest` (theta 0) to `lowest`, logarithmically.

    Attributes:
        per_row: levels for each output channel instead of one for the tensor.
    """

    per_row: bool = False
    lowest: float = 0.2
    highest: float = 5.0
    name: str = "threshold"
    spread: float = 0.3
    monotone: bool = False  # least squared error lies near a threshold of 0.7 means

    def describe(self) -> str:
        """See Compressor."""
        return f"ternary(per_row={self.per_row}, {self.lowest:g} to {self.highest:g})"

    def compress(self, view: LayerView, theta: float) -> CompressedLayer:
        """See Compressor."""
        share = self.highest * (self.lowest / self.highest) ** theta
        threshold = share * float(view.weight.abs().mean())
        label = f"ternary, threshold {share:.3f} of the mean" + (", levels a row" if self.per_row else "")
        return kept_whole(view, TernaryLevels(threshold, self.per_row), label)


@dataclass(frozen=True)
class PruneCompressor:
    """The smallest magnitudes become zeros, the rest codes; the share kept rises from `least` to all."""

    bits: int = 8
    least: float = 0.01
    name: str = "kept"
    spread: float = 0.4
    monotone: bool = True

    def describe(self) -> str:
        """See Compressor."""
        return f"prune({self.bits} bits, from {self.least:g})"

    def compress(self, view: LayerView, theta: float) -> CompressedLayer:
        """See Compressor."""
        share = self.least ** (1 - theta)
        magnitude = view.weight.abs().flatten()
        kept = max(1, math.ceil(share * magnitude.numel()))
        threshold = magnitude.kthvalue(magnitude.numel() - kept + 1).values
        mask = view.weight.abs() >= threshold
        return kept_whole(view, Codes(self.bits, mask=mask), f"{share:.1%} kept, {self.bits} bits")


BITS = (4, 6, 8, 16)


@dataclass(frozen=True)
class BitsCompressor:
    """4, 6, 8 or 16 bits a weight: theta picks one of four equal intervals."""

    name: str = "bits"
    spread: float = 0.5
    monotone: bool = True

    def describe(self) -> str:
        """See Compressor."""
        return f"bits{BITS}"

    def compress(self, view: LayerView, theta: float) -> CompressedLayer:
        """See Compressor."""
        bits = BITS[min(int(theta * len(BITS)), len(BITS) - 1)]
        return kept_whole(view, encoding_of(bits), f"{bits} bits")


def encoding_of(bits: int, axis: int = 0) -> Encoding:
    """Codes of that many bits, or float16 for 16."""
    return HALF if bits == 16 else Codes(bits, axis)
