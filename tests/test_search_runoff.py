"""The runoff, and the uniform settings that every search begins with."""

from __future__ import annotations

import pytest
from search_problem import data, problem, trained

pytest.importorskip("optuna")
pytest.importorskip("botorch")

from ternzip.search import search
from ternzip.search.choices import ENGINES
from ternzip.search.engine.gaussian import Observation, Surrogate
from ternzip.search.problem import usual_count
from ternzip.search.runoff import finalist_count, finalists_of, run_off
from ternzip.search.study import SearchStudy


def test_a_fifth_of_the_evaluations_is_the_runoff() -> None:
    expected = {1: 0, 9: 0, 10: 2, 14: 2, 15: 3, 19: 3, 20: 4, 24: 4, 1000: 4}
    assert {count: finalist_count(count) for count in expected} == expected


def test_the_uniform_setting_is_always_a_finalist() -> None:
    """However bad it looks; a point observed twice is one finalist."""
    made = problem(target=3000)
    assert made.dimension == 2
    values = {(0.5, 0.5): 2.0, (0.4, 0.5): 0.1, (0.3, 0.5): 0.2, (0.3, 0.3): 0.3, (0.4, 0.4): 0.4}
    observations = [Observation(point, value, 1e-4) for point, value in values.items()]
    surrogate = Surrogate([*observations, Observation((0.4, 0.5), 0.12, 1e-4)])
    found = finalists_of(made, surrogate, 3)
    assert [point for point, _ in found] == [(0.4, 0.5), (0.3, 0.5), (0.5, 0.5)]
    means = dict(found)
    assert means[0.4, 0.5] < means[0.3, 0.5] < means[0.5, 0.5]
    assert len(finalists_of(made, surrogate, 9)) == 5


def test_a_neighbour_of_a_finalist_promises_less_than_a_point_less_known() -> None:
    made = problem(target=3000)
    close = [Observation((0.3 + 0.01 * i, 0.3), 0.2 + 0.001 * i, 1e-3) for i in range(4)]
    unsure = Observation((0.8, 0.8), 0.22, 4e-3)
    far = [Observation(point, 0.5, 1e-3) for point in ((0.5, 0.5), (0.1, 0.9), (0.9, 0.1), (0.05, 0.05))]
    found = [point for point, _ in finalists_of(made, Surrogate([*close, unsure, *far]), 3)]
    assert found[0] in [observation.theta for observation in close]
    assert found[1:] == [(0.8, 0.8), (0.5, 0.5)]


def test_one_number_for_all_layers_is_uniform() -> None:
    bound, free = problem(target=3000), problem(compressor="ternary")
    assert bound.is_uniform((0.5, 0.5))
    assert not bound.is_uniform((0.4, 0.4)), "the largest layer's number is another"
    assert not bound.is_uniform((0.5, 0.4))
    assert free.is_uniform((0.4, 0.4, 0.4))
    assert not free.is_uniform((0.4, 0.4, 0.5))
    assert all(made.is_uniform(point) for made in (bound, free) for point in made.uniform_points)


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_every_engine_begins_with_the_uniform_settings(engine: str) -> None:
    study = SearchStudy(problem(compressor="prune"), engine=engine)
    study.run(3)
    assert [point for _, point, _ in study.evaluations()] == [(0.5,) * 3, (0.25,) * 3, (0.75,) * 3]


def test_finalists_are_measured_on_the_same_samples_of_the_search() -> None:
    assert [usual_count(n) for n in (100, 2000, 50_000)] == [50, 250, 400]
    made = problem(target=3000, count=20)
    made.held_out = None  # type: ignore[assignment]
    points = [((0.5, 0.5), 1.0), ((0.2, 0.9), 2.0), ((0.9, 0.1), 3.0)]
    found = run_off(made, points)
    assert [f.evaluation.loss.samples for f in found] == [200] * 3
    assert [f.evaluation.value for f in found] == sorted(f.evaluation.value for f in found)
    assert sorted((f.point, f.expected) for f in found) == sorted(points)
    again = made.compare((0.2, 0.9))
    assert again.value == next(f.evaluation.value for f in found if f.point == (0.2, 0.9))
    own = {made.evaluate((0.2, 0.9), evaluation).value for evaluation in range(3)}
    assert len({*own, again.value}) == 4


def test_a_search_returns_the_winner_of_the_runoff() -> None:
    """The evaluations are those of the trials and of the runoff together; the same search has the same runoff."""
    results = [
        search(trained(), data(), target_size=2500, smallest=100, evaluations=11, epsilon=0.0)
        for _ in range(2)
    ]
    for result in results:
        assert len(result.visited) == 9
        assert len(result.runoff) == 2
        assert result.chosen == result.runoff[0].point
        assert (0.5, 0.5) in [finalist.point for finalist in result.runoff]
        assert result.runoff[0].evaluation.value <= result.runoff[1].evaluation.value
        assert result.best.bytes == result.runoff[0].evaluation.bytes
    first, second = ([(f.point, f.expected, f.evaluation.value) for f in r.runoff] for r in results)
    assert first == second
    assert results[0].data == results[1].data


def test_luck_does_not_win() -> None:
    """The model takes the worse of two settings for the better, by a lucky observation: the runoff tells them apart."""
    made = problem(target=3000)
    better, worse = sorted([(0.5, 0.5), (0.9, 0.1)], key=lambda point: made.confirm(point).value)
    surrogate = Surrogate([Observation(worse, 0.0, 1e-4), Observation(better, 1.0, 1e-4)])
    found = run_off(made, finalists_of(made, surrogate, 2))
    assert [finalist.point for finalist in found] == [better, worse]
    assert found[0].expected > found[1].expected
