"""ternzip bench and ternzip export at the shell, and what ONNX Runtime makes of the file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from runtime_networks import make_ternary
from torch import Tensor, nn
from typer.testing import CliRunner

import ternzip
from ternzip import runtime
from ternzip.cli.app import app
from ternzip.models import fc3, he_resnet20
from ternzip.runtime import benchmark
from ternzip.runtime.benchmark import Timing
from ternzip.runtime.compact_onnx import compact
from ternzip.runtime.export import export_onnx, onnx_bytes


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


@pytest.mark.parametrize("command", ["bench", "export"])
def test_images_that_no_memory_holds(tmp_path: Path, command: str) -> None:
    model = tmp_path / "model.tnz"
    ternzip.save_model(make_ternary(he_resnet20()), model)
    out = [tmp_path / "model.onnx"] if command == "export" else []
    message = r"batch of \d x 3x1000000x1000000: expected one that fits into memory, found [\d,]+ bytes$"
    with pytest.raises(ternzip.TernzipError, match=message):
        run(command, model, *out, "--arch", "he-resnet20", "--image", "3x1000000x1000000")
    assert not list(tmp_path.glob("*.onnx"))


def test_export(model: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    out = tmp_path / "model.onnx"
    told = run("export", model, out, *OPTIONS, "--weights", "int2")
    assert told == f"{out}: {out.stat().st_size:,} bytes of onnx\n"
    with pytest.raises(ternzip.TernzipError, match="exists already"):
        run("export", model, out, *OPTIONS)
    stored = model.read_bytes()
    with pytest.raises(ternzip.TernzipError, match="it is the source"):
        run("export", model, model, *OPTIONS, "--force")
    assert model.read_bytes() == stored
    assert out.stat().st_size < 1_074_000 / 3  # of as many weights
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    network = ternzip.load_model(fc3(in_features=64), model).eval()
    for batch in (1, 3):
        x = torch.randn(batch, 1, 8, 8)
        (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        with torch.inference_mode():
            torch.testing.assert_close(torch.from_numpy(found), network(x), rtol=1e-4, atol=1e-4)


def test_nothing_is_exported_to_a_file_called_as_stdout_is(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ternzip.cli.app import UsageError

    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="-: a network is exported to a file"):
        run("export", model, "-", *OPTIONS)
    assert not Path("-").exists()


def test_an_export_that_fails_says_why_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    from ternzip.runtime.export import export_onnx

    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3))
    reason = (
        r"Sequential: torch.onnx cannot export it: Calculated padded input size per channel: \(2 x 2\).*\Z"
    )
    with pytest.raises(ternzip.TernzipError, match=reason):
        export_onnx(network, tmp_path / "m.onnx", torch.zeros(2, 3, 2, 2))
    assert not list(tmp_path.iterdir())


MISFIT = """
import torch
from torch import nn
from ternzip import TernzipError
from ternzip.runtime.export import export_onnx

network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(10, 4))
try:
    export_onnx(network, "m.onnx", torch.zeros(2, 3, 16, 16))
except TernzipError as error:
    print(error)
