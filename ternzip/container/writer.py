"""Writes a .tnz file front to back: records as tensors arrive, the index at the end, the preamble last."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import IO

import numpy as np

from ternzip import codecs
from ternzip._core.errors import TernzipError
from ternzip._core.streams import write_all
from ternzip._core.tensor import RawTensor, Tie
from ternzip._core.text import quoted
from ternzip.codecs import Candidate
from ternzip.codecs.parameters import ParameterTable
from ternzip.codecs.plane import Bytes
from ternzip.codecs.planes import MAX_BLOCK_BYTES, Run, encode_block
from ternzip.codecs.ternary import (
    Coding,
    Ternary,
    detect,
    encode_parameters,
    merge_zeros,
    occurring,
    trits_of,
    zero_signs_of,
)
from ternzip.container.almost_ternary import AlmostTernary, almost_ternary
from ternzip.container.attempts import Attempt, CountedSymbols, attempts, smallest
from ternzip.container.extensions import check_extensions
from ternzip.container.index import encode_directory
from ternzip.container.layout import (
    PREAMBLE,
    Entry,
    Preamble,
    Record,
    SolidBlock,
    Storage,
    stored_size,
)
from ternzip.container.level_records import encode_levels, level_pieces
from ternzip.container.limits import (
    MAX_NAME_BYTES,
    MAX_SECTION_BYTES,
    SOLID_LIMIT,
    shape_problem,
    text_problem,
)
from ternzip.container.progress import Progress
from ternzip.container.storage_choice import worth_a_codec
from ternzip.container.workers import Workers

_ORDER_0 = codecs.candidates("static")
_IN_FLIGHT_BYTES = 64 << 20  # tensors whose compression may be under way beside the one being read


@dataclass(frozen=True)
class Options:
    """How tensors are stored.

    Attributes:
        codec: one of `ternzip.codecs.CHOICES`.
        effort: 1 to 3, how much time `context` may take for a smaller file.
        codec_parameters: for each codec by name the parameters that all tensors share: a start state, say. Stored
            once, where a tensor uses them.
        merge_zeros: store -0.0 of ternary tensors as +0.0; the one option that is not lossless.
        threads: None uses every processor.
    """

    codec: str = "auto"
    effort: int = codecs.DEFAULT_EFFORT
    codec_parameters: Mapping[str, bytes] = field(default_factory=dict)
    merge_zeros: bool = False
    threads: int | None = None

    def candidates(self) -> list[Candidate]:
        """The codecs to try for each tensor; ValueError for options that are none."""
        return codecs.candidates(self.codec, self.effort, self.codec_parameters)


@dataclass
class _Pending:
    """A tensor, or a solid block, whose records are being made."""

    owner: Entry | SolidBlock
    finish: Callable[[], list[tuple[bytes, int]]]  # payloads with their units
    nbytes: int


def write_container(
    stream: IO[bytes],
    tensors: Iterable[tuple[str, RawTensor | Tie]],
    *,
    options: Options | None = None,
    metadata: Mapping[str, str] | None = None,
    extensions: Mapping[str, bytes] | None = None,
    progress: Progress | None = None,
    on_almost_ternary: Callable[[str, AlmostTernary], None] | None = None,
) -> list[Entry]:
    """Writes a whole file to `stream`, which must be seekable and empty; returns the index entries.

    `tensors` is consumed one by one, so memory stays near the largest tensor. What it gives must not change before
    this function returns. `extensions` are bytes by name, stored after all tensors, one by one.
    `on_almost_ternary` is told of weights that are not ternary although nearly all of their elements are
    (container/almost_ternary.py).

    Raises TernzipError for whatever the format cannot hold (container/limits.py) and for a name that comes twice;
    ValueError for unknown options.
    """
    options = options or Options()
    options.candidates()  # an unknown name fails before anything is written
    extensions = extensions or {}
    names = list(extensions)
    check_extensions(names)
    with Workers(options.threads) as workers:
        writer = _Writer(stream, options, workers, progress, on_almost_ternary)
        for name, tensor in tensors:
            writer.add(name, tensor)
        return writer.close(_checked_metadata(metadata or {}), ((name, extensions[name]) for name in names))


def _checked_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(metadata, Mapping):
        raise TernzipError(f"metadata: expected a mapping of str to str, found {type(metadata).__name__}")
    for key, value in metadata.items():
        for text in (key, value):
            if not isinstance(text, str):
                raise TernzipError(f"metadata {key!r}: expected str to str, found {type(text).__name__}")
        problem = text_problem(key) or text_problem(value)
        if problem:
            raise TernzipError(f"metadata {quoted(key)}: {problem}")
    return dict(metadata)


class _Writer:
    def __init__(
        self,
        stream: IO[bytes],
        options: Options,
        workers: Workers,
        progress: Progress | None,
        on_almost_ternary: Callable[[str, AlmostTernary], None] | None,
    ) -> None:
        self._stream = stream
        self._options = options
        self._candidates = options.candidates()
        self._workers = workers
        self._progress = progress
        self._on_almost_ternary = on_almost_ternary
        self._entries: dict[str, Entry] = {}
        self._parameters = bytearray()  # of the tensors; codec parameters come before them in the file
        self._codec_parameters = ParameterTable()
        self._records: list[Record] = []
        self._offset = PREAMBLE.size
        self._pending: deque[_Pending] = deque()
        self._pending_bytes = 0
        self._block = SolidBlock()
        self._block_data: dict[str, Bytes] = {}
        write_all(stream, bytes(PREAMBLE.size))

    def add(self, name: str, tensor: RawTensor | Tie) -> None:
        problem = text_problem(name)
        if problem:
            raise TernzipError(f"tensor name {quoted(name)}: {problem}")
        if name in self._entries:
            raise TernzipError(f"tensor {quoted(name)}: duplicate name")
        if len(name.encode()) > MAX_NAME_BYTES:
            raise TernzipError(f"tensor {quoted(name)}: expected a name of at most {MAX_NAME_BYTES} bytes")
        if isinstance(tensor, Tie):
            source = self._entries.get(tensor.target)
            if source is None or source.tied_to is not None:
                raise ValueError(
                    f"tensor {name!r}: expected a tie to an earlier tensor that is not tied itself"
                )
            self._entries[name] = Entry(
                name, Storage.TIED, source.dtype, source.shape, source.size, tied_to=tensor.target
            )
            if self._progress is not None:
                self._progress(name, source.nbytes)
            return
        problem = shape_problem(tensor.shape, tensor.dtype)
        if problem:
            raise TernzipError(f"tensor {quoted(name)}: {problem}")
        entry = Entry(name, Storage.SOLID, tensor.dtype, tensor.shape, tensor.size)
        self._entries[name] = entry
        found = detect(tensor, self._workers.threads)
        ternary = found if found is not None and worth_a_codec(tensor, found) else None
        if ternary is None and (found is None or found.level_bytes):
            self._notice(name, tensor)
        if ternary is not None:
            entry.storage = Storage.TERNARY
            if self._options.merge_zeros and ternary.negative_zeros:
                ternary = merge_zeros(ternary)
            self._queue(
                _ternary_job(entry, tensor, ternary, self._candidates, self._codec_parameters, self._workers)
            )
        elif entry.nbytes < SOLID_LIMIT:
            self._add_small(entry, tensor)
        else:
            entry.storage = Storage.PLANES
            self._queue(_planes_job(entry, tensor, self._workers))

    def _notice(self, name: str, tensor: RawTensor) -> None:
        if self._on_almost_ternary is not None and len(tensor.shape) >= 2:
            almost = almost_ternary(tensor)
            if almost is not None:
                self._on_almost_ternary(name, almost)

    def close(self, metadata: dict[str, str], extensions: Iterable[tuple[str, bytes]]) -> list[Entry]:
        if self._block.members:
            self._queue(self._block_job())
        self._drain(0)
        extension_names = []
        for name, content in extensions:
            if not isinstance(content, bytes | bytearray | memoryview):
                raise TernzipError(
                    f"extension {quoted(name)}: expected bytes, found {type(content).__name__}"
                )
            data = bytes(content)
            self._write(data, len(data))
            extension_names.append(name)
        entries = list(self._entries.values())
        strings = self._codec_parameters.strings
        parameters = b"".join(strings) + self._parameters
        directory = encode_directory(entries, self._records, metadata, strings, extension_names)
        for part, size in (("parameters", len(parameters)), ("directory", len(directory))):
            if size > MAX_SECTION_BYTES:
                raise TernzipError(
                    f"{part}: expected names, shapes, levels and metadata of at most {MAX_SECTION_BYTES:,} bytes, "
                    f"found {size:,}"
                )
        index = parameters + directory
        write_all(self._stream, index)
        preamble = Preamble(self._offset, len(parameters), len(directory), zlib.crc32(index))
        self._stream.seek(0)
        write_all(self._stream, preamble.to_bytes())
        return entries

    def _add_small(self, entry: Entry, tensor: RawTensor) -> None:
        if not self._block.accepts(entry.nbytes):
            self._queue(self._block_job())
            self._block, self._block_data = SolidBlock(), {}
        self._block.add(entry)
        self._block_data[entry.name] = tensor.data

    def _block_job(self) -> _Pending:
        block, data = self._block, self._block_data
        raw = np.concatenate([np.empty(0, np.uint8), *(data[entry.name] for entry in block.ordered())])
        future = self._workers.submit(encode_block, raw, block.runs())
        return _Pending(block, lambda: [(future.result(), raw.size)], raw.size)

    def _queue(self, job: _Pending) -> None:
        self._pending.append(job)
        self._pending_bytes += job.nbytes
        self._drain(_IN_FLIGHT_BYTES if self._workers.threads > 1 else 0)

    def _drain(self, allowed: int) -> None:
        """Writes finished records, oldest first, until at most `allowed` bytes of tensors are under way."""
        while self._pending and (self._pending_bytes > allowed or not allowed):
            job = self._pending.popleft()
            self._pending_bytes -= job.nbytes
            payloads = job.finish()
            if isinstance(job.owner, Entry) and job.owner.ternary is not None:
                assert job.owner.coding is not None
                parameters = encode_parameters(job.owner.ternary, job.owner.coding, self._codec_parameters)
                job.owner.parameters_size = len(parameters)
                self._parameters += parameters
            records = [self._write(payload, units) for payload, units in payloads]
            if isinstance(job.owner, Entry):
                job.owner.records = records
            else:
                job.owner.record = records[0]
            for entry in [job.owner] if isinstance(job.owner, Entry) else job.owner.members:
                if self._progress is not None:
                    self._progress(entry.name, entry.nbytes)

    def _write(self, payload: bytes, units: int) -> Record:
        stored = stored_size(len(payload), units)
        data = payload + bytes(stored - len(payload))
        write_all(self._stream, data)
        record = Record(self._offset, len(payload), stored, units, zlib.crc32(data))
        self._records.append(record)
        self._offset += stored
        return record


def _planes_job(entry: Entry, tensor: RawTensor, workers: Workers) -> _Pending:
    pieces = [
        tensor.data[start : start + MAX_BLOCK_BYTES] for start in range(0, entry.nbytes, MAX_BLOCK_BYTES)
    ]

    def encode(piece: Bytes) -> bytes:
        return encode_block(piece, [Run(piece.size, entry.dtype)])

    futures = [workers.submit(encode, piece) for piece in pieces]
    return _Pending(
        entry,
        lambda: [(future.result(), piece.size) for future, piece in zip(futures, pieces, strict=True)],
        entry.nbytes,
    )


def _ternary_job(
    entry: Entry,
    tensor: RawTensor,
    found: Ternary,
    candidates: Sequence[Candidate],
    table: ParameterTable,
    workers: Workers,
) -> _Pending:
    entry.ternary = found
    owner = f"tensor {quoted(entry.name)}"
    counted: list[CountedSymbols] = []
    levels = [workers.submit(encode_levels, piece, entry.dtype) for piece in level_pieces(found)]
    symbols: list[Attempt] = []
    zeros: list[Attempt] = []
    if occurring(found.counts) >= 2:
        counted.append(CountedSymbols(partial(trits_of, tensor), found.counts, owner))
        symbols = attempts(counted[-1], found.geometry, candidates, workers)
    if found.has_zero_signs:
        # The signs of zeros are a vector without geometry: order 0 is all there is to have.
        signs = zero_signs_of(tensor, found)
        counted.append(
            CountedSymbols(lambda start, size: signs[start : start + size], found.zero_counts, owner)
        )
        zeros = attempts(counted[-1], found.zero_geometry, _ORDER_0, workers)

    def finish() -> list[tuple[bytes, int]]:
        payloads = [b""] * found.geometry.chunk_count
        coding = Coding()
        if symbols:
            best = smallest(symbols, table)
            payloads = best.payloads
            coding = Coding(best.codec, best.parameters)
        if zeros:
            best = smallest(zeros, table)
            coding = replace(coding, zeros=best.codec, zero_parameters=best.parameters)
            payloads = payloads + best.payloads
        for one in counted:
            one.check()
        entry.coding = coding
        payloads = [future.result() for future in levels] + payloads
        return list(zip(payloads, entry.record_units(), strict=True))

    return _Pending(entry, finish, entry.nbytes)
