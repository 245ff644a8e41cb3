"""What is written to a stream is written whole, or an error says that it is not."""

from __future__ import annotations

import io
import os

import pytest

from ternzip._core.streams import write_all
from ternzip.container.writer import write_container


class ShortWriter(io.RawIOBase):
    """An unbuffered stream that takes three bytes at a time."""

    def __init__(self) -> None:
        self.memory = io.BytesIO()

    def writable(self) -> bool:
        return True

    def write(self, data: memoryview, /) -> int:  # type: ignore[override]
        return self.memory.write(bytes(data)[:3])

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self.memory.seek(offset, whence)


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(100)), bytearray(7), memoryview(b"0123456789")])
def test_short_writes_are_continued(data: bytes) -> None:
    stream = ShortWriter()
    write_all(stream, data)
    assert stream.memory.getvalue() == bytes(data)


def test_items_wider_than_a_byte_are_counted_in_bytes() -> None:
    stream = ShortWriter()
    write_all(stream, memoryview(bytes(range(16))).cast("I"))
    assert stream.memory.getvalue() == bytes(range(16))


@pytest.mark.skipif(not hasattr(os, "set_blocking"), reason="pipes that do not block")
def test_a_full_pipe_that_does_not_block() -> None:
    """Nobody reads: the raw stream answers None, which is not all of the data."""
    receiving, sending = os.pipe()
    os.set_blocking(sending, False)
    with (
        open(receiving, "rb"),
        open(sending, "wb", buffering=0) as stream,
        pytest.raises(BlockingIOError, match=r"took \d+ of 4194304 bytes and takes no more") as caught,
    ):
        write_all(stream, bytes(4 << 20))
    assert 0 < caught.value.characters_written < 4 << 20


@pytest.mark.parametrize("answer", [0, -1, 11])
def test_answers_that_cannot_be(answer: int) -> None:
    class Liar(ShortWriter):
        def write(self, data: memoryview, /) -> int:  # type: ignore[override]
            return answer

    with pytest.raises(OSError, match=f"a stream took {answer} of the 10 bytes it was given"):
        write_all(Liar(), bytes(10))


def test_the_container_is_written_whole_to_an_unbuffered_stream() -> None:
    stream, whole = ShortWriter(), io.BytesIO()
    for target in (stream, whole):
        write_container(target, [], metadata={"key": "value" * 20})
    assert stream.memory.getvalue() == whole.getvalue()
