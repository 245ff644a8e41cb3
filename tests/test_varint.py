"""Integers of variable length, one at a time and in a row."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ternzip._core.errors import TernzipError
from ternzip._core.varint import Cursor, encode_varint

integers = st.integers(0, 63).flatmap(lambda bits: st.integers(0, (2 << bits) - 1))


@given(st.lists(integers))
def test_integers_come_back(values: list[int]) -> None:
    data = b"".join(map(encode_varint, values)) + b"rest"
    for cursor in (Cursor(data, "x"), Cursor(memoryview(data), "x")):
        assert cursor.varints(len(values), "n") == values
        assert bytes(cursor.take(cursor.remaining, "rest")) == b"rest"


@given(st.binary(max_size=12), st.integers(0, 12), st.sampled_from([0, 100, 1 << 20, (1 << 64) - 1]))
@example(b"\x80\x00", 1, 5)
@example(b"\xff" * 10, 1, 5)
@example(b"\x05\x06", 2, 5)
@example(b"\x05", 2, 5)
def test_many_are_read_as_one_by_one(data: bytes, count: int, maximum: int) -> None:
    """The same values, or the same words at the same place."""

    def outcome(read_many: bool) -> tuple[list[int] | str, int]:
        cursor = Cursor(data, "table", 100)
        try:
            if read_many:
                return cursor.varints(count, "n", maximum), cursor.remaining
            return [cursor.varint("n", maximum) for _ in range(count)], cursor.remaining
        except TernzipError as error:
            return str(error), cursor.remaining

    assert outcome(True) == outcome(False)


@pytest.mark.parametrize("value", [-1, 1 << 64])
def test_integers_beyond_64_bits(value: int) -> None:
    with pytest.raises(ValueError, match="varint out of range"):
        encode_varint(value)
