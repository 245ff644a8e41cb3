"""Runs read back from their folders, and the figures drawn of them."""

from __future__ import annotations

import dataclasses
import functools
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("matplotlib")

import ternzip
from ternzip import TernzipError
from ternzip.quantization import EC2T, TTQ, TWN, Binary, Delta, Quantizer
from ternzip.training import plotting
from ternzip.training.catalog import DATASETS
from ternzip.training.latents import latent_layers
from ternzip.training.network import build_ternary
from ternzip.training.recipe import Recipe
from ternzip.training.runs import ACCURACY_KEY, EPOCHS_KEY, RECIPE_KEY, RunRecord, read_run_folder

# matplotlib's own use of pyparsing.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.* layers start with all ternary weights zero"),
]


def write_run(folder: Path, recipe: Recipe, accuracies: list[float]) -> Path:
    """What a run leaves of itself, as far as figures need it."""
    folder.mkdir()
    torch.manual_seed(0)
    state = {
        f"model.{name}": tensor
        for name, tensor in build_ternary(recipe, DATASETS["digits"]).state_dict().items()
    }
    figures = [
        {"accuracy": accuracy, "sparsity": (epoch + 1) / 10, "entropy": 1 + epoch / 10, "loss_step": 0.5}
        for epoch, accuracy in enumerate(accuracies)
    ]
    checkpoint = {
        RECIPE_KEY: dataclasses.asdict(recipe),
        ACCURACY_KEY: accuracies[-1],
        EPOCHS_KEY: dict(enumerate(figures, 1)),
        "epoch": len(accuracies) - 1,
        "state_dict": state,
    }
    torch.save(checkpoint, folder / "last.ckpt")
    return folder


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[RunRecord]:
    narrow = functools.partial(ternzip.models.fc3, hidden=20)
    wide = ternzip.models.ARCHITECTURES["fc3"]
    monkeypatch.setitem(ternzip.models.ARCHITECTURES, "fc3", dataclasses.replace(wide, build=narrow))
    small = Recipe(arch="fc3", dataset="digits")
    options = [
        {},
        {"seed": 1},
        {"growth": "fixed", "delta": 0.2},
        {"quantizer": "ttq"},
        {"quantizer": "none"},
    ]
    recipes = [dataclasses.replace(small, **changes) for changes in options]
    return [
        read_run_folder(write_run(tmp_path / str(i), recipe, [0.3, 0.5, 0.45, 0.4]))
        for i, recipe in enumerate(recipes)
    ]


def test_a_run_read_from_its_folder(runs: list[RunRecord]) -> None:
    assert runs[0].series("accuracy") == ([1, 2, 3, 4], [0.3, 0.5, 0.45, 0.4])
    assert runs[0].peak == (2, 0.5)
    assert runs[0].at(2, "sparsity") == 0.2
    assert runs[0].at(2, "delta", 7.0) == 7.0


def test_labels_tell_runs_apart(runs: list[RunRecord]) -> None:
    assert [run.label for run in runs] == [
        "log, M=1.9, D0=0.1, Df=0.9",
        "log, M=1.9, D0=0.1, Df=0.9",
        "fixed 0.2",
        "ttq",
        "full precision",
    ]


QUANTIZERS = [Delta(0.3, levels=(-2.0, 0.5)), Binary(), TWN(0.7), TTQ(0.3), EC2T(0.01)]


