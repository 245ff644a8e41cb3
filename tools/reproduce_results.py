"""What the finished runs of a queue came to: accuracies checked on the stored files, and sizes by several coders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from codec_peers import peers
from reproduce_plan import Run
from reproduce_queue import is_finished

import ternzip
from ternzip.container.describe import FileInfo, describe_file
from ternzip.container.reader import Reader
from ternzip.io.atomic import atomic_file
from ternzip.training.evaluation import evaluate
from ternzip.training.runs import RunRecord, read_run_checkpoint, read_run_folder

NNCODEC = "NNCodec, best"
NOT_BEGUN = "not begun"


@dataclass(frozen=True)
class Finished:
    """A finished run.

    Attributes:
        run: as it was planned.
        record: its epochs.
        files: for "best" and "last", what `measure` found.
        starts: what `starts.jsonl` holds.
    """

    run: Run
    record: RunRecord
    files: dict[str, dict[str, Any]]
    starts: list[dict[str, Any]]

    @property
    def hours(self) -> float:
        """Of training, without what was lost when it was killed."""
        return sum(figures.get("seconds", 0.0) for figures in self.record.epochs.values()) / 3600


def collect(runs: Sequence[Run], out: Path, data: Path) -> tuple[list[Finished], dict[str, str]]:
    """The finished runs, and how far each of the others is, by name."""
    finished: list[Finished] = []
    missing: dict[str, str] = {}
    for run in runs:
        folder = out / run.name
        if is_finished(folder):
            files = {which: measured(folder / f"{which}.tnz", data) for which in ("best", "last")}
            lines = (folder / "starts.jsonl").read_text(encoding="utf-8").splitlines()
            finished.append(
                Finished(run, read_run_folder(folder), files, [json.loads(line) for line in lines])
            )
        elif (folder / "last.ckpt").is_file():
            checkpoint = read_run_checkpoint(folder / "last.ckpt")
            missing[run.name] = (
                f"epoch {checkpoint.epoch} of {checkpoint.recipe.epochs}, accuracy so far {checkpoint.accuracy:.2%}"
            )
        else:
            missing[run.name] = NOT_BEGUN
    return finished, missing


def measured(path: Path, data: Path) -> dict[str, Any]:
    """What `measure` finds, kept beside the file."""
    kept = path.with_suffix(".measured.json")
    if kept.is_file():
        found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        if found.get("modified") == path.stat().st_mtime_ns:
            return found
    found = {**measure(path, data), "modified": path.stat().st_mtime_ns}
    with atomic_file(kept) as stream:
        stream.write(json.dumps(found, indent=2).encode())
    return found


def measure(path: Path, data: Path) -> dict[str, Any]:
    """Accuracy of a run's .tnz on all test images, in float32, and sizes in bytes of its ternary weights.

    `predicted` is what order-0 coding of each tensor takes by its entropy, `static` and `context` what these codecs
    take in a file, NNCodec what its payloads take (None where it is not installed), `file` the whole file.
    """
    run = read_run_checkpoint(path.with_suffix(".ckpt"))
    recipe = run.recipe.with_options({"data": str(data), "test_images": None, "init": None})
    score = evaluate(path, recipe)
    tensors = ternzip.load_file(path)
    described = {codec: _described(tensors, codec) for codec in ("static", "context")}
    info = described["context"]
    trits = [
        np.ascontiguousarray(np.sign(tensors[tensor.name].numpy()).astype(np.int8))
        for tensor in info.tensors
        if tensor.counted
    ]
    nncodec = next((coder for coder in peers()[0] if coder.name == NNCODEC), None)
    return {
        "epoch": run.epoch,
        "accuracy": score.accuracy,
        "weights": info.counts.total,
        "zeros": info.counts.sparsity,
        "entropy": info.counts.entropy,
        "predicted": info.predicted_bytes,
        **{codec: found.ternary_bytes for codec, found in described.items()},
        "nncodec": None if nncodec is None else sum(map(len, nncodec.encode(trits))),
        "file": path.stat().st_size,
    }


def _described(tensors: dict[str, Any], codec: str) -> FileInfo:
    with Reader.open(ternzip.save(tensors, codec=codec)) as reader:
        return describe_file(reader)


def summary(finished: Sequence[Finished], full_precision: str) -> list[dict[str, Any]]:
    """A row for each method and each of "last" and "best": mean and deviation over its seeds.

    Losses against full precision are over the seeds that both have.
    """
    rows = []
    by_method: dict[str, list[Finished]] = {}
    for one in finished:
        by_method.setdefault(one.run.method, []).append(one)
    for method, group in by_method.items():
        for which in ("last", "best"):
            own = {one.run.seed: one.files[which] for one in group}
            full = {one.run.seed: one.files[which] for one in by_method.get(full_precision, [])}
            losses = [full[seed]["accuracy"] - own[seed]["accuracy"] for seed in own if seed in full]
            row: dict[str, Any] = {"method": method, "epoch": which, "seeds": sorted(own)}
            for name in ("accuracy", "zeros", "entropy", "predicted", "static", "context", "nncodec", "file"):
                values = [found[name] for found in own.values() if found[name] is not None]
                row[name] = mean(values) if values else None
            accuracies = [found["accuracy"] for found in own.values()]
            row["accuracy_deviation"] = stdev(accuracies) if len(accuracies) > 1 else None
            row["loss"] = mean(losses) if losses and method != full_precision else None
            row["hours"] = mean(one.hours for one in group)
            rows.append(row)
    return rows
