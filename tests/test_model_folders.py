"""Whole model folders: weights become .tnz files and back, the rest is carried along."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
import torch
from cli_run import Run
from safetensors.torch import load_file, save_file

from ternzip._core.errors import DestinationExists, TernzipError
from ternzip.checkpoint.folder import compress_folder, decompress_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of two shards with an index, a configuration, and a file in a folder below."""
    path = tmp_path / "model"
    (path / "tokenizer").mkdir(parents=True)
    ternary = torch.randint(-1, 2, (64, 64), generator=torch.manual_seed(0)).to(torch.bfloat16)
    save_file(
        {"a": ternary * 0.5, "n": torch.arange(5)},
        path / "model-00001-of-00002.safetensors",
        {"format": "pt"},
    )
    save_file({"b": torch.randn(3, 3)}, path / "model-00002-of-00002.safetensors")
    (path / "model.safetensors.index.json").write_text('{"weight_map": {}}')
    (path / "config.json").write_text("{}\r\n")
    (path / "tokenizer" / "merges.txt").write_bytes(b"\x00\xff")
    return path


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_there_and_back(folder: Path, tmp_path: Path) -> None:
    small, back = tmp_path / "small", tmp_path / "back"
    report = compress_folder(folder, small)
    assert [Path(file.target).suffix for file in report.files] == [".tnz", ".tnz"]
    assert all(Path(file.target).is_file() for file in report.files)
    assert report.carried == ["config.json", "model.safetensors.index.json", "tokenizer/merges.txt"]
    assert {p.suffix for p in small.rglob("*") if p.is_file()} == {".tnz", ".json", ".txt"}

    restored = decompress_folder(small, back)
    assert [file.tensors for file in restored.files] == [2, 1]
    old, new = content(folder), content(back)
    assert old.keys() == new.keys()
    for name in old:
        if name.endswith(".safetensors"):
            one, other = load_file(folder / name), load_file(back / name)
            assert one.keys() == other.keys()
            assert all(
                torch.equal(one[key], other[key]) and one[key].dtype == other[key].dtype for key in one
            )
        else:
            assert old[name] == new[name]


def test_options_reach_every_file(folder: Path, tmp_path: Path) -> None:
    seen: list[str] = []
    compress_folder(folder, tmp_path / "small", codec="fast", progress=lambda name, size: seen.append(name))
    assert sorted(seen) == ["a", "b", "n"]
    with pytest.raises(TernzipError, match="at most 100 bytes"):
        decompress_folder(tmp_path / "small", tmp_path / "back", max_bytes=100)
    assert sorted(os.listdir(tmp_path)) == ["model", "small"]


@pytest.mark.skipif(os.name != "posix", reason="links need rights elsewhere")
def test_links_are_followed(folder: Path, tmp_path: Path) -> None:
    """A snapshot in Hugging Face's cache is a folder of links."""
    blobs = tmp_path / "blobs"
    folder.rename(blobs)
    folder.mkdir()
    for file in blobs.iterdir():
        (folder / file.name).symlink_to(file)
    compress_folder(folder, tmp_path / "small")
    assert not any(p.is_symlink() for p in (tmp_path / "small").rglob("*"))
    assert content(tmp_path / "small")["tokenizer/merges.txt"] == b"\x00\xff"


@pytest.mark.skipif(os.name != "posix", reason="links need rights elsewhere")
def test_circles_and_broken_links_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "self").symlink_to(folder)
    with pytest.raises(TernzipError, match="linked into itself"):
        compress_folder(folder, tmp_path / "small")
    (folder / "self").unlink()
    (folder / "gone").symlink_to(tmp_path / "nothing")
    with pytest.raises(TernzipError, match="gone: expected a file, found a broken link"):
        compress_folder(folder, tmp_path / "small")
    assert os.listdir(tmp_path) == ["model"]


