"""Networks made by code of the user's, and files that say which network they hold."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("lightning")
pytest.importorskip("sklearn")

from cli_run import ternzip_command

import ternzip
from ternzip import TernzipError
from ternzip.cli.app import UsageError
from ternzip.models import NetworkSpec, architecture, read_spec
from ternzip.models.own import parse_arguments
from ternzip.training.datasets import Wanted, open_dataset

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning:lightning.*"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The `srun` command"),
]

MODULE = """
from pathlib import Path
from torch import nn
Path("imported").write_text("")

def make_net(num_classes, in_features, width=8, kind="plain"):
    return nn.Sequential(nn.Flatten(), nn.Linear(in_features, width), nn.ReLU(), nn.Linear(width, num_classes))

class Net(nn.Linear):
    def __init__(self, image_shape, num_classes=2):
        super().__init__(image_shape[2], num_classes)

def breaks():
    raise ValueError("no good\\nat all")

def nothing(): return 7
text = "no function"

def make_bfloat16(num_classes, in_features):
    return make_net(num_classes, in_features).bfloat16()

class Picky(nn.Linear):
    def __init__(self, num_classes):
        super().__init__(8, num_classes)

    def forward(self, x):
        if not self.training and len(x) == 77:
            raise KeyError("no 77")
        return super().forward(x.mean((1, 2)))

class Wrapped(nn.Module):
    def __init__(self, num_classes, in_features):
        super().__init__()
        self.model = make_net(num_classes, in_features)

    def forward(self, x):
        return self.model(x)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with a module of its own in it, not yet imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    for name in ("own_nets", "broken_nets"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "own_nets.py").write_text(MODULE)
    return tmp_path


def test_a_function_in_the_current_folder_makes_the_network(here: Path) -> None:
    network = architecture("own_nets:make_net")((1, 8, 8), 10, width=12)
    assert (network[1].in_features, network[1].out_features, network[3].out_features) == (64, 12, 10)
    assert architecture("own_nets:Net")((3, 4, 5), 7).weight.shape == (7, 5)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("absent_nets:make", {}, "absent_nets:make: no module 'absent_nets' here or among what is installed"),
        ("own_nets:make", {}, "expected a function make in .*own_nets.py, found no such name"),
        ("own_nets:text", {}, "expected a function text in .*own_nets.py, found str"),
        ("own_nets:nothing", {}, "expected a torch.nn.Module, found int"),
        ("own_nets:breaks", {}, r"own_nets:breaks: ValueError: no good \(.*own_nets.py, line 14\)"),
        (
            "own_nets:make_net",
            {"depth": 3},
            "got an unexpected keyword argument 'depth': arguments are given by",
        ),
        (
            "broken_nets:make",
            {},
            r"broken_nets cannot be imported: ZeroDivisionError: .*broken_nets.py, line 2\)",
        ),
        ("vgg", {}, "unknown architecture 'vgg': expected one of resnet20, .*, or MODULE:FUNCTION"),
    ],
)
def test_code_that_makes_no_network(here: Path, name: str, options: dict[str, int], message: str) -> None:
    (here / "broken_nets.py").write_text("import os\n1 / 0\n")
    with pytest.raises(TernzipError, match=message) as caught:
        architecture(name)((1, 8, 8), 10, **options)
    assert "\n" not in str(caught.value)


def test_arguments() -> None:
    assert parse_arguments(["a=3", "b=x y", "c=[1, 2.5]", "d=None", "e='3'"]) == {
        "a": 3,
        "b": "x y",
        "c": [1, 2.5],
        "d": None,
        "e": "3",
    }
    for given, message in (
        (["a"], "--arch-arg: expected NAME=VALUE, found 'a'"),
        (["1a=2"], "expected NAME=VALUE"),
        (["a=1", "a=2"], "a is given twice"),
        (["a={1, 2}"], "a: expected a number, a string, a list or a dictionary"),
        (["a=1j"], "a: expected a number"),
    ):
        with pytest.raises(TernzipError, match=message):
            parse_arguments(given)


