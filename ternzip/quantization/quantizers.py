"""Ternarizers, all of one kind: two thresholds, two levels and a straight-through estimator.

A quantizer belongs to one weight tensor. `prepare` copies the one it is given for every layer and calls
`reset` with that layer's weight, so a quantizer may hold learned levels of its own.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from ternzip._core.errors import TernzipError
from ternzip.quantization.choices import QUANTIZERS

Scalar = float | Tensor


def check_delta(value: float, name: str = "Delta") -> float:
    """`value` as a float; TernzipError unless 0 <= value < 1 (beyond 1 a clipped weight can only be zero)."""
    value = float(value)
    if not 0.0 <= value < 1.0:
        raise TernzipError(f"{name} must lie in [0, 1): expected 0 <= {name} < 1, found {value:g}")
    return value


class Quantizer(nn.Module):
    """Base class: q = pos where w > hi, neg where w < lo, else 0.

    `ste` says which gradient reaches the latent weight (ternzip.ops.STE) and `bound` where it saturates.
    """

    ste: str = "closed"
    bound: float = 1.0

    def reset(self, weight: Tensor) -> None:
        """Start from this latent weight; called once, when a layer is prepared."""

    def thresholds(self, weight: Tensor) -> tuple[Scalar, Scalar]:
        """(lo, hi) for this latent weight, floats or 0-d tensors."""
        raise NotImplementedError

    def levels(self, weight: Tensor) -> tuple[Scalar, Scalar]:
        """(neg, pos), floats or 0-d tensors; those that require a gradient are learned."""
        return -1.0, 1.0

    def for_weight(self, weight: Tensor) -> Quantizer:
        """A copy of this quantizer, on the weight's device, started from `weight`."""
        own = copy.deepcopy(self).to(weight.device)
        with torch.no_grad():
            own.reset(weight)
        return own


class Delta(Quantizer):
    """The paper's: thresholds -Delta and +Delta, fixed or moved by a DeltaSchedule; levels fixed (Eq. 5).

    Args:
        delta: threshold in [0, 1), in units of the weights.
        levels: the values written for -1 and +1.
        ste: "closed" (gradient where |w| <= 1) or "open" (|w| < 1).
    """

    delta: Tensor

    def __init__(
        self, delta: float = 0.1, *, levels: tuple[float, float] = (-1.0, 1.0), ste: str = "closed"
    ) -> None:
        super().__init__()
        if not levels[0] < 0 < levels[1]:
            raise TernzipError(f"levels must be (negative, positive), found {levels}")
        self.register_buffer("delta", torch.tensor(check_delta(delta), dtype=torch.float64))
        self.fixed_levels = (float(levels[0]), float(levels[1]))
        self.ste = ste
        self.pinned = False

    def set_delta(self, delta: float) -> None:
        """Move the threshold, unless the layer is frozen (`pinned`)."""
        if not self.pinned:
            self.delta.fill_(delta)

    def thresholds(self, weight: Tensor) -> tuple[Scalar, Scalar]:
        return -self.delta, self.delta

    def levels(self, weight: Tensor) -> tuple[Scalar, Scalar]:
        return self.fixed_levels


class Binary(Quantizer):
    """BinaryConnect: -1 where w < 0, else +1; never a zero (arXiv 1511.00363)."""

    def __init__(self, *, ste: str = "closed") -> None:
        super().__init__()
        self.ste = ste

    def thresholds(self, weight: Tensor) -> tuple[Scalar, Scalar]:
        # w > hi is then w >= 0: hi is the largest number below zero.
        info = torch.finfo(weight.dtype)
        return 0.0, -info.tiny * info.eps


class TWN(Quantizer):
    """Ternary weight networks: Delta = ratio * mean|w|, level = mean of the kept |w| (arXiv 1605.04711)."""

    def __init__(self, ratio: float = 0.7, *, ste: str = "closed") -> None:
        super().__init__()
        if not ratio >= 0:
            raise TernzipError(f"TWN's ratio must be >= 0, found {ratio:g}")
        self.ratio = float(ratio)
        self.ste = ste

    def thresholds(self, weight: Tensor) -> tuple[Scalar, Scalar]:
        delta = self.ratio * weight.detach().abs().mean()
        return -delta, delta

    def levels(self, weight: Tensor) -> tuple[Scalar, Scalar]:
        magnitude = weight.detach().abs()
        kept = magnitude > self.ratio * magnitude.mean()
        scale = torch.where(kept, magnitude, 0.0).sum() / kept.sum().clamp(min=1)
        return -scale, scale


