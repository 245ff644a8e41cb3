"""Runs read back from their folders, and the figures drawn of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

pytest.importorskip("matplotlib")
pytest.importorskip("lightning")

from ternzip import TernzipError
from ternzip.training import plotting
from ternzip.training.recipe import Recipe
from ternzip.training.runs import Run, read_run_folder

# matplotlib's own use of pyparsing.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def write_run(folder: Path, recipe: Recipe, accuracies: list[float]) -> Path:
    """What a run leaves of itself, as far as figures need it; the second half in the log of a resumed run."""
    folder.mkdir()
    state = {"model.bn.weight": torch.ones(3)}
    if recipe.quantizer != "none":
        state["model.fc.parametrizations.weight.original"] = torch.linspace(-1, 1, 101)
        state["model.fc.parametrizations.weight.0.quantizer.delta"] = torch.tensor(0.3)
    torch.save({"ternzip_recipe": dataclasses.asdict(recipe), "state_dict": state}, folder / "last.ckpt")
    half = len(accuracies) // 2
    for version, first in ((0, 0), (1, half)):
        log = folder / "csv" / f"version_{version}" / "metrics.csv"
        log.parent.mkdir(parents=True)
        lines = ["epoch,accuracy,sparsity,entropy,loss_step"]
        for epoch in range(first, len(accuracies) if version else half + 1):
            # The first log goes one epoch further than the checkpoint; that epoch was done again.
            accuracy = accuracies[epoch] if version or epoch < half else 0.99
            lines += [f"{epoch},,,,0.5", f"{epoch},{accuracy},0.{epoch + 1},1.{epoch},"]
        log.write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    recipes = [
        Recipe(),
        Recipe(seed=1),
        Recipe(growth="fixed", delta=0.2),
        Recipe(quantizer="ttq"),
        Recipe(quantizer="none"),
    ]
    return [
        read_run_folder(write_run(tmp_path / str(i), recipe, [0.3, 0.5, 0.45, 0.4]))
        for i, recipe in enumerate(recipes)
    ]


def test_a_resumed_run_is_one_run(runs: list[Run]) -> None:
    assert runs[0].series("accuracy") == ([1, 2, 3, 4], [0.3, 0.5, 0.45, 0.4])
    assert runs[0].peak == (2, 0.5)
    assert runs[0].at(2, "sparsity") == 0.2
    assert runs[0].at(2, "delta", 7.0) == 7.0


def test_labels_tell_runs_apart(runs: list[Run]) -> None:
    assert [run.label for run in runs] == [
        "log, M=1.9, D0=0.1, Df=0.9",
        "log, M=1.9, D0=0.1, Df=0.9",
        "fixed 0.2",
        "ttq",
        "full precision",
    ]


def test_latent_weights_and_their_delta(runs: list[Run]) -> None:
    latent, delta = runs[0].latent()
    assert latent.shape == (101,)
    assert delta == pytest.approx(0.3)
    with pytest.raises(TernzipError, match="full-precision run has no latent weights"):
        runs[-1].latent()


def test_every_figure_is_written_as_png_and_svg(runs: list[Run], tmp_path: Path) -> None:
    written = plotting.draw(runs, tmp_path / "figures")
    assert [path.name for path in written] == [f"figure{n}.{s}" for n in "1345" for s in ("png", "svg")]
    assert all(path.read_bytes()[:4] in (b"\x89PNG", b"<?xm") for path in written)


def test_figures_hold_what_was_measured(runs: list[Run]) -> None:
    figure = plotting.speed(runs)
    (axis,) = figure.axes
    assert len(axis.get_lines()) == 4  # two seeds of one setting share a marker
    assert axis.get_lines()[0].get_xdata().tolist() == [2, 2]
    assert {text.get_text() for text in axis.get_legend().get_texts()} == {run.label for run in runs}
    sparsity, entropy = plotting.tradeoff(runs).axes
    full, log, fixed, ttq = sparsity.get_lines()
    assert list(full.get_ydata()) == [50, 50]  # across: full precision has no sparsity and no entropy
    assert log.get_xdata().tolist() == [20, 20]
    assert [line.get_xdata().tolist() for line in (fixed, ttq)] == [[20], [20]]
    assert len(entropy.get_lines()) == 4
    accuracy, change, _ = plotting.oscillation(runs[:1]).axes
    assert accuracy.get_lines()[0].get_ydata().tolist() == pytest.approx([30, 50, 45, 40])
    assert change.get_lines()[0].get_ydata().tolist() == pytest.approx([20, 5, 5])
    plotting.pyplot().close("all")


def test_mistakes_are_named(runs: list[Run], tmp_path: Path) -> None:
    with pytest.raises(TernzipError, match=r"unknown figure '2': expected one of 1, 3, 4, 5"):
        plotting.draw(runs, tmp_path, ["2"])
    with pytest.raises(TernzipError, match="no run has latent weights"):
        plotting.draw(runs[-1:], tmp_path, ["1"])
    with pytest.raises(TernzipError, match=r"not a run: expected the last\.ckpt"):
        read_run_folder(tmp_path)
    (tmp_path / "1" / "csv" / "version_0" / "metrics.csv").write_text("epoch,accuracy\n")
    (tmp_path / "1" / "csv" / "version_1" / "metrics.csv").unlink()
    with pytest.raises(TernzipError, match="no finished epoch"):
        read_run_folder(tmp_path / "1")
