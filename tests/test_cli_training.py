"""demo, train, eval and plot as a person types them."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("sklearn")
pytest.importorskip("lightning")
pytest.importorskip("matplotlib")

from cli_run import ternzip_command

import ternzip
from ternzip import TernzipError
from ternzip._core.extras import require
from ternzip.cli import app, main
from ternzip.training import demo
from ternzip.training.recipe import Recipe

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning:lightning.*"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The `srun` command"),
]


def test_demo_tells_the_whole_story(tmp_path: Path) -> None:
    text = ternzip_command("demo", tmp_path / "new", "--epochs", 2)
    assert [line.split()[0] for line in text.splitlines()[:3]] == ["epoch", "1", "2"]
    assert text.count("identical, bit for bit") == 2
    assert f"{(tmp_path / 'new' / 'digits.tnz').stat().st_size:,} bytes" in text
    assert (tmp_path / "new" / "digits-weights.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(TernzipError, match=r"digits\.tnz: exists already"):
        ternzip_command("demo", tmp_path / "new", "--epochs", 1)
    ternzip_command("demo", tmp_path / "new", "--epochs", 1, "--force")


def test_what_is_to_be_a_folder_and_is_a_file_is_said_before_training(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("kept")
    for arguments in (["demo", file], ["train", "--preset", "quick", "--out", file]):
        with pytest.raises(TernzipError, match="file: expected a folder, found a file"):
            ternzip_command(*arguments)
    with pytest.raises(TernzipError, match="cannot write: Not a directory"):
        ternzip_command("demo", file / "within")
    assert file.read_text() == "kept"


def test_demo_takes_one_thread_and_gives_the_others_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        taken: list[int] = []
        demo.train_digits(1, 0, lambda _: taken.append(torch.get_num_threads()))
        assert (taken, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)


def test_demo_is_the_same_every_time_and_leaves_the_callers_seed_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    _, first = demo.train_digits(1, seed=3)
    _, again = demo.train_digits(1, seed=3)
    assert first == again
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("package", "missing"), [("sklearn", "scikit-learn"), ("matplotlib", "matplotlib")])
def test_demo_says_first_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, missing: str
) -> None:
    def train_digits(*args: object) -> None:
        pytest.fail("trained before looking for what comes after")

    monkeypatch.setattr(demo, "train_digits", train_digits)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(TernzipError, match=rf"the demo needs {missing}: pip install 'ternzip\[demo\]'"):
        ternzip_command("demo", tmp_path)


def test_default_folders_are_ignored_by_git() -> None:
    ignored = (Path(__file__).parents[1] / ".gitignore").read_text().splitlines()
    for command in ("demo", "train", "plot"):
        (registered,) = (c for c in app.registered_commands if (c.name or c.callback.__name__) == command)
        parameters = inspect.signature(registered.callback).parameters
        folder = parameters["folder" if command == "demo" else "out"].default
        assert f"/{folder}/" in ignored


@pytest.mark.slow
def test_train_eval_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = functools.partial(ternzip.models.fc3, hidden=100)
    wide = ternzip.models.ARCHITECTURES["fc3"]
    monkeypatch.setitem(ternzip.models.ARCHITECTURES, "fc3", dataclasses.replace(wide, build=narrow))
    out = tmp_path / "run"
    config = tmp_path / "run.toml"
    config.write_text('arch = "fc3"\ndataset = "digits"\nbatch_size = 64\nepochs = 9\naccelerator = "cpu"\n')
    options = ("--out", out, "--config", config, "--delta", 0.02, "--multiplier", 0.5)
    text = ternzip_command("train", *options, "--epochs", 1)
    assert "best: epoch 1" in text
    assert f"{(out / 'last.tnz').stat().st_size:,} bytes" in text

    text = ternzip_command("train", *options, "--epochs", 2, "--resume")
    assert "last: epoch 2" in text
    with pytest.raises(TernzipError, match=r"another configuration: delta: expected 0\.02, found 0\.03"):
        ternzip_command("train", "--out", out, "--resume", "--delta", 0.03)

    found = json.loads(
        ternzip_command("eval", out / "last.tnz", "--arch", "fc3", "--dataset", "digits", "--json")
    )
    assert found["images"] == 360
    assert found["schema"] == 1
    last = json.loads((out / "result.json").read_text())["last"]
    assert found["accuracy"] == pytest.approx(last["accuracy"])
    assert f"{found['correct']} of 360 images right" in ternzip_command("eval", out / "last.ckpt")

    figures = tmp_path / "figures"
    assert ternzip_command("plot", out, "--out", figures, "--figure", "3").count("figure3.") == 2
    assert not list(figures.glob("figure2*"))
    with pytest.raises(TernzipError, match="no run has a fixed Delta"):
        ternzip_command("plot", out, "--out", figures, "--figure", "2")


def test_help_states_every_option_with_its_choices_and_default() -> None:
    text = " ".join(ternzip_command("train", "--help").split())
    for panel in ("Model", "Ternarization", "Data", "Optimization", "Transfer", "Run"):
        assert f"─ {panel} ─" in text
    for name in Recipe.__dataclass_fields__:
        assert f"--{name.replace('_', '-')}" in text, name
    assert "(fixed | linear | square | exp | log; default log)" in text
    assert text.count("default ") >= len(Recipe.__dataclass_fields__)
    text = ternzip_command("eval", "--help")
    assert "--dataset" in text
    assert "--early-stopping" not in text


@pytest.mark.parametrize("package", ["lightning", "tensorboard"])
def test_training_without_lightning_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        TernzipError, match=rf"(training|logging to {package}) needs {package}: .*'ternzip\[train\]'"
    ):
        ternzip_command("train", "--out", tmp_path)


def test_only_a_missing_package_is_called_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken_one.py").write_text("from math import no_such_name\n")
    (tmp_path / "needs_another.py").write_text("import not_installed_either\n")
    with pytest.raises(ImportError, match="no_such_name"):
        require("this", "train", "broken_one")
    with pytest.raises(ModuleNotFoundError, match="not_installed_either"):
        require("this", "train", "needs_another")
    with pytest.raises(TernzipError, match=r"this needs not_installed: pip install 'ternzip\[train\]'"):
        require("this", "train", "json", "not_installed")


def test_all_but_training_needs_no_lightning() -> None:
    program = """
