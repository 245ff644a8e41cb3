"""What the finished runs of a queue came to: accuracies checked on the stored files, and sizes by several coders."""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from codec_peers import Coder, peers
from reproduce_plan import LATE, Run
from reproduce_queue import check_recipe, failure_of, is_finished

import ternzip
from ternzip.container.describe import describe_file
from ternzip.container.reader import Reader
from ternzip.io.atomic import atomic_file
from ternzip.quantization.state import ternary_names
from ternzip.training.evaluation import evaluate
from ternzip.training.network import restore
from ternzip.training.runs import RunRecord, read_run_checkpoint, read_run_folder
from ternzip.training.sizes import stored_sizes

NNCODEC = "NNCodec, best"
NOT_BEGUN = "not begun"
FAILED = "failed"


@dataclass(frozen=True)
class Finished:
    """A finished run.

    Attributes:
        run: as it was planned.
        record: its epochs.
        files: for "best" and "last", what `measure` found.
        paths: where these files lie, as far as they are at hand.
        starts: what `starts.jsonl` holds.
        hours: of training, without what was lost when it was killed.
        reported_by: the commit of an earlier report that these figures are taken from; None where they are of the
            run's own folder.
    """

    run: Run
    record: RunRecord
    files: dict[str, dict[str, Any]]
    paths: dict[str, Path]
    starts: list[dict[str, Any]]
    hours: float
    reported_by: str | None = None

    @property
    def is_ternary(self) -> bool:
        """Whether it is none in full precision."""
        return self.record.recipe.quantizer != "none"

    @property
    def late(self) -> tuple[float, float]:
        """Mean and deviation of the accuracy in training, over the last LATE epochs."""
        values = self.record.series("accuracy")[1][-LATE:]
        return mean(values), stdev(values) if len(values) > 1 else 0.0

    @property
    def dataset(self) -> str:
        """The name of what it was trained on."""
        return str(self.files["last"]["source"]["dataset"])


def collect(
    runs: Sequence[Run], out: Path, data: Path, note: str | None = None
) -> tuple[list[Finished], dict[str, str]]:
    """The finished runs, and how far each of the others is, by name.

    `note` says what the data are: under another one the files are measured anew. Raises TernzipError where a folder
    holds a run of another recipe.
    """
    finished: list[Finished] = []
    missing: dict[str, str] = {}
    for run in runs:
        folder = out / run.name
        check_recipe(run, folder)
        if is_finished(folder):
            paths = {which: folder / f"{which}.tnz" for which in ("best", "last")}
            files = {which: measured(path, data, note) for which, path in paths.items()}
            lines = (folder / "starts.jsonl").read_text(encoding="utf-8").splitlines()
            starts = [json.loads(line) for line in lines]
            record = dataclasses.replace(read_run_folder(folder), name=run.method)
            hours = sum(figures.get("seconds", 0.0) for figures in record.epochs.values()) / 3600
            finished.append(Finished(run, record, files, paths, starts, hours))
            continue
        state = NOT_BEGUN
        if (folder / "last.ckpt").is_file():
            checkpoint = read_run_checkpoint(folder / "last.ckpt")
            state = f"epoch {checkpoint.epoch} of {checkpoint.recipe.epochs}, accuracy so far {checkpoint.accuracy:.2%}"
        failure = failure_of(folder)
        missing[run.name] = state if failure is None else f"{FAILED}, {state}: {failure}"
    return finished, missing


def identity(content: bytes) -> dict[str, int]:
    """What tells a file's content from others: its bytes and their CRC-32."""
    return {"bytes": len(content), "crc32": zlib.crc32(content)}


def measured(path: Path, data: Path, note: str | None = None) -> dict[str, Any]:
    """What `measure` finds, kept beside the file with what it was found of and by."""
    content = path.read_bytes()
    source = {
        **identity(content),
        "dataset": read_run_checkpoint(path.with_suffix(".ckpt")).dataset.name,
        "note": note,
        "nncodec": _nncodec() is not None,
    }
    kept = path.with_suffix(".measured.json")
    if kept.is_file():
        found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        if found.get("source") == source:
            return found
    found = {**measure(path, data), "source": source}
    with atomic_file(kept) as stream:
        stream.write(json.dumps(found, indent=2).encode())
    return found


