"""A ternary tensor as symbols, levels and signs of zeros: what is taken apart here is put together here.

A tensor is ternary if its bits take at most the patterns {a, 0, b} with a < 0 < b: for the whole tensor, or in each
block of a grid (ternzip.codecs.levels). The zeros of a floating-point tensor may carry signs; they form a second
sequence of symbols, -1 for -0.0 and +1 for +0.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ternzip._core.dtypes import DType
from ternzip._core.native import core
from ternzip._core.symbols import SymbolCounts
from ternzip._core.tensor import RawTensor
from ternzip._core.varint import Cursor, encode_varint
from ternzip.codecs.base import CorruptPayload, TernaryCodec, Trits, UnknownCodec
from ternzip.codecs.geometry import Geometry
from ternzip.codecs.levels import (
    MIN_LEVEL_BLOCK_ELEMENTS,
    Buffer,
    Grid,
    Levels,
    Patterns,
    pattern_type,
    restored_levels,
    with_one_magnitude,
)
from ternzip.codecs.parameters import ParameterTable, StoredParameters

# Flags of a ternary tensor's parameters; the two highest bits are reserved and zero.
_NEGATIVE, _POSITIVE, _SYMMETRIC, _BLOCKS = 1, 2, 4, 8
_ZERO_SIGNS = 4  # shift of a two-bit field: all +0, all -0, both
_ALL_PLUS, _ALL_MINUS, _BOTH = 0, 1, 2


@dataclass(frozen=True)
class Ternary:
    """What is known of a ternary tensor beside its symbols.

    Attributes:
        dtype: its element type.
        geometry: its shape as the codecs see it.
        grid: the blocks that have levels of their own.
        symmetric: whether in each block both levels have one magnitude.
        levels: of each block; None while those of several blocks are still in their records.
        counts: how often each symbol occurs.
        negative_zeros: how many of the zeros are -0.0.
    """

    dtype: DType
    geometry: Geometry
    grid: Grid
    symmetric: bool
    levels: Levels | None
    counts: SymbolCounts
    negative_zeros: int

    @property
    def stored_levels(self) -> int:
        """How many levels are stored: of each sign that occurs, or of one where both have one magnitude."""
        signs = (self.counts.negative > 0) + (self.counts.positive > 0 and not self.symmetric)
        return signs * self.grid.blocks

    @property
    def level_bytes(self) -> tuple[int, ...]:
        """Bytes of each sequence of levels that has records of its own; one block's stand in the parameters."""
        if self.grid.blocks == 1:
            return ()
        size = self.grid.blocks * self.dtype.itemsize
        return (size,) * (self.stored_levels // self.grid.blocks)

    @property
    def decoded_level_bytes(self) -> int:
        """Bytes of the levels of both signs in memory, where they have records of their own; else 0."""
        return 2 * self.grid.blocks * self.dtype.itemsize if self.grid.blocks > 1 else 0

    @property
    def level_sequences(self) -> list[Patterns]:
        """The levels as they are stored, ``(blocks,)`` each: negative ones, then positive ones."""
        assert self.levels is not None
        sequences = [self.levels.negative] if self.counts.negative else []
        if self.counts.positive and not self.symmetric:
            sequences.append(self.levels.positive)
        return sequences

    def levels_from(self, sequences: Sequence[Buffer]) -> Levels:
        """The levels from the bytes of what `level_sequences` gave; CorruptPayload where these can be no levels."""
        return restored_levels(
            sequences,
            self.grid.blocks,
            self.dtype,
            negative=self.counts.negative > 0,
            positive=self.counts.positive > 0,
            symmetric=self.symmetric,
        )

    @property
    def zero_counts(self) -> SymbolCounts:
        """The counts of the sequence of zeros' signs."""
        return SymbolCounts(self.negative_zeros, 0, self.counts.zero - self.negative_zeros)

    @property
    def has_zero_signs(self) -> bool:
        """Whether the signs of the zeros differ, and so are stored."""
        return 0 < self.negative_zeros < self.counts.zero

    @property
    def zero_geometry(self) -> Geometry:
        """The sequence of zeros' signs as a vector, empty where they are not stored."""
        return Geometry(1, self.counts.zero if self.has_zero_signs else 0, 1)


def occurring(counts: SymbolCounts) -> int:
    """How many of the three symbols occur; with fewer than two the counts alone tell every symbol."""
    return (counts.negative > 0) + (counts.zero > 0) + (counts.positive > 0)


def detect(tensor: RawTensor, threads: int = 1) -> Ternary | None:
    """The levels and counts of a ternary tensor, None for any other.

    Blocks are the largest that are found. Where not even two elements share a level, on average, the tensor is not
    taken for ternary: symbols and levels would say no less than the elements do.
    """
    if not tensor.dtype.may_be_ternary or not tensor.size:
        return None
    dtype, geometry = tensor.dtype, Geometry.of_shape(tensor.shape)
    rows, row_size = geometry.rows, geometry.symbols // geometry.rows
    found = core.detect_levels(tensor.data.ctypes.data, rows, row_size, dtype.code, threads)
    if found is None:
        return None
    height, width, negative, positive, n_negative, n_zero, n_positive, n_negative_zero = found
    counts = SymbolCounts(n_negative, n_zero, n_positive)
    patterns = pattern_type(dtype)
    levels = Levels(np.frombuffer(negative, patterns), np.frombuffer(positive, patterns))
    one_magnitude = with_one_magnitude(levels, dtype) if n_negative and n_positive else None
    if one_magnitude is not None:
        levels = one_magnitude
    ternary = Ternary(
        dtype,
        geometry,
        Grid.of(geometry, height, width),
        one_magnitude is not None,
        levels,
        counts,
        n_negative_zero,
    )
    if ternary.grid.blocks > 1:
        different = sum(int(np.count_nonzero(sequence)) for sequence in ternary.level_sequences)
        if 2 * different > n_negative + n_positive:
            return None
    return ternary


def is_weight(shape: tuple[int, ...], counts: SymbolCounts) -> bool:
    """Whether the paper's metrics count a ternary tensor: two dimensions or more, two symbols or more."""
    return len(shape) >= 2 and occurring(counts) >= 2


def trits_of(tensor: RawTensor, start: int = 0, size: int | None = None) -> Trits:
    """The symbols of a ternary tensor, or of the `size` elements from number `start` on."""
    trits = np.empty(tensor.size - start if size is None else size, np.int8)
    source = tensor.data.ctypes.data + start * tensor.dtype.itemsize
    core.extract_trits(source, trits.size, tensor.dtype.code, trits.ctypes.data)
    return trits


def zero_signs_of(tensor: RawTensor, ternary: Ternary) -> Trits:
    """The signs of a tensor's zeros in order: -1 for -0.0, +1 for +0.0; 0 for those that it has no longer."""
    signs = np.zeros(ternary.counts.zero, np.int8)
    core.extract_zero_signs(
        tensor.data.ctypes.data, tensor.size, tensor.dtype.code, signs.ctypes.data, signs.size
    )
    return signs


def merge_zeros(ternary: Ternary) -> Ternary:
    """The same tensor with every zero as +0.0."""
    return replace(ternary, negative_zeros=0)


# --- parameters: the tensor's own bytes in the index -------------------------------------------------------


@dataclass(frozen=True)
class Coding:
    """Which codec holds the symbols, None where the counts tell all, and which the signs of the zeros."""

    symbols: TernaryCodec | None = None
    symbol_parameters: bytes = b""
    zeros: TernaryCodec | None = None
    zero_parameters: bytes = b""

    @property
    def problem(self) -> str | None:
        """Why this version cannot decode the tensor; None if it can."""
        uses = ((self.symbols, self.symbol_parameters), (self.zeros, self.zero_parameters))
        problems = (codec.parameters_problem(parameters) for codec, parameters in uses if codec is not None)
        return next((problem for problem in problems if problem), None)


def encode_parameters(ternary: Ternary, coding: Coding, table: ParameterTable) -> bytes:
    """The parameters of one tensor; docs/FORMAT.md, "Ternary parameters". Codec parameters go into `table`."""
    counts = ternary.counts
    flags = (_NEGATIVE if counts.negative else 0) | (_POSITIVE if counts.positive else 0)
    flags |= (_SYMMETRIC if ternary.symmetric else 0) | (_BLOCKS if ternary.grid.blocks > 1 else 0)
    signs = _BOTH if ternary.has_zero_signs else _ALL_MINUS if ternary.negative_zeros else _ALL_PLUS
    flags |= signs << _ZERO_SIGNS

    out = bytearray([flags])
    if ternary.grid.blocks > 1:
        out += b"".join(encode_varint(length) for length in ternary.grid.stored_shape)
    else:
        out += b"".join(sequence.tobytes() for sequence in ternary.level_sequences)
    for count in (counts.negative, counts.positive):
        if count:
            out += encode_varint(count)
    if coding.symbols is not None:
        out.append(coding.symbols.code)
        out += encode_varint(table.number(coding.symbol_parameters))
    if coding.zeros is not None:
        out += encode_varint(ternary.negative_zeros)
        out.append(coding.zeros.code)
        out += encode_varint(table.number(coding.zero_parameters))
    return bytes(out)


def decode_parameters(
    cursor: Cursor,
    dtype: DType,
    shape: tuple[int, ...],
    codecs: dict[int, TernaryCodec],
    stored: StoredParameters,
) -> tuple[Ternary, Coding]:
    """Reads what encode_parameters wrote; every field is checked against the others. Levels of several blocks are
    still to be read from their records."""
    geometry = Geometry.of_shape(shape)
    if not dtype.may_be_ternary or not geometry.symbols:
        raise cursor.fail(f"expected a non-empty tensor of a signed type, found {dtype.name} {list(shape)}")
    flags = cursor.byte("flags")
    signs = flags >> _ZERO_SIGNS
    if signs > _BOTH:
        raise cursor.fail(f"flags: expected reserved bits of zero, found {flags:#04x}")
    if signs and not dtype.negative_zero:
        raise cursor.fail(f"flags: {dtype.name} has no negative zero, found {flags:#04x}")
    if flags & _BLOCKS and not flags & (_NEGATIVE | _POSITIVE):
        raise cursor.fail("flags: blocks of levels need a level")
    if flags & _SYMMETRIC and not (flags & _NEGATIVE and flags & _POSITIVE):
        raise cursor.fail("flags: symmetric levels need both levels")
    grid = _read_grid(cursor, geometry) if flags & _BLOCKS else Grid.of(geometry)
    levels = None if flags & _BLOCKS else _read_levels(cursor, flags, dtype)

    size = geometry.symbols
    n_negative = cursor.varint("count of negatives", size) if flags & _NEGATIVE else 0
    n_positive = cursor.varint("count of positives", size - n_negative) if flags & _POSITIVE else 0
    if (flags & _NEGATIVE and not n_negative) or (flags & _POSITIVE and not n_positive):
        raise cursor.fail("counts: expected at least one symbol for each level")
    counts = SymbolCounts(n_negative, size - n_negative - n_positive, n_positive)
    if signs and not counts.zero:
        raise cursor.fail("flags: expected no signs of zeros in a tensor without zeros")

    coding = Coding()
    if occurring(counts) >= 2:
        symbols, parameters = _read_codec(cursor, codecs, stored)
        coding = Coding(symbols, parameters)
    n_negative_zeros = counts.zero if signs == _ALL_MINUS else 0
    if signs == _BOTH:
        n_negative_zeros = cursor.varint("count of negative zeros", counts.zero - 1)
        if not n_negative_zeros:
            raise cursor.fail("count of negative zeros: expected at least 1, found 0")
        zeros, parameters = _read_codec(cursor, codecs, stored)
        coding = replace(coding, zeros=zeros, zero_parameters=parameters)
    return Ternary(dtype, geometry, grid, bool(flags & _SYMMETRIC), levels, counts, n_negative_zeros), coding


def _read_levels(cursor: Cursor, flags: int, dtype: DType) -> Levels:
    """The levels of a tensor that is one block."""
    stored = bool(flags & _NEGATIVE) + (flags & (_POSITIVE | _SYMMETRIC) == _POSITIVE)
    sequences = [cursor.take(dtype.itemsize, "levels") for _ in range(stored)]
    try:
        return restored_levels(
            sequences,
            1,
            dtype,
            negative=bool(flags & _NEGATIVE),
            positive=bool(flags & _POSITIVE),
            symmetric=bool(flags & _SYMMETRIC),
        )
    except CorruptPayload as error:
        raise cursor.fail(str(error)) from None


def _read_grid(cursor: Cursor, geometry: Geometry) -> Grid:
    whole = Grid.of(geometry)
    height = cursor.varint("rows of a block of levels", whole.rows - 1)
    width = cursor.varint("elements of a block of levels", whole.row_size - 1)
    grid = Grid.of(geometry, height, width)
    most = geometry.symbols // MIN_LEVEL_BLOCK_ELEMENTS
    if not 2 <= grid.blocks <= most:
        raise cursor.fail(
            f"levels: expected 2 to {most} blocks, found {grid.blocks} of {grid.height} x {grid.width} elements"
        )
    return grid


def _read_codec(
    cursor: Cursor, codecs: dict[int, TernaryCodec], stored: StoredParameters
) -> tuple[TernaryCodec, bytes]:
    code = cursor.byte("codec")
    parameters = stored.read(cursor)
    # Whether they can be decoded is asked when the tensor is: a stranger must not make its whole file unreadable.
    return codecs.get(code) or UnknownCodec(code), parameters
