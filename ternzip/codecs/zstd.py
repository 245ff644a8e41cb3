"""zstd frames as the format wants them: without content size and dictionary, which the container states."""

from __future__ import annotations

import zstandard

from ternzip.codecs.base import CorruptPayload

MAX_WINDOW_BYTES = 1 << 23
"""How far back a frame may refer, which is what decompressing it costs in memory."""

_STATED = 0b11100011  # of a frame header's descriptor: content size, single segment, dictionary ID


def compress_zstd(data: bytes | memoryview, level: int) -> bytes:
    """One zstd frame without content size and checksum: the container states both."""
    compressor = zstandard.ZstdCompressor(
        level=level, write_content_size=False, write_checksum=False, write_dict_id=False
    )
    return compressor.compress(data)


def decompress_zstd(data: bytes | memoryview, size: int) -> bytes:
    """Exactly `size` bytes, or CorruptPayload. The caller has bounded `size`; no more is allocated."""
    # A content size in the frame would override `max_output_size`, so a frame must not state one.
    if bytes(data[:4]) != zstandard.FRAME_HEADER or (len(data) > 4 and data[4] & _STATED):
        raise CorruptPayload("zstd: expected a frame without content size and dictionary")
    try:
        decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
        out = decompressor.decompress(data, max_output_size=max(size, 1), allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise CorruptPayload(f"zstd: {error}") from None
    if len(out) != size:
        raise CorruptPayload(f"zstd: expected {size} bytes, found {len(out)}")
    return out
