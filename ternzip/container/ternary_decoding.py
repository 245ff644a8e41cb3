"""Decodes one ternary tensor: its chunks in parallel, then what needs all of them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

import numpy as np

from ternzip.codecs.base import BatchDecoder, CorruptPayload, DecodeJob, Trits
from ternzip.codecs.geometry import Geometry
from ternzip.codecs.planes import Bytes
from ternzip.codecs.ternary import Ternary, put_elements
from ternzip.container.batches import Batches, BatchItem
from ternzip.container.layout import Entry, Record
from ternzip.container.located import Located
from ternzip.container.workers import Workers
from ternzip.native import core
from ternzip.symbols import SymbolCounts


class TernaryDecoding:
    """The work on one ternary tensor.

    Args:
        entry: the tensor; its storage is TERNARY.
        data: its bytes in memory, to be filled.
        payload: reads and checks a record.
        located: places errors.
        batches: gathers the chunks of codecs that decode several at once.
    """

    def __init__(
        self,
        entry: Entry,
        data: Bytes,
        payload: Callable[[Record], memoryview],
        located: Callable[[Entry, Record | None], Located],
        batches: Batches,
    ) -> None:
        assert entry.ternary is not None
        assert entry.coding is not None
        self._entry, self._ternary, self._coding = entry, entry.ternary, entry.coding
        self._data, self._payload, self._located, self._batches = data, payload, located, batches
        # Levels per row are applied to the whole tensor at the end: chunks need not hold whole rows.
        self._trits = np.empty(entry.size, np.int8) if self._ternary.per_row else None
        self._signs = np.empty(self._ternary.zero_geometry.symbols, np.int8)
        self._found: list[tuple[int, int, int, int]] = []  # of each chunk: -1, 0, +1, others

    def start(self, workers: Workers) -> list[Future[None]]:
        """Submits all chunks; `finish` may be called when every future is done."""
        records = iter(self._entry.records)
        futures = []
        codec = self._coding.symbols
        for start, chunk in self._ternary.geometry.chunks():
            record = next(records)
            if isinstance(codec, BatchDecoder):
                futures.append(self._batches.add(codec, self._batch_item(codec, record, start, chunk)))
            else:
                futures.append(workers.submit(self._decode_symbols, record, start, chunk))
        for start, chunk in self._ternary.zero_geometry.chunks():
            futures.append(workers.submit(self._decode_signs, next(records), start, chunk))
        return futures

    def finish(self) -> None:
        """Checks counts, applies levels per row and the signs of zeros."""
        ternary = self._ternary
        _check_counts("symbols", ternary.counts, tuple(map(sum, zip(*self._found, strict=True))))
        if self._trits is not None:
            _check_rows(ternary, self._trits)
            put_elements(ternary, self._trits, self._data)
        if not ternary.negative_zeros:
            return
        signs = self._signs
        if ternary.has_zero_signs:
            counted = core.count_trits(signs.ctypes.data, signs.size)
            _check_counts("signs of zeros", ternary.zero_counts, counted)
        else:
            signs = np.full(ternary.counts.zero, -1, np.int8)
        code = self._entry.dtype.code
        if not core.apply_zero_signs(
            self._data.ctypes.data, self._entry.size, code, signs.ctypes.data, signs.size
        ):
            raise CorruptPayload(f"expected {signs.size} zeros to carry signs, found another number")

    def _room(self, start: int, chunk: Geometry) -> Trits:
        if self._trits is None:
            return np.empty(chunk.symbols, np.int8)
        return self._trits[start : start + chunk.symbols]

    def _decode_symbols(self, record: Record, start: int, chunk: Geometry) -> None:
        out = self._room(start, chunk)
        counts = self._ternary.counts
        with self._located(self._entry, record):
            payload = self._payload(record)
            coding = self._coding
            if coding.symbols is not None:
                coding.symbols.decode(payload, chunk, counts, coding.symbol_parameters, out)
            elif payload:
                raise CorruptPayload(f"expected an empty record for a constant, found {record.size} bytes")
            else:
                out.fill(1 if counts.positive else -1 if counts.negative else 0)
        self._use(out, start)

    def _batch_item(self, codec: BatchDecoder, record: Record, start: int, chunk: Geometry) -> BatchItem:
        out: list[Trits] = []

        def prepare() -> DecodeJob:
            out.append(self._room(start, chunk))
            with self._located(self._entry, record):
                payload = self._payload(record)
            return DecodeJob(payload, chunk, self._ternary.counts, self._coding.symbol_parameters, out[0])

        def complete(well: bool) -> None:
            with self._located(self._entry, record):
                if not well:
                    raise CorruptPayload(
                        f"{codec.name} payload: {record.size} bytes cannot stand for {chunk.symbols} symbols"
                    )
            self._use(out[0], start)

        return BatchItem(prepare, complete)

    def _use(self, symbols: Trits, start: int) -> None:
        """Counts a decoded chunk and, with one pair of levels, puts its elements in place."""
        self._found.append(core.count_trits(symbols.ctypes.data, symbols.size))
        if self._trits is None:
            itemsize = self._entry.dtype.itemsize
            part = self._data[start * itemsize : (start + symbols.size) * itemsize]
            put_elements(self._ternary, symbols, part)

    def _decode_signs(self, record: Record, start: int, chunk: Geometry) -> None:
        coding = self._coding
        assert coding.zeros is not None
        out = self._signs[start : start + chunk.symbols]
        with self._located(self._entry, record):
            payload = self._payload(record)
            coding.zeros.decode(payload, chunk, self._ternary.zero_counts, coding.zero_parameters, out)


def _check_counts(what: str, expected: SymbolCounts, found: tuple[int, ...]) -> None:
    stated = (expected.negative, expected.zero, expected.positive, 0)
    if found != stated:
        raise CorruptPayload(f"{what} -1, 0, +1: expected {stated[:3]}, found {found[:3]}")


def _check_rows(ternary: Ternary, trits: Trits) -> None:
    """A symbol in a row that has no level for it would come out as a zero."""
    table = trits.reshape(ternary.level_rows)
    for symbol, levels in ((-1, ternary.negative), (1, ternary.positive)):
        (lacking,) = np.nonzero(levels == 0)
        (wrong,) = np.nonzero((table[lacking] == symbol).any(axis=1))
        if wrong.size:
            raise CorruptPayload(f"row {lacking[wrong[0]]}: expected no symbol {symbol:+} without a level")
