"""search() from end to end on a small network: sizes reached, files that load, reports, errors."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from search_problem import data, network, problem, trained
from torch import nn

import ternzip
from ternzip import TernzipError
from ternzip.lowrank import load_compressed
from ternzip.quantization import quantize_inputs
from ternzip.search import markdown, search, write_report
from ternzip.search.choices import METHODS
from ternzip.search.compressors import Frontier, PruneCompressor, RankCompressor, TernaryCompressor, method
from ternzip.search.finetune import _badness, finetune
from ternzip.search.network import Network
from ternzip.search.problem import Problem
from ternzip.search.samples import Samples, gather, samples_of
from ternzip.search.target import TOLERANCE, TargetSize

SMALL = {"smallest": 100, "evaluations": 3}


def needs_extra() -> None:
    for module in ("botorch", "optuna"):
        pytest.importorskip(module)


def test_a_search_for_a_size(tmp_path: Path) -> None:
    needs_extra()
    before = {name: value.clone() for name, value in trained().state_dict().items()}
    seen = []
    result = search(
        trained(),
        data(),
        target_size=2500,
        smallest=100,
        evaluations=8,
        epsilon=0.0,
        on_trial=lambda n, e: seen.append((n, e.bytes)),
    )
    assert 2500 * (1 - TOLERANCE) <= result.bytes <= 2500
    assert [number for number, _ in seen] == list(range(8))
    assert all(size <= 2500 for _, size in seen)
    assert all(torch.equal(value, before[name]) for name, value in trained().state_dict().items())

    path = tmp_path / "best.tnz"
    result.save(path)
    assert path.stat().st_size == result.bytes
    loaded = load_compressed(network(), path).eval()
    inputs, _ = data()
    assert torch.equal(loaded(inputs), result.model(inputs))
    assert result.best.accuracy is not None
    assert result.dense.accuracy is not None
    assert (
        result.dense.bytes
        == sum(4 * value.numel() for value in trained().state_dict().values() if value.dim()) + 8
    )
    again = search(trained(), data(), target_size=2500, smallest=100, evaluations=8, epsilon=0.0)
    assert again.data == result.data


def test_the_users_model_stays_where_and_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even its mode, its gradients' flags or its device: a copy is worked on."""
    needs_extra()
    model = network().train()
    moved = []
    monkeypatch.setattr(type(model), "to", lambda self, *a, **k: moved.append(self is model) or self)
    search(model, data()[0], target_size=3000, compressor="ternary", smallest=1000)
    assert not any(moved)
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_search_without_a_size_or_labels() -> None:
    needs_extra()
    result = search(trained(), data()[0], compressor="rank", **SMALL)
    assert result.target is None
    assert result.best.accuracy is None
    assert len(result.visited) == 3
    for visited in result.visited:
        found = visited.evaluation
        assert found.value == pytest.approx(found.loss.value + found.bytes / result.dense.bytes)


@pytest.mark.parametrize("compressor", ["rank", "ternary", "prune", "bits", "all"])
@pytest.mark.parametrize("offset", [0.0, 0.2, -0.3])
def test_targets_are_reached_and_never_passed(compressor: str, offset: float) -> None:
    made = Network(trained(), method(compressor), calibration=data()[0][:100], smallest=100)
    target = TargetSize(made, 100_000)
    largest = max(target.bytes([i / 20] * 3) for i in range(21))
    for share in (0.2, 0.5, 0.9):
        size = round(target.smallest + share * (largest - target.smallest))
        fit = target.for_target(size).fit([0.0, offset, -offset])
        assert fit.bytes <= size
        assert fit.bytes == target.bytes(fit.theta, fit.zeros)
        # Of files this small some bytes come and go with single codes, whatever is asked for.
        assert fit.bytes >= size * (1 - TOLERANCE) - 32, (size, fit)


