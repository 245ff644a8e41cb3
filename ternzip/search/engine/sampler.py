"""The engine as a sampler of Optuna: it proposes whole points, from every trial that any worker has told.

A trial carries the variance of its value as the user attribute NOISE, and, where A_PAC proposed it, the risk of Eq. 12
(that it is better than the incumbent by more than delta) as RISK. What is proposed depends on the seed, the trial's
index among those that did not fail, and the trials told so far, so one worker that is killed and started again goes
on as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
import torch
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.sampling.normal import SobolQMCNormalSampler
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState
from torch.quasirandom import SobolEngine

from ternzip._core.errors import TernzipError
from ternzip.search.choices import ENGINES
from ternzip.search.engine.gaussian import Observation, Surrogate
from ternzip.search.engine.pac import Proposal, maximum, propose

NOISE = "noise"
RISK = "risk"


@dataclass(frozen=True)
class History:
    """What is known when a point is to be proposed.

    Attributes:
        observations: of finished trials, in order of their numbers.
        pending: points that other workers evaluate.
        index: how many trials came before, failed ones not counted.
    """

    observations: tuple[Observation, ...]
    pending: tuple[tuple[float, ...], ...]
    index: int


def initial_count(dimension: int) -> int:
    """Space-filling points before the first model: 2 d + 2, and 8 at least.

    With four points in one dimension the likeliest model is often one that has missed a dip, and is sure of it.
    """
    return max(2 * dimension + 2, 8)


def space(names: Sequence[str]) -> dict[str, BaseDistribution]:
    """One float in [0, 1] for each parameter."""
    return {name: FloatDistribution(0.0, 1.0) for name in names}


class EngineSampler(optuna.samplers.BaseSampler):
    """Proposes points by one of ENGINES.

    First come the given points (the uniform settings), then a scrambled Sobol sequence up to 2 d + 2 points
    (8 at least) in all, then the engine's own choice.

    Args:
        names: the parameters.
        engine: "pac" (Eq. 11), or a baseline: "random" (Sobol), "uniform" (one number for all parameters), Optuna's
            "tpe" and "gp", BoTorch's "qlognei".
        delta: of A_PAC, in units of J.
        seed: of everything random.
        first: the points to begin with; None: the middle of the cube.
        extra: further observations (of confirmations), asked for at every proposal.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        engine: str = "pac",
        delta: float = 0.05,
        seed: int = 0,
        first: Sequence[tuple[float, ...]] | None = None,
        extra: Callable[[optuna.Study], Sequence[Observation]] = lambda study: (),
    ) -> None:
        if engine not in ENGINES:
            raise TernzipError(f"engine: expected one of {', '.join(ENGINES)}, found {engine!r}")
        self.names = list(names)
        self.engine = engine
        self._delta = delta
        self._seed = seed
        self._first = [(0.5,) * len(self.names)] if first is None else list(first)
        self._extra = extra
        self._inner: optuna.samplers.BaseSampler | None = None
        if engine == "tpe":
            self._inner = optuna.samplers.TPESampler(seed=seed)
        elif engine == "gp":
            self._inner = optuna.samplers.GPSampler(seed=seed)
        self._latest: tuple[History, Proposal] | None = None

    def history(self, study: optuna.Study, number: int | None = None) -> History:
        """All that is known for the next trial, or for trial `number`, which has been created already."""
        trials = [t for t in study.get_trials(deepcopy=False) if t.state != TrialState.FAIL]
        earlier = [t for t in trials if number is None or t.number < number]
        done = [t for t in trials if t.state == TrialState.COMPLETE]
        others = [t for t in trials if t.state == TrialState.RUNNING]
        pending = [self._point(t) for t in others if t.number != number]
        return History(
            (*(self._observation(t) for t in done), *self._extra(study)),
            tuple(point for point in pending if point is not None),
            len(earlier),
        )

    def proposal(self, history: History) -> Proposal:
        """Where to look next; the same history gives the same answer."""
        if self._latest is None or self._latest[0] != history:
            self._latest = history, self._proposed(history)
        return self._latest[1]

    def _proposed(self, history: History) -> Proposal:
        d, index = len(self.names), history.index
        if index < len(self._first):
            return Proposal(self._first[index], None)
        if self.engine == "uniform":
            return Proposal(_sobol(1, index, self._seed) * d, None)
        if self.engine == "random" or index < initial_count(d) or len(history.observations) < 2:
            return Proposal(_sobol(d, index, self._seed), None)
        surrogate = Surrogate(history.observations).believing(history.pending)
        if self.engine == "qlognei":
            return _noisy_improvement(surrogate, self._seed + index)
        return propose(surrogate, self._delta, self._seed + index)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return space(self.names)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        history = self.history(study, trial.number)
        if self._inner is not None and history.index >= len(self._first):
            inner_space = self._inner.infer_relative_search_space(study, trial)
            return self._inner.sample_relative(study, trial, inner_space)
        found = self.proposal(history)
        if found.score is not None:
            # The trial's own copy here is frozen; the storage is where its attributes live.
            study._storage.set_trial_user_attr(trial._trial_id, RISK, found.risk)
        return dict(zip(self.names, found.theta, strict=True))

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        if self._inner is None:
            raise TernzipError(f"study: parameter {param_name!r} is none of this search's")
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        if self._inner is not None:
            self._inner.after_trial(study, trial, state, values)

    def _point(self, trial: FrozenTrial) -> tuple[float, ...] | None:
        if any(name not in trial.params for name in self.names):
            return None  # asked for this moment
        return tuple(float(trial.params[name]) for name in self.names)

    def _observation(self, trial: FrozenTrial) -> Observation:
        point = self._point(trial)
        if point is None or trial.value is None or NOISE not in trial.user_attrs:
            raise TernzipError(
                f"study: trial {trial.number} is of another search: its parameters or noise are missing"
            )
        return Observation(point, float(trial.value), float(trial.user_attrs[NOISE]))


def _sobol(dimension: int, index: int, seed: int) -> tuple[float, ...]:
    """Point number `index` - 1 of a scrambled Sobol sequence."""
    points = SobolEngine(dimension, scramble=True, seed=seed).draw(  # type: ignore[no-untyped-call]
        index, dtype=torch.float64
    )
    return tuple(float(t) for t in points[-1])


def _noisy_improvement(surrogate: Surrogate, seed: int) -> Proposal:
    acquisition = qLogNoisyExpectedImprovement(
        surrogate.model,
        X_baseline=surrogate.theta,
        sampler=SobolQMCNormalSampler(torch.Size([128]), seed=seed),
        prune_baseline=False,
    )
    return Proposal(maximum(acquisition, surrogate.dimension, seed)[0], None)
