"""Reads .tnz files: the whole index is checked on opening, then any tensor can be had alone."""

from __future__ import annotations

import os
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from types import TracebackType

import numpy as np

from ternzip.codecs.base import CorruptPayload, ElementDecoder, TernaryCodec, Trits
from ternzip.codecs.geometry import Geometry
from ternzip.codecs.planes import Bytes, Run, decode_block
from ternzip.codecs.ternary import Ternary
from ternzip.container.index import Index, decode_index
from ternzip.container.layout import PREAMBLE, Entry, Preamble, Record, SolidBlock, Storage
from ternzip.container.sources import BufferSource, FileSource, Source
from ternzip.container.tensor import RawTensor, Tie
from ternzip.container.workers import Workers
from ternzip.container.writer import Progress
from ternzip.errors import TernzipError
from ternzip.native import core
from ternzip.symbols import SymbolCounts

_AHEAD_BYTES = 256 << 20  # tensors that may be decoded before the caller takes them


class Reader:
    """One open .tnz file.

    Attributes:
        entries: every tensor by name, in the file's order.
        metadata: the file's metadata.
        size: bytes of the file.

    Every problem is a TernzipError that names the file, the tensor and the offset.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.size = source.size
        try:
            index = self._read_index()
        except TernzipError as error:
            source.close()
            raise TernzipError(f"{source.name}: {error}") from None
        except BaseException:
            source.close()
            raise
        self._blocks = index.blocks
        self._cached_block: tuple[int, Bytes] | None = None
        self.entries: dict[str, Entry] = {entry.name: entry for entry in index.entries}
        self.metadata = index.metadata

    @classmethod
    def open(cls, source: str | os.PathLike[str] | bytes | bytearray | memoryview) -> Reader:
        """A reader of the file at a path, or of the bytes of a file."""
        if isinstance(source, bytes | bytearray | memoryview):
            return cls(BufferSource(source))
        return cls(FileSource(source))

    def _read_index(self) -> Index:
        source = self._source
        preamble = Preamble.from_bytes(bytes(source.read(0, min(PREAMBLE.size, source.size))), source.size)
        index = source.read(preamble.index_offset, preamble.parameters_size + preamble.directory_size)
        if zlib.crc32(index) != preamble.index_crc:
            raise TernzipError(
                f"offset {preamble.index_offset}: index checksum: "
                f"expected {preamble.index_crc:#010x}, found {zlib.crc32(index):#010x}"
            )
        split = preamble.parameters_size
        return decode_index(index[:split], index[split:], preamble.index_offset)

    def close(self) -> None:
        self._source.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def blocks(self) -> list[SolidBlock]:
        return self._blocks

    def read(self, name: str, *, threads: int | None = 1) -> RawTensor:
        """One tensor; of the file's records only its own are read, or those of its solid block."""
        if name not in self.entries:
            raise TernzipError(f"{self._source.name}: no tensor {name!r} among {len(self.entries)}")
        with Workers(threads) as workers:
            entry = self.entries[name]
            tensor = self._start(entry if entry.tied_to is None else self.entries[entry.tied_to], workers)()
            assert isinstance(tensor, RawTensor)
            return tensor

    def read_all(
        self, *, threads: int | None = None, progress: Progress | None = None
    ) -> Iterator[tuple[str, RawTensor | Tie]]:
        """Every tensor in order; a name that shares another's elements yields a Tie to it."""
        with Workers(threads) as workers:
            waiting: deque[tuple[Entry, Callable[[], RawTensor | Tie]]] = deque()
            for entry in self.entries.values():
                waiting.append((entry, self._start(entry, workers)))
                while sum(ahead.nbytes for ahead, _ in waiting) > _AHEAD_BYTES:
                    yield self._finish(*waiting.popleft(), progress)
            while waiting:
                yield self._finish(*waiting.popleft(), progress)

    @staticmethod
    def _finish(
        entry: Entry, finish: Callable[[], RawTensor | Tie], progress: Progress | None
    ) -> tuple[str, RawTensor | Tie]:
        tensor = finish()
        if progress is not None:
            progress(entry.name, entry.nbytes)
        return entry.name, tensor

    def _start(self, entry: Entry, workers: Workers) -> Callable[[], RawTensor | Tie]:
        """Starts decoding a tensor; the result waits for it."""
        if entry.tied_to is not None:
            tie = Tie(entry.tied_to)
            return lambda: tie
        if entry.storage is Storage.SOLID:
            return lambda: RawTensor(entry.dtype, entry.shape, self._from_block(entry))
        data = np.empty(entry.nbytes, np.uint8)
        if entry.storage is Storage.PLANES:
            futures = self._start_planes(entry, data, workers)
            after: Callable[[], None] = lambda: None  # noqa: E731
        else:
            futures, after = self._start_ternary(entry, data, workers)

        def finish() -> RawTensor:
            for future in futures:
                future.result()
            with self._located(entry, entry.records[0] if entry.records else None):
                after()
            return RawTensor(entry.dtype, entry.shape, data)

        return finish

    def _payload(self, record: Record) -> memoryview:
        """The checked bytes of a record, without the zeros it may have been filled up with."""
        data = self._source.read(record.offset, record.stored)
        if zlib.crc32(data) != record.crc:
            raise TernzipError(f"checksum: expected {record.crc:#010x}, found {zlib.crc32(data):#010x}")
        if any(data[record.size :]):
            raise TernzipError(f"expected zeros after the first {record.size} bytes of the record")
        return data[: record.size]

    def _located(self, owner: Entry | SolidBlock, record: Record | None) -> _Located:
        return _Located(self._source.name, owner, record)

    def _from_block(self, entry: Entry) -> Bytes:
        cached = self._cached_block  # taken once: another thread may put a newer block in its place
        if cached is None or cached[0] != entry.block:
            block = self._blocks[entry.block]
            assert block.record is not None
            cached = entry.block, np.empty(block.size, np.uint8)
            with self._located(block, block.record):
                decode_block(self._payload(block.record), block.runs(), cached[1])
            self._cached_block = cached
        return cached[1][entry.block_offset : entry.block_offset + entry.nbytes].copy()

    def _start_planes(self, entry: Entry, data: Bytes, workers: Workers) -> list[Future[None]]:
        def decode(record: Record, part: Bytes) -> None:
            with self._located(entry, record):
                decode_block(self._payload(record), [Run(part.size, entry.dtype.plane_width)], part)

        futures = []
        start = 0
        for record in entry.records:
            futures.append(workers.submit(decode, record, data[start : start + record.units]))
            start += record.units
        return futures

    def _start_ternary(
        self, entry: Entry, data: Bytes, workers: Workers
    ) -> tuple[list[Future[None]], Callable[[], None]]:
        ternary, coding = entry.ternary, entry.coding
        assert ternary is not None
        assert coding is not None
        itemsize = entry.dtype.itemsize
        # Levels per row are applied to the whole tensor at the end: chunks need not hold whole rows.
        trits = np.empty(entry.size, np.int8) if ternary.per_row else None
        signs = np.empty(ternary.zero_geometry.symbols, np.int8)

        def decode_symbols(record: Record, start: int, chunk: Geometry) -> None:
            part = data[start * itemsize : (start + chunk.symbols) * itemsize]
            if trits is None and entry.is_coded and isinstance(coding.symbols, ElementDecoder):
                levels = int(ternary.negative[0]), int(ternary.positive[0])
                with self._located(entry, record):
                    coding.symbols.decode_elements(
                        self._payload(record), chunk.symbols, ternary.counts, itemsize, levels, part
                    )
                return
            out = np.empty(chunk.symbols, np.int8) if trits is None else trits[start : start + chunk.symbols]
            with self._located(entry, record):
                if entry.is_coded:
                    self._decode(record, coding.symbols, coding.symbol_parameters, chunk, ternary.counts, out)
                elif self._payload(record):
                    raise CorruptPayload(
                        f"expected an empty record for a constant, found {record.size} bytes"
                    )
                else:
                    out.fill(1 if ternary.counts.positive else -1 if ternary.counts.negative else 0)
            if trits is None:
                _expand(ternary, out, 1, out.size, part)

        def decode_signs(record: Record, start: int, chunk: Geometry) -> None:
            assert coding.zeros is not None
            with self._located(entry, record):
                out = signs[start : start + chunk.symbols]
                self._decode(record, coding.zeros, coding.zero_parameters, chunk, ternary.zero_counts, out)

        jobs = [(decode_symbols, chunk) for chunk in ternary.geometry.chunks()]
        jobs += [(decode_signs, chunk) for chunk in ternary.zero_geometry.chunks()]
        futures = [
            workers.submit(job, record, start, chunk)
            for record, (job, (start, chunk)) in zip(entry.records, jobs, strict=True)
        ]

        def after() -> None:
            if trits is not None:
                _expand(ternary, trits, *ternary.level_rows, data)
            if ternary.negative_zeros:
                zero_signs = signs if ternary.has_zero_signs else np.full(ternary.counts.zero, -1, np.int8)
                if not core.apply_zero_signs(
                    data.ctypes.data, entry.size, entry.dtype.code, zero_signs.ctypes.data, zero_signs.size
                ):
                    raise CorruptPayload(
                        f"expected {zero_signs.size} zeros to carry signs, found another number"
                    )

        return futures, after

    def _decode(
        self,
        record: Record,
        codec: TernaryCodec,
        parameters: bytes,
        chunk: Geometry,
        counts: SymbolCounts,
        out: Trits,
    ) -> None:
        codec.decode(self._payload(record), chunk, counts, parameters, out)


