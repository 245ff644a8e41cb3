"""Puts Huffman payloads together as docs/format-huffman.md has them, each part of which can be made wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reference_huffman import canonical_codes


def nibbles(values: Sequence[int]) -> bytes:
    padded = [*values, *[0] * (len(values) % 2)]
    return bytes(low | high << 4 for low, high in zip(padded[::2], padded[1::2], strict=True))


def stream(data: bytes, lengths: Mapping[int, int]) -> bytes:
    words = {byte: code for code, byte in canonical_codes(dict(lengths)).items()}
    bits = "".join(words[byte] for byte in data)
    return bytes(int(bits[i : i + 8][::-1], 2) for i in range(0, len(bits), 8))


def streams(data: bytes, lengths: Mapping[int, int]) -> list[bytes]:
    q = -(-len(data) // 4)
    return [stream(data[k * q : (k + 1) * q], lengths) for k in range(4)]


def payload(
    lengths: Mapping[int, int],
    parts: Sequence[bytes],
    *,
    bounds: tuple[int, int] | None = None,
    sizes: Sequence[int] | None = None,
) -> bytes:
    """Bounds are `first` and `last`, sizes those of the first three streams; both by default as they must be."""
    first, last = bounds or (min(lengths), max(lengths))
    table = nibbles([lengths.get(byte, 0) for byte in range(first, last + 1)])
    known = [len(part) for part in parts[:3]] if sizes is None else sizes
    fields = b"".join(size.to_bytes(3, "little") for size in known)
    return bytes([first, last]) + table + fields + b"".join(parts)


def encode(data: bytes, lengths: Mapping[int, int]) -> bytes:
    return payload(lengths, streams(data, lengths))
