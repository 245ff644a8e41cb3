"""ternzip search at the shell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from ternzip import TernzipError
from ternzip.cli.app import app
from ternzip.lowrank import load_compressed
from ternzip.models import fc3

for module in ("botorch", "optuna", "sklearn"):
    pytest.importorskip(module)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "model.pt"
    torch.save(fc3(in_features=64).state_dict(), path)
    return path


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["search", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_search_and_its_files(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.tnz"
    options = [model, "--arch", "fc3", "--dataset", "digits", "--target-size", "60KB", "--out", out]
    told = run(*options, "--method", "rank", "--evaluations", 2)
    assert out.stat().st_size <= 60_000
    assert f"{out.stat().st_size:,} bytes of 60,000 asked for" in told
    assert "certificate: none after 2 evaluations" in told
    assert {path.name for path in tmp_path.iterdir()} == {
        "model.pt",
        "small.tnz",
        "small.report.md",
        "small.report.json",
        "small.report.svg",
        "small.study.db",
    }
    report = json.loads((tmp_path / "small.report.json").read_text())
    assert len(report["visited"]) == 2
    load_compressed(fc3(in_features=64), out)
    with pytest.raises(TernzipError, match="exists already; it is only replaced with --force"):
        run(*options, "--method", "rank")
    run(*options, "--method", "rank", "--evaluations", 3, "--force")  # the same study goes on
    assert len(json.loads((tmp_path / "small.report.json").read_text())["visited"]) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--target-size", "1KB"], "cannot be reached: the smallest file"),
        (["--target-size", "frog"], "size: expected a number of bytes"),
        (["--dataset", "mnist", "--data", "nowhere"], "nowhere.*: no such data file"),
        (["--arch", "alexnet"], "unknown architecture 'alexnet'"),
        (["--dataset", "faces"], "unknown data set 'faces'"),
        (["--normalize", "loud"], "--normalize: expected imagenet or none, found 'loud'"),
        (["--out", "best.pt"], "--out: expected a name that ends in .tnz"),
    ],
)
def test_bad_input(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [
        model,
        "--arch",
        "fc3",
        "--dataset",
        "digits",
        "--method",
        "ternary",
        "--study",
        "memory",
        *options,
    ]
    with pytest.raises(TernzipError, match=message) as caught:
        run(*arguments)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*.tnz"))


def test_the_command_offers_what_the_library_has() -> None:
    """The command line starts without torch, so it spells these names itself."""
    from ternzip.cli.search import Engine, LossName, Method
    from ternzip.search.compressors import METHODS
    from ternzip.search.engine.sampler import ENGINES
    from ternzip.search.objective import LOSSES

    assert [entry.value for entry in Method] == list(METHODS)
    assert [entry.value for entry in LossName] == list(LOSSES)
    assert [entry.value for entry in Engine] == list(ENGINES)
