"""Finds out what a path holds and opens it; the contents decide, not the suffix."""

from __future__ import annotations

import sys
from pathlib import Path

from ternzip._core.errors import TernzipError
from ternzip.checkpoint.base import Checkpoint
from ternzip.container.layout import MAGIC
from ternzip.container.reader import Reader

STDIN = "-"


def open_checkpoint(path: str) -> Checkpoint:
    """Any checkpoint: .pt, .pth, .ckpt, .safetensors, a folder with a shard index, .tnz, or "-" for stdin.

    Raises TernzipError where it is missing, empty, damaged or holds what is not tensors.
    """
    if path == STDIN:
        return _from_bytes(sys.stdin.buffer.read(), "<stdin>")
    target = Path(path)
    if target.is_dir():
        return _from_folder(target, path)
    try:
        with target.open("rb") as stream:
            head = stream.read(16)
    except OSError as error:
        raise TernzipError(f"{path}: cannot read: {error.strerror}") from None
    if not head:
        raise TernzipError(f"{path}: expected a checkpoint, found an empty file")
    if head.startswith(MAGIC[:4]):
        return _from_reader(Reader.open(path), path)
    # torch takes seconds to import; a .tnz file is handled without it.
    from ternzip.checkpoint.pytorch import open_pytorch
    from ternzip.checkpoint.safetensors import open_safetensors, open_sharded

    if target.name.endswith(".index.json"):
        return open_sharded(target, path)
    if _is_safetensors(head) or target.suffix == ".safetensors":
        return open_safetensors(path, path)
    return open_pytorch(path, path)


def _from_bytes(data: bytes, name: str) -> Checkpoint:
    if not data:
        raise TernzipError(f"{name}: expected a checkpoint, found no bytes")
    if data.startswith(MAGIC[:4]):
        return _from_reader(Reader.open(data), name)
    from ternzip.checkpoint.pytorch import open_pytorch
    from ternzip.checkpoint.safetensors import load_safetensors

    return load_safetensors(data, name) if _is_safetensors(data[:16]) else open_pytorch(data, name)


def _is_safetensors(head: bytes) -> bool:
    """A header length below 100 MB, then the brace that opens the header."""
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000


def _from_folder(folder: Path, name: str) -> Checkpoint:
    from ternzip.checkpoint.safetensors import open_safetensors, open_sharded

    indexes = sorted(folder.glob("*.safetensors.index.json"))
    if len(indexes) == 1:
        return open_sharded(indexes[0], name)
    files = sorted(folder.glob("*.safetensors"))
    if not indexes and len(files) == 1:
        return open_safetensors(files[0], name)
    raise TernzipError(
        f"{name}: expected one .safetensors.index.json (or one .safetensors file) in the folder, "
        f"found {len(indexes)} and {len(files)}"
    )


def _from_reader(reader: Reader, name: str) -> Checkpoint:
    sizes = {entry.name: entry.nbytes for entry in reader.entries.values()}
    return Checkpoint(name, lambda: reader.read_all(), sizes, metadata=reader.metadata, close=reader.close)
