"""Search for the best network of a file's size: Bayesian optimisation over what may be done to each layer.

`search` needs BoTorch and Optuna: pip install 'ternzip[search]'. Its files load without them, by
`ternzip.lowrank.load_compressed`.
"""

from ternzip._core.text import parse_size
from ternzip.search.report import draw, markdown, write_report
from ternzip.search.result import Score, SearchResult, Visited
from ternzip.search.run import search
from ternzip.search.size import Coder

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
