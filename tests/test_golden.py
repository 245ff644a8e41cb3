"""Golden files: valid ones are read as their JSON says, invalid ones are refused with the right message."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import make_golden
import pytest
import reference_decoder
import torch
from golden.catalog import INVALID, VALID, invalid_container, invalid_fast, invalid_huffman, invalid_ternary
from golden.valid_codecs import CODECS

import ternzip
from ternzip._core.errors import TernzipError
from ternzip._core.tensor import Tie
from ternzip.container.reader import Reader

GOLDEN = Path(__file__).parent / "golden"
FILES = sorted(path.stem for path in (GOLDEN / "valid").glob("*.tnz"))
REFUSED: dict[str, dict[str, str]] = json.loads((GOLDEN / "invalid" / "expected.json").read_text("utf-8"))


def expected(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((GOLDEN / "valid" / f"{name}.json").read_text("utf-8"))
    return content


def path_of(name: str) -> Path:
    return GOLDEN / "valid" / f"{name}.tnz"


def sha256(data: Any) -> str:
    return hashlib.sha256(data).hexdigest()


def hashes(extensions: Mapping[str, bytes]) -> list[tuple[str, int, str]]:
    return [(name, len(data), sha256(data)) for name, data in extensions.items()]


def stated_hashes(stated: dict[str, Any]) -> list[tuple[str, int, str]]:
    return [(name, one["bytes"], one["sha256"]) for name, one in stated.get("extensions", {}).items()]


def test_files_are_those_of_the_list() -> None:
    assert set(FILES) == set(VALID)
    assert {path.stem for path in (GOLDEN / "valid").glob("*.json")} == set(FILES)
    assert {path.stem for path in (GOLDEN / "invalid").glob("*.tnz")} == set(REFUSED) == set(INVALID)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("threads", [1, 2])
def test_ternzip_reads_valid(name: str, threads: int) -> None:
    stated = expected(name)
    with Reader.open(path_of(name)) as reader:
        assert list(reader.metadata.items()) == list(stated["metadata"].items())
        assert hashes(reader.extensions) == stated_hashes(stated)
        found = list(reader.read_all(threads=threads))
        assert [tensor for tensor, _ in found] == [tensor["name"] for tensor in stated["tensors"]]
        for (_, raw), tensor in zip(found, stated["tensors"], strict=True):
            if isinstance(raw, Tie):
                assert raw.target == tensor["tied_to"]
                raw = reader.read(tensor["name"])
            else:
                assert "tied_to" not in tensor
            assert (raw.dtype.name, list(raw.shape)) == (tensor["dtype"], tensor["shape"])
            assert sha256(raw.data) == tensor["sha256"], tensor["name"]


@pytest.mark.parametrize("name", FILES)
def test_torch_gets_valid(name: str) -> None:
    stated = expected(name)["tensors"]
    if not all(hasattr(torch, tensor["dtype"]) for tensor in stated):
        with pytest.raises(TernzipError, match="upgrade torch to load it"):
            ternzip.load_file(path_of(name))
        return
    tensors = ternzip.load_file(path_of(name))
    assert list(tensors) == [tensor["name"] for tensor in stated]
    for tensor in stated:
        found = tensors[tensor["name"]]
        assert found.dtype is getattr(torch, tensor["dtype"])
        assert list(found.shape) == tensor["shape"]
        data = found.reshape(-1).view(torch.uint8).numpy().tobytes() if found.numel() else b""
        assert sha256(data) == tensor["sha256"], tensor["name"]
        if "tied_to" in tensor:
            assert found is tensors[tensor["tied_to"]]


@pytest.mark.parametrize("name", FILES)
def test_reference_decoder_reads_valid(name: str) -> None:
    stated = expected(name)
    content = reference_decoder.decode(path_of(name).read_bytes())
    assert list(content.metadata.items()) == list(stated["metadata"].items())
    assert hashes(content.extensions) == stated_hashes(stated)
    assert [
        {"name": name, "dtype": kind, "shape": list(shape), "sha256": sha256(data)}
        for name, kind, shape, data in content.tensors
    ] == [{key: tensor[key] for key in ("name", "dtype", "shape", "sha256")} for tensor in stated["tensors"]]
    assert content.ties == {
        tensor["name"]: tensor["tied_to"] for tensor in stated["tensors"] if "tied_to" in tensor
    }


def ternary_part(data: bytes) -> tuple[bytes, dict[str, list[bytes]]]:
    """The parameters, and the records of each ternary tensor: what no zstd library has a part in."""
    start = int.from_bytes(data[8:16], "little")
    size = int.from_bytes(data[16:20], "little")
    with Reader.open(data) as reader:
        records = {
            entry.name: [data[r.offset : r.offset + r.stored] for r in entry.records]
            for entry in reader.entries.values()
            if entry.ternary is not None
        }
    return data[start : start + size], records


@pytest.mark.parametrize("name", FILES)
def test_ternary_bytes_are_written_again(name: str) -> None:
    """Changed bytes are another version of the format: they need a codec with another code."""
    assert ternary_part(VALID[name]().data) == ternary_part(path_of(name).read_bytes())


def test_every_codec_listed_has_ternary_tensors() -> None:
    for name, options in CODECS.items():
        with Reader.open(path_of(f"codec-{name}")) as reader:
            found = {e.coding.symbols.name for e in reader.entries.values() if e.coding is not None}
        assert found == {options.codec}


@pytest.mark.parametrize("name", REFUSED)
def test_ternzip_refuses_invalid(name: str) -> None:
    path = GOLDEN / "invalid" / f"{name}.tnz"
    for threads in (1, 2):
        with pytest.raises(TernzipError) as caught:
            ternzip.load_file(path, threads=threads)
        message = str(caught.value)
        assert message.startswith(f"{path}: ")
        assert re.search(REFUSED[name]["error"], message.removeprefix(f"{path}: ")), message
        assert "\n" not in message


@pytest.mark.parametrize("name", REFUSED)
def test_reference_decoder_refuses_invalid(name: str) -> None:
    with pytest.raises(reference_decoder.FormatError, match=r"^.+: .+"):
        reference_decoder.decode((GOLDEN / "invalid" / f"{name}.tnz").read_bytes())


FAST_ORIGINALS = (
    invalid_fast.ONE,
    invalid_fast.FACTORS,
    invalid_fast.SHORT,
    invalid_fast.SHORT_FACTORS,
)


def test_what_invalid_files_are_made_from_is_valid() -> None:
    """Else they could be refused for another reason than the one they are made for."""
    both = invalid_ternary.T(flags=7 | 32, signs=b"\1\0\0")
    both.payloads.append(b"\6")
    static = invalid_ternary.T(codec=1, payloads=[invalid_ternary.STATIC])
    tails = [
        invalid_ternary.T(codec=3, shape=(5, 6), counts=(5, 10), payloads=[payload], units=(30,))
        for payload in map(invalid_fast.of_many, (invalid_fast.FLAT, invalid_fast.TAIL))
    ]
    for data in (
        invalid_container.PLAIN,
        invalid_container.SPARSE,
        invalid_container.with_frame(invalid_container.FRAME),
        invalid_container.block(b"\0" + invalid_container.b.plane(b"abc")),
        invalid_ternary.T().file(),
        invalid_ternary.pair(b"\x21").file(),
        both.file(),
        static.file(),
        *(invalid_ternary.T(codec=3, payloads=[p]).file() for p in FAST_ORIGINALS),
        *(many.file() for many in tails),
        invalid_huffman.file(invalid_huffman.VALID),
    ):
        content = reference_decoder.decode(data)
        (tensor,) = ternzip.load(data).values()
        assert tensor.reshape(-1).view(torch.uint8).numpy().tobytes() == content.tensors[0].data


def test_make_golden_keeps_valid_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "golden"
    kept = {name: VALID[name] for name in ("empty", "directory-frame")}
    monkeypatch.setattr(make_golden, "VALID", kept)
    monkeypatch.setattr("sys.argv", ["make_golden.py", "--folder", str(folder)])
    assert make_golden.main() == 0
    assert (folder / "vectors.json").read_bytes() == (GOLDEN / "vectors.json").read_bytes()
    for kind in ("valid", "invalid"):
        for path in (folder / kind).iterdir():
            assert path.read_bytes() == (GOLDEN / kind / path.name).read_bytes(), path.name
    file = folder / "valid" / "empty.tnz"
    new = file.read_bytes()
    file.write_bytes(b"old")
    (folder / "vectors.json").write_bytes(b"old")
    shutil.copy(file, folder / "invalid" / "forgotten.tnz")
    (folder / "invalid" / "magic.tnz").write_bytes(b"old")
    assert make_golden.main() == 1
    assert file.read_bytes() == (folder / "vectors.json").read_bytes() == b"old"
    assert not (folder / "invalid" / "forgotten.tnz").exists()
    assert (folder / "invalid" / "magic.tnz").read_bytes() != b"old"
    monkeypatch.setattr("sys.argv", ["make_golden.py", "--folder", str(folder), "--force"])
    assert make_golden.main() == 0
    assert file.read_bytes() == new
    assert (folder / "vectors.json").read_bytes() == (GOLDEN / "vectors.json").read_bytes()