@pytest.mark.parametrize("compressor", ["rank", "prune", "bits", "all"])
def test_a_size_that_only_the_tables_reach_takes_the_largest(compressor: str) -> None:
    """By entropy there is a larger file than the coder makes; more zeros than none were asked for to reach it."""
    made = Network(trained(), method(compressor), calibration=data()[0][:100], smallest=100)
    target = TargetSize(made, 100_000)
    largest = target.bytes([1.0] * 3)
    for extra in range(1, 400, 21):
        fit = target.for_target(largest + extra).fit([0.0] * 3)
        assert fit.bytes == largest or fit.bytes >= (largest + extra) * (1 - TOLERANCE)
        assert fit.bytes <= largest + extra
    assert target.fit([0.0] * 3).largest


@pytest.mark.parametrize("compressor", ["rank", "prune", "all"])
def test_the_smallest_file_that_is_named_can_be_had(compressor: str) -> None:
    """It was another than the search makes, and settings near it ended the search."""
    size = len(problem(target=10**6, compressor=compressor).smallest.data)
    with pytest.raises(TernzipError, match=f"the smallest file .* is {size:,} bytes"):
        problem(target=size - 1, compressor=compressor)
    for target in (size, size + 1, size + 9):
        made = problem(target=target, compressor=compressor)
        for point in ([0.5, 0.5], [0.0, 1.0], [1.0, 0.2], [0.9, 0.9]):
            assert len(made.compress(point).data) <= target
        assert len(made.uniform(target).data) <= target


def test_a_target_that_everything_fits_takes_the_largest() -> None:
    made = Network(trained(), RankCompressor(), calibration=data()[0][:100], smallest=100)
    target = TargetSize(made, 100_000)
    assert target.fit([0.0] * 3).bytes == target.bytes([1.0] * 3)


def test_batch_norm_is_estimated_anew_and_this_helps() -> None:
    inputs, _ = data()
    with_it = Network(trained(), TernaryCompressor(), calibration=inputs, smallest=100)
    without = Network(trained(), TernaryCompressor(), calibration=inputs, smallest=100, batch_norm=False)
    exact = trained()(inputs).detach()
    lost = []
    for made in (with_it, without):
        found = made.compress([0.3] * 3)
        lost.append(float((found.model(inputs) - exact).square().mean()))
    assert lost[0] < lost[1]
    model = with_it.compress([0.3] * 3).model
    first = model[0](inputs)
    # Averages over batches of 256 of 600, stored in 16 bits.
    own = trained()[1]
    expected = (first - first.mean(0)) / first.std(0) * own.weight + own.bias
    alive = first.std(0) > 0.1
    torch.testing.assert_close(model[1](first)[:, alive], expected[:, alive], rtol=0.1, atol=0.1)
    kept = without.compress([0.3] * 3).model[1]
    torch.testing.assert_close(kept(first), own(first), rtol=5e-3, atol=5e-3)


def test_what_a_large_size_makes_worse_is_said() -> None:
    """Of a size that the network itself fits, the file is no better than that."""
    needs_extra()
    model = copy.deepcopy(trained())
    assert isinstance(model[1].running_mean, torch.Tensor)
    with torch.no_grad():  # statistics that the samples do not have: estimated anew they are others
        model[1].running_mean += 0.5
    whole = len(ternzip.save(model.state_dict(), codec="context", threads=1))

    def notes(size: int, **options: bool) -> list[str]:
        return search(model, data(), target_size=size, compressor="bits", **SMALL, **options).notes

    fits, statistics = notes(whole)
    assert fits == f"the network as it is takes {whole:,} bytes in a .tnz file, and fits: ternzip compress"
    assert statistics.startswith("with the original's batch norm statistics L is 0.0")
    assert notes(whole - 1) == [statistics]
    assert notes(whole, batch_norm=False) == [fits]
    assert not any("fits" in note for note in notes(2500))


def test_batch_norm_takes_two_vectors_of_the_file() -> None:
    made = Network(trained(), TernaryCompressor(), calibration=data()[0][:100], smallest=100)
    for found in (made.compress([0.3] * 3), made.compress([0.3] * 3, batch_norm=False)):
        assert not found.tensors["1.running_mean"].any()
        assert bool((found.tensors["1.running_var"] == 1).all())


