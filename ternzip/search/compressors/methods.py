"""Compressors by name, for the command line."""

from __future__ import annotations

from collections.abc import Callable

from ternzip._core.errors import TernzipError
from ternzip.lowrank.statistics import WEIGHTINGS
from ternzip.search.choices import METHODS
from ternzip.search.compressors.base import Compressor
from ternzip.search.compressors.frontier import Frontier
from ternzip.search.compressors.rank import RankCompressor
from ternzip.search.compressors.single import BitsCompressor, PruneCompressor, TernaryCompressor


def _all() -> Compressor:
    return Frontier(
        (
            TernaryCompressor(),
            TernaryCompressor(per_row=True),
            PruneCompressor(bits=4),
            PruneCompressor(bits=6),
            RankCompressor("activation", bits=8),
            RankCompressor("activation", bits=6),
            RankCompressor("activation", ternary=True),
            BitsCompressor(),
        )
    )


_MADE: dict[str, Callable[[], Compressor]] = {
    "all": _all,
    "ternary": TernaryCompressor,
    "ternary-row": lambda: TernaryCompressor(per_row=True),
    "rank": RankCompressor,
    "rank-fisher": lambda: RankCompressor("fisher"),
    "rank-activation": lambda: RankCompressor("activation"),
    "rank-whitening": lambda: RankCompressor("whitening"),
    "rank-ternary": lambda: RankCompressor(ternary=True),
    "prune": PruneCompressor,
    "bits": BitsCompressor,
}


def method(name: str) -> Compressor:
    """The compressor of that name, of METHODS, with its default settings; raises TernzipError for another name."""
    if name not in _MADE:
        raise TernzipError(f"method: expected one of {', '.join(METHODS)}, found {name!r}")
    return _MADE[name]()


def weightings(compressor: Compressor) -> set[str]:
    """Of the SVDs that the compressor may ask for; empty for one that leaves every layer one layer."""
    if isinstance(compressor, RankCompressor):
        return {compressor.weighting}
    if isinstance(compressor, Frontier):
        return set().union(*(weightings(one) for one in compressor.compressors))
    if isinstance(compressor, TernaryCompressor | PruneCompressor | BitsCompressor):
        return set()
    return set(WEIGHTINGS) - {"fisher"}  # a user's own: all that needs no gradients
