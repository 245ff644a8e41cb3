"""tools/reproduce.py: what is trained in which order, what a killed queue comes to, what its report says."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("lightning")
pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")
pytest.importorskip("fcntl", reason="the queue's locks are POSIX")

import reproduce
import reproduce_queue
import reproduce_report
import reproduce_results
from reproduce_plan import FULL_PRECISION, LOG_BOTH, SCALES, SHORT, SHORT_BOTH, SHORT_FULL, Run, plan
from reproduce_questions import answers

import ternzip
from ternzip._core.errors import TernzipError
from ternzip.training import trainer as training
from ternzip.training.learner import Learner
from ternzip.training.recipe import Recipe
from ternzip.training.runs import read_run_checkpoint, read_run_folder

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning:lightning.*"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The `srun` command"),
    pytest.mark.filterwarnings("ignore:.* layers start with all ternary weights zero"),
]
ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("scale", SCALES)
def test_every_planned_recipe_is_one_that_a_run_uses_whole(scale: str) -> None:
    runs = plan(scale, 2)
    for run in runs + plan(scale, 1, tuple(SCALES[scale].ablation)):
        Recipe().with_options(run.options).check_used(list(run.options))
    assert [run.method for run in runs[:3]] == [FULL_PRECISION, "log", "binary"]
    assert len({run.name for run in runs}) == len(runs)


def test_what_a_run_starts_from_comes_before_it() -> None:
    names = [run.name for run in plan("cpu", 2, ("EC2T",))]
    assert names == ["full-precision-seed0", "EC2T-seed0", "full-precision-seed1", "EC2T-seed1"]
    assert [run.name for run in plan("cpu", 2, ("EC2T",), first=1)] == names[2:]
    second = plan("cpu", 1, ("EC2T",))[1]
    # Its .tnz file has folded norms, from which nothing can be trained.
    assert (second.needs, second.options["init"]) == (
        "full-precision-seed0",
        "full-precision-seed0/last.ckpt",
    )
    taught = plan("cpu", 2, (LOG_BOTH,), first=1)
    assert [run.name for run in taught] == ["full-precision-seed1", "log-rate-and-teacher-seed1"]
    assert (taught[1].needs, taught[1].options["growth"]) == ("full-precision-seed1", "log")
    first = plan("cpu", 1, ("ablation",))
    assert [run.method for run in first[:3]] == [SHORT_FULL, "short", "short, rate"]
    assert {run.needs for run in first} == {None, "short-full-precision-seed0"}
    both = plan("cpu", 2, ("methods", "ablation"))
    assert {run.name for run in both} == {run.name for run in first + plan("cpu", 2)}
    with pytest.raises(ValueError, match="unknown method 'xnor': expected one of full precision, log"):
        plan("cpu", 1, ("xnor",))


def test_the_first_seed_is_one_of_those_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked = ["--scale", "trial", "--seeds", "1", "--first-seed", "1", "--out", str(tmp_path / "runs")]
    monkeypatch.setattr(sys, "argv", ["reproduce.py", *asked])
    with pytest.raises(SystemExit, match="2"):
        reproduce.main()
    assert "expected --first-seed from 0 to 0 by --seeds, found 1" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


# A stand-in for `ternzip train`: it writes what it was given, and behaves as its --arch says.
STAND_IN = """
import os, sys, time
from pathlib import Path
given = dict(flag.split("=") if "=" in flag else (flag, "") for flag in sys.argv[1:])
folder = Path(given["--out"])
with (folder / "given.txt").open("a") as file:
    print(*sys.argv[1:], file=file)
(folder / "threads.txt").write_text(os.environ["OMP_NUM_THREADS"])
(folder / "last.ckpt").touch()
print("in short:", given["--arch"])
if given["--arch"] == "fails":
    sys.exit(3)
if given["--arch"] == "waits" and "--resume" not in given:
    time.sleep(600)
(folder / "result.json").touch()
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    script = tmp_path / "train.py"
    script.write_text(STAND_IN)
    monkeypatch.setattr(reproduce_queue, "TRAIN", [sys.executable, str(script)])
    monkeypatch.setattr(reproduce_queue, "check_recipe", lambda run, folder: None)  # of empty checkpoints
    return tmp_path / "out"


def given(out: Path, run: Run) -> list[str]:
    return (out / run.name / "given.txt").read_text().splitlines()