def test_a_spec_survives_metadata_and_damage_is_named() -> None:
    spec = NetworkSpec("resnet20", {"inflate": 2}, (1, 8, 9), 3, (0.25,), (0.5,), ("cat", "dög", "a,b"))
    asked = dataclasses.replace(spec, image_fit="stretch", test_share=0.1)
    assert NetworkSpec.from_metadata(asked.to_metadata(), "x") == asked
    metadata = spec.to_metadata()
    assert NetworkSpec.from_metadata(metadata, "x") == spec
    assert NetworkSpec.from_metadata({"arch": "resnet20"}, "x") is None
    for key, value in (
        ("image_shape", "1x8"),
        ("image_shape", "1x8xa"),
        ("image_shape", "1x8x99999999"),
        ("num_classes", "0"),
        ("mean", "0.1,0.2"),
        ("std", "0"),
        ("arch_options", "[1]"),
        ("arch_options", "{"),
        ("classes", '["a"]'),
        ("image_fit", "squeeze"),
        ("test_share", "1.5"),
        ("test_share", "nan"),
        ("test_share", "all"),
    ):
        with pytest.raises(
            TernzipError, match=r"x\.tnz: metadata of its network (makes no sense|cannot be read)"
        ):
            NetworkSpec.from_metadata({**metadata, key: value}, "x.tnz")
    with pytest.raises(TernzipError, match=r"fc3: cannot be built with {'depth': 3}: .*unexpected keyword"):
        NetworkSpec("fc3", {"depth": 3}).build()


