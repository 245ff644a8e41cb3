"""Compare quantizers on one data set with the same short training each; write JSON and print a table.

    python tools/compare_quantizers.py --data DIR --out runs/ --json table.json

The default is what a CPU manages in about half an hour: the first 5,000 training images for eight epochs, with
Delta started small, as short runs need. It shows sizes and rough orderings, not the accuracies of a full
training; `--images 50000 --epochs 500 --inflate 5 --paper-deltas` is the paper's own setting, for a GPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import torch
from machine import provenance

from ternzip.io.atomic import atomic_file
from ternzip.training.evaluation import evaluate
from ternzip.training.recipe import Recipe
from ternzip.training.trainer import train

# A short run hardly moves the weights from where they start (standard deviation 0.06 to 0.12 at inflate 1),
# so Delta must stay of that size: both growths end near 0.083 after eight epochs.
SHORT: dict[str, dict[str, Any]] = {
    "full precision": {"quantizer": "none"},
    "binary": {"quantizer": "binary"},
    "fixed": {"growth": "fixed", "delta": 0.05},
    "linear": {"growth": "linear", "delta": 0.03, "multiplier": 0.22},
    "log": {"growth": "log", "delta": 0.03, "multiplier": 0.85},
    "TWN": {"quantizer": "twn"},
}
# As in their papers: from a full-precision start, first and last layer left alone, small steps, smaller for the levels.
PRETRAINED: dict[str, Any] = {
    "arch": "he-resnet20",
    "skip": ("conv1", "linear"),
    "lr": 1e-4,
    "levels_lr": 1e-5,
    "lr_schedule": "constant",
}
LEARNED: dict[str, dict[str, Any]] = {
    "TTQ": {"quantizer": "ttq", **PRETRAINED},
    "EC2T": {"quantizer": "ec2t", **PRETRAINED},
}
PAPER: dict[str, dict[str, Any]] = {
    **SHORT,
    "fixed": {"growth": "fixed", "delta": 0.1},
    "linear": {"growth": "linear", "delta": 0.1, "multiplier": 0.1},
    "log": {"growth": "log", "delta": 0.1, "multiplier": 1.9},
}
# What the paper prints for the original CIFAR-10: accuracy and zeros in %, and the accuracy of the same network
# in full precision (ResNet-20*; TTQ and EC2T are its ResNet-20 rows). TWN has no row there.
REPORTED: dict[str, dict[str, float]] = {
    "full precision": {"accuracy": 93.61, "full_precision": 93.61},
    "binary": {"accuracy": 91.22, "zeros": 0.0, "full_precision": 93.61},
    "fixed": {"accuracy": 91.39, "zeros": 44.11, "full_precision": 93.61},
    "linear": {"accuracy": 92.30, "zeros": 84.25, "full_precision": 93.61},
    "log": {"accuracy": 93.27, "zeros": 89.75, "full_precision": 93.61},
    "TTQ": {"accuracy": 91.13, "full_precision": 91.67},
    "EC2T": {"accuracy": 91.16, "zeros": 45.17, "full_precision": 91.67},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="data", help="folder of the data set")
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--note", default="CIFAR-10", help="what the data are, for the record")
    parser.add_argument("--out", type=Path, default=Path("reproduce"), help="folder of the runs")
    parser.add_argument("--json", type=Path, default=Path("reproduce.json"))
    parser.add_argument("--images", type=int, default=5000, help="training images used")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--inflate", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--paper-deltas", action="store_true", help="the paper's Delta_0 and M")
    parser.add_argument(
        "--init", help="full-precision he-resnet20 checkpoint: adds TTQ and EC2T, started from it"
    )
    parser.add_argument("--only", nargs="*", help="names of the methods to run")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    base = Recipe(
        dataset=arguments.dataset,
        data=arguments.data,
        inflate=arguments.inflate,
        train_images=arguments.images,
        test_images=1000,
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        # The paper's learning-rate steps end near epoch 250: they are shrunk to this run's length.
        lr_scale=arguments.epochs / 250,
        seed=arguments.seed,
        carry_on=True,
    )
    record: dict[str, Any] = {
        **provenance(),
        "threads": torch.get_num_threads(),
        "data": arguments.note,
        "recipe": dataclasses.asdict(base) | {"data": "", "out": ""},
        "paper": REPORTED,
        "results": {},
    }
    methods = dict(PAPER if arguments.paper_deltas else SHORT)
    start_accuracy = None
    if arguments.init is not None:
        methods |= {name: {**options, "init": arguments.init} for name, options in LEARNED.items()}
        full = base.with_options({"arch": PRETRAINED["arch"], "inflate": 1, "test_images": None})
        start_accuracy = evaluate(Path(arguments.init), full).accuracy
    for name in arguments.only or methods:
        recipe = base.with_options(methods[name])
        if name in LEARNED:
            recipe = dataclasses.replace(recipe, inflate=1)
        start = time.monotonic()
        folder = arguments.out / name.replace(" ", "-")
        result = train(recipe, folder, force=True)
        if result is None:
            return
        full = dataclasses.replace(recipe, test_images=None)
        record["results"][name] = {
            "options": {key: value for key, value in methods[name].items() if key != "init"},
            "best": dataclasses.asdict(result.best) | {"path": ""},
            "last": dataclasses.asdict(result.last) | {"path": ""},
            "accuracy_all_test_images": evaluate(folder / "last.tnz", full).accuracy,
            # Where it started from, for those that start trained: what they are to be compared with.
            "start_accuracy": start_accuracy if name in LEARNED else None,
            "seconds": round(time.monotonic() - start, 1),
        }
        with atomic_file(arguments.json) as stream:  # a killed run leaves what the last method left
            stream.write((json.dumps(record, indent=2) + "\n").encode())
    print_table(record["results"])


def print_table(results: dict[str, Any]) -> None:
    """One line a method, for a person."""
    print(f"{'method':>15} {'accuracy':>9} {'zeros':>8} {'entropy':>8} {'.tnz bytes':>11} {'paper, %':>9}")
    for name, row in results.items():
        last = row["last"]
        print(
            f"{name:>15} {row['accuracy_all_test_images']:9.2%} {last['sparsity']:8.2%} "
            f"{last['entropy']:8.4f} {last['file']:11,} {REPORTED.get(name, {}).get('accuracy', '-'):>9}"
        )


if __name__ == "__main__":
    main()
