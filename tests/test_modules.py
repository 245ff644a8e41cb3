"""prepare and convert in all the places a model can be put."""

from __future__ import annotations

import copy
import inspect

import pytest
import torch
from torch import nn

import ternzip
from ternzip import TernzipError, ops
from ternzip.quantization import modules
from ternzip.quantization.modules import clip_latent_, count_layers, ternary_layers, ternary_state
from ternzip.quantization.quantizers import TTQ, Delta


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 5)
    )


IMAGES = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(3))


def ternary(weight: torch.Tensor, delta: float = 0.1) -> torch.Tensor:
    return torch.where(weight.abs() > delta, weight.sign(), 0.0)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv1d(2, 3, 3),
        nn.Conv2d(2, 3, 3),
        nn.Conv3d(2, 3, 3),
        nn.ConvTranspose1d(2, 3, 3),
        nn.ConvTranspose2d(2, 3, 3),
        nn.ConvTranspose3d(2, 3, 3),
        nn.Linear(2, 3),
    ],
)
def test_every_kind_of_layer_is_ternarized(layer: nn.Module) -> None:
    latent = layer.weight.detach().clone()
    ternzip.prepare(layer)
    assert torch.equal(layer.weight, ternary(latent))
    assert torch.equal(ternary_layers(layer)[0].latent, latent)
    assert [entry.name for entry in ternary_layers(layer)] == ["weight"]


def test_the_model_computes_with_ternary_weights_and_trains_latent_ones() -> None:
    model, plain = small(), small()
    ternzip.prepare(model)
    with torch.no_grad():
        plain[0].weight.copy_(ternary(plain[0].weight))
        plain[4].weight.copy_(ternary(plain[4].weight))
    out, expected = model(IMAGES), plain(IMAGES)
    assert torch.equal(out, expected)
    out.square().sum().backward()
    expected.square().sum().backward()
    for i, index in enumerate((0, 4)):
        latent = ternary_layers(model)[i].latent
        torch.testing.assert_close(latent.grad, plain[index].weight.grad * (latent.abs() <= 1))


def test_one_call_ternarizes_the_whole_model(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ternzip.prepare(small())
    calls = []
    original = ops.ternarize_many
    monkeypatch.setattr(
        modules,
        "ternarize_many",
        lambda weights, *a, **k: calls.append(len(weights)) or original(weights, *a, **k),
    )
    model(IMAGES)
    assert calls == [2]
    model[0](IMAGES)  # a layer alone does its own
    assert calls == [2, 1]


def test_an_exception_in_forward_leaves_nothing_behind() -> None:
    model = ternzip.prepare(small())
    with pytest.raises(RuntimeError):
        model(torch.randn(2, 1, 4, 4))
    latent = ternary_layers(model)[0].latent
    with torch.no_grad():
        latent.fill_(0.7)
    assert model[0].weight.unique().tolist() == [1.0]


def test_forward_keeps_its_signature() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor, *, scale: float = 1.0) -> torch.Tensor:
            return self.linear(x) * scale

    before = inspect.signature(Net().forward)
    model = ternzip.prepare(Net())
    assert inspect.signature(model.forward) == before
    assert isinstance(model, Net)
    assert model(torch.ones(1, 2), scale=0.0).tolist() == [[0, 0]]


def test_convert_bakes_in_what_the_model_computed() -> None:
    names = list(small().state_dict())
    model = ternzip.prepare(small()).eval()
    before = model(IMAGES)
    promised = ternary_state(model)
    assert ternzip.convert(model) is model
    assert torch.equal(model(IMAGES), before)
    assert type(model) is nn.Sequential
    assert type(model[0]) is nn.Conv2d
    assert list(model.state_dict()) == list(promised) == names
    assert all(torch.equal(promised[name], tensor) for name, tensor in model.state_dict().items())
    assert model[0].weight.unique().tolist() == [-1, 0, 1]
    assert isinstance(model[0].weight, nn.Parameter)


def test_a_copy_can_be_converted_while_the_model_trains_on() -> None:
    model = ternzip.prepare(small())
    baked = ternzip.convert(copy.deepcopy(model))
    assert torch.equal(baked.eval()(IMAGES), copy.deepcopy(model).eval()(IMAGES))
    model(IMAGES).sum().backward()
    assert ternary_layers(model)[0].latent.grad is not None
    ternzip.convert(model)


def test_a_prepared_part_of_a_larger_model_is_converted_with_it() -> None:
    whole = nn.Sequential(ternzip.prepare(small()), nn.Linear(5, 2))
    ternzip.convert(whole)
    assert type(whole[0]) is nn.Sequential
    assert not ternary_layers(whole)
    assert whole(IMAGES).shape == (6, 2)


