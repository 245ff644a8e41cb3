"""The threads of the container: what happens where there are none to be had."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import ternzip.numpy
from ternzip.container.workers import Workers


def some_arrays() -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    rng = np.random.default_rng(0)
    weights = rng.integers(-1, 2, (1100, 4000)).astype(np.float32)  # two chunks
    return {"w": weights, "other": rng.normal(size=(300, 300)).astype(np.float32), "bias": np.ones(5, "f4")}


@pytest.mark.parametrize("given", [0, 1, 2])
def test_a_system_that_gives_few_threads(given: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its limit on threads makes nothing fail, and changes no byte."""
    arrays = some_arrays()
    expected = ternzip.numpy.save(arrays, threads=1)
    start, started = threading.Thread.start, []

    def start_a_few(thread: threading.Thread) -> None:
        if len(started) == given:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_a_few)
    assert ternzip.numpy.save(arrays, threads=4) == expected
    started.clear()
    found = ternzip.numpy.load(expected, threads=4)
    assert len(started) == given
    assert all(np.array_equal(found[name], array) for name, array in arrays.items())


def test_each_job_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    start, started, done = threading.Thread.start, [], []

    def start_one(thread: threading.Thread) -> None:
        if started:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_one)
    with Workers(3) as workers:
        futures = [workers.submit(done.append, number) for number in range(200)]
        for future in futures:
            future.result()
        with pytest.raises(ZeroDivisionError):
            workers.submit(lambda: 1 // 0).result()
    assert sorted(done) == list(range(200))


def test_saving_when_the_interpreter_ends(tmp_path: Path) -> None:
    """No pool takes jobs any more then; a last checkpoint is written and read all the same."""
    script = """if True:
        import atexit, sys
        import numpy, ternzip.numpy

        def save():
            ternzip.numpy.save_file({"w": numpy.ones((300, 300)), "v": numpy.arange(5)}, sys.argv[1], threads=2)
            print(*ternzip.numpy.load_file(sys.argv[1], threads=2))

        atexit.register(save)
    """
    result = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "last.tnz")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "w v\n", "")
