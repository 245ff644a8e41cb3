"""Reads .tnz files: the whole index is checked on opening, then any tensor can be had alone."""

from __future__ import annotations

import os
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from functools import cached_property
from types import TracebackType
from typing import Any, BinaryIO, NoReturn

import numpy as np
from numpy.typing import NDArray

from ternzip._core.errors import TernzipError
from ternzip._core.streams import check_binary, named
from ternzip._core.tensor import RawTensor, Tie
from ternzip._core.text import quoted
from ternzip.codecs.levels import Levels
from ternzip.codecs.plane import Bytes
from ternzip.codecs.planes import Run, decode_block
from ternzip.container.batches import Batches
from ternzip.container.extensions import Extensions
from ternzip.container.index import Index, decode_index
from ternzip.container.layout import PREAMBLE, Entry, Preamble, Record, SolidBlock, Storage
from ternzip.container.level_records import read_levels
from ternzip.container.located import Located
from ternzip.container.offload import Offload, Offloaded
from ternzip.container.parts import decodable_stretch
from ternzip.container.progress import Progress
from ternzip.container.sources import BufferSource, FileSource, Source, StreamSource
from ternzip.container.ternary_decoding import TernaryDecoding, as_trits
from ternzip.container.workers import Workers

# Tensors that may be decoded before the caller takes them.
_AHEAD_BYTES = 256 << 20
_AHEAD_TENSORS = 1024


