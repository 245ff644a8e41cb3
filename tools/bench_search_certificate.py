"""How often certificates are true, on functions whose optimum is known."""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from bench_search_results import known_rows, write
from torch import Tensor
from torch.quasirandom import SobolEngine

from ternzip.search.certificate import is_certified
from ternzip.search.engine.gaussian import Observation, Surrogate
from ternzip.search.engine.pac import propose
from ternzip.search.engine.sampler import initial_count

DELTA, EPSILON = 0.05, 0.005
CURVES: list[Callable[[Tensor], Tensor]] = [
    lambda t: (6 * t - 2) ** 2 * torch.sin(12 * t - 4) / 15,
    lambda t: torch.sin(3 * math.pi * t) + 0.5 * t,
    lambda t: 2 * (t - 0.37) ** 2,
    lambda t: -0.6 * torch.exp(-(((t - 0.7) / 0.1) ** 2)) - 0.3 * torch.exp(-(((t - 0.2) / 0.15) ** 2)),
    lambda t: 0.4 * torch.cos(5 * math.pi * t) + t,
]
"""Smooth, with one to three minima, ranging over about 1."""


def one_certificate(d: int, seed: int, most: int) -> dict[str, Any]:
    """A search on the mean of d curves; noise of known, varying variance around 0.05 squared."""
    generator = torch.Generator().manual_seed(seed)
    curves = [CURVES[(seed + i) % len(CURVES)] for i in range(d)]
    grid = torch.linspace(0, 1, 4001, dtype=torch.float64)
    optimum = sum(float(curve(grid).min()) for curve in curves) / d

    def exact(theta: Sequence[float]) -> float:
        values = [float(c(torch.tensor(t, dtype=torch.float64))) for c, t in zip(curves, theta, strict=True)]
        return sum(values) / d

    def measured(theta: Sequence[float]) -> Observation:
        deviation = 0.03 + 0.04 * float(torch.rand((), generator=generator))
        noise = deviation * float(torch.randn((), generator=generator))
        return Observation(tuple(theta), exact(theta) + noise, deviation**2)

    engine = SobolEngine(d, scramble=True, seed=seed)  # type: ignore[no-untyped-call]
    points = engine.draw(initial_count(d) - 1, dtype=torch.float64).tolist()
    observations = [measured(point) for point in [[0.5] * d, *points]]
    risks: list[float | None] = []
    while True:
        surrogate = Surrogate(observations)
        proposal = propose(surrogate, DELTA, seed + len(observations))
        risks.append(proposal.risk)
        certified = is_certified(risks, EPSILON)
        if certified or len(observations) >= most:
            gap = exact(surrogate.observations[surrogate.incumbent()].theta) - optimum
            return {"certified": certified, "gap": gap, "evaluations": len(observations)}
        observations.append(measured(proposal.theta))


def certificate(arguments: argparse.Namespace) -> None:
    about = {"what": "means of d curves, noise of known variance", "delta": DELTA, "epsilon": EPSILON}
    for d in arguments.dimensions:
        start = time.perf_counter()
        most = {1: 60, 4: 80}.get(d, 100)
        found = []
        for seed in range(arguments.runs):
            found.append(one_certificate(d, seed, most))
            print(d, seed, found[-1], flush=True)
        certified = [run for run in found if run["certified"]]
        row = {
            "dimension": d,
            "runs": len(found),
            "most_evaluations": most,
            "certified": len(certified),
            "certified_and_true": sum(run["gap"] <= DELTA for run in certified),
            "incumbent_within_delta": sum(run["gap"] <= DELTA for run in found),
            "median_evaluations": statistics.median(run["evaluations"] for run in found),
            "worst_gap_certified": max((run["gap"] for run in certified), default=None),
            "seconds": time.perf_counter() - start,
        }
        others = [known for known in known_rows("certificate", about) if known["dimension"] != d]
        rows = sorted([*others, row], key=lambda known: int(known["dimension"]))
        write("certificate", {**about, "rows": rows})
