"""Reference decoder of planes in Huffman codes, written from docs/format-huffman.md; shares no code with ternzip."""

from __future__ import annotations

LONGEST = 12


class InvalidPayload(ValueError):
    """The payload cannot stand for that many bytes."""


def _need(condition: bool, what: str) -> None:
    if not condition:
        raise InvalidPayload(what)


def read_lengths(payload: bytes) -> tuple[dict[int, int], int]:
    """The length of each byte's code, and where the sizes of the streams begin."""
    _need(len(payload) >= 2, "no first and last byte")
    first, last = payload[0], payload[1]
    _need(first < last, f"bytes from {first} to {last}")
    end = 2 + (last - first + 2) // 2
    _need(len(payload) >= end, "the lengths of the codes end early")
    halves = [half for byte in payload[2:end] for half in (byte & 15, byte >> 4)]
    _need(not any(halves[last - first + 1 :]), "the unused half of a byte is not zero")
    lengths = {first + i: length for i, length in enumerate(halves) if length}
    _need(first in lengths and last in lengths, f"no code for {first} or for {last}")
    _need(max(lengths.values()) <= LONGEST, f"a code of more than {LONGEST} bits")
    _need(sum(1 << (LONGEST - length) for length in lengths.values()) == 1 << LONGEST, "no complete codes")
    return lengths, end


def canonical_codes(lengths: dict[int, int]) -> dict[str, int]:
    """Codes as strings of 0 and 1 -> bytes."""
    codes = {}
    code = size = 0
    for length, byte in sorted((length, byte) for byte, length in lengths.items()):
        code <<= length - size
        size = length
        codes[format(code, f"0{size}b")] = byte
        code += 1
    return codes


def _decode_stream(stream: bytes, codes: dict[str, int], n: int) -> bytes:
    bits = "".join(format(byte, "08b")[::-1] for byte in stream)
    out = bytearray()
    at = 0
    for _ in range(n):
        end = at + 1
        while bits[at:end] not in codes:
            _need(end < len(bits), "a stream ends before its last code")
            end += 1
        out.append(codes[bits[at:end]])
        at = end
    _need(len(bits) - at < 8, "a stream goes on after its last code")
    _need("1" not in bits[at:], "the bits that fill up a stream are not zero")
    return bytes(out)


def decode(payload: bytes, n: int) -> bytes:
    """The n bytes of a plane."""
    lengths, at = read_lengths(payload)
    codes = canonical_codes(lengths)
    _need(len(payload) >= at + 9, "the sizes of the streams end early")
    ends = [at + 9]
    for k in range(3):
        ends.append(ends[-1] + int.from_bytes(payload[at + 3 * k : at + 3 * k + 3], "little"))
    ends.append(len(payload))
    _need(ends[3] <= len(payload), "the streams end early")
    q = -(-n // 4)
    parts = [
        _decode_stream(payload[ends[k] : ends[k + 1]], codes, min(n, (k + 1) * q) - min(n, k * q))
        for k in range(4)
    ]
    return b"".join(parts)
