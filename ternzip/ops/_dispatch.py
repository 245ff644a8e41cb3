"""Straight to the kernels, or through the operators: which way a call takes.

- Plain tensors in eager mode go to the bare kernels. An operator's own dispatch is some 36 Python frames, which the
  kernel before has just swept from the caches: half a millisecond by CPU clock.
- DTensors: the part that a rank holds goes one of the two ways (`_sharded`).
- Under torch.compile, export, torch.func, fake tensors and other modes, and for tensor subclasses: the operators.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from ternzip.ops import _kernels, _operators, _sharded
from ternzip.ops._ternarizer import Ternarizer


def is_plain(tensors: Sequence[Tensor]) -> bool:
    """Whether nothing but autograd would come between an operator and its kernel."""
    return (
        not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
        and torch._C._len_torch_dispatch_stack() == 0
        and all(
            (type(t) is Tensor or type(t) is torch.nn.Parameter)
            and (t.is_cpu or t.is_cuda)
            and t.layout is torch.strided
            and not t.is_neg()
            for t in tensors
        )
    )


def _changed(tensors: Sequence[Tensor]) -> None:
    """Tells autograd, as an operator that mutates its arguments does."""
    increment_version([t for t in tensors if not t.is_inference()])


def ternarize(weights: Sequence[Tensor], t: Ternarizer) -> tuple[list[Tensor], Tensor]:
    """Ternary tensors and their counts, (weights, 4) of int64, without a gradient."""
    if is_plain(weights):
        return _kernels.ternarize(weights, t)
    quantized, counts = _operators.ternarize_many(weights, *t)
    return quantized, counts


def backward(
    grads: Sequence[Tensor], weights: Sequence[Tensor], t: Ternarizer, levels: bool
) -> tuple[list[Tensor], Tensor]:
    """Gradients of the latent weights and, if `levels`, of the two levels of each weight, (weights, 2)."""
    if is_plain([*weights, *grads]):
        return _kernels.backward(grads, weights, t, levels)
    latent, pairs = _operators.ternarize_many_backward(grads, weights, *t, levels)
    return latent, pairs


def ternarize_into_(
    weights: Sequence[Tensor], outs: Sequence[Tensor], t: Ternarizer, clip: float | None
) -> Tensor:
    """Writes the ternary weights into `outs`, with `clip` after clipping the weights in place; returns the counts."""
    counts: Tensor
    if is_plain([*weights, *outs]):
        counts = _kernels.ternarize_into_(weights, outs, t, clip)
        _changed(outs if clip is None else [*weights, *outs])
    elif _sharded.is_sharded([*weights, *outs]):
        parts, sinks = _sharded.local_rows(weights, outs)
        counts = _sharded.summed(ternarize_into_(parts, sinks, t, clip), weights)
    elif clip is None:
        counts = _operators.ternarize_out(weights, outs, *t.scalars)
    else:
        counts = _operators.clip_ternarize_count_(weights, outs, *t.scalars, clip)
    return counts


def ste_backward_(
    grads: Sequence[Tensor], weights: Sequence[Tensor], outs: Sequence[Tensor], ste: str, bound: float
) -> None:
    """Writes the latent gradients by the estimator `ste` into `outs`."""
    if is_plain([*grads, *weights, *outs]):
        _kernels.ste_backward_(grads, weights, outs, ste, bound)
        _changed(outs)
    elif _sharded.is_sharded([*grads, *weights, *outs]):
        grads, weights, outs = _sharded.local_rows(grads, weights, outs)
        ste_backward_(grads, weights, outs, ste, bound)
    else:
        _operators.ste_backward_out(grads, weights, outs, ste, bound)


def clip_(weights: Sequence[Tensor], bound: float) -> None:
    """Clips to [-bound, bound] in place."""
    if is_plain(weights):
        _kernels.clip_(weights, bound)
        _changed(weights)
    elif _sharded.is_sharded(weights):
        clip_(_sharded.local(weights), bound)
    else:
        _operators.clip_many_(weights, bound)


def count(tensors: Sequence[Tensor]) -> Tensor:
    """Counts of symbols by sign, (tensors, 4) of int64."""
    if is_plain(tensors):
        return _kernels.count(tensors)
    if _sharded.is_sharded(tensors):
        return _sharded.summed(count(_sharded.local(tensors)), tensors)
    counts: Tensor = _operators.count_many(tensors)
    return counts
