"""Files of the safetensors library, single or sharded by an index."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch

from ternzip._core import dtypes
from ternzip._core.errors import TernzipError
from ternzip._core.tensor import RawTensor, Tie
from ternzip.checkpoint.base import Checkpoint
from ternzip.io.tensors import to_raw


def open_safetensors(path: str | os.PathLike[str], name: str) -> Checkpoint:
    """The tensors of one .safetensors file, in the order of their bytes."""
    handle = _open(path, name)
    sizes = {key: _size(handle, key, name) for key in _keys(handle)}

    def tensors() -> Iterator[tuple[str, RawTensor | Tie]]:
        for key in sizes:
            yield key, to_raw(key, _tensor(handle, key, name))

    return Checkpoint(name, tensors, sizes, metadata=dict(handle.metadata() or {}), faithful=False)


def load_safetensors(data: bytes, name: str) -> Checkpoint:
    """The same from the bytes of a file, as they come through a pipe."""
    try:
        tensors = safetensors.torch.load(data)
    except Exception as error:
        raise TernzipError(f"{name}: not a readable safetensors file: {error}") from None
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    order = sorted(tensors, key=lambda key: header[key]["data_offsets"])
    sizes = {key: tensors[key].numel() * tensors[key].element_size() for key in order}
    raws = ((key, to_raw(key, tensors[key])) for key in order)
    return Checkpoint(name, lambda: raws, sizes, metadata=header.get("__metadata__", {}), faithful=False)


def open_sharded(index: Path, name: str) -> Checkpoint:
    """The tensors of a model split over files, in the order of its index."""
    folder = index.parent
    weight_map = _weight_map(index, name)
    handles: dict[str, Any] = {}
    sizes: dict[str, int] = {}
    for key, shard in weight_map.items():
        plain = Path(shard).name == shard and shard.isprintable()
        if not plain or not shard.endswith(".safetensors"):
            raise TernzipError(
                f"{name}: tensor {key!r}: expected a .safetensors file in the folder, found {shard!r}"
            )
        if shard not in handles:
            handles[shard] = _open(folder / shard, f"{name}: shard {shard!r}")
        if key not in handles[shard].keys():  # noqa: SIM118 - not a dictionary
            raise TernzipError(f"{name}: tensor {key!r}: expected in shard {shard!r}, not found there")
        sizes[key] = _size(handles[shard], key, name)
    strays = sorted({key for handle in handles.values() for key in handle.keys()} - set(weight_map))  # noqa: SIM118
    if strays:
        raise TernzipError(f"{name}: tensor {strays[0]!r}: in a shard but not in the index")

    def tensors() -> Iterator[tuple[str, RawTensor | Tie]]:
        for key, shard in weight_map.items():
            yield key, to_raw(key, _tensor(handles[shard], key, name))

    return Checkpoint(name, tensors, sizes, faithful=False)


def _weight_map(index: Path, name: str) -> dict[str, str]:
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    except OSError as error:
        raise TernzipError(f"{name}: cannot read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise TernzipError(f"{name}: not a readable shard index: {type(error).__name__}: {error}") from None
    if (
        not isinstance(weight_map, dict)
        or not weight_map
        or not all(isinstance(value, str) for value in weight_map.values())
    ):
        raise TernzipError(f"{name}: expected weight_map to name a file for each tensor")
    return weight_map


def _open(path: str | os.PathLike[str], name: str) -> Any:
    try:
        return safetensors.safe_open(os.fspath(path), framework="pt")
    except OSError as error:
        raise TernzipError(f"{name}: cannot read: {error.strerror or error}") from None
    except safetensors.SafetensorError as error:
        raise TernzipError(f"{name}: not a readable safetensors file: {error}") from None


def _keys(handle: Any) -> list[str]:
    ordered = getattr(handle, "offset_keys", handle.keys)  # older releases only list them by name
    return list(ordered())


def _tensor(handle: Any, key: str, name: str) -> Any:
    try:
        return handle.get_tensor(key)
    except Exception as error:
        raise TernzipError(f"{name}: tensor {key!r}: cannot read: {error}") from None


def _size(handle: Any, key: str, name: str) -> int:
    part = handle.get_slice(key)
    kind = str(part.get_dtype())
    if kind not in dtypes.BY_SAFETENSORS:
        raise TernzipError(f"{name}: tensor {key!r}: cannot store {kind}: the format has no code for it")
    size = dtypes.BY_SAFETENSORS[kind].itemsize
    for length in part.get_shape():
        size *= length
    return size
