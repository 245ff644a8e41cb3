"""The study: Optuna's trials and storage, one or many workers, stopped and gone on with at any time."""

from __future__ import annotations

import datetime
import os
import platform
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy.exc
from optuna.trial import FrozenTrial, TrialState, create_trial

from ternzip._core.errors import TernzipError
from ternzip._core.text import first_line
from ternzip.search.certificate import Certificate, Confirmation, is_certified
from ternzip.search.engine.gaussian import Observation, Surrogate
from ternzip.search.engine.sampler import (
    FAILED,
    NOISE,
    RISK,
    EngineSampler,
    failed_trials,
    initial_count,
)
from ternzip.search.objective import Estimate
from ternzip.search.problem import Evaluation, Problem, agree
from ternzip.search.runoff import Finalist, finalists_of, run_off

FINGERPRINT = "problem"
CERTIFICATE = "certificate"
CONFIRMATIONS = "confirmations"
_WORKER = "worker"
_MEASURED = "measured"
_DELTA = "delta"
_OPENINGS = 6
_GRPC_PORT = "13000"  # Optuna's own default
_GRPC_PATIENCE = 15.0
_STALE_MINUTES = 60.0
"""Trials that another machine began this long ago and did not finish are taken for lost."""

OnTrial = Callable[[int, Evaluation], None]


def open_storage(url: str | None) -> optuna.storages.BaseStorage:
    """Optuna's storage: None or "memory", "grpc://HOST:PORT", or the URL of a database ("sqlite:///study.db").

    Raises TernzipError for what cannot be opened.
    """
    if url in (None, "memory"):
        return optuna.storages.InMemoryStorage()
    assert url is not None
    try:
        if url.startswith("grpc://"):
            return _open_proxy(url.removeprefix("grpc://"))
        # Workers wait for one another's writes instead of failing at once.
        options = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else None
        return _open_database(url, options)
    except Exception as error:
        reason = first_line(error)
        raise TernzipError(f"study {url}: cannot be opened: {reason}") from None


def _open_proxy(address: str) -> optuna.storages.BaseStorage:
    """The storage that a server at HOST or HOST:PORT serves; it is asked whether it is there."""
    host, _, port = address.partition(":")
    if not host or not (port or _GRPC_PORT).isdigit():
        raise ValueError("expected grpc://HOST:PORT")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls it experimental
        storage = optuna.storages.GrpcStorageProxy(host=host, port=int(port or _GRPC_PORT))
        try:
            storage.wait_server_ready(timeout=_GRPC_PATIENCE)
        except ConnectionError:
            raise ValueError(f"no server answers within {_GRPC_PATIENCE:g} seconds") from None
    return storage


def _open_database(url: str, options: dict[str, Any] | None) -> optuna.storages.RDBStorage:
    """The database, with its tables. Of workers that start at once one makes them; the others try again."""
    for attempt in range(_OPENINGS):
        try:
            return optuna.storages.RDBStorage(url, engine_kwargs=options)
        except (sqlalchemy.exc.IntegrityError, sqlalchemy.exc.OperationalError) as error:
            made_by_another = isinstance(error, sqlalchemy.exc.IntegrityError) or "already exists" in str(
                error
            )
            if not made_by_another or attempt == _OPENINGS - 1:
                raise
            time.sleep(0.1 * 2**attempt)
    raise AssertionError("unreachable")


