"""A_PAC (Eq. 11): how surely a point is better than the incumbent by more than delta; and the certificate (Eq. 12)."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import torch
from botorch.acquisition.acquisition import AcquisitionFunction
from botorch.acquisition.analytic import AnalyticAcquisitionFunction
from botorch.models.model import Model
from botorch.optim.optimize import optimize_acqf
from botorch.posteriors.gpytorch import GPyTorchPosterior
from botorch.utils.transforms import t_batch_mode_transform
from torch import Tensor

from ternzip.search.engine.gaussian import Surrogate

_LEAST_VARIANCE = 1e-10
"""In variances of the observations; at the incumbent itself the difference has none."""
_WORTHWHILE = 0.2
"""Probability of a gain that a point is tried for."""
_SMALLER_GAINS = (1 / 2, 1 / 4)
"""In deltas."""
_RESTARTS = 8
_RAW_SAMPLES = 1024
"""With 256 of them 6 of 40 searches in three dimensions started beside the narrow highest peak; with these none."""


class ProbablyBetter(AnalyticAcquisitionFunction):
    """(mu_t - mu_inc - delta) / sqrt(s_t^2 + s_inc^2 - 2 s_(t,inc)), from the joint posterior at t and the incumbent.

    Of a model that is maximised: Eq. 11. Phi of it is the probability that t is better than the incumbent by more
    than delta.

    Args:
        model: a fitted BoTorch model of one output.
        incumbent: (d,).
        delta: in the model's own units, not negative.
    """

    def __init__(self, model: Model, incumbent: Tensor, delta: float) -> None:
        super().__init__(model=model)
        self.incumbent: Tensor
        self.register_buffer("incumbent", incumbent)
        self.delta = delta

    @t_batch_mode_transform(expected_q=1)  # type: ignore[arg-type]
    def forward(self, x: Tensor) -> Tensor:
        """(b, 1, d) to (b,)."""
        pairs = torch.cat([x, self.incumbent.expand(*x.shape[:-2], 1, -1)], dim=-2)
        posterior = self.model.posterior(pairs)
        assert isinstance(posterior, GPyTorchPosterior)
        mean = posterior.mean.squeeze(-1)
        covariance = posterior.distribution.covariance_matrix
        variance = covariance[..., 0, 0] + covariance[..., 1, 1] - 2 * covariance[..., 0, 1]
        score: Tensor = (mean[..., 0] - mean[..., 1] - self.delta) / variance.clamp_min(
            _LEAST_VARIANCE
        ).sqrt()
        return score


@dataclass(frozen=True)
class Proposal:
    """Where to look next.

    Attributes:
        theta: the point that most surely beats the incumbent by more than delta, or by a part of it, or the
            incumbent itself.
        score: the largest A_PAC given what has been measured; None for engines without it.
    """

    theta: tuple[float, ...]
    score: float | None

    @property
    def risk(self) -> float:
        """Phi(score): the model's probability that something is better by more than delta; 1 without a score."""
        return 1.0 if self.score is None else 0.5 * math.erfc(-self.score / math.sqrt(2))


def propose(surrogate: Surrogate, delta: float, seed: int) -> Proposal:
    """Where A_PAC is largest over the unit cube, from several starts; delta in units of J.

    Where hardly anything is better by delta, A_PAC looks to the least known corners, whatever is known of the rest.
    What is left to find there are smaller gains, so a point that may well be better by half of delta, or by a quarter,
    comes first; when there is none, the corners do, which a certificate needs known. The score is that of delta in any
    case.

    The score is a comparison of two points. Where the incumbent is the less known of them it is measured again instead:
    no number of measurements of the other would settle the matter.
    """
    incumbent = surrogate.theta[surrogate.incumbent()]
    theta, score = most_surely_better(surrogate, delta, seed)
    if Proposal(theta, score).risk < _WORTHWHILE:
        smaller = (Proposal(*most_surely_better(surrogate, part * delta, seed)) for part in _SMALLER_GAINS)
        theta = next((p.theta for p in smaller if p.risk >= _WORTHWHILE), theta)
    pair = torch.stack([torch.tensor(theta, dtype=torch.float64), incumbent])
    variances = surrogate.posterior(pair)[1].diagonal()
    if float(variances[1]) > float(variances[0]):
        theta = tuple(float(t) for t in incumbent)
    return Proposal(theta, score)


def most_surely_better(surrogate: Surrogate, delta: float, seed: int) -> tuple[tuple[float, ...], float]:
    """The point that most surely beats the incumbent by more than delta, and its A_PAC."""
    incumbent = surrogate.theta[surrogate.incumbent()]
    acquisition = ProbablyBetter(surrogate.model, incumbent, delta / surrogate.scale)
    return maximum(acquisition, surrogate.dimension, seed)


def maximum(acquisition: AcquisitionFunction, dimension: int, seed: int) -> tuple[tuple[float, ...], float]:
    """Where an acquisition function is largest over the unit cube, and its value; torch's generator is kept."""
    bounds = torch.stack([torch.zeros(dimension), torch.ones(dimension)]).double()
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        point, value = optimize_acqf(
            acquisition,
            bounds,
            q=1,
            num_restarts=_RESTARTS,
            raw_samples=_RAW_SAMPLES,
            options={"maxiter": 100, "seed": seed},
        )
    return tuple(float(t) for t in point[0].clamp(0, 1)), float(torch.as_tensor(value))
