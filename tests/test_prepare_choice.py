"""Which weights prepare chooses, what it says of the others, and how it treats ties."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import ternzip
from ternzip import TernzipError, count_layers, ternary_state
from ternzip.quantization import TTQ, ternary_layers


class Conv1D(nn.Module):
    """A linear layer with its weight transposed, as in GPT-2 of transformers."""

    def __init__(self, outputs: int, inputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs) * 0.02)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight + self.bias


class Language(nn.Module):
    """Embedding, body and a head tied to the embedding."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(11, 8)
        self.body = nn.Linear(8, 8)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(torch.tanh(self.body(self.embed(tokens))))
        return out


TOKENS = torch.arange(11)


def names(model: nn.Module) -> list[str]:
    return [layer.name for layer in ternary_layers(model)]


def test_a_callable_skips_by_name_and_module() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2))
    ternzip.prepare(model, skip=lambda name, module: name == "0" or getattr(module, "out_features", 0) == 2)
    assert names(model) == ["1"]


def test_other_types_are_left_alone_aloud_and_included_by_type() -> None:
    model = nn.Sequential(Conv1D(6, 4), nn.Linear(6, 2))
    with pytest.warns(
        UserWarning, match=r"leaves weights in full precision: 1 of Conv1D \(0\); include="
    ) as caught:
        ternzip.prepare(model)
    assert len(caught) == 1
    assert names(model) == ["1"]
    model = nn.Sequential(Conv1D(6, 4), nn.Linear(6, 2))
    x = torch.randn(3, 4)
    ternzip.prepare(model, include=Conv1D)
    assert names(model) == ["0", "1"]
    before = model(x)
    ternzip.convert(model)
    assert torch.equal(model(x), before)
    assert list(model[0].state_dict()) == ["weight", "bias"]
    assert len(model[0].weight.unique()) == 3


def test_skipping_a_weight_of_another_type_needs_no_word() -> None:
    model = ternzip.prepare(nn.Sequential(Conv1D(6, 4), nn.Linear(6, 2)), skip="0")
    assert names(model) == ["1"]


