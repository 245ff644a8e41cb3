"""How one tensor of a compressed network is stored, and which values come back.

An encoding is a pure function of a latent tensor: fine-tuning applies the same encoding again and again to
latents that move, so whatever it holds (threshold, mask, bits) is held.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from ternzip._core.errors import TernzipError

_CLIPS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
"""Shares of a row's largest magnitude that its largest code may stand for."""


@dataclass(frozen=True)
class Encoded:
    """One tensor as it is stored.

    Attributes:
        stored: what the file holds in its place: values or integer codes.
        value: what `stored` decodes to, in the latent's dtype; bit for bit what loading the file gives.
        scale: what integer codes are multiplied by, of a shape that broadcasts; None for values.
    """

    stored: Tensor
    value: Tensor
    scale: Tensor | None = None


class Encoding(Protocol):
    """A rule by which latent values become stored ones."""

    def encode(self, latent: Tensor) -> Encoded:
        """What is stored for `latent`, any float dtype, on the CPU."""
        ...

    def sparser(self, latent: Tensor, share: float) -> Encoding:
        """The same with that share of what it keeps, the smallest magnitudes, made zeros as well."""
        ...


@dataclass(frozen=True)
class Plain:
    """As it is."""

    def encode(self, latent: Tensor) -> Encoded:
        """See Encoding."""
        return Encoded(latent, latent)

    def sparser(self, latent: Tensor, share: float) -> Plain:
        """See Encoding."""
        return self  # whoever stores values as they are wants them all


@dataclass(frozen=True)
class Half:
    """float16, where that moves no value by more than a thousandth of itself (or a trifle beside the mean).

    Attributes:
        mask: bool, of the latent's shape: False makes a zero; None keeps all.
    """

    mask: Tensor | None = field(default=None, compare=False)

    def encode(self, latent: Tensor) -> Encoded:
        """See Encoding."""
        latent = latent if self.mask is None else latent * self.mask
        half = latent.half()
        value = half.to(latent.dtype)
        magnitude = latent.abs()
        if not bool(((value - latent).abs() <= 1e-3 * magnitude + 1e-4 * magnitude.mean()).all()):
            return Encoded(latent, latent)
        return Encoded(half, value)

    def sparser(self, latent: Tensor, share: float) -> Half:
        """See Encoding."""
        return Half(_sparser_mask(latent, self.mask, share))


@dataclass(frozen=True)
class Codes:
    """Integers of some bits times one scale for each index of dimension `axis`.

    The scale lets the largest code stand for that share of the row's largest magnitude, of a few shares,
    which loses the least squared error.

    Attributes:
        bits: 2 to 8; codes lie in -(2^(bits-1) - 1) to 2^(bits-1) - 1 and are stored as int8.
        axis: the dimension that has scales of its own.
        mask: bool, of the latent's shape: False makes a zero; None keeps all.
    """

    bits: int = 8
    axis: int = 0
    mask: Tensor | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 8:
            raise TernzipError(f"bits of codes: expected 2 to 8, found {self.bits}")

    def encode(self, latent: Tensor) -> Encoded:
        """See Encoding."""
        values = latent.float() if self.mask is None else latent.float() * self.mask
        others = [dim for dim in range(values.dim()) if dim != self.axis]
        largest = values.abs().amax(others, keepdim=True) if others else values.abs()
        top = 2 ** (self.bits - 1) - 1
        best_scale = best_loss = None
        for clip in _CLIPS:
            scale = _stored_scale(clip * largest / top)
            lost = (_rounded(values, scale, top) * scale.float() - values).square()
            loss = lost.sum(others, keepdim=True) if others else lost
            if best_loss is None or best_scale is None:
                best_scale, best_loss = scale, loss
                continue
            best_scale = torch.where(loss < best_loss, scale, best_scale)
            best_loss = torch.minimum(loss, best_loss)
        assert best_scale is not None
        codes = _rounded(values, best_scale, top)
        value = (codes * best_scale.float()).to(latent.dtype)
        return Encoded(codes.to(torch.int8), value, best_scale)

    def sparser(self, latent: Tensor, share: float) -> Codes:
        """See Encoding."""
        return replace(self, mask=_sparser_mask(latent, self.mask, share))