def test_finetuning_helps_and_holds_what_was_found() -> None:
    needs_extra()
    options = {"target_size": 1000, "compressor": "ternary", "smallest": 100, "evaluations": 3}
    result = search(trained(), data(), finetune=4, learning_rate=3e-3, **options)
    assert result.finetuned is not None
    assert result.finetuned.accuracy > result.best.accuracy
    assert result.bytes == result.finetuned.bytes <= 1000
    inputs, _ = data()
    assert torch.equal(load_compressed(network(), result.data).eval()(inputs), result.model(inputs))
    for layer in result.network.layers.values():
        value = layer.encoded["weight"].value
        assert len(value.unique()) <= 3


def test_finetuning_holds_masks_and_ranks() -> None:
    needs_extra()
    for name in ("prune", "rank"):
        plain = search(trained(), data()[0], compressor=name, **SMALL)
        tuned = search(trained(), data()[0], compressor=name, finetune=2, **SMALL)
        for layer, before in plain.network.layers.items():
            after = tuned.network.layers[layer]
            assert after.rank == before.rank
            if name == "prune":
                zeros = before.latents["weight"][1].mask == 0  # type: ignore[attr-defined]
                assert not after.encoded["weight"].value[zeros].any()


def test_ties_and_shared_modules_survive() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(12, 12)
            self.second = nn.Linear(12, 12)
            self.second.weight = self.first.weight
            self.shared = nn.Linear(12, 12)
            self.again = self.shared

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.again(self.shared(self.second(self.first(x))))

    torch.manual_seed(0)
    model = Tied().eval()
    made = Network(model, RankCompressor(), calibration=data()[0][:50], smallest=100)
    assert made.names == ["shared"]  # a weight of two modules is left alone
    found = made.compress([0.5])
    assert found.model.again is found.model.shared
    assert found.model.first.weight is found.model.second.weight
    loaded = load_compressed(Tied(), found.file(made.coder)).eval()
    inputs, _ = data()
    assert torch.equal(loaded(inputs), found.model(inputs))


def test_reports(tmp_path: Path) -> None:
    needs_extra()
    pytest.importorskip("matplotlib")
    result = search(
        trained(), data(), target_size="3KB", smallest=100, evaluations=10, epsilon=0.0, finetune=1
    )
    written = write_report(result, tmp_path / "report")
    assert [path.suffix for path in written] == [".md", ".json", ".svg"]
    text, numbers, picture = written
    found = json.loads(numbers.read_text())
    assert found["bytes"] == result.bytes
    assert len(found["visited"]) == 8
    assert [f["value"] for f in found["runoff"]] == [f.evaluation.value for f in result.runoff]
    assert {layer["name"] for layer in found["layers"]} == {"0", "3", "5"}
    assert found["visited"][0]["posterior_mean"] is not None
    ElementTree.parse(picture)
    words = text.read_text()
    for part in (
        "uniform setting",
        "fine-tuning",
        "No certificate",
        "The runoff, on 420 samples",
        "Batch norm was estimated anew",
        "report.svg",
    ):
        assert part in words


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ([], {}, "samples: expected at least one, found none"),
        (
            None,
            {"target_size": 200},
            r"target size 200 bytes: cannot be reached: the smallest file .* is [\d,]+ bytes",
        ),
        (None, {"target_size": "a lot"}, "size: expected a number of bytes"),
        (None, {"compressor": "magic"}, "method: expected one of all"),
        (None, {"share": "magic"}, "share: expected one of none, shape, found 'magic'"),
        ((data()[0], data()[1] + 1), {}, "expected labels of 0 to 2, as the model has outputs, found 1 to 3"),
        (None, {"kappa": float("nan")}, "kappa: expected a finite number of at least 0, found nan"),
        (None, {"delta": -1.0}, "delta: expected a finite number of at least 0, found -1.0"),
        (None, {"epsilon": 2.0}, "epsilon: expected 0 to 1, found 2.0"),
        (None, {"held_out": float("nan")}, "held_out: expected 0 to 1, found nan"),
        (None, {"samples_per_evaluation": 1}, "samples_per_evaluation: expected at least 2, found 1"),
        (None, {"calibration": 0}, "calibration: expected at least 1 sample, found 0"),
        (None, {"finetune": -1}, "finetune: expected at least 0 epochs, found -1"),
        (
            None,
            {"learning_rate": float("nan")},
            "learning_rate: expected a finite number of at least 0, found nan",
        ),
        (None, {"learning_rate": -1.0}, "learning_rate: expected a finite number of at least 0, found -1.0"),
        (None, {"engine": "magic"}, "engine: expected one of pac"),
        (None, {"loss": "magic"}, "loss: expected one of distance"),
        (None, {"evaluations": 0}, "evaluations: expected at least 1, found 0"),
        (None, {"skip": "*"}, "expected a linear layer or a convolution of at least 100 weights"),
        (None, {"skip": "fc9"}, "pattern 'fc9' matches no layer: the layers are 0, 3, 5"),
        (None, {"study": "sqlite:////no/such/x.db"}, "cannot be opened"),
    ],
)
def test_input_that_is_refused(source: object, options: dict[str, object], message: str) -> None:
    needs_extra()
    with pytest.raises(TernzipError, match=message) as caught:
        search(trained(), data() if source is None else source, **{"smallest": 100, **options})  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_networks_that_are_refused() -> None:
    needs_extra()
    inputs = data()[0]
    with pytest.raises(TernzipError, match="Sequential: expected a linear layer or a convolution"):
        search(nn.Sequential(nn.Flatten()), inputs)
    broken = network()
    broken[5].bias.data.fill_(float("nan"))
    with pytest.raises(TernzipError, match="model: expected finite outputs on the samples, found NaN"):
        search(broken, inputs)
    hidden = network()
    hidden.register_buffer("unused", torch.tensor([float("nan")]))
    with pytest.raises(TernzipError, match="tensor unused: expected finite values"):
        search(hidden, inputs)
    prepared = ternzip.prepare(network())
    with pytest.raises(TernzipError, match="found a parametrization: convert it first"):
        search(prepared, inputs)


