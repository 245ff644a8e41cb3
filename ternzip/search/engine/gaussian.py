"""A Gaussian process of J over theta whose observations' noise is known, each its own.

Matern 5/2 with one length a dimension, a constant mean, hyperparameters by maximum likelihood; float64.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from botorch.exceptions.errors import ModelFittingError
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.posteriors.gpytorch import GPyTorchPosterior
from gpytorch.constraints import Interval
from gpytorch.kernels import MaternKernel, ScaleKernel
from gpytorch.means import ConstantMean
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch import Tensor

LENGTHS = (0.02, 2.0)
"""Bounds of a length, in sides of the cube: with longer ones a few points would claim to know everything."""
_SCALES = (0.05, 20.0)  # of the prior variance, in variances of the observations
_STARTS = (0.15, 0.5)


@dataclass(frozen=True)
class Observation:
    """One evaluation: where (d,), J, and the variance of its noise; 0 for none."""

    theta: tuple[float, ...]
    value: float
    noise: float


class Surrogate:
    """The posterior of J given observations; all numbers go in and come out in units of J.

    Attributes:
        observations: what it was fitted to, at least two.
        model: BoTorch's model of the standardised, *negated* J, as acquisition functions maximise.
    """

    def __init__(self, observations: Sequence[Observation]) -> None:
        self.observations = list(observations)
        self.theta = torch.tensor([o.theta for o in observations], dtype=torch.float64)
        values = torch.tensor([[o.value] for o in observations], dtype=torch.float64)
        noise = torch.tensor([[o.noise] for o in observations], dtype=torch.float64)
        self.mean = float(values.mean())
        self.scale = float(values.std()) or 1.0
        scaled_noise = (noise / self.scale**2).clamp_min(1e-8)
        self.model = _fitted(self.theta, -(values - self.mean) / self.scale, scaled_noise)

    @property
    def dimension(self) -> int:
        """How many numbers make a theta."""
        return self.theta.shape[1]

    def posterior(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (n,) and covariance (n, n) of J, without noise, at `theta` (n, d)."""
        with torch.no_grad():
            found = self.model.posterior(theta.double())
            assert isinstance(found, GPyTorchPosterior)
        mean: Tensor = self.mean - self.scale * found.mean.squeeze(-1)
        covariance: Tensor = self.scale**2 * found.distribution.covariance_matrix
        return mean, covariance

    def incumbent(self) -> int:
        """The visited point of the best posterior mean; never that of the luckiest observation."""
        return int(self.posterior(self.theta)[0].argmin())

    def believing(self, pending: Sequence[Sequence[float]]) -> Surrogate:
        """The same with the posterior mean as the value at points that are still being evaluated."""
        if not pending:
            return self
        points = torch.tensor([list(point) for point in pending], dtype=torch.float64)
        mean, _ = self.posterior(points)
        noise = sorted(o.noise for o in self.observations)[len(self.observations) // 2]
        believed = Surrogate.__new__(Surrogate)
        believed.observations = [
            *self.observations,
            *(Observation(tuple(p), float(v), noise) for p, v in zip(pending, mean, strict=True)),
        ]
        believed.theta = torch.cat([self.theta, points])
        believed.mean, believed.scale = self.mean, self.scale
        values = torch.tensor([[o.value] for o in believed.observations], dtype=torch.float64)
        noises = torch.tensor([[o.noise] for o in believed.observations], dtype=torch.float64)
        scaled = -(values - self.mean) / self.scale
        believed.model = _model(believed.theta, scaled, (noises / self.scale**2).clamp_min(1e-8))
        believed.model.mean_module.load_state_dict(self.model.mean_module.state_dict())
        believed.model.covar_module.load_state_dict(self.model.covar_module.state_dict())
        believed.model.eval()
        return believed


def _model(theta: Tensor, values: Tensor, noise: Tensor) -> SingleTaskGP:
    kernel = MaternKernel(nu=2.5, ard_num_dims=theta.shape[1], lengthscale_constraint=Interval(*LENGTHS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about scaling, which is done here
        return SingleTaskGP(
            theta,
            values,
            train_Yvar=noise,
            covar_module=ScaleKernel(kernel, outputscale_constraint=Interval(*_SCALES)),
            mean_module=ConstantMean(),
            outcome_transform=None,
        )


def _fitted(theta: Tensor, values: Tensor, noise: Tensor) -> SingleTaskGP:
    """The likeliest of the fits from a few starts, as the likelihood has several maxima."""
    best: tuple[float, SingleTaskGP] | None = None
    for start in _STARTS:
        model = _model(theta, values, noise)
        model.covar_module.base_kernel.lengthscale = start
        model.covar_module.outputscale = 1.0
        likelihood = ExactMarginalLogLikelihood(model.likelihood, model)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                fit_gpytorch_mll(likelihood)
            except ModelFittingError:  # the start itself is then what there is
                likelihood.eval()
            model.train()
            with torch.no_grad():
                found = float(likelihood(model(theta), values.squeeze(-1)))
        model.eval()
        if best is None or found > best[0]:
            best = found, model
    assert best is not None
    return best[1]
