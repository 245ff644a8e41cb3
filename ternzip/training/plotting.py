"""The paper's figures, drawn to stay readable in black and white: greys, hatches, line styles, markers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ternzip._core.errors import TernzipError

if TYPE_CHECKING:
    from ternzip.training.runs import Run

# One style a curve: black lines told apart by dashes and markers.
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
MARKERS = "osD^v*"
SYMBOL_STYLES = (("-1", "0.85", "///"), ("0", "0.55", ""), ("+1", "0.95", "\\\\\\"))


def pyplot() -> Any:
    """matplotlib.pyplot with the file backend; TernzipError where matplotlib is missing."""
    try:
        import matplotlib
    except ImportError as error:
        raise TernzipError("drawing needs matplotlib: pip install 'ternzip[train]'") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    return plt


def write(figure: Any, *paths: Path) -> None:
    """Save a figure under every path (the suffix says the format: .png, .svg, .pdf) and close it."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150, bbox_inches="tight")
    pyplot().close(figure)


def weight_distribution(latents: Mapping[str, NDArray[Any]], deltas: Mapping[str, float]) -> Any:
    """Figure 1: latent weights of one or several runs, cut at +-Delta into the symbols -1, 0 and +1."""
    figure, axes = pyplot().subplots(
        1, len(latents), figsize=(5.5 * len(latents), 3.4), squeeze=False, sharey=True
    )
    edges = np.linspace(-1, 1, 81)
    for axis, (name, latent) in zip(axes[0], latents.items(), strict=True):
        delta = deltas[name]
        zones = (latent < -delta, np.abs(latent) <= delta, latent > delta)
        parts = [np.histogram(latent[zone], edges)[0] / latent.size for zone in zones]
        below = np.zeros(edges.size - 1)
        for part, zone, (symbol, grey, hatch) in zip(parts, zones, SYMBOL_STYLES, strict=True):
            axis.stairs(
                below + part,
                edges,
                baseline=below,
                fill=True,
                facecolor=grey,
                hatch=hatch,
                edgecolor="black",
                linewidth=0.3,
                label=f"{symbol}: {zone.mean():.1%}",
            )
            below = below + part
        for x in (-delta, delta):
            axis.axvline(x, color="black", linestyle="--", linewidth=1)
        axis.set(title=f"{name}, Delta = {delta:.3f}", xlabel="latent weight", yscale="log")
        axis.set_xticks(np.linspace(-1, 1, 5))
        axis.legend(title="symbol: share", fontsize="small")
    axes[0][0].set_ylabel("share of weights")
    return figure


def oscillation(runs: Sequence[Run]) -> Any:
    """Figure 3: accuracy, its step from epoch to epoch, and sparsity, over the epochs, a line a run."""
    figure, axes = pyplot().subplots(1, 3, figsize=(14, 3.8))
    for style, run in zip(_styles(), runs, strict=False):
        epochs, accuracy = run.series("accuracy")
        axes[0].plot(epochs, 100 * np.array(accuracy), label=run.label, **style)
        axes[1].plot(epochs[1:], 100 * np.abs(np.diff(accuracy)), **style)
        epochs, zeros = run.series("sparsity")
        axes[2].plot(epochs, 100 * np.array(zeros), **style)
    titles = ("accuracy, %", "change of accuracy, points", "zeros, %")
    for axis, title in zip(axes, titles, strict=True):
        axis.set(xlabel="epoch", ylabel=title)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(color="0.9")
    axes[0].legend(fontsize="small")
    return figure