class Stateful(nn.Linear):
    def get_extra_state(self) -> dict[str, int]:
        return {"steps": 1}


class Uncopied(nn.Linear):
    def __deepcopy__(self, memo: object) -> nn.Module:
        raise TypeError("there is only one\nof this")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            lambda: nn.Sequential(nn.utils.weight_norm(nn.Linear(12, 3))),
            "layer 0: expected a weight of its own",
        ),
        (
            lambda: nn.Sequential(nn.utils.spectral_norm(nn.Linear(12, 3))),
            "layer 0: expected a weight of its own",
        ),
        (
            lambda: nn.Sequential(nn.Linear(12, 3, device="meta")),
            "tensor 0.weight: expected values, found a meta",
        ),
        (lambda: nn.Sequential(Stateful(12, 3)), "state 0._extra_state: expected a tensor, found dict"),
        (lambda: nn.Sequential(Uncopied(12, 3)), "^model: cannot be copied: there is only one$"),
        (lambda: torch.jit.script(network()), "module model: expected one of Python, found a ScriptModule"),
    ],
)
def test_models_that_are_refused_before_anything_is_run(model: Callable[[], nn.Module], message: str) -> None:
    needs_extra()
    made = model()
    if isinstance(made, nn.Sequential) and not isinstance(made[0].weight, nn.Parameter):
        made(data()[0])
    with pytest.raises(TernzipError, match=message):
        search(made, [], smallest=10)
    with pytest.raises(TernzipError, match=message):
        Network(made, TernaryCompressor(), smallest=10)


def test_batch_norm_needs_two_samples() -> None:
    with pytest.raises(
        TernzipError, match="calibration: expected at least 2 samples to estimate batch norm on"
    ):
        Network(trained(), TernaryCompressor(), calibration=data()[0][:1], smallest=100)
    Network(trained(), TernaryCompressor(), calibration=data()[0][:1], smallest=100, batch_norm=False)


def test_samples_held_out_of_another_shape_are_refused() -> None:
    needs_extra()
    with pytest.raises(TernzipError, match=r"that the model takes, found torch.float32 of shape \[5, 7\]"):
        search(trained(), data()[0], test=torch.zeros(5, 7), **SMALL)  # type: ignore[arg-type]