@pytest.mark.parametrize("quantizer", QUANTIZERS, ids=lambda quantizer: type(quantizer).__name__)
def test_latent_weights_are_cut_as_the_quantizer_cuts_them(quantizer: Quantizer) -> None:
    """Thresholds and levels of every layer, also those that no state_dict holds."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(9, 30), torch.nn.Linear(30, 40))
    ternzip.prepare(model, quantizer)
    layers = latent_layers(model)
    assert [layer.name for layer in layers] == ["0", "1"]
    counts = ternzip.count_layers(model)
    for layer, module in zip(layers, model, strict=True):
        expected = module.weight.detach().flatten().numpy()
        middle = np.where(layer.weights > layer.hi, layer.pos, 0.0)
        np.testing.assert_allclose(np.where(layer.weights < layer.lo, layer.neg, middle), expected, rtol=1e-6)
    figure = plotting.weight_distribution({"a": layers})
    shares = [text.get_text().rpartition(": ")[2] for text in figure.axes[0].get_legend().get_texts()]
    total = sum(counts.values(), ternzip.SymbolCounts())
    symbols = (total.negative, total.zero, total.positive)
    assert shares == [f"{symbol / total.total:.1%}" for symbol in symbols]


def test_figure_1_says_what_cut_the_weights(runs: list[RunRecord]) -> None:
    first, fixed, ttq = plotting.weights_of([runs[0], runs[2], runs[3]]).axes
    assert first.get_title() == "log, M=1.9, D0=0.1, Df=0.9\nDelta = 0.1"
    assert fixed.get_title() == "fixed 0.2\nDelta = 0.2"
    assert ttq.get_title().startswith("ttq\nDelta = 0.0")
    assert sorted({line.get_xdata()[0] for line in fixed.get_lines()}) == [-0.2, 0.2]
    assert (
        len({line.get_xdata()[0] for line in ttq.get_lines()}) == 4
    )  # the least and the largest of each side
    assert [text.get_text().split(":")[0] for text in fixed.get_legend().get_texts()] == [
        "level -1",
        "level 0",
        "level +1",
    ]
    assert "to" in ttq.get_legend().get_texts()[0].get_text()


def test_figure_2_has_a_line_for_each_fixed_delta(runs: list[RunRecord]) -> None:
    other = dataclasses.replace(runs[2], recipe=dataclasses.replace(runs[2].recipe, delta=0.05))
    over_epochs, best = plotting.fixed_deltas([runs[0], runs[2], other, runs[3]]).axes
    assert [line.get_label() for line in over_epochs.get_lines()] == ["Delta = 0.05", "Delta = 0.2"]
    assert over_epochs.get_lines()[0].get_ydata().tolist() == pytest.approx([30, 50, 45, 40])
    assert best.get_lines()[0].get_xydata().tolist() == [[0.05, 50], [0.2, 50]]


def test_every_figure_is_written_as_png_and_svg(
    runs: list[RunRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And without pyplot: the caller's backend and open figures are none of ours."""
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    monkeypatch.setattr("matplotlib.use", None)
    for figure in "12345":
        written = plotting.draw(runs, tmp_path / "figures", figure)
        assert [path.name for path in written] == [f"figure{figure}.png", f"figure{figure}.svg"]
        assert all(path.read_bytes()[:4] in (b"\x89PNG", b"<?xm") for path in written)


def test_the_same_figure_makes_the_same_bytes(runs: list[RunRecord], tmp_path: Path) -> None:
    written = [
        plotting.draw(runs, tmp_path / name, "5", formats=plotting.FORMATS) for name in ("one", "other")
    ]
    assert [path.read_bytes() for path in written[0]] == [path.read_bytes() for path in written[1]]
    assert b"<dc:date>" not in (tmp_path / "one" / "figure5.svg").read_bytes()


def test_a_figure_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure, _ = plotting.subplots(1, 1, figsize=(2, 2))
    path = tmp_path / "figure.svg"
    path.write_text("old")

    def broken(stream: Path, **options: object) -> None:
        Path(stream).write_text("<svg>")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figure, "savefig", broken)
    with pytest.raises(TernzipError, match=r"figure\.svg: cannot write: No space left"):
        plotting.write(figure, path)
    assert [p.name for p in tmp_path.iterdir()] == ["figure.svg"]
    assert path.read_text() == "old"


