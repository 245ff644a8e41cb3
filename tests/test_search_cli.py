"""ternzip search at the shell."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import ternzip
from ternzip import TernzipError
from ternzip._core.errors import DestinationExists
from ternzip.cli.app import app
from ternzip.lowrank import fold_batch_norm, load_compressed
from ternzip.models import fc3
from ternzip.search.choices import METHODS

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


def evaluated(path: Path) -> dict[str, float]:
    """What `ternzip eval` finds, which needs no --arch."""
    result = CliRunner().invoke(
        app, ["eval", str(path), "--dataset", "digits", "--json"], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    found: dict[str, float] = json.loads(result.stdout)
    return found


def test_a_search_and_its_files(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.tnz"
    options = [model, "--arch", "fc3", "--dataset", "digits", "--target-size", "60KB", "--out", out]
    told = run(*options, "--method", "rank", "--evaluations", 2)
    assert out.stat().st_size <= 60_000
    assert f"{out.stat().st_size:,} bytes of 60,000 asked for" in told
    assert "certificate: none after 2 trials: the evaluations were over before the model was sure" in told
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
    (accuracy,) = {entry["accuracy"] for entry in (report["best"], evaluated(out))}
    assert 0 < accuracy < 1
    with pytest.raises(TernzipError, match="expected a trained network, found what a search has made"):
        run(out, "--dataset", "digits", "--out", tmp_path / "again.tnz")
    with pytest.raises(DestinationExists, match=r"small\.tnz: exists already"):
        run(*options, "--method", "rank")
    run(*options, "--method", "rank", "--evaluations", 3, "--force")  # the same study goes on
    assert len(json.loads((tmp_path / "small.report.json").read_text())["visited"]) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--target-size", "1KB"], "cannot be reached: the smallest file"),
        (["--target-size", "frog"], "size: expected a number of bytes"),
        (["--arch", "alexnet"], "unknown architecture 'alexnet'"),
        (["--dataset", "faces"], "unknown data set 'faces'"),
        (["--out", "best.pt"], "--out: expected a name that ends in .tnz"),
        (["--out", "nowhere/best.tnz"], "nowhere/best.tnz: cannot write: no folder nowhere"),
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


def test_the_model_is_read_before_any_data(tmp_path: Path) -> None:
    with pytest.raises(TernzipError, match=r"missing\.pt"):
        run(tmp_path / "missing.pt", "--arch", "fc3", "--dataset", "mnist", "--data", tmp_path)
    torch.save(fc3().state_dict(), tmp_path / "model.pt")
    with pytest.raises(TernzipError, match="no such data file"):
        run(tmp_path / "model.pt", "--arch", "fc3", "--dataset", "mnist", "--data", tmp_path)


def test_nothing_is_searched_for_a_file_that_cannot_be_written(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ternzip.search.search", lambda *a, **k: pytest.fail("searched"))
    out = tmp_path / "nowhere" / "best.tnz"
    with pytest.raises(TernzipError, match="cannot write: no folder"):
        run(model, "--arch", "fc3", "--dataset", "digits", "--study", "memory", "--out", out)


@pytest.mark.parametrize("name", ["best.tnz", "best.report.md", "best.report.json", "best.report.svg"])
def test_nothing_is_replaced_without_force(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("ternzip.search.search", lambda *a, **k: pytest.fail("searched"))
    path = tmp_path / name
    path.write_text("kept")
    with pytest.raises(DestinationExists, match=f"{name}: exists already"):
        run(model, "--arch", "fc3", "--dataset", "digits", "--out", tmp_path / "best.tnz")
    assert path.read_text() == "kept"


@pytest.mark.parametrize("options", [[], ["--out", "other/../model.tnz"]])
def test_the_source_is_never_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    monkeypatch.setattr("ternzip.search.search", lambda *a, **k: pytest.fail("searched"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    source = Path("model.tnz" if options else "best.tnz")  # the latter is the default of --out
    ternzip.save_model(fc3(in_features=64), source)
    kept = source.read_bytes()
    with pytest.raises(TernzipError, match="cannot write: it is the source: expected another name"):
        run(source, "--arch", "fc3", "--dataset", "digits", "--force", *options)
    assert source.read_bytes() == kept


def test_the_names_of_choices_load_no_torch() -> None:
    program = "import sys, ternzip.search.choices as c; print(c.METHODS, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{METHODS} False"


@pytest.mark.parametrize("option", ["--method", "--loss", "--engine", "--share", "--statistics"])
def test_names_that_are_none_are_errors_of_usage(model: Path, option: str) -> None:
    result = CliRunner().invoke(app, ["search", str(model), "--arch", "fc3", option, "loud"])
    assert result.exit_code == 2
    assert "'loud'" in result.output


def test_folded_batch_norm_is_no_part_of_the_file(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.tnz"
    options = [model, "--arch", "fc3", "--dataset", "digits", "--target-size", "60KB", "--out", out]
    run(*options, "--method", "rank", "--evaluations", 1, "--fold-batch-norm", "--study", "memory")
    folded = fold_batch_norm(fc3(in_features=64), torch.zeros(1, 1, 8, 8))
    load_compressed(folded, out)
    assert not any(name.startswith("bn") for name in ternzip.load_file(out))
    report = json.loads(out.with_suffix(".report.json").read_text())
    assert evaluated(out)["accuracy"] == report["best"]["accuracy"]
