"""Which models are run as graphs: none whose graph is not all that they do."""

from __future__ import annotations

import copy
import functools
import io
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from runtime_networks import make_ternary
from torch import Tensor, fx, nn

import ternzip
from ternzip import runtime
from ternzip.runtime.network import NativeNetwork

X = torch.randn(3, 16, generator=torch.Generator().manual_seed(2))


class Model(nn.Module):
    """A ternary layer in a `forward` of somebody's."""

    def __init__(self, body: Callable[[Model, Tensor], Tensor]) -> None:
        super().__init__()
        self.fc = nn.Linear(16, 16)
        self.body = body
        self.kept: Any = None
        self.list: list[object] = []
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self, x)


class Two(Model):
    def forward(self, x: Tensor, mask: Tensor | bool | None) -> Tensor:
        y = self.fc(x)
        if mask is True:
            return -y
        return y if mask is None else y * mask


def exact_type(model: Model, x: Tensor) -> Tensor:
    return -model.fc(x) if type(x) is Tensor else model.fc(x)


def same_dtype(model: Model, x: Tensor) -> Tensor:
    return -model.fc(x) if x.dtype is torch.float32 else model.fc(x)


def unknown_attribute(model: Model, x: Tensor) -> Tensor:
    return -model.fc(x) if hasattr(x, "tensors") else model.fc(x)


def attribute_or_none(model: Model, x: Tensor) -> Tensor:
    mask = getattr(x, "mask", None)
    return model.fc(x) if mask is None else model.fc(x) * mask


def catches(model: Model, x: Tensor) -> Tensor:
    try:
        x = x.reshape(-1, 17)
    except RuntimeError:
        x = x + 1
    return model.fc(x)


def autocast(model: Model, x: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return torch.mm(model.fc(x), x.t())


def cached(model: Model, x: Tensor) -> Tensor:
    if model.kept is None:
        model.kept = x.new_ones(16) * 2
    return model.fc(x * model.kept)


def remembers(model: Model, x: Tensor) -> Tensor:
    y = model.fc(x)
    before, model.kept = model.kept, y
    return y if before is None else y + before


def counts(model: Model, x: Tensor) -> Tensor:
    model.list.append(1)
    return model.fc(x) + len(model.list)


def counts_in_a_buffer(model: Model, x: Tensor) -> Tensor:
    model.count += 1
    return model.fc(x) + model.count


BODIES = (
    exact_type,
    same_dtype,
    unknown_attribute,
    attribute_or_none,
    catches,
    autocast,
    cached,
    remembers,
    counts,
    counts_in_a_buffer,
)


@pytest.mark.parametrize("examples", [False, True])
@pytest.mark.parametrize("body", BODIES)
def test_what_a_trace_cannot_see(body: Callable[[Model, Tensor], Tensor], examples: bool) -> None:
    """The model answers as before, call after call, and optimizing it leaves nothing in it."""
    model = make_ternary(Model(body))
    wanted = copy.deepcopy(model).eval()
    x = X.clone()
    fast = runtime.optimize(model, x if examples else None)
    assert [choice.name for choice in runtime.describe(fast)] == ["fc"]
    assert model.kept is None
    assert not model.list
    assert model.count == 0
    assert torch.equal(x, X)
    with torch.inference_mode():
        for made in (fast, copy.deepcopy(fast)):
            own = copy.deepcopy(wanted)
            for _ in range(3):
                found = made(x)
                assert found.dtype == own(x).dtype if body is autocast else type(found) is Tensor
    tolerance = 0.1 if body is autocast else 1e-5  # that is bfloat16
    with torch.inference_mode():
        own = copy.deepcopy(wanted)
        made = runtime.optimize(model, x if examples else None)
        for _ in range(3):
            torch.testing.assert_close(made(x), own(x), rtol=tolerance, atol=tolerance)


def test_arguments_that_may_be_no_tensors() -> None:
    model = make_ternary(Two(exact_type)).eval()
    mask = torch.rand(16)
    with torch.inference_mode():
        for fast in (
            runtime.optimize(model),
            runtime.optimize(model, (X, None)),
            runtime.optimize(model, (X, False)),
        ):
            for second in (None, True, mask):
                torch.testing.assert_close(fast(X, second), model(X, second))
        fast = runtime.optimize(model, (X, mask))
        assert isinstance(fast, fx.GraphModule)
        torch.testing.assert_close(fast(X, mask=mask), model(X, mask))
        for other in (fast, copy.deepcopy(fast), torch.load(_saved(fast), weights_only=False)):
            with pytest.raises(
                ternzip.TernzipError, match="argument mask: expected a tensor, found NoneType"
            ):
                other(X, None)


def _saved(model: nn.Module) -> io.BytesIO:
    stream = io.BytesIO()
    torch.save(model, stream)
    stream.seek(0)
    return stream


def test_a_dictionary_of_tensors() -> None:
    def body(model: Model, x: Any) -> Tensor:
        return model.fc(x["x"])

    model = make_ternary(Model(body)).eval()
    with torch.inference_mode():
        fast = runtime.optimize(model, ({"x": X},))
        torch.testing.assert_close(fast({"x": X}), model({"x": X}))  # type: ignore[arg-type]
        with pytest.raises(ternzip.TernzipError, match="Model: argument x: expected a tensor, found dict"):
            runtime.optimize(model)({"x": X})


def test_a_forward_of_an_instance_is_kept() -> None:
    """As some libraries attach what they do before and after a layer."""
    model = make_ternary(nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4)))
    for module in (model[0], model[1]):
        module.forward = functools.partial(_tripled, module.forward)  # type: ignore[method-assign]
    for examples in (None, X):
        fast = runtime.optimize(model, examples)
        assert [choice.name for choice in runtime.describe(fast)] == ["2"]
        with torch.inference_mode():
            torch.testing.assert_close(fast(X), model(X))


