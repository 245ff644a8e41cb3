"""The torch.library operators: schema, fake, autograd and vmap of each, side by side.

An operator is how torch's own machinery (compile, export, fake tensors, functionalization) sees a call of
`ternzip.ops._kernels`. Its schema holds a ternarizer flattened, in the order of its attributes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ternzip.ops import _derivatives, _kernels
from ternzip.ops._ternarizer import Ternarizer


def _check_pairs(name: str, tensors: Sequence[Tensor], weights: Sequence[Tensor]) -> None:
    """An operator can be called by its name in torch.ops, past the checks of the public calls."""
    if [t.shape for t in tensors] != [w.shape for w in weights]:
        found, expected = ([tuple(t.shape) for t in each] for each in (tensors, weights))
        raise ValueError(f"{name} have the shapes {found}, the weights {expected}")


def _no_result(*_: Any) -> None:
    """The fake of an operator that only writes into its arguments."""


# --- vmap: a batch of weights is just more weights, every sample a row of its own in one call --------------


def _samples(tensors: Sequence[Tensor], dims: Sequence[int | None], size: int) -> list[Tensor]:
    return [
        sample
        for t, dim in zip(tensors, dims, strict=True)
        for sample in (t.unbind(dim) if dim is not None else [t] * size)
    ]


def _spread(t: Ternarizer, dims: Sequence[int | None], count: int, size: int) -> Ternarizer:
    """Each scalar, for all or one a weight, batched or not, as one for each weight and sample."""
    lo, hi, neg, pos = (
        (value.unsqueeze(-1) if dim is None else value.movedim(dim, -1)).expand(count, size).reshape(-1)
        for value, dim in zip(t.scalars, dims, strict=True)
    )
    return Ternarizer(lo, hi, neg, pos, t.ste, t.bound)


def _stacked(samples: Sequence[Tensor], size: int) -> list[Tensor]:
    return [torch.stack(list(samples[i : i + size])) for i in range(0, len(samples), size)]


def _rows(rows: Tensor, count: int, size: int) -> Tensor:
    return rows.reshape(count, size, *rows.shape[1:]).movedim(1, 0)


# --- ternarize_many ----------------------------------------------------------------------------------------


@torch.library.custom_op("ternzip::ternarize_many", mutates_args=())
def ternarize_many(
    weights: Sequence[Tensor], lo: Tensor, hi: Tensor, neg: Tensor, pos: Tensor, ste: str, bound: float
) -> tuple[list[Tensor], Tensor]:
    """(quantized weights, counts). The estimator (`ste`, `bound`) matters to the gradient only."""
    return _kernels.ternarize(weights, Ternarizer(lo, hi, neg, pos, ste, bound))


@ternarize_many.register_fake
def _(weights: Sequence[Tensor], *_t: Any) -> tuple[list[Tensor], Tensor]:
    return [torch.empty_like(w) for w in weights], _kernels.new_counts(weights)


@ternarize_many.register_vmap
def _(info: Any, in_dims: Any, weights: Sequence[Tensor], *flat: Any) -> Any:
    count, size = len(weights), info.batch_size
    t = _spread(Ternarizer(*flat), in_dims[1:5], count, size)
    quantized, counts = ternarize_many(_samples(weights, in_dims[0], size), *t)
    return (_stacked(quantized, size), _rows(counts, count, size)), ([0] * count, 0)


def _setup_ternarize(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    weights, *flat = inputs
    _derivatives.remember(ctx, Ternarizer(*flat), *weights)


def _differentiate_ternarize(ctx: Any, grads: Sequence[Tensor], _counts: Any) -> tuple[Any, ...]:
    t, weights = _derivatives.recall(ctx)
    levels = bool(ctx.needs_input_grad[3] or ctx.needs_input_grad[4])
    latent, pairs = ternarize_many_backward(grads, weights, *t, levels)
    return latent, None, None, *_derivatives.split_levels(pairs, t, levels), None, None


ternarize_many.register_autograd(_differentiate_ternarize, setup_context=_setup_ternarize)


# --- ternarize_many_backward -------------------------------------------------------------------------------


@torch.library.custom_op("ternzip::ternarize_many_backward", mutates_args=())
def ternarize_many_backward(
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
    """(gradients of the weights, gradients of (neg, pos) a weight, zeros unless `levels`)."""
    _check_pairs("the gradients", grads, weights)
    return _kernels.backward(grads, weights, Ternarizer(lo, hi, neg, pos, ste, bound), levels)


@ternarize_many_backward.register_fake
def _(grads: Sequence[Tensor], weights: Sequence[Tensor], *_t: Any) -> tuple[list[Tensor], Tensor]:
    return [torch.empty_like(w) for w in weights], _kernels.new_pairs(weights)


@ternarize_many_backward.register_vmap
def _(info: Any, in_dims: Any, grads: Sequence[Tensor], weights: Sequence[Tensor], *flat: Any) -> Any:
    count, size, levels = len(weights), info.batch_size, flat[-1]
    t = _spread(Ternarizer(*flat[:-1]), in_dims[2:6], count, size)
    samples = _samples(grads, in_dims[0], size), _samples(weights, in_dims[1], size)
    latent, pairs = ternarize_many_backward(*samples, *t, levels)
    return (_stacked(latent, size), _rows(pairs, count, size)), ([0] * count, 0)


def _setup_backward(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    grads, weights, *flat, ctx.levels = inputs
    ctx.count = len(weights)
    _derivatives.remember(ctx, Ternarizer(*flat), *grads, *weights)


def _differentiate_backward(ctx: Any, latent: Sequence[Tensor], pairs: Tensor) -> tuple[Any, ...]:
    t, both = _derivatives.recall(ctx)
    grads, weights = both[: ctx.count], both[ctx.count :]
    of_grads, *of_levels = _derivatives.double_backward(latent, pairs, grads, weights, t, ctx.levels)
    return of_grads, [None] * ctx.count, None, None, *of_levels, None, None, None


ternarize_many_backward.register_autograd(_differentiate_backward, setup_context=_setup_backward)


# --- in place ----------------------------------------------------------------------------------------------


@torch.library.custom_op("ternzip::clip_many_", mutates_args=("weights",))
def clip_many_(weights: Sequence[Tensor], bound: float) -> None:
    """Clips every weight to [-bound, +bound]."""
    _kernels.clip_(weights, bound)


clip_many_.register_fake(_no_result)


@torch.library.custom_op("ternzip::clip_ternarize_count_", mutates_args=("weights", "outs"))
def clip_ternarize_count_(
    weights: Sequence[Tensor],
    outs: Sequence[Tensor],
    lo: Tensor,
    hi: Tensor,
    neg: Tensor,
    pos: Tensor,
    clip: float,
) -> Tensor:
    """Clips the weights, fills `outs` with the quantized weights, returns the counts."""
    _check_pairs("the outputs", outs, weights)
    return _kernels.ternarize_into_(weights, outs, Ternarizer(lo, hi, neg, pos), clip)


@torch.library.custom_op("ternzip::ternarize_out", mutates_args=("outs",))
def ternarize_out(
    weights: Sequence[Tensor], outs: Sequence[Tensor], lo: Tensor, hi: Tensor, neg: Tensor, pos: Tensor
) -> Tensor:
    """The same without clipping: the weights stay as they are."""
    _check_pairs("the outputs", outs, weights)
    return _kernels.ternarize_into_(weights, outs, Ternarizer(lo, hi, neg, pos), None)


@clip_ternarize_count_.register_fake
@ternarize_out.register_fake
def _(weights: Sequence[Tensor], *_rest: Any) -> Tensor:
    return _kernels.new_counts(weights)


@torch.library.custom_op("ternzip::ste_backward_out", mutates_args=("outs",))
def ste_backward_out(
    grads: Sequence[Tensor], weights: Sequence[Tensor], outs: Sequence[Tensor], ste: str, bound: float
) -> None:
    """Fills `outs` with the gradients of an estimator that needs no levels."""
    _check_pairs("the gradients", grads, weights)
    _check_pairs("the outputs", outs, weights)
    _kernels.ste_backward_(grads, weights, outs, ste, bound)


ste_backward_out.register_fake(_no_result)


# --- counts ------------------------------------------------------------------------------------------------


@torch.library.custom_op("ternzip::count_many", mutates_args=())
def count_many(tensors: Sequence[Tensor]) -> Tensor:
    """int64 rows (negative, zero, positive, invalid) by the sign of the elements."""
    return _kernels.count(tensors)


count_many.register_fake(_kernels.new_counts)


@count_many.register_vmap
def _(info: Any, in_dims: Any, tensors: Sequence[Tensor]) -> Any:
    size = info.batch_size
    return _rows(count_many(_samples(tensors, in_dims[0], size)), len(tensors), size), 0
