"""compress and decompress at the shell: there and back, default names, pipes, metadata."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from cli_run import Result, Run, a_model, fails
from samples import assert_same, trits

import ternzip
from ternzip import codecs

NOTE = "ternzip: note: model.pt: not {}: 1 entry that is no tensor (epoch); the key 'state_dict' around the tensors\n"


def test_there_and_back(run: Run, model: dict[str, torch.Tensor]) -> None:
    result = run("compress", "model.pt")
    size = Path("model.pt").stat().st_size
    assert result.status == 0
    assert result.text.startswith(f"model.pt ({size:,} bytes) -> model.tnz (")
    assert "1,224 ternary weights" in result.text
    assert "bits/weight (order-0 entropy" in result.text
    assert result.err == NOTE.format("stored")
    assert_same(ternzip.load_file("model.tnz"), model)

    assert run("verify", "model.tnz", "--against", "model.pt") == Result(
        0, b"model.tnz: 5 tensors whole, equal to model.pt bit for bit\n", NOTE.format("compared")
    )
    result = run("decompress", "model.tnz", "model.safetensors")
    assert (result.status, result.text) == (0, "model.tnz -> model.safetensors: 5 tensors restored\n")
    assert result.err == (
        "ternzip: note: model.safetensors: not stored: ties (tied): .safetensors holds a copy for each name\n"
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
    expected = ternzip.save(model, codec=codec, extensions={"ternzip.source": b".pt"})
    assert Path("out.tnz").read_bytes() == expected
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
        "net.v1.pt",
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
    note = "ternzip: note: big/: not stored: the division into files\n"
    assert (result.status, result.err) == (0, note)
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
    assert "<stdin>: not stored: 1 entry that is no tensor (epoch)" in packed.err
    assert "\n- (7," in packed.err
    assert "bytes) -> - (" in packed.err
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
    fails(run("compress", "-"), "<stdin>: expected a file's bytes, found none")
    fails(run("compress", "-", stdin=b"nonsense"), "<stdin>: ")


def test_tnz_to_tnz(run: Run, tnz: Path) -> None:
    before = ternzip.load_file(tnz)
    assert run("compress", tnz, "other.tnz", "--codec", "packed").status == 0
    assert_same(ternzip.load_file("other.tnz"), before)
    assert run("verify", "other.tnz", "--against", tnz).status == 0
    assert run("inspect", "other.tnz", "--json").json()["metadata"] == {"author": "someone"}
    content = tnz.read_bytes()
    fails(run("compress", tnz, "--codec", "static", "--force"), "model.tnz: cannot write: it is the source")
    assert tnz.read_bytes() == content


def test_metadata_travels(run: Run, tnz: Path) -> None:
    assert run("decompress", tnz).status == 0
    with safetensors.safe_open("model.safetensors", "pt") as handle:
        assert handle.metadata() == {"author": "someone"}
    assert run("compress", "model.safetensors", "again.tnz").status == 0
    with ternzip.safe_open("again.tnz") as file:
        assert file.metadata() == {"author": "someone"}
    result = run("decompress", tnz, "model.pt")
    assert result.err == (
        "ternzip: note: model.pt: not stored: metadata (author): a .pt file has no place for it\n"
    )


def test_merge_zeros_says_so(run: Run, model: dict[str, torch.Tensor]) -> None:
    result = run("compress", "model.pt", "--merge-zeros")
    assert result.status == 0
    assert "signs of zeros in ternary tensors were dropped" in result.err
    masked = ternzip.load_file("model.tnz")["masked"]
    assert torch.equal(masked, model["masked"])
    assert not torch.signbit(masked[masked == 0]).any()
    result = run("verify", "model.tnz", "--against", "model.pt")
    assert result.status == 1
    assert "differs from model.pt in 1 place: tensor 'masked'" in result.err


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
