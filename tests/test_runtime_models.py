"""Whole models: what is folded and what must not be, files, compilation, copies."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from runtime_networks import make_ternary
from torch import Tensor, nn
from torch.nn import functional as F

import ternzip
from ternzip import runtime
from ternzip.container.reader import Reader
from ternzip.models import fc3, he_resnet20, resnet20
from ternzip.runtime.layers import DirectLayer, RuntimeLayer, SparseLayer

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(4))


def kinds(model: nn.Module) -> list[type[nn.Module]]:
    """The modules that compute something."""
    return [type(module) for module in model.modules() if not list(module.children())]


def check(model: nn.Module, x: Tensor, *, folded: bool, examples: bool = False) -> nn.Module:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trained = [p.requires_grad for p in model.parameters()]
    fast = runtime.optimize(model, x if examples else None)
    with torch.inference_mode():
        torch.testing.assert_close(fast(x), model(x), rtol=1e-4, atol=1e-4)
    if folded:
        assert not any(issubclass(kind, nn.ReLU | nn.BatchNorm2d) for kind in kinds(fast))
    after = model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert [p.requires_grad for p in model.parameters()] == trained
    return fast


@pytest.mark.parametrize("examples", [False, True])
def test_residual_networks(examples: bool) -> None:
    fast = check(make_ternary(he_resnet20()), IMAGES, folded=True, examples=examples)
    assert len(runtime.describe(fast)) == 20
    fast = check(make_ternary(resnet20(), 0.9), IMAGES, folded=False, examples=examples)
    # What stays: the pool, and the norm and activation behind it.
    left = [kind for kind in kinds(fast) if not issubclass(kind, RuntimeLayer)]
    assert left == [nn.AdaptiveAvgPool2d, nn.BatchNorm1d, nn.Hardtanh]


def test_fully_connected() -> None:
    fast = check(make_ternary(fc3(hidden=50)), torch.randn(3, 1, 28, 28), folded=False)
    assert {choice.kind for choice in runtime.describe(fast)} == {"lookup"}
    assert not any(issubclass(kind, nn.BatchNorm1d) for kind in kinds(fast))


def test_few_zeros_stay_dense() -> None:
    """By a kernel of ours where a layer is small, by torch's where it is not."""
    fast = check(make_ternary(he_resnet20(), 0.2), IMAGES, folded=True)
    assert {c.kind for c in runtime.describe(fast) if c.name != "linear"} == {"direct"}
    large = runtime.optimize(make_ternary(nn.Sequential(nn.Conv2d(64, 128, 3)), 0.45))
    assert [c.kind for c in runtime.describe(large)] == ["dense"]


class Viewed(nn.Module):
    """Needs its activations in torch's usual layout."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3)
        self.b = nn.Conv2d(8, 8, 3)
        self.c = nn.Conv2d(8, 6, 3)
        self.linear = nn.Linear(6 * 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x))
        x = F.relu(self.b(x) + x[:, :, 1:-1, 1:-1])
        x = self.c(x)
        return self.linear(x.view(-1, 24))


def test_dense_layers_in_both_layouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever is the quickest, layer by layer or in the whole: views are those of the model."""
    model, x = make_ternary(Viewed(), 0.1), torch.randn(2, 3, 8, 8)

    def pick(number: int) -> Callable[[list[Callable[[], Tensor]]], list[float]]:
        """Stands for measuring: each is run, and one is the quickest."""
        return lambda calls: [
            float(call() is None or i != number % len(calls)) for i, call in enumerate(calls)
        ]

    for layer, network, found in (
        (3, 0, "channels_last"),
        (2, 0, "sparse"),
        (1, 0, "dense"),
        (0, 0, "direct"),
        (1, 1, "dense"),
        (1, 2, "channels_last"),
    ):
        monkeypatch.setattr("ternzip.runtime.choice.measured", pick(layer))
        monkeypatch.setattr("ternzip.runtime.optimization.measured", pick(network))
        fast = check(model, x, folded=False, examples=True)
        assert {choice.kind for choice in runtime.describe(fast) if choice.name != "linear"} == {found}


