"""Zstandard frames: read by the core, as libzstd reads those that RFC 8878 allows; all others are refused."""

from __future__ import annotations

import random

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from ternzip.codecs.base import CorruptPayload
from ternzip.codecs.zstd import MAX_WINDOW_BYTES, compress_zstd, decompress_zstd

PIECES = st.lists(st.tuples(st.binary(max_size=40), st.integers(1, 300)), max_size=8)


def by_libzstd(frame: bytes, size: int) -> bytes | None:
    """What libzstd makes of it, None where it refuses."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
    try:
        content = decompressor.decompress(frame, max_output_size=max(size, 1), allow_extra_data=False)
    except zstandard.ZstdError:
        return None
    return content if len(content) == size else None


def skewed(size: int, seed: int) -> bytes:
    return np.random.default_rng(seed).geometric(0.2, size).astype(np.uint8).tobytes()


@settings(deadline=None)
@given(pieces=PIECES, level=st.integers(-3, 19))
def test_frames_come_back(pieces: list[tuple[bytes, int]], level: int) -> None:
    content = b"".join(piece * count for piece, count in pieces)
    assert decompress_zstd(compress_zstd(content, level), len(content)).tobytes() == content


@pytest.mark.parametrize("level", [-5, 1, 3, 19])
@pytest.mark.parametrize("size", [3, 5, 17, 63, 64, 300, 5000, 70_000, 131_072, 131_073, 300_000])
def test_literals_of_all_sizes_come_back(size: int, level: int) -> None:
    """In one stream of codes and in four, and matches near and far."""
    far = skewed(size, size)
    for content in (
        far,
        far + bytes(size) + far,
        far[: size // 3] * 3,
        np.random.default_rng(size).bytes(size),
    ):
        frame = compress_zstd(content, level)
        assert decompress_zstd(frame, len(content)).tobytes() == content
        for wrong in (len(content) - 1, len(content) + 1):
            with pytest.raises(CorruptPayload, match="zstd: "):
                decompress_zstd(frame, wrong)


def test_nothing_is_read_that_libzstd_refuses_or_reads_otherwise() -> None:
    rng = random.Random(1)
    contents = [skewed(3000, 1), skewed(400, 2) * 8, b"ternary networks " * 90 + skewed(90, 3), bytes(2000)]
    frames = [(compress_zstd(content, level), len(content)) for content in contents for level in (1, 19)]
    read = 0
    for _ in range(4000):
        frame, size = rng.choice(frames)
        damaged = bytearray(frame)
        for _ in range(rng.randrange(1, 3)):
            damaged[rng.randrange(4, min(len(damaged), 300))] = rng.randrange(256)
        try:
            content = decompress_zstd(bytes(damaged), size).tobytes()
        except CorruptPayload:
            continue
        read += 1
        assert content == by_libzstd(bytes(damaged), size)
    assert read > 100


def with_a_match(offset: int, blocks: int, window: int) -> tuple[bytes, bytes]:
    """A frame of raw blocks of 1 KiB and one match of 32 bytes, in a window of 2^(10 + window) bytes; its content."""
    raw = [np.random.default_rng(i).bytes(1024) for i in range(blocks)]
    code = (offset + 3).bit_length() - 1
    bits = (offset + 3).to_bytes(4, "little")[
        : code // 8 + 1
    ]  # the highest bit marks the end, and is the code's own
    last = (
        bytes([0, 1, 0b01010100, 0, code, 29]) + bits
    )  # no literals; one sequence, each of its codes one symbol
    parts = [(len(block) << 3).to_bytes(3, "little") + block for block in raw]
    parts.append((len(last) << 3 | 0b101).to_bytes(3, "little") + last)
    content = b"".join(raw)
    return zstandard.FRAME_HEADER + bytes([0, window << 3]) + b"".join(parts), content + content[-offset:][
        :32
    ]


@pytest.mark.parametrize("blocks", [2, 8, 16])
def test_no_match_reaches_beyond_the_window(blocks: int) -> None:
    """Where libzstd finds what has since been written there, or refuses, by how much has gone before."""
    for offset, window in ((32, 0), (1000, 0), (1024, 0), (2000, 1), (2048, 1)):
        frame, content = with_a_match(offset, blocks, window)
        assert decompress_zstd(frame, len(content)).tobytes() == content == by_libzstd(frame, len(content))
    for offset, window in ((1025, 0), (2000, 0), (blocks * 1024, 0), (2049, 1)):
        frame, content = with_a_match(offset, blocks, window)
        if offset <= blocks * 1024:
            with pytest.raises(CorruptPayload, match="zstd: damaged"):
                decompress_zstd(frame, len(content))


def test_empty_and_foreign_bytes_are_refused() -> None:
    for frame in (
        b"",
        b"\x28\xb5\x2f",
        b"\x1f\x8b\x08\x00\x00\x00",
        zstandard.ZstdCompressor().compress(b"stated"),
    ):
        with pytest.raises(
            CorruptPayload, match="zstd: expected a frame without content size and dictionary"
        ):
            decompress_zstd(frame, 6)
