"""Invalid files that break a rule of docs/format-fast.md, the payload of the codec `fast`."""

from __future__ import annotations

import struct
from dataclasses import replace

from golden.cases import add
from golden.fast_payload import Choice, encode, encode_short
from golden.invalid_ternary import SIX, T, X

COUNTS = (1, 3, 2)
ERROR = X + "fast payload: .* bytes cannot stand for 6 symbols"


def fast(name: str, rule: str, payload: bytes) -> None:
    add(f"fast-{name}", f"fast: {rule}", ERROR, T(codec=3, payloads=[payload]).file())


def changed(payload: bytes, position: int, byte: int) -> bytes:
    return payload[:position] + bytes([byte]) + payload[position + 1 :]


# --- header ------------------------------------------------------------------------------------------------

ONE = encode(SIX, COUNTS, Choice(max_length=2, symbol_limit=5))
HEADER = {
    "lanes": ("lane_bits is at most 6", 0, 7),
    "flag-32": ("bits 5 and 6 are 0", 0, 32),
    "flag-64": ("bits 5 and 6 are 0", 0, 64),
    "precision-7": ("precision is at least 8", 1, 7),
    "precision-17": ("precision is at most 16", 1, 17),
    "length-0": ("max_length is at least 1", 2, 0),
    "length-64": ("max_length is at most 63", 2, 64),
    "limit-2": ("symbol_limit is at least 3", 3, 1),
    "block-9": ("block_bits is at least 10", 4, 9),
    "block-23": ("block_bits is at most 22", 4, 23),
    "reserved": ("byte 5 is 0", 5, 1),
}
for NAME, (RULE, POSITION, BYTE) in HEADER.items():
    fast(NAME, RULE, changed(ONE, POSITION, BYTE))

add(
    "fast-parameters",
    "7: fast has no parameters",
    "tensor 'x': fast: expected no parameters, found 1 bytes",
    T(codec=3, strings=(b"\0",), payloads=[ONE]).file(),
)

# --- parts -------------------------------------------------------------------------------------------------

FACTORS = encode(
    SIX, COUNTS, Choice(max_length=2, symbol_limit=5, factors=(8,))
)  # five factors, eight places
fast("empty", "a header of 6 bytes", b"")
fast("header-ends", "a header of 6 bytes", ONE[:5])
fast("factors-filling", "unused halves of factors are zero", changed(FACTORS, 8, 0x18))
fast("factors-end", "the payload does not end within the factors", FACTORS[:9])
fast("entries-end", "the payload does not end within the entries", ONE[:11])
fast("states-end", "the payload does not end within a block", ONE[:15])
fast("trailing", "the payload ends after the last block", ONE + b"\0")

# --- blocks of up to four states ---------------------------------------------------------------------------

MANY = SIX * 5  # enough of them for a state to spill
FLAT = Choice(precision=8, max_length=1, symbol_limit=3)


def many(name: str, rule: str, payload: bytes) -> None:
    tensor = T(codec=3, shape=(5, 6), counts=(5, 10), payloads=[payload], units=(30,))
    add(f"fast-{name}", f"fast: {rule}", ERROR.replace("6 symbols", "30 symbols"), tensor.file())


def of_many(choice: Choice, *, extra: tuple[int, ...] = ()) -> bytes:
    return encode(MANY, (5, 15, 10), choice, extra=extra)


def with_entry(payload: bytes, words: int, symbols: int) -> bytes:
    """Another number of words and symbols, for a payload without factors and of one block."""
    return payload[:6] + words.to_bytes(3, "little") + symbols.to_bytes(3, "little") + payload[12:]


PLAIN = of_many(FLAT)
fast("state-small", "a state is at least 2^16", ONE[:12] + struct.pack("<I", 0xFFFF) + ONE[16:])
many("state-other", "a state is 2^16 in the end", of_many(replace(FLAT, lane_bits=2, start=(1 << 16) + 1)))
many("word-missing", "no word is needed where none is left", with_entry(PLAIN, PLAIN[6] - 1, 30)[:-2])
many("word-left", "no words of a block remain", with_entry(PLAIN, PLAIN[6] + 1, 30) + b"\0\0")
many("symbols-few", "a block has all its trits", encode(MANY[:-1], (5, 15, 10), FLAT))
many("symbols-many", "no symbol begins when a block has all its trits", of_many(FLAT, extra=(1,)))

# --- blocks with a tail ------------------------------------------------------------------------------------

TAIL = replace(FLAT, lane_bits=3, tail=20)
many("tail-state", "states end below 2^17", of_many(replace(TAIL, start=1 << 17)))
many("tail-end", "the state of the tail ends at 2^16", of_many(replace(TAIL, tail_start=(1 << 16) + 1)))
many("tail-unused", "words of the tail that are not taken are 0", of_many(replace(TAIL, unused=1)))
many(
    "tail-many", "no symbol begins when a block has all its trits", of_many(replace(TAIL, tail=0), extra=(1,))
)

# --- short payloads ----------------------------------------------------------------------------------------

SHORT = encode_short(SIX, COUNTS, 2)
SHORT_FACTORS = encode_short(SIX, COUNTS, 2, (8,))  # seven factors, eight places
fast("short-limit", "v of a short payload is at least 1", changed(SHORT, 0, 0x80))
for BIT in (8, 32, 64):
    fast(f"short-flag-{BIT}", "bits 3, 5 and 6 of a short payload are 0", changed(SHORT, 0, 0x82 | BIT))
fast("short-factors-filling", "unused halves of factors are zero", changed(SHORT_FACTORS, 4, 0x18))
fast("short-factors-end", "a short payload does not end within the factors", SHORT_FACTORS[:4])
fast("short-state-high", "the highest byte of the state is not 0", SHORT[:2] + b"\0")
fast("short-state-end", "the state of a short payload is 0 in the end", encode_short(SIX, COUNTS, 2, start=1))
fast("short-words", "no word of a short payload is left", SHORT + b"\0\0")
many(
    "short-word-missing",
    "the state of a short payload is 0 in the end",
    encode_short(MANY, (5, 15, 10), 1)[:-2],
)
