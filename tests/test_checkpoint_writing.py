"""Tensors written back as .pt and .safetensors: what each format keeps."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from checkpoint_files import IN_SAFETENSORS
from samples import ALL_DTYPES, assert_same, name_of, random_bits

import ternzip
from ternzip._core.errors import TernzipError
from ternzip._core.tensor import RawTensor, Tie
from ternzip.checkpoint.folder import compress_folder
from ternzip.checkpoint.load import as_checkpoint
from ternzip.checkpoint.store import write_checkpoint
from ternzip.container.reader import Reader
from ternzip.io import atomic


def stored(tensors: Mapping[str, torch.Tensor]) -> dict[str, RawTensor | Tie]:
    """The tensors as they come out of a .tnz file."""
    with Reader.open(ternzip.save(tensors)) as reader:
        return dict(reader.read_all())


def test_pt_files_keep_everything(tmp_path: Path) -> None:
    tensors = {name_of(dtype): random_bits(dtype, 2, 4) for dtype in ALL_DTYPES}
    tensors |= {"tied": tensors["float32"], "scalar": torch.tensor(1.0), "empty": torch.empty(0, 3)}
    restored = stored(tensors)
    for suffix in (".pt", ".pth"):
        path = tmp_path / f"model{suffix}"
        assert write_checkpoint(restored, str(path), metadata={}) == []
        again = torch.load(path, weights_only=True)
        assert_same(again, tensors)
        assert again["tied"].data_ptr() == again["float32"].data_ptr()
    lost = write_checkpoint(restored, str(path), metadata={"k": "v"}, overwrite=True)
    assert lost == ["metadata (k): a .pth file has no place for it"]


def test_each_tensor_of_a_pt_file_takes_its_own_bytes_only(tmp_path: Path) -> None:
    """Small tensors share a block in a .tnz file, which must not be saved with each of them."""
    tensors = {f"t{number}": torch.randn(1000) for number in range(50)}
    path = tmp_path / "model.pt"
    write_checkpoint(stored(tensors), str(path), metadata={})
    assert path.stat().st_size < 50 * 4000 * 1.3


def test_safetensors_files_keep_what_they_can(tmp_path: Path) -> None:
    tensors = {name_of(dtype): random_bits(dtype, 2, 4) for dtype in IN_SAFETENSORS}
    tensors |= {"tied": tensors["float32"], "scalar": torch.tensor(1.0), "empty": torch.empty(0, 3)}
    path = tmp_path / "model.safetensors"
    lost = write_checkpoint(stored(tensors), str(path), metadata={"k": "v"})
    assert lost == ["ties (tied): .safetensors holds a copy for each name"]
    found = safetensors.torch.load_file(path)
    assert_same({name: found[name] for name in tensors}, tensors)
    with safetensors.safe_open(path, "pt") as handle:
        assert handle.metadata() == {"k": "v"}
    assert write_checkpoint(stored({"a": torch.ones(1)}), str(path), metadata={}, overwrite=True) == []


def test_safetensors_files_keep_an_order_that_aligns(tmp_path: Path) -> None:
    """So a file of the library comes back byte for byte, whatever order its release has for types of one size."""
    path = tmp_path / "model.safetensors"
    tensors = {
        "b": torch.ones(2),
        "a": torch.ones(2, dtype=torch.int32),
        "z": torch.ones(3, dtype=torch.uint8),
    }
    assert write_checkpoint(stored(tensors), str(path), metadata={}) == []
    with as_checkpoint(path) as checkpoint:
        assert list(checkpoint.sizes) == ["b", "a", "z"]
    tensors["c"] = torch.ones(1)  # after three bytes
    lost = write_checkpoint(stored(tensors), str(path), metadata={}, overwrite=True)
    assert lost == ["the order of tensors: in .safetensors larger elements come first, then it goes by name"]
    with as_checkpoint(path) as checkpoint:
        assert list(checkpoint.sizes) == ["a", "b", "c", "z"]


def test_what_safetensors_cannot_hold(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    for name, tensor, message in (
        ("c", torch.tensor([1j], dtype=torch.complex128), "tensor 'c': .safetensors has no complex128"),
        ("__metadata__", torch.ones(1), "tensor '__metadata__': .safetensors reserves the name"),
    ):
        with pytest.raises(TernzipError, match=f"{message}: decompress to .pt"):
            write_checkpoint(stored({"a": torch.ones(1), name: tensor}), str(path), metadata={})
    assert list(tmp_path.iterdir()) == []


def test_a_header_that_no_reader_of_safetensors_takes(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    tensors = stored({"a": torch.ones(1)})
    with pytest.raises(
        TernzipError, match=r"takes 100,000,000 bytes of them, found 100,000,064: decompress to \.pt"
    ):
        write_checkpoint(tensors, str(path), metadata={"k": "x" * 99_999_980})
    assert list(tmp_path.iterdir()) == []
    write_checkpoint(tensors, str(path), metadata={"k": "x" * 99_999_900})
    assert len(safetensors.torch.load_file(path)) == 1
    with as_checkpoint(path) as checkpoint:
        assert len(checkpoint.metadata["k"]) == 99_999_900


@pytest.mark.parametrize("room", [0, 5000, 100_000])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".npz", ".gguf"])
def test_a_full_disk_is_called_so(
    tmp_path: Path, suffix: str, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(atomic.PartFile):
        def write(self, data: Any, /) -> int:
            with atomic._cannot_write(self._target):
                if self.tell() >= room:
                    raise OSError(28, "No space left on device")
            return super().write(memoryview(data)[: room - self.tell()])

    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"mine")
    tensors = stored({"a": torch.randn(300, 300), "b": torch.randn(200, 300)})
    monkeypatch.setattr(atomic, "PartFile", Full)
    with pytest.raises(TernzipError, match=r"model\.[a-z]+: cannot write: No space left on device$"):
        write_checkpoint(tensors, str(path), metadata={}, overwrite=True)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"mine"]


@pytest.mark.parametrize("name", ["model", "model.onnx", "model.tnz", "pt"])
def test_other_suffixes_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(
        TernzipError,
        match=r"expected a name ending in \.pt, \.pth, \.safetensors, \.npz, \.npy, \.gguf, found",
    ):
        write_checkpoint({}, str(tmp_path / name), metadata={})


def test_existing_files_are_kept(tmp_path: Path) -> None:
    for name in ("model.pt", "model.safetensors"):
        path = tmp_path / name
        path.write_bytes(b"mine")
        with pytest.raises(TernzipError, match="exists already"):
            write_checkpoint(stored({"a": torch.ones(1)}), str(path), metadata={})
        assert path.read_bytes() == b"mine"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_stream_gets_what_a_file_gets(tmp_path: Path) -> None:
    """Also one that takes few bytes at a time, as an unbuffered pipe does."""

    class Slow(io.RawIOBase):
        data = bytearray()

        def write(self, data: object) -> int:
            piece = bytes(memoryview(data))[:100]  # type: ignore[arg-type]
            self.data += piece
            return len(piece)

    tensors = stored({"w": torch.randn(99, 9), "b": torch.ones(3)})
    write_checkpoint(tensors, str(tmp_path / "model.safetensors"), metadata={"k": "v"})
    stream = Slow()
    write_checkpoint(tensors, stream, metadata={"k": "v"})
    assert bytes(stream.data) == (tmp_path / "model.safetensors").read_bytes()


def test_errors_of_a_stream_name_it(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with (
        path.open("wb") as stream,
        pytest.raises(TernzipError, match=f"^{path}: tensor 'c': .safetensors has no"),
    ):
        write_checkpoint(stored({"c": torch.ones(2, dtype=torch.complex128)}), stream, metadata={})


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".gguf"])
def test_ties_beyond_all_disks_are_refused(tmp_path: Path, suffix: str) -> None:
    """A few bytes of a .tnz file tie any number of names to one tensor."""
    large = stored({"w": torch.zeros(1 << 20, 32)})
    ties: dict[str, RawTensor | Tie] = {f"tie{number}": Tie("w") for number in range(33)}
    path = tmp_path / f"model{suffix}"
    with pytest.raises(
        TernzipError, match="tensor 'tie32': tied to 'w': expected at most 4,294,967,296 bytes"
    ):
        write_checkpoint(large | ties, str(path), metadata={})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_what_is_private_stays_private(tmp_path: Path) -> None:
    """There and back, of files and of folders, but for a file that is there with permissions of its own."""
    (tmp_path / "m").mkdir()
    source, tnz, again = (tmp_path / "m" / f"a.{suffix}" for suffix in ("safetensors", "tnz", "pt"))
    before = os.umask(0o022)
    try:
        ternzip.save_file({"w": torch.ones(3)}, tnz)
        ternzip.decompress(tnz, source)
        tnz.unlink()
        for given, expected in ((0o600, 0o600), (0o640, 0o640), (0o444, 0o644), (0o666, 0o644)):
            source.chmod(given)
            ternzip.compress(source)
            assert stat.S_IMODE(tnz.stat().st_mode) == expected
            ternzip.decompress(tnz, again)
            assert stat.S_IMODE(again.stat().st_mode) == expected
            tnz.unlink()
            again.unlink()
        source.chmod(0o600)
        compress_folder(tmp_path / "m", tmp_path / "t")
        assert stat.S_IMODE((tmp_path / "t" / "a.tnz").stat().st_mode) == 0o600
        tnz.touch(0o644)
        ternzip.compress(source, overwrite=True)
        assert stat.S_IMODE(tnz.stat().st_mode) == 0o644
    finally:
        os.umask(before)
