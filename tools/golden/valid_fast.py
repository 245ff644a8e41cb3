"""Valid files of the codec `fast` with what its format allows and ternzip's encoder does not choose."""

from __future__ import annotations

import struct

from golden import builder as b
from golden.fast_payload import Choice, encode, encode_short
from golden.valid import F32, Golden, built, elements, symbols

CHOICES = {
    "smallest": Choice(precision=8, max_length=1, symbol_limit=3),
    "largest tree": Choice(precision=16, max_length=63, symbol_limit=256),
    "short symbols": Choice(lane_bits=1, max_length=2, symbol_limit=256),
    "four states": Choice(lane_bits=2, precision=9, max_length=5, symbol_limit=100),
    "factors": Choice(lane_bits=1, precision=14, factors=range(16)),
    "factors of 9 symbols": Choice(max_length=2, symbol_limit=9, factors=(15, 0, 8)),
    "one block": Choice(block_bits=22),
    "eight states": Choice(lane_bits=3, tail=6),
    "64 states": Choice(lane_bits=6, block_bits=11, tail=40, factors=(7, 9)),
    "empty tail": Choice(lane_bits=4, precision=16, tail=0),
    "only a tail": Choice(lane_bits=6, max_length=30, symbol_limit=200, tail=1024),
}
# v and factors of short payloads.
SHORT: dict[str, tuple[int, tuple[int, ...]]] = {
    "short, smallest tree": (1, ()),
    "short, largest tree": (7, ()),
    "short, factors": (3, (7, 9, 8, 15)),
}


def fast_choices() -> Golden:
    items, records, data = [], [], []
    low = struct.pack("<f", -0.5)
    for number, name in enumerate([*CHOICES, *SHORT]):
        negatives = 40 if number % 2 else 0
        trits = symbols(name, 2100, zeros=150 + 6 * (number % 11), negatives=negatives)
        counts = trits.count(-1), trits.count(0), trits.count(1)
        if name in SHORT:
            payload = encode_short(trits, counts, *SHORT[name])
        else:
            payload = encode(trits, counts, CHOICES[name])
        if negatives:
            parameters = b.ternary(7, low, (counts[0], counts[2]), codec=3)
        else:
            parameters = b.ternary(2, struct.pack("<f", 0.5), (counts[2],), codec=3)
        items.append(b.Item(name.encode(), b.TERNARY, b.FLOAT32, (21, 100), parameters))
        records.append(b.Record(payload, len(trits)))
        data.append(elements(trits, F32))
    return built("the codec fast with all that an encoder may choose", items, records, data)
