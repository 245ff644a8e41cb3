"""Several workers, and workers that are killed: what they know, what they claim, and who they are."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from search_problem import problem

optuna = pytest.importorskip("optuna")
pytest.importorskip("botorch")

from optuna.trial import FrozenTrial, TrialState, create_trial

from ternzip.search.engine.gaussian import Observation
from ternzip.search.engine.sampler import FAILED, RISK, EngineSampler, History, failed_trials, indices
from ternzip.search.study import SearchStudy, _is_lost, _worker

KILLED = """
import os, signal, sys
from search_problem import problem
from ternzip.search.engine.sampler import EngineSampler
from ternzip.search.study import SearchStudy

proposed = EngineSampler.sample_relative

def sample_relative(self, study, trial, space):
    if trial.number == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    return proposed(self, study, trial, space)

EngineSampler.sample_relative = sample_relative
SearchStudy(problem(), sys.argv[1], epsilon=0.0).run(11)
"""


def trial(number: int, failed_before: list[int], state: TrialState = TrialState.RUNNING) -> FrozenTrial:
    made = create_trial(
        state=state,
        user_attrs={FAILED: failed_before},
        value=0.0 if state == TrialState.COMPLETE else None,
    )
    made.number = number
    return made


def begun(study: SearchStudy) -> optuna.Trial:
    """A trial as a worker begins it, with its point."""
    found = optuna.Trial(study.study, study._created())
    for name in study.problem.names:
        found.suggest_float(name, 0.0, 1.0)
    return found


def test_a_failed_trial_is_made_again_once() -> None:
    failed, running = TrialState.FAIL, TrialState.RUNNING
    trials = [trial(0, []), trial(1, [], failed), trial(2, []), trial(3, [1]), trial(4, [1]), trial(5, [])]
    assert indices(trials) == {0: 0, 1: 1, 2: 2, 3: 1, 4: 3, 5: 4}  # 3 and 4 began at once
    assert failed_trials(trials) == []
    again = [*trials[:3], trial(3, [1], failed), *trials[4:]]
    assert failed_trials(again) == [3]
    assert indices([*again, trial(6, [3])])[6] == 1
    # One that fails while another is being created, and two that fail together.
    both = [trial(0, [], failed), trial(1, [], failed), trial(2, []), trial(3, [0, 1]), trial(4, [0, 1])]
    assert indices(both) == {0: 0, 1: 1, 2: 2, 3: 0, 4: 1}
    assert indices([*both, trial(5, [1], running)])[5] == 3


def test_the_point_of_a_lost_trial_is_made_again_by_whoever_comes_next() -> None:
    """Its index went to the trial after the next as well, which was then made twice."""
    study = SearchStudy(problem(), epsilon=0.0)
    first = [begun(study) for _ in range(4)]
    study.study.tell(first[2], state=TrialState.FAIL)
    later = [begun(study) for _ in range(2)]
    assert later[0].params == first[2].params
    points = [tuple(t.params.values()) for t in (*first, later[1])]
    assert len(set(points)) == 5
    whole = SearchStudy(problem(), epsilon=0.0)
    expected = [tuple(begun(whole).params.values()) for _ in range(5)]
    assert points == expected
    index = [study.sampler.history(study.study, t.number).index for t in (*first, *later)]
    assert index == [0, 1, 2, 3, 2, 4]


def test_samples_belong_to_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    study = SearchStudy(problem(), epsilon=0.0)
    lost = begun(study)
    other = begun(study)
    study.study.tell(lost, state=TrialState.FAIL)
    seen: list[int] = []
    evaluate = study.problem.evaluate
    monkeypatch.setattr(
        study.problem, "evaluate", lambda point, index: seen.append(index) or evaluate(point, index)
    )
    study.run(4)
    assert seen == [0, 2, 3]
    assert other.number == 1


def test_killed_while_a_point_is_proposed(tmp_path: Path) -> None:
    """The trial that it leaves without a point is known to be its own, and made again as if nothing had happened."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, url], env=environment, timeout=300, capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    resumed, whole = SearchStudy(problem(), url, epsilon=0.0), SearchStudy(problem(), epsilon=0.0)
    for study in (resumed, whole):
        study.run(11)
    found, expected = (
        [(point, e.value, e.noise) for _, point, e in study.evaluations()] for study in (resumed, whole)
    )
    assert found == expected
    assert len(found) == 11
    states = [t.state for t in resumed.study.trials]
    assert states.index(TrialState.FAIL) == 9
    assert TrialState.RUNNING not in states