@pytest.mark.parametrize("examples", [False, True])
def test_float_convolutions_that_are_small_are_folded(examples: bool) -> None:
    model = make_ternary(he_resnet20())
    with torch.no_grad():
        model.conv1.weight.normal_()
    fast = check(model, IMAGES, folded=True, examples=examples)
    first = fast.get_submodule("layers.conv1")
    assert isinstance(first, DirectLayer)
    assert not first.is_ternary
    assert len(runtime.describe(fast)) == 19


def test_other_float_layers_stay_as_they_are() -> None:
    model = make_ternary(nn.Sequential(nn.Conv2d(3, 128, 3), nn.ReLU(), nn.Conv2d(128, 64, 3), nn.ReLU()))
    with torch.no_grad():
        model[2].weight.normal_()
    fast = check(model, torch.randn(1, 3, 8, 8), folded=False)
    assert kinds(fast) == [SparseLayer, nn.Conv2d, nn.ReLU]


# --- what must not be folded, or not in this way --------------------------------------------------------------


class Network(nn.Module):
    """Two convolutions and whatever `forward` does with them."""

    def __init__(self, body: Callable[..., Tensor]) -> None:
        super().__init__()
        self.a = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.b = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU()
        self.relu_in_place = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(0.5)
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self, x + 0)


def twice(n: Network, x: Tensor) -> Tensor:
    y = n.a(x)
    return n.relu(y) + y


def shared(n: Network, x: Tensor) -> Tensor:
    return n.relu(n.a(n.norm(n.a(x))))


def written_between(n: Network, x: Tensor) -> Tensor:
    y = n.a(x)
    x = n.relu_in_place(x)
    return F.relu(y + x)


def written_by_method(n: Network, x: Tensor) -> Tensor:
    y = n.a(x)
    x.mul_(3.0)
    return F.relu(y + x)


def written_by_operator(n: Network, x: Tensor) -> Tensor:
    y = n.a(x)
    x += 1.0
    return F.relu(y + x)


def written_by_function(n: Network, x: Tensor) -> Tensor:
    y = n.a(x)
    F.relu(x, True)
    return F.relu(y + x)


def written_through_a_view(n: Network, x: Tensor) -> Tensor:
    y = n.a(x)
    x[:, 0] = 2.0
    return F.relu(y + x)


def added_into_the_other(n: Network, x: Tensor) -> Tensor:
    y = x * 2
    z = y
    z += n.a(x)
    return F.relu(z) + y


def added_in_place(n: Network, x: Tensor) -> Tensor:
    y = n.a(x)
    y += x
    return F.relu(y, inplace=True)


def added_number(n: Network, x: Tensor) -> Tensor:
    return F.relu(n.a(x) + 1.5)


def added_times(n: Network, x: Tensor) -> Tensor:
    return F.relu(torch.add(n.a(x), x, alpha=2.0))


def added_to_itself(n: Network, x: Tensor) -> Tensor:
    y = n.a(x)
    return F.relu(y + y)


def added_smaller(n: Network, x: Tensor) -> Tensor:
    return F.relu(n.norm(n.a(x) + x[:, :1, :1, :1]))


def added_larger(n: Network, x: Tensor) -> Tensor:
    return F.relu(n.a(x[:1]) + x)


def norm_before_and_behind(n: Network, x: Tensor) -> Tensor:
    return n.relu(n.norm(n.norm(n.a(x)) + n.dropout(n.norm(n.b(x)))))


def two_additions(n: Network, x: Tensor) -> Tensor:
    return n.relu(n.a(x) + x + n.b(x))


def activation_before_norm(n: Network, x: Tensor) -> Tensor:
    return n.norm(n.relu(n.a(x)))


def other_activations(n: Network, x: Tensor) -> Tensor:
    y = F.hardtanh(n.a(x), -0.3, 0.4)
    return F.relu6(n.b(y)).relu() + torch.relu(n.b(x)) + F.hardtanh(n.a(y))