def test_the_queue_trains_what_is_unfinished_in_order(stand_in: Path, tmp_path: Path) -> None:
    start = Run("start", 0, {"arch": "well", "fast": True, "skip": ("a", "b")})
    after = Run("after", 0, {"arch": "well", "init": f"{start.name}/last.ckpt"})
    broken = Run("broken", 0, {"arch": "fails"})
    orphan = Run("orphan", 0, {"arch": "well", "init": f"{broken.name}/last.ckpt"})
    runs = [after, broken, orphan, start]
    assert reproduce_queue.work(runs, stand_in, tmp_path, threads=3) == [broken]
    assert (stand_in / start.name / "threads.txt").read_text() == "3"
    (line,) = given(stand_in, start)
    assert line == f"--data={tmp_path} --out=start-seed0 --arch=well --fast --skip=a --skip=b"
    assert given(stand_in, after)
    assert not (stand_in / orphan.name).exists()
    assert len(given(stand_in, broken)) == 1  # not again and again
    reproduce_queue.work(runs, stand_in, tmp_path)
    assert [len(given(stand_in, run)) for run in (start, after, broken)] == [1, 1, 2]
    assert given(stand_in, broken)[1].endswith("--resume")
    assert reproduce_queue.failure_of(stand_in / broken.name) == "status 3: in short: fails"
    assert reproduce_queue.failure_of(stand_in / start.name) is None
    starts = (stand_in / broken.name / "starts.jsonl").read_text().splitlines()
    assert [set(json.loads(start)) >= {"time", "commit", "machine", "versions"} for start in starts] == [
        True,
        True,
    ]


def test_a_deadline_stops_a_run_that_goes_on_the_next_time(stand_in: Path, tmp_path: Path) -> None:
    run = Run("slow", 0, {"arch": "waits"})
    while not (stand_in / run.name / "given.txt").exists():
        reproduce_queue.work([run], stand_in, tmp_path, deadline=time.monotonic() + 2)
    assert not reproduce_queue.is_finished(stand_in / run.name)
    assert reproduce_queue.work([run], stand_in, tmp_path) == []
    assert reproduce_queue.is_finished(stand_in / run.name)


def test_a_run_that_still_trains_is_left_to_its_process(stand_in: Path, tmp_path: Path) -> None:
    """Also when the queue that started it has been killed."""
    held, free = Run("held", 0, {"arch": "waits"}), Run("free", 0, {"arch": "well"})
    program = (
        "import sys, os; from pathlib import Path; import reproduce_queue as q; from reproduce_plan import Run\n"
        f"q.TRAIN = {reproduce_queue.TRAIN!r}\n"
        f"q.work([Run('held', 0, {{'arch': 'waits'}})], Path({str(stand_in)!r}), Path('.'))"
    )
    path = os.pathsep.join([str(ROOT / "tools"), *filter(None, sys.path)])
    queue = subprocess.Popen(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": path}, start_new_session=True
    )
    try:
        while not (stand_in / held.name / "given.txt").exists():
            assert queue.poll() is None
            time.sleep(0.05)
        queue.kill()
        queue.wait()
        reproduce_queue.work([held, free], stand_in, tmp_path)
        assert reproduce_queue.is_finished(stand_in / free.name)
        assert not reproduce_queue.is_finished(stand_in / held.name)
    finally:
        os.killpg(queue.pid, signal.SIGKILL)


def digits(monkeypatch: pytest.MonkeyPatch, **options: object) -> Recipe:
    """A run of a second."""
    narrow = functools.partial(ternzip.models.fc3, hidden=24)
    wide = ternzip.models.ARCHITECTURES["fc3"]
    monkeypatch.setitem(ternzip.models.ARCHITECTURES, "fc3", dataclasses.replace(wide, build=narrow))
    small = {"arch": "fc3", "dataset": "digits", "train_images": 200, "test_images": 60, "batch_size": 48}
    return Recipe().with_options({**small, "delta": 0.02, "epochs": 3, "accelerator": "cpu", **options})


