"""`static`: order-0 coding with one distribution a tensor, by constriction's ANS coder.

The size is the one the entropy of the symbol counts predicts. Several symbols are grouped into one letter
(five trits, or eight symbols where only two occur), whose probability is the exact product, rounded to
multiples of 2^-24. docs/FORMAT.md states the arithmetic, so that files outlive the library.
"""

from __future__ import annotations

import functools

import constriction
import numpy as np
from numpy.typing import NDArray

from ternzip._core.symbols import SymbolCounts
from ternzip.codecs.base import CorruptPayload, Trits, WithoutParameters
from ternzip.codecs.geometry import Geometry

PRECISION = 24
"""Probabilities are integers that sum to 2^PRECISION, constriction's fixed precision."""


class _Alphabet:
    """The letters a tensor's symbols are grouped into, and constriction's model of them."""

    def __init__(self, counts: tuple[int, int, int]) -> None:
        self.symbols = [s for s, n in zip((-1, 0, 1), counts, strict=True) if n]
        self.base = len(self.symbols)
        self.group = 5 if self.base == 3 else 8
        frequencies = letter_frequencies([n for n in counts if n], self.group)
        # constriction gives each of n letters one unit and shares the other 2^24 - n in proportion to the
        # weights; weights of f - 1 sum to exactly that many, so every letter gets exactly f.
        weights = np.array(frequencies, np.float64) - 1.0
        self.model = constriction.stream.model.Categorical(weights, perfect=False)
        digits = np.arange(self.base**self.group)[:, None] // self.base ** np.arange(self.group) % self.base
        self.letters: NDArray[np.int8] = np.array(self.symbols, np.int8)[digits]


def letter_frequencies(counts: list[int], group: int) -> list[int]:
    """Integer frequencies, summing to 2^24, of all groups of `group` symbols drawn by `counts`.

    Letter ``sum(d_j * base**j)`` stands for the symbols with indices d_0, d_1, ... in order. Its frequency
    is the product of its symbols' counts, scaled by 2^24 / total^group and rounded down, but at least 1; the
    most frequent letter (the first of equals) takes up the rest.
    """
    base, scale = len(counts), sum(counts) ** group
    products = [1]
    for _ in range(group):
        products = [product * count for count in counts for product in products]
    assert len(products) == base**group
    frequencies = [max(1, (product << PRECISION) // scale) for product in products]
    top = frequencies.index(max(frequencies))
    frequencies[top] += (1 << PRECISION) - sum(frequencies)
    return frequencies


@functools.lru_cache(maxsize=64)
def _alphabet(counts: tuple[int, int, int]) -> _Alphabet:
    return _Alphabet(counts)


def _alphabet_of(counts: SymbolCounts) -> _Alphabet:
    return _alphabet((counts.negative, counts.zero, counts.positive))


class StaticCodec(WithoutParameters):
    """The codec; docs/FORMAT.md, section 7.2."""

    code = 1
    name = "static"

    def encode(self, trits: Trits, geometry: Geometry, counts: SymbolCounts, parameters: bytes) -> bytes:
        """See TernaryCodec."""
        alphabet = _alphabet_of(counts)
        index = np.zeros(3, np.uint8)
        index[np.array(alphabet.symbols) + 1] = np.arange(alphabet.base)
        # The last letter is filled up with the most frequent symbol, which costs least.
        filler = int(np.argmax([n for n in (counts.negative, counts.zero, counts.positive) if n]))
        padded = np.full(-(-trits.size // alphabet.group) * alphabet.group, filler, np.uint8)
        np.take(index, trits + 1, out=padded[: trits.size])
        powers = (alphabet.base ** np.arange(alphabet.group)).astype(np.uint8)
        letters = (padded.reshape(-1, alphabet.group) * powers).sum(axis=1, dtype=np.int32)
        coder = constriction.stream.stack.AnsCoder()
        coder.encode_reverse(letters, alphabet.model)
        # The top bytes of the coder's state are zeros where it is small: they need not be stored.
        words: NDArray[np.uint32] = coder.get_compressed()
        return words.astype("<u4").tobytes().rstrip(b"\0")

    def decode(
        self, payload: memoryview, geometry: Geometry, counts: SymbolCounts, parameters: bytes, out: Trits
    ) -> None:
        """See TernaryCodec."""
        alphabet = _alphabet_of(counts)
        data = bytes(payload)
        if data.endswith(b"\0"):
            raise CorruptPayload("static payload: expected a last byte other than zero")
        words = np.frombuffer(data + bytes(-len(data) % 4), "<u4").astype(np.uint32)
        coder = constriction.stream.stack.AnsCoder(words)
        letters = coder.decode(alphabet.model, -(-out.size // alphabet.group))
        if not coder.is_empty():
            raise CorruptPayload(f"static payload: {len(data)} bytes hold more than {out.size} symbols")
        symbols = np.take(alphabet.letters, letters, axis=0).reshape(-1)
        out[:] = symbols[: out.size]