def test_a_target_that_exists_is_left_alone(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "small"
    target.mkdir()
    compress_folder(folder, target)  # an empty folder is as good as none
    before = content(target)
    with pytest.raises(DestinationExists, match="exists already, and is not empty"):
        compress_folder(folder, target)
    assert content(target) == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(TernzipError, match="expected a folder, found a file"):
        compress_folder(folder, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_targets_in_the_source_and_nowhere(folder: Path, tmp_path: Path) -> None:
    before = content(folder)
    for target in (folder, folder / "small"):
        with pytest.raises(TernzipError, match="it is the source, or lies in it"):
            compress_folder(folder, target)
    with pytest.raises(TernzipError, match="no folder"):
        compress_folder(folder, tmp_path / "no" / "small")
    assert content(folder) == before


def test_a_damaged_file_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    (folder / "model-00002-of-00002.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}")
    with pytest.raises(TernzipError, match="00002-of-00002"):
        compress_folder(folder, tmp_path / "small")
    assert os.listdir(tmp_path) == ["model"]


def test_folders_that_cannot_come_back(folder: Path, tmp_path: Path) -> None:
    (folder / "other.tnz").write_bytes(b"?")
    with pytest.raises(
        TernzipError, match=r"expected no \.tnz file in a folder to compress, found other\.tnz"
    ):
        compress_folder(folder, tmp_path / "small")
    (folder / "other.tnz").unlink()
    small = tmp_path / "small"
    compress_folder(folder, small)
    (small / "model-00001-of-00002.safetensors").write_bytes(b"?")
    with pytest.raises(TernzipError, match="would both become"):
        decompress_folder(small, tmp_path / "back")


def test_folders_without_weights(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(TernzipError, match=r"expected a folder with \.safetensors files, found none"):
        compress_folder(tmp_path / "empty", tmp_path / "small")
    with pytest.raises(TernzipError, match="expected a folder, found nothing"):
        compress_folder(tmp_path / "nothing", tmp_path / "small")
    (tmp_path / "file").write_text("")
    with pytest.raises(TernzipError, match="expected a folder, found a file"):
        decompress_folder(tmp_path / "file", tmp_path / "small")


def test_at_the_shell(folder: Path, tmp_path: Path, run: Run) -> None:
    done = run("compress", folder, "-o", tmp_path / "small", "--json")
    found = json.loads(done.out)
    assert done.status == 0
    assert [Path(file["file"]).name for file in found["files"]] == [
        "model-00001-of-00002.tnz",
        "model-00002-of-00002.tnz",
    ]
    assert all(Path(file["file"]).is_file() for file in found["files"])
    assert "tokenizer/merges.txt" in found["carried"]

    done = run("decompress", tmp_path / "small", "-o", tmp_path / "back")
    assert done.status == 0
    assert b"3 tensors in 2 files restored; copied as they are: config.json" in done.out
    assert content(tmp_path / "back").keys() == content(folder).keys()

    done = run("compress", folder, "-o", tmp_path / "small", "--force")
    assert done.status == 1
    assert done.err.splitlines()[-1].endswith("exists already, and is not empty: a folder is never replaced")


@pytest.mark.parametrize("command", ["inspect", "verify", "decompress"])
def test_a_folder_is_no_file(command: str, folder: Path, tmp_path: Path, run: Run) -> None:
    compress_folder(folder, tmp_path / "small")
    done = run(command, tmp_path / "small")
    assert done.status == 1
    assert "small: expected a .tnz file, found a folder: give the files in it, or to decompress" in done.err


def test_a_folder_still_becomes_one_file(folder: Path, tmp_path: Path, run: Run) -> None:
    save_file({"a": torch.ones(3)}, tmp_path / "one.safetensors")
    one = tmp_path / "one"
    one.mkdir()
    (tmp_path / "one.safetensors").rename(one / "model.safetensors")
    assert run("compress", one, "-o", tmp_path / "one.tnz").status == 0
    assert (tmp_path / "one.tnz").is_file()


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_what_is_private_stays_private(folder: Path, tmp_path: Path) -> None:
    """Files that anybody may read lie safe in a folder that nobody else may enter."""

    def modes(path: Path) -> tuple[int, ...]:
        return tuple(stat.S_IMODE(place.stat().st_mode) for place in (path, path / "tokenizer"))

    before = os.umask(0o022)
    try:
        for given, expected in ((0o700, 0o700), (0o750, 0o750), (0o777, 0o755)):
            folder.chmod(given)
            (folder / "tokenizer").chmod(given)
            small, back, ready = (tmp_path / f"{name}{given:o}" for name in ("small", "back", "ready"))
            compress_folder(folder, small)
            decompress_folder(small, back)
            assert modes(small) == modes(back) == (expected, expected)
            ready.mkdir(0o711)  # one that is there keeps its own
            compress_folder(folder, ready)
            assert modes(ready) == (0o711, expected)
    finally:
        os.umask(before)
