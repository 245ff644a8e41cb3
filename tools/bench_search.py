#!/usr/bin/env python3
"""Measures the search: how often certificates are true, and what it finds on real networks.

    python tools/bench_search.py certificate              # test functions with a known optimum
    python tools/bench_search.py fc3 --mnist DIR          # MNIST test images, split 8,000 / 2,000
    python tools/bench_search.py svd --mnist DIR          # four weightings at equal bytes
    python tools/bench_search.py resnet --checkpoint fp32-resnet20.pt --cifar DIR

Each writes docs/benchmarks/search_NAME.json. `resnet` goes on where it was stopped. One thread; it takes an hour
or two of CPU time. TERNZIP_BENCH_OUT names another folder to write to.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import machine
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.quasirandom import SobolEngine

from ternzip.models import fc3, he_resnet20, load_weights
from ternzip.search import SearchResult, parse_size, search
from ternzip.search.certificate import is_certified
from ternzip.search.compressors import RankCompressor, method
from ternzip.search.engine.gaussian import Observation, Surrogate
from ternzip.search.engine.pac import propose
from ternzip.search.engine.sampler import initial_count
from ternzip.search.finetune import finetune
from ternzip.search.network import CompressedNetwork, Network
from ternzip.search.objective import accuracy
from ternzip.search.problem import Compressed, Evaluation, Problem
from ternzip.search.samples import Samples, gather, outputs_of, samples_of
from ternzip.search.size import dense_bytes
from ternzip.search.study import SearchStudy
from ternzip.search.target import TargetSize

OUT = Path(os.environ.get("TERNZIP_BENCH_OUT") or Path(__file__).parents[1] / "docs" / "benchmarks")
DELTA, EPSILON = 0.05, 0.005


def write(name: str, figures: dict[str, Any]) -> None:
    path = OUT / f"search_{name}.json"
    path.write_text(
        json.dumps({**machine.provenance(), "threads": 1, **figures}, indent=2) + "\n", encoding="utf-8"
    )
    print(path)


def commit() -> str:
    """Of the code that measures; sizes depend on its codecs."""
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    return found.stdout.strip() or "unknown"


def known_rows(name: str, about: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows that an earlier, interrupted run has measured in the same way."""
    path = OUT / f"search_{name}.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    same = all(found.get(key) == value for key, value in about.items())
    return list(found.get("rows", [])) if same else []


def is_known(rows: list[dict[str, Any]], what: str, target: str | None, engine: str, seed: int) -> bool:
    """Whether a row of that search is among them."""
    size = None if target is None else parse_size(target)
    wanted = (what, size, engine, seed)
    return any((r["compressor"], r["target_bytes"], r["engine"], r["seed"]) == wanted for r in rows)


# --- certificates on functions whose optimum is known ------------------------------------------------------

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


# --- FC3 on MNIST's test images ----------------------------------------------------------------------------


