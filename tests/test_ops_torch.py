"""The operators inside PyTorch: compile, export, autocast, torch.func, double backward, fallbacks."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import ternzip
from ternzip import ops
from ternzip._core.native import core
from ternzip.ops import _aten, _dispatch, _kernels, _operators
from ternzip.ops._ternarizer import Ternarizer

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def scalars(*values: float, grad: bool = False) -> list[Tensor]:
    return [torch.tensor(v, dtype=torch.float64, requires_grad=grad) for v in values]


def some_weights(dtype: torch.dtype, grad: bool = True) -> list[Tensor]:
    torch.manual_seed(3)
    weights = [
        torch.randn(5, 3),
        torch.randn(4, 6, 3, 3).to(memory_format=torch.channels_last),
        torch.randn(6, 8)[::2],
        torch.randn(3, 4).t(),
        torch.randn(2, 3, 1),
        torch.randn(()),
        torch.randn(0, 3),
    ]
    return [w.to(dtype).detach().requires_grad_(grad) for w in weights]


# The estimator is one string to an operator; what the four of them compute is checked further down.
OPCHECKED = [(torch.float32, "closed"), (torch.float32, "scaled"), (torch.bfloat16, "open")]


@pytest.mark.parametrize(("dtype", "ste"), OPCHECKED, ids=str)
def test_opcheck_differentiable(dtype: torch.dtype, ste: str) -> None:
    weights = some_weights(dtype)[1:3]
    lo, hi, neg, pos = (*scalars(-0.1, 0.1), *scalars(-1.0, 1.0, grad=ste in ("open", "scaled")))
    args = (lo, hi, neg, pos, ste, 1.0)
    torch.library.opcheck(_operators.ternarize_many, (weights, *args))
    grads = [torch.randn_like(w).requires_grad_() for w in weights]
    torch.library.opcheck(_operators.ternarize_many_backward, (grads, weights, *args, neg.requires_grad))


def test_opcheck_in_place() -> None:
    weights = some_weights(torch.float32, grad=False)
    outs = [torch.empty_like(w) for w in weights]
    outs[0] = torch.empty(3, 5, dtype=torch.int8).t()
    values = scalars(-0.1, 0.1, -1.0, 1.0)
    torch.library.opcheck(_operators.clip_many_, (weights, 0.5))
    torch.library.opcheck(_operators.count_many, (weights,))
    torch.library.opcheck(_operators.ternarize_out, (weights, outs, *values))
    torch.library.opcheck(_operators.clip_ternarize_count_, (weights, outs, *values, 0.5))


class Ternary(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.linear = nn.Linear(8, 4)
        self.register_buffer("delta", torch.tensor(0.05))

    def forward(self, x: Tensor) -> Tensor:
        delta = self.delta
        assert isinstance(delta, Tensor)
        (conv, linear), counts = ops.ternarize_many([self.conv.weight, self.linear.weight], -delta, delta)
        h = nn.functional.conv2d(x, conv).amax((2, 3))
        return nn.functional.linear(h, linear) + counts[0, 3]


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # inductor's own
@pytest.mark.parametrize(("backend", "dynamic"), [("aot_eager", True), ("inductor", False)])
def test_compile_without_a_graph_break(backend: str, dynamic: bool) -> None:
    torch._dynamo.reset()
    model = Ternary()
    compiled = torch.compile(copy.deepcopy(model), fullgraph=True, dynamic=dynamic, backend=backend)
    for delta, size in ((0.05, 9), (0.2, 9), (0.2, 12)):
        for m in (model, compiled):
            m.zero_grad()
            m.delta.fill_(delta)
        x = torch.randn(2, 3, size, size)
        torch.testing.assert_close(compiled(x), model(x))
        compiled(x).sum().backward()
        model(x).sum().backward()
        for p, q in zip(model.parameters(), compiled.parameters(), strict=True):
            assert (p.grad is None) == (q.grad is None)
            if p.grad is not None:
                torch.testing.assert_close(q.grad, p.grad)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_generated_code_gives_the_bits_of_the_kernels() -> None:
    """At thresholds that no float holds, and that only one dtype rounds to; at infinities, NaN and both zeros."""
    torch._dynamo.reset()
    kinds = list(itertools.product(FLOATS, ops.STE))
    assert {ste for _, ste in kinds} >= {"closed", "open", "scaled"}
    edges = torch.tensor(
        [float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1.0, -1.0], dtype=torch.float64
    )

    def step(delta: Tensor, weights: list[Tensor]) -> list[Tensor]:
        return [
            ops.ternarize_many([w], -delta, delta, -0.7, 1.3, ste=ste)[0][0]
            for w, (_, ste) in zip(weights, kinds, strict=True)
        ]

    compiled = torch.compile(step, fullgraph=True)
    for delta in (0.1, 0.3, 1.0):
        near = torch.tensor(delta, dtype=torch.float64)
        around = [
            part for d in FLOATS for r in [near.to(d)] for part in (r, r.nextafter(r * 2), r.nextafter(r / 2))
        ]
        values = torch.stack([part.double() for part in around])
        values = torch.cat([values, -values, edges, torch.randn(500, dtype=torch.float64)])
        grads = [torch.randn(len(values)).to(dtype) for dtype, _ in kinds]
        found = []
        for call in (step, compiled):
            latents = [values.to(dtype, copy=True).requires_grad_() for dtype, _ in kinds]
            outs = call(near, latents)
            torch.autograd.backward(outs, grads)
            found.append(
                [bits for out, latent in zip(outs, latents, strict=True) for bits in (out, latent.grad)]
            )
        for own, expected in zip(*found, strict=True):
            assert own is not None
            assert expected is not None
            nan = expected.isnan()
            assert own.isnan().equal(nan)
            assert own[~nan].view(torch.uint8).equal(expected[~nan].view(torch.uint8))


def test_there_is_no_graph_break_and_a_new_delta_does_not_recompile() -> None:
    torch._dynamo.reset()
    explained = torch._dynamo.explain(Ternary())(torch.randn(1, 3, 5, 5))
    assert explained.graph_break_count == 0
    assert not any(
        "ternzip" in str(node.target) for node in explained.graphs[0].graph.nodes
    )  # all is in the code
    compiles: list[int] = []

    def backend(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., object]:
        compiles.append(1)
        return graph.forward

    torch._dynamo.reset()
    step = torch.compile(lambda w, delta: ops.ternarize(w, delta).sum(), backend=backend, fullgraph=True)
    w = torch.randn(100)
    for delta in (0.1, 0.2, 0.3, 0.9):
        assert step(w, torch.tensor(delta)) == ops.ternarize(w, delta).sum()
    assert len(compiles) == 1


def test_in_place_operators_compile() -> None:
    torch._dynamo.reset()
    w, out = torch.randn(50) * 2, torch.empty(50)
    expected, q = w.clamp(-1, 1), ops.ternarize(w, 0.1)

    @torch.compile(fullgraph=True, backend="aot_eager")
    def step(w: Tensor, out: Tensor, delta: Tensor) -> Tensor:
        return ops.clip_ternarize_count_([w], [out], -delta, delta).sum()

    assert int(step(w, out, torch.tensor(0.1))) == 50
    assert torch.equal(w, expected)
    assert torch.equal(out, q)


def test_export() -> None:
    model = Ternary().eval()
    x = torch.randn(2, 3, 9, 9)
    exported = torch.export.export(model, (x,), dynamic_shapes={"x": {0: torch.export.Dim("batch")}})
    for n in (2, 5):
        x = torch.randn(n, 3, 9, 9)
        torch.testing.assert_close(exported.module()(x), model(x))


def test_autocast_leaves_the_latent_dtype_alone() -> None:
    model = Ternary()
    x = torch.randn(2, 3, 9, 9)
    with torch.autocast("cpu", torch.bfloat16):
        q = ops.ternarize(model.conv.weight, 0.05)
        y = model(x)
    assert q.dtype == torch.float32
    assert torch.equal(q, ops.ternarize(model.conv.weight, 0.05))
    y.float().sum().backward()
    assert model.conv.weight.grad is not None
    assert model.conv.weight.grad.dtype == torch.float32


def weighted(w: Tensor, pos: Tensor | float = 1.0, ste: str = "closed") -> Tensor:
    (q,), _ = ops.ternarize_many([w], -0.3, 0.3, -0.7, pos, ste=ste)
    return (q * w.cos() * torch.arange(1, w.shape[-1] + 1)).sum()


@pytest.mark.parametrize("ste", ops.STE)
def test_torch_func_agrees_with_autograd(ste: str) -> None:
    w = torch.randn(6, 5).requires_grad_()
    pos = torch.tensor(1.3).requires_grad_()
    expected = torch.autograd.grad(weighted(w, pos, ste), (w, pos))
    got = torch.func.grad(weighted, argnums=(0, 1))(w.detach(), pos.detach(), ste)
    torch.testing.assert_close(got, expected)
    value = torch.func.vjp(lambda w: ops.ternarize(w, 0.3, ste=ste), w.detach())[0]
    assert torch.equal(value, ops.ternarize(w.detach(), 0.3))

    def per_sample(w: Tensor, pos: Tensor) -> tuple[Tensor, Tensor]:
        first, second = torch.func.grad(weighted, argnums=(0, 1))(w, pos, ste)
        return first, second

    batch = torch.linspace(0.5, 2, 6)
    rows = [
        torch.func.grad(weighted, argnums=(0, 1))(r, p, ste) for r, p in zip(w.detach(), batch, strict=True)
    ]
    expected_rows = tuple(torch.stack(column) for column in zip(*rows, strict=True))
    torch.testing.assert_close(torch.func.vmap(per_sample)(w.detach(), batch), expected_rows)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # of torch, loading its forward mode
@pytest.mark.parametrize("ste", ops.STE)
def test_forward_mode_agrees_with_reverse_mode(ste: str) -> None:
    w = torch.tensor([0.1, 0.5, -0.6, 1.0, -1.7, 0.0], dtype=torch.float64)
    everything = (w, *scalars(-0.7, 1.3))
    all_three = (0, 1, 2)

    def loss(w: Tensor, neg: Tensor, pos: Tensor) -> Tensor:
        (q,), _ = ops.ternarize_many([w], -0.3, 0.3, neg, pos, ste=ste)
        return (q * w**2).sum()

    reverse = torch.func.jacrev(loss, argnums=all_three)
    torch.testing.assert_close(torch.func.jacfwd(loss, argnums=all_three)(*everything), reverse(*everything))
    torch.testing.assert_close(
        torch.func.hessian(loss, argnums=all_three)(*everything),
        torch.func.jacrev(reverse, argnums=all_three)(*everything),
    )
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(w, torch.ones_like(w))
        q = torch.autograd.forward_ad.unpack_dual(ops.ternarize(dual, 0.3, ste="open"))
    assert torch.equal(q.primal, ops.ternarize(w, 0.3))
    assert torch.equal(q.tangent, (w.abs() < 1).double())


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # of torch, loading its forward mode
def test_compiled_forward_mode() -> None:
    torch._dynamo.reset()

    def tangent(w: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        value, out = torch.func.jvp(lambda w: ops.ternarize(w, 0.3), (w,), (v,))
        return value, out

    w, v = torch.randn(9), torch.randn(9)
    expected = (ops.ternarize(w, 0.3), torch.where(w.abs() <= 1, v, 0.0))
    compiled = torch.compile(tangent, fullgraph=True, backend="aot_eager")
    for call in (tangent, compiled):
        for got, wanted in zip(call(w, v), expected, strict=True):
            assert torch.equal(got, wanted)


def test_vmap_over_any_dimension_and_batched_thresholds() -> None:
    w = torch.randn(4, 3, 5)
    deltas = torch.tensor([0.1, 0.5, 0.9])

    def one(w: Tensor, delta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (q,), counts = ops.ternarize_many([w], -delta, delta)
        return q, counts, ops.count_many([q])

    q, counts, again = torch.func.vmap(one, in_dims=(1, 0))(w, deltas)
    assert torch.equal(counts, again)
    for i, delta in enumerate(deltas):
        assert torch.equal(q[i], ops.ternarize(w[:, i], delta))
        assert ops.symbol_counts(counts[i]) == [ops.count_symbols(q[i])]
    each = torch.func.vmap(lambda d: ops.ternarize(w, d))(deltas)
    assert torch.equal(each[1], ops.ternarize(w, 0.5))
    two = torch.func.vmap(lambda w: ops.ternarize_many([w, w * 2], torch.tensor([-0.1, -0.2]), 0.3)[0][1])(w)
    assert torch.equal(two, ops.ternarize_many([w * 2], -0.2, 0.3)[0][0])


def test_compiled_torch_func() -> None:
    torch._dynamo.reset()
    w = torch.randn(6, 5)
    for ste in ("open", "scaled"):

        def gradient(w: Tensor, ste: str = ste) -> Tensor:
            return torch.func.grad(lambda v: weighted(v, 1.3, ste))(w)

        compiled = torch.compile(gradient, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(w), gradient(w))


def test_differentiable_composite_is_the_operator() -> None:
    """What serves compiled torch.func: values and gradients, also at infinities and NaN."""
    w = torch.tensor([0.2, -0.2, 0.9, -1.0, 1.5, float("inf"), float("-inf"), float("nan"), 1.0])
    grad = torch.randn(len(w))
    for ste in ("closed", "open"):
        results = []
        for call in (_aten.ternarize_differentiably, _operators.ternarize_many):
            latent = w.clone().requires_grad_()
            t = Ternarizer(*scalars(-0.3, 0.3, -0.5, 0.5), ste)
            (q,), counts = call([latent], t) if call is _aten.ternarize_differentiably else call([latent], *t)
            q.backward(grad)
            assert latent.grad is not None
            results.append((q.detach().nan_to_num(7.0), counts, latent.grad))
        for a, b in zip(*results, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("ste", ops.STE)
def test_double_backward(ste: str) -> None:
    """Through q * w^2, whose second derivative is q's by hand: q' = s, so d2 = 2q + 4 s w."""
    w = torch.tensor([0.1, 0.5, -0.6, 1.0, -1.7, 0.0], dtype=torch.float64, requires_grad=True)
    neg, pos = scalars(-0.7, 1.3, grad=True)

    def loss(w: Tensor, neg: Tensor, pos: Tensor) -> Tensor:
        (q,), _ = ops.ternarize_many([w], -0.3, 0.3, neg, pos, ste=ste)
        return (q * w**2).sum()

    through = {"closed": w.abs() <= 1, "open": w.abs() < 1}.get(ste, w == w).double()
    q = torch.where(w > 0.3, 1.3, torch.where(w < -0.3, -0.7, 0.0)).double()
    if ste == "scaled":
        through = torch.where(w > 0.3, 1.3, torch.where(w < -0.3, 0.7, 1.0)).double()
    q, through = q.detach().float().double(), through.detach().float().double()
    (first,) = torch.autograd.grad(loss(w, neg, pos), w, create_graph=True)
    torch.testing.assert_close(first, through * w**2 + 2 * q * w, rtol=1e-6, atol=0)
    second, over_neg, over_pos = torch.autograd.grad(first.sum(), (w, neg, pos), create_graph=True)
    torch.testing.assert_close(second, 2 * q + 4 * through * w, rtol=1e-6, atol=0)
    scaled = float(ste == "scaled")
    above, below = w.detach()[w > 0.3], w.detach()[w < -0.3]
    torch.testing.assert_close(over_pos, (2 * above + scaled * above**2).sum())
    torch.testing.assert_close(over_neg, (2 * below - scaled * below**2).sum())
    torch.autograd.grad(second.sum(), w)
    nested = torch.func.grad(lambda v: torch.func.grad(loss)(v, neg, pos).sum())(w.detach())
    torch.testing.assert_close(nested, second)


def test_gradients_of_levels_alone_and_one_for_each_weight() -> None:
    weights = [torch.randn(50), torch.randn(4, 5)]
    neg = torch.tensor([-1.0, -2.0], requires_grad=True)
    quantized, counts = ops.ternarize_many(weights, -0.3, 0.3, neg, 1.0)
    (quantized[0].sum() + 3 * quantized[1].sum()).backward()
    assert neg.grad is not None
    assert neg.grad.tolist() == [counts[0, 0], 3 * counts[1, 0]]
    strided = torch.tensor([[-0.5, 9.0], [-0.1, 9.0]])[:, 0]
    quantized, _ = ops.ternarize_many(weights, strided, 0.3)
    assert torch.equal(quantized[1], ops.ternarize_many([weights[1]], -0.1, 0.3)[0][0])


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # dynamo's own
@pytest.mark.parametrize("ste", ops.STE)
def test_an_attached_estimator_is_ternarize_many(ste: str) -> None:
    torch._dynamo.reset()
    torch.manual_seed(1)
    weights = [torch.randn(30).requires_grad_(), torch.randn(4, 6).t().requires_grad_()]
    grads = [torch.randn(30), torch.randn(6, 4)]
    outs = [torch.empty_like(w) for w in weights]
    neg, pos = torch.tensor([-0.5, -0.7], requires_grad=True), torch.tensor(1.3, requires_grad=True)
    ops.clip_ternarize_count_(weights, outs, -0.2, 0.3, neg, pos)
    expected, _ = ops.ternarize_many(weights, -0.2, 0.3, neg, pos, ste=ste)
    wanted = torch.autograd.grad(expected, [*weights, neg, pos], grads)

    def attach(outs: list[Tensor]) -> list[Tensor]:
        return ops.attach_ste(weights, outs, -0.2, 0.3, neg, pos, ste=ste)

    compiled = torch.compile(attach, fullgraph=True, backend="aot_eager")
    for call in (attach, compiled) if ste in ("closed", "scaled") else (attach,):
        quantized = call(outs)
        for q, e, out in zip(quantized, expected, outs, strict=True):
            assert torch.equal(q, e)
            assert call is not attach or q.data_ptr() == out.data_ptr()
        got = torch.autograd.grad(quantized, [*weights, neg, pos], grads)
        for g, e in zip(got, wanted, strict=True):
            assert torch.equal(g, e)
    assert ops.attach_ste([], [], -0.1, 0.1) == []


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_ste_backward(dtype: torch.dtype) -> None:
    w, grad = torch.randn(6, 9).to(dtype) * 2, torch.randn(6, 9).to(dtype)
    w[0, 0] = 1.0
    for ste, keep in (("closed", w.abs() <= 1), ("open", w.abs() < 1), ("identity", w == w)):
        expected = torch.where(keep, grad, 0.0)
        assert torch.equal(ops.ste_backward(grad, w, ste=ste), expected)
        wide = torch.zeros(6, 18, dtype=dtype)
        assert ops.ste_backward(grad, w, ste=ste, out=wide[:, ::2]) is not None
        assert torch.equal(wide[:, ::2], expected)
        assert not wide[:, 1::2].any()
        flipped = grad.t().contiguous().t()
        assert torch.equal(ops.ste_backward(flipped, w, ste=ste, out=flipped), expected)
    torch.library.opcheck(_operators.ste_backward_out, ([grad], [w], [torch.empty_like(w)], "closed", 1.0))
    with pytest.raises(ValueError, match="ste must be closed, open or identity, not 'scaled'"):
        ops.ste_backward(grad, w, ste="scaled")
    with pytest.raises(ValueError, match=r"grad is \(\(5, 9\), .*the weight \(\(6, 9\)"):
        ops.ste_backward(grad[:5], w)
    with pytest.raises(ValueError, match=r"out is \(\(6, 9\), torch.int8"):
        ops.ste_backward(grad, w, out=torch.empty(6, 9, dtype=torch.int8))


def test_expanded_and_unused_gradients() -> None:
    weights = [torch.randn(4, 5, requires_grad=True), torch.randn(3, requires_grad=True)]
    quantized, _ = ops.ternarize_many(weights, -0.1, 0.1)
    quantized[0].sum().backward()
    assert weights[0].grad is not None
    assert torch.equal(weights[0].grad, (weights[0].detach().abs() <= 1).float())
    assert weights[0].grad.is_contiguous()
    assert weights[1].grad is None or not weights[1].grad.any()


def test_in_place_operators_bump_versions_and_leave_leaves_alone() -> None:
    w = nn.Parameter(torch.randn(10) * 3)
    before = w._version
    y = (w * w).sum()
    ops.clip_([w])
    assert w._version > before
    assert w.requires_grad
    assert w.grad_fn is None
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_the_fallback_gives_the_same_bits(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    def everything() -> list[Tensor]:
        results: list[Tensor] = []
        for ste in ops.STE:
            weights = some_weights(dtype)
            neg, pos = torch.linspace(-0.5, -1, 7).requires_grad_(), torch.tensor(0.7, requires_grad=True)
            quantized, counts = ops.ternarize_many(weights, -0.1, 0.3, neg, pos, ste=ste, bound=0.8)
            torch.autograd.backward(quantized, [torch.full_like(q, 0.25) for q in quantized])
            results += [*quantized, counts, *(w.grad for w in weights), neg.grad, pos.grad]
        weights = [w.detach().clone() for w in weights]
        outs = [torch.empty_like(w, dtype=torch.int8) for w in weights]
        results += [ops.clip_ternarize_count_(weights, outs, -0.1, 0.3, bound=0.8), *weights, *outs]
        ops.clip_(weights, 0.2)
        return [*results, *weights, ops.count_many(weights), ops.to_trits(weights[0], 0.1)]

    native = everything()
    monkeypatch.setattr(_dispatch, "is_plain", lambda *_: False)
    operators = everything()
    for a, b in zip(native, operators, strict=True):
        assert torch.equal(a, b)
    monkeypatch.undo()
    monkeypatch.setattr(_kernels, "_native_for", lambda *_: None)
    for a, b in zip(native, everything(), strict=True):
        assert a.dtype == b.dtype
        assert a.stride() == b.stride()
        assert torch.equal(a, b)


def test_backend_reports_the_cpu() -> None:
    report = ternzip.backend()
    assert report["cpu"] == {"isa": core.active_isa(), "threads": torch.get_num_threads()}
    assert isinstance(report["cuda"]["compiled"], bool)
