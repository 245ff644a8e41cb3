"""prepare and convert: which weights the model then computes with, and what is left when it is plain again."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest
import torch
from small_network import IMAGES, small
from torch import nn
from torch.nn.utils import prune

import ternzip
from ternzip import TernzipError, count_layers, ternary_state
from ternzip.quantization import TTQ, TWN, Delta, ternary_layers


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
    ternzip.prepare(layer, "delta")
    assert torch.equal(layer.weight, ternary(latent))
    assert torch.equal(ternary_layers(layer)[0].latent, latent)
    assert [entry.name for entry in ternary_layers(layer)] == ["weight"]


def test_the_model_computes_with_ternary_weights_and_trains_latent_ones() -> None:
    model, plain = small(), small()
    ternzip.prepare(model, "delta")
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
    model = ternzip.prepare(small(), "delta").eval()
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
    model = ternzip.prepare(small(), "delta")
    baked = ternzip.convert(copy.deepcopy(model))
    assert torch.equal(baked.eval()(IMAGES), copy.deepcopy(model).eval()(IMAGES))
    model(IMAGES).sum().backward()
    assert ternary_layers(model)[0].latent.grad is not None
    ternzip.convert(model)


def test_a_prepared_part_of_a_larger_model_is_converted_with_it() -> None:
    whole = nn.Sequential(ternzip.prepare(small(), "delta"), nn.Linear(5, 2))
    ternzip.convert(whole)
    assert type(whole[0]) is nn.Sequential
    assert not ternary_layers(whole)
    assert whole(IMAGES).shape == (6, 2)


def test_prepared_state_dicts_load_back() -> None:
    model, other = ternzip.prepare(small(), Delta(0.15)), ternzip.prepare(small(), "delta")
    with torch.no_grad():
        ternary_layers(model)[0].latent.uniform_(-1, 1)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.eval()(IMAGES), model.eval()(IMAGES))
    assert other[0].parametrizations.weight[0].delta.item() == 0.15


def test_skip_and_overrides_choose_by_name() -> None:
    model = nn.ModuleDict({"stem": nn.Linear(4, 4), "body": nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))})
    ternzip.prepare(model, "twn", skip="stem", overrides={"body.1": TTQ(0.1)})
    found = {layer.name: type(layer.quantizer).__name__ for layer in ternary_layers(model)}
    assert found == {"body.0": "TWN", "body.1": "TTQ"}
    assert {name for name, _ in model.named_parameters() if name.endswith(("neg", "pos"))} == {
        f"body.1.parametrizations.weight.0.{level}" for level in ("log_neg", "log_pos")
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
    with pytest.raises(TypeError, match=r"prepare takes a torch\.nn\.Module, got dict"):
        ternzip.prepare({})  # type: ignore[arg-type]
    with pytest.raises(TernzipError, match="layer 0 is prepared already"):
        ternzip.prepare(ternzip.prepare(small(), "delta"))
    with pytest.raises(TernzipError, match="no ternary layer to convert"):
        ternzip.convert(small())


def test_the_default_follows_each_layers_own_scale() -> None:
    model = small()
    with torch.no_grad():
        model[0].weight.mul_(1e-3)
        model[4].weight.mul_(1e3)
    latents = [model[i].weight.detach().clone() for i in (0, 4)]
    ternzip.prepare(model)
    for i, latent in zip((0, 4), latents, strict=True):
        delta = 0.7 * latent.abs().mean()
        level = latent.abs()[latent.abs() > delta].mean()
        expected = torch.where(latent.abs() > delta, level * latent.sign(), 0.0)
        torch.testing.assert_close(model[i].weight, expected)
    assert all(0.3 < counts.sparsity < 0.5 for counts in count_layers(model).values())


def test_the_default_learns_in_a_model_without_batch_norm() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 200)
    y = (x @ torch.randn(200, 4)).argmax(1)
    model = ternzip.prepare(nn.Sequential(nn.Linear(200, 128), nn.ReLU(), nn.Linear(128, 4)))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(40):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        ternzip.clip_latent_(model)
    assert loss < 0.2  # ln 4 = 1.39


def test_layers_that_start_all_zero_are_named_once() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(400, 4), nn.Linear(400, 2))
    with pytest.warns(
        UserWarning, match=r"2 of 3 layers start with all ternary weights zero \(1, 2\)"
    ) as caught:
        ternzip.prepare(model, "delta")
    assert len(caught) == 1


def test_a_quantizer_may_be_given_as_its_class() -> None:
    model = ternzip.prepare(small(), TWN, overrides={"4": TTQ})
    assert [type(layer.quantizer) for layer in ternary_layers(model)] == [TWN, TTQ]


@pytest.mark.parametrize("wrong", [0.1, nn.Linear, 3, ["twn"]])
def test_what_is_no_quantizer_is_refused(wrong: object) -> None:
    model = small()
    with pytest.raises(TernzipError, match="quantizer: expected a Quantizer, its class or its name, found"):
        ternzip.prepare(model, wrong)  # type: ignore[arg-type]
    with pytest.raises(TernzipError, match="quantizer: expected"):
        ternzip.prepare(model, overrides={"4": wrong})  # type: ignore[dict-item]
    assert not ternary_layers(model)


def test_a_model_prepared_in_two_parts_is_itself_again_after_convert() -> None:
    model = ternzip.prepare(small(), skip="4")
    ternzip.prepare(model, skip="0")
    assert type(model) is nn.Sequential
    ternzip.convert(model)
    assert type(model) is nn.Sequential
    assert type(model[0]) is nn.Conv2d
    restored = pickle.loads(pickle.dumps(model))
    assert torch.equal(restored.eval()(IMAGES), model.eval()(IMAGES))


def unfit() -> list[tuple[str, nn.Module, str]]:
    """Layers that cannot be prepared, and what is said of them."""
    pruned = nn.Linear(4, 4)
    prune.l1_unstructured(pruned, "weight", 0.5)
    normed = torch.nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
    integers = nn.Linear(4, 4)
    integers.weight = nn.Parameter(torch.zeros(4, 4, dtype=torch.int8), requires_grad=False)
    eights = nn.Linear(4, 4)
    eights.weight = nn.Parameter(torch.zeros(4, 4).to(torch.float8_e4m3fn), requires_grad=False)
    sparse = nn.Linear(4, 4)
    sparse.weight = nn.Parameter(torch.eye(4).to_sparse())
    return [
        ("pruned", pruned, "its weight is no parameter, but computed"),
        ("parametrized", normed, "parametrized already, by _WeightNorm"),
        ("lazy", nn.LazyLinear(4), "has no shape yet"),
        ("integer", integers, "expected a floating-point weight, found torch.int8"),
        ("float8", eights, "expected a floating-point weight, found torch.float8_e4m3fn"),
        ("sparse", sparse, "expected a dense weight, found the layout torch.sparse_coo"),
        ("prepared", ternzip.prepare(nn.Linear(4, 4)), "is prepared already"),
    ]


@pytest.mark.filterwarnings("ignore:Lazy modules")
@pytest.mark.parametrize(
    "kind", ["pruned", "parametrized", "lazy", "integer", "float8", "sparse", "prepared"]
)
def test_an_unfit_layer_is_named_before_anything_changes(kind: str) -> None:
    layer, message = next((layer, message) for name, layer, message in unfit() if name == kind)
    model = nn.Sequential(nn.Linear(4, 4), layer)
    before = list(model.state_dict())
    with pytest.raises(TernzipError, match=f"^layer 1.*{message}") as raised:
        ternzip.prepare(model)
    assert "\n" not in str(raised.value)
    assert list(model.state_dict()) == before
    assert type(model[0]) is nn.Linear
    ternzip.prepare(model, skip="1")


def test_a_quantizer_that_fails_leaves_the_model_alone() -> None:
    class Failing(TWN):
        def reset(self, weight: torch.Tensor, size_share: float = 1.0) -> None:
            if weight.shape[0] == 5:
                raise ValueError("not this one")

    model = small()
    with pytest.raises(ValueError, match="not this one"):
        ternzip.prepare(model, Failing())
    assert type(model[0]) is nn.Conv2d
    assert not ternary_layers(model)


def test_assigning_to_a_prepared_weight_sets_the_latent_one() -> None:
    layer = ternzip.prepare(nn.Linear(3, 2), "delta")
    layer.weight = torch.full((2, 3), 0.5)
    assert torch.equal(ternary_layers(layer)[0].latent, torch.full((2, 3), 0.5))
    assert layer.weight.unique().tolist() == [1]
