"""GGUF files in and out: every byte of one that was compressed, and new ones that the package gguf reads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_run import Run
from safetensors.torch import save_file as save_safetensors

import ternzip
from ternzip._core.errors import TernzipError
from ternzip.checkpoint.gguf.head import EXTENSION, Head, decode_head, encode_head

gguf = pytest.importorskip("gguf")

TQ = gguf.GGMLQuantizationType


def ternary(rows: int = 6, row: int = 512) -> np.ndarray:
    random = np.random.default_rng(0)
    scales = random.uniform(0.01, 2, (rows, row // 256, 1)).astype(np.float16)
    trits = random.choice([-1, 0, 0, 1], (rows, row // 256, 256))
    return (trits * scales).astype(np.float16).reshape(rows, row) + np.float16(0)


def write(path: Path, tensors: dict[str, tuple[np.ndarray, Any]]) -> Path:
    writer = gguf.GGUFWriter(path, "bitnet")
    writer.add_array("tokenizer.ggml.tokens", ["<s>", "a", "b"])
    for name, (data, kind) in tensors.items():
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    weights = ternary().astype(np.float32)
    odd = gguf.quants.quantize(weights, TQ.TQ2_0)
    odd[0, 0] |= 3  # not a trit
    return write(
        tmp_path / "model.gguf",
        {
            "blk.0.attn_q.weight": (gguf.quants.quantize(weights, TQ.TQ1_0), TQ.TQ1_0),
            "blk.0.attn_k.weight": (gguf.quants.quantize(weights, TQ.TQ2_0), TQ.TQ2_0),
            "blk.0.odd.weight": (odd, TQ.TQ2_0),
            "blk.0.q8.weight": (gguf.quants.quantize(weights, TQ.Q8_0), TQ.Q8_0),
            "output_norm.weight": (np.linspace(0, 1, 7, dtype=np.float32), None),
            "token_embd.weight": (np.ones((3, 5), np.float16), None),
        },
    )


def test_every_byte_comes_back(model: Path) -> None:
    report = ternzip.compress(model)
    assert not report.not_stored
    again = model.with_name("again.gguf")
    done = ternzip.decompress(model.with_suffix(".tnz"), again)
    assert not done.not_stored
    assert again.read_bytes() == model.read_bytes()
    assert ternzip.verify(model.with_suffix(".tnz"), model).equal


def test_what_the_tensors_are(model: Path) -> None:
    ternzip.compress(model)
    found = ternzip.load_file(model.with_suffix(".tnz"))
    for name in ("blk.0.attn_q.weight", "blk.0.attn_k.weight"):
        assert torch.equal(found[name], torch.from_numpy(ternary()))
    assert (found["blk.0.odd.weight"].dtype, found["blk.0.odd.weight"].shape) == (torch.uint8, (6, 132))
    assert (found["blk.0.q8.weight"].dtype, found["blk.0.q8.weight"].shape) == (torch.uint8, (6, 544))
    assert found["token_embd.weight"].dtype == torch.float16


def test_other_targets_say_what_they_lose(model: Path) -> None:
    ternzip.compress(model)
    done = ternzip.decompress(model.with_suffix(".tnz"), model.with_suffix(".safetensors"))
    assert any(EXTENSION in lost for lost in done.not_stored)


def test_at_the_shell(model: Path, run: Run) -> None:
    assert run("compress", model).status == 0
    again = model.with_name("again.gguf")
    assert run("decompress", model.with_suffix(".tnz"), again).status == 0
    assert again.read_bytes() == model.read_bytes()


def test_bytes_after_the_padding_are_named(model: Path) -> None:
    model.write_bytes(model.read_bytes() + bytes(100))
    report = ternzip.compress(model)
    assert report.not_stored == [
        "padding between tensors that is not zero",
        "GGUF metadata, which needs the same padding",
    ]
    assert ternzip.verify(model.with_suffix(".tnz"), model).equal


def test_metadata_are_compared_with_a_file_of_the_same_kind(model: Path) -> None:
    """A .tnz file made of another kind of file may hold the same tensors; one made of a .gguf file has to have all."""
    own, other, bare = (model.with_name(f"{name}.tnz") for name in ("own", "other", "bare"))
    ternzip.compress(model, own)
    ternzip.decompress(own, model.with_suffix(".safetensors"))
    ternzip.compress(model.with_suffix(".safetensors"), other)
    note = "GGUF metadata: only one of the two comes from a .gguf file"
    for report in (ternzip.verify(other, model), ternzip.verify(other, own), ternzip.verify(own, other)):
        assert (report.differences, report.not_compared) == ([], [note])
    assert ternzip.verify(own, model).not_compared == []

    ternzip.save_file(ternzip.load_file(own), bare, extensions={"ternzip.source": b".gguf"})
    expected = f"extension 'ternzip.gguf': in {model}, not in the file"
    assert ternzip.verify(bare, model).differences == [expected]
    changed = {"ternzip.source": b".gguf", "ternzip.gguf": b"other"}
    ternzip.save_file(ternzip.load_file(own), bare, extensions=changed)
    assert ternzip.verify(bare, model).differences == ["extension 'ternzip.gguf': its bytes differ"]


def test_a_cut_file_is_an_error(model: Path) -> None:
    model.write_bytes(model.read_bytes()[:-500])
    with pytest.raises(TernzipError, match="found the end of the file"):
        ternzip.compress(model)
    assert sorted(os.listdir(model.parent)) == ["model.gguf"]


def test_a_new_file_from_other_checkpoints(tmp_path: Path) -> None:
    weights = torch.from_numpy(ternary())
    tensors = {
        "a.weight": weights,
        "b.weight": weights.to(torch.float32),
        "levels.weight": weights.to(torch.float32) * 1.0001,
        "signed.weight": -weights,
        "norm.weight": torch.linspace(0, 1, 5),
        "scalar": torch.tensor(2.5),
        "half": torch.ones(2, 3, dtype=torch.bfloat16),
    }
    save_safetensors(tensors, tmp_path / "m.safetensors", {"general.architecture": "llama", "author": "me"})
    ternzip.compress(tmp_path / "m.safetensors")
    done = ternzip.decompress(tmp_path / "m.tnz", tmp_path / "m.gguf")
    assert done.not_stored == [
        "the element type of b.weight: TQ2_0 has none but float16",
        "the shape of scalar: GGUF has no tensors without dimensions, they get one of 1",
    ]

    reader = gguf.GGUFReader(tmp_path / "m.gguf")
    found = {tensor.name: tensor for tensor in reader.tensors}
    assert {name: tensor.tensor_type.name for name, tensor in found.items()} == {
        "a.weight": "TQ2_0",
        "b.weight": "TQ2_0",
        "levels.weight": "F32",
        "signed.weight": "F16",  # -0.0
        "norm.weight": "F32",
        "scalar": "F32",
        "half": "BF16",
    }
    floats = gguf.quants.dequantize(found["b.weight"].data, TQ.TQ2_0)
    assert np.array_equal(floats.reshape(6, 512), tensors["b.weight"].numpy())
    assert np.array_equal(found["levels.weight"].data.reshape(6, 512), tensors["levels.weight"].numpy())
    assert str(reader.fields["general.architecture"].contents()) == "llama"
    assert str(reader.fields["ternzip.author"].contents()) == "me"
    ternzip.compress(tmp_path / "m.gguf", tmp_path / "again.tnz")
    assert torch.equal(ternzip.load_file(tmp_path / "again.tnz")["b.weight"], weights)


@pytest.mark.parametrize(
    ("name", "tensor", "problem"),
    [
        ("x" * 64, torch.ones(2), "names of 1 to 63 bytes, found 64"),
        ("w", torch.ones(1, 1, 1, 1, 1), "at most 4 dimensions, found 5"),
        ("w", torch.ones(2, dtype=torch.bool), "GGUF has no bool: decompress to .safetensors or .pt"),
    ],
)
def test_what_no_new_file_holds(tmp_path: Path, name: str, tensor: torch.Tensor, problem: str) -> None:
    ternzip.save_file({name: tensor}, tmp_path / "m.tnz")
    with pytest.raises(TernzipError, match=problem):
        ternzip.decompress(tmp_path / "m.tnz", tmp_path / "m.gguf")
    assert os.listdir(tmp_path) == ["m.tnz"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        pytest.param(
            lambda t: t.pop("output_norm.weight"), "that the GGUF metadata names, found others", id="missing"
        ),
        pytest.param(
            lambda t: t.update({"output_norm.weight": torch.ones(8)}),
            r"expected float32 \[7\], found",
            id="shape",
        ),
        pytest.param(
            lambda t: t.update({"blk.0.attn_q.weight": torch.randn(6, 512).half()}),
            "blocks of TQ1_0 hold",
            id="values",
        ),
    ],
)
def test_a_head_of_other_tensors(model: Path, change: Any, problem: str) -> None:
    ternzip.compress(model)
    with ternzip.safe_open(model.with_suffix(".tnz")) as file:
        head = file.extension(EXTENSION)
    tensors = ternzip.load_file(model.with_suffix(".tnz"))
    change(tensors)
    ternzip.save_file(tensors, model.with_name("other.tnz"), extensions={EXTENSION: head})
    with pytest.raises(TernzipError, match=problem):
        ternzip.decompress(model.with_name("other.tnz"), model.with_name("other.gguf"))
    assert not model.with_name("other.gguf").exists()


def test_metadata_beside_a_head_are_named(model: Path, run: Run) -> None:
    tnz, again = model.with_suffix(".tnz"), model.with_name("again.gguf")
    ternzip.compress(model)
    with ternzip.safe_open(tnz) as file:
        head = file.extension(EXTENSION)
    ternzip.save_file(ternzip.load_file(tnz), tnz, {"author": "me"}, extensions={EXTENSION: head})
    done = run("decompress", tnz, again, "--rm")
    assert "not stored: metadata (author)" in done.err
    assert again.read_bytes() == model.read_bytes()
    assert tnz.exists()


def test_damaged_heads(model: Path) -> None:
    data = model.read_bytes()
    body = encode_head(Head(data[:5000], len(data)))
    assert decode_head(body) == Head(data[:5000], len(data))
    for size in range(len(body)):
        with pytest.raises(TernzipError, match=r"extension ternzip\.gguf"):
            decode_head(body[:size])
    ternzip.compress(model)
    tensors = ternzip.load_file(model.with_suffix(".tnz"))
    with ternzip.safe_open(model.with_suffix(".tnz")) as file:
        head = decode_head(file.extension(EXTENSION))
    for wrong in (
        Head(head.data, head.size + 1000),
        Head(head.data[:-1], head.size),
        Head(head.data, 1 << 60),
    ):
        ternzip.save_file(tensors, model.with_name("other.tnz"), extensions={EXTENSION: encode_head(wrong)})
        with pytest.raises(TernzipError):
            ternzip.decompress(model.with_name("other.tnz"), model.with_name("other.gguf"))
        assert not model.with_name("other.gguf").exists()


def test_the_page(model: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/gguf.md, with the files it names."""
    from test_documents import blocks

    monkeypatch.chdir(model.parent)
    ternzip.save_file({"w": torch.from_numpy(ternary())}, "bitnet.tnz")
    for _, code in blocks("docs/gguf.md"):
        for line in code.splitlines():
            assert run(*line.split("#")[0].split()[1:]).status == 0
    assert Path("again.gguf").read_bytes() == model.read_bytes()
    assert gguf.GGUFReader("bitnet.gguf").tensors[0].tensor_type.name == "TQ2_0"


def test_keys_that_no_reader_of_gguf_takes(tmp_path: Path) -> None:
    """ "ternzip." and the rest, 65,535 bytes in all."""
    for length in (65_528, 65_527):
        data = ternzip.save({"w": torch.ones(2, 3)}, metadata={"k" * length: "v"})
        (tmp_path / "a.tnz").write_bytes(data)
        if length == 65_528:
            with pytest.raises(TernzipError, match=r"keys of at most 65,535 bytes, found 65,536"):
                ternzip.decompress(tmp_path / "a.tnz", tmp_path / "a.gguf")
            assert not (tmp_path / "a.gguf").exists()
    ternzip.decompress(tmp_path / "a.tnz", tmp_path / "a.gguf")
    assert not ternzip.compress(tmp_path / "a.gguf", tmp_path / "b.tnz").not_stored
