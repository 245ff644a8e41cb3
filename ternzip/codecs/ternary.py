"""A ternary tensor as symbols, levels and signs of zeros: what is taken apart here is put together here.

A tensor is ternary if its bits take at most the patterns {a, 0, b} with a < 0 < b: for the whole tensor, or
for each index of dimension 0. The zeros of a floating-point tensor may carry signs; they form a second
sequence of symbols, -1 for -0.0 and +1 for +0.0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ternzip._core.dtypes import DType, Kind
from ternzip._core.native import core
from ternzip._core.symbols import SymbolCounts
from ternzip._core.tensor import RawTensor
from ternzip._core.varint import Cursor, encode_varint
from ternzip.codecs.base import TernaryCodec, Trits, UnknownCodec
from ternzip.codecs.geometry import Geometry
from ternzip.codecs.parameters import ParameterTable, StoredParameters

Levels = NDArray[np.uint64]

# Flags of a ternary tensor's parameters; the two highest bits are reserved and zero.
_NEGATIVE, _POSITIVE, _SYMMETRIC, _PER_ROW = 1, 2, 4, 8
_ZERO_SIGNS = 4  # shift of a two-bit field: all +0, all -0, both
_ALL_PLUS, _ALL_MINUS, _BOTH = 0, 1, 2


@dataclass(frozen=True)
class Ternary:
    """What is known of a ternary tensor beside its symbols.

    Attributes:
        dtype: its element type.
        geometry: its shape as the codecs see it.
        per_row: whether there is one pair of levels for each index of dimension 0.
        negative, positive: bit patterns of the levels, one or `rows` of them; 0 where a level does not occur.
        counts: how often each symbol occurs.
        negative_zeros: how many of the zeros are -0.0.
    """

    dtype: DType
    geometry: Geometry
    per_row: bool
    negative: Levels
    positive: Levels
    counts: SymbolCounts
    negative_zeros: int

    @property
    def level_rows(self) -> tuple[int, int]:
        """(rows, elements per row) as far as levels go."""
        if not self.per_row:
            return 1, self.geometry.symbols
        return self.geometry.rows, self.geometry.symbols // self.geometry.rows

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
    """The levels and counts of a ternary tensor, None for any other."""
    if not tensor.dtype.may_be_ternary or not tensor.size:
        return None
    code, data = tensor.dtype.code, tensor.data
    geometry = Geometry.of_shape(tensor.shape)
    found, negative, positive, *counts = core.detect_levels(data.ctypes.data, tensor.size, code, threads)
    if found:
        levels = np.array([negative], np.uint64), np.array([positive], np.uint64)
    else:
        rows = geometry.rows
        if rows < 2 or rows == tensor.size:
            return None
        levels = np.empty(rows, np.uint64), np.empty(rows, np.uint64)
        found, _, _, *counts = core.detect_row_levels(
            data.ctypes.data, rows, tensor.size // rows, code, levels[0].ctypes.data, levels[1].ctypes.data
        )
        if not found:
            return None
    n_negative, n_zero, n_positive, n_negative_zero = counts
    return Ternary(
        tensor.dtype,
        geometry,
        len(levels[0]) > 1,
        *levels,
        SymbolCounts(n_negative, n_zero, n_positive),
        n_negative_zero,
    )


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
    """The signs of a tensor's zeros in order: -1 for -0.0, +1 for +0.0."""
    signs = np.empty(ternary.counts.zero, np.int8)
    core.extract_zero_signs(tensor.data.ctypes.data, tensor.size, tensor.dtype.code, signs.ctypes.data)
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


def _negated(levels: Levels, dtype: DType) -> Levels:
    """The bit patterns of the opposite values; an absent level (0) stays absent."""
    width = np.uint64(8 * dtype.itemsize)
    if dtype.kind is Kind.FLOAT:
        flipped = levels ^ (np.uint64(1) << (width - np.uint64(1)))
    else:
        flipped = (~levels + np.uint64(1)) & np.uint64((1 << int(width)) - 1)
    return np.where(levels == 0, np.uint64(0), flipped)


def _level_bytes(levels: Levels, dtype: DType) -> bytes:
    return levels.astype(f"<u{dtype.itemsize}").tobytes()