def test_prepared_state_dicts_load_back() -> None:
    model, other = ternzip.prepare(small(), Delta(0.2)), ternzip.prepare(small())
    with torch.no_grad():
        ternary_layers(model)[0].latent.uniform_(-1, 1)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.eval()(IMAGES), model.eval()(IMAGES))
    assert other[0].parametrizations.weight[0].quantizer.delta.item() == 0.2


def test_skip_and_overrides_choose_by_name() -> None:
    model = nn.ModuleDict({"stem": nn.Linear(4, 4), "body": nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))})
    ternzip.prepare(model, "twn", skip="stem", overrides={"body.1": TTQ(0.1)})
    found = {layer.name: type(layer.quantizer).__name__ for layer in ternary_layers(model)}
    assert found == {"body.0": "TWN", "body.1": "TTQ"}
    assert {name for name, _ in model.named_parameters() if name.endswith(("neg", "pos"))} == {
        f"body.1.parametrizations.weight.0.quantizer.{level}" for level in ("log_neg", "log_pos")
    }


def test_mistakes_are_named() -> None:
    with pytest.raises(TernzipError, match="Sequential has no layer to ternarize"):
        ternzip.prepare(nn.Sequential(nn.ReLU()))
    with pytest.raises(TernzipError, match="no layer to ternarize"):
        ternzip.prepare(small(), skip=["*"])
    with pytest.raises(TernzipError, match=r"pattern 'conv\*' matches no layer: the layers are 0, 4"):
        ternzip.prepare(small(), skip=["conv*"])
    with pytest.raises(TernzipError, match="unknown quantizer 'tern'"):
        ternzip.prepare(small(), "tern")
    with pytest.raises(TernzipError, match="layer 0 is parametrized already"):
        ternzip.prepare(ternzip.prepare(small()))
    with pytest.raises(TernzipError, match="no ternary layer to convert"):
        ternzip.convert(small())


def test_counts_are_those_of_the_weights() -> None:
    model = ternzip.prepare(small())
    for name, counts in count_layers(model).items():
        weight = model.get_submodule(name).weight
        assert (counts.negative, counts.zero, counts.positive) == tuple(
            int((weight == symbol).sum()) for symbol in (-1, 0, 1)
        )
    assert list(count_layers(model)) == ["0", "4"]


def test_clip_latent_keeps_ternary_weights() -> None:
    model = ternzip.prepare(small())
    latent = ternary_layers(model)[0].latent
    with torch.no_grad():
        latent.mul_(20)
    before = model[0].weight.clone()
    clip_latent_(model)
    assert latent.abs().max() == 1
    assert torch.equal(model[0].weight, before)


def test_tied_layers_stay_tied() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    ternzip.prepare(model)
    model(torch.ones(1, 4)).sum().backward()
    ternzip.convert(model)
    assert model[0].weight is model[1].weight


def test_attention_projections_work() -> None:
    model = ternzip.prepare(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True))
    model(torch.randn(2, 3, 8)).sum().backward()
    assert ternary_layers(model)


def test_channels_last_and_autocast() -> None:
    model = ternzip.prepare(small()).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        out = model(IMAGES.to(memory_format=torch.channels_last))
    assert out.dtype == torch.bfloat16
    out.sum().backward()
    assert ternary_layers(model)[0].latent.grad.dtype == torch.float32


def test_functional_call_grad_and_vmap() -> None:
    from torch.func import functional_call, grad, vmap

    model = ternzip.prepare(nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1)))
    parameters = dict(model.named_parameters())
    x = torch.randn(5, 4)

    def loss(parameters: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        return functional_call(model, parameters, (x,)).square().sum()

    whole = grad(loss)(parameters, x)
    single = vmap(grad(loss), in_dims=(None, 0))(parameters, x)
    loss(parameters, x).backward()
    for name, parameter in parameters.items():
        torch.testing.assert_close(whole[name], parameter.grad)
        torch.testing.assert_close(single[name].sum(0), parameter.grad)


def test_compile_makes_one_graph_whatever_delta_does() -> None:
    graphs = []

    def backend(graph: torch.fx.GraphModule, inputs: object) -> object:
        graphs.append(graph)
        return graph.forward

    model = ternzip.prepare(small()).eval()
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    schedule = ternzip.DeltaSchedule(model)
    for _ in range(3):
        torch.testing.assert_close(compiled(IMAGES), model(IMAGES))
        schedule.step()
    assert len(graphs) == 1
    explanation = torch._dynamo.explain(model)(IMAGES)
    assert (explanation.graph_break_count, explanation.graph_count) == (0, 1)


def test_export() -> None:
    model = ternzip.prepare(small()).eval()
    program = torch.export.export(model, (IMAGES,))
    torch.testing.assert_close(program.module()(IMAGES), model(IMAGES))
