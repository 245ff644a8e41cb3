"""Studies: stopped, killed, gone on with, shared."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from search_problem import problem

from ternzip import TernzipError

optuna = pytest.importorskip("optuna")
pytest.importorskip("botorch")

from ternzip.search.certificate import Certificate, Confirmation
from ternzip.search.problem import Evaluation
from ternzip.search.study import CERTIFICATE, CONFIRMATIONS, SearchStudy, open_storage

WORKER = Path(__file__).with_name("search_worker.py")
SERVER = Path(__file__).with_name("search_server.py")


def worker(url: str, evaluations: int, pause: float = 0.0) -> subprocess.Popen[str]:
    command = [sys.executable, str(WORKER), url, str(evaluations), str(pause)]
    path = os.pathsep.join([str(WORKER.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def measured(study: SearchStudy) -> list[tuple[tuple[float, ...], float, float]]:
    return [(point, found.value, found.noise) for _, point, found in study.evaluations()]


def test_interrupted_and_gone_on_with_is_as_if_it_never_stopped(tmp_path: Path) -> None:
    whole = SearchStudy(problem(), epsilon=0.0)
    whole.run(11)
    url = f"sqlite:///{tmp_path / 'study.db'}"
    for count in (3, 9, 11):  # within the first points, and within the engine's
        SearchStudy(problem(), url, epsilon=0.0).run(count)
    parts = SearchStudy(problem(), url, epsilon=0.0)
    assert measured(parts) == measured(whole)
    assert len(measured(parts)) == 11
    assert parts.incumbent() == whole.incumbent()


def test_a_trial_that_fails_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, broken = SearchStudy(problem(), epsilon=0.0), SearchStudy(problem(), epsilon=0.0)
    whole.run(10)
    evaluate = broken.problem.evaluate

    def fail(point: object, evaluation: int) -> Evaluation:
        if evaluation in (2, 9):
            raise KeyboardInterrupt
        return evaluate(point, evaluation)  # type: ignore[arg-type]

    monkeypatch.setattr(broken.problem, "evaluate", fail)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            broken.run(10)
        if len(broken.evaluations()) == 2:
            monkeypatch.setattr(broken.problem, "evaluate", evaluate)
            broken.run(9)
            monkeypatch.setattr(broken.problem, "evaluate", fail)
    monkeypatch.setattr(broken.problem, "evaluate", evaluate)
    broken.run(10)
    assert measured(broken) == measured(whole)
    states = [trial.state for trial in broken.study.trials]
    assert states.count(optuna.trial.TrialState.FAIL) == 2


def test_killed_while_another_goes_on(tmp_path: Path) -> None:
    """kill -9 in the middle of a trial: the other worker makes all that was asked for; none is lost or doubled."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    victim = worker(url, 12, pause=300.0)
    assert victim.stdout is not None
    assert victim.stdout.readline().startswith("begins")
    other = worker(url, 12)
    assert other.stdout is not None
    assert other.stdout.readline().startswith("begins")
    victim.send_signal(signal.SIGKILL)
    victim.communicate(timeout=60)
    out, err = other.communicate(timeout=300)
    assert other.returncode == 0, err
    study = optuna.load_study(study_name="ternzip", storage=url)
    states = [trial.state.name for trial in study.trials]
    assert states.count("COMPLETE") == 12
    assert states.count("FAIL") == 1
    assert states.count("RUNNING") == 0
    told = [line for line in out.splitlines() if line.startswith("told")]
    assert len(set(told)) == len(told) == 12


