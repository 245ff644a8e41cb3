"""The torch.library operators behind `ternzip.ops`: schemas, kernels, fakes, autograd and vmap, side by side.

Every operator takes the tensors of a whole model. Inside, a tensor on a supported device and of a supported
dtype goes to the native core, any other to the aten composite; the results are the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ternzip._core.native import core
from ternzip.ops import _composite as composite
from ternzip.ops import _derivatives as derivatives
from ternzip.ops import cuda

STE = ("closed", "open", "identity", "scaled")

_WEIGHT_CODES = {torch.float64: 0, torch.float32: 1, torch.float16: 2, torch.bfloat16: 3}
_COUNT_CODES = {**_WEIGHT_CODES, torch.int8: 8, torch.int16: 9, torch.int32: 10, torch.int64: 11}


def _is_dense(t: Tensor) -> bool:
    """Whether t's elements fill one stretch of memory, so that a kernel may run over it in memory order."""
    return t.is_contiguous() or torch.empty_like(t, device="meta").stride() == t.stride()


def _laid_out_like(t: Tensor, like: Tensor) -> Tensor:
    """t itself, or a copy, in the memory order of the dense tensor `like`."""
    return t if t.stride() == like.stride() else torch.empty_like(like).copy_(t)


def _is_native(t: Tensor, codes: dict[torch.dtype, int] = _WEIGHT_CODES) -> bool:
    return t.device.type == "cpu" and t.dtype in codes


def _addresses(scalars: Sequence[Tensor]) -> tuple[list[Tensor], list[int], list[bool]]:
    """Keep the first: it owns what the second points to."""
    owners = [value.contiguous() for value in scalars]
    return owners, [value.data_ptr() for value in owners], [value.dim() == 1 for value in owners]


# --- forward ---------------------------------------------------------------------------------------------


def ternarize_many_kernel(
    weights: Sequence[Tensor], lo: Tensor, hi: Tensor, neg: Tensor, pos: Tensor, ste: str, bound: float
) -> tuple[list[Tensor], Tensor]:
    """(quantized weights, counts). The estimator (`ste`, `bound`) matters to the gradient only."""
    outs = [torch.empty_like(w) for w in weights]
    sources = [_laid_out_like(w, out) for w, out in zip(weights, outs, strict=True)]
    return outs, _ternarize_into(sources, outs, (lo, hi, neg, pos), None)


ternarize_many = torch.library.custom_op("ternzip::ternarize_many", ternarize_many_kernel, mutates_args=())


@ternarize_many.register_fake
def _(
    weights: Sequence[Tensor], lo: Tensor, hi: Tensor, neg: Tensor, pos: Tensor, ste: str, bound: float
) -> tuple[list[Tensor], Tensor]:
    return [torch.empty_like(w) for w in weights], _fake_counts(weights)


def _fake_counts(tensors: Sequence[Tensor]) -> Tensor:
    return torch.empty((len(tensors), 4), dtype=torch.int64, device=tensors[0].device)


def _ternarize_into(
    weights: Sequence[Tensor], outs: Sequence[Tensor], scalars: Sequence[Tensor], bound: float | None
) -> Tensor:
    """Weights and outputs are dense, in the same memory order. With a bound, clips in place first."""
    counts = torch.empty((len(weights), 4), dtype=torch.int64, device=weights[0].device)
    on_device = cuda.serves(weights, _WEIGHT_CODES)
    if on_device or all(_is_native(w) for w in weights):
        jobs = []
        for w, out in zip(weights, outs, strict=True):
            jobs += [w.data_ptr(), w.numel(), _WEIGHT_CODES[w.dtype], out.data_ptr(), out.dtype == torch.int8]
        if on_device:
            cuda.ternarize_many(jobs, scalars, bound, counts)
            return counts
        owners, addresses, each = _addresses(scalars)
        core.ternarize_many(jobs, addresses, each, bound, counts.data_ptr(), torch.get_num_threads())
        del owners
        return counts
    for i, (w, out) in enumerate(zip(weights, outs, strict=True)):
        lo, hi, neg, pos = (composite.at(value, i) for value in scalars)
        if bound is not None:
            w.clamp_(-bound, bound)
        out.copy_(
            composite.trits(w, lo, hi) if out.dtype == torch.int8 else composite.quantize(w, lo, hi, neg, pos)
        )
        counts[i] = composite.count(w, lo, hi)
    return counts


# --- backward --------------------------------------------------------------------------------------------


