"""The reference: every operation as plain aten calls, for any device and any floating-point dtype.

`ternzip.ops` falls back to these wherever the native kernels do not reach, so the results are the same bits.
Thresholds and levels are 0-d tensors here; they are rounded to the weight's dtype before use, which is what
aten does with a Python scalar.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def at(value: Tensor, index: int) -> Tensor:
    """The scalar of one weight: the 0-d tensor that serves all, or its entry."""
    return value if value.dim() == 0 else value[index]


def quantize(w: Tensor, lo: Tensor, hi: Tensor, neg: Tensor, pos: Tensor) -> Tensor:
    """pos where w > hi, neg where w < lo, NaN where w is NaN, +0 elsewhere (Eq. 5 for lo = -D, hi = D)."""
    lo, hi, neg, pos = (value.to(w) for value in (lo, hi, neg, pos))
    kept = torch.where(w.isnan(), w, 0.0)
    return torch.where(w > hi, pos, torch.where(w < lo, neg, kept))


def trits(w: Tensor, lo: Tensor, hi: Tensor) -> Tensor:
    """The symbols themselves as int8, 0 where w is NaN."""
    above = (w > hi.to(w.dtype)).to(torch.int8)
    # w > hi wins where thresholds cross, as in quantize.
    return torch.where(above == 1, above, -(w < lo.to(w.dtype)).to(torch.int8))


def count(w: Tensor, lo: Tensor, hi: Tensor) -> Tensor:
    """(negative, zero, positive, invalid) of quantize(w), int64, on w's device."""
    above = w > hi.to(w.dtype)
    positive = above.sum()
    negative = ((w < lo.to(w.dtype)) & ~above).sum()
    invalid = w.isnan().sum()
    return torch.stack([negative, w.numel() - negative - positive - invalid, positive, invalid])


def saturation(w: Tensor, ste: str, bound: float) -> Tensor:
    """Where the straight-through estimator lets the gradient pass: 1[|w| <= bound], never at a NaN."""
    if ste == "closed":
        return w.abs() <= bound
    if ste == "open":
        return w.abs() < bound
    return ~w.isnan()


def backward(
    grad: Tensor, w: Tensor, lo: Tensor, hi: Tensor, neg: Tensor, pos: Tensor, *, ste: str, bound: float
) -> Tensor:
    """The gradient of w (Eq. 2); "scaled" multiplies it by the level's magnitude where a level was chosen."""
    if ste == "scaled":
        above = w > hi.to(w.dtype)
        below = w < lo.to(w.dtype)
        scaled = torch.where(below, grad * -neg.to(w.dtype), grad)
        grad = torch.where(above, grad * pos.to(w.dtype), scaled)
    return torch.where(saturation(w, ste, bound), grad, 0.0)


def level_gradients(grad: Tensor, w: Tensor, lo: Tensor, hi: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of (neg, pos): the sums of grad over the elements that took them, float64."""
    above = w > hi.to(w.dtype)
    below = (w < lo.to(w.dtype)) & ~above
    wide = grad.to(torch.float64)
    return torch.where(below, wide, 0.0).sum(), torch.where(above, wide, 0.0).sum()


def ternarize_many(
    weights: Sequence[Tensor], lo: Tensor, hi: Tensor, neg: Tensor, pos: Tensor, *, ste: str, bound: float
) -> tuple[list[Tensor], Tensor]:
    """Quantized weights and counts, the estimator written so that any transform of plain aten finds it.

    w - w.detach() is zero with a gradient; added where the estimator passes, it changes no value.
    """
    outs, counts = [], []
    for i, w in enumerate(weights):
        here = [at(value, i) for value in (lo, hi, neg, pos)]
        still = w.detach()
        tangent = torch.where(still.isfinite(), w, 0.0) - torch.where(still.isfinite(), still, 0.0)
        passed = backward(tangent, still, *(value.detach() for value in here), ste=ste, bound=bound)
        outs.append(quantize(still, *here) + passed)
        counts.append(count(still, *here[:2]))
    return outs, torch.stack(counts)
