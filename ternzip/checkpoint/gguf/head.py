"""The head of a GGUF file, header and metadata, as an extension of a .tnz file: enough to make the file again."""

from __future__ import annotations

from dataclasses import dataclass

from ternzip._core.errors import TernzipError
from ternzip._core.varint import Cursor, encode_varint
from ternzip.codecs.base import CorruptPayload
from ternzip.codecs.zstd import compress_zstd, decompress_zstd

EXTENSION = "ternzip.gguf"
"""Its body: varint size of the file, varint size of the head, a zstd frame of the head."""

MOST_HEAD_BYTES = 1 << 28


@dataclass(frozen=True)
class Head:
    """What a GGUF file holds beside the tensors' data.

    Attributes:
        data: all bytes before that data.
        size: bytes of the whole file; between tensors, and after the last, are zeros.
    """

    data: bytes
    size: int


def encode_head(head: Head) -> bytes:
    """The extension's body; TernzipError for a head beyond 2^28 bytes."""
    if len(head.data) > MOST_HEAD_BYTES:
        raise TernzipError(
            f"GGUF metadata: expected at most {MOST_HEAD_BYTES:,} bytes, found {len(head.data):,}"
        )
    return encode_varint(head.size) + encode_varint(len(head.data)) + compress_zstd(head.data, 19)


def decode_head(body: bytes) -> Head:
    """The head in an extension's body; TernzipError where it is damaged or hostile."""
    cursor = Cursor(memoryview(body), f"extension {EXTENSION}", 0)
    size = cursor.varint("size of the file", (1 << 63) - 1)
    length = cursor.varint("size of the head", min(size, MOST_HEAD_BYTES))
    frame = cursor.take(cursor.remaining, "head")
    try:
        return Head(decompress_zstd(frame, length).tobytes(), size)
    except CorruptPayload as error:
        raise cursor.fail(str(error)) from None
