"""What can be done to a layer, as functions of numbers in [0, 1]: 0 makes the smallest file, 1 the largest."""

from ternzip.search.choices import METHODS
from ternzip.search.compressors.base import CompressedLayer, Compressor, LayerView, compress_layer
from ternzip.search.compressors.encodings import Codes, Encoded, Encoding, Half, Plain, TernaryLevels
from ternzip.search.compressors.frontier import Frontier
from ternzip.search.compressors.methods import method
from ternzip.search.compressors.rank import RankCompressor
from ternzip.search.compressors.single import BitsCompressor, PruneCompressor, TernaryCompressor

__all__ = [
    "METHODS",
    "BitsCompressor",
    "Codes",
    "CompressedLayer",
    "Compressor",
    "Encoded",
    "Encoding",
    "Frontier",
    "Half",
    "LayerView",
    "Plain",
    "PruneCompressor",
    "RankCompressor",
    "TernaryCompressor",
    "TernaryLevels",
    "compress_layer",
    "method",
]
