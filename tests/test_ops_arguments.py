"""What the calls refuse, in one line each, before anything is written."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ternzip import ops
from ternzip._core.symbols import SymbolCounts

NAN, INF = math.nan, math.inf
FLOAT8 = [torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz]


def test_errors_name_what_is_wrong() -> None:
    w = torch.randn(3)
    with pytest.raises(ValueError, match=r"ste must be one of .*, not 'shut'"):
        ops.ternarize(w, 0.1, ste="shut")
    with pytest.raises(TypeError, match=r"weight 0 has dtype torch\.int32"):
        ops.ternarize(w.int(), 0.1)
    with pytest.raises(ValueError, match=r"weight 1 is on meta, weight 0 on cpu"):
        ops.ternarize_many([w, w.to("meta")], -0.1, 0.1)
    with pytest.raises(ValueError, match=r"hi has shape \(3,\); expected one value, or 1"):
        ops.ternarize_many([w], -0.1, torch.zeros(3))
    with pytest.raises(ValueError, match=r"lo has shape \(1, 1\)"):
        ops.ternarize_many([w], torch.zeros(1, 1), 0.1)
    for bound in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="the bound must be positive"):
            ops.clip_(w, bound)
        with pytest.raises(ValueError, match="the bound must be positive"):
            ops.clip_ternarize_count_([w], [w.clone()], -0.1, 0.1, bound=bound)
    with pytest.raises(ValueError, match=r"0 outputs for 1 weights"):
        ops.clip_ternarize_count_([w], [], -0.1, 0.1)
    with pytest.raises(ValueError, match=r"output 0 has shape \(4,\), its weight \(3,\)"):
        ops.ternarize(w, 0.1, out=torch.empty(4))
    with pytest.raises(
        TypeError, match=r"output 0 has dtype torch.float64; expected torch.float32 or torch.int8"
    ):
        ops.ternarize(w, 0.1, out=torch.empty(3).double())
    with pytest.raises(ValueError, match="output 0 is on meta, its weight on cpu"):
        ops.ternarize(w, 0.1, out=torch.empty(3, device="meta"))
    with pytest.raises(RuntimeError, match=r"out= carries no gradient"):
        ops.ternarize(w.requires_grad_(), 0.1, out=torch.empty(3))
    with pytest.raises(ValueError, match="weight 0 holds 2 NaNs, which have no int8 trit"):
        ops.to_trits(torch.tensor([float("nan"), 0.0, -float("nan")]), 0.1)


def test_nothing_to_do() -> None:
    assert ops.ternarize_many([], -0.1, 0.1)[0] == []
    assert ops.clip_ternarize_count_([], [], -0.1, 0.1).shape == (0, 4)
    ops.clip_([])


@pytest.mark.parametrize("delta", [-0.1, -1e-300, NAN, INF, -INF])
def test_delta_is_a_finite_number_of_at_least_zero(delta: float) -> None:
    w = torch.randn(5)
    calls: list[Callable[[float | Tensor], Tensor]] = [
        lambda d: ops.ternarize(w, d),
        lambda d: ops.ternarize(w, d, out=torch.empty(5)),
        lambda d: ops.to_trits(w, d),
    ]
    for call in calls:
        for value in (delta, torch.tensor(delta, dtype=torch.float64)):
            with pytest.raises(ValueError, match=r"delta must be a finite number >= 0, not -?[\dein.-]"):
                call(value)
    with pytest.raises(ValueError, match=r"delta has shape \(1,\); expected one value"):
        ops.ternarize(w, torch.tensor([0.1]))
    assert ops.ternarize(w, 0.0).equal(w.sign())
    assert not ops.ternarize(w, 1e300).any()  # beyond every float32


def test_a_delta_that_learns_is_looked_at_without_a_warning() -> None:
    w = torch.randn(5)
    assert ops.ternarize(w, torch.tensor(0.1, requires_grad=True)).equal(ops.ternarize(w, 0.1))


@pytest.mark.parametrize("call", ["ternarize", "many", "attach", "fused"])
def test_thresholds_levels_and_bounds_are_numbers_in_order(call: str) -> None:
    w, q = torch.randn(5), torch.empty(5)

    def run(
        lo: float = -0.1, hi: float = 0.1, neg: float = -1.0, pos: float = 1.0, bound: float = 1.0
    ) -> object:
        if call == "ternarize":
            return ops.ternarize(w, hi, levels=(neg, pos))
        if call == "many":
            return ops.ternarize_many([w], lo, hi, neg, pos, bound=bound)
        if call == "attach":
            return ops.attach_ste([w], [q], lo, hi, neg, pos, bound=bound)
        return ops.clip_ternarize_count_([w], [q], lo, hi, neg, pos, bound=bound)

    before = w.clone()
    for neg in (NAN, 0.0, 0.5, -INF):
        with pytest.raises(ValueError, match=r"the level of -1 must be finite and below 0, not"):
            run(neg=neg)
    for pos in (NAN, 0.0, -0.5, INF):
        with pytest.raises(ValueError, match=r"the level of \+1 must be finite and above 0, not"):
            run(pos=pos)
    if call != "ternarize":
        for name in ("lo", "hi"):
            with pytest.raises(ValueError, match=f"the threshold {name} must be a number, not nan"):
                run(**{name: NAN})
        for bound in (NAN, 0.0, -1.0):
            with pytest.raises(ValueError, match="the bound must be positive"):
                run(bound=bound)
        run(lo=-INF, hi=INF, bound=INF)
    assert w.equal(before)


def test_the_estimator_needs_a_positive_bound() -> None:
    for bound in (NAN, 0.0, -1.0):
        with pytest.raises(ValueError, match="the bound must be positive"):
            ops.ste_backward(torch.ones(2), torch.ones(2), bound=bound)


@pytest.mark.parametrize("dtype", [*FLOAT8, torch.int64, torch.bool, torch.complex64], ids=str)
def test_only_dtypes_that_can_be_trained_are_ternarized_and_clipped(dtype: torch.dtype) -> None:
    w = torch.ones(4).to(dtype)
    named = rf"weight 0 has dtype {dtype}; expected one of float64, float32, float16, bfloat16"
    calls: list[Callable[[], object]] = [
        lambda: ops.ternarize(w, 0.1),
        lambda: ops.to_trits(w, 0.1),
        lambda: ops.clip_(w),
        lambda: ops.clip_ternarize_count_([w], [w.clone()], -0.1, 0.1),
        lambda: ops.attach_ste([w], [w], -0.1, 0.1),
        lambda: ops.ste_backward(w, w),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=named):
            call()


def test_sparse_weights_are_refused_by_name() -> None:
    w = torch.eye(3).to_sparse()
    for call in (lambda: ops.ternarize(w, 0.1), lambda: ops.clip_(w)):
        with pytest.raises(TypeError, match=r"weight 0 has layout torch.sparse_coo; expected torch.strided"):
            call()
    with pytest.raises(TypeError, match=r"tensor 0 has layout torch.sparse_coo; expected torch.strided"):
        ops.count_symbols(w)


@pytest.mark.parametrize("dtype", [*FLOAT8, torch.uint16, torch.uint32, torch.uint64], ids=str)
def test_every_float_and_integer_is_counted(dtype: torch.dtype) -> None:
    values = torch.tensor([1.0, 0.0, 0.0, 2.0]).to(dtype)
    if dtype.is_floating_point:
        values = torch.tensor([-1.0, 0.0, NAN, 2.0]).to(dtype)
    expected = SymbolCounts(1, 1, 1, 1) if dtype.is_floating_point else SymbolCounts(0, 2, 2)
    assert ops.count_symbols(values) == expected
    if dtype == torch.uint64:
        assert ops.count_symbols(torch.tensor([-1, 1 << 62]).view(torch.uint64)) == SymbolCounts(0, 0, 2)


@pytest.mark.parametrize("dtype", [torch.bool, torch.complex64], ids=str)
def test_what_has_no_sign_is_not_counted(dtype: torch.dtype) -> None:
    with pytest.raises(
        TypeError, match=f"tensor 1 has dtype {dtype}; symbols are counted in floats and integers"
    ):
        ops.count_symbols([torch.zeros(2), torch.ones(3).to(dtype)])


def test_tensors_to_count_in_one_call_lie_together() -> None:
    with pytest.raises(ValueError, match="tensor 1 is on meta, tensor 0 on cpu"):
        ops.count_many([torch.zeros(2), torch.zeros(2, device="meta")])


def test_expanded_tensors_are_refused_before_anything_is_written() -> None:
    first, expanded = torch.full((3,), 5.0), torch.full((1,), 5.0).expand(3)
    message = r"1 is expanded: several elements share one place; expected a clone\(\)"
    with pytest.raises(ValueError, match="weight " + message):
        ops.clip_([first, expanded])
    outs = [torch.zeros(3), torch.zeros(3)]
    with pytest.raises(ValueError, match="weight " + message):
        ops.clip_ternarize_count_([first, expanded], outs, -0.1, 0.1)
    with pytest.raises(ValueError, match="output " + message):
        ops.clip_ternarize_count_([first, first.clone()], [outs[0], torch.zeros(1).expand(3)], -0.1, 0.1)
    with pytest.raises(ValueError, match=message.replace("1 is", "output 0 is")):
        ops.ste_backward(first, first, out=expanded)
    assert first.tolist() == [5.0] * 3
    assert not outs[0].any()
    assert ops.ternarize(expanded, 0.1).tolist() == [1.0] * 3  # to read it is no harm
    assert ops.clip_ternarize_count_([expanded], [outs[0]], -0.1, 0.1, bound=None).tolist() == [[0, 0, 3, 0]]


def test_outputs_that_share_memory_are_refused_before_anything_is_written() -> None:
    """Weights are worked on by several threads: who reads what another one writes would get either."""
    memory = torch.linspace(-1, 1, 24)
    before = memory.clone()
    a, b, c = memory[:8], memory[8:16], memory[16:]
    crossing = memory[4:12]
    trits = memory.view(torch.int8)
    for weights, outs in (
        ([a, b], [c, c]),
        ([a, b], [b, a]),
        ([a, b], [c, crossing]),
        ([a], [crossing]),
        ([a], [trits[:8]]),
        ([c, a], [trits[:8], trits[4:12]]),
    ):
        with pytest.raises(ValueError, match=r"output \d shares memory with another tensor of the call"):
            ops.clip_ternarize_count_(weights, outs, -0.1, 0.1, bound=0.5)
    with pytest.raises(ValueError, match="output 0 shares memory with another tensor"):
        ops.ste_backward(a, b, out=crossing)
    assert memory.equal(before)


def test_memory_that_is_shared_without_harm() -> None:
    """A weight is its own output, a weight comes twice, columns of one table alternate, tensors are empty."""
    w = torch.linspace(-2, 2, 9)
    expected = ops.ternarize(w, 0.5)
    in_place = w.clone()
    ops.clip_ternarize_count_([in_place], [in_place], -0.5, 0.5)
    assert in_place.equal(expected)
    outs = [torch.empty(9), torch.empty(9)]
    tied = w.clone()
    ops.clip_ternarize_count_([tied, tied], outs, -0.5, 0.5)
    assert all(out.equal(expected) for out in outs)
    assert tied.equal(w.clamp(-1, 1))
    both = w.clone()
    ops.clip_([both, both], 0.25)
    assert both.equal(w.clamp(-0.25, 0.25))
    table = torch.stack([w, w], dim=1)
    ops.clip_ternarize_count_([table[:, 0]], [table[:, 1]], -0.5, 0.5, bound=None)
    assert table[:, 1].equal(expected)
    empty = torch.empty(0)
    assert not ops.clip_ternarize_count_([empty, empty], [empty, empty], -0.5, 0.5).any()
    grad = torch.ones(9)
    ops.ste_backward(grad, w, out=grad)
    assert grad.equal((w.abs() <= 1).float())


def test_what_is_no_tensor_is_named() -> None:
    wrong: Any = [1.0, 2.0]
    for call in (
        lambda: ops.ternarize(wrong, 0.1),
        lambda: ops.ternarize(wrong, 0.1, out=torch.empty(2)),
        lambda: ops.ternarize_many([wrong], -0.1, 0.1),
        lambda: ops.clip_([wrong]),
    ):
        with pytest.raises(TypeError, match="weight 0 is a list; expected a tensor"):
            call()
    for count in (ops.count_symbols, ops.count_many):
        with pytest.raises(TypeError, match="tensor 1 is a float; expected a tensor"):
            count([torch.zeros(2), 1.0])  # type: ignore[list-item]


def test_both_levels_are_wanted() -> None:
    one: Any = (-2.0,)  # of which the other was once taken to be 1
    for out in (None, torch.empty(3)):
        with pytest.raises(ValueError, match="not enough values"):
            ops.ternarize(torch.randn(3), 0.1, levels=one, out=out)