def _stored_scale(scale: Tensor) -> Tensor:
    """float16 where its range allows; a row of zeros has scale 0."""
    half = scale.half()
    fine = bool(((half > 6e-5) & (half < 6e4) | (scale == 0)).all())
    return half if fine else scale


def _rounded(values: Tensor, scale: Tensor, top: int) -> Tensor:
    divisor = torch.where(scale == 0, 1.0, scale.float())
    return (values / divisor).round().clamp(-top, top)


@dataclass(frozen=True)
class TernaryLevels:
    """Zero where abs(w) <= threshold, and -+ the mean magnitude of the kept elsewhere.

    Attributes:
        threshold: Delta, absolute. Where it would leave nothing, the largest magnitudes are kept.
        per_row: one level for each index of dimension 0, instead of one for the tensor.
    """

    threshold: float
    per_row: bool = False

    def encode(self, latent: Tensor) -> Encoded:
        """See Encoding."""
        magnitude = _wide(latent).abs()
        threshold = min(self.threshold, float(magnitude.max()) * (1 - 1e-6))
        dims = list(range(1 if self.per_row else 0, latent.dim()))
        return _with_mean_levels(latent, magnitude > threshold, dims)

    def sparser(self, latent: Tensor, share: float) -> TernaryLevels:
        """See Encoding."""
        magnitude = _wide(latent).abs()
        bound = _quantile(magnitude[magnitude > self.threshold], share)
        return replace(self, threshold=max(self.threshold, bound)) if share else self


@dataclass(frozen=True)
class RowTernary:
    """TernaryLevels with a threshold and a level for each index of dimension 0.

    Attributes:
        share: the threshold in means of the row's magnitudes.
    """

    share: float

    def encode(self, latent: Tensor) -> Encoded:
        """See Encoding."""
        dims = list(range(1, latent.dim()))
        magnitude = _wide(latent).abs()
        kept = magnitude > self.share * magnitude.mean(dims, keepdim=True)
        return _with_mean_levels(latent, kept, dims)

    def sparser(self, latent: Tensor, share: float) -> RowTernary:
        """See Encoding."""
        magnitude = _wide(latent).abs()
        relative = magnitude / magnitude.mean(list(range(1, latent.dim())), keepdim=True).clamp_min(1e-30)
        bound = _quantile(relative[relative > self.share], share)
        return replace(self, share=max(self.share, bound)) if share else self


def _sparser_mask(latent: Tensor, mask: Tensor | None, share: float) -> Tensor:
    magnitude = latent.abs()
    mask = torch.ones_like(latent, dtype=torch.bool) if mask is None else mask
    return mask & (magnitude >= _quantile(magnitude[mask], share))


def _quantile(values: Tensor, share: float) -> float:
    """The value below which that share of them lies; 0 for none."""
    if not values.numel():
        return 0.0
    return float(values.kthvalue(1 + int(share * (values.numel() - 1))).values)


def _wide(latent: Tensor) -> Tensor:
    """In float32 at least: sums overflow in float16, and 16 bits know no number just below the largest magnitude."""
    return latent if latent.dtype == torch.float64 else latent.float()


def _with_mean_levels(latent: Tensor, kept: Tensor, dims: list[int]) -> Encoded:
    """-+ the mean magnitude of the kept, over `dims`, and zeros elsewhere."""
    wide = _wide(latent)
    level = (wide.abs() * kept).sum(dims, keepdim=True) / kept.sum(dims, keepdim=True).clamp_min(1)
    value = torch.where(kept, torch.where(wide < 0, -level, level), torch.zeros_like(wide)).to(latent.dtype)
    return Encoded(value, value)