def encode_parameters(ternary: Ternary, coding: Coding, table: ParameterTable) -> bytes:
    """The parameters of one tensor; docs/FORMAT.md, "Ternary parameters". Codec parameters go into `table`."""
    dtype = ternary.dtype
    flags = (_NEGATIVE if ternary.negative.any() else 0) | (_POSITIVE if ternary.positive.any() else 0)
    if flags & _NEGATIVE and np.array_equal(_negated(ternary.negative, dtype), ternary.positive):
        flags |= _SYMMETRIC
    if ternary.per_row:
        flags |= _PER_ROW
    signs = _BOTH if ternary.has_zero_signs else _ALL_MINUS if ternary.negative_zeros else _ALL_PLUS
    flags |= signs << _ZERO_SIGNS

    out = bytearray([flags])
    if ternary.negative.any():
        out += _level_bytes(ternary.negative, dtype)
    if ternary.positive.any() and not flags & _SYMMETRIC:
        out += _level_bytes(ternary.positive, dtype)
    for present, count in (
        (flags & _NEGATIVE, ternary.counts.negative),
        (flags & _POSITIVE, ternary.counts.positive),
    ):
        if present:
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
    """Reads what encode_parameters wrote; every field is checked against the others."""
    geometry = Geometry.of_shape(shape)
    if not dtype.may_be_ternary or not geometry.symbols:
        raise cursor.fail(f"expected a non-empty tensor of a signed type, found {dtype.name} {list(shape)}")
    flags = cursor.byte("flags")
    signs = flags >> _ZERO_SIGNS
    if signs > _BOTH:
        raise cursor.fail(f"flags: expected reserved bits of zero, found {flags:#04x}")
    if signs and not dtype.negative_zero:
        raise cursor.fail(f"flags: {dtype.name} has no negative zero, found {flags:#04x}")
    per_row = bool(flags & _PER_ROW)
    if per_row and (len(shape) < 2 or geometry.rows < 2):
        raise cursor.fail(f"flags: levels per row need two rows, found shape {list(shape)}")
    if per_row and not flags & (_NEGATIVE | _POSITIVE):
        raise cursor.fail("flags: levels per row need a level")
    if flags & _SYMMETRIC and not (flags & _NEGATIVE and flags & _POSITIVE):
        raise cursor.fail("flags: symmetric levels need both levels")
    rows = geometry.rows if per_row else 1

    # Levels that are stored bound the number of rows; only then are those made that are not.
    negative = _read_levels(cursor, rows, dtype, negative=True) if flags & _NEGATIVE else None
    positive = None
    if flags & _SYMMETRIC and negative is not None:
        positive = _negated(negative, dtype)
        if np.any((positive == 0) != (negative == 0)) or np.any(positive & _sign_bit(dtype)):
            raise cursor.fail("levels: expected negatives that have an opposite")
    elif flags & _POSITIVE:
        positive = _read_levels(cursor, rows, dtype, negative=False)
    negative = np.zeros(rows, np.uint64) if negative is None else negative
    positive = np.zeros(rows, np.uint64) if positive is None else positive

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
    return Ternary(dtype, geometry, per_row, negative, positive, counts, n_negative_zeros), coding


def _sign_bit(dtype: DType) -> np.uint64:
    return np.uint64(1 << (8 * dtype.itemsize - 1))


def _read_levels(cursor: Cursor, rows: int, dtype: DType, *, negative: bool) -> Levels:
    data = cursor.take(rows * dtype.itemsize, "levels")
    levels = np.frombuffer(data, f"<u{dtype.itemsize}").astype(np.uint64)
    wrong = (levels & _sign_bit(dtype) == 0) if negative else (levels & _sign_bit(dtype) != 0)
    # 0 marks a row without this level; the pattern of -0.0 is a zero and never a level.
    if np.any(wrong & (levels != 0)) or (
        negative and dtype.kind is Kind.FLOAT and np.any(levels == _sign_bit(dtype))
    ):
        raise cursor.fail(f"levels: expected {'negative' if negative else 'positive'} values")
    if not levels.any():
        raise cursor.fail("levels: expected at least one that is not zero")
    return levels


def _read_codec(
    cursor: Cursor, codecs: dict[int, TernaryCodec], stored: StoredParameters
) -> tuple[TernaryCodec, bytes]:
    code = cursor.byte("codec")
    parameters = stored.read(cursor)
    # Whether they can be decoded is asked when the tensor is: a stranger must not make its whole file unreadable.
    return codecs.get(code) or UnknownCodec(code), parameters