def test_an_interrupted_proposal_leaves_no_trial_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    study = SearchStudy(problem(), epsilon=0.0)
    with monkeypatch.context() as patched:
        patched.setattr(EngineSampler, "sample_relative", interrupted)
        with pytest.raises(KeyboardInterrupt):
            study.run(1)
    assert [t.state for t in study.study.trials] == [TrialState.FAIL]
    study.run(1)
    assert study.evaluations()[0][1] == study.problem.uniform_points[0]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc")
def test_a_worker_is_more_than_the_number_of_its_process() -> None:
    def lost(worker: str) -> bool:
        return _is_lost(create_trial(state=TrialState.RUNNING, user_attrs={"worker": worker}))

    me = _worker()
    host, process, began = me.rsplit(":", 2)
    assert (host, process) == (platform.node(), str(os.getpid()))
    assert not lost(me)
    assert lost(f"{host}:{process}:{int(began) - 1}")  # before the machine or the container was started again
    assert not lost(f"{host}:{process}:")
    assert not lost(f"elsewhere:{process}:{int(began) - 1}")
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    theirs = (
        f"{host}:{child.pid}:{Path(f'/proc/{child.pid}/stat').read_text().rpartition(')')[2].split()[19]}"
    )
    assert not lost(theirs)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert lost(theirs)  # killed, but nobody has asked for its exit status yet
    child.communicate()
    assert lost(theirs)


def test_pending_points_are_no_knowledge() -> None:
    """The risk is that of what was measured; pending points only guide where to look."""
    known = tuple(
        Observation((x, y), 4 * (x - 0.4) ** 2 + 2 * (y - 0.6) ** 2, 1e-3)
        for x, y in (
            (0.5, 0.5),
            (0.1, 0.2),
            (0.9, 0.8),
            (0.2, 0.9),
            (0.7, 0.1),
            (0.3, 0.6),
            (0.8, 0.4),
            (0.5, 0.9),
        )
    )
    sampler = EngineSampler(["a", "b"], seed=0)
    alone = History(known, (), 9)
    expected = sampler.proposal(alone)
    pending = ((1.0, 0.0), (0.0, 0.0), (0.4, 0.7), (1.0, 1.0), (0.0, 1.0), expected.theta)
    found = sampler.proposal(replace(alone, pending=pending))
    assert found.theta != expected.theta
    assert found.risk == pytest.approx(expected.risk)


def test_no_certificate_is_issued_from_values_that_nobody_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    study = SearchStudy(problem(), epsilon=0.0)
    study.run(9)
    study.epsilon = 1.0  # whatever the risk is, it is looked at
    monkeypatch.setattr(study.problem, "confirm", lambda point: pytest.fail("confirmed"))
    risks: list[float] = []

    def certified(values: list[float | None], epsilon: float) -> bool:
        risks.extend(value for value in values[1:] if value is not None)
        return len(risks) == 1

    monkeypatch.setattr("ternzip.search.study.is_certified", certified)
    alone = study.sampler.proposal(study.sampler.history(study.study)).risk
    for _ in range(4):
        begun(study)
    assert not study._certified()
    assert risks[1] == pytest.approx(alone, rel=1e-3)
    stored = [t.user_attrs.get(RISK) for t in study.study.trials[9:]]
    assert stored == pytest.approx([alone] * 4, rel=1e-3)
