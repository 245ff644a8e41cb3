"""Where tensors lie, and what surrounds a call: default devices and dtypes, meta and fake tensors, freed memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from ternzip import ops
from ternzip.ops import _aten, _dispatch, _kernels, _ternarizer
from ternzip.ops._ternarizer import Ternarizer, scalar_dtype


def everything(weights: list[Tensor], delta: float | Tensor = 0.3) -> list[Tensor]:
    """Every public call, on copies of these weights; the tensors that come back."""
    latent = [w.clone().requires_grad_() for w in weights]
    grads = [torch.full_like(w, 0.5) for w in weights]
    found: list[Tensor] = []
    for ste in ops.STE:
        quantized, counts = ops.ternarize_many(latent, -0.2, delta, -0.5, 0.7, ste=ste)
        found += [*quantized, counts, *torch.autograd.grad(quantized, latent, grads)]
    copies = [w.clone() for w in weights]
    outs = [torch.empty_like(w) for w in weights]
    found += [ops.clip_ternarize_count_(copies, outs, -0.2, delta), *copies, *outs]
    found += torch.autograd.grad(ops.attach_ste(latent, outs, -0.2, delta), latent, grads)
    found += [ops.ste_backward(grads[0], weights[0]), ops.ternarize(latent[0], delta)]
    found += [
        ops.to_trits(weights[0], delta),
        ops.ternarize(weights[0], delta, out=torch.empty_like(weights[0])),
    ]
    ops.clip_(copies, 0.4)
    return [*found, *copies, ops.count_many(weights)]


def some_weights() -> list[Tensor]:
    torch.manual_seed(0)
    cpu = torch.device("cpu")
    weights = [torch.randn(7, 5, device=cpu), torch.randn(3, 4, device=cpu).t(), torch.randn(0, device=cpu)]
    return [*weights, torch.randn((), device=cpu), torch.randn(4, 6, device=cpu)[:, ::2]]


@pytest.fixture
def surroundings() -> Iterator[None]:
    yield
    torch.set_default_device(None)
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("plain", [True, False])
def test_defaults_change_nothing(surroundings: None, dtype: torch.dtype, plain: bool) -> None:
    """The native kernels and plain aten: each tensor is made where it belongs, of the dtype it needs."""
    expected = everything(some_weights())
    with pytest.MonkeyPatch.context() as patch:
        if not plain:
            patch.setattr(_kernels, "_native_for", lambda *_: None)
        weights = some_weights()
        torch.set_default_dtype(dtype)
        torch.set_default_device("meta")
        for e, g in zip(expected, everything(weights), strict=True):
            assert g.dtype == e.dtype
            assert g.device.type == "cpu"
            assert g.equal(e)
        assert ops.count_symbols(weights) == ops.count_symbols(torch.cat([w.flatten() for w in weights]))
        assert ops.ternarize_many([], -0.1, 0.1)[1].device.type == "cpu"
        assert ops.count_many([]).device.type == "cpu"


def test_a_default_device_under_compile_and_torch_func(surroundings: None) -> None:
    torch._dynamo.reset()
    w, delta = some_weights()[0], torch.tensor(0.3)
    expected = ops.ternarize(w, 0.3)
    torch.set_default_device("meta")
    compiled = torch.compile(lambda w, delta: ops.ternarize(w, delta), fullgraph=True, backend="aot_eager")
    assert compiled(w, delta).equal(expected)
    gradient = torch.func.grad(lambda w: ops.ternarize(w, 0.3).sum())(w)
    assert gradient.equal((w.abs() <= 1).float())


def test_meta_tensors_pass_through_every_call() -> None:
    weights = [w.to("meta") for w in some_weights()]
    expected = everything(some_weights())
    for e, g in zip(expected, everything(weights), strict=True):
        assert g.device.type == "meta"
        assert (g.shape, g.dtype) == (e.shape, e.dtype)


def test_fake_tensors_pass_through() -> None:
    w = some_weights()[0]
    with FakeTensorMode(allow_non_fake_inputs=True):
        fake = torch.empty(7, 5, requires_grad=True)
        q, counts = ops.ternarize_many([fake, w], -0.1, 0.1)
        out = torch.empty(7, 5)
        ops.clip_ternarize_count_([fake.detach().clone()], [out], -0.1, 0.1)
        (latent,) = torch.autograd.grad(q[0].sum(), fake)
        found = [*q, counts, out, latent, ops.ste_backward(out, out), ops.count_many([out])]
        ops.clip_(out)
    assert all(isinstance(t, FakeTensor) for t in found)


def test_inference_tensors() -> None:
    with torch.inference_mode():
        w = torch.tensor([-2.0, -0.1, 0.5])
        q = ops.ternarize(w, 0.3)
        ops.clip_(w, 1.5)
    assert q.tolist() == [-1.0, 0.0, 1.0]
    ops.clip_(w)
    assert w.tolist() == [-1.0, *torch.tensor([-0.1, 0.5]).tolist()]
    assert ops.ternarize(w, 0.3).equal(q)
    torch.ops.ternzip.clip_many_([w], 0.5)
    assert w[0] == -0.5


def test_memory_that_is_gone_is_an_error_and_no_crash() -> None:
    """FSDP frees the storage of a parameter between its uses."""
    freed, w = torch.randn(100), torch.randn(100)
    freed.untyped_storage().resize_(0)
    message = r"a tensor of shape \(100,\) on cpu holds no memory on cpu"
    for call in (
        lambda: ops.ternarize(freed, 0.1),
        lambda: ops.clip_(freed),
        lambda: ops.ste_backward(freed, w),
        lambda: ops.ste_backward(w, freed),
        lambda: ops.count_many([freed]),
        lambda: ops.clip_ternarize_count_([w], [freed], -0.1, 0.1),
        lambda: ops.attach_ste([w.requires_grad_()], [w.detach()], -0.1, 0.1)[0].backward(freed),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_operators_called_by_their_names_check_shapes() -> None:
    """Past the public calls nothing else stands before the kernels."""
    w, small, values = torch.randn(1 << 16), torch.randn(1), [torch.zeros((), dtype=torch.float64)] * 4
    named = torch.ops.ternzip
    with pytest.raises(
        ValueError, match=r"the outputs have the shapes \[\(1,\)\], the weights \[\(65536,\)\]"
    ):
        named.ternarize_out([w], [small], *values)
    with pytest.raises(ValueError, match="the outputs have the shapes"):
        named.clip_ternarize_count_([w], [small], *values, 1.0)
    with pytest.raises(ValueError, match="the gradients have the shapes"):
        named.ternarize_many_backward([small], [w], *values, "closed", 1.0, False)
    with pytest.raises(ValueError, match="the gradients have the shapes"):
        named.ste_backward_out([small], [w], [w.clone()], "closed", 1.0)
    with pytest.raises(ValueError, match="the outputs have the shapes"):
        named.ste_backward_out([w], [w], [small], "closed", 1.0)
    on_meta = [value.to("meta") for value in values]
    with pytest.raises(ValueError, match="expected cpu"):
        _kernels.ternarize([w], Ternarizer(*on_meta))


def test_tensor_subclasses() -> None:
    """A subclass without storage of its own says how it wants an operator to run."""

    class Doubled(Tensor):
        """Stands for a tensor of twice the values; holds no memory itself."""

        half: Tensor

        @staticmethod
        def __new__(cls, half: Tensor) -> Doubled:
            made: Doubled = Tensor._make_wrapper_subclass(cls, half.shape, dtype=half.dtype)  # type: ignore[attr-defined]
            made.half = half
            return made

        @classmethod
        def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            plain = torch.utils._pytree.tree_map(lambda t: t.half * 2 if isinstance(t, cls) else t, args)
            return func(*plain, **(kwargs or {}))

    class Tagged(Tensor):
        """Has memory and no rules."""

    w = torch.tensor([0.2, -0.4, 0.05])
    assert ops.ternarize(Doubled(w), 0.3).tolist() == [1.0, -1.0, 0.0]
    assert ops.count_symbols(Doubled(w)) == ops.count_symbols(w)
    assert ops.ternarize(w.as_subclass(Tagged), 0.1).tolist() == [1.0, -1.0, 0.0]


def test_in_place_where_no_kernel_reaches(monkeypatch: pytest.MonkeyPatch) -> None:
    """The counts are those of the weights, though the output is the weight itself."""
    w = torch.tensor([0.4, -0.9, 0.6, 0.0])
    expected = ops.clip_ternarize_count_([w.clone()], [torch.empty(4)], -0.5, 0.5, -0.2, 0.3)
    monkeypatch.setattr(_kernels, "_native_for", lambda *_: None)
    assert ops.clip_ternarize_count_([w], [w], -0.5, 0.5, -0.2, 0.3).equal(expected)


class WithoutFloat64(TorchDispatchMode):
    """A device that knows no float64, as MPS: an operation that makes such a tensor is an error."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for t in torch.utils._pytree.tree_leaves(found):
            assert not isinstance(t, Tensor) or t.dtype != torch.float64, func
        return found


def test_no_float64_on_mps(monkeypatch: pytest.MonkeyPatch) -> None:
    assert scalar_dtype(torch.device("mps")) == torch.float32
    assert scalar_dtype(torch.device("cpu")) == torch.float64
    expected = everything(some_weights(), 0.5)
    for module in (_aten, _kernels, _ternarizer):
        monkeypatch.setattr(module, "scalar_dtype", lambda device: torch.float32)
    monkeypatch.setattr(_kernels, "_native_for", lambda *_: None)
    monkeypatch.setattr(_dispatch, "is_plain", lambda _: True)  # a mode does not see into an operator
    w = nn.Parameter(torch.randn(5))
    pos = torch.tensor(0.7, requires_grad=True)
    with WithoutFloat64():
        for e, g in zip(expected, everything(some_weights(), 0.5), strict=True):
            assert g.equal(e)
        (q,), _ = ops.ternarize_many([w], -0.1, 0.1, -1.0, pos)
        q.sum().backward()
    assert pos.grad is not None
    assert pos.grad == (w > 0.1).sum()