class SearchStudy:
    """A problem's trials in a storage.

    Args:
        problem: what is evaluated.
        url, name: where the study is, and what it is called; one that exists is gone on with.
        engine, seed, delta, epsilon: see `ternzip.search.search`.

    Raises TernzipError for a study of another model, data, space or objective.
    """

    def __init__(
        self,
        problem: Problem,
        url: str | None = None,
        name: str = "ternzip",
        *,
        engine: str = "pac",
        seed: int = 0,
        delta: float = 0.05,
        epsilon: float = 0.005,
    ) -> None:
        self.problem = problem
        self.delta = delta
        self.epsilon = epsilon
        self._where = f"study {name!r} in {url or 'memory'}"
        self.sampler = EngineSampler(
            problem.names,
            engine=engine,
            delta=delta,
            seed=seed,
            first=problem.uniform_points,
            extra=_confirmed_observations,
        )
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            storage = open_storage(url)
            try:
                self.study = optuna.create_study(
                    storage=storage,
                    study_name=name,
                    sampler=self.sampler,
                    direction="minimize",
                    load_if_exists=True,
                )
            except optuna.exceptions.StorageInternalError as error:
                reason = first_line(error.__cause__ or error)
                raise TernzipError(f"{self._where}: cannot be written: {reason}") from error
        self._check_fingerprint({**problem.fingerprint(), "engine": f"{engine}, seed {seed}"})

    def _check_fingerprint(self, expected: dict[str, str]) -> None:
        found = self.study.user_attrs.get(FINGERPRINT)
        if found is None:
            trials = self.study.get_trials(deepcopy=False)
            found = self.study.user_attrs.get(FINGERPRINT)  # of a worker that started just now
            if trials and found is None:
                raise TernzipError(f"{self._where}: expected trials of ternzip search, found others")
        if found is None:
            self.study.set_user_attr(FINGERPRINT, expected)
            return
        for key, value in expected.items():
            if not agree(key, value, found.get(key)):
                raise TernzipError(
                    f"{self._where}: is of another {key}: expected {value}, found {found.get(key)}; "
                    "give another --study or name"
                )

    @property
    def certificate(self) -> Certificate | None:
        """The last certificate, or None where it says less than delta and epsilon ask for."""
        stored = self.study.user_attrs.get(CERTIFICATE)
        found = None if stored is None else Certificate.from_dict(stored)
        return found if found is not None and found.answers(self.delta, self.epsilon) else None

    @property
    def confirmations(self) -> list[Confirmation]:
        """What was measured again, oldest first; whether it held is by this delta, whatever it was then."""
        stored = self.study.user_attrs.get(CONFIRMATIONS, [])
        found = [Confirmation.from_dict(value) for value in stored]
        return [Confirmation.of(c.theta, c.expected, c.found, c.standard_error, self.delta) for c in found]

    def evaluations(self) -> list[tuple[int, tuple[float, ...], Evaluation]]:
        """Every finished trial: its number, its point, and what was measured."""
        found = []
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            point = self.sampler._point(trial)
            assert point is not None
            found.append((trial.number, point, _evaluation(trial)))
        return found

    def surrogate(self) -> Surrogate | None:
        """The model of all that was observed; None with fewer than two observations or without parameters."""
        observations = self.sampler.history(self.study).observations
        if len(observations) < 2 or not self.problem.dimension:
            return None
        return Surrogate(observations)

    def incumbent(self) -> tuple[tuple[float, ...], float]:
        """The visited point of the best posterior mean, and that mean. Raises TernzipError without a trial."""
        surrogate = self.surrogate()
        if surrogate is not None:
            best = surrogate.incumbent()
            mean, _ = surrogate.posterior(surrogate.theta[best : best + 1])
            return surrogate.observations[best].theta, float(mean[0])
        done = self.evaluations()
        if not done:
            raise TernzipError(f"{self._where}: expected at least one finished trial, found none")
        return done[0][1], done[0][2].value

    def runoff(self, count: int) -> list[Finalist]:
        """The `count` most promising settings measured once more, all on the same samples, the best first.

        It follows from the trials alone, so it needs no place in the storage. Empty for a count of 0 or where there is
        no model.
        """
        surrogate = self.surrogate() if count else None
        return (
            [] if surrogate is None else run_off(self.problem, finalists_of(self.problem, surrogate, count))
        )

    def run(self, evaluations: int, on_trial: OnTrial | None = None, seconds: float | None = None) -> None:
        """Evaluates until the study has that many trials, a certificate is there, or the time is over.

        Several workers may run the same study; each stops at the same marks, so that together they may make a few
        trials more than asked for.
        """
        end = None if seconds is None else datetime.datetime.now() + datetime.timedelta(seconds=seconds)
        while True:
            self._give_up_lost_trials()
            if self.certificate is not None or self._certified():
                return
            states = [trial.state for trial in self.study.get_trials(deepcopy=False)]
            begun = len(states) - states.count(TrialState.FAIL)
            if begun >= evaluations or (end is not None and datetime.datetime.now() >= end):
                return
            self._one_trial(on_trial)

    def _one_trial(self, on_trial: OnTrial | None) -> None:
        identity = self._created()
        try:
            trial = optuna.Trial(self.study, identity)
            point = [trial.suggest_float(name, 0.0, 1.0) for name in self.problem.names]
            index = self.sampler.history(self.study, trial.number).index
            found = self.problem.evaluate(point, index)
        except BaseException:
            self.study._storage.set_trial_state_values(identity, TrialState.FAIL)
            raise
        trial.set_user_attr(NOISE, found.noise)
        trial.set_user_attr(_MEASURED, asdict(found))
        for key, value in (
            ("L", found.loss.value),
            ("L standard error", found.loss.standard_error),
            ("R", found.ratio),
            ("bytes", found.bytes),
            ("accuracy", found.accuracy),
            ("seconds", found.seconds),
        ):
            trial.set_user_attr(key, value)  # what optuna-dashboard shows in columns
        self.study.tell(trial, found.value)
        if on_trial is not None:
            on_trial(trial.number, found)

    def _created(self) -> int:
        """A new trial's identity in the storage.

        It holds from the start whose it is and what had failed before it. `Study.ask` would create it without, and
        propose its point first: whoever is killed meanwhile would leave a trial that is nobody's.
        """
        failed = failed_trials(self.study.get_trials(deepcopy=False))
        attributes = {_WORKER: _worker(), FAILED: failed, _DELTA: self.delta}
        marked = create_trial(state=TrialState.RUNNING, user_attrs=attributes)
        self.study._thread_local.cached_all_trials = None  # as Study.ask does: samplers look anew
        return self.study._storage.create_new_trial(self.study._study_id, template_trial=marked)

    def _certified(self) -> bool:
        """Whether Eq. 12 has held twice in a row and a confirmation held too; records either."""
        d = self.problem.dimension
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if self.sampler.engine != "pac" or not d or len(trials) < initial_count(d) + 1:
            return False
        if not self.problem.set_aside or trials[-1].user_attrs.get(_DELTA) != self.delta:
            return False  # a risk of other gains is none in a row with this one's
        last = trials[-1].user_attrs.get(RISK)
        if not is_certified([0.0, last], self.epsilon):
            return False  # no need to look further
        now = self.sampler.proposal(self.sampler.history(self.study)).risk
        if last is None or not is_certified([last, now], self.epsilon):
            return False
        point, expected = self.incumbent()
        # A point is confirmed once: a second look at the same samples would be no fresh one.
        confirmation = next((earlier for earlier in self.confirmations if earlier.theta == point), None)
        if confirmation is None:
            found = self.problem.confirm(point)
            confirmation = Confirmation.of(point, expected, found.value, found.noise**0.5, self.delta)
            known = self.study.user_attrs.get(CONFIRMATIONS, [])
            self.study.set_user_attr(CONFIRMATIONS, [*known, confirmation.to_dict()])
        if not confirmation.held:
            return False
        certificate = Certificate(len(trials), max(last, now), self.delta, self.epsilon, confirmation)
        self.study.set_user_attr(CERTIFICATE, certificate.to_dict())
        return True

    def _give_up_lost_trials(self) -> None:
        """Trials of workers that died are marked as failed, so that nobody waits for their values."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if _is_lost(trial):
                self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)


def _worker() -> str:
    """This process, told from all others: its machine, its number, and when it began, as numbers come again."""
    return f"{platform.node()}:{os.getpid()}:{_beginning(os.getpid())}"


def _is_lost(trial: FrozenTrial) -> bool:
    host, process, beginning = [*str(trial.user_attrs.get(_WORKER, "")).rsplit(":", 2), "", ""][:3]
    if host == platform.node() and process.isdigit() and os.name == "posix":
        return not _is_alive(int(process), beginning)
    started = trial.datetime_start
    return started is not None and datetime.datetime.now() - started > datetime.timedelta(
        minutes=_STALE_MINUTES
    )


def _is_alive(process: int, beginning: str) -> bool:
    """Whether the process of that number that began then still runs; an unknown beginning may be any."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    now = _beginning(process)
    return not now or not beginning or now == beginning


def _beginning(process: int) -> str:
    """When a process began, in the kernel's ticks, or "ended"; "" where the system does not say, as without /proc."""
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return ""
    state, *fields = text.rpartition(")")[2].split()  # what comes before is a name that may hold anything
    return "ended" if state in ("Z", "X") else fields[18]


def _confirmed_observations(study: optuna.Study) -> list[Observation]:
    """What confirmations have measured is known as well as what trials have."""
    found = [Confirmation.from_dict(value) for value in study.user_attrs.get(CONFIRMATIONS, [])]
    return [Observation(c.theta, c.found, c.standard_error**2) for c in found]


def _evaluation(trial: FrozenTrial) -> Evaluation:
    measured: dict[str, Any] = dict(trial.user_attrs[_MEASURED])
    measured["loss"] = Estimate(**measured["loss"])
    measured["theta"] = tuple(measured["theta"])
    return Evaluation(**measured)