class LearnedLevels(Quantizer):
    """Two levels of the layer's own, learned: each gets the summed gradient of the weights that took it.

    The latent gradient is scaled by the magnitude of the level taken (1 at zero), as TTQ does. What the optimizer
    moves are the logarithms of the magnitudes: levels of 0.02 and of 2 then take steps in proportion, which
    Adam's do not, and never change their sign.
    """

    log_neg: nn.Parameter
    log_pos: nn.Parameter
    ste = "scaled"

    def __init__(self) -> None:
        super().__init__()
        self.log_neg = nn.Parameter(torch.tensor(0.0))
        self.log_pos = nn.Parameter(torch.tensor(0.0))

    @property
    def neg(self) -> Tensor:
        """The level of -1, below zero."""
        return -self.log_neg.exp()

    @property
    def pos(self) -> Tensor:
        """The level of +1, above zero."""
        return self.log_pos.exp()

    def set_levels(self, neg: float, pos: float) -> None:
        """Give both levels a value; `neg` < 0 < `pos`."""
        self.log_neg.data.fill_(math.log(-neg))
        self.log_pos.data.fill_(math.log(pos))

    def start_threshold(self, weight: Tensor) -> Tensor:
        """Weights beyond this magnitude give the levels their first values."""
        raise NotImplementedError

    def reset(self, weight: Tensor) -> None:
        threshold = self.start_threshold(weight)
        sides = weight[weight < -threshold], weight[weight > threshold]
        neg, pos = (
            float(side.mean()) if side.numel() else level
            for side, level in zip(sides, (-1.0, 1.0), strict=True)
        )
        self.set_levels(neg, pos)

    def levels(self, weight: Tensor) -> tuple[Scalar, Scalar]:
        return self.neg, self.pos


class TTQ(LearnedLevels):
    """Trained ternary quantization: Delta = ratio * max|w| (Eq. 3), learned levels (arXiv 1612.01064)."""

    def __init__(self, ratio: float = 0.05) -> None:
        super().__init__()
        self.ratio = check_delta(ratio, "TTQ's ratio")

    def start_threshold(self, weight: Tensor) -> Tensor:
        return self.ratio * weight.abs().max()

    def thresholds(self, weight: Tensor) -> tuple[Scalar, Scalar]:
        delta = self.ratio * weight.detach().abs().max()
        return -delta, delta


class EC2T(LearnedLevels):
    """Entropy-constrained trained ternarization (arXiv 2004.01077): learned levels, assignment by Eq. 4.

    A weight takes the centroid c of {neg, 0, pos} with the least (w - c)^2 - strength * log2 P(c), P being
    the shares of the weights nearest to each centroid. Every such cost is linear in w once w^2 is dropped,
    so the assignment is two thresholds.

    Args:
        strength: lambda, in squared weight units per bit; 0 assigns to the nearest centroid.
    """

    def __init__(self, strength: float = 1e-3) -> None:
        super().__init__()
        if not strength >= 0:
            raise TernzipError(f"EC2T's strength must be >= 0, found {strength:g}")
        self.strength = float(strength)

    def start_threshold(self, weight: Tensor) -> Tensor:
        return 0.7 * weight.abs().mean()

    def thresholds(self, weight: Tensor) -> tuple[Scalar, Scalar]:
        with torch.no_grad():
            neg, pos = self.neg.double(), self.pos.double()
            weight = weight.detach()
            shares = [(weight < neg / 2).sum(), (weight > pos / 2).sum()]
            shares.append(weight.numel() - shares[0] - shares[1])
            # At least one weight's share each: an empty centroid stays reachable, and the logarithm finite.
            bits_neg, bits_pos, bits_zero = (
                -(n.clamp(min=1) / weight.numel()).double().log2() for n in shares
            )
            hi = (pos**2 + self.strength * (bits_pos - bits_zero)) / (2 * pos)
            lo = (neg**2 + self.strength * (bits_neg - bits_zero)) / (2 * neg)
            # Where zero is the dearest of all, the two levels meet directly.
            meet = (pos**2 - neg**2 + self.strength * (bits_pos - bits_neg)) / (2 * (pos - neg))
            return torch.where(lo > hi, meet, lo), torch.where(lo > hi, meet, hi)


_BY_NAME: dict[str, type[Quantizer]] = dict(zip(QUANTIZERS, (Delta, Binary, TWN, TTQ, EC2T), strict=True))


def quantizer_named(name: str, **options: Any) -> Quantizer:
    """A quantizer by name, for command lines and configuration files; TernzipError for another name."""
    if name not in _BY_NAME:
        raise TernzipError(f"unknown quantizer {name!r}: expected one of {', '.join(QUANTIZERS)}")
    return _BY_NAME[name](**options)
