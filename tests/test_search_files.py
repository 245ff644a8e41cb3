"""What a search reports of a network is what its file gives: models that hold their layers in ways of their own."""

from __future__ import annotations

import copy

import pytest
import torch
from search_problem import data, trained
from torch import Tensor, nn

from ternzip import TernzipError
from ternzip.lowrank import load_compressed
from ternzip.search import search
from ternzip.search.compressors import RankCompressor, method
from ternzip.search.network import Network

for module in ("botorch", "optuna"):
    pytest.importorskip(module)

BOUNDS = [(12, 40), (40, 40), (40, 3)]


class InAList(nn.Module):
    """Layers, and a norm, that a plain list holds beside the module; the list is what runs."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[nn.Module] = []
        for i, (inputs, outputs) in enumerate(BOUNDS):
            self.add_module(f"l{i}", nn.Linear(inputs, outputs))
            self.steps.append(getattr(self, f"l{i}"))
        self.norm = nn.BatchNorm1d(40)
        self.steps.insert(1, self.norm)

    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps[:-1]:
            x = step(x).relu()
        return self.steps[-1](x)


class Unregistered(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(12, 40)
        self.others = [nn.Linear(40, 3)]

    def forward(self, x: Tensor) -> Tensor:
        return self.others[0](self.first(x).relu())


class InAFunction(nn.Module):
    """A copy of it still runs the original's layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(12, 40), nn.Linear(40, 3)
        self.run = lambda x: self.last(self.first(x).relu())

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x)


class OnTheFly(nn.Module):
    """A norm that each run makes anew has nothing to store."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(12, 40), nn.Linear(40, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(nn.LayerNorm(40)(self.first(x)))


class BesideItsState(nn.Module):
    """Its first layer's matrix is also run by itself, from a list."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(12, 40), nn.Linear(40, 3)
        self.matrices = [self.first.weight]

    def forward(self, x: Tensor) -> Tensor:
        return self.last((self.first(x) + x @ self.matrices[0].t()).relu())


def seeded(kind: type[nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind().eval()


@pytest.mark.parametrize("name", ["prune", "ternary", "rank", "all"])
def test_layers_that_a_list_holds_are_compressed_where_they_run(name: str) -> None:
    model, (inputs, _) = seeded(InAList), data()
    made = Network(model, method(name), calibration=inputs[:200], smallest=100)
    found = made.compress([0.2] * 3)
    assert all(layer.rank is None for layer in found.layers.values())
    if name == "rank":
        assert {layer.label for layer in found.layers.values()} == {
            "whole, 8 bits (the model holds it elsewhere too)"
        }
    else:
        assert not torch.allclose(found.model(inputs), model(inputs), atol=0.02)
    loaded = load_compressed(InAList(), found.file(made.coder)).eval()
    torch.testing.assert_close(loaded(inputs), found.model(inputs))


def test_a_search_of_layers_that_a_list_holds_scores_its_file() -> None:
    inputs, labels = data()
    result = search(
        seeded(InAList), (inputs, labels), test=(inputs, labels), smallest=100, evaluations=3, finetune=1
    )
    loaded = load_compressed(InAList(), result.data).eval()
    assert result.finetuned is not None
    assert float((loaded(inputs).argmax(1) == labels).double().mean()) == result.finetuned.accuracy


@pytest.mark.parametrize("kind", [Unregistered, InAFunction])
def test_layers_that_no_file_would_hold_are_refused(kind: type[nn.Module]) -> None:
    with pytest.raises(
        TernzipError, match="to be registered in it, found a Linear in a list, a dict or a fun"
    ):
        search(seeded(kind), data()[0], compressor="prune", smallest=100, evaluations=1)


def test_modules_that_a_run_makes_are_its_own_matter() -> None:
    made = Network(seeded(OnTheFly), RankCompressor(), calibration=data()[0][:50], smallest=100)
    assert made.views["first"].obstacle is None


def test_a_network_that_its_file_does_not_give_is_refused_before_the_search() -> None:
    trials: list[int] = []
    with pytest.raises(TernzipError, match="that its file gives to have the same outputs, found others"):
        search(
            seeded(BesideItsState),
            data()[0],
            compressor="rank",
            smallest=100,
            evaluations=2,
            on_trial=lambda number, _: trials.append(number),
        )
    assert not trials


def test_the_architecture_for_a_file_holds_no_weights() -> None:
    made = Network(trained(), RankCompressor(), smallest=100)
    before = copy.deepcopy(made.model.state_dict())
    assert not any(v.isfinite().any() for v in made.blank().state_dict().values() if v.is_floating_point())
    assert all(torch.equal(value, before[name]) for name, value in made.model.state_dict().items())
