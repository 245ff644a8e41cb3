"""Pictures on disk, by matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ternzip.io.atomic import atomic_path

# What vector formats would hold of the moment at which they are written.
_UNDATED = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}


def write_figure(figure: Any, path: Path) -> None:
    """Save a figure (the suffix says the format: .png, .svg, .pdf), whole or not at all.

    The same figure makes the same bytes: vector formats hold no date, and no names drawn at random.
    """
    from matplotlib import rc_context

    with atomic_path(path) as temporary, rc_context({"svg.hashsalt": "ternzip"}):
        figure.savefig(temporary, format=path.suffix[1:], dpi=150, metadata=_UNDATED.get(path.suffix))
