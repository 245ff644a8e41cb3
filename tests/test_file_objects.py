"""The verbs on open binary files in place of paths, and what they share with safetensors beside their names."""

from __future__ import annotations

import io
import pickle
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from samples import assert_same, trits

import ternzip
from ternzip import TernzipError

TENSORS = {"w": trits(20, 30).float(), "big": torch.arange(50_000.0), "b": torch.ones(3)}


class Piecewise(io.RawIOBase):
    """Cannot be read by position, and gives and takes a few bytes at a time."""

    def __init__(self, data: bytes = b"") -> None:
        self._left = memoryview(data)
        self.written = bytearray()

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        taken = self._left[: min(1000, len(buffer))]
        buffer[: len(taken)] = taken
        self._left = self._left[len(taken) :]
        return len(taken)

    def write(self, data: Any) -> int:
        self.written += bytes(data[:1000])
        return len(data[:1000])


def test_files_that_are_open(tmp_path: Path) -> None:
    data = ternzip.save(TENSORS, {"k": "v"})
    with (tmp_path / "model.tnz").open("wb") as file:
        ternzip.save_file(TENSORS, file, {"k": "v"})
        assert not file.closed
    assert (tmp_path / "model.tnz").read_bytes() == data
    with (tmp_path / "model.tnz").open("rb") as file:
        assert_same(ternzip.load_file(file), TENSORS)
        assert not file.closed
    stream = Piecewise()
    ternzip.save_file(TENSORS, stream, {"k": "v"})
    assert stream.written == data
    assert_same(ternzip.load_file(io.BufferedReader(Piecewise(data))), TENSORS)  # type: ignore[arg-type]


def test_a_file_begins_where_the_stream_stands() -> None:
    data = ternzip.save(TENSORS)
    stream = io.BytesIO(b"before" + data)
    stream.seek(6)
    out = {name: torch.zeros_like(tensor) for name, tensor in TENSORS.items()}
    assert_same(ternzip.load_file(stream, out=out), TENSORS)
    stream.seek(0)
    with pytest.raises(TernzipError, match=r"^<stream>: offset 0: expected a \.tnz file"):
        ternzip.load_file(stream)
    with pytest.raises(TernzipError, match=r"<stream>: offset .*: truncated"):
        ternzip.load_file(io.BytesIO(data[:-1]))


def test_a_stream_that_can_only_be_read() -> None:
    class Response:
        def __init__(self) -> None:
            self.read = io.BytesIO(ternzip.save(TENSORS)).read

    assert_same(ternzip.load_file(Response()), TENSORS)  # type: ignore[arg-type]
    with ternzip.safe_open(Response()) as file:  # type: ignore[arg-type]
        assert file.keys() == list(TENSORS)


def test_safe_open_of_a_stream() -> None:
    with tempfile.TemporaryFile() as stream:
        stream.write(b"1234" + ternzip.save(TENSORS))
        stream.seek(4)
        with ternzip.safe_open(stream) as file:
            assert repr(file).startswith("safe_open(")
            for name in reversed(file.keys()):
                assert torch.equal(file.get_tensor(name), TENSORS[name])
                stream.seek(17)
            with pytest.raises(TypeError, match="cannot pickle safe_open of a stream"):
                pickle.dumps(file)
        assert not stream.closed
        stream.seek(4)
        file = ternzip.safe_open(stream)
    with pytest.raises(TernzipError, match="the stream has been closed"):
        file.get_tensor("w")


def test_what_is_no_stream() -> None:
    for verb in (ternzip.load_file, ternzip.safe_open, lambda place: ternzip.save_file(TENSORS, place)):
        with pytest.raises(TypeError, match="expected a binary stream, got one of text"):
            verb(io.StringIO())  # type: ignore[operator]
        with pytest.raises(TypeError, match="expected a path or a binary stream, got int"):
            verb(3)  # type: ignore[operator]


def test_a_stream_gets_nothing_of_a_file_that_fails() -> None:
    stream = io.BytesIO()
    with pytest.raises(TernzipError, match="tensor 's'"):
        ternzip.save_file({"a": torch.ones(3), "s": torch.ones(2).to_sparse()}, stream)
    assert stream.getvalue() == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_of_temporary_files_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a stream gets waits there, and the stream itself has room."""
    full = io.FileIO("/dev/full", "r+b")
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: full)
    with pytest.raises(
        TernzipError, match=f"^temporary file in {tempfile.gettempdir()}: cannot write: No space left"
    ):
        ternzip.save_file(TENSORS, io.BytesIO())


@pytest.mark.parametrize("kind", [ValueError, RuntimeError, TernzipError])
def test_tensors_that_cannot_be_stored_raise_what_safetensors_does(kind: type[Exception]) -> None:
    for given in (
        {"t": torch.ones(2, device="meta")},
        {"t": torch.ones(2).to_sparse()},
        {"t": {}},
        {1: torch.ones(1)},
        "t",
    ):
        with pytest.raises(kind, match=r"^tensor"):
            ternzip.save(given)  # type: ignore[arg-type]


def test_frameworks_and_metadata_are_those_of_safetensors() -> None:
    data = ternzip.save(TENSORS)
    for name in ("pt", "torch", "pytorch"):
        with ternzip.safe_open(io.BytesIO(data), name) as file:
            assert isinstance(file.get_tensor("b"), torch.Tensor)
            assert file.metadata() is None
    for name in ("np", "numpy"):
        with ternzip.safe_open(io.BytesIO(data), framework=name) as file:
            assert type(file.get_tensor("b")).__name__ == "ndarray"
    with pytest.raises(ValueError, match="expected the CPU together with framework='np', got meta"):
        ternzip.safe_open(io.BytesIO(data), "np", "meta")
