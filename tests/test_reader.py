"""The reader where files, platforms and codecs fail it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import ternzip
from ternzip._core.errors import TernzipError
from ternzip.codecs.base import DecodeJob
from ternzip.codecs.context import ContextCodec
from ternzip.container import reader as reader_module
from ternzip.container.layout import Entry
from ternzip.container.reader import Reader
from ternzip.container.sources import BufferSource


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {f"w{i}": torch.randint(-1, 2, (30, 40), generator=generator).to(torch.float32) for i in range(5)}


@pytest.fixture
def path(tensors: dict[str, torch.Tensor], tmp_path: Path) -> Path:
    target = tmp_path / "m.tnz"
    ternzip.save_file(tensors, target, codec="context")
    return target


def equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return list(found) == list(expected) and all(torch.equal(found[name], expected[name]) for name in found)


def test_a_file_that_shrinks_while_it_is_open(path: Path) -> None:
    with Reader.open(path) as reader:
        os.truncate(path, 40)
        with pytest.raises(
            TernzipError, match=r"m\.tnz: tensor 'w0'.* offset 40: truncated: expected \d+ more"
        ):
            reader.read("w0")


def test_a_file_that_cannot_be_read_any_more(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(5, "Input/output error")

    with Reader.open(path) as reader:
        monkeypatch.setattr(reader._source, "_read_at", fail)
        with pytest.raises(TernzipError, match="offset 32: cannot read: Input/output error"):
            reader.read("w0")


@pytest.mark.parametrize("threads", [1, 3])
def test_without_positional_reads(
    path: Path, tensors: dict[str, torch.Tensor], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "preadv", raising=False)
    assert equal(ternzip.load_file(path, threads=threads), tensors)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("ahead", [0, 30 * 40 * 4])
def test_little_is_decoded_ahead(
    path: Path, tensors: dict[str, torch.Tensor], threads: int, ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "_AHEAD_BYTES", ahead)
    assert equal(ternzip.load_file(path, threads=threads), tensors)
    monkeypatch.undo()
    # Tensors without elements take memory as well, while they wait.
    monkeypatch.setattr(reader_module, "_AHEAD_TENSORS", 2)
    started: list[str] = []
    start = Reader._start

    def recorded(self: Reader, entry: Entry, *rest: Any) -> Any:
        started.append(entry.name)
        return start(self, entry, *rest)

    monkeypatch.setattr(Reader, "_start", recorded)
    with Reader.open(path) as reader:
        for taken, (name, _) in enumerate(reader.read_all(threads=threads)):
            assert name == f"w{taken}"
            assert len(started) <= taken + 1 + 2
    assert equal(ternzip.load_file(path, threads=threads), tensors)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_codec_that_raises_reaches_the_caller(
    path: Path, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: ContextCodec, jobs: Sequence[DecodeJob]) -> list[bool]:
        raise MemoryError(f"{len(jobs)} jobs")

    monkeypatch.setattr(ContextCodec, "decode_many", fail)
    with pytest.raises(MemoryError, match="jobs"):
        ternzip.load_file(path, threads=threads)


def test_an_interrupted_opening_closes_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(reader_module, "decode_index", interrupt)
    source = BufferSource(path.read_bytes())
    with pytest.raises(KeyboardInterrupt):
        Reader(source)
    with pytest.raises(TernzipError, match="already closed"):
        source.read(0, 1)


@pytest.mark.parametrize("in_memory", [False, True], ids=["file", "bytes"])
def test_a_file_that_another_thread_closes(
    path: Path, in_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the middle of a tensor, when it is open no more but was found to be."""
    reader = Reader.open(path.read_bytes() if in_memory else path)
    monkeypatch.setattr(reader, "_check", lambda *_: reader.close())
    with pytest.raises(TernzipError, match="tensor 'w0': offset 32: cannot read: already closed"):
        reader.read("w0")
