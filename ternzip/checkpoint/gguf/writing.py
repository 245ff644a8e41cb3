"""GGUF files out of tensors: the very file that was compressed, or a new one with ternary weights as TQ2_0."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ternzip._core.errors import TernzipError
from ternzip._core.streams import ByteStream, write_all
from ternzip._core.tensor import RawTensor
from ternzip._core.text import listed, quoted
from ternzip.checkpoint.gguf.blocks import BLOCK, TERNARY, TQ2_0, encode
from ternzip.checkpoint.gguf.head import Head
from ternzip.checkpoint.gguf.layout import DEFAULT_ALIGNMENT, MAGIC, TYPES, GgmlType, GgufTensor, read_layout
from ternzip.checkpoint.source_file import SourceFile

_LONGEST_NAME = 63
"""Bytes of a tensor's name that programs built on ggml take."""
_LONGEST_KEY = (1 << 16) - 1
"""Bytes of a metadata key."""
_MOST_DIMENSIONS = 4
_PLAIN = {kind.dtype: kind for kind in TYPES.values() if kind.dtype is not None}
_PIECE = 1 << 20


def restore_gguf(tensors: Mapping[str, RawTensor], head: Head, stream: ByteStream, name: str) -> None:
    """Writes the GGUF file whose head this is, every byte of it.

    Raises TernzipError where tensors and head do not fit: other names, shapes, element types, or weights that no
    block of the head's type holds.
    """
    layout = read_layout(SourceFile(head.data, f"{name}: extension"), size=head.size)
    if layout.head != len(head.data):
        raise TernzipError(f"{name}: expected a head of {layout.head:,} bytes, found {len(head.data):,}")
    if {tensor.name for tensor in layout.tensors} != set(tensors):
        raise TernzipError(f"{name}: expected the tensors that the GGUF metadata names, found others")
    write_all(stream, head.data)
    place = len(head.data)
    for tensor in layout.by_offset:
        if not 0 <= tensor.offset - place < layout.alignment:
            raise TernzipError(
                f"{name}: tensor {tensor.name!r}: expected its bytes at {place:,}, found {tensor.offset:,}"
            )
        write_all(stream, bytes(tensor.offset - place))
        write_all(stream, _bytes_of(tensor, tensors[tensor.name], name).data)
        place = tensor.offset + tensor.nbytes
    if not 0 <= head.size - place < layout.alignment:
        raise TernzipError(f"{name}: expected {place:,} bytes, found {head.size:,}")
    write_all(stream, bytes(head.size - place))


def _bytes_of(tensor: GgufTensor, raw: RawTensor, name: str) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    where = f"{name}: tensor {tensor.name!r}"
    packed = raw.dtype.name == "uint8" and tensor.kind.dtype is None
    shape = tensor.packed_shape if packed else tensor.shape
    expected = "uint8" if packed else (tensor.kind.dtype or "float16")
    if (raw.dtype.name, raw.shape) != (expected, shape):
        raise TernzipError(
            f"{where}: {tensor.kind.name}: expected {expected} {list(shape)}, "
            f"found {raw.dtype.name} {list(raw.shape)}"
        )
    if packed or tensor.kind.dtype is not None:
        return raw.data
    blocks = encode(TERNARY[tensor.kind.code], raw.data) if tensor.kind.code in TERNARY else None
    if blocks is None:
        raise TernzipError(f"{where}: expected weights that blocks of {tensor.kind.name} hold, found others")
    return blocks


@dataclass(frozen=True)
class _Part:
    """One tensor on its way into a new file."""

    name: str
    kind: GgmlType
    shape: tuple[int, ...]
    data: np.ndarray[tuple[int], np.dtype[np.uint8]]


