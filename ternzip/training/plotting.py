"""The paper's figures, drawn to stay readable in black and white: greys, hatches, line styles, markers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ternzip._core.errors import TernzipError
from ternzip._core.extras import require
from ternzip.io.pictures import write_figure
from ternzip.training.latents import LatentLayer, latent_layers
from ternzip.training.network import restore
from ternzip.training.recipe import is_given
from ternzip.training.runs import RunRecord, read_run_checkpoint

FORMATS = ("png", "svg", "pdf")
Size: TypeAlias = "tuple[float, float] | None"
"""Width and height of a figure in inches; None for its own."""
# One style a curve: black lines told apart by dashes and markers.
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
MARKERS = "osD^v*"
# How each symbol's weights are filled: grey and hatch.
SYMBOL_STYLES = {-1: ("0.85", "///"), 0: ("0.55", ""), 1: ("0.95", "\\\\\\")}


class NothingToDraw(TernzipError):
    """None of the runs has what a figure shows."""


def subplots(
    lines: int, columns: int, *, figsize: tuple[float, float], sharey: bool = False
) -> tuple[Any, Any]:
    """A figure of its own, in inches, and its axes, (lines, columns); TernzipError where matplotlib is missing.

    Not by pyplot: that would choose a backend for all figures of the caller's, and keep this one alive.
    """
    require("drawing", "train", "matplotlib")
    from matplotlib.figure import Figure

    figure = Figure(figsize=figsize, layout="constrained")  # labels and legends within that size
    return figure, figure.subplots(lines, columns, squeeze=False, sharey=sharey)


def write(figure: Any, *paths: Path) -> None:
    """Save a figure under every path, as `write_figure` does, in folders that are made if missing."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_figure(figure, path)


def weight_distribution(runs: Mapping[str, Sequence[LatentLayer]], size: Size = None) -> Any:
    """Figure 1: latent weights of one or several runs, cut by each layer's own thresholds into -, 0 and +."""
    figure, ((*axes,),) = subplots(1, len(runs), figsize=size or (5.5 * len(runs), 3.9), sharey=True)
    from matplotlib import rcParams
    from matplotlib.transforms import ScaledTranslation

    # Heights are on a logarithmic scale: of a bin that layers cut at different places, the upper part looks smaller.
    for axis, (name, layers) in zip(axes, runs.items(), strict=True):
        _cut_histogram(axis, layers)
        axis.set(xlabel="latent weight", yscale="log")
        axis.set_title(f"{name}\n{_thresholds(layers)}", fontsize="medium")
        # Below the label of the axis, whatever the height of the axes.
        below = ScaledTranslation(0, -3.6 * rcParams["font.size"] / 72, figure.dpi_scale_trans)
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "bbox_transform": axis.transAxes + below}
        axis.legend(**place, frameon=False, fontsize="small")
    axes[0].set_ylabel("share of weights")
    return figure


def _cut_histogram(axis: Any, layers: Sequence[LatentLayer]) -> None:
    total = sum(layer.weights.size for layer in layers)
    reach = max(float(np.abs(layer.weights).max(initial=0.0)) for layer in layers) or 1.0
    edges = _edges(layers, reach)
    below = np.zeros(edges.size - 1)
    for symbol, (grey, hatch) in SYMBOL_STYLES.items():
        zones = [layer.taking(symbol) for layer in layers]
        part = sum(np.histogram(zone, edges)[0] for zone in zones) / total
        share = sum(zone.size for zone in zones) / total
        sign = "+" if symbol > 0 else ""
        axis.stairs(
            below + part,
            edges,
            baseline=below,
            fill=True,
            facecolor=grey,
            hatch=hatch,
            edgecolor="black",
            linewidth=0.3,
            label=f"level {sign}{_range(layer.level(symbol) for layer in layers)}: {share:.1%}",
        )
        below = below + part
    for side in ([layer.lo for layer in layers], [layer.hi for layer in layers]):
        for x in {min(side), max(side)}:
            axis.axvline(x, color="black", linestyle="--", linewidth=1)


def _edges(layers: Sequence[LatentLayer], reach: float) -> Any:
    """Some eighty bins; where all layers are cut at one Delta, they end there, so that none is cut in two."""
    (delta, *others) = {abs(side) for layer in layers for side in (layer.lo, layer.hi)}
    if others or not 0 < delta <= reach:
        return np.linspace(-reach, reach, 82)  # an odd number: zero lies within one
    width = delta / max(1, round(40 * delta / reach))
    count = int(np.ceil(reach / width))
    return width * np.arange(-count, count + 1)


