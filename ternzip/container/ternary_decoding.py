"""Decodes one ternary tensor: its chunks in parallel, then what needs all of them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import numpy as np

from ternzip._core.dtypes import BY_NAME
from ternzip._core.native import core
from ternzip._core.symbols import SymbolCounts
from ternzip.codecs import BATCH_DECODERS, ELEMENT_DECODERS
from ternzip.codecs.base import BatchDecoder, CorruptPayload, DecodeJob, Trits
from ternzip.codecs.elements import Elements, FillCounts
from ternzip.codecs.geometry import Geometry
from ternzip.codecs.levels import Levels
from ternzip.codecs.plane import Bytes
from ternzip.container.batches import Batches, BatchItem
from ternzip.container.layout import Entry, Record
from ternzip.container.level_records import read_levels
from ternzip.container.located import Located
from ternzip.container.workers import Workers


def as_trits(entry: Entry, levels: Levels) -> Entry:
    """The entry of the int8 tensor of an entry's symbols, with the same payload but for the signs of zeros.

    A block without a level has none here either, so that a symbol that must not occur is found.
    """
    assert entry.ternary is not None
    negative, positive = (
        np.where(own != 0, np.uint8(value), np.uint8(0))
        for own, value in ((levels.negative, 0xFF), (levels.positive, 0x01))
    )
    int8 = BY_NAME["int8"]
    symbols = replace(entry.ternary, dtype=int8, levels=Levels(negative, positive), negative_zeros=0)
    changed = replace(entry, dtype=int8, ternary=symbols, tied_to=None)
    # Levels that are known have their records passed over, of which there may be fewer of int8.
    skipped, symbol_records = (
        entry.records[: changed.level_record_count],
        entry.records[entry.level_record_count :],
    )
    return replace(changed, records=[*skipped, *symbol_records])


class TernaryDecoding:
    """The work on one ternary tensor, or on some chunks of it.

    Args:
        entry: the tensor; its storage is TERNARY.
        data: its bytes in memory, to be filled, or those of `stretch`.
        payload: reads and checks a record.
        located: places errors.
        batches: gathers the chunks of codecs that decode several at once.
        stretch: the elements wanted, whole chunks of a tensor that does not keep the signs of its zeros; None: all.
    """

    def __init__(
        self,
        entry: Entry,
        data: Bytes,
        payload: Callable[[Record], memoryview],
        located: Callable[[Entry, Record | None], Located],
        batches: Batches,
        stretch: range | None = None,
    ) -> None:
        assert entry.ternary is not None
        assert entry.coding is not None
        self._entry, self._ternary, self._coding = entry, entry.ternary, entry.coding
        self._data, self._payload, self._located, self._batches = data, payload, located, batches
        self._codec_code = -1 if entry.coding.symbols is None else entry.coding.symbols.code
        self._stretch = range(entry.size) if stretch is None else stretch
        self._is_part = len(self._stretch) < entry.size
        self._signs = np.empty(self._ternary.zero_geometry.symbols, np.int8)
        self._found: list[FillCounts] = []  # of each chunk
        self._levels: Future[Levels] = Future()

    def start(self, workers: Workers) -> list[Future[Any]]:
        """Submits all chunks; `finish` may be called when every future is done."""
        # What waits for the levels is submitted after them, so it cannot keep them from a thread.
        self._levels = workers.submit(read_levels, self._entry, self._payload, self._located)
        records = iter(self._entry.records[self._entry.level_record_count :])
        futures: list[Future[Any]] = [self._levels]
        batch_decoder = BATCH_DECODERS.get(self._codec_code)
        for start, chunk in self._ternary.geometry.chunks():
            record = next(records)
            if start not in self._stretch:
                continue
            if batch_decoder is not None:
                item = self._batch_item(batch_decoder, record, start, chunk)
                futures.append(self._batches.add(batch_decoder, item))
            else:
                futures.append(workers.submit(self._decode_symbols, record, start, chunk))
        for start, chunk in self._ternary.zero_geometry.chunks():
            futures.append(workers.submit(self._decode_signs, next(records), start, chunk))
        return futures

    def finish(self) -> None:
        """Checks counts and levels, and applies the signs of zeros."""
        ternary = self._ternary
        found = SymbolCounts(
            sum(part.negative for part in self._found),
            sum(part.zero for part in self._found),
            sum(part.positive for part in self._found),
            sum(part.invalid for part in self._found),
        )
        _check_counts("symbols", ternary.counts, found, at_most=self._is_part)
        missing = [part.missing_level for part in self._found if part.missing_level is not None]
        if missing:  # the symbol would have come out as a zero
            block, symbol = min(missing)
            raise CorruptPayload(f"block {block} of levels: expected no symbol {symbol:+} without a level")
        if not ternary.negative_zeros or not found.zero:
            return
        signs = self._signs
        if ternary.has_zero_signs:
            counted = SymbolCounts.of(core.count_trits(signs.ctypes.data, signs.size))
            _check_counts("signs of zeros", ternary.zero_counts, counted)
        else:
            signs = np.full(found.zero, -1, np.int8)
        applied = core.apply_zero_signs(
            self._data.ctypes.data, len(self._stretch), self._entry.dtype.code, signs.ctypes.data, signs.size
        )
        assert applied, "the number of zeros was checked, and the type has a negative zero"

    def _elements(self, start: int, chunk: Geometry) -> Elements:
        itemsize = self._entry.dtype.itemsize
        place = start - self._stretch.start
        data = self._data[place * itemsize : (place + chunk.symbols) * itemsize]
        return Elements(self._ternary, self._levels.result(), start, data)

    def _decode_symbols(self, record: Record, start: int, chunk: Geometry) -> None:
        elements = self._elements(start, chunk)
        counts, codec = self._ternary.counts, self._coding.symbols
        with self._located(self._entry, record):
            payload = self._payload(record)
            direct = ELEMENT_DECODERS.get(self._codec_code)
            if direct is not None:
                filled = direct.decode_elements(payload, counts, self._coding.symbol_parameters, elements)
            else:
                symbols = np.empty(chunk.symbols, np.int8)
                if codec is not None:
                    codec.decode(payload, chunk, counts, self._coding.symbol_parameters, symbols)
                elif payload:
                    raise CorruptPayload(
                        f"expected an empty record for a constant, found {record.size} bytes"
                    )
                else:
                    symbols.fill(1 if counts.positive else -1 if counts.negative else 0)
                filled = elements.fill(symbols)
        self._found.append(filled)

    def _batch_item(self, codec: BatchDecoder, record: Record, start: int, chunk: Geometry) -> BatchItem:
        out: list[Trits] = []

        def prepare() -> DecodeJob:
            out.append(np.empty(chunk.symbols, np.int8))
            with self._located(self._entry, record):
                payload = self._payload(record)
            return DecodeJob(payload, chunk, self._ternary.counts, self._coding.symbol_parameters, out[0])

        def complete(well: bool) -> None:
            with self._located(self._entry, record):
                if not well:
                    raise CorruptPayload(
                        f"{codec.name} payload: {record.size} bytes cannot stand for {chunk.symbols} symbols"
                    )
            self._found.append(self._elements(start, chunk).fill(out.pop()))

        return BatchItem(prepare, complete)

    def _decode_signs(self, record: Record, start: int, chunk: Geometry) -> None:
        coding = self._coding
        assert coding.zeros is not None
        out = self._signs[start : start + chunk.symbols]
        with self._located(self._entry, record):
            payload = self._payload(record)
            coding.zeros.decode(payload, chunk, self._ternary.zero_counts, coding.zero_parameters, out)


def _check_counts(what: str, stated: SymbolCounts, found: SymbolCounts, *, at_most: bool = False) -> None:
    """`at_most`: what was found are those of a part."""
    expected, counted = ((c.negative, c.zero, c.positive) for c in (stated, found))
    fits = counted == expected
    if at_most:
        fits = all(part <= whole for part, whole in zip(counted, expected, strict=True))
    if not fits or found.invalid:
        raise CorruptPayload(f"{what} -1, 0, +1: expected {expected}, found {counted}")
