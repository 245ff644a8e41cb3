"""The engine as a sampler of Optuna: it proposes whole points, from every trial that any worker has told.

A trial carries the variance of its value as the user attribute NOISE, and, where A_PAC proposed it, the risk of Eq. 12
(that it is better than the incumbent by more than delta) as RISK. What is proposed depends on the seed, the trial's
index (see `indices`), and the trials told so far, so one worker that is killed and started again goes on as if nothing
had happened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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
from ternzip.search.engine.pac import Proposal, maximum, most_surely_better, propose

NOISE = "noise"
RISK = "risk"
FAILED = "failed before"
"""Attribute of a trial, from its creation on: numbers of the failed trials that nobody had made again by then."""


@dataclass(frozen=True)
class History:
    """What is known when a point is to be proposed.

    Attributes:
        observations: of finished trials, in order of their numbers.
        pending: points that other workers evaluate.
        index: of the trial that this is for; see `indices`.
    """

    observations: tuple[Observation, ...]
    pending: tuple[tuple[float, ...], ...]
    index: int


def indices(trials: Sequence[FrozenTrial]) -> dict[int, int]:
    """Which of a search's points every trial is, by trial number: 0, 1, ..., and a failed one's once more.

    A trial takes the index of the first trial that had failed when it was created and that no earlier one has taken,
    else a new one. That follows from the order of the trials and from what each was created with, so all workers find
    the same, whenever they look, and no two trials that did not fail have one index.
    """
    found: dict[int, int] = {}
    again: set[int] = set()
    for trial in sorted(trials, key=lambda trial: trial.number):
        failed = [n for n in trial.user_attrs.get(FAILED, []) if n in found and n not in again]
        if failed:
            again.add(failed[0])
            found[trial.number] = found[failed[0]]
        else:
            found[trial.number] = len(found) - len(again)
    return found


def failed_trials(trials: Sequence[FrozenTrial]) -> list[int]:
    """Numbers of the failed trials that have not been made again, in the order of their indices."""
    index = indices(trials)
    latest = {index[trial.number]: trial for trial in sorted(trials, key=lambda trial: trial.number)}
    return [latest[i].number for i in sorted(latest) if latest[i].state == TrialState.FAIL]


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
        trials = study.get_trials(deepcopy=False)
        index = indices(trials)
        failed = failed_trials(trials) if number is None else []
        following = index[failed[0]] if failed else len(set(index.values()))
        done = [t for t in trials if t.state == TrialState.COMPLETE]
        others = [t for t in trials if t.state == TrialState.RUNNING]
        pending = [self._point(t) for t in others if t.number != number]
        return History(
            (*(self._observation(t) for t in done), *self._extra(study)),
            tuple(point for point in pending if point is not None),
            following if number is None else index[number],
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
        known = Surrogate(history.observations)
        surrogate = known.believing(history.pending)
        if self.engine == "qlognei":
            return _noisy_improvement(surrogate, self._seed + index)
        found = propose(surrogate, self._delta, self._seed + index)
        if history.pending:  # values that nobody has measured yet are a guide, and make nothing surer
            _, score = most_surely_better(known, self._delta, self._seed + index)
            found = replace(found, score=score)
        return found

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