def test_two_workers_share_a_study(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    both = [worker(url, 14, pause=0.05) for _ in range(2)]
    told = []
    for process in both:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        told.append([int(line.split()[1]) for line in out.splitlines() if line.startswith("told")])
    study = optuna.load_study(study_name="ternzip", storage=url)
    numbers = sorted(told[0] + told[1])
    assert numbers == [trial.number for trial in study.trials]  # none lost, none doubled
    assert 14 <= len(numbers) <= 15
    assert all(told), "both have worked"
    points = {tuple(trial.params.values()) for trial in study.trials[:8]}
    assert len(points) == 8


def test_two_workers_share_a_study_by_a_server(tmp_path: Path) -> None:
    """Optuna's gRPC proxy before a database, as for many machines."""
    pytest.importorskip("grpc")
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    database = f"sqlite:///{tmp_path / 'study.db'}"
    server = subprocess.Popen([sys.executable, str(SERVER), database, str(port)], stderr=subprocess.DEVNULL)
    try:
        both = [worker(f"grpc://localhost:{port}", 10, pause=0.05) for _ in range(2)]
        told = []
        for process in both:
            out, err = process.communicate(timeout=300)
            assert process.returncode == 0, err
            told += [int(line.split()[1]) for line in out.splitlines() if line.startswith("told")]
    finally:
        server.terminate()
        server.wait(timeout=60)
    study = optuna.load_study(study_name="ternzip", storage=database)
    assert sorted(told) == [trial.number for trial in study.trials]
    assert 10 <= len(told) <= 11


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("grpc://localhost:frog", "expected grpc://HOST:PORT"),
        ("grpc://:13000", "expected grpc://HOST:PORT"),
        ("grpc://localhost:9", "no server answers within 0.5 seconds"),
    ],
)
def test_servers_that_are_none(url: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("grpc")
    monkeypatch.setattr("ternzip.search.study._GRPC_PATIENCE", 0.5)
    with pytest.raises(TernzipError) as caught:
        open_storage(url)
    assert str(caught.value) == f"study {url}: cannot be opened: {message}"


def test_workers_that_start_at_once_all_find_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that both see an empty database: the one that comes second is told that the tables exist, and tries again."""
    import sqlalchemy.exc

    url = f"sqlite:///{tmp_path / 'study.db'}"
    real, tries = optuna.storages.RDBStorage, []

    def second(*arguments: object, **options: object) -> object:
        tries.append(1)
        if len(tries) == 1:
            raise sqlalchemy.exc.IntegrityError("INSERT", None, Exception("UNIQUE constraint failed"))
        if len(tries) == 2:
            raise sqlalchemy.exc.OperationalError("CREATE", None, Exception("table studies already exists"))
        return real(*arguments, **options)

    monkeypatch.setattr(optuna.storages, "RDBStorage", second)
    assert isinstance(open_storage(url), real)
    assert len(tries) == 3


def test_studies_of_other_problems_are_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    SearchStudy(problem(), url).run(1)
    for other, what in (
        (problem(compressor="ternary"), "space"),
        (problem(count=20), "objective"),
        (problem(target=4000), "objective"),
    ):
        with pytest.raises(TernzipError, match=f"is of another {what}: expected .*, found .*; give another"):
            SearchStudy(other, url)
    changed = problem()
    with torch.no_grad():
        next(changed.network.model.parameters()).add_(1.0)
    with pytest.raises(TernzipError, match=r"study 'ternzip' in sqlite:.* is of another model"):
        SearchStudy(changed, url)
    with pytest.raises(TernzipError, match="is of another engine: expected pac, seed 1, found pac, seed 0"):
        SearchStudy(problem(), url, seed=1)
    assert len(SearchStudy(problem(), url, name="second").evaluations()) == 0


def test_somebody_elses_study_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    optuna.create_study(study_name="mine", storage=url).optimize(
        lambda trial: trial.suggest_float("x", 0, 1), n_trials=1
    )
    with pytest.raises(TernzipError, match="expected trials of ternzip search, found others"):
        SearchStudy(problem(), url, "mine")


@pytest.mark.parametrize("url", ["sqlite:////no/such/folder/x.db", "frog://", "grpc://host:port"])
def test_storages_that_cannot_be_opened(url: str) -> None:
    with pytest.raises(TernzipError, match=f"study {url}: cannot be opened: ") as caught:
        open_storage(url)
    assert "\n" not in str(caught.value)


def test_trials_say_what_was_measured() -> None:
    study = SearchStudy(problem())
    study.run(1)
    attributes = study.study.trials[0].user_attrs
    for key in ("L", "L standard error", "R", "bytes", "accuracy", "seconds", "noise"):
        assert isinstance(attributes[key], int | float), key
    assert study.study.trials[0].value == pytest.approx(attributes["L"] + attributes["R"])


def test_a_certificate_needs_a_confirmation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Held-out samples that say otherwise: no certificate, the search goes on, and knows what they said."""
    study = SearchStudy(problem(), delta=0.2)
    confirm = study.problem.confirm

    def worse(point: tuple[float, ...]) -> Evaluation:
        from dataclasses import replace

        found = confirm(point)
        return replace(found, value=found.value + 1.0)

    monkeypatch.setattr(study.problem, "confirm", worse)
    study.run(30)
    assert study.certificate is None
    refused = study.confirmations
    assert refused, "the model was sure at least once"
    assert not any(confirmation.held for confirmation in refused)
    assert len({confirmation.theta for confirmation in refused}) == len(refused)
    known = study.sampler.history(study.study).observations
    assert len(known) == len(study.evaluations()) + len(refused)


def test_a_certificate_ends_the_search_for_all(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = SearchStudy(problem(), url, delta=0.2)
    study.run(60)
    certificate = study.certificate
    assert certificate is not None
    assert certificate.evaluations == len(study.evaluations()) < 60
    assert certificate.risk <= 0.005
    assert certificate.confirmation.held
    assert certificate.confirmation.theta == study.incumbent()[0]
    other = SearchStudy(problem(), url, delta=0.2)
    other.run(60)
    assert len(other.evaluations()) == certificate.evaluations
    assert other.certificate == certificate
    assert other.study.user_attrs[CERTIFICATE]["delta"] == 0.2
    assert Confirmation.from_dict(other.study.user_attrs[CONFIRMATIONS][-1]) == certificate.confirmation
    assert isinstance(other.certificate, Certificate)


def test_an_empty_study_has_no_incumbent() -> None:
    with pytest.raises(TernzipError, match="expected at least one finished trial, found none"):
        SearchStudy(problem()).incumbent()


def test_a_study_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    SearchStudy(problem(), f"sqlite:///{path}")
    with pytest.raises(
        TernzipError, match=r"^study 'ternzip' in sqlite:.*: cannot be written: .*readonly"
    ) as caught:
        SearchStudy(problem(), f"sqlite:///file:{path}?mode=ro&uri=true")
    assert "\n" not in str(caught.value)