def test_masks_of_infinity_are_kept_as_they_are() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(12, 16)
            self.head = nn.Linear(16, 3)
            self.register_buffer("mask", torch.full((4, 4), float("-inf")).triu(1))
            self.register_buffer("floor", torch.tensor(float("-inf")))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mixed = (self.mask + x[:, :4, None]).softmax(2) @ x.view(-1, 4, 3)
            return self.head(self.first(mixed.flatten(1).maximum(self.floor)).relu())

    torch.manual_seed(0)
    inputs = data()[0]
    made = Network(Masked(), PruneCompressor(), calibration=inputs[:40], smallest=40)
    found = made.compress([0.5, 0.5])
    assert torch.equal(found.model.mask, Masked().mask)
    loaded = load_compressed(Masked(), found.file(made.coder)).eval()
    assert torch.equal(loaded.mask, Masked().mask)
    assert torch.equal(loaded(inputs), found.model(inputs))


def test_views_of_one_memory_are_refused() -> None:
    """What is written for one of them would be in the other, which has an encoding of its own."""
    model = network()
    square = torch.randn(8, 8)
    model.register_buffer("square", square)
    model.register_buffer("turned", square.t())
    with pytest.raises(
        TernzipError, match=r"^tensor turned: expected memory of its own, found some of square's$"
    ):
        Network(model, TernaryCompressor(), smallest=100)


def test_without_the_extra_one_line_says_what_to_install() -> None:
    program = """
import sys
sys.modules["botorch"] = None
import torch
from torch import nn
import ternzip
try:
    ternzip.search.search(nn.Sequential(nn.Linear(2, 2)), torch.zeros(4, 2))
except ternzip.TernzipError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=120, text=True)
    assert done.stderr == ""
    assert "pip install 'ternzip[search]'" in done.stdout
    assert done.stdout.count("\n") == 1


def test_the_point_of_a_target_holds_ratios_and_the_largest_layer_has_none() -> None:
    made = problem(target=3000)
    assert made.names == ["0 rank ratio", "5 rank ratio"]  # of 480, 1600 and 120 weights
    assert made.offsets([0.5, 1.0]) == [0.0, 0.0, pytest.approx(1.0)]
    assert made.offsets([0.25, 0.75]) == [pytest.approx(-0.5), 0.0, pytest.approx(0.5)]
    assert isinstance(problem(compressor=Frontier((TernaryCompressor(),), 3)).network.compressor, Frontier)


class Normed(nn.Module):
    """Features of length 1, which are NaN where a setting has made them all zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(12, 40, bias=False)
        self.second = nn.Linear(40, 12, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x).relu()
        return self.second(x / x.norm(dim=1, keepdim=True))


def test_a_setting_whose_outputs_are_nan_does_not_end_the_search() -> None:
    needs_extra()
    torch.manual_seed(0)
    model = Normed()
    result = search(model, data(), compressor="ternary", smallest=100, evaluations=14, epsilon=0.0)
    losses = [visited.evaluation.loss.value for visited in result.visited]
    assert len(losses) == 12
    assert sum(3 < loss < 5 for loss in losses) > 0
    assert result.best.loss < 1
    assert result.notes == []
    again = search(model, data(), compressor="ternary", smallest=100, evaluations=14, epsilon=0.0)
    assert again.data == result.data


def test_a_network_whose_outputs_are_nan_at_every_setting_is_named() -> None:
    needs_extra()

    class Hopeless(Normed):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            exact = self.first.weight.unique().numel() > 300
            return super().forward(x) / exact

    torch.manual_seed(0)
    result = search(Hopeless(), data(), compressor="ternary", **SMALL)  # type: ignore[arg-type]
    assert result.best.accuracy == 0
    (note,) = result.notes
    assert note == f"network of {result.bytes:,} bytes: NaN or infinity among its outputs on held-out samples"


def test_one_layer_and_a_size_leave_nothing_to_search() -> None:
    needs_extra()
    result = search(trained(), data(), target_size=1500, compressor="ternary", smallest=1000)
    assert len(result.visited) == 1
    assert result.bytes <= 1500


