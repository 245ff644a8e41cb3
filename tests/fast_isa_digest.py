"""Prints the instruction set in use and a digest of what `fast` encodes and decodes with it."""

import hashlib

import numpy as np

from ternzip._core.native import core

digest = hashlib.sha256()
rng = np.random.default_rng(9)
for zero in (0.0, 0.4, 0.9, 0.97, 0.999):
    for lanes in (1, 8, 16, 32, 64):
        n = 40_000
        trits = rng.choice(np.array([-1, 0, 1], np.int8), n, p=[(1 - zero) / 2, zero, (1 - zero) / 2])
        counts = [int((trits == value).sum()) for value in (-1, 0, 1)]
        payload = core.fast_encode(trits.ctypes.data, n, *counts, lanes=lanes, block_bits=14)
        data = np.frombuffer(payload, np.uint8)
        digest.update(payload)
        out = np.empty(n, np.int8)
        assert core.fast_decode(data.ctypes.data, data.size, n, *counts, out.ctypes.data)
        assert np.array_equal(out, trits)
        levels = [np.array([bits], np.uint64) for bits in (0x8182838485868788, 0x1112131415161718)]
        for code, size in ((8, 1), (9, 2), (10, 4), (11, 8)):
            elements = np.empty(size * n, np.uint8)
            native = [level.astype(f"<u{size}") for level in levels]
            put = core.fast_decode_into(
                data.ctypes.data, data.size, n, *counts, code, *(a.ctypes.data for a in native), (n, 1, n), 0,
                elements.ctypes.data,
            )  # fmt: skip
            assert put == (*counts, 0, None)
            digest.update(elements.tobytes())
print(core.active_isa(), digest.hexdigest())
