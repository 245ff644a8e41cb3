"""Extensions: bytes by name that readers pass over, list, keep, and check when they are asked for."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import reference_decoder
import torch
from cli_run import Run
from forge import SOLID, U8, Forge, Tensor

import ternzip
from ternzip._core.errors import TernzipError
from ternzip.container.describe import describe_file
from ternzip.container.reader import Reader

W = torch.tensor([[1.0, 0.0, -1.0, 0.5], [0.5, 0.0, 1.0, 0.0]])
EXTENSIONS = {"example.labels": b"cat dog", "empty": b"", "\u043a\u043b\u044e\u0447": bytes(range(256))}


def saved(extensions: Mapping[str, bytes] = EXTENSIONS) -> bytes:
    return ternzip.save({"w": W}, extensions=extensions)


@pytest.fixture
def tnz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("model.tnz")
    ternzip.save_file({"w": W}, path, extensions=EXTENSIONS)
    return path


def test_they_come_back_by_name(tnz: Path) -> None:
    assert tnz.read_bytes() == saved()
    with ternzip.safe_open(tnz) as file:
        assert file.extensions() == list(EXTENSIONS)
        for name, content in EXTENSIONS.items():
            assert file.extension(name) == content
        assert torch.equal(file.get_tensor("w"), W)
        with pytest.raises(TernzipError, match=r"^model\.tnz: no extension 'nothing' among 3$"):
            file.extension("nothing")
    assert list(ternzip.load_file(tnz)) == ["w"]
    with pytest.raises(TernzipError, match="already closed"):
        file.extension("empty")
    assert file.extensions() == list(EXTENSIONS)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_bytes_may_be_stored(kind: type) -> None:
    content = kind(b"some words")
    assert Reader.open(saved({"x": content})).extensions["x"] == b"some words"


def test_wide_views_are_stored_whole() -> None:
    content = memoryview(bytes(range(16))).cast("I")
    assert Reader.open(saved({"x": content})).extensions["x"] == bytes(range(16))


def test_they_cost_their_bytes_and_a_line_in_the_directory() -> None:
    plain, one = saved({}), saved({"x": bytes(1000)})
    assert 1000 < len(one) - len(plain) <= 1000 + 12
    assert plain == ternzip.save({"w": W})


def test_nothing_but_the_index_is_read_to_pass_over_them(tnz: Path) -> None:
    """A damaged extension troubles those who ask for it, and `verify`."""
    data = bytearray(tnz.read_bytes())
    at = data.index(b"cat dog")
    data[at] ^= 1
    tnz.write_bytes(data)
    message = rf"^model\.tnz: extension 'example\.labels': offset {at}: checksum: expected 0x"
    with ternzip.safe_open(tnz) as file:
        assert torch.equal(file.get_tensor("w"), W)
        assert len(file.extension("\u043a\u043b\u044e\u0447")) == 256
        with pytest.raises(TernzipError, match=message):
            file.extension("example.labels")
    assert torch.equal(ternzip.load_file(tnz)["w"], W)
    with pytest.raises(TernzipError, match=message):
        ternzip.verify(tnz)
    with pytest.raises(reference_decoder.FormatError, match=r"^extension 0: CRC-32 mismatch"):
        reference_decoder.decode(bytes(data))


def test_max_bytes_bounds_them(tnz: Path) -> None:
    with ternzip.safe_open(tnz, max_bytes=255) as file:
        assert file.extension("example.labels") == b"cat dog"
        with pytest.raises(TernzipError, match="at most 255 bytes in memory, found 256"):
            file.extension("\u043a\u043b\u044e\u0447")


BAD: dict[str, tuple[dict[object, object], str]] = {
    "no name": ({"": b""}, "extension '': expected a name of 1 to 255 bytes, found 0"),
    "a long name": ({"\u00e9" * 128: b""}, "extension '.*'...: expected a name of 1 to 255 bytes, found 256"),
    "a surrogate": ({"\ud800": b""}, r"extension '\\ud800': expected text that UTF-8 can hold: "),
    "a number": ({1: b""}, "extension 1: expected a name of type str, found int"),
    "text": ({"x": "text"}, "extension 'x': expected bytes, found str"),
    "257": ({str(n): b"" for n in range(257)}, "extensions: expected at most 256, found 257"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_no_reader_takes_is_not_written(kind: str, tmp_path: Path) -> None:
    extensions, message = BAD[kind]
    with pytest.raises(TernzipError, match=f"^{message}"):
        ternzip.save_file({"w": W}, tmp_path / "m.tnz", extensions=extensions)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_as_many_and_as_long_names_as_may_be() -> None:
    extensions = {f"{number:03}" + "n" * 252: b"%d" % number for number in range(256)}
    data = saved(extensions)
    with Reader.open(data) as reader:
        assert dict(reader.extensions) == extensions
    assert reference_decoder.decode(data).extensions == extensions


def test_a_mapping_may_make_them_one_by_one() -> None:
    class Made(Mapping[str, bytes]):
        def __getitem__(self, name: str) -> bytes:
            return name.encode() * 3

        def __iter__(self) -> Iterator[str]:
            return iter(["a", "b"])

        def __len__(self) -> int:
            return 2

    assert dict(Reader.open(saved(Made())).extensions) == {"a": b"aaa", "b": b"bbb"}


def test_they_are_no_overhead_and_no_payload(tnz: Path) -> None:
    with Reader.open(tnz) as reader:
        info = describe_file(reader)
        shares = sum(reader.shares.values())
    assert info.extensions == {name: len(content) for name, content in EXTENSIONS.items()}
    assert info.bytes == info.overhead + shares + 7 + 0 + 256


def test_inspect_lists_them(tnz: Path, run: Run) -> None:
    found = run("inspect", "model.tnz", "--json").json()
    assert found["extensions"] == {name: len(content) for name, content in EXTENSIONS.items()}
    assert found["total"]["extension_bytes"] == 263
    parts = ("overhead_bytes", "ternary_bytes", "other_bytes", "extension_bytes")
    assert sum(found["total"][part] for part in parts) == found["total"]["bytes"]
    text = run("inspect", "model.tnz").text
    assert "extension: example.labels: 7 bytes" in text


def test_compress_keeps_them_where_it_keeps_the_tensors(tnz: Path, run: Run) -> None:
    assert run("compress", "model.tnz", "-o", "again.tnz", "--codec", "packed").status == 0
    with ternzip.safe_open("again.tnz") as file:
        assert {name: file.extension(name) for name in file.extensions()} == EXTENSIONS
    assert ternzip.verify("again.tnz", against=tnz).equal


@pytest.mark.parametrize("option", ["--merge-zeros", "--ternarize", "--float-dtype=bfloat16"])
def test_compress_names_what_it_drops(option: str, tnz: Path, run: Run) -> None:
    done = run("compress", "model.tnz", "-o", "other.tnz", option)
    assert done.status == 0
    dropped = "extensions (example.labels, empty, \u043a\u043b\u044e\u0447): tensors are changed"
    assert dropped in done.err
    with ternzip.safe_open("other.tnz") as file:
        assert file.extensions() == []
    assert ternzip.compress(tnz, "third.tnz", float_dtype="bfloat16").not_stored == [dropped]


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_decompress_names_what_it_drops(suffix: str, tnz: Path, run: Run) -> None:
    done = run("decompress", "model.tnz", f"model.{suffix}")
    assert done.status == 0
    assert (
        "not stored: extensions (example.labels, empty, \u043a\u043b\u044e\u0447): only a .tnz file"
        in done.err
    )


def test_verify_compares_them(tnz: Path) -> None:
    ternzip.save_file({"w": W}, "other.tnz", extensions={"example.labels": b"dog cat", "new": b""})
    assert ternzip.verify("other.tnz", against=tnz).differences == [
        "extension 'example.labels': its bytes differ",
        "extension 'empty': in model.tnz, not in the file",
        "extension '\u043a\u043b\u044e\u0447': in model.tnz, not in the file",
        "extension 'new': in the file, not in model.tnz",
    ]


def test_flags_ask_for_features_that_must_be_known() -> None:
    """The other kind of change: what may not be passed over makes the file unreadable, and says why."""
    for flag in (1, 2, 4, 8, 16, 32, 64, 128):
        data = Forge([Tensor("t", SOLID, U8, (3,))], [b"\0\0\x03abc"], flags=flag).to_bytes()
        with pytest.raises(TernzipError, match=f"flags: expected 0, found {flag:#04x}: features .* upgrade"):
            Reader.open(io.BytesIO(data).getvalue())
        with pytest.raises(reference_decoder.FormatError, match="unknown flags"):
            reference_decoder.decode(data)
