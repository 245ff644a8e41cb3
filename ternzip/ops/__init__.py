"""Ternarize, clip and count: one call for one tensor or for a whole model.

A ternarizer is two thresholds, two levels and a straight-through estimator (STE):

    q = pos if w > hi, neg if w < lo, NaN if w is NaN, else +0          (Eq. 5 of the paper: lo = -D, hi = D)

Thresholds and levels are rounded to the weight's dtype before comparing. The STE says what reaches the
latent w:

    "closed"    dL/dw = dL/dq where |w| <= bound, else 0                (Eq. 2)
    "open"      dL/dw = dL/dq where |w| <  bound, else 0
    "identity"  dL/dw = dL/dq
    "scaled"    dL/dw = dL/dq times pos, 1 or -neg, by the level taken  (TTQ, EC2T)

and is 0 at a NaN always. Levels that require a gradient get the sum of dL/dq over the elements that took
them; thresholds get none. Counts are int64 rows (negative, zero, positive, invalid).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from ternzip._core.symbols import SymbolCounts
from ternzip.ops import _dispatch as dispatch
from ternzip.ops._operators import STE

__all__ = [
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

    w has any floating-point dtype, shape and layout; the result has the same. `delta` is a float >= 0 or a
    0-d tensor; under torch.compile a float that changes recompiles and a tensor does not. `out` receives
    the result instead (w's shape; w's dtype, or int8 for the bare trits, where a NaN raises ValueError) and
    carries no gradient.
    """
    if out is not None:
        _ternarize_out(w, delta, levels, out)
        return out
    hi = _scalar(delta, w)
    (quantized,), _ = ternarize_many([w], -hi, hi, *levels, ste=ste)
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
    _check(weights, ste)
    if not weights:
        return [], torch.zeros((0, 4), dtype=torch.int64)
    scalars = _scalars(weights, lo, hi, neg, pos)
    return dispatch.ternarize_many(weights, ste, bound, *scalars)


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
    """Views of what clip_ternarize_count_ wrote, with the gradient that ternarize_many would give `weights`.

    For the loop that makes its one pass after the optimizer's step: the next forward has nothing to compute.
    The values are taken on trust; weights and scalars must be those that `quantized` was made from.
    """
    _check(weights, ste)
    _check_outs(weights, quantized)
    if not weights:
        return []
    scalars = _scalars(weights, lo, hi, neg, pos)
    return dispatch.attach(weights, quantized, ste, bound, scalars)


def to_trits(w: Tensor, delta: float | Tensor) -> Tensor:
    """The symbols of ternarize(w, delta) as int8 in {-1, 0, +1}. ValueError if w holds a NaN."""
    out = torch.empty_like(w, dtype=torch.int8)
    _ternarize_out(w, delta, (-1.0, 1.0), out)
    return out


