"""One weighted singular value decomposition of a matrix, from which the factors of every rank follow.

W (H x W, outputs by inputs) is replaced by A B, which minimises |S (W - A B) T|_F for invertible S and T:
A B = S^-1 svd_K(S W T) T^-1 (Eckart and Young, applied to S W T).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ternzip._core.errors import TernzipError

LARGE = 4096
"""Matrices whose smaller side exceeds this are decomposed by random projections, up to a bounded rank."""
_LARGE_RANK = 1024
_POWER_ITERATIONS = 4


@dataclass(frozen=True)
class Weighting:
    """What makes some entries of a matrix matter more than others.

    Attributes:
        rows: S as its diagonal, (H,), positive; None for the identity.
        columns: T as its diagonal, (W,), positive, or as a lower triangular matrix, (W, W); None for the identity.
    """

    rows: Tensor | None = None
    columns: Tensor | None = None

    def apply(self, matrix: Tensor) -> Tensor:
        """S matrix T."""
        if self.rows is not None:
            matrix = self.rows.to(matrix)[:, None] * matrix
        if self.columns is not None:
            columns = self.columns.to(matrix)
            matrix = matrix * columns if columns.dim() == 1 else matrix @ columns
        return matrix

    def undo_rows(self, matrix: Tensor) -> Tensor:
        """S^-1 matrix."""
        return matrix if self.rows is None else matrix / self.rows.to(matrix)[:, None]

    def undo_columns(self, matrix: Tensor) -> Tensor:
        """matrix T^-1."""
        if self.columns is None:
            return matrix
        columns = self.columns.to(matrix)
        if columns.dim() == 1:
            return matrix / columns
        solved: Tensor = torch.linalg.solve_triangular(columns, matrix, upper=False, left=False)
        return solved


@dataclass(frozen=True)
class Decomposition:
    """S W T = U diag(s) V^T, with S and T already undone on the outer factors; all float64.

    Attributes:
        left: S^-1 U, (H, r).
        singular: s, (r,), falling.
        right: V^T T^-1, (r, W).
        energy: |S W T|_F^2, which exceeds the sum of s^2 where r was bounded.
    """

    left: Tensor
    singular: Tensor
    right: Tensor
    energy: float

    def factors(self, rank: int) -> tuple[Tensor, Tensor]:
        """A (H, rank) and B (rank, W), with the square roots of the singular values on both sides.

        Raises TernzipError for a rank below 1 or beyond what was decomposed.
        """
        if not 1 <= rank <= len(self.singular):
            raise TernzipError(f"rank: expected 1 to {len(self.singular)}, found {rank}")
        root = self.singular[:rank].sqrt()
        return self.left[:, :rank] * root, root[:, None] * self.right[:rank]

    def weighted_error(self, rank: int) -> float:
        """|S (W - A B) T|_F / |S W T|_F at that rank, by the singular values that are left out."""
        if not self.energy:
            return 0.0
        kept = float(self.singular[:rank].square().sum())
        return math.sqrt(max(0.0, 1.0 - kept / self.energy))


def decompose(matrix: Tensor, weighting: Weighting | None = None) -> Decomposition:
    """The weighted SVD of a matrix (H, W) of any float type; computed in float64.

    Raises TernzipError for a matrix that holds NaN or infinity.
    """
    weighting = weighting or Weighting()
    weighted = weighting.apply(matrix.detach().to("cpu", torch.float64))
    if not bool(weighted.isfinite().all()):
        raise TernzipError("low rank: expected finite weights and weighting, found NaN or infinity")
    if min(weighted.shape) > LARGE:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # the projections are random, the result must not be
            u, s, v = torch.svd_lowrank(weighted, q=_LARGE_RANK, niter=_POWER_ITERATIONS)
        vh = v.T
    else:
        u, s, vh = torch.linalg.svd(weighted, full_matrices=False)
    energy = float(weighted.square().sum())
    return Decomposition(weighting.undo_rows(u), s, weighting.undo_columns(vh), energy)


def triangular(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The same product with an upper trapezoidal second factor: K (K - 1) / 2 of its numbers are zero.

    A B = (A Q) R for B = Q R (Golub and Van Loan, 5.4.1). A: (H, K), B: (K, W), K <= W.
    """
    q, r = torch.linalg.qr(b)
    return a @ q, r.triu()
