"""Valid files of planes in Huffman codes: what the format allows, and what ternzip makes of floats."""

from __future__ import annotations

import struct
from collections.abc import Callable

from golden import builder as b
from golden.huffman_payload import encode
from golden.valid import Expected, Golden, built, noise, saved

EXAMPLE = {98: 2, 99: 1, 100: 3, 101: 3}
ELEVEN = {**{10 + i: i for i in range(1, 11)}, 250: 11, 251: 11}
STAIRS = {**{10 + i: i for i in range(1, 12)}, 250: 12, 251: 12}


def drawn(seed: str, lengths: dict[int, int], size: int) -> bytes:
    """Bytes about as frequent as their codes are short, each at least once."""
    shares = [byte for byte, length in lengths.items() for _ in range(1 << (12 - length))]
    numbers = noise(seed, 2 * size)
    picked = bytes(shares[(numbers[2 * i] << 8 | numbers[2 * i + 1]) % 4096] for i in range(size))
    return (bytes(lengths) + picked)[:size]


CHOICES: dict[str, tuple[dict[int, int], bytes]] = {
    "example": (EXAMPLE, b"bccde"),
    "one byte": ({0: 1, 255: 1}, b"\xff"),
    "two bytes": ({0: 1, 255: 1}, b"\xff\0"),
    "three bytes": (EXAMPLE, b"ebd"),
    "codes that do not occur": (STAIRS, bytes([11] * 40)),
    "every byte": (dict.fromkeys(range(256), 8), noise("every byte", 300)),
    "short codes": ({7: 1, 8: 1}, drawn("short", {7: 1, 8: 1}, 8200)),
    "of 11 bits": (ELEVEN, drawn("11 bits", ELEVEN, 5002)),
    "of 12 bits": (STAIRS, drawn("12 bits", STAIRS, 5003)),
}


PAIRS = bytes([0, 255, 0] * 20)
SPARSE = [
    ("sparse", b.sparse(b"\x25\1", b"abcd"), b"a\0b\0\0c\0\0d\0\0"),
    ("sparse, one byte", b.sparse(b"\1", b"x"), b"x"),
    ("sparse, zeros among the rest", b.sparse(b"\xff", b"\0\1\0\0\2\3\4\0"), b"\0\1\0\0\2\3\4\0"),
    (
        "sparse, constant parts",
        b.sparse(b"\xaa", b"\7", bitmap_method=3, rest_method=3),
        b"\0\7" * 40,
    ),
    (
        "sparse, parts of other methods",
        b.sparse(
            b.frame(b"\x81" * 30),
            encode(PAIRS, {0: 1, 255: 1}),
            bitmap_method=1,
            rest_method=2,
        ),
        b"".join(PAIRS[i : i + 1] + bytes(6) + PAIRS[i + 1 : i + 2] for i in range(0, 60, 2)),
    ),
]


def huffman_choices() -> Golden:
    items, records, data = [], [], []
    for name, (lengths, plain) in CHOICES.items():
        items.append(b.Item(name.encode(), b.PLANES, b.UINT8, (len(plain),)))
        records.append(b.Record(b"\0" + b.plane(encode(plain, lengths), method=2), len(plain)))
        data.append(plain)
    constant = b"\0" + b.plane(b"\x80", method=3) + b.plane(b"\x3f", method=3)
    items.append(b.Item(b"constant", b.PLANES, 3, (6,)))
    records.append(b.Record(constant, 12))
    data.append(b"\x80\x3f" * 6)
    for name, plane, plain in SPARSE:
        items.append(b.Item(name.encode(), b.PLANES, b.UINT8, (len(plain),)))
        records.append(b.Record(b"\0" + plane, len(plain)))
        data.append(plain)
    return built(
        "Huffman codes with all that an encoder may choose, constant planes and sparse ones",
        items,
        records,
        data,
    )


def weights(seed: str, count: int) -> list[float]:
    """About normally distributed, mean 0, deviation 0.02."""
    bits = noise(seed, 12 * count)
    return [(sum(bits[12 * i : 12 * i + 12]) - 1530) / 256 * 0.02 for i in range(count)]


def huffman_floats() -> Golden:
    numbers = weights("floats", 1500)
    single = struct.pack("<1500f", *numbers)
    tensors = [
        Expected(
            "float64", "float64", (30, 50), struct.pack("<1500d", *(1.1 * number for number in numbers))
        ),
        Expected("float32", "float32", (30, 50), single),
        Expected("float16", "float16", (30, 50), struct.pack("<1500e", *numbers)),
        Expected("bfloat16", "bfloat16", (30, 50), b"".join(single[i : i + 2] for i in range(2, 6000, 4))),
        Expected("complex64", "complex64", (30, 25), single),
        Expected("large", "float32", (130, 130), struct.pack("<16900f", *weights("large", 16900))),
    ]
    return saved("floats as ternzip stores them, most exponents in Huffman codes", tensors)


CASES: dict[str, Callable[[], Golden]] = {
    "huffman-choices": huffman_choices,
    "huffman-floats": huffman_floats,
}