def same_numbers(one: Path, other: Path) -> None:
    first, second = (read_run_checkpoint(folder / "last.ckpt") for folder in (one, other))
    assert all(torch.equal(first.state[name], second.state[name]) for name in first.state)
    assert [{**f, "seconds": 0} for f in first.epochs.values()] == [
        {**f, "seconds": 0} for f in second.epochs.values()
    ]
    for name in ("best.tnz", "last.tnz"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


def test_a_run_broken_off_ten_times_gives_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = digits(monkeypatch, epochs=6)
    training.train(recipe, tmp_path / "whole")

    chance = random.Random(0)
    step, left = Learner.training_step, 10

    def breaks(self: Learner, batch: object, index: int) -> torch.Tensor:
        nonlocal left
        if left and chance.random() < 0.3:
            left -= 1
            raise RuntimeError("killed")
        return step(self, batch, index)

    monkeypatch.setattr(Learner, "training_step", breaks)
    for _ in range(11):
        resume = (tmp_path / "parts" / "last.ckpt").exists()
        try:
            training.train(recipe, tmp_path / "parts", resume=resume)
        except RuntimeError:
            continue
        break
    assert left == 0
    same_numbers(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.slow
def test_a_run_killed_again_and_again_gives_the_same_numbers(tmp_path: Path) -> None:
    """By SIGKILL, at random moments of as many epochs, through the queue; TERNZIP_KILLS=10 does it more often.

    Each start is two processes that import torch: ten of them take two minutes.
    """
    kills = int(os.environ.get("TERNZIP_KILLS", "2"))
    options = {"dataset": "digits", "batch_size": 64, "train_images": 128, "test_images": 60}
    options["epochs"] = 2 * kills + 4
    run = Run(
        "killed", 0, {**options, "delta": 0.03, "multiplier": 0.5, "max_delta": 0.2, "accelerator": "cpu"}
    )
    log = tmp_path / "parts" / run.name / "log.txt"
    program = textwrap.dedent(f"""
        import sys; from pathlib import Path; import reproduce_queue; from reproduce_plan import Run
        reproduce_queue.work([Run("killed", 0, {dict(run.options)!r})], Path(sys.argv[1]), Path("."))
    """)
    path = os.pathsep.join([str(ROOT / "tools"), *filter(None, sys.path)])

    def queue(folder: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", program, str(tmp_path / folder)]
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, env=environment, start_new_session=True)

    def epochs_done() -> int:
        lines: Sequence[str] = log.read_text().splitlines() if log.exists() else ()
        return max(
            (int(line.split()[0]) for line in lines if line.split()[:1] and line.split()[0].isdigit()),
            default=0,
        )

    chance = random.Random(1)
    for _ in range(kills):
        process = queue("parts")
        wanted, deadline = epochs_done() + 1, time.monotonic() + 120
        while epochs_done() < wanted:
            assert time.monotonic() < deadline, log.read_text()
            if process.poll() == 0:  # what was killed held the run until now, so there was nothing to do
                process = queue("parts")
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.2))
        assert process.poll() is None, log.read_text()
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not reproduce_queue.is_finished(tmp_path / "parts" / run.name)
    for folder in ("parts", "whole"):
        while not reproduce_queue.is_finished(tmp_path / folder / run.name):
            assert queue(folder).wait(120) == 0
    same_numbers(*(tmp_path / folder / run.name for folder in ("whole", "parts")))


SMALL = {"dataset": "digits", "train_images": 200, "batch_size": 48, "delta": 0.02, "epochs": 3}


def planned(method: str, seed: int = 0, **options: object) -> Run:
    return Run(method, seed, {**SMALL, "seed": seed, **options})


