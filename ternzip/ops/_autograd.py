"""What autograd and torch.func see of a differentiable call.

- Plain tensors in eager mode, and torch.func: an autograd.Function around what `_dispatch` chooses. torch.func cannot
  do with an operator's own autograd (register_autograd breaks there, pytorch #168393).
- torch.func inside torch.compile: plain aten, for there torch drops an autograd.Function's backward without a word.
- DTensors: all of this for the part that a rank holds.
- torch.compile on a CPU, where the bits are sure to be the same: plain aten, which becomes part of the generated code.
- Everything else: the operator, which brings its autograd along.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ternzip.ops import _aten, _derivatives, _dispatch, _operators, _sharded
from ternzip.ops._ternarizer import SATURATING, Ternarizer

_FLAT = len(Ternarizer._fields)  # a ternarizer comes first, flattened, wherever a Function is applied
_KEPT_BY_COMPILERS = (torch.float32, torch.float64)
_NEG, _POS = Ternarizer._fields.index("neg"), Ternarizer._fields.index("pos")


def ternarize(weights: Sequence[Tensor], t: Ternarizer) -> tuple[list[Tensor], Tensor]:
    """(quantized weights, counts), differentiable everywhere."""
    functorch = torch._C._are_functorch_transforms_active()
    if functorch and torch.compiler.is_compiling():
        return _aten.ternarize_differentiably(weights, t)
    if functorch or _dispatch.is_plain(weights):
        *quantized, counts = _Ternarize.apply(*t, *weights)  # type: ignore[no-untyped-call]
        return quantized, counts
    if _sharded.is_sharded(weights):
        return _sharded.ternarize(ternarize, weights, t)
    if _is_left_to_the_compiler(weights, t):
        return _aten.ternarize_differentiably(weights, t)
    quantized, counts = _operators.ternarize_many(weights, *t)
    return quantized, counts


def _is_left_to_the_compiler(weights: Sequence[Tensor], t: Ternarizer) -> bool:
    """Whether generated code does better than the operator, a call back into Python for every layer, with equal bits.

    Ternarizing only compares and chooses. But sums for the levels' gradients have an order; thresholds are rounded to
    the weights' dtype first, which generated code leaves out for half floats; and an estimator that passes gradients to
    infinite weights is beyond what plain aten can write.
    """
    return (
        torch.compiler.is_dynamo_compiling()
        and not torch.compiler.is_exporting()
        and t.ste in SATURATING
        and not (t.neg.requires_grad or t.pos.requires_grad)
        and all(
            (type(w) is Tensor or type(w) is torch.nn.Parameter)
            and w.is_cpu
            and w.dtype in _KEPT_BY_COMPILERS
            for w in weights
        )
    )


def attach(weights: Sequence[Tensor], quantized: Sequence[Tensor], t: Ternarizer) -> list[Tensor]:
    """`quantized` as if `ternarize` had just made it from `weights`."""
    if _sharded.is_sharded([*weights, *quantized]):
        raise TypeError("attach_ste takes no DTensors; call ternarize_many")
    return list(_Attach.apply(*t, len(weights), *weights, *quantized))  # type: ignore[no-untyped-call]


def _backward(
    grads: Sequence[Tensor], weights: Sequence[Tensor], t: Ternarizer, levels: bool
) -> tuple[list[Tensor], Tensor]:
    """_dispatch.backward, differentiable everywhere."""
    if torch._C._are_functorch_transforms_active() or (
        torch.is_grad_enabled() and _dispatch.is_plain(weights)
    ):
        *latent, pairs = _Backward.apply(*t, levels, len(weights), *grads, *weights)  # type: ignore[no-untyped-call]
        return latent, pairs
    return _dispatch.backward(grads, weights, t, levels)


def _gradients(ctx: Any, grads: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    """Of the flattened ternarizer, then of the weights."""
    t, weights = _derivatives.recall(ctx)
    levels = bool(ctx.needs_input_grad[_NEG] or ctx.needs_input_grad[_POS])
    latent, pairs = _backward(grads, weights, t, levels)
    return (None, None, *_derivatives.split_levels(pairs, t, levels), None, None, *latent)


class _Ternarize(torch.autograd.Function):
    """apply(*ternarizer, *weights) -> (*quantized, counts)"""

    generate_vmap_rule = True

    @staticmethod
    def forward(*inputs: Any) -> tuple[Tensor, ...]:
        quantized, counts = _dispatch.ternarize(inputs[_FLAT:], Ternarizer(*inputs[:_FLAT]))
        return (*quantized, counts)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(output[-1])
        _derivatives.remember(ctx, Ternarizer(*inputs[:_FLAT]), *inputs[_FLAT:])

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor | None, ...]:
        t, weights = _derivatives.recall(ctx)
        of_levels = tangents[_NEG], tangents[_POS]
        return (*_derivatives.forward_tangents(tangents[_FLAT:], *of_levels, weights, t), None)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return _gradients(ctx, grads[:-1])


class _Attach(torch.autograd.Function):
    """apply(*ternarizer, count, *weights, *quantized) -> quantized"""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
        t, ctx.count, tensors = Ternarizer(*inputs[:_FLAT]), inputs[_FLAT], inputs[_FLAT + 1 :]
        _derivatives.remember(ctx, t, *tensors[: ctx.count])
        return tuple(q.view_as(q) for q in tensors[ctx.count :])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        found = _gradients(ctx, grads)
        return (*found[:_FLAT], None, *found[_FLAT:], *([None] * ctx.count))


class _Backward(torch.autograd.Function):
    """apply(*ternarizer, levels, count, *grads, *weights) -> (*gradients of the weights, pairs)"""

    generate_vmap_rule = True

    @staticmethod
    def forward(*inputs: Any) -> tuple[Tensor, ...]:
        levels, count, *both = inputs[_FLAT:]
        t = Ternarizer(*inputs[:_FLAT])
        latent, pairs = _dispatch.backward(both[:count], both[count:], t, levels)
        return (*latent, pairs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.levels, ctx.count, *both = inputs[_FLAT:]
        _derivatives.remember(ctx, Ternarizer(*inputs[:_FLAT]), *both)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor | None, ...]:
        t, both = _derivatives.recall(ctx)
        of_grads = tangents[_FLAT + 2 : _FLAT + 2 + ctx.count]
        latent, pairs = _derivatives.backward_tangents(
            of_grads, tangents[_NEG], tangents[_POS], both[: ctx.count], both[ctx.count :], t, ctx.levels
        )
        return (*latent, pairs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        t, both = _derivatives.recall(ctx)
        of_grads, of_neg, of_pos = _derivatives.double_backward(
            grads[:-1], grads[-1], both[: ctx.count], both[ctx.count :], t, ctx.levels
        )
        of_t = None, None, of_neg, of_pos, None, None
        return (*of_t, None, None, *of_grads, *([None] * ctx.count))
