"""He's ResNet-20 on CIFAR-10 by several engines, each with the same number of evaluations."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench_search_results import commit, is_known, known_rows, write
from torch import Tensor

from ternzip.models import he_resnet20, load_weights
from ternzip.search import parse_size
from ternzip.search.compressors import method
from ternzip.search.finetune import finetune
from ternzip.search.network import CompressedNetwork, Network
from ternzip.search.objective import accuracy
from ternzip.search.problem import Compressed, Evaluation, Problem, usual_count
from ternzip.search.runoff import finalist_count
from ternzip.search.samples import Samples, gather, outputs_of, samples_of
from ternzip.search.size import dense_bytes
from ternzip.search.study import SearchStudy
from ternzip.search.target import TOLERANCE

_REMEMBERED = 64


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
    """A problem that several engines work on with one seed: what one has measured the others need not.

    All that chooses a setting sees training images alone; `test` is for the figures.
    """

    test: Samples

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.known: dict[tuple[int, tuple[float, ...], int | str], Evaluation] = {}
        self.compressed: dict[tuple[float, ...], Compressed] = {}
        self.scores: dict[tuple[float, ...], dict[str, Any]] = {}

    def compress(self, point: Sequence[float]) -> Compressed:
        key = tuple(point)
        if key not in self.compressed:
            if len(self.compressed) >= _REMEMBERED:
                self.compressed.pop(next(iter(self.compressed)))
            self.compressed[key] = super().compress(point)
        return self.compressed[key]

    def evaluate(self, point: Sequence[float], evaluation: int) -> Evaluation:
        key = self.seed, tuple(point), evaluation
        if key not in self.known:
            self.known[key] = super().evaluate(point, evaluation)
        return self.known[key]

    def compare(self, point: Sequence[float]) -> Evaluation:
        key = self.seed, tuple(point), "runoff"
        if key not in self.known:
            self.known[key] = super().compare(point)
        return self.known[key]

    def score(self, found: Compressed) -> dict[str, Any]:
        """L and accuracy of the whole test set."""
        if found.theta not in self.scores:
            self.scores[found.theta] = self.score_of(found.network, len(found.data))
        return self.scores[found.theta]

    def score_of(self, network: CompressedNetwork, size: int) -> dict[str, Any]:
        outputs = outputs_of(network.model, self.test.inputs)
        loss = self.loss.estimate(outputs, self.test)
        assert self.test.labels is not None
        right = accuracy(outputs, self.test.labels)
        return {"bytes": size, "loss": loss.value, "standard_error": loss.standard_error, "accuracy": right}


def resnet_problem(
    network: Network, pool: Samples, test: Samples, size: int, arguments: argparse.Namespace
) -> SharedProblem:
    # The scores are `score`'s, on the test images: nothing else needs held-out ones.
    problem = SharedProblem(network, pool, pool, target=size, count=arguments.count, share=arguments.share)
    problem.test = test
    return problem


def one_resnet_search(
    problem: SharedProblem, engine: str, seed: int, evaluations: int, delta: float, epochs: int
) -> dict[str, Any]:
    """One engine's search, and what it found, on the whole test set; fine-tuned as well if epochs are given."""
    problem.seed = seed
    start = time.process_time()
    # The same number of evaluations for all, the runoff's included: no certificate ends the engine's search.
    study = SearchStudy(problem, engine=engine, seed=seed, delta=delta, epsilon=0.0)
    finalists = finalist_count(evaluations)
    study.run(evaluations - finalists)
    runoff = study.runoff(finalists)
    point = runoff[0].point if runoff else study.incumbent()[0]
    chosen = problem.compress(point)
    row = {
        "engine": engine,
        "seed": seed,
        "target_bytes": problem.target and problem.target.target,
        "binding": problem.binding,
        "evaluations": len(study.evaluations()) + len(runoff),
        "runoff": [
            {"point": list(f.point), "expected": f.expected, "found": f.evaluation.value} for f in runoff
        ],
        "cpu_seconds": time.process_time() - start,
        "chosen": list(point),
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
    train, test_images = cifar(arguments.cifar)
    model = load_weights(he_resnet20(), arguments.checkpoint).eval()
    pool = samples_of(model, *gather(train, arguments.samples))
    test = samples_of(model, *gather(test_images, arguments.test))
    assert test.labels is not None
    about = {
        "data": "CIFAR-10 (JPEG re-encoding)",
        "evaluations": arguments.evaluations,
        "of_these_in_the_runoff": finalist_count(arguments.evaluations),
        "samples_per_evaluation": arguments.count or usual_count(len(pool)),
        "calibration": arguments.calibration,
        "share": arguments.share,
        "delta": arguments.delta,
        "samples": len(pool),
        "test": len(test),
        "dense": {"bytes": dense_bytes(model.state_dict()), "accuracy": accuracy(test.outputs, test.labels)},
    }
    rows = known_rows("resnet20", about)
    networks: dict[str, Network] = {}
    problems: dict[tuple[str, str], SharedProblem] = {}
    for seed in range(arguments.seeds):
        for size in arguments.sizes:
            for what in arguments.methods:
                todo = [e for e in arguments.engines if not is_known(rows, what, size, e, seed)]
                if not todo:
                    continue
                if what not in networks:
                    calibration = pool.inputs[: arguments.calibration]
                    networks[what] = Network(model, method(what), calibration=calibration)
                if (what, size) not in problems:
                    problems[what, size] = resnet_problem(
                        networks[what], pool, test, parse_size(size), arguments
                    )
                problem = problems[what, size]
                problem.seed = seed
                uniform: dict[str, Any] | None = None
                for engine in todo:
                    same = unbound_row(rows, problem, what, engine, seed)
                    if same is not None:
                        rows.append({**same, "target_bytes": parse_size(size)})
                        continue
                    uniform = uniform or problem.score(problem.uniform(parse_size(size)))
                    epochs = 2 if size == "96KB" and engine == "pac" and seed == 0 else 0
                    row = one_resnet_search(
                        problem, engine, seed, arguments.evaluations, arguments.delta, epochs
                    )
                    rows.append({"compressor": what, "commit": commit(), **row, "uniform": uniform})
                    check_size(rows[-1])
                    print({k: v for k, v in rows[-1].items() if k not in ("layers", "runoff")}, flush=True)
                    write("resnet20", {**about, "rows": rows})
    write("resnet20", {**about, "rows": rows})


def check_size(row: dict[str, Any]) -> None:
    """A file is never larger than asked for, and where the size binds no more than TOLERANCE smaller."""
    target = row["target_bytes"]
    for kind in ("found", "uniform", "finetuned"):
        size = target if row[kind] is None else row[kind]["bytes"]
        if size > target:
            raise SystemExit(f"{row['compressor']}, {row['engine']}: {kind}: {size:,} bytes of {target:,}")
        if row["binding"] and size < target * (1 - TOLERANCE):
            print(f"{row['compressor']}, {row['engine']}: {kind}: only {size:,} bytes of {target:,}")


def unbound_row(
    rows: list[dict[str, Any]], problem: SharedProblem, what: str, engine: str, seed: int
) -> dict[str, Any] | None:
    """The same search for another size, where neither size binds anything."""
    if problem.binding:
        return None
    wanted = (what, engine, seed, False)
    return next((r for r in rows if (r["compressor"], r["engine"], r["seed"], r["binding"]) == wanted), None)