def keyword(n: Network, x: Tensor) -> Tensor:
    return n.relu(n.a(input=x))


BODIES = [
    twice,
    shared,
    written_between,
    written_by_method,
    written_by_operator,
    written_by_function,
    written_through_a_view,
    added_into_the_other,
    added_in_place,
    added_number,
    added_times,
    added_to_itself,
    added_smaller,
    added_larger,
    norm_before_and_behind,
    two_additions,
    activation_before_norm,
    other_activations,
    keyword,
]


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("examples", [False, True])
def test_graphs(body: Callable[..., Tensor], examples: bool) -> None:
    check(make_ternary(Network(body)), torch.randn(2, 4, 8, 8), folded=False, examples=examples)


def test_what_graphs_fold() -> None:
    for body, left in (
        (norm_before_and_behind, []),
        (added_in_place, []),
        (activation_before_norm, [nn.BatchNorm2d]),
    ):
        fast = runtime.optimize(make_ternary(Network(body)))
        assert [kind for kind in kinds(fast) if not issubclass(kind, RuntimeLayer)] == left


class Choosing(nn.Module):
    """What tracing cannot see: values, optional arguments, tensors made of nothing."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 16)
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        if self.way == "value" and x.sum() > 0:
            return -y
        if self.way == "constant":
            return y + torch.arange(16.0)
        if self.way == "type" and isinstance(x, Tensor):
            return -y
        if self.way == "is_tensor" and torch.is_tensor(x):
            return -y
        if self.way == "exact type" and type(x) is Tensor:
            return -y
        return y


class Optional(Choosing):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        y = self.layer(x)
        return y if mask is None else y * mask


@pytest.mark.parametrize("way", ["value", "constant", "optional", "type", "is_tensor"])
def test_models_that_cannot_be_traced(way: str) -> None:
    model = Optional(way) if way == "optional" else Choosing(way)
    fast = check(make_ternary(model), torch.rand(3, 16), folded=False)
    assert type(fast) is type(model)


def test_a_trace_that_took_a_wrong_turn_is_seen_by_examples() -> None:
    check(make_ternary(Choosing("exact type")), torch.rand(3, 16), folded=False, examples=True)


def test_hooks_are_kept() -> None:
    model = make_ternary(he_resnet20())
    seen = []
    model.layer1[0].conv1.register_forward_hook(lambda *_: seen.append("conv"))
    model.layer1[0].act.register_forward_hook(lambda *_: seen.append("act"))
    fast = runtime.optimize(model)
    with torch.inference_mode():
        torch.testing.assert_close(fast(IMAGES), model(IMAGES), rtol=1e-4, atol=1e-4)
    assert seen == ["conv", "act", "act"] * 2


def test_shared_layers_and_a_layer_alone() -> None:
    layer = nn.Linear(16, 16)
    check(make_ternary(nn.Sequential(layer, nn.Tanh(), layer)), torch.randn(2, 16), folded=False)
    alone = check(make_ternary(nn.Linear(16, 16)), torch.randn(2, 16), folded=False)
    assert isinstance(alone, RuntimeLayer)


def test_norms_that_fold_only_into_batches() -> None:
    model = make_ternary(nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8)))
    fast = check(model, torch.randn(2, 16), folded=False)
    with pytest.raises(ternzip.TernzipError, match=r"expected a batch of vectors, found .* \(2, 8, 16\)"):
        fast(torch.randn(2, 8, 16))  # the norm is over the second dimension there


def test_bfloat16_models() -> None:
    model = make_ternary(he_resnet20())
    fast = runtime.optimize(model)
    with torch.inference_mode():
        wanted = model(IMAGES)
        found = fast(IMAGES.bfloat16())
    assert found.dtype == torch.bfloat16
    assert (found.float() - wanted).abs().max() < 0.05 * wanted.abs().max()
    own = runtime.optimize(make_ternary(nn.Linear(64, 8)).bfloat16())
    assert own(torch.randn(2, 64, dtype=torch.bfloat16)).dtype == torch.bfloat16


# --- files --------------------------------------------------------------------------------------------------


def test_a_file_gives_the_same_layers(tmp_path: Path) -> None:
    model = make_ternary(he_resnet20())
    with torch.no_grad():
        model.conv1.weight.normal_()  # a float layer
        model.layer1[0].conv1.weight.mul_(torch.rand(16, 1, 1, 1) + 0.5)  # levels for each row
        model.layer1[0].conv2.weight.mul_(-1.0)  # zeros of both signs
    ternzip.save_model(model, tmp_path / "net.tnz")
    with torch.device("meta"):
        empty = he_resnet20()
    for examples in (None, IMAGES):
        fast = runtime.load_model(empty, tmp_path / "net.tnz", examples)
        with torch.inference_mode():
            torch.testing.assert_close(fast(IMAGES), model(IMAGES), rtol=1e-4, atol=1e-4)
    wanted = runtime.optimize(model).state_dict()
    found = runtime.load_model(empty, tmp_path / "net.tnz").state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], value) for name, value in wanted.items())
    assert all(p.is_meta for p in empty.parameters())


def test_layers_too_small_to_be_stored_as_ternary(tmp_path: Path) -> None:
    model = make_ternary(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)), 0.0)
    ternzip.save_model(model, tmp_path / "net.tnz")
    assert len(runtime.describe(runtime.load_model(model, tmp_path / "net.tnz"))) == 2


def test_a_file_that_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "net.tnz"
    ternzip.save_model(make_ternary(fc3(hidden=20)), path)
    with pytest.raises(ternzip.TernzipError, match="tensor names do not fit HeResNet"):
        runtime.load_model(he_resnet20(), path)
    with pytest.raises(
        ternzip.TernzipError, match=r"tensor fc1.weight: expected shape \(30, 784\), found \(20, 784\)"
    ):
        runtime.load_model(fc3(hidden=30), path)
    with pytest.raises(ternzip.TernzipError, match="prepared model"):
        runtime.load_model(ternzip.prepare(fc3(hidden=20)), path)
    ternzip.save_file({"weight": torch.randn(3, 4), "bias": torch.randn(3)}, path)
    with pytest.raises(ternzip.TernzipError, match="holds no ternary convolution or linear layer of Linear"):
        runtime.load_model(nn.Linear(4, 3), path)


def test_levels_of_groups_within_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linear layers run from them, straight from a file too; convolutions stay torch's."""
    model = make_ternary(
        nn.Sequential(nn.Conv1d(64, 8, 4), nn.Flatten(), nn.Linear(256, 8), nn.Linear(8, 4)), 0.5
    )
    with torch.no_grad():
        model[0].weight[:, 32:] *= 3.0
        model[2].weight[:, 128:] *= 3.0
    x = torch.randn(2, 64, 35)
    fast = check(model, x, folded=False)
    assert [choice.name for choice in runtime.describe(fast)] == ["2", "3"]
    wanted = fast(x)
    ternzip.save_model(model, tmp_path / "net.tnz")
    with torch.device("meta"):
        empty = nn.Sequential(nn.Conv1d(64, 8, 4), nn.Flatten(), nn.Linear(256, 8), nn.Linear(8, 4))
    read = Reader.read
    names: list[str] = []
    monkeypatch.setattr(
        Reader, "read", lambda self, name, **options: names.append(name) or read(self, name, **options)
    )
    fast = runtime.load_model(empty, tmp_path / "net.tnz")
    assert "2.weight" not in names  # no dense weights in between
    layer = fast.get_submodule("layers.2")
    assert (layer.description, tuple(layer.positives.shape)) == ("lookup", (2, 16))
    assert torch.equal(fast(x), wanted)


