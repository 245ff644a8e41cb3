"""The runoff: the most promising settings once more, all on the same samples; the best is what a search returns.

Each evaluation draws few samples of its own, so settings nearer to one another than that noise are in the order of
luck, and the more of them are tried, the luckier the luckiest. On common samples most of the noise is common as well:
what is left in a *difference* of two settings is small. The uniform setting always takes part: as far as these samples
can tell, nothing worse is returned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ternzip.search.problem import Evaluation, Problem

if TYPE_CHECKING:
    from ternzip.search.engine.gaussian import Surrogate

MOST_FINALISTS = 4
_SHARE = 5
_DRAWS = 4096


@dataclass(frozen=True)
class Finalist:
    """One setting in the runoff.

    Attributes:
        point: of the unit cube.
        expected: the model's mean of J there, before the runoff.
        evaluation: what was measured on the common samples.
    """

    point: tuple[float, ...]
    expected: float
    evaluation: Evaluation


def finalist_count(evaluations: int) -> int:
    """How many of that many evaluations are the runoff's: a fifth, at most MOST_FINALISTS; fewer than two are none."""
    count = min(MOST_FINALISTS, evaluations // _SHARE)
    return count if count > 1 else 0


def finalists_of(problem: Problem, surrogate: Surrogate, count: int) -> list[tuple[tuple[float, ...], float]]:
    """The visited points among which the best is expected to be best, with their posterior means.

    They are added one by one: the incumbent, then each time the point with which the expected least J among those
    chosen is the smallest. A neighbour of a chosen point, which is as good or as bad as that, promises little; one
    that the model knows less of promises more. The best uniform point takes the last place if it has none.
    """
    # The same point may have been observed more than once.
    points = list(dict.fromkeys(observation.theta for observation in surrogate.observations))
    mean, covariance = surrogate.posterior(torch.tensor(points, dtype=torch.float64))
    values, vectors = torch.linalg.eigh(
        covariance
    )  # of a matrix that rounding may leave without a Cholesky factor
    normal = torch.randn(_DRAWS, len(points), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    draws = mean + normal @ (vectors * values.clamp_min(0).sqrt()).T
    chosen = [int(mean.argmin())]
    while len(chosen) < min(count, len(points)):
        least = draws[:, chosen].amin(1, keepdim=True)
        expected = torch.minimum(least, draws).mean(0).tolist()
        others = [i for i in range(len(points)) if i not in chosen]
        # Where the model is sure, no other point promises anything: they follow by their means.
        chosen.append(min(others, key=lambda i: (expected[i], float(mean[i]))))
    uniform = [i for i, point in enumerate(points) if problem.is_uniform(point)]
    if uniform and not set(uniform) & set(chosen):
        chosen[-1] = min(uniform, key=lambda i: float(mean[i]))
    return [(points[i], float(mean[i])) for i in chosen]


def run_off(problem: Problem, finalists: Sequence[tuple[tuple[float, ...], float]]) -> list[Finalist]:
    """All finalists measured on the same samples, the best J first."""
    found = [Finalist(point, expected, problem.compare(point)) for point, expected in finalists]
    return sorted(found, key=lambda finalist: finalist.evaluation.value)