def mnist(folder: Path) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The 10,000 test images, 8,000 to train with and 2,000 to test, by a fixed seed."""
    images = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())[8:]
    x = torch.from_numpy(np.frombuffer(images, np.uint8).copy()).reshape(-1, 1, 28, 28).float()
    x = (x / 255 - 0.1307) / 0.3081
    y = torch.from_numpy(np.frombuffer(labels, np.uint8).copy()).long()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, test = order[:8000], order[8000:]
    return (x[train], y[train]), (x[test], y[test])


def trained_fc3(train: tuple[Tensor, Tensor], epochs: int) -> nn.Module:
    torch.manual_seed(0)
    model = fc3(dropout=0.3)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, weight_decay=1e-5)
    batches = -(-len(train[0]) // 100)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * batches)
    for _ in range(epochs):
        for index in torch.randperm(len(train[0])).chunk(batches):
            shift = torch.randint(-2, 3, (2,)).tolist()
            images = torch.roll(train[0][index], shift, (2, 3))
            loss = F.cross_entropy(model(images), train[1][index])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return model.eval()


def summary(result: SearchResult) -> dict[str, Any]:
    """What of a search goes into a table."""
    return {
        "target_bytes": result.target,
        "engine": result.settings["engine"],
        "bytes": result.bytes,
        "share_of_float32": result.bytes / result.dense.bytes,
        "evaluations": len(result.visited),
        "seconds": result.seconds,
        "certified": result.certificate is not None,
        "refused_confirmations": sum(not c.held for c in result.confirmations),
        "dense": asdict(result.dense),
        "found": asdict(result.best),
        "uniform": asdict(result.uniform),
        "finetuned": None if result.finetuned is None else asdict(result.finetuned),
        "layers": {name: layer.label for name, layer in result.network.layers.items()},
    }


def fc3_table(arguments: argparse.Namespace) -> None:
    train, test = mnist(arguments.mnist)
    model = trained_fc3(train, arguments.epochs)
    about = {"data": "MNIST test images, split 8,000 / 2,000", "epochs": arguments.epochs}
    rows = known_rows("fc3", about)
    for what, target in [
        ("rank", None),
        ("rank", "65KB"),
        ("rank", "105KB"),
        ("rank-whitening", "65KB"),
        ("rank-activation", "65KB"),
        ("rank-activation", "105KB"),
        ("ternary", "160KB"),
        ("ternary", "96KB"),
        ("ternary", "48KB"),
        ("all", "48KB"),
    ]:
        for seed in range(arguments.seeds if target is None else 1):
            if is_known(rows, what, target, "pac", seed):
                continue
            compressor: Any = what
            result = search(
                model, train, test=test, compressor=compressor, target_size=target, seed=seed, evaluations=30
            )
            rows.append({"compressor": what, "seed": seed, "commit": commit(), **summary(result)})
            print({k: v for k, v in rows[-1].items() if k not in ("layers", "dense")}, flush=True)
            write("fc3", {**about, "rows": rows})


# --- four weightings at equal bytes ------------------------------------------------------------------------


def svd_table(arguments: argparse.Namespace) -> None:
    train, test = mnist(arguments.mnist)
    model = trained_fc3(train, arguments.epochs)
    pool, held = samples_of(model, *train), samples_of(model, *test)
    rows = []
    for weighting in ("plain", "fisher", "activation", "whitening"):
        for size in (65_000, 105_000):
            network = Network(
                model,
                RankCompressor(weighting),
                calibration=pool.inputs[:1000],
                labels=None if pool.labels is None else pool.labels[:1000],
                fisher=True,
            )
            problem = Problem(network, pool, held, target=size)
            assert isinstance(problem.target, TargetSize)
            found = problem.uniform(size)
            outputs = problem.confirm([0.5] * problem.dimension)
            layers = {
                name: {
                    "what": layer.label,
                    "error": layer.error,
                    "activation_weighted_error": layer.weighted_error,
                }
                for name, layer in found.network.layers.items()
            }
            rows.append(
                {
                    "weighting": weighting,
                    "target_bytes": size,
                    "bytes": len(found.data),
                    "loss": outputs.loss.value,
                    "accuracy": outputs.accuracy,
                    "layers": layers,
                }
            )
            print(rows[-1], flush=True)
    write(
        "svd",
        {
            "data": "MNIST test images, split 8,000 / 2,000",
            "setting": "one theta for all layers",
            "rows": rows,
        },
    )


# --- He's ResNet-20 ----------------------------------------------------------------------------------------


def cifar(folder: Path) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The official binary layout, normalised with ImageNet's statistics as the checkpoint expects."""
    from ternzip.training.batches import normalize
    from ternzip.training.catalog import statistics_of
    from ternzip.training.datasets import open_dataset

    found = open_dataset("cifar10", folder)

    def scaled(split: Any) -> tuple[Tensor, Tensor]:
        images = normalize(split.images, *statistics_of(found.info, "imagenet"))
        return images, split.labels

    return scaled(found.train), scaled(found.test)


class SharedProblem(Problem):
    """A problem that several engines work on with one seed: what one has measured the others need not."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.known: dict[tuple[int, tuple[float, ...], int], Evaluation] = {}
        self.scores: dict[tuple[float, ...], dict[str, Any]] = {}

    def evaluate(self, point: Sequence[float], evaluation: int) -> Evaluation:
        key = self.seed, tuple(point), evaluation
        if key not in self.known:
            self.known[key] = super().evaluate(point, evaluation)
        return self.known[key]

    def score(self, found: Compressed) -> dict[str, Any]:
        """L and accuracy of the whole test set."""
        if found.theta not in self.scores:
            self.scores[found.theta] = self.score_of(found.network, len(found.data))
        return self.scores[found.theta]

    def score_of(self, network: CompressedNetwork, size: int) -> dict[str, Any]:
        outputs = outputs_of(network.model, self.held_out.inputs)
        loss = self.loss.estimate(outputs, self.held_out)
        assert self.held_out.labels is not None
        right = accuracy(outputs, self.held_out.labels)
        return {"bytes": size, "loss": loss.value, "standard_error": loss.standard_error, "accuracy": right}


def resnet_problem(
    model: nn.Module, pool: Samples, held: Samples, what: str, size: int, arguments: argparse.Namespace
) -> SharedProblem:
    network = Network(model, method(what), calibration=pool.inputs[: arguments.calibration])
    return SharedProblem(network, pool, held, target=size, count=arguments.count, share=arguments.share)


def one_resnet_search(
    problem: SharedProblem, engine: str, seed: int, evaluations: int, delta: float, epochs: int
) -> dict[str, Any]:
    """One engine's search, and what it found, on the whole test set; fine-tuned as well if epochs are given."""
    problem.seed = seed
    start = time.process_time()
    # The same number of evaluations for all: no certificate ends the engine's search.
    study = SearchStudy(problem, engine=engine, seed=seed, delta=delta, epsilon=0.0)
    study.run(evaluations)
    point, _ = study.incumbent()
    chosen = problem.compress(point)
    row = {
        "engine": engine,
        "seed": seed,
        "target_bytes": problem.target and problem.target.target,
        "binding": problem.binding,
        "evaluations": len(study.evaluations()),
        "cpu_seconds": time.process_time() - start,
        "incumbent": list(point),
        "found": problem.score(chosen),
        "finetuned": None,
        "layers": {name: layer.label for name, layer in chosen.network.layers.items()},
    }
    if epochs:
        assert problem.target is not None
        tuned = finetune(
            problem.network, chosen.network, problem.samples, epochs=epochs, target=problem.target.target
        )
        row["finetuned"] = problem.score_of(tuned, len(tuned.file(problem.network.coder)))
    return row


