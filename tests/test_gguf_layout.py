"""Where a GGUF file keeps its tensors: files of the package gguf, and damaged ones."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ternzip._core.errors import TernzipError
from ternzip.checkpoint.gguf.layout import read_layout
from ternzip.checkpoint.source_file import SourceFile

gguf = pytest.importorskip("gguf")


def a_file(path: Path, *, alignment: int | None = None) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_string("general.name", "a näme")
    writer.add_array("tokenizer.ggml.tokens", ["a", "b", "ccc"])
    writer.add_array("tokenizer.ggml.scores", [0.5, 1.5])
    writer.add_float32("some.number", 2.5)
    if alignment is not None:
        writer.add_custom_alignment(alignment)
    writer.add_tensor("plain", np.arange(15, dtype=np.float32).reshape(3, 5))
    writer.add_tensor("half", np.ones((2, 2, 2), np.float16))
    blocks = gguf.quants.quantize(np.ones((4, 512), np.float32), gguf.GGMLQuantizationType.TQ2_0)
    writer.add_tensor("ternary", blocks, raw_dtype=gguf.GGMLQuantizationType.TQ2_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def layout(data: bytes) -> Any:
    return read_layout(SourceFile(data, "model.gguf"))


@pytest.mark.parametrize("alignment", [None, 64])
def test_tensors_are_where_gguf_has_them(tmp_path: Path, alignment: int | None) -> None:
    path = a_file(tmp_path / "m.gguf", alignment=alignment)
    found = layout(path.read_bytes())
    theirs = gguf.GGUFReader(path)
    assert found.alignment == (alignment or 32)
    assert found.head == theirs.data_offset
    assert [(t.name, t.kind.code, t.shape[::-1], t.offset, t.nbytes) for t in found.tensors] == [
        (t.name, int(t.tensor_type), tuple(int(n) for n in t.shape), t.data_offset, t.n_bytes)
        for t in theirs.tensors
    ]
    assert found.tensors[2].shape == (4, 512)


def test_every_cut_is_an_error(tmp_path: Path) -> None:
    data = a_file(tmp_path / "m.gguf").read_bytes()
    for size in range(len(data) - 32):
        with pytest.raises(TernzipError, match=r"^model\.gguf: "):
            layout(data[:size])


def header(tensors: int = 0, entries: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, entries)


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def info(name: bytes, shape: tuple[int, ...], code: int, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, code, offset)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        pytest.param(b"GGML" + bytes(60), "expected a GGUF file", id="magic"),
        pytest.param(header(version=1), "expected GGUF version 2 or 3, found 1", id="version"),
        pytest.param(header(version=3 << 24), "written by a big-endian machine", id="big-endian"),
        pytest.param(header(tensors=1 << 40), "expected at most 1,048,576 tensors", id="tensors"),
        pytest.param(header(entries=1 << 60), "length of metadata key", id="entries"),
        pytest.param(
            header(entries=1) + text(b"k") + struct.pack("<I", 13), "type of at most 12, found 13", id="type"
        ),
        pytest.param(
            header(entries=1) + text(b"k") + struct.pack("<IQ", 8, 1 << 62), "string: expected", id="string"
        ),
        pytest.param(
            header(entries=1) + text(b"k") + struct.pack("<IIQ", 9, 8, 1 << 61), "array: expected", id="array"
        ),
        pytest.param(
            header(entries=1) + text(b"k") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 20,
            "at most 8 deep",
            id="deep",
        ),
        pytest.param(
            header(entries=1) + text(b"general.alignment") + struct.pack("<II", 4, 48),
            "power of two",
            id="alignment",
        ),
        pytest.param(
            header(entries=1) + text(b"general.alignment") + struct.pack("<IQ", 10, 32),
            "general.alignment: expected type 4",
            id="alignment-type",
        ),
        pytest.param(
            header(tensors=1) + info(b"w", (1,) * 5, 0), "at most 4 dimensions, found 5", id="dimensions"
        ),
        pytest.param(header(tensors=1) + info(b"\xff", (1,), 0), "expected UTF-8", id="name"),
        pytest.param(header(tensors=1) + info(b"w", (1,), 99), "type 99: not known", id="unknown-type"),
        pytest.param(header(tensors=1) + info(b"w", (256,), 36), "three orders that nothing", id="I2_S"),
        pytest.param(header(tensors=1) + info(b"w", (256,), 42), "blocks of 64 and of 128", id="Q2_0"),
        pytest.param(header(tensors=1) + info(b"w", (100,), 35), "whole blocks of 256", id="row"),
        pytest.param(
            header(tensors=1) + info(b"w", (4,), 0, 7) + bytes(64), "a multiple of 32, found 7", id="offset"
        ),
        pytest.param(
            header(tensors=1) + info(b"w", (1 << 60,), 0) + bytes(64), "found the end of the file", id="size"
        ),
        pytest.param(
            header(tensors=2) + 2 * info(b"w", (1,), 0) + bytes(128), "names to be unique", id="names"
        ),
    ],
)
def test_damaged_and_hostile_files(data: bytes, problem: str) -> None:
    with pytest.raises(TernzipError, match=problem):
        layout(data)


def test_padding_is_bounded() -> None:
    """A head alone, as a .tnz file has it, can say that its file is of any size."""
    head = header(tensors=1) + info(b"w", (1,), 0)
    source = SourceFile(head + bytes(-len(head) % 32), "model.gguf")
    read_layout(source, size=1 << 32)
    with pytest.raises(
        TernzipError, match=r"expected at most 4,294,967,296 bytes that belong to no tensor, found 8,"
    ):
        read_layout(source, size=1 << 33)


def test_a_file_without_tensors() -> None:
    assert layout(header()).tensors == []