def tradeoff(runs: Sequence[Run]) -> Any:
    """Figure 4: best accuracy against sparsity and against entropy, a marker a growth, a point a run.

    Full precision has neither sparsity nor entropy to speak of: its accuracies are lines across.
    """
    figure, axes = pyplot().subplots(1, 2, figsize=(10, 3.8), sharey=True)
    full = [run for run in runs if run.recipe.quantizer == "none"]
    for run, axis in itertools.product(full, axes):
        label = run.label if run is full[0] else None
        axis.axhline(100 * run.peak[1], color="black", linestyle="--", linewidth=1, label=label)
    ternary = [run for run in runs if run.recipe.quantizer != "none"]
    for marker, (label, group) in zip(_markers(), _grouped(ternary, by_growth=True).items(), strict=False):
        best = [run.peak for run in group]
        accuracy = [100 * value for _, value in best]
        sparsity = [100 * run.at(epoch, "sparsity") for run, (epoch, _) in zip(group, best, strict=True)]
        entropy = [run.at(epoch, "entropy") for run, (epoch, _) in zip(group, best, strict=True)]
        axes[0].plot(sparsity, accuracy, linestyle="", label=label, **marker)
        axes[1].plot(entropy, accuracy, linestyle="", **marker)
    axes[0].set(xlabel="zeros, %", ylabel="best accuracy, %")
    axes[1].set(xlabel="entropy, bits/weight")
    for axis in axes:
        axis.grid(color="0.9")
    axes[0].legend(fontsize="small")
    return figure


def speed(runs: Sequence[Run]) -> Any:
    """Figure 5: best accuracy against training speed, the epoch it came in; a marker for each setting."""
    figure, axis = pyplot().subplots(figsize=(6, 4))
    for marker, (label, group) in zip(_markers(), _grouped(runs).items(), strict=False):
        epochs, accuracy = zip(*(run.peak for run in group), strict=True)
        axis.plot(epochs, 100 * np.array(accuracy), linestyle="", label=label, **marker)
    axis.set(xlabel="epoch of peak accuracy", ylabel="best accuracy, %")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(color="0.9")
    axis.legend(fontsize="small")
    return figure


def weights_of(runs: Sequence[Run]) -> Any:
    """Figure 1 of the runs that have latent weights."""
    ternary = [run for run in runs if run.recipe.quantizer != "none"]
    if not ternary:
        raise TernzipError("no run has latent weights to draw: all are in full precision")
    latents, deltas = {}, {}
    for i, run in enumerate(ternary):
        name = (
            run.label if len({other.label for other in ternary}) == len(ternary) else f"{run.label} ({i + 1})"
        )
        latents[name], deltas[name] = run.latent()
    return weight_distribution(latents, deltas)


FIGURES: dict[str, Callable[[Sequence[Run]], Any]] = {
    "1": weights_of,
    "3": oscillation,
    "4": tradeoff,
    "5": speed,
}


def draw(runs: Sequence[Run], folder: Path, figures: Sequence[str] = tuple(FIGURES)) -> list[Path]:
    """Write the paper's figures of these runs to `folder`, as PNG and SVG; returns the files."""
    unknown = [name for name in figures if name not in FIGURES]
    if unknown:
        raise TernzipError(f"unknown figure {unknown[0]!r}: expected one of {', '.join(FIGURES)}")
    written = []
    for name in figures:
        paths = [folder / f"figure{name}.{suffix}" for suffix in ("png", "svg")]
        write(FIGURES[name](runs), *paths)
        written += paths
    return written


def _styles() -> Iterator[dict[str, Any]]:
    for i in itertools.count():
        grey = ("black", "0.35", "0.6")[i // len(DASHES) % 3]
        yield {"color": grey, "linestyle": DASHES[i % len(DASHES)], "linewidth": 1.4}


def _markers() -> Iterator[dict[str, Any]]:
    for i in itertools.count():
        face = ("white", "black", "0.6")[i // len(MARKERS) % 3]
        yield {"marker": MARKERS[i % len(MARKERS)], "color": "black", "markerfacecolor": face}


def _grouped(runs: Sequence[Run], by_growth: bool = False) -> dict[str, list[Run]]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        label = run.recipe.growth if by_growth and run.recipe.quantizer == "delta" else run.label
        groups.setdefault(label, []).append(run)
    return groups