"""


def test_an_export_that_nobody_can_read_is_refused(tmp_path: Path) -> None:
    """torch.onnx folds a batch norm into a layer's weights as float32, whatever the layer's type."""
    pytest.importorskip("onnxscript")
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).bfloat16().eval()
    example = torch.zeros(2, 4, dtype=torch.bfloat16)
    with pytest.raises(
        ternzip.TernzipError, match=r"so that others can read it: .*: where it is not float32, call"
    ):
        export_onnx(model, tmp_path / "model.onnx", example)
    assert not list(tmp_path.iterdir())
    export_onnx(model.float(), tmp_path / "model.onnx", example.float())


def test_an_export_that_fails_prints_no_traceback_of_torch(tmp_path: Path) -> None:
    """In a process of its own, where torch writes its log to stderr."""
    pytest.importorskip("onnxscript")
    done = subprocess.run(
        [sys.executable, "-c", MISFIT], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert "Sequential: torch.onnx cannot export it: a and b must have same reduction dim" in done.stdout
    assert done.stderr == ""


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of classes, 32 pictures of 8 x 8."""
    image = pytest.importorskip("PIL.Image")
    pixels = torch.randint(0, 256, (32, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for split in ("train", "test"):
        for i, one in enumerate(pixels):
            path = tmp_path / "images" / split / f"class{i % 10}" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.fromarray(one.numpy()).save(path)
    return tmp_path / "images"


def test_export_with_integer_activations(model: Path, images: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    out = tmp_path / "model.onnx"
    options = (*OPTIONS, "--activations", "int8", "--data", images)
    run("export", model, out, *options, "--images", 24, "--statistics", "dataset")
    assert [node.op_type for node in onnx.load(out).graph.node].count("QGemm") == 3
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    network = ternzip.load_model(fc3(in_features=64), model).eval()
    x = torch.rand(5, 1, 8, 8) * 2 - 1  # within the range of the images
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.inference_mode():
        wanted = network(x)
    difference = (torch.from_numpy(found) - wanted).norm() / wanted.norm()
    assert 1e-6 < difference < 0.1, "nearly the same, by 8 bits"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--images", 3), "--images: has a meaning only with --activations int8"),
        (("--data", "data"), "--data: has a meaning only with --activations int8"),
        (
            ("--activations", "int8", "--weights", "int2"),
            "--weights: expected int8 beside --activations int8, found int2",
        ),
    ],
)
def test_options_of_integer_activations(
    model: Path, tmp_path: Path, options: tuple[object, ...], error: str
) -> None:
    from ternzip.cli.app import UsageError

    with pytest.raises(UsageError, match=error):
        run("export", model, tmp_path / "model.onnx", *OPTIONS, *options)
    assert not (tmp_path / "model.onnx").exists()


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.b = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.a(x)).relu()
        return (y + self.b(y)).mean((2, 3))


def test_integer_weights_are_the_ternary_ones() -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = make_ternary(Block())
    with torch.no_grad():
        model.b.weight.clamp_(min=-0.05)  # levels that differ
    proto = onnx.load_from_string(
        onnx_bytes(model, torch.zeros(2, 3, 8, 8), "int8", torch.randn(40, 3, 8, 8))
    )
    convolutions = [node for node in proto.graph.node if node.op_type == "QLinearConv"]
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    first, second = (values[node.input[3]] for node in convolutions)
    assert first.dtype == np.int8
    # Batch norm's factors have a sign.
    assert np.array_equal(np.abs(first), 127 * model.a.weight.detach().abs().sign().numpy())
    scales = values[convolutions[1].input[4]].reshape(-1, 1, 1, 1)
    rounded = np.abs(second * scales - model.b.weight.detach().numpy())
    assert (rounded <= scales * 0.5001).all()
    assert rounded.max() > 0


