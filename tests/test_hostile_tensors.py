"""Hostile parameters and payloads of single tensors, forged field by field."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from forge import (
    BF16,
    E4M3,
    F32,
    F64,
    I8,
    PACKED,
    PLANES,
    SOLID,
    TERNARY,
    U8,
    Forge,
    Tensor,
    levels,
    parts,
    varint,
)
from reading import elements, read, refused

import ternzip
from ternzip._core.errors import TernzipError
from ternzip.codecs.zstd import compress_zstd
from ternzip.container.reader import Reader

# --- ternary parameters ------------------------------------------------------------------------------------


def ternary(
    parameters: bytes,
    record: bytes = b"",
    *,
    dtype: int = F32,
    shape: tuple[int, ...] = (2, 4),
    size: int = -1,
) -> bytes:
    tensor = Tensor("t", TERNARY, dtype, shape, parameters=parameters)
    # Eight symbols take a byte of file at least.
    filled = record or b"\0"
    return Forge([tensor], [filled], sizes=[len(record) if size < 0 else size]).to_bytes()


# Five digits of (symbol + 1) a byte: -1 0 1 0 1 | 1 -1 0, filled up with 0.
DIGITS = bytes([0 + 1 * 3 + 2 * 9 + 1 * 27 + 2 * 81, 2 + 0 * 3 + 1 * 9 + 1 * 27 + 1 * 81])
SYMBOLS = [-1, 0, 1, 0, 1, 1, -1, 0]
COUNTS = varint(2) + varint(3)


def test_forged_ternary_tensors_read() -> None:
    both = ternary(b"\3" + levels(-1.0, 2.0) + COUNTS + bytes([PACKED, 0]), DIGITS)
    assert elements(both) == levels(*({-1: -1.0, 0: 0.0, 1: 2.0}[s] for s in SYMBOLS))
    symmetric = ternary(b"\7" + levels(-3.0) + COUNTS + bytes([PACKED, 0]), DIGITS)
    assert elements(symmetric) == levels(*(3.0 * s for s in SYMBOLS))
    rows = grid(b"\1\0", (-1.0, -2.0), (3.0, 4.0))
    assert elements(rows) == levels(-1.0, 0.0, 3.0, 0.0, 4.0, 4.0, -2.0, 0.0)
    columns = grid(b"\0\2", (-1.0, -2.0), (3.0, 4.0))
    assert elements(columns) == levels(-1.0, 0.0, 4.0, 0.0, 3.0, 3.0, -2.0, 0.0)
    binary = ternary(b"\1" + levels(-1.0) + varint(3) + bytes([PACKED, 0]), bytes([0b10101011]), shape=(8,))
    assert elements(binary) == levels(0.0, 0.0, -1.0, 0.0, -1.0, 0.0, -1.0, 0.0)
    assert elements(ternary(b"\x10", b"")) == levels(-0.0) * 8
    assert elements(ternary(b"\1" + b"\x80" + varint(8), b"", dtype=I8)) == b"\x80" * 8


def grid(shape: bytes, lows: Sequence[float], highs: Sequence[float]) -> bytes:
    """A tensor of 2 x 4 with blocks of levels of this height and width."""
    records = [level_block(values) for values in (lows, highs)]
    tensor = Tensor("t", TERNARY, F32, (2, 4), parameters=b"\x0b" + shape + COUNTS + bytes([PACKED, 0]))
    return Forge([tensor], [*records, DIGITS]).to_bytes()


def level_block(values: Sequence[float]) -> bytes:
    """Levels as a block of stored planes."""
    data = levels(*values)
    return b"\0" + b"".join(b"\0" + varint(len(values)) + data[plane::4] for plane in range(4))


def test_zero_signs() -> None:
    tensor = Tensor("t", TERNARY, F32, (2, 4))
    tensor.parameters = b"\x23" + levels(-1.0, 2.0) + COUNTS + bytes([PACKED, 0]) + b"\1" + bytes([PACKED, 0])
    good = Forge([tensor], [DIGITS, bytes([0b101])]).to_bytes()
    assert elements(good) == levels(-1.0, 0.0, 2.0, -0.0, 2.0, 2.0, -1.0, 0.0)
    lie = "tensor 't': offset 32: signs of zeros -1, 0, .1: expected .1, 0, 2., found .2, 0, 1."
    refused(Forge([tensor], [DIGITS, bytes([0b010])]).to_bytes(), lie)
    for count in (0, 3, 4):
        tensor.parameters = tensor.parameters[:-3] + varint(count) + bytes([PACKED, 0])
        refused(Forge([tensor], [DIGITS, b"\5"]).to_bytes(), "count of negative zeros: expected at")


def test_counts_that_lie() -> None:
    """The symbols decide what is restored, the index what inspect says: they must agree."""
    wrong = bytes([DIGITS[0] - 27, DIGITS[1]])
    parameters = b"\3" + levels(-1.0, 2.0) + COUNTS + bytes([PACKED, 0])
    lie = "tensor 't': offset 32: symbols -1, 0, .1: expected .2, 3, 3., found .3, 2, 3."
    refused(ternary(parameters, wrong), lie)
    refused(
        ternary(b"\1" + levels(-1.0) + varint(3) + bytes([PACKED, 0]), b"\1", shape=(8,)),
        "expected .3, 5, 0.",
    )


def test_symbols_without_a_level_in_their_row() -> None:
    for lows, highs, found in (
        ((-1.0, -1.0), (3.0, 4.0), None),
        ((0.0, -1.0), (3.0, 4.0), "block 0 of levels: expected no symbol -1 without a level"),
        ((-1.0, -1.0), (3.0, 0.0), "block 1 of levels: expected no symbol .1 without a level"),
    ):
        data = grid(b"\1\0", lows, highs)
        if found is None:
            assert elements(data) == levels(-1.0, 0.0, 3.0, 0.0, 4.0, 4.0, -1.0, 0.0)
        else:
            refused(data, f"tensor 't': offset 32: {found}")


BAD_PARAMETERS = {
    "reserved bit 64": (b"\x43", F32, "flags: expected reserved bits of zero, found 0x43"),
    "reserved bit 128": (b"\x83", F32, "flags: expected reserved bits of zero"),
    "signs of 3": (b"\x33", F32, "flags: expected reserved bits of zero"),
    "signs of integers": (b"\x13", I8, "flags: int8 has no negative zero"),
    "signs of fnuz": (b"\x20", E4M3 + 2, "flags: float8_e4m3fnuz has no negative zero"),
    "blocks without levels": (b"\x08", F32, "flags: blocks of levels need a level"),
    "one block": (b"\x09\0\0", F32, "levels: expected 2 to 4 blocks, found 1 of 2 x 4 elements"),
    "a block for each element": (b"\x09\1\1", F32, "levels: expected 2 to 4 blocks, found 8 of 1 x 1"),
    "no room for a block's width": (b"\x09\1", F32, "elements of a block of levels: expected 1 bytes"),
    "symmetric without both": (b"\5", F32, "flags: symmetric levels need both levels"),
    "symmetric without any": (b"\4", F32, "flags: symmetric levels need both levels"),
    "negative level is positive": (b"\1" + levels(1.0), F32, "levels: expected negative values"),
    "negative level is -0.0": (b"\1" + levels(-0.0), F32, "levels: expected negative values"),
    "negative level is 0": (b"\1" + levels(0.0), F32, "levels: expected at least one that is not zero"),
    "positive level is negative": (b"\2" + levels(-1.0), F32, "levels: expected positive values"),
    "positive level is -0.0": (b"\2" + levels(-0.0), F32, "levels: expected positive values"),
    "positive level is 0": (b"\2" + levels(0.0), F32, "levels: expected at least one that is not zero"),
    "no opposite": (b"\7\x80", I8, "levels: expected negatives that have an opposite"),
    "no opposite of -0.0": (b"\7\x00\x80", BF16, "levels: expected negative values"),
    "no room for levels": (b"\1\0\0", F32, "levels: expected 4 bytes, found 2"),
    "no room for flags": (b"", F32, "flags: expected 1 bytes, found 0"),
    "too many negatives": (
        b"\1" + levels(-1.0) + varint(9),
        F32,
        "count of negatives: expected at most 8, found 9",
    ),
    "too many positives": (
        b"\3" + levels(-1.0, 1.0) + varint(6) + varint(3),
        F32,
        "positives: expected at most 2",
    ),
    "no negatives": (
        b"\1" + levels(-1.0) + varint(0),
        F32,
        "counts: expected at least one symbol for each level",
    ),
    "no positives": (b"\3" + levels(-1.0, 1.0) + b"\1\0", F32, "counts: expected at least one symbol"),
    "signs without zeros": (b"\x13" + levels(-1.0, 1.0) + b"\4\4", F32, "flags: expected no signs of zeros"),
    "no room for codec": (b"\1" + levels(-1.0) + b"\1", F32, "codec: expected 1 bytes, found 0"),
    "codec parameters that are not there": (
        b"\1" + levels(-1.0) + b"\1\1" + varint(256),
        F32,
        "number of codec parameters: expected at most 0, found 256",
    ),
    "no room for codec parameters": (
        b"\1" + levels(-1.0) + b"\1\1",
        F32,
        "number of codec parameters: expected 1 bytes, found 0",
    ),
    "more parameters": (b"\0\0", F32, "expected the end of the section, found 1 further bytes"),
}


@pytest.mark.parametrize("case", BAD_PARAMETERS)
def test_bad_parameters(case: str) -> None:
    parameters, dtype, message = BAD_PARAMETERS[case]
    refused(ternary(parameters, dtype=dtype), message)


@pytest.mark.parametrize("shape", [(8,), (1, 8), ()])
def test_blocks_are_smaller_than_the_tensor(shape: tuple[int, ...]) -> None:
    refused(ternary(b"\x0a\1\0", shape=shape), "rows of a block of levels: expected at most 0, found 1")
    for width in (8, 1 << 63):
        refused(ternary(b"\x0a\0" + varint(width), shape=(8,)), f"expected at most 7, found {width}")


def test_zeros_are_no_levels() -> None:
    refused(grid(b"\1\0", (0.0, 0.0), (1.0, 1.0)), "levels: expected at least one that is not zero")
    refused(grid(b"\1\0", (-1.0, -0.0), (1.0, 1.0)), "levels: expected negative values")
    refused(grid(b"\1\0", (-1.0, 1.0), (1.0, 1.0)), "levels: expected negative values")
    refused(grid(b"\1\0", (-1.0, -1.0), (1.0, -1.0)), "levels: expected positive values")


def test_blocks_of_levels_are_those_of_the_file() -> None:
    """A shape may promise any number of blocks; bytes must be there for them before any are made."""
    for flags in (9, 10, 11):
        parameters = bytes([flags]) + b"\1\0" + COUNTS[: 2 if flags == 11 else 1] + bytes([PACKED, 0])
        refused(ternary(parameters, DIGITS, shape=(1 << 40, 4)), "records: expected more than")


# --- payloads ----------------------------------------------------------------------------------------------


def both_levels(codec: int) -> bytes:
    return b"\3" + levels(-1.0, 2.0) + COUNTS + bytes([codec, 0])


def test_packed_payloads() -> None:
    refused(
        ternary(both_levels(PACKED), DIGITS[:1]),
        "tensor 't': offset 32: packed payload: expected 2 bytes, found 1",
    )
    refused(ternary(both_levels(PACKED), DIGITS + b"\0"), "packed payload: expected 2 bytes, found 3")
    refused(ternary(both_levels(PACKED), b"\xf3" + DIGITS[1:]), "found a value above 242")
    refused(
        ternary(both_levels(PACKED), DIGITS[:1] + b"\x00"), "packed payload: expected five trits"
    )  # filling
    binary = b"\1" + levels(-1.0) + varint(3) + bytes([PACKED, 0])
    refused(ternary(binary, b"\0\0", shape=(8,)), "packed payload: expected 1 bytes, found 2")
    refused(ternary(binary, b"\x80", shape=(7,)), "packed payload: expected zero padding bits")


def test_static_payloads() -> None:
    good = ternzip.save({"t": torch.tensor(SYMBOLS * 30, dtype=torch.int8).reshape(2, -1)}, codec="static")
    with Reader.open(good) as reader:
        record = reader.entries["t"].records[0]
    payload = good[32 : 32 + record.size]
    assert len(payload) > 8

    def static(payload: bytes) -> bytes:
        _, parameters, _ = parts(good)
        return Forge([Tensor("t", TERNARY, I8, (2, 120), parameters=parameters)], [payload]).to_bytes()

    assert elements(static(payload)) == np.array(SYMBOLS * 30, np.int8).tobytes()
    refused(static(payload + b"\0"), "static payload: expected a last byte other than zero")
    refused(static(payload + b"\1"), "static payload: .* hold more than 240 symbols")
    refused(static(b"\1" * 4 + payload), "static payload: .* hold more than 240 symbols")
    with pytest.raises(TernzipError):
        read(static(payload[:-4].rstrip(b"\0") or b"\1"))


BAD_BLOCKS = {
    "nothing": (b"", "block, byte 0: rotation: expected 1 bytes, found 0"),
    "rotation": (b"\x10\0\x02ab\0\x02cd", "block: expected a rotation below 16, found 16"),
    "plane method": (b"\0\5\x02ab\0\x02cd", "plane: expected method 0 to 4, found 5"),
    "no Huffman codes": (b"\0\2\x02ab\0\x02cd", "plane: 2 bytes of Huffman codes cannot stand for 2 bytes"),
    "empty constant": (b"\0\3\0\0\x02cd", "plane: expected 1 byte for a constant plane, found 0"),
    "long constant": (b"\0\3\2aa\0\x02cd", "plane: expected 1 byte for a constant plane, found 2"),
    "short plane": (b"\0\0\x01a\0\x02cd", "plane: expected 2 stored bytes, found 1"),
    "long plane": (b"\0\0\x03abb\0\x02cd", "plane: expected 2 stored bytes, found 3"),
    "missing plane": (b"\0\0\x02ab", "plane method: expected 1 bytes, found 0"),
    "plane cut off": (b"\0\0\x02ab\0\x02c", "plane: expected 2 bytes, found 1"),
    "plane length": (b"\0\0" + b"\xff" * 9 + b"\1", "plane: expected 18446744073709551615 bytes, found 0"),
    "further bytes": (b"\0\0\x02ab\0\x02cde", "expected the end of the section, found 1 further bytes"),
    "no zstd": (b"\0\1\x02ab\0\x02cd", "zstd: "),
    "zstd of one byte": (
        b"\0\1" + bytes([len(compress_zstd(b"a", 1))]) + compress_zstd(b"a", 1),
        "zstd: expected 2 b",
    ),
    "empty zstd": (b"\0\1\0\0\x02cd", "zstd: "),
}


@pytest.mark.parametrize("case", BAD_BLOCKS)
@pytest.mark.parametrize("storage", [PLANES, SOLID])
def test_bad_blocks(case: str, storage: int) -> None:
    block, message = BAD_BLOCKS[case]
    where = "tensor 't'" if storage == PLANES else "solid block of 1 tensors from 't' on"
    tensor = Tensor("t", storage, BF16, (2,))
    assert elements(Forge([tensor], [b"\0\0\x02ab\0\x02cd"]).to_bytes()) == b"acbd"
    refused(
        Forge([tensor], [block or b"\0"], sizes=[len(block)]).to_bytes(), f"{where}: offset 32: .*{message}"
    )


def test_rotated_blocks_of_every_width() -> None:
    for (dtype, width), rotation in itertools.product(((U8, 1), (BF16, 2), (F32, 4), (F64, 8)), (0, 1, 4, 7)):
        number = int.from_bytes(bytes(range(0xA1, 0xA1 + width)), "little")
        turned = (number << rotation | number >> 8 * width - rotation) & (1 << 8 * width) - 1
        block = bytes([rotation]) + b"".join(
            b"\0\1" + bytes([byte]) for byte in turned.to_bytes(width, "little")
        )
        assert elements(Forge([Tensor("t", PLANES, dtype, ())], [block]).to_bytes()) == number.to_bytes(
            width, "little"
        )
