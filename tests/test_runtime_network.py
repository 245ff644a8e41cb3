"""Whole networks as one native call: the answers of their layers, and nothing that it could get wrong is tried."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from runtime_networks import make_ternary
from torch import Tensor, nn
from torch.nn import functional as F

import ternzip
from ternzip import runtime
from ternzip._core.native import core
from ternzip.models import he_resnet20, resnet20
from ternzip.runtime.layers import DirectLayer, LookupLayer
from ternzip.runtime.network import NativeNetwork

GENERATOR = torch.Generator().manual_seed(7)
X = torch.randn(3, 4, 9, 10, generator=GENERATOR)


class Network(nn.Module):
    """Convolutions, what else there is, and a `body` that says what is done with them."""

    def __init__(self, body: Callable[[Network, Tensor], Tensor]) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.same = nn.Conv2d(8, 8, 3, padding=1)
        self.down = nn.Conv2d(8, 12, 3, 2, 1)
        self.grouped = nn.Conv2d(8, 8, (1, 3), padding=(0, 1), groups=2)
        self.linear = nn.Linear(12, 5)
        self.relu = nn.ReLU(inplace=True)
        self.largest = nn.MaxPool2d(3, 2, 1)
        self.average = nn.AvgPool2d((2, 3))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self, x)


def network_of(body: Callable[[Network, Tensor], Tensor]) -> nn.Module:
    model = make_ternary(Network(body), 0.7)
    with torch.no_grad():  # it is no ternary layer
        model.first.weight.normal_(generator=torch.Generator().manual_seed(1))
    return model


def program_of(fast: nn.Module, x: Tensor) -> object:
    """What the network runs inputs like x by, after a call; None: its layers."""
    return fast._programs[x.shape[1:]] if isinstance(fast, NativeNetwork) else None


def residual(n: Network, x: Tensor) -> Tensor:
    y = F.relu(n.norm(n.first(x)))
    return F.hardtanh(n.grouped(n.same(y)) + y, -2.0, 1.5)


def two_readers(n: Network, x: Tensor) -> Tensor:
    y = n.first(x)
    return n.same(y) + F.hardtanh(y)


def shortcut(n: Network, x: Tensor) -> Tensor:
    y = n.first(x)
    return n.relu(n.down(y) + F.pad(y[:, :, ::2, ::2], (0, 0, 0, 0, 1, 3)))


def cropped(n: Network, x: Tensor) -> Tensor:
    return n.same(n.first(x)[:, :, 2:-1, -7:-2])


def pooled(n: Network, x: Tensor) -> Tensor:
    y = n.first(x)
    return n.same(n.average(n.largest(y))) + F.avg_pool2d(F.max_pool2d(y, 2), (2, 4), (2, 3))


EXACT = [residual, two_readers, shortcut, cropped, pooled]


def viewed(n: Network, x: Tensor) -> Tensor:
    y = n.pool(n.relu(n.down(n.first(x))))
    return n.linear(y.view(y.size(0), -1))


def meant(n: Network, x: Tensor) -> Tensor:
    y = n.first(x)
    y = n.down(n.relu(n.norm(y + n.same(y))))
    return n.linear(y.mean([-1, -2]).reshape(x.shape[0], 12))


def normed(n: Network, x: Tensor) -> Tensor:
    y = n.first(x)
    return n.same(n.norm(y)) + torch.flatten(y, 1).reshape((x.shape[0], -1))[:, 0].sum() * 0


def norm_alone(n: Network, x: Tensor) -> Tensor:
    y = n.first(x)
    return n.linear(F.adaptive_avg_pool2d(n.down(n.norm(n.relu(n.same(y) + y))), (1, 1)).flatten(1))


@pytest.mark.parametrize("body", [*EXACT, viewed, meant, norm_alone])
def test_a_network_is_the_sum_of_its_layers(body: Callable[[Network, Tensor], Tensor]) -> None:
    model = network_of(body)
    fast = runtime.optimize(model)
    before = X.clone()
    with torch.inference_mode():
        found, wanted, again = fast(X), fast.layers(X), fast(X)
        assert program_of(fast, X) is not None
        assert torch.equal(X, before)
        assert torch.equal(found, again)
        assert found.data_ptr() != again.data_ptr()
        if body in EXACT:
            assert torch.equal(found, wanted)
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found, model(X), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dense_first", [False, True])
@pytest.mark.parametrize("make", [he_resnet20, resnet20])
def test_the_networks_of_the_papers(make: Callable[[], nn.Module], dense_first: bool) -> None:
    model, x = make_ternary(make(), 0.9), torch.randn(5, 3, 32, 32, generator=GENERATOR)
    if dense_first:
        with torch.no_grad():
            model.conv1.weight.normal_()
            model.linear.weight.normal_()
    fast = runtime.optimize(model)
    before, threads = core.active_isa(), torch.get_num_threads()
    found = []
    with torch.inference_mode():
        try:
            for isa in core.available_isas():
                assert core.set_isa(isa)
                for count in (1, 3):
                    torch.set_num_threads(count)
                    found += [fast(x), torch.cat([fast(x[:1]), fast(x[1:])])]
        finally:
            core.set_isa(before)
            torch.set_num_threads(threads)
        assert program_of(fast, x) is not None
        assert all(torch.equal(found[0], other) for other in found)
        torch.testing.assert_close(found[0], fast.layers(x), rtol=1e-5, atol=1e-5)
        assert len(fast(x[:0])) == 0


# --- what is not lowered, or not in this way ------------------------------------------------------------------


def read_elsewhere(n: Network, x: Tensor) -> Tensor:
    y = n.first(x)
    z = n.same(y)
    return torch.relu_(y) + z + y


def written_through_a_view(n: Network, x: Tensor) -> Tensor:
    y = n.first(x)
    z = y[:, :, 1:, :]
    z.relu_()
    return n.same(y)


def input_written(n: Network, x: Tensor) -> Tensor:
    return n.first(n.relu(x))


def added_in_place(n: Network, x: Tensor) -> Tensor:
    y = n.first(x)
    z = n.same(y)
    y += z
    return n.same(y) + z


def broadcast(n: Network, x: Tensor) -> Tensor:
    y = n.first(x)
    return n.same(y) + n.pool(y)


def concatenated(n: Network, x: Tensor) -> Tensor:
    y = n.first(x)
    return n.same(torch.cat([y, y], 1)[:, 4:12])


def over_samples(n: Network, x: Tensor) -> Tensor:
    return n.first(x).mean((0, 1))


def padded_average(n: Network, x: Tensor) -> Tensor:
    return F.avg_pool2d(n.same(n.first(x)), 3, 1, 1)


def rounded_up(n: Network, x: Tensor) -> Tensor:
    return F.max_pool2d(input=n.same(n.first(x)), kernel_size=2, ceil_mode=True)


def shared(n: Network, x: Tensor) -> Tensor:
    return n.same(n.relu(n.first(x) + n.first(x * 2)))


def padded_pixels(n: Network, x: Tensor) -> Tensor:
    y = n.first(x)
    return F.pad(n.same(y), (1, 1)) + F.pad(y, (1, 1, 0, 0, 0, 0), value=1.0)


def one_vector(n: Network, x: Tensor) -> Tensor:
    return n.linear(n.pool(n.down(n.first(x))).view(-1, 12)) + n.linear(torch.ones(12))


def a_sample(n: Network, x: Tensor) -> Tensor:
    return n.same(n.first(x))[0]


def several(n: Network, x: Tensor) -> Tensor:
    y = n.first(x)
    return (y, n.same(y))  # type: ignore[return-value]


def backwards(n: Network, x: Tensor) -> Tensor:
    return n.first(x.flip(3))


UNUSUAL = [
    read_elsewhere,
    written_through_a_view,
    input_written,
    added_in_place,
    broadcast,
    concatenated,
    over_samples,
    padded_average,
    rounded_up,
    padded_pixels,
    shared,
    one_vector,
    a_sample,
    several,
    backwards,
    normed,
]


@pytest.mark.parametrize("body", UNUSUAL)
def test_unusual_graphs_run_layer_by_layer(body: Callable[[Network, Tensor], Tensor]) -> None:
    model = network_of(body)
    fast = runtime.optimize(model)
    with torch.inference_mode():
        for x in (X, X[:1], X):
            wanted = model(x.clone())
            torch.testing.assert_close(fast(x.clone()), wanted, rtol=1e-4, atol=1e-4)
        assert program_of(fast, X) is None


def test_padding_modes_and_large_layers_are_the_layers_business() -> None:
    for layer in (nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular"), nn.Conv2d(8, 600, 4)):
        model = make_ternary(nn.Sequential(nn.Conv2d(4, 8, 3), layer), 0.3)
        fast = runtime.optimize(model)
        with torch.inference_mode():
            for _ in range(2):
                torch.testing.assert_close(fast(X), model(X), rtol=1e-4, atol=1e-4)
        assert program_of(fast, X) is None


# --- calls of all kinds ---------------------------------------------------------------------------------------


def test_shapes_change_from_call_to_call() -> None:
    model = network_of(viewed)
    fast = runtime.optimize(model)
    with torch.inference_mode():
        for size in [*range(4, 15), 4, 9]:
            for batch in (1, 20, 2):
                x = torch.randn(batch, 4, size, 17 - size, generator=GENERATOR)
                torch.testing.assert_close(fast(x), model(x), rtol=1e-4, atol=1e-4)
                assert program_of(fast, x) is not None
        assert len(fast._programs) <= 8
        # Layouts, too.
        x = X.flip(0).transpose(2, 3)
        torch.testing.assert_close(fast(x), model(x), rtol=1e-4, atol=1e-4)
        with pytest.raises(
            ternzip.TernzipError, match=r"^layer first: expected 4 channels, found .*\(3, 3, 9, 10\)$"
        ):
            fast(X[:, :3])


def test_calls_from_many_threads() -> None:
    fast = runtime.optimize(network_of(viewed))
    inputs = [torch.randn(2, 4, 8 + i % 4, 9, generator=GENERATOR) for i in range(32)]
    with torch.inference_mode():
        wanted = [copy.deepcopy(fast)(x) for x in inputs]

    def call(x: Tensor) -> Tensor:
        with torch.inference_mode():
            return fast(x)

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(call, inputs))
    assert all(map(torch.equal, found, wanted))


def test_what_is_changed_in_the_layers_counts() -> None:
    """Values, tensors put in the place of others, memory that moves, modules, hooks."""
    fast, other = (runtime.optimize(network_of(norm_alone)) for _ in range(2))
    with torch.no_grad():
        for tensor in [*other.parameters(), *other.buffers()]:
            if tensor.is_floating_point():
                tensor.mul_(1.5)
    with torch.inference_mode():
        first, wanted = fast(X), other(X)
    assert not torch.equal(first, wanted)
    with torch.inference_mode():
        copied = copy.deepcopy(fast)
        copied.load_state_dict(other.state_dict())
        assert torch.equal(copied(X), wanted)
        copied = copy.deepcopy(fast)
        copied(X)
        copied.load_state_dict(other.state_dict())
        assert torch.equal(copied(X), wanted)
        fast.load_state_dict({k: v.clone() for k, v in other.state_dict().items()}, assign=True)
        assert torch.equal(fast(X), wanted)
    fast.share_memory()
    with torch.inference_mode():
        assert torch.equal(fast(X), wanted)
        fast.layers.linear = nn.Linear(12, 7)
        assert fast(X).shape == (3, 7)
        calls: list[object] = []
        handle = fast.layers.same.register_forward_hook(lambda *_: calls.append(_))
        fast(X)
        assert len(calls) == 1
        handle.remove()
        fast(X)
        assert len(calls) == 1
        fast.layers.norm.train()
        assert not torch.equal(fast(X), fast(2 * X))
        assert program_of(fast, X) is None


def test_a_float_layer_at_the_end_can_be_trained() -> None:
    model = network_of(viewed)
    with torch.no_grad():
        model.linear.weight.normal_()
    fast = runtime.optimize(model)
    fast(X)
    assert program_of(fast, X) is not None
    fast.layers.linear.weight.requires_grad_()
    fast(X).sum().backward()
    assert fast.layers.linear.weight.grad.abs().sum() > 0
    seen: list[type[nn.Module]] = []
    handle = nn.modules.module.register_module_forward_hook(lambda module, *_: seen.append(type(module)))
    try:
        fast(X)
    finally:
        handle.remove()
    assert nn.Linear in seen


def test_other_dtypes_and_ways_to_run() -> None:
    model = network_of(residual)
    fast = runtime.optimize(model)
    with torch.inference_mode():
        wanted = fast(X)
        half = fast(X.bfloat16())
        assert half.dtype == torch.bfloat16
        torch.testing.assert_close(half.float(), wanted, rtol=0.05, atol=0.05)
        with torch.autocast("cpu"):
            assert torch.equal(fast(X), wanted)
        torch.testing.assert_close(fast(x=X), wanted)
        compiled = torch.compile(fast, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(X), wanted)
    assert torch.equal(torch.func.vmap(fast)(X.unsqueeze(0))[0], wanted)
    assert torch.equal(fast(X), wanted)
    with pytest.raises(ternzip.TernzipError, match="has no gradient"):
        fast(X.clone().requires_grad_())
    with pytest.raises(TypeError):
        fast(X, X)


def test_defaults_of_torch_do_not_matter() -> None:
    model = network_of(viewed)
    with torch.no_grad():
        model.linear.weight.normal_()
    fast = runtime.optimize(model)
    with torch.inference_mode():
        wanted = fast(X)
        other = copy.deepcopy(fast)
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            with torch.device("meta"):
                assert torch.equal(other(X), wanted)
                assert torch.equal(other(X), wanted)
        finally:
            torch.set_default_dtype(before)
    assert program_of(other, X) is not None


def test_examples_choose_among_whole_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program is the last of them, and runs the quickest native kind of each layer."""

    def last(calls: list[Callable[[], Tensor]]) -> list[float]:
        return [float(call() is None or i != len(calls) - 1) for i, call in enumerate(calls)]

    monkeypatch.setattr("ternzip.runtime.choice.measured", last)
    monkeypatch.setattr("ternzip.runtime.optimization.measured", last)
    model = network_of(viewed)
    fast = runtime.optimize(model, X)
    assert isinstance(fast, NativeNetwork)
    assert program_of(fast, X) is not None
    with torch.inference_mode():
        torch.testing.assert_close(fast(X), model(X), rtol=1e-4, atol=1e-4)
    assert isinstance(fast.layers.first, DirectLayer)
    assert isinstance(fast.layers.linear, LookupLayer)