def ternarize_many_backward_kernel(
    grads: Sequence[Tensor],
    weights: Sequence[Tensor],
    lo: Tensor,
    hi: Tensor,
    neg: Tensor,
    pos: Tensor,
    ste: str,
    bound: float,
    levels: bool,
) -> tuple[list[Tensor], Tensor]:
    """(gradients of the weights, float64 gradients of (neg, pos) a weight, zeros unless `levels`)."""
    outs = [torch.empty_like(w) for w in weights]
    level_grads = torch.empty((len(weights), 2), dtype=torch.float64, device=weights[0].device)
    grads = [_laid_out_like(grad, out) for grad, out in zip(grads, outs, strict=True)]
    weights = [_laid_out_like(w, out) for w, out in zip(weights, outs, strict=True)]
    _backward_into(grads, weights, outs, (lo, hi, neg, pos), ste, bound, level_grads, levels)
    return outs, level_grads


def _backward_into(
    grads: Sequence[Tensor],
    weights: Sequence[Tensor],
    outs: Sequence[Tensor],
    scalars: Sequence[Tensor],
    ste: str,
    bound: float,
    level_grads: Tensor | None,
    levels: bool,
) -> None:
    """Three tensors a weight, dense, in the same memory order. level_grads become 0 unless `levels`."""
    has_kernel = all(ste != "scaled" or w.dtype.itemsize >= 4 for w in weights)
    on_device = has_kernel and cuda.serves(weights, _WEIGHT_CODES)
    jobs = []
    if on_device or (has_kernel and all(_is_native(w) for w in weights)):
        for grad, w, out in zip(grads, weights, outs, strict=True):
            jobs += [grad.data_ptr(), w.data_ptr(), w.numel(), _WEIGHT_CODES[w.dtype], out.data_ptr()]
    if on_device:
        cuda.backward_many(jobs, scalars, STE.index(ste), bound, weights[0], level_grads, levels)
        return
    if level_grads is not None and not levels:
        level_grads.zero_()
    if jobs:
        owners, addresses, each = _addresses(scalars)
        target = level_grads.data_ptr() if level_grads is not None and levels else 0
        core.backward_many(jobs, addresses, each, STE.index(ste), bound, target, torch.get_num_threads())
        del owners
        return
    for i, (grad, w, out) in enumerate(zip(grads, weights, outs, strict=True)):
        here = [composite.at(value, i) for value in scalars]
        if level_grads is not None and levels:
            level_grads[i] = torch.stack(composite.level_gradients(grad, w, *here[:2]))
        out.copy_(composite.backward(grad, w, *here, ste=ste, bound=bound))


ternarize_many_backward = torch.library.custom_op(
    "ternzip::ternarize_many_backward", ternarize_many_backward_kernel, mutates_args=()
)


@ternarize_many_backward.register_fake
def _(
    grads: Sequence[Tensor],
    weights: Sequence[Tensor],
    lo: Tensor,
    hi: Tensor,
    neg: Tensor,
    pos: Tensor,
    ste: str,
    bound: float,
    levels: bool,
) -> tuple[list[Tensor], Tensor]:
    level_grads = torch.empty((len(weights), 2), dtype=torch.float64, device=weights[0].device)
    return [torch.empty_like(w) for w in weights], level_grads


# --- in place --------------------------------------------------------------------------------------------


def clip_many_kernel(weights: Sequence[Tensor], bound: float) -> None:
    jobs: list[int] = []
    on_device: dict[torch.device, list[Tensor]] = {}
    for w in weights:
        if not _is_dense(w):
            w.clamp_(-bound, bound)
        elif cuda.serves([w], _WEIGHT_CODES):
            on_device.setdefault(w.device, []).append(w)
        elif _is_native(w):
            jobs += [w.data_ptr(), w.numel(), _WEIGHT_CODES[w.dtype]]
        else:
            w.clamp_(-bound, bound)
    for group in on_device.values():
        rows = [n for w in group for n in (w.data_ptr(), w.numel(), _WEIGHT_CODES[w.dtype])]
        cuda.clip_many(rows, bound, group[0])
    if jobs:
        core.clip_many(jobs, bound, torch.get_num_threads())


clip_many_ = torch.library.custom_op("ternzip::clip_many_", clip_many_kernel, mutates_args=("weights",))


@clip_many_.register_fake
def _(weights: Sequence[Tensor], bound: float) -> None:
    return None


def _clip_ternarize_count_(
    weights: Sequence[Tensor],
    outs: Sequence[Tensor],
    lo: Tensor,
    hi: Tensor,
    neg: Tensor,
    pos: Tensor,
    bound: float,
) -> Tensor:
    return ternarize_into_kernel(weights, outs, (lo, hi, neg, pos), bound)


clip_ternarize_count_ = torch.library.custom_op(
    "ternzip::clip_ternarize_count_", _clip_ternarize_count_, mutates_args=("weights", "outs")
)


@clip_ternarize_count_.register_fake
def _(
    weights: Sequence[Tensor],
    outs: Sequence[Tensor],
    lo: Tensor,
    hi: Tensor,
    neg: Tensor,
    pos: Tensor,
    bound: float,
) -> Tensor:
    return _fake_counts(weights)


