"""Low-rank factors of trained layers: two linear layers, or two convolutions, instead of one."""

from ternzip.lowrank.decomposition import Decomposition, Weighting, decompose, triangular
from ternzip.lowrank.layers import LowRank, factor_pair, factorize, largest_rank, matrix_of
from ternzip.lowrank.statistics import LayerStatistics, collect_statistics, weighting
from ternzip.lowrank.stored import (
    METADATA_KEY,
    Description,
    decode,
    load_compressed,
    read_description,
    rebuild,
)

__all__ = [
    "METADATA_KEY",
    "Decomposition",
    "Description",
    "LayerStatistics",
    "LowRank",
    "Weighting",
    "collect_statistics",
    "decode",
    "decompose",
    "factor_pair",
    "factorize",
    "largest_rank",
    "load_compressed",
    "matrix_of",
    "read_description",
    "rebuild",
    "triangular",
    "weighting",
]
