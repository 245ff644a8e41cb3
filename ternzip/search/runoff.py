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

from ternzip.search.problem import Evaluation, Problem

if TYPE_CHECKING:
    from ternzip.search.engine.gaussian import Surrogate

MOST_FINALISTS = 4
_SHARE = 5


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
    """The visited points of the best posterior means, with these; the best uniform one among them in any case."""
    means = surrogate.posterior(surrogate.theta)[0].tolist()
    # The same point may have been observed more than once.
    found = dict(zip((o.theta for o in surrogate.observations), means, strict=True))
    ranked = sorted(found.items(), key=lambda item: item[1])
    chosen = ranked[:count]
    uniform = next((item for item in ranked if problem.is_uniform(item[0])), None)
    if uniform is not None and uniform not in chosen:
        chosen[-1] = uniform
    return chosen


def run_off(problem: Problem, finalists: Sequence[tuple[tuple[float, ...], float]]) -> list[Finalist]:
    """All finalists measured on the same samples, the best J first."""
    found = [Finalist(point, expected, problem.compare(point)) for point, expected in finalists]
    return sorted(found, key=lambda finalist: finalist.evaluation.value)