class Reader:
    """One open .tnz file.

    Attributes:
        name: the file's name for messages.
        entries: every tensor by name, in the file's order.
        blocks: the solid blocks that small tensors share.
        metadata: the file's metadata.
        extensions: the file's extensions by name, read when they are asked for.
        size: bytes of the file.
        max_bytes: no call decodes tensors of more bytes in memory than this, tied ones counted once; None: no limit.

    Every problem is a TernzipError that names the file, the tensor and the offset.
    """

    def __init__(self, source: Source, *, max_bytes: int | None = None) -> None:
        if max_bytes is not None and max_bytes < 0:
            source.close()
            raise ValueError(f"max_bytes: expected at least 0, got {max_bytes}")
        self.max_bytes = max_bytes
        self._source = source
        self._closed = False
        self.name = source.name
        self.size = source.size
        try:
            index = self._read_index()
        except TernzipError as error:
            source.close()
            raise TernzipError(f"{source.name}: {error}") from None
        except BaseException:
            source.close()
            raise
        self.blocks = index.blocks
        self._cached_block: tuple[int, Bytes] | None = None
        self.entries: dict[str, Entry] = {entry.name: entry for entry in index.entries}
        self.metadata = index.metadata
        self.extensions = Extensions(index.extensions, self._read_extension)

    @classmethod
    def open(
        cls,
        source: str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO,
        *,
        max_bytes: int | None = None,
    ) -> Reader:
        """A reader of the file at a path, of the bytes of a file, or of a binary stream from where it stands.

        A stream stays open. One that cannot be read by position is read to its end at once.
        """
        if isinstance(source, bytes | bytearray | memoryview):
            return cls(BufferSource(source), max_bytes=max_bytes)
        if isinstance(source, str | os.PathLike):
            return cls(FileSource(source), max_bytes=max_bytes)
        check_binary(source)
        seekable = getattr(source, "seekable", None)  # some responses and wrappers have `read` alone
        if seekable is not None and seekable():
            return cls(StreamSource(source, named(source)), max_bytes=max_bytes)
        return cls(BufferSource(source.read(), named(source)), max_bytes=max_bytes)

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
        """Gives the file up; what the index says stays. Closing twice does no harm."""
        self._closed = True
        self._source.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @cached_property
    def shares(self) -> dict[str, int]:
        """Each tensor's share of the payload in bytes: parameters and records, or its part of a solid block.

        A solid block is shared out in proportion to raw sizes, codec parameters evenly among the tensors that use
        them; both in whole bytes that add up.
        """
        shares: dict[str, int] = {}
        for block in self.blocks:
            assert block.record is not None
            stored, size = block.record.stored, max(1, block.size)
            for entry in block.ordered():
                end = entry.block_offset + entry.nbytes
                shares[entry.name] = end * stored // size - entry.block_offset * stored // size
        for entry in self.entries.values():
            own = entry.parameters_size + sum(record.stored for record in entry.records)
            shares.setdefault(entry.name, own)
        for string, users in self._codec_parameter_users().items():
            for number, name in enumerate(users, 1):
                shares[name] += number * len(string) // len(users) - (number - 1) * len(string) // len(users)
        return shares

    def _codec_parameter_users(self) -> dict[bytes, list[str]]:
        """For each string of codec parameters the tensors that use it, a tensor twice that uses it twice."""
        users: dict[bytes, list[str]] = {}
        for entry in self.entries.values():
            if entry.coding is not None:
                for string in (entry.coding.symbol_parameters, entry.coding.zero_parameters):
                    if string:
                        users.setdefault(string, []).append(entry.name)
        return users

    def read(self, name: str, *, threads: int | None = 1) -> RawTensor:
        """One tensor; of the file's records only its own are read, or those of its solid block."""
        tensor = self.read_with(None, name, threads=threads)
        assert isinstance(tensor, RawTensor)
        return tensor

    def read_trits(self, name: str, *, threads: int | None = 1) -> tuple[NDArray[np.int8], Levels]:
        """The symbols of a tensor stored as ternary, flat, without its elements ever being made, and its levels.

        Signs of zeros are left out. Raises TernzipError as `read` does, and for a tensor that is not stored so.
        """
        entry = self.entries.get(name)
        if entry is not None and entry.tied_to is not None:
            entry = self.entries[entry.tied_to]
        if entry is None or entry.ternary is None:
            found = f"no tensor {name!r} among {len(self.entries)}" if entry is None else "other values"
            raise TernzipError(f"{self.name}: tensor {name!r}: expected a ternary tensor, found {found}")
        self._check(
            max(entry.size, entry.ternary.decoded_level_bytes), f"tensor {name!r}: expected symbols of"
        )
        with Workers(threads) as workers:
            levels = read_levels(entry, self._payload, self._located)
            tensor = self._start(as_trits(entry, levels), workers, Batches(workers), None)()
        assert isinstance(tensor, RawTensor)
        return tensor.data.view(np.int8), levels

    def read_part(self, name: str, start: int, stop: int, *, threads: int | None = 1) -> Bytes:
        """The bytes of the elements from `start` to `stop` of a tensor, in C order.

        Only the chunks or blocks in which they lie are read, checked and decoded, where they can be alone. Raises
        TernzipError as `read` does; the limit is on what is decoded.
        """
        if name not in self.entries:
            raise TernzipError(f"{self.name}: no tensor {quoted(name)} among {len(self.entries)}")
        entry = self.entries[name]
        stored = entry if entry.tied_to is None else self.entries[entry.tied_to]
        stretch, width = decodable_stretch(stored, start, stop), stored.dtype.itemsize
        if len(stretch) == stored.size:
            return self.read(name, threads=threads).data[start * width : stop * width]
        # The levels of all blocks are read for any part.
        levels = 0 if stored.ternary is None else stored.ternary.decoded_level_bytes
        self._check(max(len(stretch) * width, levels), f"tensor {quoted(name)}: expected of a part")
        with Workers(threads) as workers:
            part = self._start(stored, workers, Batches(workers), None, stretch=stretch)()
            assert isinstance(part, RawTensor)
        first = stretch.start
        return part.data[(start - first) * width : (stop - first) * width]

    def read_with(
        self, offload: Offload | None, name: str, *, threads: int | None = 1
    ) -> RawTensor | Offloaded:
        """As `read`, decoding with `offload` what it takes."""
        if name not in self.entries:
            raise TernzipError(f"{self._source.name}: no tensor {quoted(name)} among {len(self.entries)}")
        entry = self.entries[name]
        stored = entry if entry.tied_to is None else self.entries[entry.tied_to]
        self._check(stored.nbytes, f"tensor {quoted(name)}: expected")
        with Workers(threads) as workers:
            tensor = self._start(stored, workers, Batches(workers), offload)()
            assert not isinstance(tensor, Tie)
            return tensor

    def read_all(
        self, *, threads: int | None = None, progress: Progress | None = None
    ) -> Iterator[tuple[str, RawTensor | Tie]]:
        """Every tensor in order; a name that shares another's elements yields a Tie to it."""
        for name, tensor in self.read_all_with(None, threads=threads, progress=progress):
            assert not isinstance(tensor, Offloaded)
            yield name, tensor

    def read_all_with(
        self,
        offload: Offload | None,
        *,
        threads: int | None = None,
        progress: Progress | None = None,
        into: Mapping[str, Bytes] | None = None,
    ) -> Iterator[tuple[str, RawTensor | Tie | Offloaded]]:
        """As `read_all`, decoding with `offload` what it takes.

        `into` has the memory of the tensors that are not tied by name, where it is to be theirs; no thread writes to
        it when the iterator has ended, or was closed.
        """
        self.check_limit()
        with Workers(threads) as workers:
            batches = Batches(workers)
            waiting: deque[tuple[Entry, Callable[[], RawTensor | Tie | Offloaded]]] = deque()
            ahead = 0
            for entry in self.entries.values():
                memory = into[entry.name] if into is not None and entry.tied_to is None else None
                waiting.append((entry, self._start(entry, workers, batches, offload, memory)))
                ahead += entry.nbytes
                while ahead > _AHEAD_BYTES or len(waiting) > _AHEAD_TENSORS:
                    ahead -= waiting[0][0].nbytes
                    yield self._finish(*waiting.popleft(), progress)
            while waiting:
                yield self._finish(*waiting.popleft(), progress)

    def _read_extension(self, name: str, record: Record) -> bytes:
        self._check(record.size, f"extension {quoted(name)}: expected")
        try:
            return bytes(self._payload(record))
        except TernzipError as error:
            raise TernzipError(
                f"{self.name}: extension {quoted(name)}: offset {record.offset}: {error}"
            ) from None

    @property
    def decoded_bytes(self) -> int:
        """Bytes of all tensors in memory, tied ones counted once."""
        return sum(entry.nbytes for entry in self.entries.values() if entry.tied_to is None)

    def check_limit(self) -> None:
        """Raises TernzipError where all tensors take more than `max_bytes`, or the file is closed."""
        self._check(self.decoded_bytes, "expected tensors of")

    def _check(self, nbytes: int, what: str) -> None:
        """Before anything is allocated: whether the file is open, and tensors of `nbytes` are within the limit."""
        if self._closed:
            raise TernzipError(f"{self.name}: cannot read: already closed")
        if self.max_bytes is not None and nbytes > self.max_bytes:
            raise TernzipError(
                f"{self.name}: {what} at most {self.max_bytes:,} bytes in memory, found {nbytes:,}"
            )

    @staticmethod
    def _finish(
        entry: Entry, finish: Callable[[], RawTensor | Tie | Offloaded], progress: Progress | None
    ) -> tuple[str, RawTensor | Tie | Offloaded]:
        tensor = finish()
        if progress is not None:
            progress(entry.name, entry.nbytes)
        return entry.name, tensor

    def _start(
        self,
        entry: Entry,
        workers: Workers,
        batches: Batches,
        offload: Offload | None,
        memory: Bytes | None = None,
        stretch: range | None = None,
    ) -> Callable[[], RawTensor | Tie | Offloaded]:
        """Starts decoding a tensor, into `memory` where that is given; the result waits for it.

        Of a ternary one, or one stored as planes, only the elements of `stretch`, if that is given, as a vector.
        """
        problem = entry.coding.problem if entry.coding is not None else None
        if problem is not None:
            return lambda: self._refuse(entry, problem)
        if offload is not None and entry.storage is Storage.TERNARY:
            elsewhere = offload.start(entry, lambda record: self._located_payload(entry, record))
            if elsewhere is not None:
                return lambda: self._offloaded(elsewhere) or self._start(entry, workers, batches, None)()
        if entry.tied_to is not None:
            tie = Tie(entry.tied_to)
            return lambda: tie
        if entry.storage is Storage.SOLID:
            return lambda: RawTensor(entry.dtype, entry.shape, self._from_block(entry, memory))
        shape = entry.shape if stretch is None else (len(stretch),)
        nbytes = entry.nbytes if stretch is None else len(stretch) * entry.dtype.itemsize
        data = np.empty(nbytes, np.uint8) if memory is None else memory
        if entry.storage is Storage.PLANES:
            first = 0 if stretch is None else stretch.start * entry.dtype.itemsize
            futures: list[Future[Any]] = list(self._start_planes(entry, data, first, workers))
            after: Callable[[], None] = lambda: None  # noqa: E731
        else:
            decoding = TernaryDecoding(entry, data, self._payload, self._located, batches, stretch)
            futures, after = decoding.start(workers), decoding.finish

        def finish() -> RawTensor:
            batches.flush()
            for future in futures:
                future.result()
            with self._located(entry, entry.records[0] if entry.records else None):
                after()
            return RawTensor(entry.dtype, shape, data)

        return finish

    def check_codecs(self) -> None:
        """Raises TernzipError for the first tensor that this version cannot decode."""
        for entry in self.entries.values():
            if entry.coding is not None and entry.coding.problem is not None:
                self._refuse(entry, entry.coding.problem)

    def _refuse(self, entry: Entry, problem: str) -> NoReturn:
        raise TernzipError(f"{self.name}: tensor {quoted(entry.name)}: {problem}")

    @staticmethod
    def _offloaded(finish: Callable[[], object | None]) -> Offloaded | None:
        tensor = finish()
        return None if tensor is None else Offloaded(tensor)

    def _located_payload(self, entry: Entry, record: Record) -> memoryview:
        with self._located(entry, record):
            return self._payload(record)

    def _payload(self, record: Record) -> memoryview:
        """The checked bytes of a record, without the zeros it may have been filled up with."""
        data = self._source.read(record.offset, record.stored)
        if zlib.crc32(data) != record.crc:
            raise TernzipError(f"checksum: expected {record.crc:#010x}, found {zlib.crc32(data):#010x}")
        if any(data[record.size :]):
            raise TernzipError(f"expected zeros after the first {record.size} bytes of the record")
        return data[: record.size]

    def _located(self, owner: Entry | SolidBlock, record: Record | None) -> Located:
        return Located(self._source.name, owner, record)

    def _from_block(self, entry: Entry, memory: Bytes | None) -> Bytes:
        cached = self._cached_block  # taken once: another thread may put a newer block in its place
        if cached is None or cached[0] != entry.block:
            block = self.blocks[entry.block]
            assert block.record is not None
            cached = entry.block, np.empty(block.size, np.uint8)
            with self._located(block, block.record):
                decode_block(self._payload(block.record), block.runs(), cached[1])
            self._cached_block = cached
        own = cached[1][entry.block_offset : entry.block_offset + entry.nbytes]
        if memory is None:
            return own.copy()
        memory[:] = own
        return memory

    def _start_planes(self, entry: Entry, data: Bytes, first: int, workers: Workers) -> list[Future[None]]:
        """Starts decoding the blocks that lie in `data`, which begins with byte `first` of the tensor."""

        def decode(record: Record, part: Bytes) -> None:
            with self._located(entry, record):
                decode_block(self._payload(record), [Run(part.size, entry.dtype)], part)

        futures = []
        start = 0
        for record in entry.records:
            if first <= start < first + data.size:
                place = start - first
                futures.append(workers.submit(decode, record, data[place : place + record.units]))
            start += record.units
        return futures