def export_gguf(
    tensors: Mapping[str, RawTensor], stream: ByteStream, name: str, metadata: Mapping[str, str]
) -> list[str]:
    """Writes a new GGUF file (version 3), and returns what it does not keep, a few words each.

    A tensor whose every run of 256 weights in a row is -d, 0 or d, with d a float16, becomes TQ2_0; any other keeps its
    element type. Metadata are `ternzip.<key>` strings, and `general.architecture` is their own or "ternzip": names
    of tensors and further metadata that a program expects of an architecture are the caller's business.

    Raises TernzipError for a tensor or a metadata key that GGUF cannot hold, by name.
    """
    parts = [_part(key, raw, name) for key, raw in tensors.items()]
    entries = {"general.architecture": metadata.get("general.architecture", "ternzip")}
    entries |= {f"ternzip.{key}": value for key, value in metadata.items() if key != "general.architecture"}
    head = MAGIC + struct.pack("<IQQ", 3, len(parts), len(entries))
    for key, value in entries.items():
        if len(key.encode()) > _LONGEST_KEY:
            raise TernzipError(
                f"{name}: metadata {quoted(key)}: GGUF takes keys of at most {_LONGEST_KEY:,} bytes, "
                f"found {len(key.encode()):,}"
            )
        head += _text(key) + struct.pack("<I", 8) + _text(value)
    place = 0
    for part in parts:
        head += _text(part.name) + struct.pack(f"<I{len(part.shape)}Q", len(part.shape), *part.shape[::-1])
        head += struct.pack("<IQ", part.kind.code, place)
        place += _aligned(part.data.nbytes)
    write_all(stream, head + bytes(_aligned(len(head)) - len(head)))
    for part in parts:
        write_all(stream, part.data.data)
        write_all(stream, bytes(_aligned(part.data.nbytes) - part.data.nbytes))
    changed = [
        part.name
        for part in parts
        if part.kind.code == TQ2_0.code and tensors[part.name].dtype.name != "float16"
    ]
    lost = [f"the element type of {listed(changed)}: TQ2_0 has none but float16"] if changed else []
    scalars = [key for key, raw in tensors.items() if not raw.shape]
    if scalars:
        lost.append(
            f"the shape of {listed(scalars)}: GGUF has no tensors without dimensions, they get one of 1"
        )
    return lost


def _part(key: str, raw: RawTensor, name: str) -> _Part:
    where = f"{name}: tensor {key!r}"
    if not 1 <= len(key.encode()) <= _LONGEST_NAME:
        raise TernzipError(
            f"{where}: GGUF takes names of 1 to {_LONGEST_NAME} bytes, found {len(key.encode())}"
        )
    if len(raw.shape) > _MOST_DIMENSIONS:
        raise TernzipError(
            f"{where}: GGUF takes at most {_MOST_DIMENSIONS} dimensions, found {len(raw.shape)}"
        )
    shape = raw.shape or (1,)
    blocks = _ternary_blocks(raw)
    if blocks is not None:
        return _Part(key, TYPES[TQ2_0.code], shape, blocks)
    if raw.dtype.name not in _PLAIN:
        raise TernzipError(f"{where}: GGUF has no {raw.dtype.name}: decompress to .safetensors or .pt")
    return _Part(key, _PLAIN[raw.dtype.name], shape, raw.data)


def _ternary_blocks(raw: RawTensor) -> np.ndarray[tuple[int], np.dtype[np.uint8]] | None:
    """The weights as blocks of TQ2_0, if that is every bit of them but the element type."""
    if len(raw.shape) < 2 or not raw.size or raw.shape[-1] % BLOCK:
        return None
    halves = _as_float16(raw)
    return None if halves is None else encode(TQ2_0, halves)


def _as_float16(raw: RawTensor) -> np.ndarray[tuple[int], np.dtype[np.uint8]] | None:
    """The elements as float16, if each of them is one; -0.0 stays what it is."""
    if raw.dtype.name == "float16":
        return raw.data
    if raw.dtype.name == "float32":
        values = raw.data.view("<f4")
    elif raw.dtype.name == "bfloat16":
        values = (raw.data.view("<u2").astype("<u4") << 16).view("<f4")
    else:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        halves = values.astype("<f2")
    same = np.array_equal(halves.astype("<f4").view("<u4"), values.view("<u4"))
    return halves.view(np.uint8) if same else None


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def _aligned(size: int) -> int:
    return -(-size // DEFAULT_ALIGNMENT) * DEFAULT_ALIGNMENT
