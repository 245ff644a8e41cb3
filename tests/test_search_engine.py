"""The posterior by an explicit inverse, A_PAC by its formula on a grid, the certificate by both."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ternzip import TernzipError

pytest.importorskip("botorch")
optuna = pytest.importorskip("optuna")

from ternzip.search.certificate import Certificate, Confirmation, is_certified
from ternzip.search.choices import ENGINES
from ternzip.search.engine.gaussian import Observation, Surrogate
from ternzip.search.engine.pac import ProbablyBetter, Proposal, maximum, propose
from ternzip.search.engine.sampler import NOISE, EngineSampler, History, initial_count, space


def observations(count: int = 9, d: int = 1, noise: float = 0.01) -> list[Observation]:
    generator = torch.Generator().manual_seed(count + d)
    points = torch.rand(count, d, generator=generator, dtype=torch.float64)
    found = []
    for i, point in enumerate(points):
        value = float((3 * point).sin().sum() + point.square().sum())
        value += math.sqrt(noise) * float(torch.randn((), generator=generator))
        found.append(Observation(tuple(point.tolist()), value, noise * (1 + i)))  # noises all differ
    return found


def matern(a: Tensor, b: Tensor, lengths: Tensor, scale: float) -> float:
    """Matern 5/2 as the textbooks write it."""
    r = math.sqrt(
        sum((float(x - y) / float(length)) ** 2 for x, y, length in zip(a, b, lengths, strict=True))
    )
    return scale * (1 + math.sqrt(5) * r + 5 / 3 * r * r) * math.exp(-math.sqrt(5) * r)


def posterior_by_inverse(surrogate: Surrogate, points: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of J with an explicit inverse, from the fitted hyperparameters alone."""
    kernel = surrogate.model.covar_module
    lengths, scale = kernel.base_kernel.lengthscale.detach()[0], float(kernel.outputscale.detach())
    constant = surrogate.mean - surrogate.scale * float(surrogate.model.mean_module.constant.detach())

    def gram(rows: Tensor, columns: Tensor) -> Tensor:
        values = [[matern(a, b, lengths, scale) * surrogate.scale**2 for b in columns] for a in rows]
        return torch.tensor(values, dtype=torch.float64)

    noise = torch.diag(torch.tensor([o.noise for o in surrogate.observations], dtype=torch.float64))
    inverse = torch.linalg.inv(gram(surrogate.theta, surrogate.theta) + noise)
    cross = gram(points, surrogate.theta)
    values = torch.tensor([o.value for o in surrogate.observations], dtype=torch.float64)
    return constant + cross @ inverse @ (values - constant), gram(points, points) - cross @ inverse @ cross.T


