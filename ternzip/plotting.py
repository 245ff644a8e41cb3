"""The paper's figures, drawn to stay readable in black and white: greys, hatches, line styles, markers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ternzip.errors import TernzipError

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
            axis.bar(
                edges[:-1],
                part,
                width=np.diff(edges),
                bottom=below,
                align="edge",
                color=grey,
                hatch=hatch,
                edgecolor="black",
                linewidth=0.3,
                label=f"{symbol}: {zone.mean():.1%}",
            )
            below = below + part
        for x in (-delta, delta):
            axis.axvline(x, color="black", linestyle="--", linewidth=1)
        axis.set(title=f"{name}, Delta = {delta:.3f}", xlabel="latent weight", yscale="log")
        axis.legend(title="symbol: share", fontsize="small")
    axes[0][0].set_ylabel("share of weights")
    return figure
