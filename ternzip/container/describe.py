"""What the index of a file says of its tensors, without decoding any."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property

from ternzip._core.dtypes import DType, Kind
from ternzip._core.errors import TernzipError
from ternzip._core.symbols import SymbolCounts
from ternzip._core.text import quoted
from ternzip.codecs.levels import Levels
from ternzip.codecs.ternary import is_weight
from ternzip.container.layout import Entry
from ternzip.container.reader import Reader


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a file.

    Attributes:
        name, dtype, shape: as stored.
        codec: of its symbols ("constant" where the counts tell all), or "planes", "solid", "tied".
        bytes: its share of the payload: parameters and records, or its part of a solid block.
        tied_to: name of the tensor it shares all elements with, else None.
        levels: (negative, positive) as numbers for a ternary tensor, None for a level that does not occur;
            None for other tensors and for several blocks of levels.
        level_blocks: how many blocks have levels of their own; 1 for one pair, 0 where it is not ternary.
        level_block_shape: rows (indices of dimension 0), and consecutive elements of a row, that share a pair of
            levels: (1, 128) for a group size of 128; None where it is not ternary.
        counts: of its symbols, None where it is not ternary.
        counted: whether the paper's metrics count it: two dimensions or more, two symbols or more.
        negative_zeros: zeros stored as -0.0.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    codec: str
    bytes: int
    tied_to: str | None = None
    levels: tuple[float | None, float | None] | None = None
    level_blocks: int = 0
    level_block_shape: tuple[int, int] | None = None
    counts: SymbolCounts | None = None
    counted: bool = False
    negative_zeros: int = 0

    @property
    def bits_per_symbol(self) -> float | None:
        """Bits a symbol takes in the file, levels and coder tail included; None where it is not ternary."""
        if self.counts is None or not self.counts.total:
            return None
        return 8 * self.bytes / self.counts.total


@dataclass(frozen=True)
class FileInfo:
    """A whole file.

    Attributes:
        tensors: all of them, in order.
        metadata: the file's own.
        extensions: bytes of each extension by name.
        bytes: its size.
        overhead: what of it is preamble, directory and checksums.
        counts: symbols over all counted tensors.
        ternary_bytes: payload of the counted tensors.
    """

    tensors: list[TensorInfo]
    metadata: dict[str, str]
    extensions: dict[str, int]
    bytes: int
    overhead: int
    counts: SymbolCounts
    ternary_bytes: int

    @cached_property
    def predicted_bytes(self) -> float:
        """What order-0 coding of each counted tensor takes by the entropy of its own counts."""
        return sum(
            info.counts.entropy * info.counts.total / 8
            for info in self.tensors
            if info.counts and info.counted
        )

    @property
    def entropy(self) -> float:
        """Bits/symbol of that: one distribution a tensor, not one of all; 0 where nothing is counted."""
        return 8 * self.predicted_bytes / self.counts.total if self.counts.total else 0.0

    @property
    def tensor_bytes(self) -> int:
        """What all tensors take, without extensions and overhead."""
        return self.bytes - self.overhead - sum(self.extensions.values())


_FORMATS = {"float64": "<d", "float32": "<f", "float16": "<e"}


def level_value(pattern: int, dtype: DType) -> float:
    """The number a bit pattern stands for."""
    data = pattern.to_bytes(dtype.itemsize, "little")
    if dtype.kind is Kind.SIGNED:
        return int.from_bytes(data, "little", signed=True)
    if dtype.name in _FORMATS:
        return float(struct.unpack(_FORMATS[dtype.name], data)[0])
    if dtype.name == "bfloat16":
        return float(struct.unpack("<f", b"\0\0" + data)[0])
    exponent_bits, bias = {
        "float8_e4m3fn": (4, 7),
        "float8_e5m2": (5, 15),
        "float8_e4m3fnuz": (4, 8),
        "float8_e5m2fnuz": (5, 16),
    }[dtype.name]
    mantissa_bits = 7 - exponent_bits
    sign = -1.0 if pattern & 0x80 else 1.0
    exponent = pattern >> mantissa_bits & (1 << exponent_bits) - 1
    mantissa = pattern & (1 << mantissa_bits) - 1
    if dtype.name == "float8_e5m2" and exponent == 31:
        return sign * float("inf") if mantissa == 0 else float("nan")
    if not exponent:
        return sign * float(mantissa) * 2.0 ** (1 - bias - mantissa_bits)
    return sign * (1 + mantissa / (1 << mantissa_bits)) * 2.0 ** (exponent - bias)


def _pair(levels: Levels | None, dtype: DType) -> tuple[float | None, float | None] | None:
    if levels is None or len(levels.negative) != 1:
        return None
    low, high = (level_value(int(p), dtype) if p else None for p in (levels.negative[0], levels.positive[0]))
    return low, high


def describe(reader: Reader, name: str) -> TensorInfo:
    """One tensor; an unknown name raises TernzipError."""
    if name not in reader.entries:
        raise TernzipError(f"{reader.name}: no tensor {quoted(name)} among {len(reader.entries)}")
    return _describe(reader.entries[name], reader.entries, reader.shares[name])


def describe_file(reader: Reader) -> FileInfo:
    """Every tensor and the totals."""
    infos = [_describe(entry, reader.entries, reader.shares[entry.name]) for entry in reader.entries.values()]
    counted = [info for info in infos if info.counted and info.tied_to is None]
    extensions = reader.extensions.sizes
    return FileInfo(
        infos,
        dict(reader.metadata),
        extensions,
        reader.size,
        reader.size - sum(reader.shares.values()) - sum(extensions.values()),
        sum((info.counts for info in counted if info.counts), SymbolCounts()),
        sum(info.bytes for info in counted),
    )


def _describe(entry: Entry, entries: dict[str, Entry], share: int) -> TensorInfo:
    stored = entry if entry.tied_to is None else entries[entry.tied_to]
    codec = stored.storage.name.lower()
    if stored.coding is not None:
        codec = stored.coding.symbols.name if stored.coding.symbols is not None else "constant"
    if stored is not entry:
        codec = "tied"
    if stored.ternary is None:
        return TensorInfo(entry.name, entry.dtype.name, entry.shape, codec, share, entry.tied_to)
    return TensorInfo(
        entry.name,
        entry.dtype.name,
        entry.shape,
        codec,
        share,
        entry.tied_to,
        levels=_pair(stored.ternary.levels, stored.dtype),
        level_blocks=stored.ternary.grid.blocks,
        level_block_shape=stored.ternary.grid.block_shape,
        counts=stored.ternary.counts,
        counted=is_weight(entry.shape, stored.ternary.counts) and stored is entry,
        negative_zeros=stored.ternary.negative_zeros,
    )
