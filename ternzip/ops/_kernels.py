"""The work itself, on the tensors of a whole model: by a native kernel where there is one, else in plain aten.

The choice falls here and nowhere else; the results are the same bits. A native kernel runs over a tensor in memory
order, so what is not dense goes through a copy. Nothing here differentiates, and arguments have been checked.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from typing import Protocol

import torch
from torch import Tensor

from ternzip.ops import _aten, _cpu, _cuda
from ternzip.ops._ternarizer import Ternarizer, estimator, scalar_dtype

WEIGHT_CODES = {torch.float64: 0, torch.float32: 1, torch.float16: 2, torch.bfloat16: 3}
_COUNT_CODES = {**WEIGHT_CODES, torch.int8: 8, torch.int16: 9, torch.int32: 10, torch.int64: 11}


class _Native(Protocol):
    """What `_cpu` and `_cuda` offer; `jobs` are rows of addresses and sizes."""

    def ternarize(self, jobs: list[int], t: Ternarizer, clip: float | None, counts: Tensor) -> None: ...
    def backward(
        self, jobs: list[int], t: Ternarizer, like: Tensor, pairs: Tensor | None, levels: bool
    ) -> None: ...
    def clip(self, jobs: list[int], bound: float, like: Tensor) -> None: ...
    def count(self, jobs: list[int], counts: Tensor) -> None: ...


def _native_for(tensors: Sequence[Tensor], dtypes: Collection[torch.dtype] = WEIGHT_CODES) -> _Native | None:
    """The kernels that take all of these; None where plain aten serves them."""
    if _cuda.serves(tensors, dtypes):
        return _cuda
    return _cpu if _cpu.serves(tensors, dtypes) else None


def _addresses(tensors: Sequence[Tensor], beside: Tensor) -> list[int]:
    """Where their elements are, for a kernel that runs where `beside` lies.

    The last look before native code: what has no memory there (freed storage, meta) is an error, not a crash.
    """
    addresses = [t.data_ptr() for t in tensors]
    on_host = beside.is_cpu
    for t, address in zip(tensors, addresses, strict=True):
        if t.is_cpu is not on_host or (not address and t.numel()):
            raise ValueError(
                f"a tensor of shape {tuple(t.shape)} on {t.device} holds no memory on {beside.device}"
            )
    return addresses


def _check_apart(outs: Sequence[Tensor], *inputs: Sequence[Tensor]) -> None:
    """ValueError if an output shares memory with another one, or with an input unless that is its own, entirely.

    Rows are worked on several at once: who reads what another row writes would get either. All tensors are dense.
    """
    written, *read = (
        [(at := t.data_ptr(), at + t.numel() * t.itemsize) for t in tensors] for tensors in (outs, *inputs)
    )
    others = {span for each in read for span, own in zip(each, written, strict=True) if span != own}
    spans = sorted([*written, *others])
    if not any(end > start for (_, end), (start, _) in itertools.pairwise(spans)):
        return
    for i, (start, end) in enumerate(written):
        for begin, stop in (*written[:i], *written[i + 1 :], *others):
            if max(start, begin) < min(end, stop):
                raise ValueError(f"output {i} shares memory with another tensor of the call")


def _is_dense(t: Tensor) -> bool:
    """Whether t's elements fill one stretch of memory, so that a kernel may run over it in memory order."""
    return t.is_contiguous() or torch.empty_like(t, device="meta").stride() == t.stride()


def _laid_out_like(t: Tensor, like: Tensor) -> Tensor:
    """t itself, or a copy, in the memory order of the dense tensor `like`."""
    return t if t.stride() == like.stride() else torch.empty_like(like).copy_(t)


def new_counts(tensors: Sequence[Tensor]) -> Tensor:
    """Room for a row of counts (negative, zero, positive, invalid) a tensor."""
    return torch.empty((len(tensors), 4), dtype=torch.int64, device=tensors[0].device)


def new_pairs(weights: Sequence[Tensor]) -> Tensor:
    """Room for the gradients of (neg, pos), a pair a weight."""
    device = weights[0].device
    return torch.empty((len(weights), 2), dtype=scalar_dtype(device), device=device)


# --- forward -----------------------------------------------------------------------------------------------


def ternarize(weights: Sequence[Tensor], t: Ternarizer) -> tuple[list[Tensor], Tensor]:
    """(quantized weights, counts)."""
    outs = [torch.empty_like(w) for w in weights]
    sources = [_laid_out_like(w, out) for w, out in zip(weights, outs, strict=True)]
    return outs, _ternarize_dense_(sources, outs, t, None)


def ternarize_into_(
    weights: Sequence[Tensor], outs: Sequence[Tensor], t: Ternarizer, clip: float | None
) -> Tensor:
    """Clips the weights in place where `clip` is a bound, fills `outs` (their dtype or int8), returns the counts."""
    sources, targets = [], []
    for w, out in zip(weights, outs, strict=True):
        source = w if _is_dense(w) else torch.empty_like(w).copy_(w)
        sources.append(source)
        targets.append(out if out.stride() == source.stride() else torch.empty_like(source, dtype=out.dtype))
    _check_apart(targets, sources)
    counts = _ternarize_dense_(sources, targets, t, clip)
    for w, source, out, target in zip(weights, sources, outs, targets, strict=True):
        if clip is not None and source is not w:
            w.copy_(source)
        if target is not out:
            out.copy_(target)
    return counts