def test_embeddings_and_norms_stay_without_a_word() -> None:
    model = nn.Sequential(nn.Embedding(5, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    assert names(ternzip.prepare(model)) == ["2"]


def test_weights_are_included_by_name() -> None:
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    plain = list(model.state_dict())
    ternzip.prepare(model, include="*.in_proj_weight")
    assert names(model) == ["self_attn.in_proj_weight", "self_attn.out_proj", "linear1", "linear2"]
    model(torch.randn(2, 3, 8)).sum().backward()
    assert all(layer.latent.grad is not None for layer in ternary_layers(model))
    assert list(ternary_state(model)) == plain
    ternzip.convert(model)
    assert list(model.state_dict()) == plain
    assert len(model.self_attn.in_proj_weight.unique()) == 3


def test_overrides_reach_included_weights() -> None:
    model = ternzip.prepare(nn.LSTM(3, 4), include=nn.LSTM, overrides={"weight_hh_*": TTQ()})
    assert {layer.name: type(layer.quantizer).__name__ for layer in ternary_layers(model)} == {
        "weight_ih_l0": "TWN",
        "weight_hh_l0": "TTQ",
    }


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_compute_with_ternary_weights(kind: type[nn.RNNBase]) -> None:
    torch.manual_seed(0)
    model = kind(3, 4, num_layers=2)
    plain = list(model.state_dict())
    x = torch.randn(5, 2, 3)
    full, _ = model(x)
    ternzip.prepare(model, include=kind)
    assert len(ternary_layers(model)) == 4
    out, _ = model(x)
    assert not torch.equal(out, full)
    state = ternary_state(model)
    reference = kind(3, 4, num_layers=2)
    reference.load_state_dict(state)
    assert torch.equal(reference(x)[0], out)
    out.sum().backward()
    assert all(layer.latent.grad is not None for layer in ternary_layers(model))
    ternzip.convert(model)
    assert type(model) is kind
    assert list(model.state_dict()) == list(state) == plain
    assert torch.equal(model(x)[0], out)


def test_a_head_tied_to_an_embedding_stays_as_it_is() -> None:
    model = Language()
    with pytest.warns(UserWarning, match=r"full precision: 1 tied to embed \(head\)"):
        ternzip.prepare(model)
    agrees(model, ["body"])
    assert model.head.weight is model.embed.weight
    assert names(ternzip.prepare(Language(), skip="head")) == ["body"]


def test_a_head_is_ternarized_together_with_its_embedding() -> None:
    model = ternzip.prepare(Language(), include=nn.Embedding)
    agrees(model, ["embed", "body"])
    assert model.head.weight is model.embed.weight
    assert len(model.embed.weight.unique()) == 3


def agrees(model: nn.Module, expected: list[str]) -> None:
    """State, counts and outputs before and after convert, which is done here, say the same."""
    before, state = model(TOKENS), ternary_state(model)
    assert list(count_layers(model)) == expected
    ternzip.convert(model)
    assert torch.equal(model(TOKENS), before)
    converted = model.state_dict()
    assert list(converted) == list(state)
    assert all(torch.equal(converted[name], tensor) for name, tensor in state.items())


def test_half_of_a_tie_is_not_ternarized() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    model[1].weight = model[0].weight
    with pytest.warns(UserWarning, match=r"1 tied to 1 \(0\)"):
        ternzip.prepare(model, skip="1")
    assert names(model) == ["2"]


@pytest.mark.parametrize("include", [(), nn.Embedding])
def test_a_tie_by_memory_alone_stays_as_it_is(include: object) -> None:
    """Two parameters in one place: what `convert` writes into one would be in the other too."""
    model = Language()
    model.head.weight = nn.Parameter(model.embed.weight.detach())
    assert model.head.weight is not model.embed.weight
    before = model.embed.weight.detach().clone()
    with pytest.warns(UserWarning, match=r"tied to embed \(head\)"):
        ternzip.prepare(model, include=include)
    agrees(model, ["body"])
    assert torch.equal(model.embed.weight, before)


def test_parts_of_one_storage_are_no_tie() -> None:
    flat = torch.randn(32)
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    for layer, part in zip(model, flat.split(16), strict=True):
        layer.weight.data = part.view(4, 4)
    assert names(ternzip.prepare(model)) == ["0", "1"]


def test_a_tie_to_a_prepared_layer_is_seen() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    ternzip.prepare(model)
    late = nn.Linear(4, 4)
    late.weight = ternary_layers(model)[0].latent
    whole = nn.Sequential(model, late, nn.Linear(4, 2))
    with pytest.warns(UserWarning, match=r"1 tied to 0.0"):
        ternzip.prepare(whole, skip="0.*")
    assert names(whole) == ["0.0", "0.1", "2"]


def test_mistakes_in_choosing_are_named() -> None:
    with pytest.raises(TernzipError, match="include: expected module types and name patterns, found 3"):
        ternzip.prepare(nn.Linear(2, 2), include=[3])  # type: ignore[list-item]
    with pytest.raises(TernzipError, match="include: LSTM: the model has no such layer with weights"):
        ternzip.prepare(nn.Linear(2, 2), include=nn.LSTM)
    pruned = prune.l1_unstructured(nn.LSTM(2, 2), "weight_hh_l0", 0.5)
    with pytest.raises(
        TernzipError, match=r"^layer weight_hh_l0: its weight_hh_l0 is no parameter, but computed"
    ):
        ternzip.prepare(pruned, include=nn.LSTM)
    with pytest.raises(TernzipError, match="pattern 'lstm' matches no layer"):
        ternzip.prepare(nn.Linear(2, 2), include="lstm")
    with pytest.raises(
        TernzipError, match=r"expected a convolution .* found none \(it has Conv1D: see include=\)"
    ):
        ternzip.prepare(Conv1D(2, 2))
    with pytest.raises(TernzipError, match="found none"):
        ternzip.prepare(nn.Linear(2, 2), skip=lambda name, module: True)


class Experts(nn.Module):
    """Weights of several linear layers in one parameter, as transformers has them, and what is no weight."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.up_proj = nn.Parameter(torch.randn(3, 8, 8))
        self.up_proj_bias = nn.Parameter(torch.zeros(3, 8))
        self.pos_embed = nn.Parameter(torch.randn(1, 5, 8))
        self.token = nn.Parameter(torch.randn(1, 1, 8))


def test_weights_of_another_name_are_spoken_of_and_can_be_included() -> None:
    def model() -> nn.Module:
        return nn.Sequential(nn.Linear(8, 8), nn.LayerNorm([1, 4, 8]), Experts())

    with pytest.warns(UserWarning, match=r"precision: 1 of Experts.up_proj \(2.up_proj\); include="):
        assert list(count_layers(ternzip.prepare(model()))) == ["0"]
    assert list(count_layers(ternzip.prepare(model(), include="*_proj"))) == ["0", "2.up_proj"]
    included = ternzip.prepare(model(), include=Experts, skip=["*.pos_embed", "*.token"])
    assert ternary_state(included)["2.up_proj"].unique().numel() == 3


@pytest.mark.parametrize("skip", [nn.Linear, [nn.Linear], [nn.Linear, "1"]])
def test_types_may_be_skipped(skip: type[nn.Module] | list[type[nn.Module] | str]) -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Conv1d(3, 3, 3), nn.Conv1d(3, 3, 3))
    assert list(count_layers(ternzip.prepare(model, skip=skip)))[-1:] == ["2"]
    assert "0" not in count_layers(model)


def test_types_that_say_nothing_are_refused() -> None:
    for options, words in (
        ({"skip": nn.Identity}, "skip: Identity: the model has no such layer with weights"),
        ({"skip": [nn.Linear, 3]}, "skip: expected module types and name patterns, found 3"),
        ({"overrides": {nn.Linear: "twn"}}, "overrides: expected name patterns, found <class"),
    ):
        with pytest.raises(TernzipError, match=words):
            ternzip.prepare(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)), **options)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_weight_that_weight_norm_computes_is_refused_by_its_name() -> None:
    model = nn.Sequential(nn.LSTM(4, 4))
    torch.nn.utils.weight_norm(model[0], "weight_hh_l0")
    with pytest.raises(
        TernzipError, match=r"layer 0.weight_hh_l0: its weight_hh_l0 is no parameter, but computed"
    ):
        ternzip.prepare(model, include=nn.LSTM)


def test_an_embedding_of_sparse_gradients_is_refused() -> None:
    model = nn.Sequential(nn.Embedding(10, 8, sparse=True), nn.Linear(8, 4))
    with pytest.raises(TernzipError, match="layer 0: its gradients are sparse"):
        ternzip.prepare(model, include=nn.Embedding)
