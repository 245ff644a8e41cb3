"""Search for the best network of a file's size: Bayesian optimisation over what may be done to each layer.

`search` needs BoTorch and Optuna: pip install 'ternzip[search]'. Its files load without them, by
`ternzip.lowrank.load_compressed`. Names are loaded when they are first used: `ternzip.search.choices` serves command
lines that do without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ternzip._core.lazy import lazy_names
from ternzip._core.text import parse_size

if TYPE_CHECKING:
    from ternzip.search.report import draw, markdown, write_report
    from ternzip.search.result import Score, SearchResult, Visited
    from ternzip.search.run import search
    from ternzip.search.size import Coder

_HOMES = {
    "Coder": "size",
    "Score": "result",
    "SearchResult": "result",
    "Visited": "result",
    "draw": "report",
    "markdown": "report",
    "search": "run",
    "write_report": "report",
}

__all__ = [
    "Coder",
    "Score",
    "SearchResult",
    "Visited",
    "draw",
    "markdown",
    "parse_size",
    "search",
    "write_report",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
