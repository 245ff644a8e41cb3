"""Quantizers whose two levels are learned: TTQ and EC2T, and quantizers by name."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ternzip._core.errors import TernzipError
from ternzip.quantization.choices import QUANTIZERS, check_share
from ternzip.quantization.quantizers import (
    TWN,
    Binary,
    Delta,
    Quantizer,
    Scalar,
    mean_magnitude,
    scalar,
    wide,
)


class LearnedLevels(Quantizer):
    """Two levels of the layer's own, learned: each gets the summed gradient of the weights that took it.

    What the optimizer moves are the logarithms of the magnitudes: levels of 0.02 and of 2 then take steps in
    proportion, which Adam's do not, and never change their sign. Weight decay would pull the levels towards 1:
    `parameter_groups` keeps it away from them.

    The latent gradient passes unchanged (`ste="identity"`). TTQ's paper scales it by the level taken, 1 at zero, with
    levels near 1. Levels that start at the weights' own means are nearer 0.1: the gradient would be ten times stronger
    among the zeros than outside, and they would all leave. Divided by the mean level, the factor is 1 but for what the
    two levels differ by, and trains alike. `ste="scaled"` is the paper's, for levels near 1.
    """

    log_neg: nn.Parameter
    log_pos: nn.Parameter

    def __init__(self, ste: str = "identity") -> None:
        super().__init__()
        self.ste = ste
        self.log_neg = nn.Parameter(scalar(0.0, torch.float32))
        self.log_pos = nn.Parameter(scalar(0.0, torch.float32))

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
        with torch.no_grad():
            self.log_neg.fill_(math.log(-neg))
            self.log_pos.fill_(math.log(pos))

    def start_threshold(self, weight: Tensor) -> Tensor:
        """Weights beyond this magnitude give the levels their first values, the means of either side."""
        raise NotImplementedError

    def reset(self, weight: Tensor, size_share: float = 1.0) -> None:
        threshold = self.start_threshold(weight).to(weight.dtype)
        sides = weight[weight < -threshold], weight[weight > threshold]
        neg, pos = (
            float(side.mean(dtype=wide(weight))) if side.numel() else level
            for side, level in zip(sides, (-1.0, 1.0), strict=True)
        )
        self.set_levels(neg, pos)

    def levels(self, weight: Tensor) -> tuple[Scalar, Scalar]:
        return self.neg, self.pos


class TTQ(LearnedLevels):
    """Trained ternary quantization: Delta = ratio * max|w| (Eq. 3), learned levels (arXiv 1612.01064).

    Args:
        ratio: threshold as a share of the layer's largest magnitude, in [0, 1).
        ste: "identity" or "scaled".
    """

    def __init__(self, ratio: float = 0.1, *, ste: str = "identity") -> None:
        super().__init__(ste)
        self.ratio = check_share(ratio, "TTQ's ratio")

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "ratio": self.ratio}

    def start_threshold(self, weight: Tensor) -> Tensor:
        return self.ratio * largest_magnitude(weight)

    def thresholds(self, weight: Tensor) -> tuple[Scalar, Scalar]:
        delta = self.ratio * largest_magnitude(weight)
        return -delta, delta


class EC2T(LearnedLevels):
    """Entropy-constrained trained ternarization (arXiv 2004.01077): learned levels, assignment by Eq. 4.

    A weight takes the centroid c of {neg, 0, pos} with the least (w - c)^2 - lambda * log2 P(c), P being the shares of
    the weights nearest to each centroid. Every such cost is linear in w once w^2 is dropped, so the assignment is two
    thresholds:

        hi = pos / 2 + lambda * (bits(pos) - bits(0)) / (2 * pos),   and lo alike.

    As the authors do, P(0) counts as at least 1/2, so that zero is never the dear symbol and more lambda never makes
    fewer zeros; levels are at least 0.675 standard deviations of the weights, their median magnitude were they normal;
    and lambda is a share of the layer's largest useful one, at which its last weight would become zero.

    Args:
        strength: lambda in units of the largest useful one, in [0, 1), for the largest layer; a layer with half as
            many weights takes half of it. 0 assigns to the nearest centroid.
        ste: "identity" or "scaled".
    """

    penalty: Tensor

    def __init__(self, strength: float = 0.1, *, ste: str = "identity") -> None:
        super().__init__(ste)
        self.strength = check_share(strength, "EC2T's strength")
        # lambda itself, in squared weight units per bit; fixed when the layer is prepared.
        self.register_buffer("penalty", scalar(0.0))

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "strength": self.strength}

    def start_threshold(self, weight: Tensor) -> Tensor:
        return 0.7 * mean_magnitude(weight)

    def reset(self, weight: Tensor, size_share: float = 1.0) -> None:
        super().reset(weight, size_share)
        self.penalty.fill_(self.strength * size_share * self.largest_penalty(weight))

    def largest_penalty(self, weight: Tensor) -> float:
        """The lambda at which the last of these weights would become zero; 0 where none is dearer than zero."""
        if not weight.numel():
            return 0.0
        neg, pos = (level.double() for level in self.levels(weight))
        extremes = -weight.min().double(), weight.max().double()
        # The largest weight w of a side is zero once w < c/2 + lambda * bits / (2 c).
        useful = [
            (2 * w * c - c * c) / bits
            for w, c, bits in zip(extremes, (-neg, pos), extra_bits(weight, neg, pos), strict=True)
            if bits > 0
        ]
        return max(0.0, *map(float, useful)) if useful else 0.0

    def thresholds(self, weight: Tensor) -> tuple[Scalar, Scalar]:
        with torch.no_grad():
            weight = weight.detach()
            neg, pos = (level.double() for level in self.levels(weight))
            extra_neg, extra_pos = extra_bits(weight, neg, pos)
            lo = neg / 2 + self.penalty * extra_neg / (2 * neg)
            return lo, pos / 2 + self.penalty * extra_pos / (2 * pos)

    def levels(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        if not weight.numel():
            return self.neg, self.pos
        floor = 0.675 * weight.detach().std(correction=0)
        return torch.minimum(self.neg, -floor), torch.maximum(self.pos, floor)


_BY_NAME: dict[str, type[Quantizer]] = dict(zip(QUANTIZERS, (Delta, Binary, TWN, TTQ, EC2T), strict=True))


def quantizer_named(name: str, **options: Any) -> Quantizer:
    """A quantizer by name, for command lines and configuration files; TernzipError for another name."""
    if name not in _BY_NAME:
        raise TernzipError(f"unknown quantizer {name!r}: expected one of {', '.join(QUANTIZERS)}")
    return _BY_NAME[name](**options)


def extra_bits(weight: Tensor, neg: Tensor, pos: Tensor) -> tuple[Tensor, Tensor]:
    """What a symbol neg and a symbol pos cost more than a zero, in bits, both >= 0; P(0) counts as at least 1/2."""
    n = max(weight.numel(), 1)
    below, above = (weight < neg / 2).sum().double(), (weight > pos / 2).sum().double()
    bits_zero = -((n - below - above) / n).clamp(min=0.5).log2()
    # At least one weight's share: an empty centroid stays reachable, and the logarithm finite.
    bits_neg, bits_pos = (-(count.clamp(min=1) / n).log2() for count in (below, above))
    return (bits_neg - bits_zero).clamp(min=0), (bits_pos - bits_zero).clamp(min=0)


def largest_magnitude(weight: Tensor) -> Tensor:
    """max|w|, 0-d, without a gradient; 0 of no weights."""
    return weight.detach().abs().amax() if weight.numel() else weight.new_zeros(())
