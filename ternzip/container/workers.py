"""Threads for chunks. Results are taken in order, so what is written never depends on the thread count."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")


def default_threads() -> int:
    """The processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Workers:
    """Runs jobs on `threads` threads, or at once in the caller where that is one, or no thread is to be had."""

    def __init__(self, threads: int | None) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"threads: expected at least 1, got {threads}")
        self.threads = default_threads() if threads is None else threads
        self._pool = ThreadPoolExecutor(self.threads) if self.threads > 1 else None

    def submit(self, job: Callable[..., T], *args: object) -> Future[T]:
        """Runs `job(*args)`, sooner or later; the future carries its result or its exception."""
        future: Future[T] = Future()
        waiting = [partial(job, *args)]

        def run() -> None:
            try:
                work = waiting.pop()
            except IndexError:  # somebody else has run it
                return
            try:
                future.set_result(work())
            except BaseException as error:  # a future carries every exception to whoever asks for the result
                future.set_exception(error)

        if self._pool is None or not _queued(self._pool, run):
            run()
        return future

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


def _queued(pool: ThreadPoolExecutor, run: Callable[[], None]) -> bool:
    """Whether a thread is sure to take `run`. Where not, it may be in the queue all the same."""
    try:
        pool.submit(run)
    except RuntimeError:  # the interpreter is ending, or the system gives no more threads
        return False
    return True
