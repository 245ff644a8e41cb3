"""Which way a call takes to the operators of `ternzip.ops._operators`.

- Plain tensors in eager mode: an autograd.Function around the bare kernels. An operator's dispatch is some 36
  Python frames, which the kernel before has just swept from the caches: half a millisecond by CPU clock.
- Under torch.compile, export, fake tensors and other modes, and for tensor subclasses: the operator.
- Under torch.func: the autograd.Function around the operator, because register_autograd breaks there
  (pytorch #168393). Under torch.func inside torch.compile: plain aten, for there torch drops an
  autograd.Function's backward without a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from ternzip.ops import _composite as composite
from ternzip.ops import _derivatives as derivatives
from ternzip.ops import _operators as library


def is_plain(tensors: Sequence[Tensor]) -> bool:
    """Whether nothing but autograd would come between an operator and its kernel."""
    return (
        not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
        and torch._C._len_torch_dispatch_stack() == 0
        and all(
            (type(t) is Tensor or type(t) is torch.nn.Parameter)
            and t.device.type in ("cpu", "cuda")
            and t.layout == torch.strided
            and not t.is_neg()
            for t in tensors
        )
    )


def call_forward(
    weights: Sequence[Tensor], lo: Tensor, hi: Tensor, neg: Tensor, pos: Tensor, ste: str, bound: float
) -> tuple[list[Tensor], Tensor]:
    call = library.ternarize_many_kernel if is_plain(weights) else library.ternarize_many
    quantized, counts = call(weights, lo, hi, neg, pos, ste, bound)
    return quantized, counts


def call_backward(
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
    plain = is_plain([*weights, *grads])
    call = library.ternarize_many_backward_kernel if plain else library.ternarize_many_backward
    latent, pairs = call(grads, weights, lo, hi, neg, pos, ste, bound, levels)
    return latent, pairs


class _Forward(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(ste: str, bound: float, *tensors: Tensor) -> tuple[Tensor, ...]:
        lo, hi, neg, pos, *weights = tensors
        quantized, counts = call_forward(weights, lo, hi, neg, pos, ste, bound)
        return (*quantized, counts)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.ste, ctx.bound, *tensors = inputs
        ctx.mark_non_differentiable(output[-1])
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor | None, ...]:
        lo, hi, neg, pos, *weights = ctx.saved_tensors
        return (
            *derivatives.forward_tangents(tangents[4:], weights, lo, hi, neg, pos, ctx.ste, ctx.bound),
            None,
        )

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        lo, hi, neg, pos, *weights = ctx.saved_tensors
        levels = bool(ctx.needs_input_grad[4] or ctx.needs_input_grad[5])
        latent, pairs = ternarize_many_backward(
            grads[:-1], weights, lo, hi, neg, pos, ctx.ste, ctx.bound, levels
        )
        return (None, None, None, None, *derivatives.split_levels(pairs, neg, pos, levels), *latent)


class _Backward(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(ste: str, bound: float, levels: bool, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        lo, hi, neg, pos, *both = tensors
        latent, pairs = call_backward(both[:count], both[count:], lo, hi, neg, pos, ste, bound, levels)
        return (*latent, pairs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.ste, ctx.bound, ctx.levels, ctx.count, *tensors = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor | None, ...]:
        latent, pairs = derivatives.backward_tangents(ctx, tangents[6:8], tangents[8 : 8 + ctx.count])
        return (*latent, pairs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        result = derivatives.double_backward(ctx, grads[:-1], grads[-1])
        return (None, None, None, None, None, None, *result[4:6], *result[0], *([None] * ctx.count))


def ternarize_many(
    weights: Sequence[Tensor], ste: str, bound: float, lo: Tensor, hi: Tensor, neg: Tensor, pos: Tensor
) -> tuple[list[Tensor], Tensor]:
    """library.ternarize_many, differentiable everywhere."""
    functorch = torch._C._are_functorch_transforms_active()
    if functorch and torch.compiler.is_compiling():
        return composite.ternarize_many(weights, lo, hi, neg, pos, ste=ste, bound=bound)
    if functorch or is_plain(weights):
        *quantized, counts = _Forward.apply(ste, bound, lo, hi, neg, pos, *weights)  # type: ignore[no-untyped-call]
        return quantized, counts
    quantized, counts = library.ternarize_many(weights, lo, hi, neg, pos, ste, bound)
    return quantized, counts


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
    """library.ternarize_many_backward, differentiable everywhere."""
    if torch._C._are_functorch_transforms_active() or (torch.is_grad_enabled() and is_plain(weights)):
        *latent, pairs = _Backward.apply(  # type: ignore[no-untyped-call]
            ste, bound, levels, len(weights), lo, hi, neg, pos, *grads, *weights
        )
        return latent, pairs
    return call_backward(grads, weights, lo, hi, neg, pos, ste, bound, levels)


def count_many(tensors: Sequence[Tensor]) -> Tensor:
    counts: Tensor = (library.count_many_kernel if is_plain(tensors) else library.count_many)(tensors)
    return counts


class _Attach(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ste: str, bound: float, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        scalars, weights, quantized = tensors[:4], tensors[4 : 4 + count], tensors[4 + count :]
        ctx.ste, ctx.bound, ctx.count = ste, bound, count
        ctx.save_for_backward(*scalars, *weights)
        return tuple(q.view_as(q) for q in quantized)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        lo, hi, neg, pos, *weights = ctx.saved_tensors
        levels = bool(ctx.needs_input_grad[5] or ctx.needs_input_grad[6])
        latent, pairs = ternarize_many_backward(grads, weights, lo, hi, neg, pos, ctx.ste, ctx.bound, levels)
        tail = derivatives.split_levels(pairs, neg, pos, levels)
        return (None, None, None, None, None, *tail, *latent, *([None] * ctx.count))


def attach(
    weights: Sequence[Tensor], quantized: Sequence[Tensor], ste: str, bound: float, scalars: Sequence[Tensor]
) -> list[Tensor]:
    """`quantized` as if ternarize_many had just made it from `weights`."""
    return list(
        _Attach.apply(ste, bound, len(weights), *scalars, *weights, *quantized)  # type: ignore[no-untyped-call]
    )


def _changed(tensors: Sequence[Tensor]) -> None:
    """Tells autograd, as an operator that mutates its arguments does."""
    increment_version([t for t in tensors if not t.is_inference()])


def clip_many_(weights: Sequence[Tensor], bound: float) -> None:
    if is_plain(weights):
        library.clip_many_kernel(weights, bound)
        _changed(weights)
    else:
        library.clip_many_(weights, bound)


def ternarize_into_(
    weights: Sequence[Tensor], outs: Sequence[Tensor], scalars: Sequence[Tensor], bound: float | None
) -> Tensor:
    """clip_ternarize_count_, or without a bound ternarize_out."""
    counts: Tensor
    if is_plain([*weights, *outs]):
        counts = library.ternarize_into_kernel(weights, outs, scalars, bound)
        _changed([*weights, *outs] if bound is not None else outs)
    elif bound is not None:
        counts = library.clip_ternarize_count_(weights, outs, *scalars, bound)
    else:
        counts = library.ternarize_out(weights, outs, *scalars)
    return counts


def ste_backward_(
    grads: Sequence[Tensor], weights: Sequence[Tensor], outs: Sequence[Tensor], ste: str, bound: float
) -> None:
    if is_plain([*grads, *weights, *outs]):
        library.ste_backward_kernel(grads, weights, outs, ste, bound)
        _changed(outs)
    else:
        library.ste_backward_out(grads, weights, outs, ste, bound)


# --- vmap ------------------------------------------------------------------------------------------------
# A batch of weights is just more weights: every sample becomes its own row of one call.


def _samples(tensors: Sequence[Tensor], dims: Sequence[int | None], size: int) -> list[Tensor]:
    return [
        sample
        for t, dim in zip(tensors, dims, strict=True)
        for sample in (t.unbind(dim) if dim is not None else [t] * size)
    ]


def _spread(value: Tensor, dim: int | None, count: int, size: int) -> Tensor:
    """A scalar, for all or one a weight, batched or not, as one for each weight and sample."""
    value = value.unsqueeze(-1) if dim is None else value.movedim(dim, -1)
    return value.expand(count, size).reshape(-1)


def _stacked(samples: Sequence[Tensor], size: int) -> list[Tensor]:
    return [torch.stack(list(samples[i : i + size])) for i in range(0, len(samples), size)]


def _rows(rows: Tensor, count: int, size: int) -> Tensor:
    return rows.reshape(count, size, *rows.shape[1:]).movedim(1, 0)


Info = Any


@library.ternarize_many.register_vmap
def _(
    info: Info, in_dims: Any, weights: Any, lo: Any, hi: Any, neg: Any, pos: Any, ste: str, bound: float
) -> Any:
    count, size = len(weights), info.batch_size
    scalars = [_spread(v, d, count, size) for v, d in zip((lo, hi, neg, pos), in_dims[1:5], strict=True)]
    quantized, counts = library.ternarize_many(_samples(weights, in_dims[0], size), *scalars, ste, bound)
    return (_stacked(quantized, size), _rows(counts, count, size)), ([0] * count, 0)


@library.ternarize_many_backward.register_vmap
def _(
    info: Info,
    in_dims: Any,
    grads: Any,
    weights: Any,
    lo: Any,
    hi: Any,
    neg: Any,
    pos: Any,
    ste: str,
    bound: float,
    levels: bool,
) -> Any:
    count, size = len(weights), info.batch_size
    scalars = [_spread(v, d, count, size) for v, d in zip((lo, hi, neg, pos), in_dims[2:6], strict=True)]
    latent, pairs = library.ternarize_many_backward(
        _samples(grads, in_dims[0], size), _samples(weights, in_dims[1], size), *scalars, ste, bound, levels
    )
    return (_stacked(latent, size), _rows(pairs, count, size)), ([0] * count, 0)


@library.count_many.register_vmap
def _(info: Info, in_dims: Any, tensors: Any) -> Any:
    size = info.batch_size
    return _rows(library.count_many(_samples(tensors, in_dims[0], size)), len(tensors), size), 0
