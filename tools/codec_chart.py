"""Draws what bench_codec.py measured: size against decode speed, a panel for each input.

python tools/codec_chart.py [docs/benchmarks/codec.json [docs/benchmarks/codec.svg]]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from ternzip.io.pictures import write_figure

# What a coder's name begins with, its label, its marker, and whether the marker is filled: told apart without colour.
# `packed` has none: at 1.6 bits everywhere it would press all others against the edge of most panels.
FAMILIES = (
    ("ternzip context", "ternzip context, efforts 1 to 3", "o", True),
    ("ternzip fast", "ternzip fast", "^", True),
    ("ternzip static", "ternzip static", "s", True),
    ("NNCodec", "NNCodec", "o", False),
    ("TMQ", "TMQ", "P", False),
    ("brotli", "brotli -11", "^", False),
    ("zstd", "zstd -19", "v", False),
    ("xz", "xz -9e", "s", False),
    ("constriction", "constriction", "D", False),
)
# Text stays text, in whatever sans serif the viewer has; the same figures give the same bytes.
STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9,
}
DEFAULTS = (Path("docs/benchmarks/codec.json"), Path("docs/benchmarks/codec.svg"))
CHARTED_WEIGHTS = 4_300_000  # of the synthetic tensors, those in which every coder took part


def charted(sections: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that get a panel."""
    rows = [row for name in ("checkpoints", "networks") for row in sections.get(name, {}).get("results", [])]
    synthetic = sections.get("independent", {}).get("results", [])
    return rows + [row for row in synthetic if row["weights"] == CHARTED_WEIGHTS]


def points(row: dict[str, Any], prefix: str) -> list[tuple[float, float]]:
    """(decode speed, bits per weight) of a family: all efforts of ternzip's, the smallest variant of others."""
    found = [coder for name, coder in row["coders"].items() if name.startswith(prefix)]
    if found and not prefix.startswith("ternzip"):
        found = [min(found, key=lambda coder: coder["bits_per_weight"])]
    return sorted((coder["decode_per_second"], coder["bits_per_weight"]) for coder in found)


def draw(sections: dict[str, dict[str, Any]], path: Path) -> None:
    """Writes an SVG, whole or not at all; nothing where there is nothing to draw."""
    import matplotlib

    rows = charted(sections)
    if not rows:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(STYLE):
        write_figure(chart(rows), path)


def chart(rows: list[dict[str, Any]]) -> Any:
    """The figure: three panels a line, all over one range of speeds."""
    from matplotlib.figure import Figure

    columns = min(3, len(rows))
    lines = -(-len(rows) // columns)
    height = 2.6 * lines + 1.1
    figure = Figure(figsize=(4.0 * columns, height))
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True)
    for axis, row in zip(axes.flat, rows, strict=False):
        _panel(axis, row)
    for axis in axes.flat[len(rows) :]:
        axis.remove()
    for axis in axes.flat[: len(rows)][-columns:]:
        axis.set_xlabel("decoding, 10⁶ weights/s on one core", fontsize=8)
        axis.tick_params(labelbottom=True)
    for axis in axes[:, 0]:
        axis.set_ylabel("bits per weight", fontsize=8)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=min(4, 2 * columns), frameon=False, fontsize=8)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.75 / height))
    return figure


def _panel(axis: Any, row: dict[str, Any]) -> None:
    axis.axhline(
        row["entropy_bits_per_weight"], color="0.5", linewidth=0.9, linestyle="--", label="order-0 entropy"
    )
    for prefix, label, marker, filled in FAMILIES:
        found = points(row, prefix)
        axis.plot(
            [speed / 1e6 for speed, _ in found],
            [bits for _, bits in found],
            label=label,
            marker=marker,
            markersize=6,
            color="black",
            markerfacecolor="black" if filled else "white",
            linewidth=0.8,
            linestyle="-" if len(found) > 1 else "none",
        )
    axis.set_xscale("log")
    axis.minorticks_off()
    axis.set_title(
        f"{row['input']}\n{row['weights']:,} weights, {100 * row['zeros']:.1f} % zeros", fontsize=8
    )
    # Each tick is half a kilobyte: grid lines alone show where it is, and a few are enough.
    axis.tick_params(length=0, labelsize=7)
    axis.locator_params(axis="y", nbins=4)
    axis.grid(color="0.9", linewidth=0.5)
    axis.set_axisbelow(True)


if __name__ == "__main__":
    given = [Path(argument) for argument in sys.argv[1:]]
    source, target = [*given, *DEFAULTS[len(given) :]]
    draw(json.loads(source.read_text(encoding="utf-8"))["sections"], target)
