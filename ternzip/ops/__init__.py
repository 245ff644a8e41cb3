"""Ternarize, clip and count: one call for one tensor or for a whole model.

A ternarizer is two thresholds, two levels and a straight-through estimator (STE):

    q = pos if w > hi, neg if w < lo, NaN if w is NaN, else +0          (Eq. 5 of the paper: lo = -D, hi = D)

Weights are float64, float32, float16 or bfloat16. Thresholds and levels are rounded to the weight's dtype before
comparing; where thresholds cross, pos wins. The STE says what reaches the latent w:

    "closed"    dL/dw = dL/dq where |w| <= bound, else 0                (Eq. 2)
    "open"      dL/dw = dL/dq where |w| <  bound, else 0
    "identity"  dL/dw = dL/dq
    "scaled"    dL/dw = dL/dq times pos, 1 or -neg, by the level taken  (TTQ, EC2T)

and is 0 at a NaN always. Levels that require a gradient get the sum of dL/dq over the elements that took
them; thresholds get none. Counts are int64 rows (negative, zero, positive, invalid).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ternzip._core.extras import require

require("ternzip.ops", "torch", "torch")

import torch
from torch import Tensor

from ternzip._core.symbols import SymbolCounts
from ternzip.ops import _autograd, _dispatch
from ternzip.ops._arguments import (
    check_countable,
    check_floating,
    check_outputs,
    check_tensor,
    check_writable,
    delta_of,
)
from ternzip.ops._ternarizer import SATURATING, STE, check_bound, ternarizer_for

__all__ = [
    "SATURATING",
    "STE",
    "attach_ste",
    "clip_",
    "clip_ternarize_count_",
    "count_many",
    "count_symbols",
    "ste_backward",
    "symbol_counts",
    "ternarize",
    "ternarize_many",
    "to_trits",
]


def ternarize(
    w: Tensor,
    delta: float | Tensor,
    *,
    levels: tuple[float | Tensor, float | Tensor] = (-1.0, 1.0),
    ste: str = "closed",
    out: Tensor | None = None,
) -> Tensor:
    """w ternarized with the threshold delta: levels[1] where w > delta, levels[0] where w < -delta, else 0.

    w is float64, float32, float16 or bfloat16, of any shape and layout; the result has the same, and a NaN where w has
    one. `delta` is a finite float >= 0 or a 0-d tensor, whose value is checked only where it lies on the CPU outside of
    torch.compile; under torch.compile a float that changes recompiles and a tensor does not.

    `ste` says which of the result's gradient reaches w: that where |w| <= 1 ("closed") or |w| < 1 ("open"), all of it
    ("identity"), or all of it times the size of the level taken, 1 for zeros ("scaled", TTQ's).

    `out` receives the result instead (w's shape; w's dtype, or int8 for the bare trits, where a NaN raises ValueError)
    and carries no gradient.

    Raises TypeError for another dtype, ValueError for a threshold, levels or an estimator that are none.
    """
    check_tensor("weight", 0, w)
    if out is not None:
        _ternarize_out(w, delta, levels, out)
        return out
    hi = delta_of(delta, w)
    neg, pos = levels
    (quantized,), _ = ternarize_many([w], -hi, hi, neg, pos, ste=ste)
    return quantized


def ternarize_many(
    weights: Sequence[Tensor],
    lo: float | Tensor,
    hi: float | Tensor,
    neg: float | Tensor = -1.0,
    pos: float | Tensor = 1.0,
    *,
    ste: str = "closed",
    bound: float = 1.0,
) -> tuple[list[Tensor], Tensor]:
    """All weights of a model in one call: (quantized tensors, counts of shape (len(weights), 4)).

    `lo`, `hi`, `neg` and `pos` are floats or tensors: 0-d, one value for all, or 1-d with one value for
    each weight (`torch.stack` learned levels). All weights lie on one device. The counts stay on it,
    uncopied: nothing waits.
    """
    check_floating(weights)
    if not weights:
        return [], _no_counts()
    return _autograd.ternarize(weights, ternarizer_for(weights, lo, hi, neg, pos, ste, bound))


def attach_ste(
    weights: Sequence[Tensor],
    quantized: Sequence[Tensor],
    lo: float | Tensor,
    hi: float | Tensor,
    neg: float | Tensor = -1.0,
    pos: float | Tensor = 1.0,
    *,
    ste: str = "closed",
    bound: float = 1.0,
) -> list[Tensor]:
    """Views of what `clip_ternarize_count_` wrote, with the gradient that ternarize_many would give `weights`.

    For the loop that makes its one pass after the optimizer's step: the next forward has nothing to compute.
    The values are taken on trust; weights and scalars must be those that `quantized` was made from.
    """
    check_floating(weights)
    check_outputs(weights, quantized)
    if not weights:
        return []
    return _autograd.attach(weights, quantized, ternarizer_for(weights, lo, hi, neg, pos, ste, bound))


def to_trits(w: Tensor, delta: float | Tensor) -> Tensor:
    """The symbols of ternarize(w, delta) as int8 in {-1, 0, +1}. ValueError if w holds a NaN.

    Waits for the device to know; so torch.compile cannot make one graph of it.
    """
    out = torch.empty_like(w, dtype=torch.int8)
    _ternarize_out(w, delta, (-1.0, 1.0), out)
    return out


def clip_(weights: Tensor | Iterable[Tensor], bound: float = 1.0) -> None:
    """Clip every element to [-bound, +bound] in place; NaN stays. For after every optimizer step.

    The tensors may differ in dtype and device.
    """
    tensors = [weights] if isinstance(weights, Tensor) else list(weights)
    check_bound(bound)
    check_floating(tensors, one_device=False)
    check_writable("weight", tensors)
    if tensors:
        with torch.no_grad():
            _dispatch.clip_(tensors, bound)


def clip_ternarize_count_(
    weights: Sequence[Tensor],
    outs: Sequence[Tensor],
    lo: float | Tensor,
    hi: float | Tensor,
    neg: float | Tensor = -1.0,
    pos: float | Tensor = 1.0,
    *,
    bound: float | None = 1.0,
) -> Tensor:
    """One pass for right after the optimizer's step: clip in place, ternarize into `outs`, count.

    `outs` are preallocated, each of its weight's shape and of its dtype or int8 (bare trits; a NaN raises ValueError,
    after waiting for the device). An output may be its own weight; it shares memory with nothing else of the call.
    With `bound=None` nothing is clipped and the weights stay as they are. Returns the counts,
    (len(weights), 4), on the weights' device. No gradient flows.
    """
    check_floating(weights)
    check_outputs(weights, outs)
    check_writable("output", outs)
    if bound is not None:
        check_bound(bound)
        check_writable("weight", weights)
    if not weights:
        return _no_counts()
    with torch.no_grad():
        t = ternarizer_for(weights, lo, hi, neg, pos)
        counts = _dispatch.ternarize_into_(weights, outs, t, bound)
        _refuse_nan_trits(outs, counts)
    return counts


def ste_backward(
    grad: Tensor, w: Tensor, *, ste: str = "closed", bound: float = 1.0, out: Tensor | None = None
) -> Tensor:
    """The estimator's gradient alone, for loops without autograd: grad where w lies within the bound, else 0.

    grad, w and `out` (which may be grad itself) have one shape, dtype and device. "scaled" needs levels and
    is not offered here. No gradient flows.
    """
    if ste not in ("closed", "open", "identity"):
        raise ValueError(f"ste must be closed, open or identity, not {ste!r}")
    check_bound(bound)
    for name, t in (("grad", grad), ("out", out)):
        if t is not None and (t.shape, t.dtype, t.device) != (w.shape, w.dtype, w.device):
            found, expected = ((tuple(x.shape), x.dtype, str(x.device)) for x in (t, w))
            raise ValueError(f"{name} is {found}, the weight {expected}")
    check_floating([w])
    with torch.no_grad():
        result = torch.empty_like(w) if out is None else out
        if out is not None:
            check_writable("output", [out])
        _dispatch.ste_backward_([grad], [w], [result], ste, bound)
        return result


def count_many(tensors: Sequence[Tensor]) -> Tensor:
    """Symbols by sign of several tensors in one call: int64 rows (negative, zero, positive, invalid), on
    their device.

    Any floating-point or integer dtype, float8 and the unsigned too; whatever is below zero is negative, so a tensor
    that is not ternary is counted by sign. NaN is invalid. TypeError for bool and complex.
    """
    check_countable(tensors)
    if not tensors:
        return _no_counts()
    with torch.no_grad():
        return _dispatch.count(tensors)


def count_symbols(tensors: Tensor | Iterable[Tensor] | Mapping[str, Tensor]) -> SymbolCounts:
    """The symbols of a ternary tensor, or of several together: counts, sparsity, entropy in bits/symbol.

    Whatever is below zero is negative, so a tensor that is not ternary is counted by sign; NaN is `invalid`. Floats or
    integers of any dtype, on several devices, which are waited for; TypeError for bool and complex.
    """
    if isinstance(tensors, Tensor):
        tensors = [tensors]
    elif isinstance(tensors, Mapping):
        tensors = tensors.values()
    by_device: dict[torch.device, list[Tensor]] = {}
    for i, t in enumerate(tensors):
        check_tensor("tensor", i, t)
        by_device.setdefault(t.device, []).append(t)
    rows = [count_many(group) for group in by_device.values()]
    return sum((c for row in rows for c in symbol_counts(row)), SymbolCounts())


def symbol_counts(counts: Tensor) -> list[SymbolCounts]:
    """Rows of counts as SymbolCounts, one a tensor. Waits for the device."""
    return [SymbolCounts.of(row) for row in counts.tolist()]


def _no_counts() -> Tensor:
    return torch.zeros((0, 4), dtype=torch.int64, device="cpu")


def _refuse_nan_trits(outs: Sequence[Tensor], counts: Tensor) -> None:
    if counts.device.type == "meta" or not any(out.dtype == torch.int8 for out in outs):
        return
    for i, (out, invalid) in enumerate(zip(outs, counts[:, 3].tolist(), strict=True)):
        if out.dtype == torch.int8 and invalid:
            raise ValueError(f"weight {i} holds {invalid} NaNs, which have no int8 trit")


def _ternarize_out(
    w: Tensor, delta: float | Tensor, levels: tuple[float | Tensor, float | Tensor], out: Tensor
) -> None:
    hi = delta_of(delta, w)
    if torch.is_grad_enabled() and (w.requires_grad or out.requires_grad) and out.dtype != torch.int8:
        raise RuntimeError(
            "ternarize: out= carries no gradient; call it under torch.no_grad() or on w.detach()"
        )
    neg, pos = levels
    clip_ternarize_count_([w], [out], -hi, hi, neg, pos, bound=None)