@pytest.mark.parametrize("d", [1, 3])
def test_the_posterior_is_that_of_the_textbook(d: int) -> None:
    surrogate = Surrogate(observations(8, d))
    points = torch.rand(5, d, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    mean, covariance = surrogate.posterior(points)
    expected_mean, expected_covariance = posterior_by_inverse(surrogate, points)
    torch.testing.assert_close(mean, expected_mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(covariance, expected_covariance, rtol=1e-4, atol=1e-6)


def test_the_incumbent_is_not_the_luckiest() -> None:
    """One lucky observation among good ones does not become the incumbent; its own noise is what tells."""
    good = [Observation((0.30 + 0.01 * i,), 0.0, 1e-4) for i in range(4)]
    bad = [Observation((t,), 1.0, 1e-4) for t in (0.0, 0.6, 0.8, 0.9, 1.0)]
    lucky = Observation((0.85,), -0.2, 4.0)
    surrogate = Surrogate([*good, *bad, lucky])
    assert min(surrogate.observations, key=lambda o: o.value) is lucky
    assert surrogate.observations[surrogate.incumbent()] in good


def test_a_pac_by_its_formula() -> None:
    """Eq. 11 at every point of a grid, negated as it maximises."""
    surrogate, delta = Surrogate(observations()), 0.05
    best = surrogate.theta[surrogate.incumbent()]
    acquisition = ProbablyBetter(surrogate.model, best, delta / surrogate.scale)
    grid = torch.linspace(0, 1, 23, dtype=torch.float64)[:, None]
    with torch.no_grad():
        found = acquisition(grid[:, None, :])
    for t, score in zip(grid, found, strict=True):
        mean, covariance = posterior_by_inverse(surrogate, torch.stack([t, best]))
        spread = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
        expected = (float(mean[1] - mean[0]) - delta) / math.sqrt(float(spread))
        assert float(score) == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_a_pac_at_the_incumbent_is_finite_and_never_best() -> None:
    surrogate = Surrogate(observations())
    best = surrogate.theta[surrogate.incumbent()]
    acquisition = ProbablyBetter(surrogate.model, best, 0.1)
    with torch.no_grad():
        there = float(acquisition(best[None, None, :]))
    assert math.isfinite(there)
    assert there < -1e3


def test_the_proposal_is_the_maximum_on_a_grid() -> None:
    surrogate, delta = Surrogate(observations()), 0.05
    found = propose(surrogate, delta, seed=0)
    acquisition = ProbablyBetter(
        surrogate.model, surrogate.theta[surrogate.incumbent()], delta / surrogate.scale
    )
    with torch.no_grad():
        grid = acquisition(torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None, None])
    assert found.score is not None
    assert found.score == pytest.approx(float(grid.max()), abs=1e-3)
    assert propose(surrogate, delta, seed=0) == found


@pytest.mark.parametrize(
    ("delta", "expected"),
    [(0.01, 0.42), (0.03, 0.42), (0.048, 0.42), (0.1, 1.0)],
    ids=["delta itself", "a half", "a quarter", "nothing but the corner"],
)
def test_where_nothing_is_better_by_delta_smaller_gains_come_before_the_corners(
    delta: float, expected: float
) -> None:
    """The smallest J is at 0.42, 0.0144 below the incumbent's; nothing is known of the line beyond 0.6."""
    places = (0.1, 0.2, 0.3, 0.36, 0.5, 0.6)
    surrogate = Surrogate([Observation((t,), 4 * (t - 0.42) ** 2, 1e-6) for t in places])
    found = propose(surrogate, delta, seed=0)
    acquisition = ProbablyBetter(
        surrogate.model, surrogate.theta[surrogate.incumbent()], delta / surrogate.scale
    )
    theta, score = maximum(acquisition, 1, 0)
    assert found.score == pytest.approx(score), "the certificate's question is the same"
    assert (theta[0] == 1.0) is (delta > 0.02)
    assert found.theta[0] == pytest.approx(expected, abs=0.04)


def test_the_less_known_of_the_two_is_measured() -> None:
    """An incumbent that was measured once, badly, is measured again, however promising its rival."""
    rival = [Observation((0.45,), 0.02, 1e-4) for _ in range(10)]
    others = [Observation((t,), 1.0, 1e-4) for t in (0.0, 0.2, 0.8, 1.0)]
    for noise, again in ((0.01, True), (1e-8, False)):
        surrogate = Surrogate([Observation((0.55,), -0.05, noise), *rival, *others])
        assert surrogate.observations[surrogate.incumbent()].theta == (0.55,)
        assert (propose(surrogate, 0.01, 0).theta == (0.55,)) is again


def test_the_risk_is_that_of_eq_12() -> None:
    normal = torch.distributions.Normal(0.0, 1.0)
    for score in (-4.0, -2.576, 0.0, 1.5):
        risk = float(normal.cdf(torch.tensor(score, dtype=torch.float64)))
        assert Proposal((0.5,), score).risk == pytest.approx(risk, abs=1e-9)
    assert 0 < Proposal((0.5,), -20.0).risk < 1e-80
    assert Proposal((0.5,), None).risk == 1


def test_pending_points_are_believed_to_be_as_the_model_says() -> None:
    surrogate = Surrogate(observations())
    point = torch.tensor([[0.42]], dtype=torch.float64)
    before_mean, before = surrogate.posterior(point)
    after_mean, after = surrogate.believing([(0.42,)]).posterior(point)
    torch.testing.assert_close(after_mean, before_mean, rtol=1e-4, atol=1e-5)
    assert float(after) < float(before)
    assert surrogate.believing([]) is surrogate


def test_observations_that_are_all_alike() -> None:
    surrogate = Surrogate([Observation((t,), 1.0, 0.01) for t in (0.1, 0.5, 0.5, 0.9)])
    assert math.isfinite(propose(surrogate, 0.05, 0).score or 0.0)


def test_certified_is_twice_in_a_row() -> None:
    assert is_certified([None, 0.8, 0.004, 0.005], 0.005)
    for risks in ([0.001], [0.001, None], [None, 0.001], [0.001, 0.01], []):
        assert not is_certified(risks, 0.005)
    assert not is_certified([1e-30, 1e-30], 0.0)


@pytest.mark.parametrize(("found", "held"), [(0.3, True), (0.369, True), (0.371, False)])
def test_a_confirmation_allows_delta_and_two_standard_errors(found: float, held: bool) -> None:
    assert Confirmation.of([0.5], 0.3, found, 0.01, 0.05).held is held


def test_certificates_say_what_is_known_and_survive_json() -> None:
    import json

    certificate = Certificate(17, 0.003, 0.05, 0.005, Confirmation.of([0.1, 0.2], 0.3, 0.31, 0.01, 0.05))
    assert Certificate.from_dict(json.loads(json.dumps(certificate.to_dict()))) == certificate
    words = certificate.words()
    for part in (
        "Under the model",
        "0.995",
        "by more than 0.05",
        "17 evaluations",
        "samples that none of them drew",
        "may be wrong",
    ):
        assert part in words


def history(count: int, d: int = 2) -> History:
    return History(tuple(observations(count, d)), (), count)


@pytest.mark.parametrize("engine", ["pac", "random", "qlognei", "uniform"])
def test_engines_start_in_the_middle_and_depend_on_the_history_alone(engine: str) -> None:
    names = ["a", "b"]
    sampler = EngineSampler(names, engine=engine, seed=1)
    assert sampler.proposal(history(0)).theta == (0.5, 0.5)
    points = [sampler.proposal(history(i)).theta for i in range(1, 11)]
    again = EngineSampler(names, engine=engine, seed=1)
    assert again.proposal(history(9)).theta == points[8]
    assert len(set(points[:7])) == 7  # the space-filling ones
    assert all(0 <= t <= 1 for point in points for t in point)
    if engine == "uniform":
        assert all(a == b for a, b in points)


def test_the_first_points_fill_the_space_and_have_no_score() -> None:
    sampler = EngineSampler(["a", "b"], seed=0)
    assert [initial_count(d) for d in (1, 2, 3, 4, 10)] == [8, 8, 8, 10, 22]
    for index in range(8):
        assert sampler.proposal(history(index)).score is None
    assert sampler.proposal(history(8)).score is not None


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_every_engine_runs_a_study(engine: str) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = EngineSampler(["a"], engine=engine, seed=0)
    study = optuna.create_study(sampler=sampler)
    for _ in range(10):
        trial = study.ask(space(["a"]))
        trial.set_user_attr(NOISE, 1e-4)
        study.tell(trial, (trial.params["a"] - 0.3) ** 2)
    assert study.trials[0].params == {"a": 0.5}
    assert len({trial.params["a"] for trial in study.trials}) >= 8


def test_unknown_engines_and_foreign_trials() -> None:
    with pytest.raises(TernzipError, match=r"engine: expected one of pac, .*, found 'x'"):
        EngineSampler(["a"], engine="x")
    sampler = EngineSampler(["a"], seed=0)
    study = optuna.create_study(sampler=sampler)
    study.tell(study.ask(space(["a"])), 1.0)
    with pytest.raises(TernzipError, match="trial 0 is of another search"):
        study.ask(space(["a"]))
