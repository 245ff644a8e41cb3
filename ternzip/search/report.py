"""What a search found, for people and for programs: Markdown, JSON and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ternzip._core.errors import TernzipError
from ternzip._core.text import json_text
from ternzip._version import __version__
from ternzip.io.atomic import atomic_file
from ternzip.io.pictures import write_figure
from ternzip.search.result import Score, SearchResult

VERSION = 1


def to_dict(result: SearchResult) -> dict[str, Any]:
    """Everything but the network itself, ready for JSON."""
    return {
        "version": VERSION,
        "ternzip": __version__,
        "target_bytes": result.target,
        "bytes": result.bytes,
        "share_of_float32": result.bytes / result.dense.bytes,
        "dense": asdict(result.dense),
        "best": asdict(result.best),
        "uniform": asdict(result.uniform),
        "finetuned": None if result.finetuned is None else asdict(result.finetuned),
        "certificate": None if result.certificate is None else result.certificate.to_dict(),
        "confirmations": [confirmation.to_dict() for confirmation in result.confirmations],
        "layers": [
            {
                "name": name,
                "theta": result.theta[name],
                "what": layer.label,
                "error": layer.error,
                "weighted_error": layer.weighted_error,
            }
            for name, layer in result.network.layers.items()
        ],
        "parameters": result.parameters,
        "chosen": list(result.chosen),
        "runoff": [
            {
                "point": list(finalist.point),
                **asdict(finalist.evaluation),
                "posterior_mean": finalist.expected,
            }
            for finalist in result.runoff
        ],
        "visited": [
            {
                "number": visited.number,
                "point": list(visited.point),
                **asdict(visited.evaluation),
                "posterior_mean": visited.mean,
                "posterior_deviation": visited.deviation,
            }
            for visited in result.visited
        ],
        "notes": list(result.notes),
        "settings": dict(result.settings),
        "seconds": result.seconds,
    }


def markdown(result: SearchResult, picture: str | None = None) -> str:
    """The report as a text; `picture` is the name of the image it shows."""
    lines = [
        "# Search",
        "",
        f"{result.bytes:,} bytes, {result.bytes / result.dense.bytes:.2%} of {result.dense.bytes:,} in float32"
        + ("." if result.target is None else f"; {result.target:,} were asked for."),
        "",
        "| network | bytes | L on held-out samples | accuracy |",
        "|---|---|---|---|",
        _row("original", result.dense),
        _row("uniform setting of the same size", result.uniform),
        _row("found", result.best),
    ]
    if result.finetuned is not None:
        lines.append(
            _row(f"after {result.settings['finetune_epochs']} epochs of fine-tuning", result.finetuned)
        )
    lines += ["", _certainty(result), "", *_runoff(result)]
    if picture is not None:
        lines += [f"![every visited setting]({picture})", ""]
    lines += ["| layer | theta | what | error | weighted error |", "|---|---|---|---|---|"]
    lines += [
        f"| {name} | {result.theta[name]:.3f} | {layer.label} | {layer.error:.2%} | {layer.weighted_error:.2%} |"
        for name, layer in result.network.layers.items()
    ]
    lines += [
        "",
        "Errors are relative Frobenius errors of a layer's matrix; weighted ones by the root mean square of its inputs "
        "to the power 1/2. Layers that are not listed are stored with 8 bits a weight, vectors with 16.",
        "",
        *(line for note in result.notes for line in (f"{note}.", "")),
        "Batch norm was estimated anew after every compression, on unlabelled samples; it costs nothing in the file."
        if result.settings["batch_norm_estimated_anew"]
        else "Batch norm was left as it is.",
        "",
        f"{len(result.visited)} evaluations; this call took {result.seconds:.1f} s. Settings: "
        + ", ".join(f"{key} {value}" for key, value in result.settings.items())
        + ".",
        "",
    ]
    return "\n".join(lines)


def _row(name: str, score: Score) -> str:
    right = "" if score.accuracy is None else f"{score.accuracy:.2%}"
    return f"| {name} | {score.bytes:,} | {score.loss:.4f} +- {score.standard_error:.4f} | {right} |"


def _certainty(result: SearchResult) -> str:
    if result.certificate is not None:
        return f"Certificate: {result.certificate.words()}"
    return f"No certificate: {why_no_certificate(result)}."


def why_no_certificate(result: SearchResult) -> str:
    """Why a result has none, as part of a sentence."""
    settings = result.settings
    if not result.parameters:
        return "nothing was left to choose, there is one setting"
    if settings["engine"] != "pac":
        return f"the engine {settings['engine']} issues none"
    if not settings["set_aside"]:
        return "too few samples to set some aside for a confirmation"
    if settings["epsilon"] == 0:
        return "no model is as sure as epsilon 0 asks for"
    failed = sum(not c.held for c in result.confirmations)
    otherwise = f"; {failed} times it was, and samples set aside said otherwise" if failed else ""
    if len(result.visited) < settings["trials"]:  # type: ignore[operator]
        return f"the time was over before the model was sure{otherwise}"
    return f"the evaluations were over before the model was sure{otherwise}; more of them may make it so"


def _runoff(result: SearchResult) -> list[str]:
    if not result.runoff:
        return []
    samples = result.runoff[0].evaluation.loss.samples
    lines = [
        f"The runoff, on {samples} samples that all finalists share; its winner is what was found:",
        "",
        "| point | the model expected J | found J | standard error | bytes |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {', '.join(f'{x:.3f}' for x in finalist.point)} | {finalist.expected:.4f} | "
        f"{finalist.evaluation.value:.4f} | {finalist.evaluation.noise**0.5:.4f} | {finalist.evaluation.bytes:,} |"
        for finalist in result.runoff
    ]
    return [*lines, ""]


def write_report(result: SearchResult, stem: str | Path) -> list[Path]:
    """Writes STEM.md, STEM.json and, where matplotlib is installed, STEM.svg; returns what was written."""
    stem = Path(stem)
    picture: Path | None = Path(f"{stem}.svg")
    assert picture is not None
    try:
        draw(result, picture)
    except ImportError:
        picture = None
    texts = {
        Path(f"{stem}.md"): markdown(result, picture.name if picture else None),
        Path(f"{stem}.json"): json_text(to_dict(result), 1),
    }
    for path, text in texts.items():
        with atomic_file(path) as stream:
            stream.write(text.encode())
    return [*texts, *([picture] if picture else [])]


def draw(result: SearchResult, path: str | Path) -> None:
    """Size against accuracy (or L) of every visited setting, and J over the evaluations; .svg or .png.

    Raises TernzipError for another suffix, ImportError without matplotlib.
    """
    from matplotlib.figure import Figure

    path = Path(path)
    if path.suffix not in (".svg", ".png"):
        raise TernzipError(f"{path}: expected a picture's name to end in .svg or .png")
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_sizes(left, result)
    _draw_values(right, result)
    write_figure(figure, path)


def _draw_sizes(axis: Any, result: SearchResult) -> None:
    labelled = result.dense.accuracy is not None

    def height(score: Score) -> float:
        return 100 * score.accuracy if score.accuracy is not None else score.loss

    visited = [v.evaluation for v in result.visited]
    sizes = np.array([e.bytes for e in visited]) / 1000
    heights = [100 * (e.accuracy or 0.0) if labelled else e.loss.value for e in visited]
    count = result.settings["samples_per_evaluation"]
    axis.scatter(
        sizes, heights, s=22, facecolor="white", edgecolor="0.4", label=f"visited ({count} samples each)"
    )
    style: Mapping[str, Any] = {"linestyle": "", "markersize": 9, "color": "black"}
    axis.plot(
        result.uniform.bytes / 1000, height(result.uniform), marker="s", label="uniform, held out", **style
    )
    axis.plot(result.best.bytes / 1000, height(result.best), marker="*", label="found, held out", **style)
    if result.finetuned is not None:
        axis.plot(
            result.finetuned.bytes / 1000,
            height(result.finetuned),
            marker="^",
            label="fine-tuned, held out",
            **style,
        )
    axis.axhline(height(result.dense), color="0.4", linestyle="--", linewidth=1, label="original")
    if result.target is not None:
        axis.axvline(result.target / 1000, color="0.4", linestyle=":", linewidth=1, label="size asked for")
        spread = max(abs(sizes - result.target / 1000).max(), 0.01 * result.target / 1000)
        axis.set_xlim(result.target / 1000 - 1.2 * spread, result.target / 1000 + 0.3 * spread)
    axis.set(xlabel="file, KB", ylabel="accuracy, %" if labelled else "L")
    axis.grid(color="0.9")
    axis.legend(fontsize="small")


def _draw_values(axis: Any, result: SearchResult) -> None:
    numbers = [v.number for v in result.visited]
    values = [v.evaluation.value for v in result.visited]
    errors = [v.evaluation.noise**0.5 for v in result.visited]
    axis.errorbar(
        numbers, values, errors, linestyle="", marker="o", markersize=4, color="0.5", label="observed, 1 s.e."
    )
    modelled = [v for v in result.visited if v.mean is not None and v.deviation is not None]
    if modelled:
        axis.errorbar(
            [v.number + 0.25 for v in modelled],
            [v.mean for v in modelled],
            [2 * (v.deviation or 0.0) for v in modelled],
            linestyle="",
            marker="_",
            color="black",
            linewidth=1,
            label="posterior, 2 s.d.",
        )
    chosen = [v for v in result.visited if v.point == result.chosen]
    if chosen:
        best = chosen[0]
        value = best.evaluation.value if best.mean is None else best.mean
        axis.plot(best.number, value, marker="*", markersize=12, linestyle="", color="black", label="found")
    axis.set(xlabel="evaluation", ylabel="J")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(color="0.9")
    axis.legend(fontsize="small")
