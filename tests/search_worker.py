"""One worker of a search on the tests' small network: search_worker.py URL EVALUATIONS [SECONDS A TRIAL]."""

from __future__ import annotations

import sys
import time
from dataclasses import replace

import torch
from search_problem import problem

from ternzip.search.problem import Evaluation, Problem
from ternzip.search.study import SearchStudy


class Slow(Problem):
    """Takes its time, so that a test can kill it in the middle of a trial."""

    pause = 0.0

    def evaluate(self, point: tuple[float, ...], evaluation: int) -> Evaluation:  # type: ignore[override]
        print("begins", evaluation, flush=True)
        time.sleep(self.pause)
        return replace(super().evaluate(point, evaluation), seconds=0.0)


def main() -> None:
    torch.set_num_threads(1)
    url, count = sys.argv[1], int(sys.argv[2])
    slow = problem()
    slow.__class__ = Slow
    Slow.pause = float(sys.argv[3]) if len(sys.argv) > 3 else 0.0
    SearchStudy(slow, url, epsilon=0.0).run(count, lambda number, found: print("told", number, flush=True))


if __name__ == "__main__":
    main()