def train_planned(run: Run, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training.train(digits(monkeypatch, test_images=None, **run.options), out / run.name)
    (out / run.name / "starts.jsonl").write_text('{"commit": "abc"}\n')


def test_a_run_of_another_recipe_is_neither_gone_on_with_nor_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, log = tmp_path / "out", planned("log", init="elsewhere/last.ckpt", epochs=1)
    train_planned(dataclasses.replace(log, options={**log.options, "init": None}), out, monkeypatch)
    with pytest.raises(TernzipError, match=r"log-seed0: holds a run of another recipe: init: expected 'else"):
        reproduce_queue.check_recipe(log, out / log.name)
    for name, value, found in (("delta", 0.03, "0.02"), ("inflate", 5, "1"), ("epochs", 500, "1")):
        other = planned("log", **{"epochs": 1, name: value})
        expected = (
            f"log-seed0: holds a run of another recipe: {name}: expected {value} by the plan, found {found}"
        )
        with pytest.raises(TernzipError, match=expected):
            reproduce_queue.work([other], out, tmp_path)
        with pytest.raises(TernzipError, match=expected):
            reproduce_results.collect([other], out, tmp_path)
    assert reproduce_queue.work([planned("log", epochs=1)], out, tmp_path) == []
    # Another scale's plan may leave out what this one's names.
    with pytest.raises(TernzipError, match="log-seed0: holds a run of another recipe: epochs"):
        reproduce_queue.work(
            [Run("log", 0, {k: v for k, v in SMALL.items() if k != "epochs"})], out, tmp_path
        )


@pytest.mark.filterwarnings("ignore:layer .* all ternary weights are zero")
def test_the_report_tells_the_runs_own_options_data_and_layers_of_zeros(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zeros: dict[str, object] = {"growth": "fixed", "max_delta": 0.02, "delta_scale": ("fc2=45",)}
    runs = [
        planned(FULL_PRECISION, quantizer="none", epochs=2),
        planned("short", epochs=1, **zeros),
        planned("short, too", epochs=1, max_delta=0.5),
    ]
    for run in runs:
        train_planned(run, tmp_path, monkeypatch)
    (finished, _) = reproduce_results.collect(runs, tmp_path, tmp_path)
    own = json.loads((tmp_path / "short-seed0" / "result.json").read_text())["last"]
    found = finished[1].files["last"]
    assert (found["weights"], found["zeros"]) == (own["weights"], pytest.approx(own["sparsity"]))
    assert (found["entropy"], found["predicted"]) == pytest.approx((own["entropy"], own["predicted"]))
    assert [one.record.label for one in finished] == [run.method for run in runs]
    # Half as long as the twin, so that they are not compared with it.
    assert [row["loss"] for row in reproduce_results.summary(finished)] == [None] * 6
    reproduce_report.write_report(runs, tmp_path, tmp_path, tmp_path / "report")
    record = json.loads((tmp_path / "report" / "results.json").read_text())
    assert record["data"] == "digits"
    assert record["runs"][1]["options"]["arch"] == "fc3"
    assert "data" not in record["runs"][1]["options"]
    text = (tmp_path / "report" / "results.md").read_text()
    assert "Data: digits." in text
    assert "JPEG" not in text


def test_the_report_of_what_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [
        planned(FULL_PRECISION, quantizer="none"),
        planned("log"),
        planned("log", 1),
        planned("fixed", growth="fixed"),
        planned(SHORT, epochs=2),
        planned(SHORT_FULL, quantizer="none", epochs=2),
        planned("TWN", quantizer="twn"),
    ]
    out, folder = tmp_path / "out", tmp_path / "report"
    for run in runs[:-1]:
        train_planned(run, out, monkeypatch)
    written = reproduce_report.write_report(runs, out, tmp_path, folder, "digits <of> scikit-learn")
    assert all(path.is_file() for path in written)
    record = json.loads((folder / "results.json").read_text())
    assert record["unfinished"] == {"TWN-seed0": "not begun"}
    rows = {(row["method"], row["epoch"]): row for row in record["summary"]}
    log = rows["log", "last"]
    assert log["seeds"] == [0, 1]
    one = next(run for run in record["runs"] if run["name"] == "log-seed0")["last"]
    assert one["accuracy"] == pytest.approx(read_run_folder(out / "log-seed0").epochs[3]["accuracy"])
    full = next(run for run in record["runs"] if run["method"] == FULL_PRECISION)["last"]
    assert log["loss"] == pytest.approx(full["accuracy"] - one["accuracy"])  # of the seed that both have
    short, twin = (rows[method, "last"] for method in (SHORT, SHORT_FULL))
    assert (short["loss"], twin["loss"]) == (pytest.approx(twin["accuracy"] - short["accuracy"]), None)
    assert 0 < one["predicted"] <= one["static"] < one["file"]
    swings = [
        [figures["accuracy"] for figures in read_run_folder(out / f"log-seed{seed}").epochs.values()]
        for seed in (0, 1)
    ]
    assert log["late"] == pytest.approx(statistics.mean(map(statistics.mean, swings)))
    assert log["swing"] == pytest.approx(statistics.mean(map(statistics.stdev, swings)))
    assert one["context"] < one["static"] * 1.02
    assert {f"figure{i}.svg" for i in (1, 2, 3, 4, 5, "-front", "-ablation")} <= {
        path.name for path in written
    }
    assert {"log-best.tnz", "log-smallest.tnz", "fixed-best.tnz"} <= set(record["networks"])
    page = (folder / "report.html").read_text()
    assert "digits &lt;of&gt; scikit-learn" in page
    assert page.count("data:image/svg+xml;base64,") == 7
    assert "src='figure" not in page
    text = (folder / "results.md").read_text()
    assert "| log | last | 2 |" in text
    assert "6 of 7 runs are finished, 0 are under way, 0 failed" in text
    assert "| accuracy, %: log > linear > binary | waits for linear, binary |" in text
    assert "| log | 3 | 5e-03 from 1 | 0.02 in 1, 0.0463 in 2, 0.0617 in 3 |" in text
    assert "Figure 1. Latent weights" in text
    assert "| short runs: a price of bits and a teacher lose nothing" in text
    labelled = [
        i for i in (3, 4, 5, "-front", "-ablation") if "<!-- short" in (folder / f"figure{i}.svg").read_text()
    ]
    assert labelled == ["-ablation"]


def test_a_report_adds_to_what_an_earlier_one_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs whose folders are on another machine, or gone, are told of as they were, and their networks stay."""
    there, here, folder = tmp_path / "there", tmp_path / "here", tmp_path / "report"
    runs = [planned("log"), planned("fixed", growth="fixed"), planned("log", 1)]

    def report(out: Path, planned: Sequence[Run] = runs, note: str | None = None) -> dict[str, Any]:
        out.mkdir(exist_ok=True)
        reproduce_report.write_report(planned, out, tmp_path, folder, note)
        found: dict[str, Any] = json.loads((folder / "results.json").read_text())
        return found

    for run in runs[:2]:
        train_planned(run, there, monkeypatch)
    monkeypatch.setattr(reproduce_report, "commit", lambda: "first")
    first = report(there)
    networks = {name: (folder / name).read_bytes() for name in first["networks"]}
    picture = (folder / "figure1.svg").read_bytes()
    monkeypatch.setattr(reproduce_report, "commit", lambda: "second")
    again = report(here)
    same = ("summary", "runs", "unfinished", "networks", "questions")
    assert [again[name] for name in same] == [first[name] for name in same]
    assert {name: (folder / name).read_bytes() for name in networks} == networks
    assert (folder / "figure1.svg").read_bytes() == picture
    text = (folder / "results.md").read_text()
    assert "2 of 3 runs are finished, 0 are under way, 0 failed" in text
    assert "Of these 2 stand as reported before, by commit first." in text

    train_planned(runs[2], here, monkeypatch)
    both = report(here)
    assert [run["name"] for run in both["runs"]] == [run.name for run in runs]
    assert [run["reported_by"] for run in both["runs"]] == ["first", "first", "second"]
    assert both["runs"][:2] == first["runs"]
    log = next(row for row in both["summary"] if row["method"] == "log")
    assert log["seeds"] == [0, 1]
    files = [run[which] for run in both["runs"] if run["method"] == "log" for which in ("best", "last")]
    assert (folder / "log-smallest.tnz").stat().st_size == min(found["file"] for found in files)
    # A folder that holds the run itself is asked first.
    assert [run["reported_by"] for run in report(there)["runs"]] == ["second"] * 3

    told = (folder / "results.json").read_bytes()
    for out, fewer, message in (
        (
            here,
            runs[2:],
            "tells of a run that this report would leave out, log-seed0, and .*here does not hold it",
        ),
        (
            here,
            [planned("log", epochs=2), *runs[1:]],
            "log-seed0: holds a run of another recipe: epochs: expected 2",
        ),
    ):
        with pytest.raises(TernzipError, match=message):
            report(out, fewer)
    with pytest.raises(
        TernzipError, match=r"was measured on other data: expected 'b' \(--note\), found None"
    ):
        report(here, note="b")
    assert (folder / "results.json").read_bytes() == told
    for name in both["networks"]:
        (folder / name).unlink()
    assert {name.split("-")[0] for name in report(here)["networks"]} == {"log"}  # of seed 1, which is at hand
    for damaged in ("[]", "{", json.dumps({"commit": "x", "runs": [{"name": "log-seed0"}]})):
        (folder / "results.json").write_text(damaged)
        with pytest.raises(TernzipError, match=r"results\.json: cannot be read as an earlier report: "):
            report(here)


def row(method: str, accuracy: float, deviation: float | None, zeros: float = 0.0) -> dict[str, object]:
    figures = {"accuracy": accuracy, "accuracy_deviation": deviation, "zeros": zeros, "loss": 0.8 - accuracy}
    figures |= {"late": accuracy + 0.01, "swing": 0.002}
    return {"method": method, "epoch": "last", "file": 20_000, **figures}


def test_the_papers_claims_are_asked_of_means_over_seeds() -> None:
    rows = [
        row(FULL_PRECISION, 0.8, 0.001),
        row("log", 0.77, 0.001, 0.85),
        row("linear", 0.76, 0.001),
        row("binary", 0.75, 0.001),
        row("fixed", 0.74, None, 0.9),
    ]
    found = {question.split(":")[0]: answer for question, answer in answers(rows)}
    assert found["accuracy, %"] == "yes: log 77.00, linear 76.00, binary 75.00"
    assert found["zeros, %"] == "no: log 85.00, fixed 90.00"
    near = next(answer for question, answer in answers(rows) if question.startswith("log within"))
    assert near == "yes: 3.00 points, 85.00 % zeros, 20.0 kB"
    assert found["EC2T and TTQ"] == "waits for EC2T, TTQ"
    rows[3] = row("binary", 0.7595, 0.001)
    assert dict(answers(rows))["accuracy, %: log > linear > binary"].startswith("yes, within the deviation")
    rows[3] = row("binary", 0.75, None)
    assert "too few seeds" in dict(answers(rows))["accuracy, %: log > linear > binary"]
    rows[3] = row("binary", 0.7605, 0.001)
    assert dict(answers(rows))["accuracy, %: log > linear > binary"].startswith("no, within the deviation: ")
    rows[3] = row("binary", 0.78, 0.001)
    assert dict(answers(rows))["accuracy, %: log > linear > binary"].startswith("no: ")
    rows[1]["loss"] = None
    waiting = [answer for question, answer in answers(rows) if question.startswith("log within")]
    assert waiting == ["waits for a seed that log and full precision both have"]
    assert len(answers(rows)) == 4
    both = {**row(LOG_BOTH, 0.765, None, 0.86), "file": 17_900}
    assert answers([*rows, both])[3][1] == "yes: 3.50 points, 86.00 % zeros, 17.9 kB"
    assert answers([*rows, {**both, "file": 18_100}])[3][1].startswith("no: ")
    rows += [row(SHORT, 0.75, None), {**row(SHORT_BOTH, 0.76, None), "file": 17_500}]
    assert [answer for _, answer in answers(rows)[-3:]] == [
        "yes: short: 76.00 ± 0.20 %, 20.0 kB, short, rate and teacher: 77.00 ± 0.20 %, 17.5 kB",
        "waits for short, half the rate and teacher",
        "waits for short, norms anew, short, half the rate, norms anew",
    ]
    rows[-1]["late"] = 0.74
    assert answers(rows)[-3][1].startswith("no: ")


def test_failed_runs_are_neither_under_way_nor_not_begun(tmp_path: Path) -> None:
    run = planned("log")
    (tmp_path / run.name).mkdir()
    (tmp_path / run.name / "failure.txt").write_text("status 1: error: training has collapsed")
    reproduce_report.write_report([run], tmp_path, tmp_path, tmp_path / "report")
    text = (tmp_path / "report" / "results.md").read_text()
    assert "0 of 1 runs are finished, 0 are under way, 1 failed" in text
    assert "| log-seed0 | failed, not begun: status 1: error: training has collapsed |" in text


def test_what_was_measured_is_kept_until_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Path] = []
    monkeypatch.setattr(reproduce_results, "measure", lambda path, data: calls.append(path) or {"file": 1})
    train_planned(planned("log", epochs=1), tmp_path, monkeypatch)
    path = tmp_path / "log-seed0" / "last.tnz"

    def measured(note: str | None = None) -> int:
        assert reproduce_results.measured(path, tmp_path, note)["file"] == 1
        return len(calls)

    assert [measured(), measured(), measured("other data"), measured("other data")] == [1, 1, 2, 2]
    os.utime(path, ns=(1, 1))
    assert measured("other data") == 2  # copied to another machine
    path.write_bytes(b"x")
    assert measured("other data") == 3
    installed = reproduce_results._nncodec()
    monkeypatch.setattr(reproduce_results, "_nncodec", lambda: None if installed else object())
    assert measured("other data") == 4