def _expand(ternary: Ternary, trits: Trits, rows: int, cols: int, data: Bytes) -> None:
    core.expand_trits(
        trits.ctypes.data,
        rows,
        cols,
        ternary.dtype.code,
        ternary.negative.ctypes.data,
        ternary.positive.ctypes.data,
        ternary.per_row,
        data.ctypes.data,
    )


class _Located:
    """Turns errors about a record into a TernzipError with file, tensor and offset."""

    def __init__(self, name: str, owner: Entry | SolidBlock, record: Record | None) -> None:
        self._name = name
        self._owner = owner
        self._record = record

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, CorruptPayload | TernzipError):
            where = [self._name]
            if isinstance(self._owner, Entry):
                where.append(f"tensor {self._owner.name!r}")
            else:
                names = [entry.name for entry in self._owner.members]
                where.append(f"solid block of {len(names)} tensors from {names[0]!r} on")
            if self._record is not None:
                where.append(f"offset {self._record.offset}")
            raise TernzipError(f"{': '.join(where)}: {error}") from None


def tensor_bytes(reader_entries: Iterable[Entry], blocks: list[SolidBlock]) -> dict[str, int]:
    """Each tensor's share of the payload in bytes: parameters and records, or its part of a solid block.

    A solid block is shared out in proportion to raw sizes, in whole bytes that add up to the block.
    """
    shares: dict[str, int] = {}
    for block in blocks:
        assert block.record is not None
        for entry in block.ordered():
            before = entry.block_offset * block.record.stored // max(1, block.size)
            upto = (entry.block_offset + entry.nbytes) * block.record.stored // max(1, block.size)
            shares[entry.name] = upto - before
    for entry in reader_entries:
        shares.setdefault(entry.name, entry.parameters_size + sum(record.stored for record in entry.records))
    return shares