def measure(path: Path, data: Path) -> dict[str, Any]:
    """Accuracy of a run's .tnz on all test images, in float32, and sizes in bytes of its ternary weights.

    `predicted` is what order-0 coding of each tensor takes by its entropy, `static` and `context` what these codecs
    take in a file, NNCodec what its payloads take (None where it is not installed), `file` the whole file.
    """
    checkpoint = path.with_suffix(".ckpt")
    run = read_run_checkpoint(checkpoint)
    recipe = run.recipe.with_options({"data": str(data), "test_images": None, "init": None})
    score = evaluate(path, recipe)
    tensors = ternzip.load_file(path)
    # By the network: of a file alone, layers that are all zero cannot be told from other tensors of zeros.
    network = restore(run, checkpoint)
    names = list(ternary_names(network))
    sizes = stored_sizes(path, network)
    trits = [np.ascontiguousarray(np.sign(tensors[name].numpy()).astype(np.int8)) for name in names]
    nncodec = _nncodec()
    return {
        "epoch": run.epoch,
        "accuracy": score.accuracy,
        "weights": sizes.counts.total,
        "zeros": sizes.counts.sparsity,
        "entropy": sizes.counts.entropy,
        "predicted": sizes.predicted,
        **{codec: _ternary_bytes(tensors, codec, names) for codec in ("static", "context")},
        "nncodec": None if nncodec is None else sum(map(len, nncodec.encode(trits))),
        "file": path.stat().st_size,
    }


def _nncodec() -> Coder | None:
    return next((coder for coder in peers()[0] if coder.name == NNCODEC), None)


def _ternary_bytes(tensors: dict[str, Any], codec: str, names: Sequence[str]) -> int:
    with Reader.open(ternzip.save(tensors, codec=codec)) as reader:
        return sum(tensor.bytes for tensor in describe_file(reader).tensors if tensor.name in names)


def _twin(one: Finished, finished: Sequence[Finished]) -> Finished | None:
    """The run in full precision of the same seed that a run started from, or that was trained as long."""
    own = one.record.recipe
    for other in finished:
        recipe = other.record.recipe
        if not one.is_ternary or other.is_ternary or other.run.seed != one.run.seed:
            continue
        if one.run.needs == other.run.name or (own.init is None and own.epochs == recipe.epochs):
            return other
    return None


def summary(finished: Sequence[Finished]) -> list[dict[str, Any]]:
    """A row for each method and each of "last" and "best": mean and deviation over its seeds.

    Losses against full precision are over the seeds that both have, of runs as long or that start from it.
    "late" is the mean accuracy in training of the last LATE epochs, "swing" their deviation, the mean over the seeds.
    """
    twins = {one.run.name: _twin(one, finished) for one in finished}
    rows = []
    by_method: dict[str, list[Finished]] = {}
    for one in finished:
        by_method.setdefault(one.run.method, []).append(one)
    for method, group in by_method.items():
        for which in ("last", "best"):
            own = {one.run.seed: one.files[which] for one in group}
            losses = [
                twin.files[which]["accuracy"] - one.files[which]["accuracy"]
                for one in group
                if (twin := twins[one.run.name]) is not None
            ]
            row: dict[str, Any] = {"method": method, "epoch": which, "seeds": sorted(own)}
            for name in ("accuracy", "zeros", "entropy", "predicted", "static", "context", "nncodec", "file"):
                values = [found[name] for found in own.values() if found[name] is not None]
                row[name] = mean(values) if values else None
            accuracies = [found["accuracy"] for found in own.values()]
            row["accuracy_deviation"] = stdev(accuracies) if len(accuracies) > 1 else None
            row["loss"] = mean(losses) if losses else None
            row["hours"] = mean(one.hours for one in group)
            row["late"], row["swing"] = (
                mean(figures) for figures in zip(*(one.late for one in group), strict=True)
            )
            rows.append(row)
    return rows
