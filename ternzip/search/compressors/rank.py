"""Low rank: a linear layer becomes two, a convolution two convolutions, and the factors are stored in few bits."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ternzip.lowrank.decomposition import triangular
from ternzip.search.compressors.base import CompressedLayer, LayerView, factored, kept_whole
from ternzip.search.compressors.encodings import Encoding, RowTernary, TernaryLevels
from ternzip.search.compressors.single import encoding_of

DENSE_FROM = 0.95
"""From here on theta means: keep the layer as it is."""
_TERNARY_SHARE = 0.7  # threshold of ternary factors in means of abs(w): TWN's, near the least squared error


@dataclass(frozen=True)
class RankCompressor:
    """Rank K from 1 to floor(H W / (H + W)) on a logarithmic scale, and at the top the layer as it is.

    A rank between two whole ones keeps that share of its last component's entries, the largest, so that the
    size of the file moves in small steps. A layer that has no rank to lose is stored whole at any theta.

    Attributes:
        weighting: "plain", "fisher", "activation" or "whitening".
        bits: of the factors, and of a layer kept whole: 4, 6, 8 or 16.
        ternary: make the factors ternary instead (a layer kept whole has `bits`).
        upper: store the second factor upper trapezoidal: K (K - 1) / 2 numbers less to code.
    """

    weighting: str = "plain"
    bits: int = 8
    ternary: bool = False
    upper: bool = False
    name: str = "rank"
    spread: float = 1.0  # a last layer of ten outputs stays whole where the large ones keep a few components
    monotone: bool = True

    def describe(self) -> str:
        """See Compressor."""
        form = "ternary" if self.ternary else f"{self.bits} bits"
        return f"rank({self.weighting}, {form}{', upper' if self.upper else ''})"

    def compress(self, view: LayerView, theta: float) -> CompressedLayer:
        """See Compressor."""
        obstacle = view.obstacle
        if obstacle is not None or theta > DENSE_FROM:
            why = "" if obstacle is None else f" ({obstacle})"
            return kept_whole(view, encoding_of(self.bits), f"whole, {self.bits} bits{why}")
        rank = view.largest_rank ** (theta / DENSE_FROM)
        a, b = view.decomposition(self.weighting).factors(math.ceil(rank - 1e-9))
        _thin_last(a, b, rank)
        form = "ternary" if self.ternary else f"{self.bits} bits"
        label = f"rank {rank:.4g}, {form}"
        if self.ternary:
            return factored(view, *_balanced(a, b), label)
        if self.upper:
            a, b = triangular(a, b)
        encodings = encoding_of(self.bits, axis=1), encoding_of(self.bits, axis=0)
        return factored(view, a, b, encodings, label)


def _thin_last(a: Tensor, b: Tensor, rank: float) -> None:
    """Zeros all but a share of the last component's entries, in place: the part of `rank` beyond a whole one."""
    share = rank - math.floor(rank)
    if share < 1e-9 or a.shape[1] == 1:
        return
    for component in (a[:, -1], b[-1]):
        magnitude = component.abs()
        kept = max(1, math.ceil(share * magnitude.numel()))
        component[magnitude < magnitude.kthvalue(magnitude.numel() - kept + 1).values] = 0.0


def _balanced(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, tuple[Encoding, Encoding]]:
    """Factors whose components all have the same mean magnitude in A, so that one level serves all of A."""
    scale = a.abs().mean(0).clamp_min(torch.finfo(a.dtype).tiny)
    a, b = a / scale, b * scale[:, None]
    whole = TernaryLevels(_TERNARY_SHARE * float(a.abs().mean()))
    # B's rows keep levels of their own; one threshold for all would empty the small ones.
    return a, b, (whole, RowTernary(_TERNARY_SHARE))