def test_pictures_are_evaluated_as_those_it_was_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stretched or cut, and none of the training pictures among those for testing."""
    image = pytest.importorskip("PIL.Image")
    monkeypatch.chdir(tmp_path)
    for i in range(80):
        folder = Path("pictures", "ab"[i % 2])
        folder.mkdir(parents=True, exist_ok=True)
        middle = image.new("L", (16, 8))
        middle.paste(255 if i % 2 else 3 * i, (6, 0, 10, 8))
        middle.save(folder / f"{i}.png")
    small = (
        "--epochs",
        3,
        "--batch-size",
        16,
        "--arch",
        "fc3",
        "--arch-arg",
        "hidden=8",
        "--accelerator",
        "cpu",
    )
    asked = ("--quantizer", "twn", "--image-size", 8, "--image-fit", "stretch", "--test-share", 0.4)
    ternzip_command("train", "--data", "pictures", *small, *asked)
    last = json.loads(Path("run/result.json").read_text())["last"]
    spec = read_spec("run/last.tnz")
    assert spec is not None
    assert (spec.image_fit, spec.test_share) == ("stretch", 0.4)

    def scored(file: str, *options: object) -> dict[str, float]:
        return json.loads(ternzip_command("eval", file, "--data", "pictures", "--json", *options))

    as_trained = scored("run/last.tnz")
    assert as_trained == scored("run/last.ckpt")
    assert as_trained["accuracy"] == pytest.approx(last["accuracy"])
    assert 20 < as_trained["images"] < 44
    assert scored("run/last.tnz", "--test-share", 1)["images"] == 80  # what is given wins
    stretched, cut = (
        open_dataset("auto", "pictures", like=one).test.images
        for one in (spec, dataclasses.replace(spec, image_fit=None))
    )
    assert not torch.equal(stretched, cut)
    wanted = Wanted(size=(8, 8), channels=1, fit="stretch", test_share=0.4)
    assert torch.equal(stretched, open_dataset("auto", "pictures", wanted=wanted).test.images)


def test_a_network_of_ones_own_from_training_to_export(here: Path) -> None:
    """Its code runs where the user names it, and never because a file does."""
    own = ("--arch", "own_nets:make_net", "--arch-arg", "width=9")
    ternzip_command(
        "train", *own, "--dataset", "digits", "--train-images", 128, "--epochs", 1, "--accelerator", "cpu"
    )
    text = ternzip_command("eval", "run/last.tnz", *own[:2], "--dataset", "digits", "--json")
    last = json.loads(Path("run/result.json").read_text())["last"]
    assert json.loads(text)["accuracy"] == pytest.approx(last["accuracy"])
    spec = read_spec("run/last.tnz")
    assert spec is not None
    assert (spec.arch, spec.options, spec.image_shape, spec.num_classes) == (
        own[1],
        {"width": 9},
        (1, 8, 8),
        10,
    )

    del sys.modules["own_nets"]
    Path("imported").unlink()
    digits = ("--dataset", "digits")
    for command in (
        ("eval", "run/last.tnz", *digits),
        ("eval", "run/last.ckpt"),
        ("train", "--resume"),
        ("plot", "run", "--figure", "1"),
        ("bench", "run/last.tnz"),
        ("export", "run/last.tnz", "model.onnx"),
        ("search", "run/last.tnz", *digits),
    ):
        with pytest.raises(
            TernzipError, match=r"run/last\.(tnz|ckpt): its network is made by code, own_nets:make_net"
        ):
            ternzip_command(*command)
    assert not Path("imported").exists()
    for command in (
        ("eval", "run/last.tnz", *digits, "--trust-arch"),
        ("eval", "run/last.ckpt", "--arch", "own_nets:make_net"),
        ("train", "--resume", "--trust-arch"),
        ("bench", "run/last.tnz", "--trust-arch", "--rounds", 1, "--no-compile", "--no-onnx"),
    ):
        ternzip_command(*command)


def test_a_network_in_bfloat16_gets_images_in_it(here: Path) -> None:
    own, digits = ("--arch", "own_nets:make_bfloat16"), ("--dataset", "digits")
    run = ("train", *own, *digits, "--train-images", 128, "--epochs", 1, "--accelerator", "cpu")
    ternzip_command(*run)
    last = json.loads(Path("run/result.json").read_text())["last"]["accuracy"]
    for command in (("run/last.tnz", *own, *digits), ("run/last.ckpt", *own)):
        assert json.loads(ternzip_command("eval", *command, "--json"))["accuracy"] == pytest.approx(last)
    timed = ternzip_command(
        "bench", "run/last.tnz", *own, "--rounds", 1, "--no-compile", "--no-onnx", "--json"
    )
    assert all(timing["milliseconds"] for timing in json.loads(timed)["timings"])
    pytest.importorskip("onnxscript")
    onnx = pytest.importorskip("onnx")
    ternzip_command("export", "run/last.tnz", "model.onnx", *own)
    inputs = onnx.load("model.onnx").graph.input
    assert [i.type.tensor_type.elem_type for i in inputs] == [onnx.TensorProto.BFLOAT16]


def test_a_network_that_fails_on_the_images_is_told_in_one_line(here: Path) -> None:
    own, digits = ("--arch", "own_nets:Picky"), ("--dataset", "digits")
    run = ("train", *own, *digits, "--train-images", 128, "--epochs", 1, "--accelerator", "cpu")
    ternzip_command(*run)
    with pytest.raises(TernzipError, match=r"takes images of shape \(77, 1, 8, 8\): 'no 77'"):
        ternzip_command("eval", "run/last.tnz", *own, *digits, "--test-images", 77)


def test_a_network_whose_only_child_is_called_model(here: Path) -> None:
    train = (
        "train",
        "--arch",
        "own_nets:Wrapped",
        "--dataset",
        "digits",
        "--train-images",
        128,
        "--epochs",
        1,
    )
    ternzip_command(*train, "--accelerator", "cpu")
    for command in (
        ("eval", "run/last.tnz", "--dataset", "digits", "--trust-arch"),
        ("eval", "run/last.ckpt", "--trust-arch"),
        (*train, "--init", "run/last.tnz", "--accelerator", "cpu", "--out", "second"),
        ("bench", "run/last.tnz", "--trust-arch", "--rounds", 1, "--no-compile", "--no-onnx"),
    ):
        ternzip_command(*command)


def test_built_in_networks_need_no_architecture(here: Path) -> None:
    options = ("--arch", "fc3", "--arch-arg", "hidden=20", "--dataset", "digits", "--delta", "0.02")
    ternzip_command("train", *options, "--epochs", 1, "--train-images", 128, "--accelerator", "cpu")
    text = ternzip_command("eval", "run/best.tnz", "--dataset", "digits")
    assert " of 360 images right" in text
    with pytest.raises(
        TernzipError, match="tensor"
    ):  # another architecture than the file's is taken by its word
        ternzip_command(
            "eval", "run/best.tnz", "--arch", "fc3", "--arch-arg", "hidden=21", "--dataset", "digits"
        )
    torch.save(ternzip.load_file("run/best.tnz"), "model.pt")
    for command in ("eval", "bench", "search"):
        with pytest.raises(
            UsageError, match=r"model\.pt: does not say what its network is: expected --arch NAME"
        ):
            ternzip_command(command, "model.pt")


def test_options_of_built_in_networks_are_for_them(here: Path) -> None:
    with pytest.raises(
        UsageError, match="--dropout: not used with --arch own_nets:make_net, only with resnet20"
    ):
        ternzip_command("train", "--arch", "own_nets:make_net", "--dropout", "0.1")
    with pytest.raises(UsageError, match="--arch-arg: expected NAME=VALUE"):
        ternzip_command("train", "--arch", "own_nets:make_net", "--arch-arg", "width")