def test_figures_hold_what_was_measured(runs: list[RunRecord]) -> None:
    figure = plotting.speed(runs)
    (axis,) = figure.axes
    assert len(axis.get_lines()) == 4  # two seeds of one setting share a marker
    assert [line.get_xdata().tolist() for line in axis.get_lines()] == [[2], [2, 2], [2], [2]]
    assert [line.get_marker() for line in axis.get_lines()] == ["x", "o", "s", "D"]
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {run.label for run in runs}
    sparsity, entropy = plotting.tradeoff(runs).axes
    full, log, fixed, ttq = sparsity.get_lines()
    assert list(full.get_ydata()) == [50, 50]  # across: full precision has no sparsity and no entropy
    assert log.get_xdata().tolist() == [20, 20]
    assert [line.get_xdata().tolist() for line in (fixed, ttq)] == [[20], [20]]
    assert len(entropy.get_lines()) == 4
    assert [line.get_marker() for line in (log, fixed, ttq)] == ["o", "s", "D"]  # as in figure 5
    accuracy, change, _ = plotting.oscillation(runs[:1]).axes
    assert accuracy.get_lines()[0].get_ydata().tolist() == pytest.approx([30, 50, 45, 40])
    assert change.get_lines()[0].get_ydata().tolist() == pytest.approx([20, 5, 5])


def test_mistakes_are_named(runs: list[RunRecord], tmp_path: Path) -> None:
    with pytest.raises(TernzipError, match=r"unknown figure '6': expected one of 1, 2, 3, 4, 5"):
        plotting.draw(runs, tmp_path, "6")
    with pytest.raises(plotting.NothingToDraw, match="no run has latent weights"):
        plotting.draw(runs[-1:], tmp_path, "1")
    with pytest.raises(plotting.NothingToDraw, match="no run has a fixed Delta"):
        plotting.draw(runs[:1], tmp_path, "2")
    with pytest.raises(TernzipError, match=r"not a run: expected the last\.ckpt"):
        read_run_folder(tmp_path)


def test_the_front_of_accuracy_against_bytes() -> None:
    points = {"log": [(20_000, 0.8, 0.01), (21_000, 0.81, 0.0)], "fixed": [(30_000, 0.7, 0.02)]}
    figure = plotting.front(points, [0.9, 0.91])
    (axis,) = figure.axes
    lines = axis.get_lines()
    assert [line.get_ydata()[0] for line in lines[:2]] == pytest.approx([90, 91])
    assert lines[2].get_xdata().tolist() == [20, 21]
    assert lines[2].get_ydata().tolist() == pytest.approx([80, 81])
    bars = axis.containers[0].lines[2][0].get_segments()
    assert [bar[:, 1].tolist() for bar in bars] == [pytest.approx([79, 81]), pytest.approx([81, 81])]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["full precision", "log", "fixed"]


def test_a_figure_of_a_size_that_is_asked_for_holds_all_of_it(runs: list[RunRecord], tmp_path: Path) -> None:
    """A legend lies below the axes, where it covers no curve, and within the figure."""
    for name in "2345":
        figure = plotting.FIGURES[name](runs, (7.0, 3.5))
        figure.savefig(tmp_path / "figure.png", dpi=50)  # lays it out
        assert figure.get_size_inches().tolist() == [7.0, 3.5]
        (legend,) = figure.legends
        box = legend.get_window_extent()
        assert 0 <= box.x0 < box.x1 <= figure.bbox.width
        assert box.y0 >= 0
        assert all(box.y1 <= axis.get_tightbbox().y0 + 1 for axis in figure.axes)


def test_runs_without_accuracy_are_left_out_of_what_shows_it(runs: list[RunRecord], tmp_path: Path) -> None:
    """As those with a loss of their own are."""
    fixed = next(run for run in runs if run.recipe.growth == "fixed")
    without = dataclasses.replace(fixed, epochs={1: {"sparsity": 0.5, "test_loss": 1.0}})
    for figure in "2345":
        plotting.draw([*runs, without], tmp_path, figure, formats=["svg"])
    for figure in "245":
        with pytest.raises(plotting.NothingToDraw, match="no run has measured an accuracy"):
            plotting.draw([without], tmp_path, figure)


def test_figures_call_a_run_by_its_name(runs: list[RunRecord]) -> None:
    named = [dataclasses.replace(run, name=f"method {i}") for i, run in enumerate(runs[:2])]
    for draw in (plotting.tradeoff, plotting.speed):
        (legend,) = draw(named).legends
        assert [text.get_text() for text in legend.get_texts()] == ["method 0", "method 1"]
