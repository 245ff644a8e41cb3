"""A queue of training runs in a folder, one process each: it may be killed at any moment, and moved elsewhere.

All that is known of a run lies in its own folder: what `ternzip train` writes there, `log.txt` with what it printed,
and `starts.jsonl` with a line for each time it was started or taken up again: date, commit, machine, versions. A run is
finished when it has a result.json, and has failed when it has a failure.txt, until it is taken up again. Several
processes may work on one queue: each takes the first run that no other holds.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from machine import provenance
from reproduce_plan import NEEDED, NOT_COMPARED, PLANNED, Run

from ternzip._core.errors import TernzipError
from ternzip.training.recipe import Recipe
from ternzip.training.runs import read_run_checkpoint

ROOT = Path(__file__).resolve().parents[1]
TRAIN = [sys.executable, "-m", "ternzip", "train"]


def is_finished(folder: Path) -> bool:
    """Whether the run in this folder has come to its end."""
    return (folder / "result.json").is_file()


def failure_of(folder: Path) -> str | None:
    """Why the run in this folder failed when it was last trained; None where it did not."""
    failure = folder / "failure.txt"
    return failure.read_text(encoding="utf-8") if failure.is_file() else None


def check_recipe(run: Run, folder: Path) -> None:
    """TernzipError where a run was begun in this folder by another recipe than the planned one.

    Compared are the options that any plan names: another scale may leave out one that this one gives. Where the files
    lie may differ.
    """
    if _begun(folder):
        same_recipe(run, read_run_checkpoint(folder / "last.ckpt").recipe, folder)


def same_recipe(run: Run, found: Recipe, where: str | Path) -> None:
    """TernzipError, naming the place, unless the recipe found there is the planned one in what `check_recipe` asks."""
    planned = Recipe().with_options(run.options)
    for name in sorted((PLANNED - NOT_COMPARED) | set(run.options)):
        expected, own = getattr(planned, name), getattr(found, name)
        if (expected is None) != (own is None) or (name not in NEEDED and expected != own):
            raise TernzipError(
                f"{where}: holds a run of another recipe: {name}: expected {expected!r} by the plan, found {own!r}"
            )


def work(
    runs: Sequence[Run], out: Path, data: Path, *, threads: int = 1, deadline: float | None = None
) -> list[Run]:
    """Train what is unfinished and free, in order; returns the runs that failed.

    `threads` are those of each run, fixed because sums over another number of them round in other ways.
    `deadline` (of time.monotonic) stops the run of that moment, which goes on from its last whole epoch the next time.
    Raises TernzipError, before anything is trained, where a folder holds a run of another recipe.
    """
    failed: list[Run] = []
    out.mkdir(parents=True, exist_ok=True)
    for run in runs:
        check_recipe(run, out / run.name)
    # A run that another process was training when we came by may have been left since, and a run that others need may
    # have been finished.
    while True:
        ready = [
            run
            for run in runs
            if run not in failed
            and not is_finished(out / run.name)
            and (run.needs is None or is_finished(out / run.needs))
        ]
        for run in ready:
            if deadline is not None and time.monotonic() >= deadline:
                return failed
            with _held(out / run.name) as lock:
                if lock is None or is_finished(out / run.name):
                    continue
                print(f"{run.name}: {'goes on' if _begun(out / run.name) else 'starts'}", flush=True)
                if not _train(run, out, data, lock, threads, deadline):
                    failed.append(run)
                break
        else:
            return failed


def _begun(folder: Path) -> bool:
    return (folder / "last.ckpt").is_file()


@contextmanager
def _held(folder: Path) -> Iterator[int | None]:
    """The lock of a run as a file descriptor, or None where another process holds it.

    The training process inherits it: a queue that is killed leaves its run locked for as long as that still trains.
    """
    folder.mkdir(exist_ok=True)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield lock
    finally:
        os.close(lock)


def _train(run: Run, out: Path, data: Path, lock: int, threads: int, deadline: float | None) -> bool:
    folder = out / run.name
    # Paths in a recipe are relative to the queue's folder, which may be moved.
    command = [*TRAIN, f"--data={data.resolve()}", f"--out={run.name}"]
    command += flags(run.options) + ["--resume"] * _begun(folder)
    failure = folder / "failure.txt"
    failure.unlink(missing_ok=True)
    with (folder / "starts.jsonl").open("a") as starts:
        starts.write(
            json.dumps({"time": time.time(), "commit": commit(), "threads": threads, **provenance()}) + "\n"
        )
    left = None if deadline is None else max(0.0, deadline - time.monotonic())
    with (
        (folder / "log.txt").open("ab") as log,
        subprocess.Popen(
            command,
            cwd=out,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(lock,),
        ) as process,
    ):
        try:
            status = process.wait(left)
        except subprocess.TimeoutExpired:
            process.kill()
            return True
        except BaseException:
            process.kill()
            raise
    if status:
        printed = (folder / "log.txt").read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line.strip() for line in reversed(printed) if line.strip()), "nothing printed")
        failure.write_text(f"status {status}: {last}", encoding="utf-8")
        print(f"{run.name}: failed with status {status}: see {folder / 'log.txt'}", file=sys.stderr)
    return status == 0


def flags(options: Mapping[str, Any]) -> list[str]:
    """Options of a recipe as `ternzip train` is given them."""
    found: list[str] = []
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            found += [flag] * value
        else:
            found += [f"{flag}={one}" for one in (value if isinstance(value, tuple) else (value,))]
    return found


def commit() -> str:
    """The commit of this checkout, with a + where files differ from it; "unknown" outside of one."""
    try:
        return subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--dirty=+"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
