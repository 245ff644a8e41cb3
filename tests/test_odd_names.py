"""Names that nobody expects: what the format holds comes back everywhere, the same to the last byte."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
import reference_decoder
import safetensors.torch
import torch
from cli_run import Run, fails
from samples import assert_same

import ternzip
from ternzip._core.errors import TernzipError

ODD = {
    "empty": "",
    "a space": " ",
    "line breaks": "a\nb\r\nc\u2028d",
    "control characters": "\x01\x1b[31mred\x7f\x9b",
    "NUL": "a\0b",
    "only NUL": "\0",
    "path": "../../etc/passwd",
    "absolute path": "/etc/passwd",
    "dots": "..",
    "backslashes": "C:\\model\\",
    "quotes": "'\"`$(x)",
    "composed": unicodedata.normalize("NFC", "caf\u00e9"),
    "decomposed": unicodedata.normalize("NFD", "caf\u00e9"),
    "compatibility": "\ufb01lter",
    "from right to left": "\u202egpj.exe",
    "no character": "\ufffe\uffff",
    "byte order mark": "\ufeffweight",
    "beyond the basic plane": "\U0010ffff\U0001f642",
    "capitals": "WEIGHT",
    "small letters": "weight",
    "longest": "n" * 65_536,
    "longest of two bytes each": "\u00e9" * 32_768,
    "looks like an option": "--force",
    "looks like metadata": "__proto__",
}
TENSORS = {name: torch.full((2,), float(number)) for number, name in enumerate(ODD.values())}
METADATA = dict(zip(ODD.values(), reversed(ODD.values()), strict=True))


def test_they_differ() -> None:
    assert len(TENSORS) == len(ODD)
    assert ODD["composed"] != ODD["decomposed"]


def test_save_and_load(tmp_path: Path) -> None:
    data = ternzip.save(TENSORS, METADATA)
    assert_same(ternzip.load(data), TENSORS)
    path = tmp_path / "odd.tnz"
    ternzip.save_file(TENSORS, path, METADATA)
    assert path.read_bytes() == data
    assert_same(ternzip.load_file(path), TENSORS)
    with ternzip.safe_open(path) as file:
        assert file.keys() == list(TENSORS)
        assert file.metadata() == METADATA
        for name, tensor in TENSORS.items():
            assert torch.equal(file.get_tensor(name), tensor)
            assert file.info(name).name == name
    content = reference_decoder.decode(data)
    assert [tensor.name for tensor in content.tensors] == list(TENSORS)
    assert content.metadata == METADATA


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_compress_and_decompress(suffix: str, folder: Path, run: Run) -> None:
    if suffix == "pt":
        torch.save(TENSORS, "odd.pt")
    else:
        safetensors.torch.save_file(TENSORS, "odd.safetensors", METADATA)
    assert run("compress", f"odd.{suffix}", "odd.tnz").status == 0
    found = ternzip.load_file("odd.tnz")
    assert_same({name: found[name] for name in TENSORS}, TENSORS)
    assert run("verify", "odd.tnz", "--against", f"odd.{suffix}").status == 0
    assert run("decompress", "odd.tnz", f"back.{suffix}").status == 0
    back = torch.load("back.pt") if suffix == "pt" else safetensors.torch.load_file("back.safetensors")
    assert_same({name: back[name] for name in TENSORS}, TENSORS)
    if suffix == "safetensors":
        with safetensors.safe_open("back.safetensors", "pt") as file:  # type: ignore[no-untyped-call]
            assert file.metadata() == METADATA
    assert {path.name for path in folder.iterdir()} == {f"odd.{suffix}", "odd.tnz", f"back.{suffix}"}


def test_inspect_shows_them_without_obeying_them(folder: Path, run: Run) -> None:
    ternzip.save_file(TENSORS, "odd.tnz", METADATA)
    found = run("inspect", "odd.tnz", "--json").json()
    assert [tensor["name"] for tensor in found["tensors"]] == list(TENSORS)
    assert found["metadata"] == METADATA
    done = run("inspect", "odd.tnz")
    assert done.status == 0
    lines = done.text.split("\n")
    assert all(character.isprintable() for line in lines for character in line)
    assert any(line.startswith("a\\nb\\r\\nc\\u2028d ") for line in lines)
    assert sum("caf\u00e9" in unicodedata.normalize("NFC", line) for line in lines) >= 2


@pytest.mark.parametrize("name", ["\ud800", "x\udfff", "\udc80weight"])
def test_surrogates_are_refused_everywhere(name: str, folder: Path, run: Run) -> None:
    """What Python makes of bytes that are not UTF-8 is no text that a file can hold."""
    message = "expected text that UTF-8 can hold: surrogates not allowed"
    with pytest.raises(TernzipError, match=f"^tensor name .*: {message}$"):
        ternzip.save({name: torch.ones(1)})
    for metadata in ({name: "value"}, {"key": name}):
        with pytest.raises(TernzipError, match=f"^metadata .*: {message}$"):
            ternzip.save({}, metadata)
    with pytest.raises(TernzipError, match=f"^extension .*: {message}$"):
        ternzip.save({}, extensions={name: b""})
    torch.save({name: torch.ones(1)}, "odd.pt")
    fails(run("compress", "odd.pt", "odd.tnz"), "odd.pt: tensor name", message)
    assert {path.name for path in folder.iterdir()} == {"odd.pt"}


def test_a_byte_too_long_is_refused_in_a_short_line() -> None:
    for name in ("n" * 65_537, "\u00e9" * 32_768 + "n"):
        with pytest.raises(TernzipError, match=r"expected a name of at most 65536 bytes$") as caught:
            ternzip.save({name: torch.ones(1)})
        assert len(str(caught.value)) < 120


def test_messages_cut_long_names() -> None:
    data = bytearray(ternzip.save({"n" * 65_536: torch.randn(20_000)}))
    data[5000] ^= 1
    with pytest.raises(TernzipError, match=r"^<bytes>: tensor 'n{40}'\.\.\.: offset 32: checksum") as caught:
        ternzip.load(bytes(data))
    assert len(str(caught.value)) < 200


def test_messages_about_tensors_that_cannot_be_stored_cut_them_too() -> None:
    for tensor in (torch.ones(2, 2).to_sparse(), torch.empty(2, device="meta"), "no tensor"):
        with pytest.raises(TernzipError, match=r"^tensor 'n{40}'\.\.\.: ") as caught:
            ternzip.save({"n" * 65_536: tensor})  # type: ignore[dict-item]
        assert len(str(caught.value)) < 200


def test_missing_names_are_cut_too(tmp_path: Path) -> None:
    path = tmp_path / "m.tnz"
    ternzip.save_file({"w": torch.ones(1)}, path)
    with ternzip.safe_open(path) as file:
        for ask in (file.get_tensor, file.info, file.extension):
            with pytest.raises(
                TernzipError, match=r"m\.tnz: no (tensor|extension) 'n{40}'\.\.\. among"
            ) as caught:
                ask("n" * 65_536)
            assert len(str(caught.value)) < 300
