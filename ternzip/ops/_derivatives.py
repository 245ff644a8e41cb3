"""Derivatives of the operators beyond the first backward pass, in plain aten, so that every further order follows.

The first backward pass is a kernel of its own (`ternzip.ops._operators`). It and what stands here agree on one rule: an
estimator scales every element by itself, levels get the sums over the elements that took them, and the weights only
choose between pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ternzip.ops import _composite as composite


def split_levels(
    pairs: Tensor, neg: Tensor, pos: Tensor, levels: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of (neg, pos) from a pair a weight: summed for a level that serves all; None unless `levels`."""
    if not levels:
        return None, None
    grad_neg, grad_pos = (
        column.sum() if level.dim() == 0 else column
        for column, level in zip(pairs.unbind(1), (neg, pos), strict=True)
    )
    return grad_neg, grad_pos


def double_backward(ctx: Any, latent: Sequence[Tensor], pairs: Tensor) -> tuple[Any, ...]:
    """What ternarize_many_backward's autograd returns for `latent` and `pairs`, the gradients of its two results.

    Both are linear in the incoming gradients and ("scaled") in the levels.
    """
    lo, hi, neg, pos, *both = ctx.saved_tensors
    grads, weights = both[: ctx.count], both[ctx.count :]
    grad_grads, negs, poss = [], [], []
    for i, (v, grad, w) in enumerate(zip(latent, grads, weights, strict=True)):
        here = [composite.at(value, i) for value in (lo, hi, neg, pos)]
        back = composite.backward(v, w, *here, ste=ctx.ste, bound=ctx.bound)
        if ctx.levels:
            back = back + _taken(w, here[0], here[1], pairs[i, 0], pairs[i, 1])
        grad_grads.append(back)
        if ctx.ste == "scaled":
            of_neg, of_pos = composite.level_gradients(v * grad, w, *here[:2])
            negs.append(-of_neg)
            poss.append(of_pos)
    grad_neg = grad_pos = None
    if ctx.ste == "scaled":
        pairs = torch.stack([torch.stack(negs), torch.stack(poss)], dim=1)
        grad_neg, grad_pos = split_levels(pairs, neg, pos, True)
    return grad_grads, [None] * ctx.count, None, None, grad_neg, grad_pos, None, None, None


def forward_tangents(
    tangents: Sequence[Tensor | None],
    weights: Sequence[Tensor],
    lo: Tensor,
    hi: Tensor,
    neg: Tensor,
    pos: Tensor,
    ste: str,
    bound: float,
) -> list[Tensor]:
    """Forward mode: `tangents` of (neg, pos, *weights) give one for each quantized weight, in plain aten.

    The estimator scales every element by itself, so its Jacobian is its own transpose.
    """
    of_neg, of_pos, *of_weights = tangents
    outs = []
    for i, (v, w) in enumerate(zip(of_weights, weights, strict=True)):
        here = [composite.at(value, i) for value in (lo, hi, neg, pos)]
        v = torch.zeros_like(w) if v is None else v
        out = composite.backward(v, w, *here, ste=ste, bound=bound)
        outs.append(out + _taken(w, here[0], here[1], _at(of_neg, i), _at(of_pos, i)))
    return outs


def backward_tangents(
    ctx: Any, of_levels: Sequence[Tensor | None], of_grads: Sequence[Tensor | None]
) -> tuple[list[Tensor], Tensor]:
    """Forward mode over the backward pass: both of its results are linear in the gradients and the levels."""
    lo, hi, neg, pos, *both = ctx.saved_tensors
    latent, pairs = [], []
    for i, (v, grad, w) in enumerate(zip(of_grads, both[: ctx.count], both[ctx.count :], strict=True)):
        here = [composite.at(value, i) for value in (lo, hi, neg, pos)]
        v = torch.zeros_like(w) if v is None else v
        out = composite.backward(v, w, *here, ste=ctx.ste, bound=ctx.bound)
        if ctx.ste == "scaled":
            of_neg, of_pos = (_at(level, i) for level in of_levels)
            out = out + grad * _taken(w, here[0], here[1], of_neg if of_neg is None else -of_neg, of_pos)
        latent.append(out)
        sums = composite.level_gradients(v, w, *here[:2])
        pairs.append(torch.stack(sums) if ctx.levels else torch.zeros_like(torch.stack(sums)))
    return latent, torch.stack(pairs)


def _at(tangent: Tensor | None, index: int) -> Tensor | None:
    return None if tangent is None else composite.at(tangent, index)


def _taken(w: Tensor, lo: Tensor, hi: Tensor, neg: Tensor | None, pos: Tensor | None) -> Tensor:
    """neg or pos where w takes that level, else 0; None stands for 0."""
    above = w > hi.to(w.dtype)
    below = (w < lo.to(w.dtype)) & ~above
    zero = torch.zeros((), dtype=w.dtype, device=w.device)
    neg, pos = (zero if level is None else level.to(w.dtype) for level in (neg, pos))
    return torch.where(above, pos, torch.where(below, neg, zero))
