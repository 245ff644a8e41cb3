"""Levels of many blocks are coded in records of their own, as byte planes like the elements of other tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import numpy as np

from ternzip._core.dtypes import DType
from ternzip.codecs.levels import Levels
from ternzip.codecs.plane import Bytes
from ternzip.codecs.planes import MAX_BLOCK_BYTES, Run, decode_block, encode_block
from ternzip.codecs.ternary import Ternary
from ternzip.container.layout import Entry, Record


def level_pieces(ternary: Ternary) -> Iterator[Bytes]:
    """What each record of levels holds: the bytes of its levels in memory."""
    if not ternary.level_bytes:
        return
    for sequence in ternary.level_sequences:
        data = sequence.view(np.uint8)
        for start in range(0, data.size, MAX_BLOCK_BYTES):
            yield data[start : start + MAX_BLOCK_BYTES]


def encode_levels(piece: Bytes, dtype: DType) -> bytes:
    """The record of one of the pieces."""
    return encode_block(piece, [Run(piece.size, dtype)], quick=True)


def read_levels(
    entry: Entry,
    payload: Callable[[Record], memoryview],
    located: Callable[[Entry, Record | None], AbstractContextManager[None]],
) -> Levels:
    """The levels of a ternary tensor; `payload` reads and checks a record, `located` places errors."""
    ternary = entry.ternary
    assert ternary is not None
    if ternary.levels is not None:
        return ternary.levels
    records = iter(entry.records)
    sequences = []
    for size in ternary.level_bytes:
        data = np.empty(size, np.uint8)
        for start in range(0, size, MAX_BLOCK_BYTES):
            record = next(records)
            piece = data[start : start + record.units]
            with located(entry, record):
                decode_block(payload(record), [Run(piece.size, entry.dtype)], piece)
        sequences.append(data)
    with located(entry, entry.records[0]):
        return ternary.levels_from(sequences)