def resnet_table(arguments: argparse.Namespace) -> None:
    train, test = cifar(arguments.cifar)
    model = load_weights(he_resnet20(), arguments.checkpoint).eval()
    pool = samples_of(model, *gather(train, arguments.samples))
    held = samples_of(model, *gather(test, arguments.test))
    assert held.labels is not None
    about = {
        "data": "CIFAR-10 (JPEG re-encoding)",
        "evaluations": arguments.evaluations,
        "samples_per_evaluation": arguments.count,
        "calibration": arguments.calibration,
        "share": arguments.share,
        "delta": arguments.delta,
        "samples": len(pool),
        "test": len(held),
        "dense": {"bytes": dense_bytes(model.state_dict()), "accuracy": accuracy(held.outputs, held.labels)},
    }
    rows = known_rows("resnet20", about)
    problems: dict[tuple[str, str], SharedProblem] = {}
    for seed in range(arguments.seeds):
        for size in arguments.sizes:
            for what in arguments.methods:
                todo = [e for e in arguments.engines if not is_known(rows, what, size, e, seed)]
                if not todo:
                    continue
                if (what, size) not in problems:
                    problems[what, size] = resnet_problem(
                        model, pool, held, what, parse_size(size), arguments
                    )
                problem = problems[what, size]
                uniform = problem.score(problem.uniform(parse_size(size)))
                for engine in todo:
                    same = unbound_row(rows, problem, what, engine, seed)
                    if same is not None:
                        rows.append({**same, "target_bytes": parse_size(size)})
                        continue
                    epochs = 2 if size == "96KB" and engine == "pac" and seed == 0 else 0
                    row = one_resnet_search(
                        problem, engine, seed, arguments.evaluations, arguments.delta, epochs
                    )
                    rows.append({"compressor": what, "commit": commit(), **row, "uniform": uniform})
                    print({k: v for k, v in rows[-1].items() if k != "layers"}, flush=True)
                    write("resnet20", {**about, "rows": rows})
    write("resnet20", {**about, "rows": rows})


def unbound_row(
    rows: list[dict[str, Any]], problem: SharedProblem, what: str, engine: str, seed: int
) -> dict[str, Any] | None:
    """The same search for another size, where neither size binds anything."""
    if problem.binding:
        return None
    wanted = (what, engine, seed, False)
    return next((r for r in rows if (r["compressor"], r["engine"], r["seed"], r["binding"]) == wanted), None)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("certificate")
    one.add_argument("--runs", type=int, default=100)
    one.add_argument("--dimensions", type=int, nargs="+", default=[1, 4, 8])
    one.set_defaults(run=certificate)
    for name, run in (("fc3", fc3_table), ("svd", svd_table)):
        one = commands.add_parser(name)
        one.add_argument("--mnist", type=Path, required=True, help="folder of t10k-*-ubyte.gz")
        one.add_argument("--epochs", type=int, default=20)
        one.add_argument("--seeds", type=int, default=3)
        one.set_defaults(run=run)
    one = commands.add_parser("resnet")
    one.add_argument("--checkpoint", type=Path, required=True)
    one.add_argument("--cifar", type=Path, required=True, help="folder of the official binary layout")
    one.add_argument("--methods", nargs="+", default=["all", "rank", "prune", "ternary"])
    one.add_argument("--sizes", nargs="+", default=["96KB", "64KB", "160KB"])
    one.add_argument("--engines", nargs="+", default=["pac", "uniform", "random", "qlognei", "tpe"])
    one.add_argument("--evaluations", type=int, default=24)
    one.add_argument("--count", type=int, default=100, help="fresh samples an evaluation")
    one.add_argument("--calibration", type=int, default=128, help="images for batch norm and weighted SVDs")
    one.add_argument("--delta", type=float, default=0.01, help="what counts as better, in L")
    one.add_argument("--share", default="shape", help="which layers share a parameter")
    one.add_argument("--seeds", type=int, default=3)
    one.add_argument("--samples", type=int, default=5000, help="training images to draw from")
    one.add_argument("--test", type=int, default=None, help="test images for the figures; all of them")
    one.set_defaults(run=resnet_table)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.run(arguments)


if __name__ == "__main__":
    main()
