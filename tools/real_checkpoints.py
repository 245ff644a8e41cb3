"""Published networks through ternzip: accuracy before and after a file, and ternary fine-tuning; writes JSON.

    python tools/real_checkpoints.py --checkpoints DIR --data DIR --json docs/benchmarks/real_checkpoints.json

DIR holds the EC2T ternary ResNet-20s and the full-precision network they started from.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from machine import provenance

from ternzip.io.files import load_file, save_file
from ternzip.models import read_weights
from ternzip.training.evaluation import evaluate
from ternzip.training.recipe import Recipe
from ternzip.training.trainer import train

TERNARY = ("ec2t-resnet20-sparsity45.pt", "ec2t-resnet20-sparsity73.pt")
FULL = "fp32-resnet20.pt"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoints", type=Path, required=True)
    parser.add_argument("--data", required=True, help="folder of CIFAR-10 in its binary layout")
    parser.add_argument("--note", default="CIFAR-10", help="what the data are, for the record")
    parser.add_argument("--json", type=Path, default=Path("real_checkpoints.json"))
    parser.add_argument("--epochs", type=int, default=2, help="of fine-tuning")
    parser.add_argument("--images", type=int, default=5000, help="training images of fine-tuning")
    arguments = parser.parse_args()

    recipe = Recipe(arch="he-resnet20", dataset="cifar10", data=arguments.data)
    record: dict[str, Any] = {**provenance(), "data": arguments.note, "round_trip": {}, "fine_tuning": {}}
    with tempfile.TemporaryDirectory() as folder:
        for name in TERNARY:
            record["round_trip"][name] = round_trip(arguments.checkpoints / name, Path(folder), recipe)
        tuned = recipe.with_options(
            {
                "init": str(arguments.checkpoints / FULL),
                "skip": ["conv1", "linear"],
                "quantizer": "twn",
                "lr": 1e-3,
                "lr_schedule": "exponential",
                "lr_scale": arguments.epochs,
                "batch_size": 64,
                "train_images": arguments.images,
                "test_images": 1000,
                "epochs": arguments.epochs,
            }
        )
        record["fine_tuning"] = fine_tune(arguments.checkpoints / FULL, Path(folder), tuned)
    arguments.json.write_text(json.dumps(record, indent=2) + "\n")


def round_trip(checkpoint: Path, folder: Path, recipe: Recipe) -> dict[str, Any]:
    """Images right with the published file and with what its .tnz restores."""
    path = folder / (checkpoint.stem + ".tnz")
    tensors = read_weights(checkpoint)
    save_file(tensors, path)
    restored = load_file(path)
    before, after = evaluate(checkpoint, recipe), evaluate(path, recipe)
    row = {
        "images": before.images,
        "right_before": before.correct,
        "right_after": after.correct,
        "identical_tensors": all(torch.equal(restored[name], tensors[name]) for name in tensors),
        "bytes_before": checkpoint.stat().st_size,
        "bytes_after": path.stat().st_size,
    }
    print(checkpoint.name, row, flush=True)
    return row


def fine_tune(checkpoint: Path, folder: Path, recipe: Recipe) -> dict[str, Any]:
    """The full-precision network's accuracy, and that of a ternary one started from it."""
    start = evaluate(checkpoint, dataclasses.replace(recipe, test_images=None))
    result = train(recipe, folder / "tuned")
    assert result is not None
    end = evaluate(folder / "tuned" / "last.tnz", dataclasses.replace(recipe, test_images=None))
    row = {
        "recipe": dataclasses.asdict(recipe) | {"data": "", "init": checkpoint.name},
        "full_precision_accuracy": start.accuracy,
        "full_precision_bytes": checkpoint.stat().st_size,
        "ternary_accuracy": end.accuracy,
        "ternary": dataclasses.asdict(result.last) | {"path": ""},
    }
    print(row, flush=True)
    return row


if __name__ == "__main__":
    main()