def _thresholds(layers: Sequence[LatentLayer]) -> str:
    """What the dashed lines are: Delta where all layers are symmetric, else both thresholds, over the layers."""
    lows, highs = [layer.lo for layer in layers], [layer.hi for layer in layers]
    if [-low for low in lows] == highs:
        return f"Delta = {_range(highs)}"
    return f"below {_range(lows)}, above {_range(highs)}"


def _range(values: Iterable[float]) -> str:
    """One number where all are alike in three digits, else the least and the largest."""
    # Rounded: Binary's thresholds are 0 and the number next to it. The sum makes no -0.
    known = [round(value, 12) + 0.0 for value in values]
    least, largest = f"{min(known):.3g}", f"{max(known):.3g}"
    return least if least == largest else f"{least} to {largest}"


def _measured(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """The runs whose accuracy is known, as that of a run with a loss of its own need not be."""
    found = [run for run in runs if run.series("accuracy")[0]]
    if not found:
        raise NothingToDraw("no run has measured an accuracy")
    return found


def fixed_deltas(runs: Sequence[RunRecord], size: Size = None) -> Any:
    """Figure 2: accuracy over the epochs for several fixed Deltas, a line a run, and the best of each by its Delta."""
    fixed = [run for run in runs if run.recipe.quantizer == "delta" and run.recipe.growth == "fixed"]
    if not fixed:
        raise NothingToDraw("no run has a fixed Delta (--growth fixed)")
    fixed = _measured(fixed)
    figure, (axes,) = subplots(1, 2, figsize=size or (10, 3.8))
    fixed.sort(key=lambda run: run.recipe.delta)
    for style, run in zip(_styles(), fixed, strict=False):
        epochs, accuracy = run.series("accuracy")
        axes[0].plot(epochs, 100 * np.array(accuracy), label=f"Delta = {run.recipe.delta:g}", **style)
    best = [100 * run.peak[1] for run in fixed]
    axes[1].plot([run.recipe.delta for run in fixed], best, linestyle="", **next(_markers()))
    axes[0].set(xlabel="epoch", ylabel="accuracy, %")
    axes[0].xaxis.get_major_locator().set_params(integer=True)
    axes[1].set(xlabel="Delta", ylabel="best accuracy, %", xticks=sorted({run.recipe.delta for run in fixed}))
    for axis in axes:
        axis.grid(color="0.9")
    _legend_below(figure, axes[0])
    return figure


def oscillation(runs: Sequence[RunRecord], size: Size = None) -> Any:
    """Figure 3: accuracy, its step from epoch to epoch, and sparsity, over the epochs, a line a run."""
    figure, (axes,) = subplots(1, 3, figsize=size or (14, 4))
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
    _legend_below(figure, axes[0])
    return figure


def tradeoff(runs: Sequence[RunRecord], size: Size = None) -> Any:
    """Figure 4: best accuracy against sparsity and against entropy, a marker a growth, a point a run.

    Full precision has neither sparsity nor entropy to speak of: its accuracies are lines across.
    """
    runs = _measured(runs)
    figure, (axes,) = subplots(1, 2, figsize=size or (10, 3.8), sharey=True)
    full, ternary = _by_precision(runs)
    for run, axis in itertools.product(full, axes):
        label = run.label if run is full[0] else None
        axis.axhline(100 * run.peak[1], color="black", linestyle="--", linewidth=1, label=label)
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
    _legend_below(figure, axes[0])
    return figure


def speed(runs: Sequence[RunRecord], size: Size = None) -> Any:
    """Figure 5: best accuracy against training speed, the epoch it came in; a marker for each setting.

    Full precision has a cross, the others the markers that figure 4 gives them, where it is drawn of named runs.
    """
    runs = _measured(runs)
    figure, ((axis,),) = subplots(1, 1, figsize=size or (6, 4))
    full, ternary = map(_grouped, _by_precision(runs))
    cross = itertools.repeat({"marker": "x", "color": "black"}, len(full))
    markers = itertools.chain(cross, _markers())
    for marker, (label, group) in zip(markers, itertools.chain(full.items(), ternary.items()), strict=False):
        epochs, accuracy = zip(*(run.peak for run in group), strict=True)
        axis.plot(epochs, 100 * np.array(accuracy), linestyle="", label=label, **marker)
    axis.set(xlabel="epoch of peak accuracy", ylabel="best accuracy, %")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(color="0.9")
    _legend_below(figure, axis)
    return figure


def front(points: Mapping[str, Sequence[tuple[int, float, float]]], reference: Sequence[float] = ()) -> Any:
    """Accuracy against what a network takes: (bytes of its file, accuracy, its deviation) of each run, by its label.

    `reference` are accuracies in full precision, drawn as lines across.
    """
    figure, ((axis,),) = subplots(1, 1, figsize=(6, 4))
    for i, accuracy in enumerate(reference):
        label = None if i else "full precision"
        axis.axhline(100 * accuracy, color="black", linestyle="--", linewidth=1, label=label)
    for marker, (label, group) in zip(_markers(), points.items(), strict=False):
        sizes, accuracies, deviations = 100 * np.array(group).T
        bars = {"yerr": deviations, "ecolor": "0.6", "capsize": 3}
        axis.errorbar(sizes / 1e5, accuracies, linestyle="", label=label, **marker, **bars)
    axis.set(xlabel="whole file, kB", ylabel="accuracy, %")
    axis.grid(color="0.9")
    _legend_below(figure, axis)
    return figure


def weights_of(runs: Sequence[RunRecord], size: Size = None) -> Any:
    """Figure 1 of the runs that have latent weights, as their last epoch left them."""
    ternary = [run for run in runs if run.recipe.quantizer != "none" and not is_given(run.recipe.arch)]
    if not ternary:
        raise NothingToDraw("no run has latent weights of a network that has a name")
    shared = len({run.label for run in ternary}) < len(ternary)
    latents = {}
    for i, run in enumerate(ternary):
        path = run.folder / "last.ckpt"
        checkpoint = read_run_checkpoint(path)
        network = restore(checkpoint, path, trust_arch=run.trust_arch)
        latents[f"{run.label} ({i + 1})" if shared else run.label] = latent_layers(network)
    return weight_distribution(latents, size)


def _legend_below(figure: Any, axis: Any) -> None:
    """What is on an axis, told below the whole figure, where it covers nothing, in as many columns as fit."""
    from matplotlib import rcParams

    handles, labels = axis.get_legend_handles_labels()
    widest = (8 + max(map(len, labels), default=0)) * 0.007 * rcParams["font.size"]  # inches, about
    columns = max(1, min(len(labels), int(figure.get_figwidth() / widest)))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize="small")


