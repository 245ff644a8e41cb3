"""Derivatives beyond the first backward pass, in plain aten, so that every further order follows.

The first backward pass is a kernel of its own. It and what stands here agree on one rule: an estimator scales every
element by itself, levels get the sums over the elements that took them, and the weights only choose between pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ternzip.ops import _aten
from ternzip.ops._ternarizer import Ternarizer


def remember(ctx: Any, t: Ternarizer, *tensors: Tensor) -> None:
    """Saves what `recall` gives back, in an autograd context."""
    ctx.ste, ctx.bound = t.ste, t.bound
    ctx.save_for_backward(*t.scalars, *tensors)
    ctx.save_for_forward(*t.scalars, *tensors)


def recall(ctx: Any) -> tuple[Ternarizer, tuple[Tensor, ...]]:
    """What `remember` kept: the ternarizer and the tensors."""
    lo, hi, neg, pos, *tensors = ctx.saved_tensors
    return Ternarizer(lo, hi, neg, pos, ctx.ste, ctx.bound), tuple(tensors)


def split_levels(pairs: Tensor, t: Ternarizer, levels: bool) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of (neg, pos) from a pair a weight: summed for a level that serves all; None unless `levels`."""
    if not levels:
        return None, None
    of_neg, of_pos = pairs.unbind(1)
    return of_neg.sum() if t.neg.dim() == 0 else of_neg, of_pos.sum() if t.pos.dim() == 0 else of_pos


def double_backward(
    latent: Sequence[Tensor],
    pairs: Tensor,
    grads: Sequence[Tensor],
    weights: Sequence[Tensor],
    t: Ternarizer,
    levels: bool,
) -> tuple[list[Tensor], Tensor | None, Tensor | None]:
    """Gradients of (grads, neg, pos), when `latent` and `pairs` are those of the backward pass's two results.

    Both results are linear in the incoming gradients and ("scaled") in the levels.
    """
    of_grads, of_levels = [], []
    for i, (v, grad, w) in enumerate(zip(latent, grads, weights, strict=True)):
        own = t.at(i)
        back = _aten.backward(v, w, own)
        of_grads.append(back + _taken(w, own, pairs[i, 0], pairs[i, 1]) if levels else back)
        if t.ste == "scaled":
            of_neg, of_pos = _aten.level_gradients(v * grad, w, own)
            of_levels.append(torch.stack([-of_neg, of_pos]))
    if t.ste != "scaled":
        return of_grads, None, None
    return of_grads, *split_levels(torch.stack(of_levels), t, True)


def forward_tangents(
    of_weights: Sequence[Tensor | None],
    of_neg: Tensor | None,
    of_pos: Tensor | None,
    weights: Sequence[Tensor],
    t: Ternarizer,
) -> list[Tensor]:
    """Forward mode: one tangent for each quantized weight.

    The estimator scales every element by itself, so its Jacobian is its own transpose.
    """
    outs = []
    for i, (v, w) in enumerate(zip(of_weights, weights, strict=True)):
        own = t.at(i)
        out = _aten.backward(torch.zeros_like(w) if v is None else v, w, own)
        outs.append(out + _taken(w, own, _at(of_neg, i), _at(of_pos, i)))
    return outs


def backward_tangents(
    of_grads: Sequence[Tensor | None],
    of_neg: Tensor | None,
    of_pos: Tensor | None,
    grads: Sequence[Tensor],
    weights: Sequence[Tensor],
    t: Ternarizer,
    levels: bool,
) -> tuple[list[Tensor], Tensor]:
    """Forward mode over the backward pass: tangents of its two results."""
    latent, pairs = [], []
    for i, (v, grad, w) in enumerate(zip(of_grads, grads, weights, strict=True)):
        own = t.at(i)
        v = torch.zeros_like(w) if v is None else v
        out = _aten.backward(v, w, own)
        if t.ste == "scaled":
            neg = _at(of_neg, i)
            out = out + grad * _taken(w, own, neg if neg is None else -neg, _at(of_pos, i))
        latent.append(out)
        sums = _aten.level_gradients(v, w, own)
        pairs.append(sums if levels else torch.zeros_like(sums))
    return latent, torch.stack(pairs)


def _at(tangent: Tensor | None, index: int) -> Tensor | None:
    return tangent if tangent is None or tangent.dim() == 0 else tangent[index]


def _taken(w: Tensor, t: Ternarizer, neg: Tensor | None, pos: Tensor | None) -> Tensor:
    """neg or pos where w takes that level, else 0; None stands for 0."""
    below, above = _aten.sides(w, t)
    zero = torch.zeros((), dtype=w.dtype, device=w.device)
    neg, pos = (zero if level is None else level.to(w.dtype) for level in (neg, pos))
    return torch.where(above, pos, torch.where(below, neg, zero))