def test_inputs_that_cannot_set_ranges(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = make_ternary(Block())
    example = torch.zeros(2, 3, 8, 8)
    path = tmp_path / "model.onnx"
    for inputs, error in (
        (torch.zeros(0, 3, 8, 8), "calibration: expected at least one input, found none"),
        (torch.full((1, 3, 8, 8), torch.nan), "calibration: expected finite inputs"),
        (torch.zeros(1, 3, 9, 8), r"calibration: expected inputs of shape \(3, 8, 8\), found \(3, 9, 8\)"),
    ):
        with pytest.raises(ternzip.TernzipError, match=error):
            export_onnx(model, path, example, weights="int8", calibration=inputs)
    with pytest.raises(ValueError, match="expected int8 beside 8-bit activations, found 'float32'"):
        export_onnx(model, path, example, calibration=example)
    assert not path.exists()


def test_a_quantizer_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")
    pytest.importorskip("onnxscript")

    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError("no kernel\nand more")

    monkeypatch.setattr(quantization, "quantize_static", fail)
    x = torch.zeros(2, 3, 8, 8)
    with pytest.raises(ternzip.TernzipError, match=r"^ONNX Runtime cannot quantize it: no kernel$"):
        onnx_bytes(make_ternary(Block()), x, "int8", x)


class Layers(nn.Module):
    """Every kind of layer and levels that a compact file tells apart."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(4, 8, 3)
        self.b = nn.Conv2d(8, 8, 3)
        self.c = nn.Conv2d(8, 16, 4)
        self.d = nn.Linear(16, 96)
        self.e = nn.Linear(96, 64)
        self.f = nn.Linear(64, 32)
        self.g = nn.Linear(32, 5)
        self.h = nn.Linear(4, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.c(self.b(self.a(x))).flatten(1)
        y = self.g(self.f(self.e(self.d(y)).relu()))
        return y.unsqueeze(2) + self.h(x[:, :1, :5].flatten(1, 2)[:, :, :4])  # a product of three dimensions


def test_compact_weights_of_onnx(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    model = make_ternary(Layers())
    with torch.no_grad():
        model.b.weight.mul_(torch.rand(8, 1, 1, 1) + 0.5)  # levels of each row
        model.c.weight.clamp_(min=-0.03)  # different ones
        model.e.weight[:, 32:64] *= 3.0  # of groups
        model.f.weight.clamp_(min=-0.03)
        model.g.weight.normal_()  # no levels
    x = torch.randn(3, 4, 8, 8)
    with torch.inference_mode():
        wanted = model(x)
    sizes = {}
    nodes = {}
    export_onnx(model, tmp_path / "float32.onnx", x)
    for weights, bits in (("float32", 32), ("int8", 8), ("int2", 2)):
        proto = onnx.load(tmp_path / "float32.onnx")
        if bits < 32:
            compact(proto, bits)
        session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        for batch in (x, x[:1]):
            (found,) = session.run(None, {session.get_inputs()[0].name: batch.numpy()})
            torch.testing.assert_close(torch.from_numpy(found), wanted[: len(batch)], rtol=1e-4, atol=1e-4)
        sizes[weights] = {t.name: len(t.raw_data) for t in proto.graph.initializer}
        nodes[weights] = [node.op_type for node in proto.graph.node]
    assert sizes["int8"]["c.weight.trits"] * 4 == sizes["float32"]["c.weight"]
    assert sizes["int2"]["d.weight.codes"] * 16 == sizes["float32"]["d.weight"]
    assert sizes["int8"]["e.weight"] == sizes["float32"]["e.weight"]  # no form has levels of groups
    assert sizes["int2"]["e.weight.scales"] == 4 * 64 * 3
    assert {"g.weight"} < set(sizes["int2"])
    assert nodes["int8"].count("DequantizeLinear") == 4
    assert (nodes["int2"].count("MatMulNBits"), nodes["int2"].count("DequantizeLinear")) == (3, 2)
    with pytest.raises(ValueError, match="expected float32, int8, int2, found 'int4'"):
        export_onnx(model, tmp_path / "other.onnx", x, weights="int4")


def test_levels_of_rows_in_products_of_sequences(tmp_path: Path) -> None:
    """ONNX Runtime would round activations to 8 bits behind a DequantizeLinear with a scale for each column."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = make_ternary(nn.Linear(64, 64))
    with torch.no_grad():
        model.weight.mul_(torch.rand(64, 1) + 0.5)
    x = torch.randn(2, 3, 64)
    export_onnx(model, tmp_path / "int8.onnx", x, weights="int8")
    session = onnxruntime.InferenceSession(tmp_path / "int8.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.inference_mode():
        torch.testing.assert_close(torch.from_numpy(found), model(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("weights", ["int8", "int2"])
def test_weights_of_which_none_is_made_smaller_are_refused(tmp_path: Path, weights: str) -> None:
    pytest.importorskip("onnxscript")
    model = make_ternary(nn.Linear(64, 64))
    x = torch.zeros(2, 64)
    expected = f"Linear: no weight becomes {weights}: expected ternary ones"
    with pytest.raises(
        ternzip.TernzipError, match=rf"{expected} in float32, found float16: call model\.float"
    ):
        export_onnx(model.half(), tmp_path / "m.onnx", x.half(), weights=weights)
    with pytest.raises(ternzip.TernzipError, match=f"{expected}, of one pair of levels"):
        export_onnx(nn.Linear(64, 64), tmp_path / "m.onnx", x, weights=weights)
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated")
def test_models_that_cannot_be_copied(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    normed = nn.utils.weight_norm(nn.Linear(64, 4))
    model = nn.Sequential(make_ternary(nn.Linear(64, 64)), normed)
    x = torch.zeros(2, 64)
    for call in (
        lambda: runtime.optimize(model),
        lambda: runtime.optimize(model, x),
        lambda: export_onnx(model, tmp_path / "model.onnx", x),
    ):
        with pytest.raises(ternzip.TernzipError, match=r"^model: cannot be copied: Only Tensors created"):
            call()
    assert not list(tmp_path.iterdir())


def test_optimized_models_are_not_exported(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    fast = runtime.optimize(make_ternary(nn.Linear(8, 4)))
    with pytest.raises(ternzip.TernzipError, match="is optimized: export the model it was made from"):
        export_onnx(fast, tmp_path / "model.onnx", torch.zeros(2, 8))
    assert not list(tmp_path.iterdir())
