"""Files of the safetensors library, single or sharded by an index.

The header is read and checked here, and each tensor's bytes when it is wanted: the library maps files, and a
mapped file that somebody cuts short ends the process. With `whole`, the library itself reads everything: an
independent way to the same tensors.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from ternzip._core import dtypes
from ternzip._core.dtypes import DType
from ternzip._core.errors import TernzipError
from ternzip._core.tensor import RawTensor, Tie
from ternzip._core.text import listed
from ternzip.checkpoint.base import LONGEST_SAFETENSORS_HEADER, Checkpoint
from ternzip.checkpoint.source_file import SourceFile
from ternzip.container.limits import shape_problem


def open_safetensors(file: SourceFile, *, whole: bool = False) -> Checkpoint:
    """The tensors of one .safetensors file, in the order of their bytes.

    Raises TernzipError for a file that is damaged or holds a type without a code.
    """
    opened = _File(file)

    def tensors() -> Iterator[tuple[str, RawTensor | Tie]]:
        yield from opened.read_by_library() if whole else opened.read_all()

    return Checkpoint(
        file.name,
        tensors,
        opened.sizes,
        metadata=opened.metadata,
        faithful=False,
        suffix=".safetensors",
        files=[] if file.path is None else [file.path],
        file_bytes=file.size,
        close=file.close,
    )


def open_sharded(index: Path, name: str, *, whole: bool = False) -> Checkpoint:
    """The tensors of a model split over files, in the order of its index; with `whole`, file by file."""
    weight_map, about = _read_index(index, name)
    with ExitStack() as opened:
        shards: dict[str, _File] = {}
        for shard in dict.fromkeys(weight_map.values()):
            file = SourceFile(index.parent / shard, f"{name}: shard {shard!r}")
            opened.callback(file.close)
            shards[shard] = _File(file)
        copies = Counter(key for file in shards.values() for key in file.sizes)
        for key, shard in weight_map.items():
            if key not in shards[shard].sizes:
                raise TernzipError(f"{name}: tensor {key!r}: expected in shard {shard!r}, not found there")
            if copies[key] > 1:
                raise TernzipError(f"{name}: tensor {key!r}: expected in one shard, found in several")
        strays = sorted(set(copies) - set(weight_map))
        if strays:
            raise TernzipError(f"{name}: tensor {strays[0]!r}: in a shard but not in the index")
        close = opened.pop_all().close

    def tensors() -> Iterator[tuple[str, RawTensor | Tie]]:
        if whole:
            for file in shards.values():
                yield from file.read_by_library()
            return
        for key, shard in weight_map.items():
            yield key, shards[shard].read(key)
        for file in shards.values():
            file.source.check_unchanged()

    metadata, conflicting = _merged([file.metadata for file in shards.values()])
    not_stored = ["the division into files"]
    if about:
        not_stored.append(f"metadata of the index ({listed(about)})")
    if conflicting:
        not_stored.append(f"metadata in which the files differ ({listed(conflicting)})")
    return Checkpoint(
        name,
        tensors,
        {key: shards[shard].sizes[key] for key, shard in weight_map.items()},
        metadata=metadata,
        not_stored=not_stored,
        faithful=False,
        suffix=".safetensors",
        files=[str(index), *(str(index.parent / shard) for shard in shards)],
        file_bytes=sum(file.source.size for file in shards.values()),
        close=close,
    )


@dataclass(frozen=True)
class _Stored:
    """Where one tensor lies: `offset` and `nbytes` are bytes in the file."""

    dtype: DType
    shape: tuple[int, ...]
    offset: int
    nbytes: int


class _File:
    """One open file whose header has been checked.

    Attributes:
        source: the file.
        sizes: bytes of each tensor by name, in the order of their bytes.
        metadata: the header's own.
    """

    def __init__(self, source: SourceFile) -> None:
        self.source = source
        try:
            self._stored, self.metadata = _read_header(source)
        except BaseException:
            source.close()
            raise
        self.sizes = {key: entry.nbytes for key, entry in self._stored.items()}

    def read(self, key: str) -> RawTensor:
        entry = self._stored[key]
        data = np.frombuffer(self.source.read(entry.offset, entry.nbytes), np.uint8)
        return RawTensor(entry.dtype, entry.shape, data)

    def read_all(self) -> Iterator[tuple[str, RawTensor]]:
        for key in self._stored:
            yield key, self.read(key)
        self.source.check_unchanged()

    def read_by_library(self) -> Iterator[tuple[str, RawTensor]]:
        """The same tensors as the library finds them in the whole file, which takes memory twice."""
        name = self.source.name
        try:
            content = bytes(self.source.read(0, self.source.size))
            found = safetensors.deserialize(content)  # type: ignore[no-untyped-call]
        except safetensors.SafetensorError as error:
            raise TernzipError(f"{name}: not a readable safetensors file: {error}") from None
        self.source.check_unchanged()
        if {key for key, _ in found} != set(self.sizes):
            raise TernzipError(f"{name}: expected the tensors that safetensors finds, found others")
        while found:
            key, entry = found.pop()
            dtype, shape = _described(key, entry["dtype"], entry["shape"], name)
            yield key, RawTensor(dtype, shape, np.frombuffer(entry["data"], np.uint8))


def _read_header(file: SourceFile) -> tuple[dict[str, _Stored], dict[str, str]]:
    """Every tensor in the order of its bytes, and the metadata; the bytes are shared out without a gap."""

    def expect(holds: bool, problem: str) -> None:
        if not holds:
            raise TernzipError(f"{file.name}: not a readable safetensors file: {problem}")

    expect(file.size >= 8, f"expected a header, found {file.size} bytes")
    length = int.from_bytes(file.read(0, 8), "little")
    longest = min(file.size - 8, LONGEST_SAFETENSORS_HEADER)
    expect(length <= longest, f"expected a header of at most {longest:,} bytes, found {length:,}")
    try:
        header = json.loads(file.read(8, length).decode(), object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        raise TernzipError(f"{file.name}: not a readable safetensors file: header: {error}") from None
    expect(isinstance(header, dict), "expected a header of names and tensors")
    metadata = header.pop("__metadata__", None) or {}
    expect(
        isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values()),
        "expected metadata of strings",
    )
    found: dict[str, _Stored] = {}
    for key, entry in header.items():
        fields = entry if isinstance(entry, dict) else {}
        shape, offsets = fields.get("shape", ()), fields.get("data_offsets", ())
        expect(
            _are_counts(shape) and _are_counts(offsets) and len(offsets) == 2,
            f"tensor {key!r}: expected dtype, shape and two data_offsets",
        )
        dtype, whole_shape = _described(key, str(fields.get("dtype")), shape, file.name)
        start, end = offsets
        nbytes = math.prod(whole_shape) * dtype.itemsize
        expect(
            end - start == nbytes,
            f"tensor {key!r}: expected {nbytes:,} bytes, found offsets {start} to {end}",
        )
        found[key] = _Stored(dtype, whole_shape, 8 + length + start, nbytes)
    found = dict(sorted(found.items(), key=lambda item: (item[1].offset, item[1].nbytes)))
    place = 8 + length
    for key, stored in found.items():
        expect(
            stored.offset == place, f"tensor {key!r}: expected its bytes at {place}, found {stored.offset}"
        )
        place += stored.nbytes
    expect(place == file.size, f"expected {place:,} bytes, found {file.size:,}")
    return found, metadata


def _described(key: str, kind: str, shape: list[int], name: str) -> tuple[DType, tuple[int, ...]]:
    """Type and shape as torch has them: its float4 counts pairs along the last dimension."""
    if kind not in dtypes.BY_SAFETENSORS:
        raise TernzipError(f"{name}: tensor {key!r}: cannot store {kind}: the format has no code for it")
    dtype = dtypes.BY_SAFETENSORS[kind]
    problem = shape_problem(shape, dtype)  # before a product that may have a million digits
    if problem:
        raise TernzipError(f"{name}: tensor {key!r}: {problem}")
    if kind != "F4":
        return dtype, tuple(shape)
    if not shape or shape[-1] % 2:
        raise TernzipError(
            f"{name}: tensor {key!r}: cannot store F4 of shape {shape}: expected pairs in a row"
        )
    return dtype, (*shape[:-1], shape[-1] // 2)


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 1 << 63 for item in value)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("expected each name once")
    return found


def _merged(metadata: list[dict[str, str]]) -> tuple[dict[str, str], list[str]]:
    """What the files agree on, one that has no such key agreeing too; and the keys in which they differ."""
    values: dict[str, set[str]] = {}
    for mapping in metadata:
        for key, value in mapping.items():
            values.setdefault(key, set()).add(value)
    agreed = {key: next(iter(found)) for key, found in values.items() if len(found) == 1}
    return agreed, [key for key in values if key not in agreed]


def _read_index(index: Path, name: str) -> tuple[Mapping[str, str], list[str]]:
    """(the file of each tensor, what else the index says)."""
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        weight_map, more = content["weight_map"], content.get("metadata")
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
    for key, shard in weight_map.items():
        is_plain = Path(shard).name == shard and shard.isprintable()
        if not is_plain or not shard.endswith(".safetensors"):
            raise TernzipError(
                f"{name}: tensor {key!r}: expected a .safetensors file in the folder, found {shard!r}"
            )
    return weight_map, [str(key) for key in more] if isinstance(more, dict) else []
