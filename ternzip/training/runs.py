"""What a run left in its folder, read back for figures: its recipe, its epochs, its latent weights."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ternzip._core.errors import TernzipError
from ternzip.training.recipe import Recipe


@dataclass(frozen=True)
class Run:
    """One run: `epochs` holds the figures of each epoch, from 1, by the names they were logged under."""

    folder: Path
    recipe: Recipe
    epochs: dict[int, dict[str, float]]

    @property
    def label(self) -> str:
        """What tells the run from others: its quantizer, or Delta's growth."""
        r = self.recipe
        if r.quantizer != "delta":
            return "full precision" if r.quantizer == "none" else r.quantizer
        if r.growth == "fixed":
            return f"fixed {r.delta:g}"
        return f"{r.growth}, M={r.multiplier:g}, D0={r.delta:g}, Df={r.max_delta:g}"

    def series(self, name: str) -> tuple[list[int], list[float]]:
        """(epochs, values) of a figure, where it was logged."""
        found = [(epoch, figures[name]) for epoch, figures in sorted(self.epochs.items()) if name in figures]
        return [epoch for epoch, _ in found], [value for _, value in found]

    @property
    def peak(self) -> tuple[int, float]:
        """(epoch, accuracy) of the best epoch, the first of equals: the paper's training speed."""
        epochs, accuracies = self.series("accuracy")
        best = int(np.argmax(accuracies))
        return epochs[best], accuracies[best]

    def at(self, epoch: int, name: str, default: float = 0.0) -> float:
        return self.epochs[epoch].get(name, default)

    def latent(self) -> tuple[NDArray[np.float32], float]:
        """All latent weights of the last epoch as one array, and their Delta (0 where none was set)."""
        from ternzip.training.run import read_run

        state = read_run(self.folder / "last.ckpt")["state_dict"]
        weights = [
            t.float().flatten().numpy() for name, t in state.items() if name.endswith("weight.original")
        ]
        if not weights:
            raise TernzipError(f"{self.folder}: a full-precision run has no latent weights to draw")
        deltas = [float(t) for name, t in state.items() if name.endswith("quantizer.delta")]
        return np.concatenate(weights), deltas[0] if deltas else 0.0


def read_run_folder(folder: str | Path) -> Run:
    """The run in a folder that `ternzip train` wrote; TernzipError where there is none."""
    from ternzip.training.run import stored_recipe

    folder = Path(folder)
    checkpoint = folder / "last.ckpt"
    if not checkpoint.is_file():
        raise TernzipError(f"{folder}: not a run: expected the last.ckpt that ternzip train writes")
    epochs: dict[int, dict[str, float]] = {}
    # A resumed run goes on in a log of its own; later logs replace the epochs that they repeat.
    logs = sorted(folder.glob("csv/version_*/metrics.csv"), key=lambda path: int(path.parent.name[8:]))
    for log in logs:
        with log.open(newline="") as stream:
            for row in csv.DictReader(stream):
                figures = {name: float(value) for name, value in row.items() if value and name != "epoch"}
                epochs.setdefault(int(row["epoch"]) + 1, {}).update(figures)
    epochs = {epoch: figures for epoch, figures in epochs.items() if "accuracy" in figures}
    if not epochs:
        raise TernzipError(f"{folder}: no finished epoch in its logs")
    return Run(folder, stored_recipe(checkpoint), epochs)
