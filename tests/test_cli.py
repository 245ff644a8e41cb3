"""The command line as a person or a script meets it: exit statuses, one-line errors, files, pipes, JSON."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from samples import alpha_sign_mask, assert_same, trits
from torch import nn

import ternzip
from ternzip import codecs
from ternzip.cli import main
from ternzip.cli.console import listed, one_line, plural, progress_bar


@dataclass
class Result:
    status: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    def json(self) -> Any:
        def no_constants(constant: str) -> None:
            raise AssertionError(f"{constant} is not JSON")

        return json.loads(self.out, parse_constant=no_constants)


Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Runs the command line in this process."""

    def call(*arguments: object, stdin: bytes = b"") -> Result:
        monkeypatch.setattr(sys, "argv", ["ternzip", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        monkeypatch.setenv("COLUMNS", "200")
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        sys.stdout.flush()
        out, err = capfdbinary.readouterr()
        code = caught.value.code
        assert code is None or isinstance(code, int)
        return Result(code or 0, out, err.decode())

    return call


def fails(result: Result, *words: str) -> None:
    """Exit status 1, nothing on stdout, and one line on stderr that holds the words."""
    assert result.status == 1
    assert result.out == b""
    assert result.err.startswith("ternzip: error: ")
    assert result.err.count("\n") == 1
    for word in words:
        assert word in result.err


def misused(result: Result, *words: str) -> None:
    assert result.status == 2
    assert result.out == b""
    for word in words:
        assert word in result.err


def python(*arguments: str | bytes, **options: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, timeout=120, **options)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not list(tmp_path.rglob("*.part"))  # no test may leave half a file behind


def a_model() -> dict[str, torch.Tensor]:
    weight = trits(16, 8, 3, 3).float() * 0.5
    return {
        "z.weight": weight,
        "masked": alpha_sign_mask(8, 9),
        "bias": torch.arange(8.0),
        "tied": weight,
        "steps": torch.tensor(3),
    }


@pytest.fixture
def model(folder: Path) -> dict[str, torch.Tensor]:
    """model.pt in the current folder."""
    tensors = a_model()
    torch.save({"state_dict": tensors, "epoch": 3}, "model.pt")
    return tensors


@pytest.fixture
def tnz(folder: Path) -> Path:
    """model.tnz in the current folder, with metadata."""
    ternzip.save_file(a_model(), "model.tnz", metadata={"author": "someone"})
    return Path("model.tnz")


# --- there and back ----------------------------------------------------------------------------------------


def test_there_and_back(run: Run, model: dict[str, torch.Tensor]) -> None:
    result = run("compress", "model.pt")
    size = Path("model.pt").stat().st_size
    assert result.status == 0
    assert result.text.startswith(f"model.pt ({size:,} bytes) -> model.tnz (")
    assert "1,224 ternary weights" in result.text
    assert "bits/weight (order-0 entropy" in result.text
    assert result.err == "ternzip: note: model.pt: 'epoch' is not a tensor of the model and is not stored.\n"
    assert_same(ternzip.load_file("model.tnz"), model)

    assert run("verify", "model.tnz", "--against", "model.pt") == Result(
        0, b"model.tnz: 5 tensors whole, equal to model.pt bit for bit\n", ""
    )
    result = run("decompress", "model.tnz")
    assert (result.status, result.text) == (0, "model.tnz -> model.safetensors: 5 tensors restored\n")
    assert result.err == (
        "ternzip: note: tensor 'tied' is tied to 'z.weight': .safetensors holds it twice\n"
        "ternzip: note: the order of tensors is .safetensors' own (by type, then by name)\n"
    )
    found = safetensors.torch.load_file("model.safetensors")
    assert_same({name: found[name] for name in model}, model)

    result = run("decompress", "model.tnz", "again.pt")
    assert (result.status, result.err) == (0, "")
    again = torch.load("again.pt", weights_only=True)
    assert_same(again, model)
    assert again["tied"].data_ptr() == again["z.weight"].data_ptr()


@pytest.mark.parametrize("codec", ["auto", *sorted(codecs.BY_NAME)])
def test_every_codec(run: Run, model: dict[str, torch.Tensor], codec: str) -> None:
    assert run("compress", "model.pt", "out.tnz", "--codec", codec, "--threads", 1).status == 0
    assert Path("out.tnz").read_bytes() == ternzip.save(model, codec=codec)
    assert run("verify", "out.tnz", "--against", "model.pt", "--threads", 2).status == 0
    used = {row["codec"] for row in run("inspect", "out.tnz", "--json").json()["tensors"] if "levels" in row}
    assert used - {"tied"} == {codec} or codec == "auto"


def test_codecs_offered_are_those_there_are() -> None:
    from ternzip.cli.files import Codec

    assert {codec.value for codec in Codec} == set(codecs.CHOICES)


def test_default_names(run: Run, folder: Path) -> None:
    nested = folder / "a.b"
    nested.mkdir()
    torch.save(a_model(), nested / "net.v1.ckpt")
    assert run("compress", nested / "net.v1.ckpt").status == 0
    assert run("decompress", nested / "net.v1.tnz").status == 0
    torch.save(a_model(), nested / "plain")
    assert run("compress", nested / "plain").status == 0
    safetensors.torch.save_file({"w": torch.ones(2)}, nested / "s.safetensors")
    assert run("compress", nested / "s.safetensors").status == 0
    names = {
        "net.v1.ckpt",
        "net.v1.tnz",
        "net.v1.safetensors",
        "plain",
        "plain.tnz",
        "s.safetensors",
        "s.tnz",
    }
    assert {path.name for path in nested.iterdir()} == names


def test_sharded_folders(run: Run, folder: Path) -> None:
    shards = folder / "big"
    shards.mkdir()
    safetensors.torch.save_file({"b": trits(30, 30)}, shards / "1.safetensors")
    safetensors.torch.save_file({"a": torch.ones(3)}, shards / "2.safetensors")
    index = shards / "big.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "2.safetensors", "b": "1.safetensors"}}))
    size = sum(path.stat().st_size for path in shards.glob("*.safetensors"))
    result = run("compress", "big/")
    assert (result.status, result.err) == (0, "")
    assert f"big/ ({size:,} bytes) -> big.tnz (" in result.text
    assert list(ternzip.load_file("big.tnz")) == ["a", "b"]
    result = run("compress", index)
    assert f" ({size:,} bytes) -> {shards / 'big.tnz'} (" in result.text
    assert Path("big.tnz").read_bytes() == (shards / "big.tnz").read_bytes()
    assert run("verify", "big.tnz", "--against", "big").status == 0
    (shards / "2.safetensors").unlink()
    fails(run("compress", "big", "--force"), "big: shard '2.safetensors': cannot read: ")


def test_pipes(run: Run, model: dict[str, torch.Tensor]) -> None:
    packed = run("compress", "-", stdin=Path("model.pt").read_bytes())
    assert packed.status == 0
    assert_same(ternzip.load(packed.out), model)
    assert "<stdin>: 'epoch' is not a tensor" in packed.err
    assert "- -> - (" in packed.err
    assert run("compress", "model.pt", "-", "--json").out == packed.out
    assert sorted(path.name for path in Path().iterdir()) == ["model.pt"]

    plain = run("decompress", "-", stdin=packed.out)
    assert plain.status == 0
    found = safetensors.torch.load(plain.out)
    assert_same({name: found[name] for name in model}, model)
    assert "- -> -: 5 tensors restored" in plain.err
    assert run("decompress", "-", "model2.pt", stdin=packed.out).status == 0
    assert_same(torch.load("model2.pt", weights_only=True), model)

    again = run("compress", "-", "-", stdin=plain.out)
    assert run("verify", "-", "--against", "model.pt", stdin=packed.out).text == (
        "-: 5 tensors whole, equal to model.pt bit for bit\n"
    )
    assert again.status == 0
    assert run("inspect", "-", "--json", stdin=packed.out).json()["total"]["bytes"] == len(packed.out)
    fails(run("inspect", "-", stdin=packed.out[:-1]), "<stdin>: offset", "truncated")
    fails(run("compress", "-"), "<stdin>: expected a checkpoint, found no bytes")
    fails(run("compress", "-", stdin=b"nonsense"), "<stdin>: ")


def test_tnz_to_tnz(run: Run, tnz: Path) -> None:
    before = ternzip.load_file(tnz)
    assert run("compress", tnz, "other.tnz", "--codec", "packed").status == 0
    assert_same(ternzip.load_file("other.tnz"), before)
    assert run("verify", "other.tnz", "--against", tnz).status == 0
    assert run("inspect", "other.tnz", "--json").json()["metadata"] == {"author": "someone"}
    assert run("compress", tnz, "--codec", "static", "--force").status == 0  # onto itself
    assert_same(ternzip.load_file(tnz), before)


def test_metadata_travels(run: Run, tnz: Path) -> None:
    assert run("decompress", tnz).status == 0
    with safetensors.safe_open("model.safetensors", "pt") as handle:
        assert handle.metadata() == {"author": "someone"}
    assert run("compress", "model.safetensors", "again.tnz").status == 0
    with ternzip.safe_open("again.tnz") as file:
        assert file.metadata() == {"author": "someone"}
    result = run("decompress", tnz, "model.pt")
    assert result.err == "ternzip: note: metadata (1 entries) has no place in a .pt file\n"


def test_merge_zeros_says_so(run: Run, model: dict[str, torch.Tensor]) -> None:
    result = run("compress", "model.pt", "--merge-zeros")
    assert result.status == 0
    assert "signs of zeros in ternary tensors were dropped" in result.err
    masked = ternzip.load_file("model.tnz")["masked"]
    assert torch.equal(masked, model["masked"])
    assert not torch.signbit(masked[masked == 0]).any()
    fails(run("verify", "model.tnz", "--against", "model.pt"), "differs from model.pt", "'masked'")


@pytest.mark.usefixtures("folder")
def test_verify_compares_metadata(run: Run) -> None:
    tensors = {"w": torch.ones(3)}
    safetensors.torch.save_file(tensors, "m.safetensors", metadata={"a": "1", "b": "2", "long": "x" * 100})
    ternzip.save_file(tensors, "m.tnz", metadata={"a": "1", "b": "2", "long": "x" * 100})
    assert run("verify", "m.tnz", "--against", "m.safetensors").status == 0
    ternzip.save_file(tensors, "other.tnz", metadata={"a": "1", "b": "3", "c": "4"})
    result = run("verify", "other.tnz", "--against", "m.safetensors", "--json")
    assert result.status == 1
    assert json.loads(result.out)["differences"] == [
        "metadata 'b': expected '2', found '3' in the file",
        "metadata 'c': expected none, found '4' in the file",
        f"metadata 'long': expected {'x' * 60!r}... of 100 characters, found none in the file",
    ]
    ternzip.save_file(tensors, "plain.tnz")
    assert run("verify", "other.tnz", "--against", "plain.tnz").status == 0  # nothing there to compare


# --- ternarize ---------------------------------------------------------------------------------------------


@pytest.fixture
def dense(folder: Path) -> dict[str, torch.Tensor]:
    tensors = {"conv.weight": torch.randn(8, 4, 3, 3), "fc.weight": torch.randn(5, 8), "bias": torch.randn(5)}
    torch.save(tensors, "dense.pt")
    return tensors


def test_full_precision_weights_are_never_ternarized_unasked(
    run: Run, dense: dict[str, torch.Tensor]
) -> None:
    result = run("compress", "dense.pt")
    assert (result.status, result.err) == (0, "")
    assert result.text.endswith("; no ternary weights\n")
    assert_same(ternzip.load_file("dense.tnz"), dense)


def test_ternarize(run: Run, dense: dict[str, torch.Tensor]) -> None:
    result = run("compress", "dense.pt", "--ternarize", "--delta", 0.5, "--skip", "fc.*")
    assert result.status == 0
    assert "ternarized 1 tensor (288 weights), Delta = 0.5, levels -1 and +1: " in result.err
    assert "does not restore the full-precision weights" in result.err
    assert "left 1 tensor as found: fc.weight" in result.err
    found = ternzip.load_file("dense.tnz")
    weight = dense["conv.weight"]
    assert torch.equal(found["conv.weight"], torch.sign(weight) * (weight.abs() > 0.5))
    assert_same({n: found[n] for n in ("fc.weight", "bias")}, {n: dense[n] for n in ("fc.weight", "bias")})
    fails(run("verify", "dense.tnz", "--against", "dense.pt"), "'conv.weight'")


def test_ternarize_by_default_and_as_twn(run: Run, dense: dict[str, torch.Tensor]) -> None:
    assert "Delta = 0.1, levels -1 and +1" in run("compress", "dense.pt", "a.tnz", "--ternarize").err
    result = run("compress", "dense.pt", "b.tnz", "--ternarize", "--threshold", "twn")
    assert "0.7 x mean |w| of each tensor, levels -+ mean |w| of the kept weights" in result.err
    result = run("compress", "dense.pt", "c.tnz", "--ternarize", "--scale", "--delta", "0.05")
    assert "Delta = 0.05, levels -+ mean |w|" in result.err
    weight = dense["fc.weight"]
    level = weight[weight.abs() > 0.05].abs().double().mean().float()
    with ternzip.safe_open("c.tnz") as file:
        assert file.info("fc.weight").levels == (-level, level)


def test_ternarize_must_be_asked_for(run: Run, dense: dict[str, torch.Tensor]) -> None:
    for option in (["--delta", "0.1"], ["--threshold", "twn"], ["--scale"], ["--skip", "x"]):
        misused(run("compress", "dense.pt", *option), option[0], "needs --ternarize")
    misused(
        run("compress", "dense.pt", "--ternarize", "--threshold", "twn", "--delta", "0.1"),
        "its own threshold",
    )
    misused(run("compress", "dense.pt", "--ternarize", "--delta", "-0.1"), "--delta")
    misused(run("compress", "dense.pt", "--ternarize", "--threshold", "ttq"), "--threshold")
    assert [path.name for path in Path().iterdir()] == ["dense.pt"]


def test_weights_that_cannot_be_ternarized_leave_no_file(run: Run, folder: Path) -> None:
    torch.save({"w": torch.tensor([[1.0, float("nan")]])}, "nan.pt")
    fails(run("compress", "nan.pt", "--ternarize"), "nan.pt: tensor 'w': cannot ternarize")
    assert [path.name for path in folder.iterdir()] == ["nan.pt"]


def test_latent_weights_are_pointed_out(run: Run, folder: Path) -> None:
    network = ternzip.prepare(nn.Sequential(nn.Linear(4, 4)))
    torch.save(network.state_dict(), "latent.pt")
    result = run("compress", "latent.pt")
    assert result.status == 0
    assert "0.parametrizations.weight.original: latent full-precision weights, stored as such" in result.err
    assert "ternzip.convert(model)" in result.err
    assert_same(ternzip.load_file("latent.tnz"), network.state_dict())
    torch.save(ternzip.convert(network).state_dict(), "latent.pt")
    assert run("compress", "latent.pt", "--force").err == ""


# --- inspect and verify ------------------------------------------------------------------------------------


def test_inspect(run: Run, tnz: Path) -> None:
    result = run("inspect", tnz)
    assert (result.status, result.err) == (0, "")
    for word in (
        "z.weight",
        "16x8x3x3",
        "scalar",
        "-0.5 +0.5",
        "= z.weight",
        "5 tensors",
        "author: someone",
    ):
        assert word in result.text
    assert f"model.tnz: {tnz.stat().st_size:,} bytes, of which header, framing and checksums" in result.text


def test_inspect_as_json(run: Run, tnz: Path) -> None:
    value = run("inspect", tnz, "--json").json()
    tensors = {row["name"]: row for row in value["tensors"]}
    assert list(tensors) == list(a_model())
    assert value["metadata"] == {"author": "someone"}
    weight = a_model()["z.weight"]
    row = tensors["z.weight"]
    assert row["shape"] == [16, 8, 3, 3]
    assert row["dtype"] == "float32"
    assert row["levels"] == [-0.5, 0.5]
    assert row["level_rows"] == 1
    assert row["counted"] is True
    assert [row["negative"], row["zero"], row["positive"]] == [
        int((weight.sign() == s).sum()) for s in (-1, 0, 1)
    ]
    assert row["bits_per_symbol"] == pytest.approx(8 * row["bytes"] / weight.numel())
    assert tensors["masked"]["negative_zeros"] > 0
    assert tensors["tied"]["tied_to"] == "z.weight"
    assert tensors["tied"]["bytes"] == 0
    assert "levels" not in tensors["bias"]
    assert tensors["bias"]["codec"] == "solid"
    total = value["total"]
    assert total["tensors"] == 5
    assert total["bytes"] == tnz.stat().st_size
    assert total["bytes"] == total["overhead_bytes"] + total["ternary_bytes"] + total["other_bytes"]
    assert total["bytes"] == total["overhead_bytes"] + sum(row["bytes"] for row in value["tensors"])
    assert total["ternary_weights"] == total["negative"] + total["zero"] + total["positive"] == 1152 + 72
    assert total["ternary_bytes"] == tensors["z.weight"]["bytes"] + tensors["masked"]["bytes"]
    expected = sum(tensors[n]["entropy"] * a_model()[n].numel() / 8 for n in ("z.weight", "masked"))
    assert total["predicted_bytes"] == pytest.approx(expected)


def test_json_of_odd_files(run: Run, folder: Path) -> None:
    """Infinities are no JSON numbers, and there may be nothing to divide by."""
    weight = torch.tensor([[float("-inf"), 0.0], [0.0, 2.0]])
    rows = torch.tensor([[1.0, 2.0], [2.0, 0.0]]).repeat(1, 20) * torch.tensor([[1.0], [3.0]])
    ternzip.save_file(
        {"w": weight, "rows": trits(2, 99).float() * torch.tensor([[1.0], [3.0]]), "r": rows}, "odd.tnz"
    )
    tensors = {row["name"]: row for row in run("inspect", "odd.tnz", "--json").json()["tensors"]}
    assert tensors["w"]["levels"] == ["-inf", 2.0]
    assert tensors["rows"]["levels"] is None
    assert tensors["rows"]["level_rows"] == 2
    assert "-inf +2" in run("inspect", "odd.tnz").text
    assert "2 pairs" in run("inspect", "odd.tnz").text
    ternzip.save_file({}, "empty.tnz")
    total = run("inspect", "empty.tnz", "--json").json()["total"]
    assert (total["tensors"], total["bits_per_symbol"], total["entropy"]) == (0, None, 0)
    assert run("inspect", "empty.tnz").status == 0
    assert run("verify", "empty.tnz").text == "empty.tnz: 0 tensors whole\n"
    assert run("decompress", "empty.tnz").status == 0


def test_compress_as_json(run: Run, model: dict[str, torch.Tensor]) -> None:
    value = run("compress", "model.pt", "--json").json()
    assert value["source"] == "model.pt"
    assert value["source_bytes"] == Path("model.pt").stat().st_size
    assert value["file"] == "model.tnz"
    assert value["bytes"] == Path("model.tnz").stat().st_size
    assert value["tensors"] == 5


def test_verify_as_json(run: Run, model: dict[str, torch.Tensor], tnz: Path) -> None:
    assert run("verify", tnz, "--json").json() == {
        "file": "model.tnz",
        "tensors": 5,
        "against": None,
        "equal": True,
        "differences": [],
    }
    torch.save({**model, "bias": model["bias"] + 1}, "other.pt")
    result = run("verify", tnz, "--against", "other.pt", "--json")
    assert result.status == 1
    value = result.json()
    assert value["equal"] is False
    assert len(value["differences"]) == 1
    assert value["differences"][0].startswith("tensor 'bias': 8 of 8 elements differ")


def flipped(tensor: torch.Tensor) -> torch.Tensor:
    other = tensor.clone()
    other.view(torch.int32).view(-1)[5] ^= 1
    return other


CHANGES: dict[str, tuple[Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]], str]] = {
    "bit": (
        lambda m: {**m, "bias": flipped(m["bias"])},
        "tensor 'bias': 1 of 8 elements differ, first at index 5",
    ),
    "dtype": (lambda m: {**m, "bias": m["bias"].double()}, "tensor 'bias': expected float64, found float32"),
    "name": (
        lambda m: {name.replace("bias", "offset"): tensor for name, tensor in m.items()},
        "in 2 places: tensor 'bias': in the file, not in other.pt",
    ),
    "tie": (
        lambda m: {**m, "tied": m["tied"].clone()},
        "tensor 'tied': in the file tied to 'z.weight', in other.pt not",
    ),
    "order": (
        lambda m: {name: m[name] for name in ("z.weight", "bias", "masked", "tied", "steps")},
        "tensor 'masked': the order of tensors differs from here on",
    ),
    "shape": (
        lambda m: {**m, "bias": m["bias"].view(2, 4)},
        "tensor 'bias': expected shape [2, 4], found [8]",
    ),
    "missing": (
        lambda m: {n: t for n, t in m.items() if n != "steps"},
        "tensor 'steps': in the file, not in other.pt",
    ),
    "further": (lambda m: {**m, "more": torch.ones(1)}, "tensor 'more': in other.pt, not in the file"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_verify_names_what_differs(run: Run, tnz: Path, change: str) -> None:
    alter, message = CHANGES[change]
    torch.save(alter(a_model()), "other.pt")
    result = run("verify", tnz, "--against", "other.pt")
    assert result.status == 1
    assert result.out == b""
    last = result.err.splitlines()[-1]
    assert last.startswith("ternzip: error: model.tnz differs from other.pt in ")
    assert message in last


def test_verify_finds_any_damage(run: Run, tnz: Path) -> None:
    assert run("verify", tnz).text == "model.tnz: 5 tensors whole\n"
    whole = tnz.read_bytes()
    for position in range(0, len(whole), 5):
        tnz.write_bytes(whole[:position] + bytes([whole[position] ^ 16]) + whole[position + 1 :])
        fails(run("verify", tnz), "model.tnz: ", "offset")


# --- bad input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["compress", "decompress", "inspect", "verify"])
def test_sources_that_cannot_be_read(run: Run, folder: Path, command: str) -> None:
    fails(run(command, "missing.tnz"), "missing.tnz: cannot read: No such file or directory")
    Path("empty.tnz").touch()
    fails(run(command, "empty.tnz"), "empty.tnz: ")
    Path("garbage.tnz").write_bytes(b"\x00garbage" * 9)
    fails(run(command, "garbage.tnz"), "garbage.tnz: ")
    Path("folder.tnz").mkdir()
    fails(run(command, "folder.tnz", *(["x.pt"] if command == "decompress" else [])), "folder.tnz: ")
    fails(run(command, "x" * 5000), "x: ")
    Path("locked.tnz").write_bytes(b"x")
    Path("locked.tnz").chmod(0)
    if not os.access("locked.tnz", os.R_OK):
        fails(run(command, "locked.tnz"), "locked.tnz: cannot read: Permission denied")
    made = {"empty.tnz", "garbage.tnz", "folder.tnz", "locked.tnz"}
    assert {path.name for path in folder.iterdir()} == made


def test_damaged_sources_leave_no_file(run: Run, tnz: Path) -> None:
    whole = tnz.read_bytes()
    for data in (whole[:-1], whole[:40] + b"\xff" + whole[41:], whole[:9]):
        Path("bad.tnz").write_bytes(data)
        for arguments in (
            ["decompress", "bad.tnz"],
            ["decompress", "bad.tnz", "x.pt"],
            ["compress", "bad.tnz", "y.tnz"],
        ):
            fails(run(*arguments), "bad.tnz: ", "offset")
    assert {path.name for path in Path().iterdir()} == {"bad.tnz", "model.tnz"}


def test_destinations_that_cannot_be_written(run: Run, model: dict[str, torch.Tensor], tnz: Path) -> None:
    Path("folder").mkdir()
    Path("file").touch()
    for command, source, suffix in (("compress", "model.pt", ".tnz"), ("decompress", "model.tnz", ".pt")):
        fails(run(command, source, f"no/such/folder/x{suffix}"), "cannot write: no folder no/such/folder")
        fails(run(command, source, f"file/x{suffix}"), f"file/x{suffix}: cannot write")
        (Path("folder") / f"taken{suffix}").mkdir()
        fails(run(command, source, f"folder/taken{suffix}"), "cannot write: is a directory")
        fails(run(command, source, f"folder/taken{suffix}", "--force"), "cannot write: is a directory")
        fails(run(command, source, "x" * 300 + suffix), "ame too long")
    assert sorted(path.name for path in Path("folder").iterdir()) == ["taken.pt", "taken.tnz"]


def test_existing_destinations_are_only_replaced_on_demand(run: Run, model: dict[str, torch.Tensor]) -> None:
    Path("model.tnz").write_bytes(b"mine")
    fails(run("compress", "model.pt"), "model.tnz: exists already; it is only replaced with --force")
    assert Path("model.tnz").read_bytes() == b"mine"
    assert run("compress", "model.pt", "--force").status == 0
    Path("model.safetensors").write_bytes(b"mine")
    fails(run("decompress", "model.tnz"), "model.safetensors: exists already")
    assert Path("model.safetensors").read_bytes() == b"mine"
    assert run("decompress", "model.tnz", "-f").status == 0
    assert len(safetensors.torch.load_file("model.safetensors")) == 5


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_devices_stay_devices(run: Run, model: dict[str, torch.Tensor]) -> None:
    fails(run("compress", "model.pt", "/dev/full", "--force"), "/dev/full: cannot write: not a regular file")
    assert Path("/dev/full").is_char_device()


def test_pickles_that_run_code(run: Run, folder: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, ("ran",)

    torch.save({"w": torch.ones(2), "x": Evil()}, "evil.pt")
    fails(run("compress", "evil.pt"), "evil.pt: refused: expected tensors only", "mkdir")
    assert [path.name for path in folder.iterdir()] == ["evil.pt"]


def test_tensors_that_cannot_be_stored(run: Run, folder: Path) -> None:
    torch.save({"w": torch.ones(2), "meta\nline": torch.ones(2, device="meta")}, "odd.pt")
    fails(run("compress", "odd.pt"), r"odd.pt: tensor 'meta\nline': cannot store a meta tensor")
    ternzip.save_file({"c": torch.zeros(2, dtype=torch.complex128)}, "c.tnz")
    fails(run("decompress", "c.tnz"), "tensor 'c': .safetensors has no complex128: decompress to .pt")
    assert {path.name for path in folder.iterdir()} == {"odd.pt", "c.tnz"}


def test_control_characters_cannot_break_lines(run: Run, folder: Path) -> None:
    evil = "a\x1b[31m\nternzip: error: b\r\u2028\u202e[/red]"
    plain = one_line(evil)
    assert plain.isprintable()
    latent = f"{evil}.parametrizations.weight.original"
    torch.save({evil: trits(3, 50).float(), latent: torch.ones(3), f"{evil}!": 3}, "evil.pt")
    packed = run("compress", "evil.pt")
    assert packed.status == 0
    assert len(packed.err.splitlines()) == 2
    for result in (packed, run("inspect", "evil.tnz"), run("inspect", "evil.tnz", "--json")):
        for line in (result.text + result.err).splitlines():
            assert line.isprintable()
    assert plain in run("inspect", "evil.tnz").text
    torch.save({"w": torch.ones(2)}, "other.pt")
    result = run("verify", "evil.tnz", "--against", "other.pt")
    assert len(result.err.splitlines()) == 3
    assert all(line.isprintable() for line in result.err.splitlines())
    fails(
        run("decompress", "evil.tnz", "x.pt", "y.pt") if False else run("verify", f"missing{evil}"), "missing"
    )


def test_file_names_are_no_markup(run: Run, folder: Path) -> None:
    for name in ("[bold]x[/bold].tnz", "[/x].tnz", ":smile:.tnz"):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        ternzip.save_file({"[/w]": trits(3, 50), ":smile:": torch.ones(3)}, path, metadata={"[/k]": "[/v]"})
        result = run("inspect", path)
        assert result.status == 0
        for word in (name.split("/")[-1], "[/w]", ":smile:", "[/k]: [/v]"):
            assert word in result.text


# --- usage -------------------------------------------------------------------------------------------------


def test_help_and_version(run: Run) -> None:
    for arguments in (["--help"], ["-h"]):
        result = run(*arguments)
        assert result.status == 0
        for command in ("compress", "decompress", "inspect", "verify"):
            assert command in result.text
    result = run("compress", "-h")
    assert result.status == 0
    for option in ("--codec", "--merge-zeros", "--ternarize", "--force", "--json"):
        assert option in result.text
    assert run("--version") == Result(0, f"ternzip {ternzip.__version__}\n".encode(), "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["shrink", "model.pt"],
        ["compress"],
        ["compress", "model.pt", "a.tnz", "b.tnz"],
        ["compress", "model.pt", "--codec", "zip"],
        ["compress", "model.pt", "--threads", "0"],
        ["compress", "model.pt", "--threads", "many"],
        ["compress", "model.pt", "--quality", "9"],
        ["decompress"],
        ["decompress", "model.tnz", "model.onnx"],
        ["decompress", "model.tnz", "model"],
        ["inspect"],
        ["verify"],
        ["verify", "model.tnz", "--against"],
        ["--wrong"],
    ],
    ids=" ".join,
)
def test_bad_usage(run: Run, model: dict[str, torch.Tensor], tnz: Path, arguments: list[str]) -> None:
    before = sorted(Path().iterdir())
    result = run(*arguments)
    assert result.status == 2
    assert result.out == b""
    assert result.err
    assert sorted(Path().iterdir()) == before


def test_no_command_shows_the_help(run: Run) -> None:
    result = run()
    assert result.status == 2
    assert "compress" in result.text + result.err


def test_debug_shows_the_traceback(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["--debug", "inspect", "missing.tnz"], ["inspect", "missing.tnz", "--debug"]):
        monkeypatch.setattr(sys, "argv", ["ternzip", *arguments])
        with pytest.raises(ternzip.TernzipError, match=r"missing\.tnz: cannot read"):
            main()
    done = python("-m", "ternzip", "inspect", "missing.tnz", "--debug")
    assert done.returncode == 1
    assert b"Traceback (most recent call last)" in done.stderr
    assert b"TernzipError: missing.tnz: cannot read" in done.stderr
    assert capfd.readouterr() == ("", "")


def test_words() -> None:
    assert [plural(n, "tensor") for n in (0, 1, 2, 3000)] == [
        "0 tensors",
        "1 tensor",
        "2 tensors",
        "3,000 tensors",
    ]
    assert listed(["a", "b"]) == "a, b"
    assert listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
    assert one_line("a\tb\x7f\ud800\u00e9") == "a\\tb\\x7f\\ud800\u00e9"


def test_a_progress_bar_only_where_somebody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    with progress_bar("compress", 10) as progress:
        assert progress is None

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress_bar("compress", 10) as progress:
        assert progress is not None
        progress("w", 10)


# --- as a program ------------------------------------------------------------------------------------------


def test_as_a_program(folder: Path) -> None:
    torch.save(a_model(), "model.pt")
    done = python("-m", "ternzip", "compress", "model.pt")
    assert (done.returncode, done.stderr) == (0, b"")
    assert_same(ternzip.load_file("model.tnz"), a_model())
    done = python("-m", "ternzip", "compress", "model.pt")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"ternzip: error: model.tnz: exists already; it is only replaced with --force\n"
    with open("model.tnz", "rb") as stdin:
        done = python("-m", "ternzip", "verify", "-", stdin=stdin)
    assert (done.returncode, done.stdout) == (0, b"-: 5 tensors whole\n")


LIGHT = """
import sys
from ternzip.cli import main
sys.argv = ["ternzip", *sys.argv[1:]]
try:
    main()
except SystemExit as exit:
    assert not exit.code, exit.code
loaded = {"torch", "safetensors", "lightning", "matplotlib", "sklearn"} & set(sys.modules)
assert not loaded, loaded
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["inspect", "model.tnz"],
        ["inspect", "model.tnz", "--json"],
        ["verify", "model.tnz"],
    ],
)
def test_these_commands_do_without_torch(tnz: Path, arguments: list[str]) -> None:
    done = python("-c", LIGHT, *arguments)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout


def test_torch_would_be_noticed(folder: Path) -> None:
    done = python("-c", "import torch\n" + LIGHT, "--version")
    assert done.returncode == 1
    assert b"AssertionError: {'torch'}" in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="file names of any bytes")
def test_file_names_of_any_bytes(folder: Path) -> None:
    torch.save(a_model(), "model.pt")
    os.rename(b"model.pt", b"\xff\n.pt")
    done = python("-m", "ternzip", "compress", b"\xff\n.pt")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.count(b"\n") == 1
    done = python("-m", "ternzip", "inspect", b"\xff\n.tnz", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, b"")
    done = python("-m", "ternzip", "inspect", b"\xff\xfe")
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize(
    "arguments", [["inspect", "model.tnz"], ["decompress", "model.tnz", "-"], ["--help"]]
)
def test_a_stdout_that_takes_no_more(tnz: Path, arguments: list[str]) -> None:
    command = [sys.executable, "-m", "ternzip", *arguments]
    # With a buffer, the failure comes at the end, where the interpreter shuts down.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=environment, timeout=120)
    assert done.returncode == 1
    assert (
        done.stderr == b"ternzip: error: [Errno 28] No space left on device\n" or arguments[0] == "decompress"
    )
    assert b"No space left on device\n" in done.stderr


def test_a_reader_that_goes_away(tnz: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "ternzip", "inspect", "model.tnz"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(120) == 1
