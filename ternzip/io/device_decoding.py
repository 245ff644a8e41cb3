"""`fast` tensors decoded on a CUDA device: their compressed bytes travel instead of their elements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ternzip._core.native import core
from ternzip._core.symbols import SymbolCounts
from ternzip.codecs import BY_NAME, CorruptPayload, Geometry
from ternzip.codecs.levels import Grid, Levels, Patterns
from ternzip.codecs.ternary import Coding, Ternary
from ternzip.container.layout import Entry, Record
from ternzip.container.level_records import read_levels
from ternzip.io.tensors import torch_dtype
from ternzip.ops import _cuda

_FAST = BY_NAME["fast"]
_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}

Payload: TypeAlias = Callable[[Record], memoryview]


def offload_to(device: str | torch.device) -> DeviceDecoder | None:
    """What decodes on `device`; None where the CPU does."""
    device = torch.device(device)
    return DeviceDecoder(device) if _cuda.serves_device(device) else None


class DeviceDecoder:
    """Queues decoding on the current stream of one device; see ternzip.container.offload."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def start(self, entry: Entry, payload: Payload) -> Callable[[], Tensor | None] | None:
        """See ternzip.container.offload.Offload. Takes ternary tensors whose symbols `fast` holds."""
        ternary, coding = entry.ternary, entry.coding
        dtype = torch_dtype(entry.dtype.name)
        if ternary is None or coding is None or dtype is None or coding.symbols is not _FAST:
            return None
        if not _follow_one_another(ternary.grid):
            return None
        try:
            levels = read_levels(entry, payload, lambda _entry, _record: nullcontext())
        except CorruptPayload:
            return None  # the CPU says what is wrong with them
        records = iter(entry.records[entry.level_record_count :])
        out = torch.empty(entry.shape, dtype=dtype, device=self._device)
        minus_zero = 1 << (8 * entry.dtype.itemsize - 1)
        zero = minus_zero if ternary.negative_zeros and not ternary.has_zero_signs else 0
        patterns = (int(levels.negative[0]), zero, int(levels.positive[0]))
        counts = self._decode(
            _chunks(ternary.geometry, records, payload),
            ternary.counts,
            out,
            patterns,
            (levels, ternary.grid.width) if ternary.grid.blocks > 1 else None,
        )
        if counts is None:
            return None
        if not ternary.has_zero_signs:
            return lambda: out if _agree(counts, ternary.counts) else None
        minus = _minus_zeros(ternary, coding, records, payload)
        if minus is None:
            return None
        packed = torch.from_numpy(np.packbits(minus, bitorder="little")).to(self._device)

        def finish() -> Tensor | None:
            if not _agree(counts, ternary.counts):
                return None
            _sign_zeros(out, counts[:, 1].tolist(), ternary.geometry, packed)
            return out

        return finish

    def _decode(
        self,
        chunks: Iterable[tuple[NDArray[np.uint8], int, int]],
        counts: SymbolCounts,
        out: Tensor,
        patterns: tuple[int, int, int],
        blocks: tuple[Levels, int] | None,
    ) -> Tensor | None:
        """Queues the decoding of chunks (payload, symbols, first element) into `out`. `patterns` are those of all
        elements, unless there are levels of consecutive blocks of so many elements. Returns what will be the counts
        of each chunk, int64 (chunks, 4): -1, 0, +1, refused blocks; None if a header is refused."""
        owners = list(chunks)
        jobs = [(data.ctypes.data, data.size, n, first) for data, n, first in owners]
        read = core.cuda_fast_read(jobs, counts.negative, counts.zero, counts.positive)
        if read is None:
            return None
        upload, size, scratch_size = read
        # From pinned memory the copy is queued as well.
        staging = torch.empty(size, dtype=torch.uint8, pin_memory=self._device.type == "cuda")
        core.cuda_fast_write(upload, staging.data_ptr())
        sent = staging.to(self._device, non_blocking=True)
        scratch = torch.empty(scratch_size, dtype=torch.uint8, device=self._device)
        found = torch.empty((len(jobs), 4), dtype=torch.int64, device=self._device)
        by_block = None
        if blocks is not None:
            levels, width = blocks
            negative, positive = (self._upload(part) for part in (levels.negative, levels.positive))
            by_block = (negative.data_ptr(), positive.data_ptr(), width)
        core.cuda_fast_decode(
            upload,
            sent.data_ptr(),
            scratch.data_ptr(),
            out.data_ptr(),
            out.dtype.itemsize,
            patterns,
            by_block,
            found.data_ptr(),
            *_cuda.target(self._device),
        )
        return found

    def _upload(self, levels: Patterns) -> Tensor:
        return torch.from_numpy(levels.astype(np.uint64).view(np.int64)).to(self._device)


def _chunks(
    geometry: Geometry, records: Iterable[Record], payload: Payload
) -> Iterable[tuple[NDArray[np.uint8], int, int]]:
    for (first, chunk), record in zip(geometry.chunks(), records, strict=False):
        yield np.frombuffer(payload(record), np.uint8), chunk.symbols, first


def _follow_one_another(grid: Grid) -> bool:
    """Whether each block of levels is a run of as many elements: the kernels know no others."""
    return grid.blocks == 1 or (grid.height == 1 and grid.row_size % grid.width == 0)


def _agree(found: Tensor, counts: SymbolCounts) -> bool:
    """Whether the symbols occur as often as the file says and nothing was refused. Waits for the device."""
    return found.sum(0).tolist() == [counts.negative, counts.zero, counts.positive, 0]


def _minus_zeros(
    ternary: Ternary, coding: Coding, records: Iterable[Record], payload: Payload
) -> NDArray[np.bool_] | None:
    """Which of the zeros are -0.0, in order. Their codecs are for the CPU; what it finds travels as bits. None if
    they are damaged."""
    assert coding.zeros is not None
    signs = np.empty(ternary.counts.zero, np.int8)
    counts = ternary.zero_counts
    for (first, chunk), record in zip(ternary.zero_geometry.chunks(), records, strict=False):
        part = signs[first : first + chunk.symbols]
        try:
            coding.zeros.decode(payload(record), chunk, counts, coding.zero_parameters, part)
        except CorruptPayload:
            return None
    minus: NDArray[np.bool_] = signs == -1
    found = int(minus.sum()), int((signs == 1).sum())
    return minus if found == (counts.negative, counts.positive) else None


def _sign_zeros(out: Tensor, zeros: Sequence[int], geometry: Geometry, packed: Tensor) -> None:
    """Makes -0.0 of the zeros of `out` whose bit is set; each chunk has as many zeros as `zeros` says."""
    width = out.dtype.itemsize
    integer = _INTEGERS[width]
    elements = out.view(-1).view(integer)
    at = 0
    places = torch.arange(8, dtype=torch.uint8, device=out.device)
    for (first, chunk), count in zip(geometry.chunks(), zeros, strict=True):
        part = elements[first : first + chunk.symbols]
        covering = packed[at // 8 : (at + count + 7) // 8]
        bits = (covering.unsqueeze(1) >> places & 1).view(-1)[at % 8 : at % 8 + count]
        part.masked_scatter_(part == 0, bits.to(integer) << (8 * width - 1))
        at += count
