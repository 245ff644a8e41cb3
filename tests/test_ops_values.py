"""Values of the operators, bit for bit, against an oracle in float64, on every instruction set."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from weight_samples import (
    FLOATS,
    LENGTHS,
    THRESHOLDS,
    as_tensors,
    bits,
    clamped,
    draw,
    oracle,
    patterns,
    rounded,
)

from ternzip import ops
from ternzip._core.native import core
from ternzip.ops import _aten
from ternzip.ops._ternarizer import Ternarizer

all_isas = pytest.mark.parametrize("isa", core.available_isas())
all_floats = pytest.mark.parametrize("dtype", FLOATS, ids=str)


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    before, threads = core.active_isa(), torch.get_num_threads()
    yield
    assert core.set_isa(before)
    torch.set_num_threads(threads)


@all_isas
@all_floats
def test_ternarize_against_the_oracle(isa: str, dtype: torch.dtype) -> None:
    assert core.set_isa(isa)
    for n, (lo, hi, neg, pos) in zip(LENGTHS * 2, itertools.cycle(THRESHOLDS), strict=False):
        w = draw(n, dtype, hi, lo, seed=n)
        expected, counted = oracle(w, lo, hi, neg, pos)
        (q,), counts = ops.ternarize_many([w], *as_tensors(lo, hi, neg, pos))
        assert bits(q) == expected
        assert counts.tolist() == [counted]
        t = Ternarizer(*as_tensors(lo, hi, neg, pos))
        assert bits(_aten.quantize(w, t)) == expected
        assert _aten.count(w, t).tolist() == counted


@all_isas
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_every_16_bit_pattern(isa: str, dtype: torch.dtype) -> None:
    assert core.set_isa(isa)
    w = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int32).to(torch.int16).view(dtype)
    grad = torch.randn(len(w), dtype=torch.float64).to(dtype)
    for lo, hi, neg, pos in THRESHOLDS:
        expected, counted = oracle(w, lo, hi, neg, pos)
        (q,), counts = ops.ternarize_many([w], *as_tensors(lo, hi, neg, pos))
        assert bits(q) == expected
        assert counts.tolist() == [counted]
    for ste in ops.STE:
        latent = w.clone().requires_grad_()
        ops.ternarize_many([latent], -0.1, 0.1, -0.7, 0.3, ste=ste)[0][0].backward(grad)
        t = Ternarizer(*as_tensors(-0.1, 0.1, -0.7, 0.3), ste)
        assert bits(latent.grad) == bits(_aten.backward(grad, w, t))
    for clipped in (w.clone(), w.clone().requires_grad_()):
        ops.clip_(clipped, 0.3)
        assert bits(clipped.detach()) == bits(clamped(w, 0.3))


@all_floats
@given(values=st.lists(st.floats(width=64), min_size=1, max_size=30), seed=st.integers(0, 1 << 30))
@settings(max_examples=60, deadline=None)
def test_levels_and_thresholds_round_as_aten_does(dtype: torch.dtype, values: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = [*values, *(2.0 ** rng.uniform(-30, 20, 30) * rng.choice([-1, 1], 30)).tolist()]
    wanted = torch.tensor(values, dtype=torch.float64).to(dtype)
    weights = [torch.tensor([float("inf"), float("-inf")], dtype=dtype)] * len(values)
    each = torch.tensor(values, dtype=torch.float64)
    quantized, _ = ops.ternarize_many(weights, 0.0, 0.0, each, each)
    got = torch.stack(quantized)
    for column in got.unbind(1):
        finite = ~wanted.isnan()
        assert bits(column[finite]) == bits(wanted[finite])
        assert bool(column[~finite].isnan().all())


@all_isas
@all_floats
@pytest.mark.parametrize("ste", ops.STE)
def test_gradients_against_the_oracle(isa: str, dtype: torch.dtype, ste: str) -> None:
    assert core.set_isa(isa)
    lo, hi, neg, pos = (rounded(v, dtype) for v in (-0.2, 0.3, -0.7, 1.3))
    for n, bound in zip(LENGTHS, itertools.cycle([1.0, 0.5]), strict=False):
        w = draw(n, dtype, bound, 0.3, seed=n).requires_grad_()
        grad = draw(n, dtype, seed=n + 1)
        ops.ternarize_many([w], lo, hi, neg, pos, ste=ste, bound=bound)[0][0].backward(grad)
        assert w.grad is not None
        v = w.detach().to(torch.float64)
        keep = {"closed": v.abs() <= bound, "open": v.abs() < bound}.get(ste, ~v.isnan())
        through = grad
        if ste == "scaled":
            factor = torch.ones_like(v).masked_fill(v > hi, pos).masked_fill(v < lo, -neg)
            # Double holds the product of two float32 or narrower exactly; one rounding, as in the kernel.
            product = (grad.to(torch.float64) * factor).to(dtype)
            through = torch.where(factor == 1.0, grad, product)
        expected = torch.where(keep, through, 0.0)
        same = torch.from_numpy(patterns(w.grad) == patterns(expected))
        both_nan = w.grad.isnan() & expected.isnan()  # a product's NaN need not keep its payload
        assert bool((same | both_nan).all()) if ste == "scaled" else bool(same.all())


@all_isas
def test_alignment_offsets_and_strides(isa: str) -> None:
    assert core.set_isa(isa)
    for dtype, offset, n in itertools.product(FLOATS, range(5), (1, 37, 300)):
        base = draw(n + 8, dtype, 0.1, seed=n)
        w = base[offset : offset + n]
        expected, counted = oracle(w, -0.1, 0.1, -1.0, 1.0)
        out = torch.full_like(base, 7.0)
        assert ops.ternarize(w, 0.1, out=out[offset : offset + n]) is not None
        assert bits(out[offset : offset + n]) == expected
        assert bool((out[:offset] == 7).all())
        assert bool((out[offset + n :] == 7).all())
        trits = torch.full((n + 8,), 7, dtype=torch.int8)
        finite = torch.where(w.isnan(), 0.0, w)
        counts = ops.clip_ternarize_count_([finite], [trits[offset : offset + n]], -0.1, 0.1, bound=None)
        assert trits[offset : offset + n].tolist() == ops.ternarize(finite, 0.1).tolist()
        assert counts.tolist() == [[counted[0], counted[1] + counted[3], counted[2], 0]]
        assert bool((trits[:offset] == 7).all())
        assert bool((trits[offset + n :] == 7).all())


def layouts(w: Tensor) -> dict[str, Tensor]:
    """The same 4-d values in other places and orders of memory."""
    padded = torch.zeros(*w.shape[:-1], w.shape[-1] + 3, dtype=w.dtype)
    padded[..., 1:-2] = w
    return {
        "channels_last": w.contiguous(memory_format=torch.channels_last),
        "transposed": w.transpose(0, 3).contiguous().transpose(0, 3),
        "sliced": padded[..., 1:-2],
        "strided": w.repeat_interleave(2, dim=1)[:, ::2],
        "negated": torch.complex(w.float(), -w.float()).conj().imag.to(w.dtype),
    }


@all_floats
def test_layouts_give_the_same_values(dtype: torch.dtype) -> None:
    w = draw(6 * 4 * 3 * 5, dtype, 0.1).reshape(6, 4, 3, 5)
    w = torch.where(w.isnan() | w.isinf(), 0.5, w)
    grad = draw(w.numel(), dtype, seed=1, special=False).reshape(w.shape)
    expected = ops.ternarize(w, 0.1)
    for name, other in layouts(w).items():
        if name == "negated" and dtype == torch.float64:
            continue
        latent = other.detach().requires_grad_()
        q = ops.ternarize(latent, 0.1)
        assert bits(q) == bits(expected), name
        if name in ("channels_last", "transposed"):
            assert q.stride() == other.stride()
        for g in (grad, grad.transpose(0, 1).contiguous().transpose(0, 1)):
            (got,) = torch.autograd.grad(q, latent, g, retain_graph=True)
            assert bits(got) == bits(torch.where(w.abs() <= 1, grad, 0.0)), name
        clipped = other.clone(memory_format=torch.preserve_format)
        out = torch.empty_like(w)
        counts = ops.clip_ternarize_count_([clipped], [out], -0.1, 0.1, bound=0.25)
        assert bits(clipped) == bits(clamped(w, 0.25)), name
        assert bits(out) == bits(expected), name
        assert ops.symbol_counts(counts) == [
            ops.count_symbols(other.sign() * (other.abs() > rounded(0.1, dtype)))
        ]
        in_place = other.clone(memory_format=torch.preserve_format)
        ops.clip_(in_place, 0.25)
        assert bits(in_place) == bits(clamped(w, 0.25)), name
        target = torch.zeros_like(other)
        ops.ternarize(w, 0.1, out=target)
        assert bits(target) == bits(expected), name


def test_a_view_is_clipped_through_to_its_base() -> None:
    base = torch.full((4, 6), 3.0)
    ops.clip_([base[:, ::2], base[1]], 1.0)
    assert base.tolist() == [[1.0, 3.0] * 3, [1.0] * 6, [1.0, 3.0] * 3, [1.0, 3.0] * 3]
    flipped = torch.full((3, 5), -2.0).t()
    out = torch.empty(5, 3)
    ops.clip_ternarize_count_([flipped], [out], -0.5, 0.5)
    assert bool((flipped == -1).all())
    assert bool((out == -1).all())


@all_isas
@all_floats
def test_clip_is_clamp(isa: str, dtype: torch.dtype) -> None:
    assert core.set_isa(isa)
    for n in LENGTHS:
        for bound in (1.0, 0.3, 1e-30, float("inf")):
            w = draw(n, dtype, bound, seed=n)
            small = draw(n, dtype, seed=n, special=False) * 1e-3
            expected = [bits(clamped(w, bound)), bits(clamped(small, bound))]
            ops.clip_([w, small], bound)
            assert [bits(w), bits(small)] == expected


@all_isas
def test_clipping_never_changes_a_ternary_value(isa: str) -> None:
    assert core.set_isa(isa)
    for dtype in FLOATS:
        w = draw(5000, dtype, 0.9, 1.0)
        fused, out = w.clone(), torch.empty_like(w)
        counts = ops.clip_ternarize_count_([fused], [out], -0.9, 0.9, -0.5, 0.5)
        (q,), plain = ops.ternarize_many([w], -0.9, 0.9, -0.5, 0.5)
        assert bits(out) == bits(q)
        assert counts.tolist() == plain.tolist()
        assert bits(fused) == bits(clamped(w, 1))


@all_isas
def test_level_gradients_are_sums_and_do_not_depend_on_threads(isa: str) -> None:
    results = {}
    for name, threads in itertools.product(sorted({"baseline", isa}), (1, 4)):
        assert core.set_isa(name)
        torch.set_num_threads(threads)
        for dtype in FLOATS:
            weights = [draw(n, dtype, seed=n, special=False) for n in (0, 3, 300_001, 8192)]
            grads = [draw(len(w), dtype, seed=len(w) + 1, special=False) for w in weights]
            neg = torch.tensor([-1.0, -0.5, -0.7, -2.0], requires_grad=True)
            pos = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
            quantized, _ = ops.ternarize_many(weights, -0.2, 0.3, neg, pos, ste="scaled")
            torch.autograd.backward(quantized, grads)
            assert neg.grad is not None
            assert pos.grad is not None
            lo, hi = rounded(-0.2, dtype), rounded(0.3, dtype)
            below = [g.double()[w.double() < lo].sum() for w, g in zip(weights, grads, strict=True)]
            above = [g.double()[w.double() > hi].sum() for w, g in zip(weights, grads, strict=True)]
            torch.testing.assert_close(neg.grad, torch.stack(below).float())
            torch.testing.assert_close(pos.grad, torch.stack(above).sum())
            results.setdefault(dtype, []).append((neg.grad.tolist(), pos.grad.tolist()))
    assert all(len({str(r) for r in each}) == 1 for each in results.values())


def test_half_gradients_widen_exactly_into_level_gradients() -> None:
    """Patterns of every exponent, each alone in its tensor: the sum is the value itself."""
    for dtype in (torch.float16, torch.bfloat16):
        for start in (0, 1, 2, 3):
            grads = torch.arange(start, 1 << 16, 93, dtype=torch.int32).to(torch.int16).view(dtype)
            w = torch.ones(1, dtype=dtype)
            pos = torch.zeros(len(grads), dtype=torch.float64, requires_grad=True)
            quantized, _ = ops.ternarize_many([w] * len(grads), -0.1, 0.1, -1.0, pos)
            torch.autograd.backward(quantized, list(grads.unsqueeze(1)))
            assert pos.grad is not None
            torch.testing.assert_close(pos.grad, grads.double() + 0.0, rtol=0, atol=0, equal_nan=True)


@all_isas
def test_threads_change_nothing(isa: str) -> None:
    assert core.set_isa(isa)
    sizes = [500_003, 0, 5, 8192 * 40, 300_000, 1]
    for dtype in FLOATS:
        weights = [draw(n, dtype, 0.1, seed=n) for n in sizes]
        results = []
        for threads in (1, 2, 7):
            torch.set_num_threads(threads)
            copies = [w.clone() for w in weights]
            outs = [torch.empty_like(w) for w in weights]
            counts = ops.clip_ternarize_count_(copies, outs, -0.1, 0.1)
            signs = ops.count_many(weights)
            results.append([counts.tolist(), signs.tolist(), *(bits(t) for t in (*copies, *outs))])
            assert counts.sum(1).tolist() == sizes
        assert results[0] == results[1] == results[2]
