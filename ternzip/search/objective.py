"""What is minimised: J(theta) = kappa L(f_theta, f*) + R(theta), Eq. 3, with the variance of its estimate.

L is a mean of independent terms, a U-statistic of first order: from m fresh samples its estimate is Gaussian
with variance s^2 / m. R, the real file's bytes over those of the float32 file, is known exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ternzip._core.errors import TernzipError
from ternzip.search.choices import LOSSES
from ternzip.search.samples import Samples

_SMALLEST_SPREAD = 1e-3
"""The least standard deviation a sample's term is taken to have: m samples can show no error at all."""


@dataclass(frozen=True)
class Estimate:
    """A mean over samples: its value, and its standard error."""

    value: float
    standard_error: float
    samples: int


@dataclass(frozen=True)
class Loss:
    """How far a compressed network is from the original, as a mean over samples.

    Attributes:
        name: "distance": Eq. 5 on class-centred outputs, relative to the original's own spread; needs no
            labels. "error": Eq. 1 with 0/1 loss. "cross-entropy": Eq. 1 with the log loss, in nats.
        spread: for "distance": E |f* - mean over classes|^2, over the samples to search with.
    """

    name: str
    spread: float = 1.0

    @classmethod
    def over(cls, name: str, samples: Samples) -> Loss:
        """The loss of that name, scaled by these samples.

        Raises TernzipError for an unknown name, missing labels, and outputs that never differ between classes.
        """
        if name not in LOSSES:
            raise TernzipError(f"loss: expected one of {', '.join(LOSSES)}, found {name!r}")
        if name != "distance":
            if samples.labels is None:
                raise TernzipError(f"loss {name!r}: expected samples with labels, found none")
            return cls(name)
        spread = float(centred(samples.outputs).square().sum(1).mean())
        if not spread:
            raise TernzipError("model: expected outputs that differ between classes, found one value for all")
        return cls(name, spread)

    def terms(self, outputs: Tensor, samples: Samples) -> Tensor:
        """One number a sample, (m,), float64.

        A network with an output that is not finite counts as one that always answers the opposite of the original,
        and wrong: bad beyond doubt, and on the scale of the others, which the model of J needs.
        """
        if not bool(outputs.isfinite().all()):
            if self.name == "error":
                return torch.ones(len(outputs), dtype=torch.float64)
            outputs = -samples.outputs
        if self.name == "distance":
            return centred(outputs - samples.outputs).square().sum(1) / self.spread
        assert samples.labels is not None
        if self.name == "error":
            return (outputs.argmax(1) != samples.labels).double()
        return F.cross_entropy(outputs, samples.labels, reduction="none")

    def estimate(self, outputs: Tensor, samples: Samples) -> Estimate:
        """The mean of the terms and its standard error, floored."""
        terms = self.terms(outputs, samples)
        m = len(terms)
        variance = float(terms.var()) if m > 1 else float(terms.square().mean())
        if self.name == "error":  # what Laplace's rule gives where no error, or nothing else, was seen
            share = 1 / (m + 2)
            variance = max(variance, share * (1 - share))
        return Estimate(float(terms.mean()), math.sqrt(max(variance, _SMALLEST_SPREAD**2) / m), m)


def centred(outputs: Tensor) -> Tensor:
    """Each sample's outputs less their mean over classes, which a softmax ignores: (n, classes)."""
    return outputs - outputs.mean(1, keepdim=True)


def fresh(samples: Samples, count: int, seed: int, evaluation: int, among: Tensor | None = None) -> Samples:
    """`count` samples drawn for one evaluation, of the indices `among`; others are drawn for every other one."""
    generator = torch.Generator().manual_seed((seed << 24) + 7919 * evaluation + 1)
    available = len(samples) if among is None else len(among)
    if count >= available:
        return samples if among is None else samples.take(among)
    index = torch.randperm(available, generator=generator)[:count]
    return samples.take(index if among is None else among[index])


def accuracy(outputs: Tensor, labels: Tensor) -> float:
    """The share of samples whose largest output is the label's; outputs that are not finite are wrong."""
    right = (outputs.argmax(1) == labels) & outputs.isfinite().all(1)
    return float(right.double().mean())
