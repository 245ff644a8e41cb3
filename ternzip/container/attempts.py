"""Tries codecs at the symbols of a tensor, in parallel, and keeps the one that adds least to the file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from ternzip._core.errors import TernzipError
from ternzip._core.native import core
from ternzip._core.symbols import SymbolCounts
from ternzip.codecs import Candidate
from ternzip.codecs.base import ParameterChooser, TernaryCodec, Trits
from ternzip.codecs.geometry import Geometry
from ternzip.codecs.parameters import ParameterTable
from ternzip.container.workers import Workers

Symbols = Callable[[int, int], Trits]
"""Takes the number of the first symbol and how many are wanted."""


class CountedSymbols:
    """Symbols that are to be those that were counted, which they are not where their tensor changes meanwhile.

    Codecs are sure of the counts: other symbols would be coded without an error, into what no reader takes.
    """

    def __init__(self, symbols: Symbols, counts: SymbolCounts, owner: str) -> None:
        self.counts = counts
        self._symbols = symbols
        self._owner = owner
        self._found: dict[int, SymbolCounts] = {}  # of each chunk, by its first symbol

    def __call__(self, start: int, size: int) -> Trits:
        """A chunk's symbols; TernzipError where they have changed."""
        trits = self._symbols(start, size)
        found = SymbolCounts(*core.count_trits(trits.ctypes.data, trits.size))
        before = self._found.setdefault(start, found)
        if found != before or any(n > most for n, most in zip(_each(found), _each(self.counts), strict=True)):
            self._fail()
        return trits

    def check(self) -> None:
        """TernzipError unless the chunks, which have all been asked for, have the symbols that were counted."""
        if sum(self._found.values(), SymbolCounts()) != self.counts:
            self._fail()

    def _fail(self) -> None:
        raise TernzipError(
            f"{self._owner}: expected it to stay as it is while it is saved, found other values"
        )


def _each(counts: SymbolCounts) -> tuple[int, ...]:
    return counts.negative, counts.zero, counts.positive, counts.invalid


@dataclass
class Attempt:
    """One codec's try at a sequence of symbols, under way."""

    candidate: Candidate
    parameters: Callable[[], bytes]
    payloads: list[Future[bytes]]

    def cost(self, table: ParameterTable) -> int:
        """Bytes that it adds to the file: its payloads, and parameters of its own that `table` does not have yet.

        Those that the caller chose for the whole file count for no single tensor.
        """
        parameters = self.parameters()
        is_new = parameters != self.candidate.shared and parameters not in table
        return sum(len(future.result()) for future in self.payloads) + (len(parameters) if is_new else 0)


@dataclass
class Coded:
    """What an attempt came to: one payload for each chunk."""

    codec: TernaryCodec
    parameters: bytes
    payloads: list[bytes]


def attempts(
    symbols: CountedSymbols,
    geometry: Geometry,
    candidates: Sequence[Candidate],
    workers: Workers,
) -> list[Attempt]:
    """Submits all chunks of a tensor, or of the signs of its zeros, for each candidate; workers call `symbols`."""
    chunks, counts = list(geometry.chunks()), symbols.counts

    def choose(chooser: ParameterChooser, shared: bytes) -> bytes:
        first = chunks[0][1]
        return chooser.choose_parameters(symbols(0, first.symbols), first, counts, shared)

    def encode(codec: TernaryCodec, parameters: Callable[[], bytes], start: int, chunk: Geometry) -> bytes:
        # The choice was submitted earlier: it is done, or another worker is at it, and nobody waits in a circle.
        chosen = parameters()
        return codec.encode(symbols(start, chunk.symbols), chunk, counts, chosen)

    submitted = []
    for candidate in candidates:
        parameters: Callable[[], bytes] = _constant(candidate.shared)
        if candidate.chooser is not None:
            parameters = workers.submit(choose, candidate.chooser, candidate.shared).result
        payloads = [
            workers.submit(encode, candidate.codec, parameters, start, chunk) for start, chunk in chunks
        ]
        submitted.append(Attempt(candidate, parameters, payloads))
    return submitted


def smallest(tried: Sequence[Attempt], table: ParameterTable) -> Coded:
    """Waits for all, and returns the one that adds least to the file, the first of equals."""
    best = min(tried, key=lambda attempt: attempt.cost(table))
    return Coded(best.candidate.codec, best.parameters(), [future.result() for future in best.payloads])


def _constant(parameters: bytes) -> Callable[[], bytes]:
    return lambda: parameters