def test_nothing_to_optimize() -> None:
    with pytest.raises(ternzip.TernzipError, match="Linear holds no ternary convolution or linear layer"):
        runtime.optimize(nn.Linear(4, 4))
    with pytest.raises(ternzip.TernzipError, match=r"is prepared: call ternzip\.convert first"):
        runtime.optimize(ternzip.prepare(nn.Linear(4, 4)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_weights_of_other_types_are_named(tmp_path: Path, dtype: torch.dtype) -> None:
    name = str(dtype).removeprefix("torch.")
    model, path = make_ternary(nn.Linear(64, 64)).to(dtype), tmp_path / "net.tnz"
    found = f"ternary weights are {name}: expected float32 or bfloat16: "
    with pytest.raises(ternzip.TernzipError, match=rf"^Linear: {found}call model\.float\(\)$"):
        runtime.optimize(model)
    ternzip.save_model(model, path)
    with pytest.raises(ternzip.TernzipError, match=f"net.tnz: {found}load it by ternzip.load_model"):
        runtime.load_model(nn.Linear(64, 64).to(dtype), path)
    assert runtime.describe(runtime.optimize(model.float()))
    with pytest.raises(ternzip.TernzipError, match="Linear holds no ternary convolution or linear layer"):
        runtime.optimize(nn.Linear(4, 4).to(dtype))


# --- torch's machinery -------------------------------------------------------------------------------------


def test_copies_states_and_pickles() -> None:
    fast = runtime.optimize(make_ternary(he_resnet20()))
    other = runtime.optimize(make_ternary(he_resnet20()))
    with torch.inference_mode():
        wanted = fast(IMAGES)
        assert torch.equal(copy.deepcopy(fast)(IMAGES), wanted)
        other.load_state_dict(fast.state_dict())
        assert torch.equal(other(IMAGES), wanted)
    stream = io.BytesIO()
    torch.save(fast, stream)
    stream.seek(0)
    with torch.inference_mode():
        assert torch.equal(torch.load(stream, weights_only=False)(IMAGES), wanted)
    with pytest.raises(ternzip.TernzipError, match="cannot be trained"):
        fast.train()
    fast.eval()
    assert not any(p.requires_grad for p in fast.parameters())
    assert torch.equal(fast(IMAGES), wanted)  # with gradients on, since nothing requires one
    with pytest.raises(ternzip.TernzipError, match="has no gradient"):
        fast(IMAGES.clone().requires_grad_())


def test_compiled() -> None:
    model = make_ternary(
        nn.Sequential(nn.Conv2d(8, 8, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8 * 36, 5)), 0.9
    )
    fast = runtime.optimize(model)
    x = torch.randn(2, 8, 8, 8)
    with torch.inference_mode():
        compiled = torch.compile(fast, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x), fast(x))
        torch.testing.assert_close(compiled(torch.cat([x] * 20)), fast(torch.cat([x] * 20)))


def test_operators() -> None:
    model = make_ternary(nn.Sequential(nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 5)), 0.9)
    sparse, lookup = (m for m in runtime.optimize(model).modules() if isinstance(m, RuntimeLayer))
    x = torch.randn(2, 8, 8, 8)
    conv = (
        x,
        sparse.codes,
        sparse.starts,
        sparse.ratios,
        None,
        sparse.scales,
        sparse.biases,
        None,
        sparse.residual_scales,
    )
    tests = ("test_schema", "test_faketensor")
    torch.library.opcheck(
        torch.ops.ternzip.runtime_convolve.default,
        (*conv, list(sparse.native_window), sparse.block_channels, 0.0, 6.0),
        test_utils=tests,
    )
    levels = (lookup.codes, lookup.positives, None)
    rest = (lookup.biases, None, lookup.residual_scales, 288, 0.0, 6.0)
    vectors = torch.randn(2, 288)
    torch.library.opcheck(
        torch.ops.ternzip.runtime_multiply.default, (vectors, *levels, *rest), test_utils=tests
    )
    torch.library.opcheck(torch.ops.ternzip.runtime_dense.default, (*levels, 5, 288, 288), test_utils=tests)