def clip_(weights: Tensor | Iterable[Tensor], bound: float = 1.0) -> None:
    """Clip every element to [-bound, +bound] in place; NaN stays. For after every optimizer step."""
    tensors = [weights] if isinstance(weights, Tensor) else list(weights)
    _check_bound(bound)
    if tensors:
        with torch.no_grad():
            dispatch.clip_many_(tensors, bound)


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

    `outs` are preallocated, each of its weight's shape and of its dtype or int8 (bare trits; NaN raises).
    With `bound=None` nothing is clipped and the weights stay as they are. Returns the counts,
    (len(weights), 4), on the weights' device. No gradient flows.
    """
    _check(weights, "closed")
    _check_outs(weights, outs)
    if bound is not None:
        _check_bound(bound)
    if not weights:
        return torch.zeros((0, 4), dtype=torch.int64)
    with torch.no_grad():
        scalars = _scalars(weights, lo, hi, neg, pos)
        counts = dispatch.ternarize_into_(weights, outs, scalars, bound)
        for i, out in enumerate(outs):
            if out.dtype == torch.int8 and int(counts[i, 3]):
                raise ValueError(f"weight {i} holds {int(counts[i, 3])} NaNs, which have no int8 trit")
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
    for name, t in (("grad", grad), ("out", out)):
        if t is not None and (t.shape, t.dtype, t.device) != (w.shape, w.dtype, w.device):
            found, expected = ((tuple(x.shape), x.dtype, str(x.device)) for x in (t, w))
            raise ValueError(f"{name} is {found}, the weight {expected}")
    _check([w], ste)
    with torch.no_grad():
        result = torch.empty_like(w) if out is None else out
        dispatch.ste_backward_([grad], [w], [result], ste, bound)
        return result


def count_many(tensors: Sequence[Tensor]) -> Tensor:
    """Symbols by sign of several tensors in one call: int64 rows (negative, zero, positive, invalid), on
    their device.

    Any floating-point or integer dtype; whatever is below zero is negative, so a tensor that is not ternary
    is counted by sign. NaN is invalid.
    """
    if not tensors:
        return torch.zeros((0, 4), dtype=torch.int64)
    with torch.no_grad():
        return dispatch.count_many(tensors)


def count_symbols(tensors: Tensor | Iterable[Tensor] | Mapping[str, Tensor]) -> SymbolCounts:
    """The symbols of a ternary tensor, or of several together: counts, sparsity, entropy in bits/symbol."""
    if isinstance(tensors, Tensor):
        tensors = [tensors]
    elif isinstance(tensors, Mapping):
        tensors = tensors.values()
    rows: list[Tensor] = []
    by_device: dict[torch.device, list[Tensor]] = {}
    for t in tensors:
        by_device.setdefault(t.device, []).append(t)
    rows = [count_many(group) for group in by_device.values()]
    return sum((c for row in rows for c in symbol_counts(row)), SymbolCounts())


def symbol_counts(counts: Tensor) -> list[SymbolCounts]:
    """Rows of counts as SymbolCounts, one a tensor. Waits for the device."""
    return [SymbolCounts.of(row) for row in counts.tolist()]


def _scalar(value: float | Tensor, like: Tensor) -> Tensor:
    # float64 holds a value of every dtype, so the one rounding to the weight's dtype happens in the kernel.
    if isinstance(value, Tensor):
        return value.to(device=like.device, dtype=torch.float64)
    # For a GPU a number stays here and travels with the launch; a compiled graph keeps to one device.
    stays = like.device.type == "cuda" and not torch.compiler.is_compiling()
    return torch.full((), value, dtype=torch.float64, device="cpu" if stays else like.device)


def _check(weights: Sequence[Tensor], ste: str) -> None:
    if ste not in STE:
        raise ValueError(f"ste must be one of {', '.join(STE)}, not {ste!r}")
    for i, w in enumerate(weights):
        if not w.is_floating_point():
            raise TypeError(f"weight {i} has dtype {w.dtype}; ternarizing needs a floating-point dtype")
        if w.device != weights[0].device:
            raise ValueError(f"weight {i} is on {w.device}, weight 0 on {weights[0].device}")


def _check_bound(bound: float) -> None:
    if not bound > 0:
        raise ValueError(f"the bound of a clip must be positive, not {bound}")


def _scalars(weights: Sequence[Tensor], *values: float | Tensor) -> list[Tensor]:
    """lo, hi, neg and pos as tensors beside the weights, each one value for all or one for each."""
    scalars = [_scalar(value, weights[0]) for value in values]
    for name, value in zip(("lo", "hi", "neg", "pos"), scalars, strict=True):
        if value.dim() > 1 or (value.dim() == 1 and value.shape[0] != len(weights)):
            raise ValueError(f"{name} has shape {tuple(value.shape)}; expected one value, or {len(weights)}")
    return scalars


def _check_outs(weights: Sequence[Tensor], outs: Sequence[Tensor]) -> None:
    if len(outs) != len(weights):
        raise ValueError(f"{len(outs)} outputs for {len(weights)} weights")
    for i, (w, out) in enumerate(zip(weights, outs, strict=True)):
        if out.shape != w.shape:
            raise ValueError(f"output {i} has shape {tuple(out.shape)}, its weight {tuple(w.shape)}")
        if out.dtype not in (w.dtype, torch.int8):
            raise TypeError(f"output {i} has dtype {out.dtype}; expected {w.dtype} or torch.int8")
        if out.device != w.device:
            raise ValueError(f"output {i} is on {out.device}, its weight on {w.device}")


def _ternarize_out(
    w: Tensor, delta: float | Tensor, levels: tuple[float | Tensor, float | Tensor], out: Tensor
) -> None:
    hi = _scalar(delta, w)
    if torch.is_grad_enabled() and (w.requires_grad or out.requires_grad) and out.dtype != torch.int8:
        raise RuntimeError(
            "ternarize: out= carries no gradient; call it under torch.no_grad() or on w.detach()"
        )
    clip_ternarize_count_([w], [out], -hi, hi, *levels, bound=None)
