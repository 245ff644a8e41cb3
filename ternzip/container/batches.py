"""Groups decoding jobs of codecs that are quicker at several chunks than at one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from ternzip.codecs.base import BatchDecoder, DecodeJob
from ternzip.container.workers import Workers


@dataclass
class BatchItem:
    """One chunk of a batch.

    Attributes:
        prepare: reads and checks the payload; runs in the worker.
        complete: is told whether decoding went well, and uses the symbols.
        done: is set when `complete` has returned, or to what was raised.
    """

    prepare: Callable[[], DecodeJob]
    complete: Callable[[bool], None]
    done: Future[None] = field(default_factory=Future)


class Batches:
    """Collects chunks, also of different tensors, by codec, and submits them together."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._waiting: dict[int, list[BatchItem]] = {}
        self._codecs: dict[int, BatchDecoder] = {}

    def add(self, codec: BatchDecoder, item: BatchItem) -> Future[None]:
        """Takes a chunk in, and submits its batch when that is full; `flush` submits the rest."""
        self._codecs[codec.code] = codec
        waiting = self._waiting.setdefault(codec.code, [])
        waiting.append(item)
        if len(waiting) == codec.batch:
            self._submit(codec.code)
        return item.done

    def flush(self) -> None:
        """Submits what waits for company."""
        for code in list(self._waiting):
            self._submit(code)

    def _submit(self, code: int) -> None:
        self._workers.submit(self._run, self._codecs[code], self._waiting.pop(code))

    @staticmethod
    def _run(codec: BatchDecoder, items: list[BatchItem]) -> None:
        ready: list[tuple[BatchItem, DecodeJob]] = []
        for item in items:
            try:
                ready.append((item, item.prepare()))
            except BaseException as error:  # one damaged chunk must not take its neighbour along
                item.done.set_exception(error)
        try:
            results = codec.decode_many([job for _, job in ready])
        except BaseException as error:
            for item, _ in ready:
                item.done.set_exception(error)
            return
        for (item, _), well in zip(ready, results, strict=True):
            try:
                item.complete(well)
                item.done.set_result(None)
            except BaseException as error:
                item.done.set_exception(error)