import sys
sys.modules["lightning"] = None
from ternzip.training import demo, evaluation, latents, network, plotting, runs
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_option_that_makes_no_sense_is_bad_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(tmp_path / "run.toml")
    Path(config).write_text('quantizer = "ttq"\n[more]\ndelta = 0.2\n')
    misspelt = str(tmp_path / "misspelt.toml")
    Path(misspelt).write_text("epoch = 3\n")
    for command, options, message in (
        ("train", ["--delta", "1"], "--delta: expected a number in [0, 1), found 1.0"),
        ("train", ["--preset", "fast"], "unknown preset 'fast': expected one of paper, quick, own"),
        ("train", ["--delta", "0.5", "--max-delta", "0.4"], "--delta: 0.5 exceeds --max-delta 0.4"),
        ("train", ["--lr-scale", "0"], "--lr-scale: expected a number in (0, inf), found 0.0"),
        ("train", ["--seed", "9" * 14], f"--seed: expected a number in [0, 4e9], found {'9' * 14}"),
        (
            "train",
            ["--quantizer", "ttq", "--delta", "0.2"],
            "--delta: not used with --quantizer ttq, only with delta",
        ),
        (
            "train",
            ["--config", config],
            f"--delta: not used with --quantizer ttq, only with delta ({config})",
        ),
        (
            "train",
            ["--config", misspelt],
            f"{misspelt}: unknown option 'epoch': expected epochs",
        ),
        (
            "eval",
            ["x.ckpt", "--arch", "fc3"],
            "--arch: a run's .ckpt has its own recipe: expected only --data, --download, --test-images",
        ),
        (
            "eval",
            ["x.pt", "--device", "meta"],
            "device 'meta' cannot be used: Tensor.item() cannot be called on meta tensors",
        ),
        (
            "eval",
            ["x.pt", "--arch", "vgg"],
            f"--arch: unknown 'vgg': expected one of {', '.join(ternzip.models.ARCHITECTURES)}, or MODULE:FUNCTION",
        ),
    ):
        monkeypatch.setattr(sys, "argv", ["ternzip", command, *options])
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == 2
        assert capsys.readouterr() == ("", f"ternzip: error: {message}\n")


def test_unknown_names_are_one_clear_line(tmp_path: Path) -> None:
    for arguments, message in (
        (("train", "--preset", "fast"), r"unknown preset 'fast': expected one of paper, quick, own"),
        (("train", "--quantizer", "xnor"), "--quantizer: unknown 'xnor'"),
        (("train", "--dataset", "cifar10", "--data", tmp_path), r"data_batch_1\.bin: no such data file"),
        (("eval", tmp_path / "absent.tnz"), r"data_batch_1\.bin|absent\.tnz"),
        (("plot", tmp_path), "not a run"),
    ):
        with pytest.raises(TernzipError, match=message):
            ternzip_command(*arguments, *(("--out", tmp_path / "x") if arguments[0] == "train" else ()))