def _tripled(forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return 3 * forward(x)


def reads_weight(model: Model, x: Tensor) -> Tensor:
    return model.fc(x.to(model.fc.weight.dtype)).view(-1, model.fc.out_features) + model.fc.bias.sum()


def reads_weight_untraceably(model: Model, x: Tensor) -> Tensor:
    assert isinstance(x, Tensor)
    return reads_weight(model, x)


@pytest.mark.parametrize("body", [reads_weight, reads_weight_untraceably])
def test_layers_that_are_read_stay(body: Callable[[Model, Tensor], Tensor], tmp_path: Any) -> None:
    model = make_ternary(nn.Sequential(Model(body), nn.Linear(16, 4))).eval()
    ternzip.save_model(model, tmp_path / "m.tnz")
    with torch.device("meta"):
        empty = nn.Sequential(Model(body), nn.Linear(16, 4))
    with torch.inference_mode():
        for fast in (runtime.optimize(model, X), runtime.load_model(empty, tmp_path / "m.tnz", X)):
            assert [choice.name for choice in runtime.describe(fast)] == ["1"]
            torch.testing.assert_close(fast(X), model(X))
        if body is reads_weight_untraceably:
            fast = runtime.optimize(model)
            with pytest.raises(ternzip.TernzipError, match=r"layer 0.fc: the network reads its weight"):
                fast(X)
            assert not hasattr(fast[0].fc, "weight")  # type: ignore[index]


class Derived(nn.TransformerEncoderLayer):
    """Another name for one of torch's."""


@pytest.mark.parametrize("kind", [nn.TransformerEncoderLayer, Derived])
def test_layers_inside_modules_of_torch_stay(kind: type[nn.Module]) -> None:
    model = make_ternary(nn.Sequential(kind(16, 2, 32, batch_first=True), nn.Linear(16, 4))).eval()
    x = torch.randn(2, 5, 16)
    with torch.inference_mode():
        for examples in (None, x):
            fast = runtime.optimize(model, examples)
            assert [choice.name for choice in runtime.describe(fast)] == ["1"]
            torch.testing.assert_close(fast(x), model(x), rtol=1e-4, atol=1e-5)


def test_layers_inside_a_module_that_is_but_a_name_are_replaced() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.middle = nn.Module()
            self.middle.fc = nn.Linear(16, 16)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.middle.fc(x)
            return y

    for examples in (None, X):
        fast = runtime.optimize(make_ternary(Named()), examples)
        assert [choice.name for choice in runtime.describe(fast)] == ["middle.fc"]


def test_another_answer_is_an_error() -> None:
    class Looking(Model):
        def forward(self, x: Tensor) -> Tensor:
            assert isinstance(x, Tensor)
            return self.fc(x) if isinstance(self.fc, nn.Linear) else -self.fc(x)

    with pytest.raises(ternzip.TernzipError, match="Looking: expected the same outputs"):
        runtime.optimize(make_ternary(Looking(exact_type)), X)


def test_examples_that_tell_little() -> None:
    """Outputs that are not numbers, or that are no floats."""
    model = make_ternary(nn.Sequential(nn.Linear(16, 16), nn.Softmax(1)))
    runtime.optimize(model, torch.full((2, 16), torch.nan))

    def body(model: Model, x: Tensor) -> tuple[Tensor, Tensor]:
        y = model.fc(x)
        return y > 0, y.argmax(1)

    model = make_ternary(Model(body)).eval()  # type: ignore[arg-type]
    fast = runtime.optimize(model, X)
    with torch.inference_mode():
        assert torch.equal(fast(X)[1], model(X)[1])


@pytest.mark.parametrize("name", ["class", "in", "\ufb01", "caffe\u0301"])
@pytest.mark.parametrize("examples", [True, False])
def test_names_that_code_reads_otherwise(name: str, examples: bool) -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleDict({name: nn.Linear(16, 16)})

        def forward(self, x: Tensor) -> Tensor:
            return self.layers[name](x).relu()

    model = make_ternary(Named())
    fast = runtime.optimize(model, X if examples else None)
    with torch.inference_mode():
        torch.testing.assert_close(fast(X), model(X))
    assert len(runtime.describe(fast)) == 1


def test_a_norm_over_sequences() -> None:
    model = make_ternary(nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16))).eval()
    x = torch.randn(3, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(runtime.optimize(model, x)(x), model(x))


def test_refused_training_leaves_nothing_behind() -> None:
    model = make_ternary(
        nn.Sequential(nn.BatchNorm1d(16), nn.Dropout(), nn.Linear(16, 16), Model(exact_type))
    )
    for examples in (None, X):
        fast = runtime.optimize(model, examples)
        with pytest.raises(ternzip.TernzipError, match="cannot be trained"):
            fast.train()
        assert not any(module.training for module in fast.modules())
        with torch.inference_mode():
            torch.testing.assert_close(fast(X), copy.deepcopy(model).eval()(X))
    assert model[0].num_batches_tracked == 0


RESIDUALS: tuple[Callable[[Tensor], Any], ...] = (
    lambda x: x > 0,
    lambda x: (3 * x).long(),
    lambda x: torch.tensor(0.3, dtype=torch.float64),
    lambda x: x.double(),
    lambda x: x.shape[0],
    lambda x: 0.5,
)


@pytest.mark.parametrize("residual", RESIDUALS)
@pytest.mark.parametrize("examples", [False, True])
def test_residuals_of_other_dtypes(residual: Callable[[Tensor], Any], examples: bool) -> None:
    class Adds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.norm = nn.Linear(16, 16), nn.BatchNorm1d(16)
            self.last = nn.Linear(16, 4)
            nn.init.uniform_(self.norm.weight, 0.5, 1.5)
            nn.init.uniform_(self.norm.running_var, 0.5, 1.5)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.norm((self.fc(x) + residual(x)).float()).relu())

    model = make_ternary(Adds()).eval()
    fast = runtime.optimize(model, X if examples else None)
    with torch.inference_mode():
        torch.testing.assert_close(fast(X), model(X))

    class Norms(Adds):
        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.fc(x) + residual(x)).relu()

    model = make_ternary(Norms()).eval()
    if residual is not RESIDUALS[3]:
        fast = runtime.optimize(model, X if examples else None)
        with torch.inference_mode():
            torch.testing.assert_close(fast(X), model(X))


