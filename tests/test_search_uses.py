"""Layers that never run, that torch's own modules read, or that a model reads past their forward."""

from __future__ import annotations

import pytest
import torch
from search_problem import data, trained
from torch import Tensor, nn
from torch.nn import functional as F

from ternzip import TernzipError
from ternzip.lowrank import collect_statistics, load_compressed
from ternzip.lowrank.statistics import weighting
from ternzip.search import markdown, search
from ternzip.search.choices import METHODS
from ternzip.search.compressors import Frontier, PruneCompressor, RankCompressor, method
from ternzip.search.compressors.methods import weightings
from ternzip.search.network import Network


def needs_extra() -> None:
    for module in ("botorch", "optuna"):
        pytest.importorskip(module)


class Encoder(nn.Module):
    """With a head that only training uses."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(16, 20)
        self.training_only = nn.Linear(16, 20)

    def forward(self, x: Tensor) -> Tensor:
        found = self.encoder(self.first(x.view(-1, 4, 3))).mean(1)
        return self.head(found) + (self.training_only(found) if self.training else 0)


WITHIN = {
    "encoder.layers.0.self_attn.out_proj": "inside MultiheadAttention",
    "encoder.layers.0.linear1": "inside TransformerEncoderLayer",
    "encoder.layers.0.linear2": "inside TransformerEncoderLayer",
}


@pytest.mark.parametrize("name", METHODS)
def test_layers_of_torchs_own_modules_stay_one_layer(name: str) -> None:
    torch.manual_seed(0)
    inputs, labels = data()
    fisher = "fisher" in weightings(method(name))
    made = Network(
        Encoder(), method(name), calibration=inputs[:40], labels=labels[:40], smallest=100, fisher=fisher
    )
    assert made.uses.unused == ["training_only"]
    assert made.uses.fixed == WITHIN
    assert made.names == [*WITHIN, "head"]
    found = made.compress([0.5] * 4)
    assert {name: layer.rank for name, layer in found.layers.items() if name != "head"} == dict.fromkeys(
        WITHIN
    )
    if name.startswith("rank"):
        assert found.layers["head"].rank is not None
        assert (
            found.layers["encoder.layers.0.linear1"].label == "whole, 8 bits (inside TransformerEncoderLayer)"
        )
    loaded = load_compressed(Encoder(), found.file(made.coder)).eval()
    with torch.no_grad():
        assert torch.equal(loaded(inputs), found.model(inputs))


def test_a_transformer_is_searched_and_the_report_names_what_was_left_alone() -> None:
    needs_extra()
    torch.manual_seed(0)
    result = search(Encoder(), data(), target_size="5KB", smallest=100, evaluations=2, finetune=1)
    assert result.bytes <= 5000
    assert result.notes == [
        "training_only: left at 8 bits, as they never run on the samples",
        "encoder.layers.0.self_attn.out_proj: never two layers of low rank (inside MultiheadAttention)",
        "encoder.layers.0.linear1, encoder.layers.0.linear2: never two layers of low rank "
        "(inside TransformerEncoderLayer)",
    ]
    assert all(f"\n{note}.\n" in markdown(result) for note in result.notes)
    pruned = search(Encoder(), data(), target_size="5KB", smallest=100, evaluations=1, compressor="prune")
    assert len(pruned.notes) == 1


class Reader(nn.Module):
    """Reads one layer's weight, calls another by a keyword, and a third past its name."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(12, 16)
        self.named = nn.Linear(16, 16)
        self.listed = nn.Linear(16, 3)
        self.layers = [self.listed]

    def forward(self, x: Tensor) -> Tensor:
        x = F.linear(x, self.read.weight, self.read.bias).relu()
        return self.layers[0](self.named(input=x).relu())


def test_layers_whose_weight_is_read_stay_one_layer() -> None:
    torch.manual_seed(0)
    inputs, _ = data()
    model = Reader().eval()
    made = Network(model, RankCompressor(), calibration=inputs, smallest=40)
    assert made.uses.unused == []
    assert made.uses.fixed == {
        "read": "the model reads its weight",
        "listed": "the model holds it elsewhere too",
    }
    found = made.compress([0.5] * 3)
    assert [layer.rank for layer in found.layers.values()] == [None, found.layers["named"].rank, None]
    assert found.layers["named"].rank is not None
    assert not any(module._forward_pre_hooks for module in made.model.modules())


def test_a_model_of_which_no_layer_runs_is_refused() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.idle = nn.Linear(16, 20)

        def forward(self, x: Tensor) -> Tensor:
            return x[:, :3]

    with pytest.raises(
        TernzipError, match=r"^Idle: expected a layer that runs on the samples, found none: idle"
    ):
        Network(Idle(), PruneCompressor(), calibration=data()[0][:4], smallest=100)


def test_second_moments_are_kept_only_where_a_method_needs_them() -> None:
    """They take 8 bytes for each pair of a layer's inputs: 680 MB for a linear layer of 9,216."""
    inputs = data()[0][:100]
    for name in METHODS:
        fisher = name == "rank-fisher"
        made = Network(trained(), method(name), calibration=inputs, smallest=100, fisher=fisher)
        moments = made.views["3"].statistics.moments  # type: ignore[union-attr]
        assert moments.dim() == (2 if name == "rank-whitening" else 1)
    whitening = Frontier((PruneCompressor(), RankCompressor("whitening"), RankCompressor("fisher")))
    assert weightings(whitening) == {"whitening", "fisher"}
    assert weightings(object()) == {"plain", "activation", "whitening"}  # type: ignore[arg-type]

    layers = {"0": trained()[0]}
    whole, diagonal = (
        collect_statistics(trained(), [inputs], layers, correlations=correlations)["0"]
        for correlations in (True, False)
    )
    torch.testing.assert_close(diagonal.moments, whole.moments.diagonal())
    torch.testing.assert_close(
        weighting("activation", diagonal).columns, weighting("activation", whole).columns
    )
    with pytest.raises(TernzipError, match="'whitening': expected statistics of the layer, found none"):
        weighting("whitening", diagonal)