FIGURES: dict[str, Callable[[Sequence[RunRecord], Size], Any]] = {
    "1": weights_of,
    "2": fixed_deltas,
    "3": oscillation,
    "4": tradeoff,
    "5": speed,
}


def draw(
    runs: Sequence[RunRecord],
    folder: Path,
    figure: str,
    *,
    formats: Sequence[str] = ("png", "svg"),
    size: Size = None,
) -> list[Path]:
    """Write one of the paper's figures of these runs to `folder`; returns the files.

    Args:
        runs: what is drawn.
        folder: made if missing.
        figure: a name in FIGURES.
        formats: of FORMATS, a file each.
        size: (width, height) in inches; by default the figure's own.

    Raises TernzipError for a name that is none, and NothingToDraw.
    """
    if figure not in FIGURES:
        raise TernzipError(f"unknown figure {figure!r}: expected one of {', '.join(FIGURES)}")
    for unknown in [name for name in formats if name not in FORMATS][:1]:
        raise TernzipError(f"unknown format {unknown!r}: expected some of {', '.join(FORMATS)}")
    require("drawing", "train", "matplotlib")
    from matplotlib import rc_context

    paths = [folder / f"figure{figure}.{suffix}" for suffix in formats]
    # Of a size that it will be printed in, a figure has text of the size that is printed under it.
    with rc_context({} if size is None else {"font.size": 8}):
        write(FIGURES[figure](runs, size), *paths)
    return paths


def _styles() -> Iterator[dict[str, Any]]:
    for i in itertools.count():
        grey = ("black", "0.35", "0.6")[i // len(DASHES) % 3]
        yield {"color": grey, "linestyle": DASHES[i % len(DASHES)], "linewidth": 1.4}


def _markers() -> Iterator[dict[str, Any]]:
    for i in itertools.count():
        face = ("white", "black", "0.6")[i // len(MARKERS) % 3]
        yield {"marker": MARKERS[i % len(MARKERS)], "color": "black", "markerfacecolor": face}


def _by_precision(runs: Sequence[RunRecord]) -> tuple[list[RunRecord], list[RunRecord]]:
    """Those in full precision, and the ternary ones."""
    full = [run for run in runs if run.recipe.quantizer == "none"]
    return full, [run for run in runs if run.recipe.quantizer != "none"]


def _grouped(runs: Sequence[RunRecord], by_growth: bool = False) -> dict[str, list[RunRecord]]:
    groups: dict[str, list[RunRecord]] = {}
    for run in runs:
        grown = by_growth and run.name is None and run.recipe.quantizer == "delta"
        label = run.recipe.growth if grown else run.label
        groups.setdefault(label, []).append(run)
    return groups
