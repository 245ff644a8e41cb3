"""What a certificate is issued for, what confirms it, and which studies it belongs to; and why there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from search_problem import data, problem, trained
from torch import Tensor, nn

from ternzip import TernzipError

for module in ("botorch", "optuna"):
    pytest.importorskip(module)

from ternzip.search import markdown, search
from ternzip.search.certificate import Certificate, Confirmation
from ternzip.search.compressors import TernaryCompressor
from ternzip.search.network import Network
from ternzip.search.problem import Problem, agree
from ternzip.search.report import why_no_certificate
from ternzip.search.samples import samples_of
from ternzip.search.study import CERTIFICATE, SearchStudy


def rows(inputs: Tensor) -> set[tuple[float, ...]]:
    return {tuple(row) for row in inputs.tolist()}


def test_confirmations_have_samples_that_nothing_else_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    made = problem()
    seen: list[Tensor] = []
    estimate = made.loss.estimate

    def watched(outputs: Tensor, samples: object) -> object:
        seen.append(samples.inputs)  # type: ignore[attr-defined]
        return estimate(outputs, samples)  # type: ignore[arg-type]

    monkeypatch.setattr(type(made.loss), "estimate", lambda self, *arguments: watched(*arguments))
    made.confirm([0.5] * 3)
    for evaluation in range(30):
        made.evaluate([0.5] * 3, evaluation)
    made.compare([0.5] * 3)
    confirmed, *others = map(rows, seen)
    assert len(confirmed) == 56  # an eighth of 450
    assert confirmed | set().union(*others) == rows(made.samples.inputs)
    assert not confirmed & set().union(*others)
    assert not confirmed & rows(made.held_out.inputs)


def test_held_out_samples_choose_nothing() -> None:
    """To an original that has learnt its samples by heart they are of another kind: every confirmation failed."""
    study = SearchStudy(problem(), delta=0.2)
    study.problem.held_out = None  # type: ignore[assignment]
    study.run(60)
    assert study.certificate is not None
    observed = study.sampler.history(study.study).observations
    assert len(observed) == len(study.evaluations()) + len(study.confirmations)


def test_too_few_samples_to_set_any_aside_are_no_reason_to_fail() -> None:
    inputs, labels = data()
    made = Network(trained(), TernaryCompressor(), smallest=100)
    few = samples_of(trained(), inputs[:12], labels[:12])
    study = SearchStudy(Problem(made, few, few), epsilon=1.0)
    assert study.problem.set_aside == 0
    study.run(11)
    assert study.certificate is None


def test_a_certificate_answers_its_own_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = SearchStudy(problem(), url, delta=0.2)
    study.run(60)
    certificate = study.certificate
    assert certificate is not None
    for delta, epsilon in ((0.1, 0.005), (0.2, 0.001)):
        other = SearchStudy(problem(), url, delta=delta, epsilon=epsilon)
        assert other.certificate is None
    assert SearchStudy(problem(), url, delta=0.3, epsilon=0.01).certificate == certificate
    # Nor do risks of larger gains count as those of smaller ones.
    smaller = SearchStudy(problem(), url, delta=0.1)
    monkeypatch.setattr(
        smaller.sampler, "proposal", lambda history: pytest.fail("took the last risk for its own")
    )
    assert not smaller._certified()
    # Killed between the confirmation and the certificate: what was measured is there, the certificate follows.
    study.study.set_user_attr(CERTIFICATE, None)
    monkeypatch.setattr(study.problem, "confirm", lambda point: pytest.fail("confirmed twice"))
    assert study.certificate is None
    assert study._certified()
    assert study.certificate == certificate


def test_whether_a_confirmation_held_is_a_matter_of_delta() -> None:
    study = SearchStudy(problem(), delta=0.01)
    measured = Confirmation.of([0.5] * 3, 0.3, 0.4, 0.01, 0.1)
    assert measured.held
    study.study.set_user_attr("confirmations", [measured.to_dict()])
    assert [c.held for c in study.confirmations] == [False]


def test_a_certificate_answers_weaker_questions_only() -> None:
    certificate = Certificate(17, 0.003, 0.05, 0.005, Confirmation.of([0.1], 0.3, 0.31, 0.01, 0.05))
    assert certificate.answers(0.05, 0.005)
    assert certificate.answers(0.1, 0.01)
    assert not certificate.answers(0.049, 0.5)
    assert not certificate.answers(0.5, 0.004)


def of_function(function: type[nn.Module], **options: object) -> Problem:
    """The tests' network with another function between its layers: the same state_dict."""
    inputs, labels = data()
    model = nn.Sequential(*(function() if isinstance(m, nn.ReLU) else m for m in trained())).eval()
    whole = samples_of(model, inputs, labels)
    return Problem(Network(model, TernaryCompressor(), smallest=100), whole, whole, **options)  # type: ignore[arg-type]


def test_a_study_of_another_function_of_the_same_weights_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    SearchStudy(of_function(nn.ReLU), url)
    SearchStudy(of_function(nn.ReLU), url)
    with pytest.raises(
        TernzipError, match=r"is of another function: expected \[.*\], found \[.*\]; give another"
    ):
        SearchStudy(of_function(nn.Tanh), url)
    with pytest.raises(TernzipError, match="is of another objective"):
        SearchStudy(of_function(nn.ReLU, metadata={"note": "longer"}), url)


def test_machines_that_round_differently_share_a_study() -> None:
    made = of_function(nn.ReLU)
    here = made.fingerprint()["function"]
    made.samples.outputs.mul_(1.0001)
    there = made.fingerprint()["function"]
    assert here != there
    assert agree("function", here, there)
    made.samples.outputs[:, 0].mul_(1.05)
    assert not agree("function", here, made.fingerprint()["function"])
    assert not agree("function", here, None)
    assert not agree("data", "1", "2")


def test_samples_are_set_aside_by_the_seed() -> None:
    inputs, labels = data()
    whole = samples_of(trained(), inputs, labels)
    made = Network(trained(), TernaryCompressor(), smallest=100)
    first, again, other = (Problem(made, whole, whole, seed=seed)._confirmed for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_reports_say_why_there_is_no_certificate() -> None:
    """Not that more evaluations would help where they would not."""
    options = {"compressor": "ternary", "evaluations": 3, "smallest": 100}
    result = search(trained(), data(), target_size=1500, **options)  # type: ignore[arg-type]
    assert why_no_certificate(result).startswith(
        "the evaluations were over before the model was sure; more of"
    )
    assert "No certificate: the evaluations were over before" in markdown(result)
    held, not_held = (Confirmation.of([0.5], 0.3, found, 0.01, 0.05) for found in (0.3, 0.9))
    refused = replace(result, confirmations=[not_held, held, not_held])
    assert "sure; 2 times it was, and samples set aside said otherwise; more" in why_no_certificate(refused)
    for key, value, why in (
        ("trials", 4, "the time was over before the model was sure"),
        ("engine", "random", "the engine random issues none"),
        ("set_aside", 0, "too few samples to set some aside for a confirmation"),
        ("epsilon", 0.0, "no model is as sure as epsilon 0 asks for"),
    ):
        assert why_no_certificate(replace(result, settings={**result.settings, key: value})) == why
    one = search(trained(), data(), target_size=1500, compressor="ternary", smallest=1000)
    assert why_no_certificate(one) == "nothing was left to choose, there is one setting"
    assert "No certificate: nothing was left to choose" in markdown(one)