def _ternarize_out(
    weights: Sequence[Tensor], outs: Sequence[Tensor], lo: Tensor, hi: Tensor, neg: Tensor, pos: Tensor
) -> Tensor:
    return ternarize_into_kernel(weights, outs, (lo, hi, neg, pos), None)


ternarize_out = torch.library.custom_op("ternzip::ternarize_out", _ternarize_out, mutates_args=("outs",))


@ternarize_out.register_fake
def _(
    weights: Sequence[Tensor], outs: Sequence[Tensor], lo: Tensor, hi: Tensor, neg: Tensor, pos: Tensor
) -> Tensor:
    return _fake_counts(weights)


def ste_backward_kernel(
    grads: Sequence[Tensor], weights: Sequence[Tensor], outs: Sequence[Tensor], ste: str, bound: float
) -> None:
    """The gradients of the estimators that need no levels."""
    targets = [out if _is_dense(out) else torch.empty_like(out) for out in outs]
    grads = [_laid_out_like(grad, target) for grad, target in zip(grads, targets, strict=True)]
    weights = [_laid_out_like(w, target) for w, target in zip(weights, targets, strict=True)]
    unused = torch.zeros((), dtype=torch.float64)
    _backward_into(grads, weights, targets, (unused, unused, unused, unused), ste, bound, None, False)
    for out, target in zip(outs, targets, strict=True):
        if target is not out:
            out.copy_(target)


ste_backward_out = torch.library.custom_op(
    "ternzip::ste_backward_out", ste_backward_kernel, mutates_args=("outs",)
)


@ste_backward_out.register_fake
def _(
    grads: Sequence[Tensor], weights: Sequence[Tensor], outs: Sequence[Tensor], ste: str, bound: float
) -> None:
    return None


def ternarize_into_kernel(
    weights: Sequence[Tensor], outs: Sequence[Tensor], scalars: Sequence[Tensor], bound: float | None
) -> Tensor:
    """As _ternarize_into, for tensors of any layout: what is not dense goes through a copy and back."""
    sources, targets = [], []
    for w, out in zip(weights, outs, strict=True):
        source = w if _is_dense(w) else torch.empty_like(w).copy_(w)
        sources.append(source)
        targets.append(out if out.stride() == source.stride() else torch.empty_like(source, dtype=out.dtype))
    counts = _ternarize_into(sources, targets, scalars, bound)
    for w, source, out, target in zip(weights, sources, outs, targets, strict=True):
        if bound is not None and source is not w:
            w.copy_(source)
        if target is not out:
            out.copy_(target)
    return counts


# --- counts ----------------------------------------------------------------------------------------------


def count_many_kernel(tensors: Sequence[Tensor]) -> Tensor:
    """int64 rows (negative, zero, positive, invalid) by the sign of the elements."""
    counts = torch.empty((len(tensors), 4), dtype=torch.int64, device=tensors[0].device)
    on_device = cuda.serves(tensors, _COUNT_CODES)
    if on_device or all(_is_native(t, _COUNT_CODES) for t in tensors):
        dense = [t if _is_dense(t) else t.contiguous() for t in tensors]
        jobs = [number for t in dense for number in (t.data_ptr(), t.numel(), _COUNT_CODES[t.dtype])]
        if on_device:
            cuda.count_many(jobs, counts)
            return counts
        core.count_many(jobs, counts.data_ptr(), torch.get_num_threads())
        return counts
    for i, t in enumerate(tensors):
        zero = torch.zeros((), dtype=t.dtype, device=t.device)
        counts[i] = composite.count(t, zero, zero)
    return counts


count_many = torch.library.custom_op("ternzip::count_many", count_many_kernel, mutates_args=())


@count_many.register_fake
def _(tensors: Sequence[Tensor]) -> Tensor:
    return _fake_counts(tensors)


# --- autograd --------------------------------------------------------------------------------------------


def _setup_forward(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    weights, lo, hi, neg, pos, ctx.ste, ctx.bound = inputs
    ctx.save_for_backward(lo, hi, neg, pos, *weights)


def _forward_gradient(ctx: Any, grads: Sequence[Tensor], _counts: Any) -> tuple[Any, ...]:
    lo, hi, neg, pos, *weights = ctx.saved_tensors
    levels = bool(ctx.needs_input_grad[3] or ctx.needs_input_grad[4])
    latent, pairs = ternarize_many_backward(grads, weights, lo, hi, neg, pos, ctx.ste, ctx.bound, levels)
    return latent, None, None, *derivatives.split_levels(pairs, neg, pos, levels), None, None


def _setup_backward(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    grads, weights, lo, hi, neg, pos, ctx.ste, ctx.bound, ctx.levels = inputs
    ctx.count = len(weights)
    ctx.save_for_backward(lo, hi, neg, pos, *grads, *weights)


ternarize_many.register_autograd(_forward_gradient, setup_context=_setup_forward)
ternarize_many_backward.register_autograd(derivatives.double_backward, setup_context=_setup_backward)