def _ternarize_dense_(
    weights: Sequence[Tensor], outs: Sequence[Tensor], t: Ternarizer, clip: float | None
) -> Tensor:
    """As ternarize_into_, for weights and outputs that are dense and in the same memory order."""
    counts = new_counts(weights)
    native = _native_for(weights)
    if native is not None:
        sources, sinks = _addresses(weights, counts), _addresses(outs, counts)
        jobs: list[int] = []
        for w, source, out, sink in zip(weights, sources, outs, sinks, strict=True):
            jobs += (source, w.numel(), WEIGHT_CODES[w.dtype], sink, out.dtype == torch.int8)
        native.ternarize(jobs, t, clip, counts)
        return counts
    for i, (w, out) in enumerate(zip(weights, outs, strict=True)):
        own = t.at(i)
        if clip is not None:
            w.clamp_(-clip, clip)
        row = _aten.count(w, own)  # before an output that is the weight itself is filled
        out.copy_(_aten.trits(w, own) if out.dtype == torch.int8 else _aten.quantize(w, own))
        counts[i] = row
    return counts


# --- backward ----------------------------------------------------------------------------------------------


def backward(
    grads: Sequence[Tensor], weights: Sequence[Tensor], t: Ternarizer, levels: bool
) -> tuple[list[Tensor], Tensor]:
    """(gradients of the weights, gradients of (neg, pos) a weight, zeros unless `levels`)."""
    outs = [torch.empty_like(w) for w in weights]
    grads = [_laid_out_like(grad, out) for grad, out in zip(grads, outs, strict=True)]
    weights = [_laid_out_like(w, out) for w, out in zip(weights, outs, strict=True)]
    pairs = new_pairs(weights)
    _backward_dense_(grads, weights, outs, t, pairs, levels)
    return outs, pairs


def ste_backward_(
    grads: Sequence[Tensor], weights: Sequence[Tensor], outs: Sequence[Tensor], ste: str, bound: float
) -> None:
    """Fills `outs` with the gradients of an estimator that needs no levels."""
    targets = [out if _is_dense(out) else torch.empty_like(out) for out in outs]
    grads = [_laid_out_like(grad, target) for grad, target in zip(grads, targets, strict=True)]
    weights = [_laid_out_like(w, target) for w, target in zip(weights, targets, strict=True)]
    _check_apart(targets, grads, weights)
    _backward_dense_(grads, weights, targets, estimator(ste, bound, weights[0].device), None, False)
    for out, target in zip(outs, targets, strict=True):
        if target is not out:
            out.copy_(target)


def _backward_dense_(
    grads: Sequence[Tensor],
    weights: Sequence[Tensor],
    outs: Sequence[Tensor],
    t: Ternarizer,
    pairs: Tensor | None,
    levels: bool,
) -> None:
    """Three tensors a weight, dense, in the same memory order."""
    has_kernel = t.ste != "scaled" or all(w.dtype.itemsize >= 4 for w in weights)
    native = _native_for(weights) if has_kernel else None
    if native is not None:
        upstreams, sources, sinks = (_addresses(each, weights[0]) for each in (grads, weights, outs))
        jobs: list[int] = []
        for w, upstream, source, sink in zip(weights, upstreams, sources, sinks, strict=True):
            jobs += (upstream, source, w.numel(), WEIGHT_CODES[w.dtype], sink)
        native.backward(jobs, t, weights[0], pairs, levels)
        return
    if pairs is not None and not levels:
        pairs.zero_()
    for i, (grad, w, out) in enumerate(zip(grads, weights, outs, strict=True)):
        own = t.at(i)
        if pairs is not None and levels:
            pairs[i] = _aten.level_gradients(grad, w, own)
        out.copy_(_aten.backward(grad, w, own))


# --- clip and count ----------------------------------------------------------------------------------------


def clip_(weights: Sequence[Tensor], bound: float) -> None:
    """In place. The weights may lie on several devices."""
    by_device: dict[torch.device, list[Tensor]] = {}
    for w in weights:
        by_device.setdefault(w.device, []).append(w)
    for group in by_device.values():
        dense = [w for w in group if _is_dense(w)]
        native = _native_for(dense)
        if native is not None:
            native.clip(_jobs(dense, group[0], WEIGHT_CODES), bound, group[0])
        for w in group:
            if native is None or not _is_dense(w):
                w.clamp_(-bound, bound)


def count(tensors: Sequence[Tensor]) -> Tensor:
    """int64 rows (negative, zero, positive, invalid) by the sign of the elements."""
    counts = new_counts(tensors)
    native = _native_for(tensors, _COUNT_CODES)
    if native is not None:
        dense = [t if _is_dense(t) else t.contiguous() for t in tensors]
        native.count(_jobs(dense, counts, _COUNT_CODES), counts)
        return counts
    for i, t in enumerate(tensors):
        counts[i] = _aten.count_signs(t)
    return counts


def _jobs(tensors: Sequence[Tensor], beside: Tensor, codes: dict[torch.dtype, int]) -> list[int]:
    """Rows (address, elements, dtype code)."""
    addresses = _addresses(tensors, beside)
    return [n for t, at in zip(tensors, addresses, strict=True) for n in (at, t.numel(), codes[t.dtype])]