class Mixed(nn.Module):
    """A convolution of groups, a depthwise one and a one-dimensional one beside plain ones."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Conv2d(3, 16, 3, padding=1)
        self.grouped = nn.Conv2d(16, 16, 3, padding=1, groups=4)
        self.depthwise = nn.Conv2d(16, 64, 3, padding=1, groups=16)
        self.line = nn.Conv1d(64, 8, 3)
        self.head = nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.depthwise(self.grouped(self.plain(x).relu()).relu()).relu()
        return self.head(self.line(x.flatten(2)).mean(2))


@pytest.mark.parametrize("name", METHODS)
def test_layers_that_have_no_low_rank_are_left_as_they_are(name: str) -> None:
    torch.manual_seed(0)
    images = torch.randn(40, 3, 8, 8)
    labels = torch.arange(40) % 10
    made = Network(Mixed(), method(name), calibration=images, labels=labels, smallest=80, fisher=True)
    found = made.compress([0.5] * len(made.names))
    assert set(made.names) == {"plain", "grouped", "depthwise", "line", "head"}
    loaded = load_compressed(Mixed(), found.file(made.coder)).eval()
    torch.testing.assert_close(loaded(images), found.model(images))
    if name.startswith("rank"):
        assert found.layers["plain"].rank is not None
        for layer, reason in {"grouped": "4 groups", "depthwise": "16 groups", "line": "Conv1d"}.items():
            assert found.layers[layer].rank is None
            assert found.layers[layer].label == f"whole, 8 bits ({reason})"


def test_a_module_of_two_names_is_compressed_under_both() -> None:
    """Under its second name it was stored with 8 bits, in the place of what had been found."""

    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = self.second = nn.Linear(12, 12)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(x))

    torch.manual_seed(0)
    made = Network(Shared(), TernaryCompressor(), smallest=100)
    found = made.compress([0.5])
    assert len(found.model.second.weight.unique()) == 3
    assert "second.weight" not in found.description.codes
    once = ternzip.save({"first.weight": found.tensors["first.weight"], "first.bias": torch.zeros(12)})
    assert len(found.file(made.coder)) < len(once) + 200


@pytest.mark.parametrize("name", METHODS)
def test_contents_without_a_module_are_those_of_the_network(name: str) -> None:
    made = Network(trained(), method(name), calibration=data()[0][:100], smallest=100, fisher=True)
    for zeros in (0.0, 0.1):
        found = made.compress([0.3, 0.6, 1.0], zeros=zeros, batch_norm=False)
        alone = made.contents([0.3, 0.6, 1.0], zeros=zeros)
        assert alone.description == found.description
        assert list(alone.tensors) == list(found.tensors)
        assert all(torch.equal(alone.tensors[key], value) for key, value in found.tensors.items())
        assert alone.file(made.coder) == found.file(made.coder)


@pytest.mark.parametrize("compressor", ["all", "rank-fisher", "ternary"])
def test_layers_with_ternary_activations_stay_one_layer(compressor: str) -> None:
    needs_extra()
    model = quantize_inputs(copy.deepcopy(trained()), ["3", "5"])
    inputs = data()[0]
    model(inputs)
    result = search(model, inputs, compressor=compressor, target_size=3000, finetune=1, **SMALL)  # type: ignore[arg-type]
    assert result.network.layers["3"].rank is None
    loaded = load_compressed(network(), result.data).eval()
    assert torch.equal(loaded(inputs), result.model(inputs))


def test_layers_of_one_shape_may_share_a_number() -> None:
    model = nn.Sequential(*[nn.Linear(12, 12) for _ in range(3)], nn.Linear(12, 20), nn.Linear(20, 3))
    inputs = data()[0]
    whole = samples_of(model, inputs, None)
    made = Network(model, TernaryCompressor(), smallest=10)
    shared = Problem(made, whole, whole, target=500, share="shape")
    assert shared.names == ["3 threshold ratio", "4 threshold ratio"]
    assert shared.offsets([1.0, 0.0]) == [0.0, 0.0, 0.0, pytest.approx(0.3), pytest.approx(-0.3)]
    free = Problem(made, whole, whole, share="shape")
    assert free.names == ["0 and 2 like it threshold", "3 threshold", "4 threshold"]
    assert free.compress([0.1, 0.5, 0.9]).theta == (0.1, 0.1, 0.1, 0.5, 0.9)
    assert shared.fingerprint() != Problem(made, whole, whole, target=500).fingerprint()


def test_a_target_that_no_setting_fills_leaves_thresholds_free() -> None:
    """The largest ternary file has too small thresholds: to fill the target was the worse the larger it was."""
    made = problem(target=100_000, compressor="ternary")
    assert not made.binding
    assert made.names == ["0 threshold", "3 threshold", "5 threshold"]
    found = made.compress([0.5, 0.6, 0.7])
    assert found.theta == (0.5, 0.6, 0.7)
    measured = made.evaluate([0.5, 0.6, 0.7], 0)
    assert measured.value == measured.loss.value
    uniform = made.uniform(100_000)
    assert len(set(uniform.theta)) == 1
    losses = {t: made.confirm([t] * 3).value for t in (0.0, uniform.theta[0], 1.0)}
    assert losses[uniform.theta[0]] < min(losses[0.0], losses[1.0])
    assert problem(target=100_000, compressor="rank").binding  # the largest is the best: nothing to choose


def test_the_smallest_file_has_a_uniform_setting_to_compare_with() -> None:
    """By its batch norm the best file may be smaller than the smallest that was tabulated: no error at the end."""
    made = problem(compressor="ternary")
    smallest = made.compress([0.0] * 3)
    for size in (len(smallest.data) - 3, len(smallest.data), len(smallest.data) + 3):
        assert made.uniform(size).theta == (0.0, 0.0, 0.0)


def test_other_labels_are_other_data() -> None:
    whole = samples_of(trained(), *data())
    other = samples_of(trained(), data()[0], (data()[1] + 1) % 3)
    made = Network(trained(), TernaryCompressor(), smallest=100)
    assert (
        Problem(made, whole, whole).fingerprint()["data"] != Problem(made, other, whole).fingerprint()["data"]
    )


def test_images_have_their_channels_last() -> None:
    images = torch.randn(6, 3, 4, 4)
    for source in (images, (images, torch.zeros(6)), [images[:3], images[3:]]):
        inputs, _ = gather(source)
        assert inputs.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(inputs, images)
    assert gather(torch.zeros(6, 3))[0].is_contiguous()


def test_a_small_last_layer_can_stay_whole_beside_layers_of_few_components() -> None:
    """Where ranks are logarithmic, that takes the whole range of ratios: at 65 KB it was out of reach for FC3."""
    found = problem(target=1200).compress([0.5, 1.0]).network.layers
    assert found["5"].rank is None
    assert found["3"].rank == 3


def test_right_answers_count_before_the_loss() -> None:
    """Cross entropy falls where a network grows surer of itself, also with one answer fewer right."""
    data = Samples(torch.zeros(4, 1), torch.zeros(4, dtype=torch.int64), torch.zeros(4, 2))
    unsure = torch.tensor([[0.1, 0.0]] * 4)
    sure = torch.tensor([[9.0, 0.0]] * 3 + [[0.0, 0.1]])
    assert _badness(unsure, data) == (0.0, pytest.approx(0.6444, abs=1e-4))
    assert _badness(sure, data)[0] == 0.25
    assert _badness(sure, data)[1] < 0.2
    unlabelled = Samples(data.inputs, None, data.outputs)
    assert _badness(sure, unlabelled)[0] == 0.0 < _badness(sure, unlabelled)[1]


def test_finetuning_that_diverges_keeps_what_was_found() -> None:
    needs_extra()
    options = {"target_size": 2500, "compressor": "prune", **SMALL}
    found = search(trained(), data(), **options)  # type: ignore[arg-type]
    tuned = search(trained(), data(), finetune=1, learning_rate=1e30, **options)  # type: ignore[arg-type]
    assert tuned.data == found.data
    assert tuned.finetuned is None
    (note,) = tuned.notes
    assert note.startswith("fine-tuning: expected a finite loss, found ")
    assert note in markdown(tuned)
    assert found.notes == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_networks_of_sixteen_bits_are_finetuned_in_float32(dtype: torch.dtype) -> None:
    needs_extra()
    inputs, labels = data()[0].to(dtype), data()[1]
    model = copy.deepcopy(trained()).to(dtype)
    options = {"target_size": 1400, "compressor": "prune", "learning_rate": 3e-3, **SMALL}
    result = search(model, (inputs, labels), finetune=3, **options)  # type: ignore[arg-type]
    assert result.finetuned is not None
    assert result.finetuned.accuracy > result.best.accuracy  # type: ignore[operator]
    assert {parameter.dtype for parameter in result.model.parameters()} == {dtype}
    loaded = load_compressed(network().to(dtype), result.data).eval()
    assert torch.equal(loaded(inputs), result.model(inputs))


def test_a_network_that_runs_in_sixteen_bits_only_is_not_finetuned() -> None:
    class Narrow(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.half())

    needs_extra()
    model = Narrow(nn.Linear(12, 40), nn.Linear(40, 3)).half()
    with pytest.raises(
        TernzipError, match="fine-tuning: expected a model of 16 bits that runs in float32 too"
    ):
        search(model, data(), finetune=1, **SMALL)  # type: ignore[arg-type]


class Auxiliary(nn.Sequential):
    """Returns two outputs in training mode."""

    def forward(self, x: torch.Tensor) -> object:
        outputs = super().forward(x)
        return (outputs, outputs) if self.training else outputs


class OfTwo(nn.Sequential):
    """Takes no more than two samples at once in training mode."""

    def forward(self, x: torch.Tensor) -> object:
        if self.training and len(x) > 2:
            raise ValueError("expected two samples\nor fewer")
        return super().forward(x)


class Untrained(nn.Sequential):
    """Has no training mode."""

    def forward(self, x: torch.Tensor) -> object:
        if self.training:
            raise NotImplementedError
        return super().forward(x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Auxiliary, r"outputs of shape \(batch, classes\) in training mode too, found tuple$"),
        (Untrained, r"that runs in training mode too, found NotImplementedError$"),
    ],
)
def test_networks_that_cannot_be_finetuned_are_refused_before_the_search(
    kind: type[nn.Sequential], message: str, dtype: torch.dtype
) -> None:
    needs_extra()
    model = kind(nn.Linear(12, 40), nn.Linear(40, 3)).to(dtype)
    inputs, labels = data()
    options = {"on_trial": lambda *_: pytest.fail("searched"), **SMALL}
    with pytest.raises(TernzipError, match=f"fine-tuning: expected .*{message}"):
        search(model, (inputs.to(dtype), labels), finetune=1, **options)  # type: ignore[arg-type]


def test_finetuning_that_fails_keeps_what_was_found() -> None:
    needs_extra()
    options = {"target_size": 2500, "compressor": "prune", **SMALL}
    model = OfTwo(*copy.deepcopy(trained()))
    found = search(model, data(), **options)  # type: ignore[arg-type]
    tuned = search(model, data(), finetune=1, **options)  # type: ignore[arg-type]
    assert tuned.data == found.data
    assert tuned.finetuned is None
    assert tuned.notes == ["fine-tuning: expected two samples: the network stays as it was found"]


def test_no_batch_of_finetuning_is_a_single_sample() -> None:
    """Of 21 samples to train on, in batches of 4 at least, cut to 5 each, one would be left."""
    made = problem(compressor="prune")
    samples = made.samples.take(torch.arange(24))
    finetune(made.network, made.network.compress([0.6] * 3), samples, epochs=1, batch_size=4)


def test_finetuning_that_makes_things_worse_is_dropped() -> None:
    """Weights that cross the threshold outgrow the size, and the zeros that this takes may cost all that was won."""
    made = problem(compressor="ternary")
    compressed = made.network.compress([0.6] * 3)
    size = len(compressed.file(made.network.coder))
    tuned = finetune(made.network, compressed, made.samples, epochs=1, learning_rate=1.0, target=size)
    assert tuned is compressed
