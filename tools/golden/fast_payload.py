"""Writes `fast` payloads with any choice that docs/format-fast.md leaves to an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reference_fast import FACTOR, Counts, String, grow_leaves, slot_bounds


@dataclass
class Choice:
    """The header's fields, and what goes into a block.

    Attributes:
        factors: repeated for as many symbols as there are.
        tail: symbols of each block's tail, where there are eight states or more.
        start, tail_start, unused: what states end at and what fills the tail up; valid as they stand.
    """

    lane_bits: int = 0
    precision: int = 12
    max_length: int = 8
    symbol_limit: int = 16
    block_bits: int = 10
    factors: Sequence[int] = ()
    tail: int = 4
    start: int = 1 << 16
    tail_start: int = 1 << 16
    unused: int = 0

    def header(self) -> bytes:
        flags = self.lane_bits | (16 if self.factors else 0)
        return bytes([flags, self.precision, self.max_length, self.symbol_limit - 1, self.block_bits, 0])


def parsed(trits: Sequence[int], strings: Sequence[String], counts: Counts) -> list[int]:
    """The symbols that the trits are cut into; the last is reached by zeros, or the smallest trit present."""
    number = {string: i for i, string in enumerate(strings)}
    filler = 0 if counts[1] else -1
    symbols: list[int] = []
    string: String = ()
    for trit in trits:
        string = (*string, trit)
        if string in number:
            symbols.append(number[string])
            string = ()
    while string:
        string = (*string, filler)
        if string in number:
            symbols.append(number[string])
            string = ()
    return symbols


def coded(
    symbols: Sequence[int], bounds: Sequence[int], precision: int, states: list[int]
) -> tuple[list[int], list[int]]:
    """States and words from which the symbols are decoded; the states become the given ones."""
    states = list(states)
    words: list[int] = []
    for k in reversed(range(len(symbols))):
        start = bounds[symbols[k]]
        frequency = bounds[symbols[k] + 1] - start
        state = states[k % len(states)]
        if state >= frequency << (32 - precision):
            words.append(state & 0xFFFF)
            state >>= 16
        states[k % len(states)] = (state // frequency << precision) + state % frequency + start
    return states, words[::-1]


def coded_block(symbols: list[int], bounds: Sequence[int], choice: Choice) -> bytes:
    """A block, after its entry."""
    count = 1 << choice.lane_bits
    ends = [choice.start] * count
    interleaved = symbols
    if count >= 8:
        split = max(0, len(symbols) - choice.tail)
        interleaved = symbols[:split]
        (state,), tail_words = coded(symbols[split:], bounds, choice.precision, [choice.tail_start])
        held = [state & 0xFFFF, state >> 16, *tail_words]
        held += [choice.unused] * (count - len(held))
        ends = [choice.start + word for word in held]
    states, words = coded(interleaved, bounds, choice.precision, ends)
    entry = len(words).to_bytes(3, "little") + len(interleaved).to_bytes(3, "little")
    data = b"".join(state.to_bytes(4, "little") for state in states)
    return entry + data + b"".join(word.to_bytes(2, "little") for word in words)


def packed_factors(factors: Sequence[int], symbols: int) -> tuple[list[int], bytes]:
    """The factors of all symbols, `factors` being repeated, and their bytes."""
    bits = [factors[i % len(factors)] for i in range(symbols)]
    filled = bits + [0] * (-symbols % 4)
    return bits, bytes(filled[i] | filled[i + 1] << 4 for i in range(0, len(filled), 2))


def encode_short(
    trits: Sequence[int], counts: Counts, v: int, factors: Sequence[int] = (), *, start: int = 0
) -> bytes:
    """A short payload; the state begins at `start`, which is 0 in a valid one."""
    leaves = grow_leaves(counts, 1 << (v + 1), 63)
    weights = [weight for _, weight in leaves]
    head = bytes([0x80 | v])
    if factors:
        bits, data = packed_factors(factors, len(leaves))
        weights = [weight * FACTOR[b] for weight, b in zip(weights, bits, strict=True)]
        head = bytes([0x90 | v]) + data
    symbols = parsed(trits, [string for string, _ in leaves], counts)
    (state,), words = coded(symbols, slot_bounds(weights, 16), 16, [start])
    stream = state.to_bytes((state.bit_length() + 7) // 8, "little")
    return head + stream + b"".join(word.to_bytes(2, "little") for word in words)


def encode(trits: Sequence[int], counts: Counts, choice: Choice, *, extra: Sequence[int] = ()) -> bytes:
    """The payload of a chunk; `extra` symbols follow those of the last block, which makes it invalid."""
    leaves = grow_leaves(counts, choice.symbol_limit, choice.max_length)
    weights = [weight for _, weight in leaves]
    factors = b""
    if choice.factors:
        bits, factors = packed_factors(choice.factors, len(leaves))
        weights = [weight * FACTOR[b] for weight, b in zip(weights, bits, strict=True)]
    bounds = slot_bounds(weights, choice.precision)
    strings = [string for string, _ in leaves]
    entries, blocks = b"", b""
    for start in range(0, len(trits), 1 << choice.block_bits):
        symbols = parsed(trits[start : start + (1 << choice.block_bits)], strings, counts)
        if start + (1 << choice.block_bits) >= len(trits):
            symbols += extra
        block = coded_block(symbols, bounds, choice)
        entries, blocks = entries + block[:6], blocks + block[6:]
    return choice.header() + factors + entries + blocks
