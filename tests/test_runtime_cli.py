"""ternzip bench and ternzip export at the shell, and what ONNX Runtime makes of the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from runtime_networks import make_ternary
from torch import Tensor, nn
from typer.testing import CliRunner

import ternzip
from ternzip import runtime
from ternzip.cli.app import app
from ternzip.models import fc3
from ternzip.runtime import benchmark
from ternzip.runtime.benchmark import Timing
from ternzip.runtime.export import export_onnx


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.tnz"
    ternzip.save_model(make_ternary(fc3(in_features=64)), path)
    return path


OPTIONS = ("--arch", "fc3", "--image", "1x8x8")


def test_bench(model: Path) -> None:
    arguments = ("bench", model, *OPTIONS, "--rounds", 2, "--no-compile", "--no-onnx")
    threads = torch.get_num_threads()
    try:
        told = run(*arguments)
        found = json.loads(run(*arguments, "--batch", 3, "--json"))
    finally:
        torch.set_num_threads(threads)
    lines = told.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["median", "ms", "least", "ms", "weights,", "bytes", "speed"]
    assert [line.split()[0] for line in lines[1:3]] == ["torch", "torch,"]
    assert lines[-1].startswith("batch 1, 1 thread(s); ternary layers: ")
    assert (found["schema"], found["batch"], found["rounds"]) == (1, 3, 2)
    assert [timing["name"] for timing in found["timings"]] == ["torch", "torch, channels last", "ternzip"]
    assert found["timings"][0]["weight_bytes"] > 4 * 1_074_000
    assert [layer["name"] for layer in found["layers"]] == ["fc1", "fc2", "fc3"]


def test_what_cannot_be_measured_is_told() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("no such thing\nand more")

    x = torch.randn(1, 4)
    good = nn.Linear(4, 4).requires_grad_(False)
    first, last = benchmark.compare(Broken(), good, x, rounds=1, compiled=False, onnx=False)
    assert (first.milliseconds, first.problem) == (None, "no such thing")
    assert last.milliseconds is not None
    assert benchmark.table([first, last]).splitlines()[1] == "torch                   no such thing"


def test_the_table() -> None:
    timings = [
        Timing("torch", 8.0, 7.0, 17_000_000),
        Timing("ONNX Runtime", 6.0, 5.0),
        Timing("ternzip", 2.0, 1.5, 900_000),
    ]
    assert benchmark.table(timings).splitlines()[1:] == [
        "torch                       8.000      7.000       17,000,000    0.75x",
        "ONNX Runtime                6.000      5.000                -    1.00x",
        "ternzip                     2.000      1.500          900,000    3.00x",
    ]


@pytest.mark.parametrize("image", ["3x32", "3x0x32", "axbxc", "3x32x32x1"])
def test_images_that_are_none(model: Path, image: str) -> None:
    from ternzip.cli.app import UsageError

    with pytest.raises(UsageError, match="--image: expected channels x height x width"):
        run("bench", model, "--arch", "fc3", "--image", image)


def test_export(model: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    out = tmp_path / "model.onnx"
    told = run("export", model, out, *OPTIONS)
    assert told == f"{out}: {out.stat().st_size:,} bytes of onnx\n"
    with pytest.raises(ternzip.TernzipError, match="exists already"):
        run("export", model, out, *OPTIONS)
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    network = ternzip.load_model(fc3(in_features=64), model).eval()
    for batch in (1, 3):
        x = torch.randn(batch, 1, 8, 8)
        (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        with torch.inference_mode():
            torch.testing.assert_close(torch.from_numpy(found), network(x), rtol=1e-4, atol=1e-4)


def test_optimized_models_are_not_exported(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    fast = runtime.optimize(make_ternary(nn.Linear(8, 4)))
    with pytest.raises(ternzip.TernzipError, match="is optimized: export the model it was made from"):
        export_onnx(fast, tmp_path / "model.onnx", torch.zeros(2, 8))
    assert not list(tmp_path.iterdir())
