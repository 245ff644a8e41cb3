"""The native core's pool of threads: when it starts them, and that forks and concurrent calls do it no harm."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ternzip._core.native import core

FLOAT32 = 1
TENSOR = np.where(np.arange(1 << 21) % 3 == 0, np.float32(0.5), np.float32(0))
EXPECTED = (0, int((TENSOR == 0).sum()), int((TENSOR != 0).sum()))


def counts(threads: int) -> tuple[int, ...]:
    """Of -1, 0 and +1 in TENSOR, found on `threads` threads."""
    found = core.detect_levels(TENSOR.ctypes.data, 1, TENSOR.size, FLOAT32, threads)
    assert found is not None
    return found[4:7]


def run_script(script: str) -> str:
    """What it prints; it must end by itself, without a word on stderr."""
    tests = str(Path(__file__).parent)
    result = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([tests, *sys.path])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def test_threads_start_with_the_first_call_that_wants_them_and_stay() -> None:
    script = """
from test_thread_pool import core, counts
found = [core.pool_threads()]
for threads in (1, 3, 3, 2, 5, 3):
    counts(threads)
    found.append(core.pool_threads())
print(found)
"""
    assert run_script(script) == "[0, 0, 2, 2, 2, 4, 4]\n"


@pytest.mark.parametrize("threads", [1, 2, 7, 64, 1000])
def test_the_result_does_not_depend_on_the_threads(threads: int) -> None:
    assert counts(threads) == EXPECTED
    assert core.pool_threads() <= 256


def test_calls_from_many_threads_at_once() -> None:
    with ThreadPoolExecutor(8) as callers:
        assert set(callers.map(counts, [1 + i % 6 for i in range(64)])) == {EXPECTED}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_child_after_fork_starts_threads_of_its_own() -> None:
    """As the workers of a DataLoader do, also while other threads of the parent are at work, and in grandchildren."""
    script = """
import os, threading
from test_thread_pool import EXPECTED, core, counts
assert counts(4) == EXPECTED
stop = threading.Event()
def keep_busy():
    while not stop.is_set():
        counts(3)
busy = [threading.Thread(target=keep_busy) for _ in range(2)]
for thread in busy:
    thread.start()
def child(generation):
    assert core.pool_threads() == 0
    assert counts(4) == EXPECTED
    assert core.pool_threads() == 3
    if generation < 2:
        fork(generation + 1)
def fork(generation):
    process = os.fork()
    if process == 0:
        try:
            child(generation)
        except BaseException as error:
            print(error, flush=True)
            os._exit(1)
        os._exit(0)
    assert os.waitpid(process, 0)[1] == 0
for _ in range(20):
    fork(1)
stop.set()
for thread in busy:
    thread.join()
assert counts(4) == EXPECTED
"""
    assert run_script(script) == ""


def test_daemon_threads_in_the_core_do_not_keep_a_program_from_ending() -> None:
    """Such a thread ends as it comes back from the core, where the process used to be aborted."""
    script = """
import threading
from test_thread_pool import core, counts
started = threading.Semaphore(0)
def keep_busy():
    counts(1)
    started.release()
    while True:
        counts(1)
for _ in range(3):
    threading.Thread(target=keep_busy, daemon=True).start()
for _ in range(3):
    started.acquire()
"""
    assert run_script(script) == ""


def test_no_binding_releases_the_gil_in_another_way() -> None:
    bindings = Path(__file__).parent.parent / "csrc" / "bindings"
    sources = [source for source in bindings.iterdir() if source.suffix in (".cpp", ".hpp")]
    assert len(sources) > 5
    assert not [source.name for source in sources if "gil_scoped_release" in source.read_text()]


def test_threads_compute_as_their_caller_does() -> None:
    """With or without denormal numbers, whenever they were started."""
    script = """
import torch
from test_thread_pool import core
grads, weights, out = torch.full((1 << 22,), 1e-40), torch.ones(1 << 22), torch.empty(1 << 22)
scalars = torch.tensor([-0.5, 0.5, -1, 1], dtype=torch.float64)
addresses = [scalars[i].data_ptr() for i in range(4)]
def level(threads):
    sums = torch.zeros(2, dtype=torch.float64)
    job = [grads.data_ptr(), weights.data_ptr(), grads.numel(), 1, out.data_ptr()]
    core.backward_many(job, addresses, [False] * 4, 0, 10.0, sums.data_ptr(), threads)
    return sums[1].item()
assert level(1) == level(3) > 0
assert torch.set_flush_denormal(True)
assert [level(threads) for threads in (1, 3, 2, 3)] == [0.0] * 4
torch.set_flush_denormal(False)
assert level(1) == level(3) > 0
"""
    assert run_script(script) == ""
