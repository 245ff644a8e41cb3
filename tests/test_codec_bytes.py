"""One number for the bytes that the codecs write, on every machine and with every compiler's flags."""

from __future__ import annotations

import numpy as np

from ternzip._core.native import core

EXPECTED = 0x18E3639EFDB086EB
"""As in csrc/fuzz/payload_digest.cpp, which the sanitized build and the fuzzing one run."""

MASK = (1 << 64) - 1


def made(rows: int, cols: int, kernel: int, zeros: int) -> np.ndarray[tuple[int], np.dtype[np.int8]]:
    """Rows and columns that come alike in fours, noise among them, some without a nonzero."""
    trits = []
    random = 12345
    for row in range(rows):
        for column in range(cols):
            for k in range(kernel):
                random = (random * 1664525 + 1013904223) & 0xFFFFFFFF
                noise = random >> 8 & 7 == 0
                zero = (random >> 16 & 0xFF) < zeros or row % 8 == 5 or column % 8 == 3
                negative = bool((row * 7 ^ column * 3 ^ k * k) >> 2 & 1) != noise
                trits.append(0 if zero else -1 if negative else 1)
    return np.array(trits, np.int8)


def fnv1a(payloads: list[bytes]) -> int:
    """FNV-1a of 64 bits over the payloads; where one ends counts as well."""
    value = 0xCBF29CE484222325
    for payload in payloads:
        for byte in (*payload, len(payload) % 251):
            value = ((value ^ byte) * 0x100000001B3) & MASK
    return value


def test_payloads_of_made_tensors() -> None:
    payloads = []
    plane = b""
    for shape in ((40, 12, 9), (24, 10, 25), (60, 70, 1), (3, 2, 4)):
        for zeros in (40, 150, 240):
            trits = made(*shape, zeros)
            negative, zero, positive = (int((trits == symbol).sum()) for symbol in (-1, 0, 1))
            counts = (negative, zero, positive)
            address = trits.ctypes.data
            payloads += [core.context_encode(address, *shape, *counts, effort) for effort in (1, 2, 3)]
            payloads += [
                core.fast_encode(address, trits.size, *counts, lanes=lanes, block_bits=10)
                for lanes in (0, 8, 64)
            ]
            packed = np.empty(-(-trits.size // 5), np.uint8)
            core.pack_trits(address, trits.size, packed.ctypes.data)
            payloads.append(packed.tobytes())
            plane += packed.tobytes()
    buffer = np.frombuffer(plane, np.uint8)
    occurrences = np.bincount(buffer, minlength=256).astype(np.uint32)
    payloads.append(core.huffman_encode(buffer.ctypes.data, buffer.size, occurrences.ctypes.data))
    assert hex(fnv1a(payloads)) == hex(EXPECTED)
