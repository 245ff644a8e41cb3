"""Low-rank factors of trained layers: two linear layers, or two convolutions, instead of one."""

from ternzip._core.extras import require

require("ternzip.lowrank", "torch", "torch")

from ternzip.lowrank.batch_norm import affine_batch_norm, estimate_batch_norm, trainable_batch_norm
from ternzip.lowrank.decomposition import Decomposition, Weighting, decompose, triangular
from ternzip.lowrank.layers import LowRank, factor_pair, factorize, largest_rank, matrix_of
from ternzip.lowrank.norm_folding import fold_batch_norm
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
    "affine_batch_norm",
    "collect_statistics",
    "decode",
    "decompose",
    "estimate_batch_norm",
    "factor_pair",
    "factorize",
    "fold_batch_norm",
    "largest_rank",
    "load_compressed",
    "matrix_of",
    "read_description",
    "rebuild",
    "trainable_batch_norm",
    "triangular",
    "weighting",
]