def test_tensors_without_values(tmp_path: Any) -> None:
    class Rotary(Model):
        def __init__(self) -> None:
            super().__init__(lambda model, x: model.fc(x) * model.frequency)
            self.register_buffer("frequency", torch.ones(16), persistent=False)

    ternzip.save_model(make_ternary(Rotary()), tmp_path / "m.tnz")
    with torch.device("meta"):
        empty = Rotary()
    with pytest.raises(
        ternzip.TernzipError, match="tensor 'frequency': expected values, found a meta tensor"
    ):
        runtime.load_model(empty, tmp_path / "m.tnz")
    with pytest.raises(ternzip.TernzipError, match=r"'0.weight': expected values, found none before"):
        runtime.optimize(nn.Sequential(nn.LazyLinear(3)))


def test_made_in_inference_mode() -> None:
    with torch.inference_mode():
        fast = runtime.optimize(make_ternary(nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 4))))
    assert not any(tensor.is_inference() for tensor in fast.state_dict().values())
    fast.load_state_dict(fast.state_dict())


def test_rows_of_few_weights_and_levels_of_their_own() -> None:
    """No two elements are alike there, so that a file keeps them as floats; a kernel leaves out the zeros."""
    weight = torch.zeros(64, 1, 3, 3)
    weight[torch.arange(64), 0, torch.arange(64) % 3, 1] = torch.rand(64) + 0.5
    weight[torch.arange(40), 0, torch.arange(40) % 3, 0] = -torch.rand(40) - 0.5
    for dtype in (torch.float32, torch.bfloat16):
        layer = nn.Conv2d(64, 64, 3, groups=64).to(dtype)
        layer.weight.data.copy_(weight)
        fast = runtime.optimize(layer)
        assert [choice.density for choice in runtime.describe(fast)] == [104 / 576]
        x = torch.randn(2, 64, 6, 6).to(dtype)
        with torch.inference_mode():
            torch.testing.assert_close(fast(x), layer(x))
    layer.weight.data[0] = torch.rand(3, 3)
    with pytest.raises(ternzip.TernzipError, match="holds no ternary"):
        runtime.optimize(layer)