# --- the binding ----------------------------------------------------------------------------------------------


def test_programs_refuse_what_they_cannot_run() -> None:
    weights, ones = torch.ones(3 * 2 * 9), torch.ones(3)
    three = (5, 5, 3, 1, 1, 1)
    addresses = (0, 0, 0, ones.data_ptr(), weights.data_ptr())
    after = ((ones.data_ptr(), ones.data_ptr()), -math.inf, math.inf)

    def convolve(x: int, residual: int, rows: tuple[int, ...], shape: tuple[int, ...]) -> int:
        return int(program.convolve(x, residual, rows, three, shape, 0, addresses, *after))

    for shape in ((0, 1, 1), (1, 2**31, 1), (2**20, 2**20, 1)):
        with pytest.raises(ValueError, match=r"^program, step 0: the input's shape is not valid$"):
            core.RuntimeProgram(shape)
    program = core.RuntimeProgram((2, 5, 5))
    with pytest.raises(ValueError, match="the result is the input"):
        program.finish(0)
    with pytest.raises(ValueError, match="reads a value that does not exist"):
        convolve(1, -1, three, (3, 1, 2, 9, 2))
    with pytest.raises(ValueError, match="the convolution does not fit its input"):
        convolve(0, -1, (6, 6, 3, 1, 1, 1), (3, 1, 2, 9, 2))
    with pytest.raises(ValueError, match="the residual does not fit the convolution"):
        convolve(0, 0, three, (3, 1, 2, 9, 2))
    with pytest.raises(ValueError, match="convolution: the shapes are not valid"):
        convolve(0, -1, three, (3, 1, 2, 8, 2))
    codes, starts = torch.tensor([90], dtype=torch.int16), torch.ones(7, dtype=torch.int32)
    lists = (codes.data_ptr(), starts.data_ptr(), ones.data_ptr(), ones.data_ptr(), 0)
    with pytest.raises(ValueError, match="convolution: the lists are not valid"):
        program.convolve(0, -1, three, three, (3, 1, 2, 9, 2), 1, lists, *after)
    with pytest.raises(ValueError, match="the matrix does not fit its input"):
        program.multiply(0, -1, (3, 49, 49), (0, 0, 0), *after)
    with pytest.raises(ValueError, match="the window does not fit its input"):
        program.average(0, (6, 1, 0), (1, 1, 0))
    with pytest.raises(ValueError, match="the window does not fit its input"):
        program.largest(0, (2, 1, 2), (1, 1, 0))
    with pytest.raises(ValueError, match="an average has no padding"):
        program.average(0, (2, 1, 1), (1, 1, 0))
    for axis in ((5, 1, 1), (0, 0, 2), (0, 2, 4), (0, 1, 0), (1, 2**63, 2)):
        with pytest.raises(ValueError, match="the slice does not fit its input"):
            program.slice(0, axis, (0, 1, 5), 0, 0)
    with pytest.raises(ValueError, match="the result's shape is not valid"):
        program.slice(0, (0, 1, 5), (0, 1, 5), 2**30, 2**30)
    # None of it was added, and what is goes on to work.
    assert convolve(0, -1, three, (3, 1, 2, 9, 2)) == 1
    with pytest.raises(ValueError, match=r"^program, step 1: adds values of different shapes$"):
        program.add(0, 1, 0.0, 1.0)
    x, out = torch.ones(2, 2, 5, 5), torch.empty(2, 3, 5, 5)
    with pytest.raises(RuntimeError, match="run before it is finished"):
        program.run(x.data_ptr(), 2, out.data_ptr(), 1)
    program.finish(1)
    for call in (lambda: program.flatten(1), lambda: program.clamp(1, 0.0, 1.0), lambda: program.finish(1)):
        with pytest.raises(ValueError, match="finished"):
            call()
    program.run(x.data_ptr(), 2, out.data_ptr(), 1)
    wanted = F.conv2d(x, weights.view(3, 2, 3, 3), padding=1) + 1
    assert torch.equal(out, wanted)
