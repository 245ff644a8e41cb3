"""Reference decoder of the `fast` payload, written from docs/format-fast.md; shares no code with ternzip."""

from __future__ import annotations

from collections.abc import Callable

FACTOR = (
    1024, 1218, 1448, 1722, 2048, 2435, 2896, 3444, 4096, 4871, 5793, 6889, 8192, 9742, 11585, 13777,
)  # fmt: skip

Counts = tuple[int, int, int]  # of -1, 0 and +1 in the whole tensor
String = tuple[int, ...]


class InvalidPayload(ValueError):
    """The payload cannot stand for that many trits under these counts."""


def _need(condition: bool, what: str) -> None:
    if not condition:
        raise InvalidPayload(what)


def _integer(data: bytes, at: int, size: int) -> int:
    _need(at + size <= len(data), f"payload ends at byte {len(data)} within a field")
    return int.from_bytes(data[at : at + size], "little")


def grow_leaves(counts: Counts, symbol_limit: int, max_length: int) -> list[tuple[String, int]]:
    """The symbols in order: string and weight."""
    shift = 0
    while max(counts) >> shift >= 1 << 30:
        shift += 1
    scaled = {trit: max(c >> shift, 1) for trit, c in zip((-1, 0, 1), counts, strict=True) if c}
    total = sum(scaled.values())
    probability = {trit: (c << 32) // total for trit, c in scaled.items()}

    created = 1
    leaves: dict[int, tuple[String, int]] = {0: ((), 1 << 32)}
    while len(leaves) + len(probability) - 1 <= symbol_limit:
        short = [(-weight, node) for node, (string, weight) in leaves.items() if len(string) < max_length]
        if not short:
            break
        string, weight = leaves.pop(min(short)[1])
        for trit, p in probability.items():
            leaves[created] = ((*string, trit), max((weight * p) >> 32, 1))
            created += 1
    return [leaves[node] for node in sorted(leaves)]


def slot_bounds(weights: list[int], precision: int) -> list[int]:
    """start[0], start[1], ..., start[M] = 2^precision."""
    total = sum(weights)
    bounds = [0]
    cumulative = 0
    for i, weight in enumerate(weights):
        cumulative += weight
        rounded = ((cumulative << precision) + total // 2) // total
        bounds.append(min(max(rounded, bounds[-1] + 1), (1 << precision) - (len(weights) - 1 - i)))
    return bounds


class Words:
    """16-bit words, taken one after the other."""

    def __init__(self, words: list[int]) -> None:
        self.words = words
        self.taken = 0

    def take(self) -> int:
        _need(self.taken < len(self.words), "the words of a block run out")
        self.taken += 1
        return self.words[self.taken - 1]


class Coder:
    def __init__(self, bounds: list[int], precision: int) -> None:
        self.precision = precision
        self.bounds = bounds
        self.symbol_of_slot = [i for i in range(len(bounds) - 1) for _ in range(bounds[i], bounds[i + 1])]

    def decode(self, state: int, take: Callable[[], int] | None) -> tuple[int, int]:
        """Symbol and new state; without `take` it may stay below 2^16."""
        slot = state & ((1 << self.precision) - 1)
        symbol = self.symbol_of_slot[slot]
        start, end = self.bounds[symbol], self.bounds[symbol + 1]
        state = (end - start) * (state >> self.precision) + slot - start
        if state < 1 << 16 and take is not None:
            state = state << 16 | take()
        return symbol, state


def decode_block(
    data: bytes, lanes: int, symbols: int, n: int, coder: Coder, strings: list[String]
) -> list[int]:
    states = [_integer(data, 4 * i, 4) for i in range(lanes)]
    _need(min(states) >= 1 << 16, "a state is below 2^16")
    words = Words([_integer(data, at, 2) for at in range(4 * lanes, len(data), 2)])
    trits: list[int] = []
    for k in range(symbols):
        _need(len(trits) < n, "a block has more symbols than it needs")
        symbol, states[k % lanes] = coder.decode(states[k % lanes], words.take)
        trits += strings[symbol]
    _need(words.taken == len(words.words), "words of a block remain")
    if lanes < 8:
        _need(len(trits) >= n, "a block has too few symbols")
        _need(all(state == 1 << 16 for state in states), "a state is not 2^16 in the end")
        return trits[:n]

    _need(all(state >> 16 == 1 for state in states), "a state holds no word of the tail")
    held = [state & 0xFFFF for state in states]
    state = held[0] | held[1] << 16
    _need(state >= 1 << 16, "the state of the tail is below 2^16")
    tail = Words(held[2:])
    while len(trits) < n:
        symbol, state = coder.decode(state, tail.take)
        trits += strings[symbol]
    _need(state == 1 << 16, "the state of the tail is not 2^16 in the end")
    _need(not any(tail.words[tail.taken :]), "words of the tail remain")
    return trits[:n]


def read_factors(payload: bytes, at: int, leaves: int) -> tuple[list[int], int]:
    """The factors' bits, and where they end."""
    size = 2 * ((leaves + 3) // 4)
    _integer(payload, at, size)
    bits = [payload[at + i // 2] >> (4 * (i % 2)) & 15 for i in range(2 * size)]
    _need(not any(bits[leaves:]), "factors beyond the symbols")
    return bits[:leaves], at + size


def decode_short(payload: bytes, n: int, counts: Counts) -> list[int]:
    """The trits of a short payload."""
    adapted, v = payload[0] & 16, payload[0] & 7
    _need(payload[0] & ~(128 | 16 | 7) == 0, "a reserved bit is set")
    _need(v >= 1, "v")
    leaves = grow_leaves(counts, 1 << (v + 1), 63)
    weights = [weight for _, weight in leaves]
    at = 1
    if adapted:
        bits, at = read_factors(payload, at, len(leaves))
        weights = [weight * FACTOR[b] for weight, b in zip(weights, bits, strict=True)]
    coder = Coder(slot_bounds(weights, 16), 16)

    stream = payload[at:]
    size = len(stream) if len(stream) < 4 else 4 - len(stream) % 2
    _need(size == 0 or stream[size - 1] != 0, "the highest byte of the state is 0")
    state = int.from_bytes(stream[:size], "little")
    words = Words([_integer(stream, i, 2) for i in range(size, len(stream), 2)])
    trits: list[int] = []
    while len(trits) < n:
        left = words.taken < len(words.words)
        symbol, state = coder.decode(state, words.take if left else None)
        trits += leaves[symbol][0]
    _need(words.taken == len(words.words), "words remain")
    _need(state == 0, "the state is not 0 in the end")
    return trits[:n]


def decode(payload: bytes, n: int, counts: Counts) -> list[int]:
    """The n trits of a chunk of a tensor with these counts; InvalidPayload if it cannot be."""
    present = [trit for trit, count in zip((-1, 0, 1), counts, strict=True) if count]
    if n == 0 or len(present) <= 1:
        _need(not payload, "a payload where none is needed")
        _need(n == 0 or len(present) == 1, "trits of a tensor that has none")
        return present * n

    if payload and payload[0] & 128:
        return decode_short(payload, n, counts)
    flags, precision, max_length, limit, block_bits, reserved = (_integer(payload, i, 1) for i in range(6))
    lane_bits, adapted = flags & 15, flags & 16
    _need(flags < 32 and reserved == 0, "a reserved bit is set")
    _need(lane_bits <= 6, "lane_bits")
    _need(8 <= precision <= 16, "precision")
    _need(1 <= max_length <= 63, "max_length")
    _need(limit >= 2, "symbol_limit")
    _need(10 <= block_bits <= 22, "block_bits")
    lanes = 1 << lane_bits

    leaves = grow_leaves(counts, limit + 1, max_length)
    weights = [weight for _, weight in leaves]
    at = 6
    if adapted:
        bits, at = read_factors(payload, at, len(leaves))
        weights = [weight * FACTOR[b] for weight, b in zip(weights, bits, strict=True)]
    coder = Coder(slot_bounds(weights, precision), precision)
    strings = [string for string, _ in leaves]

    starts = range(0, n, 1 << block_bits)
    entry, at = at, at + 6 * len(starts)
    trits: list[int] = []
    for start in starts:
        words, symbols = _integer(payload, entry, 3), _integer(payload, entry + 3, 3)
        entry += 6
        size = 4 * lanes + 2 * words
        _integer(payload, at, size)
        block = payload[at : at + size]
        trits += decode_block(block, lanes, symbols, min(1 << block_bits, n - start), coder, strings)
        at += size
    _need(at == len(payload), "bytes after the last block")
    return trits
