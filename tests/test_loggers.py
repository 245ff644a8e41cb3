"""Loggers by name, the table of layers, and the formats of figures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

pytest.importorskip("lightning")
pytest.importorskip("matplotlib")

from cli_run import ternzip_command
from lightning.pytorch.loggers import CSVLogger

import ternzip
from ternzip import TernzipError
from ternzip.cli.app import UsageError
from ternzip.quantization import EC2T
from ternzip.training import loggers, plotting
from ternzip.training.callbacks import LayerTable
from ternzip.training.recipe import Recipe

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning:lightning.*"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The `srun` command"),
]


def model_and_data() -> tuple[nn.Module, tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)), (
        torch.randn(12, 6),
        torch.arange(12) % 2,
    )


def test_names_of_loggers() -> None:
    assert Recipe().logger == ("csv", "tensorboard")
    assert Recipe(logger="csv,mlflow").logger == ("csv", "mlflow")
    assert Recipe(logger=["csv", "wandb"]).logger == ("csv", "wandb")
    with pytest.raises(
        TernzipError, match="--logger: unknown 'cvs': expected some of csv, tensorboard, mlflow"
    ):
        Recipe(logger="cvs")
    assert Recipe().differences(Recipe(logger="none", layers=3)) == []


def test_only_the_loggers_that_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    options: dict[str, Any] = {"epochs": 1, "accelerator": "cpu"}
    model, data = model_and_data()
    for name, left in (("csv", {"csv"}), ("none", set())):
        out = tmp_path / name
        ternzip.train(model, data, data, out=out, logger=name, **options)
        assert {path.name for path in out.iterdir() if path.is_dir()} == left
    with pytest.raises(
        TernzipError, match=r"logging to tensorboard needs tensorboard: pip install 'ternzip\[train\]'"
    ):
        ternzip.train(model, data, data, out=tmp_path / "more", **options)
    for name in ("mlflow", "wandb"):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(
            TernzipError, match=rf"logging to {name} needs {name}: pip install 'ternzip\[{name}\]'"
        ):
            ternzip.train(model, data, data, out=tmp_path / "more", logger=f"csv,{name}", **options)
    assert not (tmp_path / "more").exists()


class Recorder(CSVLogger):
    """Stands for a logger whose package is not installed here: it takes what Lightning's takes, and keeps it."""

    folder: Path

    def __init__(self, **given: Any) -> None:
        super().__init__(self.folder, name=f"recorded-{len(made)}")
        self.given = given
        made.append(self)


made: list[Recorder] = []


def test_mlflow_and_wandb_stay_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import lightning.pytorch.loggers as known

    made.clear()
    monkeypatch.setattr(Recorder, "folder", tmp_path, raising=False)
    monkeypatch.setattr(loggers, "require", lambda *args: None)
    for name in ("MLFlowLogger", "WandbLogger"):
        monkeypatch.setattr(known, name, Recorder)
    for name in ("MLFLOW_TRACKING_URI", "WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    model, data = model_and_data()
    result = ternzip.train(
        model, data, data, out=tmp_path / "net", logger="mlflow,wandb", epochs=1, accelerator="cpu"
    )
    assert result is not None
    mlflow, wandb = made
    assert mlflow.given == {
        "experiment_name": "ternzip",
        "run_name": "net",
        "tracking_uri": f"sqlite:///{tmp_path}/net/mlflow.db",
        "artifact_location": f"file://{tmp_path}/net/mlflow",
    }
    assert wandb.given == {"project": "ternzip", "name": "net", "save_dir": tmp_path / "net", "offline": True}
    for logger in made:
        written = (Path(logger.log_dir) / "metrics.csv").read_text()
        assert "accuracy" in written
        assert "sparsity" in written
        assert "quantizer: twn" in (Path(logger.log_dir) / "hparams.yaml").read_text()
    monkeypatch.setenv("WANDB_API_KEY", "a key")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:1")
    loggers.loggers_named(("mlflow", "wandb"), tmp_path)
    assert made[2].given["tracking_uri"] == "http://localhost:1"
    assert not made[3].given["offline"]


def test_mlflows_own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    model, data = model_and_data()
    ternzip.train(model, data, data, out=tmp_path, logger="mlflow", epochs=1, accelerator="cpu")
    client = mlflow.tracking.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("ternzip").experiment_id])
    assert run.data.metrics["accuracy"] >= 0
    assert run.data.params["quantizer"] == "twn"


def test_a_logger_that_fails_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: CSVLogger, params: object) -> None:
        raise ConnectionError("no server at localhost\nand more")

    monkeypatch.setattr(CSVLogger, "log_hyperparams", fails)
    model, data = model_and_data()
    with pytest.raises(TernzipError, match=r"--logger: CSVLogger cannot log: no server at localhost$"):
        ternzip.train(model, data, data, out=tmp_path, logger="csv", epochs=1, accelerator="cpu")


def test_a_table_of_the_layers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, data = model_and_data()
    options: dict[str, Any] = {"epochs": 3, "layers": 2, "logger": "none", "accelerator": "cpu"}
    ternzip.train(model, data, data, out=tmp_path, quantizer="delta", delta=0.1, **options)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "epoch",
        "1",
        "2",
        "layer",
        "0",
        "2",
        "3",
        "layer",
        "0",
        "2",
    ]
    assert max(map(len, lines)) <= 80
    name, delta, zeros, bits = lines[8].split()
    counts = ternzip.count_symbols(model[0].weight)
    assert name == "0"
    assert float(delta) == pytest.approx(0.1 + 0.19 * 1.0986, abs=1e-4)
    assert (zeros, bits) == (f"{counts.sparsity:.2%}", f"{counts.entropy:.4f}")


def test_a_long_name_and_two_thresholds_fit_into_80_columns() -> None:
    inner = nn.Sequential()
    inner.add_module("a_very_long_name_of_a_layer_in_a_block", nn.Linear(30, 30))
    model = ternzip.prepare(nn.Sequential(inner), EC2T(0.2))
    heading, line = LayerTable(1).lines(model)
    assert max(len(heading), len(line)) <= 80
    name = line.split()[0]
    assert (name[:3], len(name)) == ("...", LayerTable.NAME)
    assert "0.a_very_long_name_of_a_layer_in_a_block".endswith(name[3:])
    assert ", " in line


def test_sizes_that_are_none() -> None:
    for size in ("3", "0x2", "axb", "3x2x1", "1e9x1", "nanx1"):
        with pytest.raises(UsageError, match="--size: expected width x height in inches"):
            ternzip_command("plot", "absent", "--size", size)


def test_a_figure_has_the_size_and_the_formats_that_are_asked_for(tmp_path: Path) -> None:
    figure, _ = plotting.subplots(1, 1, figsize=(3.0, 2.0))
    paths = [tmp_path / f"figure.{suffix}" for suffix in plotting.FORMATS]
    plotting.write(figure, *paths)
    png = paths[0].read_bytes()
    assert [int.from_bytes(png[at : at + 4], "big") for at in (16, 20)] == [450, 300]
    assert b'width="216pt"' in paths[1].read_bytes()
    assert b"/MediaBox [ 0 0 216 144 ]" in paths[2].read_bytes()
    with pytest.raises(TernzipError, match="unknown format 'bmp': expected some of png, svg, pdf"):
        plotting.draw([], tmp_path, "3", formats=["bmp"])
