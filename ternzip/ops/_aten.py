"""The reference: every operation as plain aten calls, for any device.

`ternzip.ops` falls back to these wherever the native kernels do not reach, so the results are the same bits. A
ternarizer is that of one weight here, its scalars 0-d; they are rounded to the weight's dtype before use, which is
what aten does with a Python scalar.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ternzip.ops._ternarizer import Ternarizer, scalar_dtype


def sides(w: Tensor, t: Ternarizer) -> tuple[Tensor, Tensor]:
    """Where w is below lo, and where above hi; above wins where thresholds cross."""
    above = w > t.hi.to(w.dtype)
    return (w < t.lo.to(w.dtype)) & ~above, above


def quantize(w: Tensor, t: Ternarizer) -> Tensor:
    """pos where w > hi, neg where w < lo, NaN where w is NaN, +0 elsewhere (Eq. 5 for lo = -D, hi = D)."""
    below, above = sides(w, t)
    kept = torch.where(w.isnan(), w, 0.0)
    return torch.where(above, t.pos.to(w), torch.where(below, t.neg.to(w), kept))


def trits(w: Tensor, t: Ternarizer) -> Tensor:
    """The symbols themselves as int8, 0 where w is NaN."""
    below, above = sides(w, t)
    return above.to(torch.int8) - below.to(torch.int8)


def count(w: Tensor, t: Ternarizer) -> Tensor:
    """(negative, zero, positive, invalid) of quantize(w, t), int64, on w's device."""
    below, above = sides(w, t)
    return _counts(w, below.sum(), above.sum())


def count_signs(values: Tensor) -> Tensor:
    """(negative, zero, positive, invalid) by sign, int64, of any floating-point or integer dtype."""
    if values.dtype.is_floating_point:
        values = values.float() if values.dtype.itemsize == 1 else values  # float8 has no comparisons
        return _counts(values, (values < 0).sum(), (values > 0).sum())
    if values.dtype.is_signed:
        return _counts(values, (values < 0).sum(), (values > 0).sum())
    # Wide unsigned integers have few operations of their own; the signed ones tell zero as well.
    signed = {2: torch.int16, 4: torch.int32, 8: torch.int64}.get(values.dtype.itemsize)
    values = values if signed is None else values.view(signed)
    positive = (values != 0).sum()
    return _counts(values, torch.zeros_like(positive), positive)


def _counts(values: Tensor, negative: Tensor, positive: Tensor) -> Tensor:
    invalid = values.isnan().sum()
    return torch.stack([negative, values.numel() - negative - positive - invalid, positive, invalid])


def saturation(w: Tensor, ste: str, bound: float) -> Tensor:
    """Where the straight-through estimator lets the gradient pass: 1[|w| <= bound], never at a NaN."""
    if ste == "closed":
        return w.abs() <= bound
    if ste == "open":
        return w.abs() < bound
    return ~w.isnan()


def backward(grad: Tensor, w: Tensor, t: Ternarizer) -> Tensor:
    """The gradient of w (Eq. 2); "scaled" multiplies it by the level's magnitude where a level was chosen."""
    if t.ste == "scaled":
        below, above = sides(w, t)
        scaled = torch.where(below, grad * -t.neg.to(w.dtype), grad)
        grad = torch.where(above, grad * t.pos.to(w.dtype), scaled)
    return torch.where(saturation(w, t.ste, t.bound), grad, 0.0)


def level_gradients(grad: Tensor, w: Tensor, t: Ternarizer) -> Tensor:
    """Gradients of (neg, pos), of shape (2,): the sums of grad over the elements that took them, wide."""
    below, above = sides(w, t)
    wide = grad.to(scalar_dtype(grad.device))
    return torch.stack([torch.where(below, wide, 0.0).sum(), torch.where(above, wide, 0.0).sum()])


def ternarize_differentiably(weights: Sequence[Tensor], t: Ternarizer) -> tuple[list[Tensor], Tensor]:
    """Quantized weights and counts, the estimator written so that any transform of plain aten finds it.

    w - w.detach() is zero with a gradient; added where the estimator passes, it changes no value.
    """
    outs, counts = [], []
    for i, w in enumerate(weights):
        own = t.at(i)
        fixed = own.map(Tensor.detach)
        values = w.detach()
        finite = values.isfinite()
        tangent = torch.where(finite, w, 0.0) - torch.where(finite, values, 0.0)
        outs.append(quantize(values, own) + backward(tangent, values, fixed))
        counts.append(count(values, own))
    return outs, torch.stack(counts)