def test_a_dense_layer_behind_one_that_keeps_its_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    from ternzip.runtime import optimization
    from ternzip.runtime.dense_layers import ChannelsLastLayer, DenseLayer

    kinds = {"0": ChannelsLastLayer, "2": DenseLayer}
    model = make_ternary(
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Unflatten(1, (2, 4))), 0.2
    )
    monkeypatch.setattr(optimization, "by_rule", lambda plan: kinds[plan.name](plan))
    x = torch.randn(2, 3, 8, 8)
    with torch.inference_mode():
        fast = runtime.optimize(model)
        torch.testing.assert_close(fast(x), model(x), rtol=1e-4, atol=1e-5)
        assert fast(x).view(2, -1).shape == (2, 128)


def test_tracers_of_torch_see_operators() -> None:
    model = make_ternary(nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 4))).eval()
    x = torch.randn(2, 4, 6, 6)
    fast = runtime.optimize(model)
    assert isinstance(fast, NativeNetwork)
    with torch.inference_mode():
        fast(x)
        other = torch.randn(2, 4, 6, 6)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # jit is deprecated, and used
            traced = torch.jit.trace(fast, x)
        torch.testing.assert_close(traced(other), model(other))


def test_hooks_and_settings_of_a_native_network() -> None:
    model = make_ternary(
        nn.Sequential(nn.Conv2d(4, 8, 3), nn.MaxPool2d(2), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(32, 4))
    ).eval()
    fast = runtime.optimize(model)
    assert isinstance(fast, NativeNetwork)
    x = torch.randn(2, 4, 6, 6)
    calls: list[object] = []
    handle = fast.layers.register_forward_hook(lambda *_: calls.append(_))
    with torch.inference_mode():
        fast(x)
        fast(x)
        assert len(calls) == 2
        handle.remove()
        before = fast(x)
        norm: Any = fast.layers.get_submodule("2")
        norm.eps = 10.0
        torch.testing.assert_close(fast(x), fast.layers(x))
        assert not torch.allclose(fast(x), before)
