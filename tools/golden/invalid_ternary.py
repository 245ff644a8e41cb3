"""Invalid files that break a rule of sections 6 and 7 of the format: ternary tensors and their codecs."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np

from golden import builder as b
from golden.cases import add
from ternzip._core.symbols import SymbolCounts
from ternzip.codecs import BY_NAME, Geometry

# --- section 6: parameters ----------------------------------------------------------------------------------

SIX = [1, 0, -1, 0, 0, 1]
X = "tensor 'x': offset 32: "
LOW, HIGH, MINUS = struct.pack("<f", -0.5), struct.pack("<f", 0.5), struct.pack("<f", -0.0)
P = "parameters of tensor 0, file offset .*: "


@dataclass
class T:
    """A ternary tensor "x" of six elements; valid as it stands."""

    flags: int = 7
    levels: bytes = LOW
    counts: tuple[int, ...] = (1, 2)
    codec: int | None = 0
    strings: tuple[bytes, ...] = ()  # of codec parameters
    number: int | None = None  # of the string that is used; None: the last
    signs: bytes = b""
    shape: tuple[int, ...] = (2, 3)
    dtype: int = b.FLOAT32
    tail: bytes = b""
    payloads: list[bytes] = field(default_factory=lambda: [b.pack(SIX)])
    units: tuple[int, ...] = (6, 3)

    def file(self) -> bytes:
        number = len(self.strings) if self.number is None else self.number
        parameters = b.ternary(self.flags, self.levels, self.counts, self.codec, number, self.signs)
        item = b.Item(b"x", b.TERNARY, self.dtype, self.shape, parameters + self.tail)
        records = [b.Record(p, u) for p, u in zip(self.payloads, self.units, strict=False)]
        return b.file([item], records, strings=self.strings)


def ternary(name: str, rule: str, error: str, tensor: T) -> None:
    add(name, f"6: {rule}", error, tensor.file())


ternary(
    "parameters-tail",
    "parameters and nothing else",
    "parameters, file offset .*1 further bytes",
    T(tail=b"\0"),
)
ternary(
    "parameters-end",
    "parameters as the flags say",
    P + "levels: expected 4 bytes, found 3",
    T(flags=1, levels=LOW[:3], counts=(), codec=None),
)
ternary(
    "flag-64", "flags 64 and 128 are 0", P + "flags: expected reserved bits of zero, found 0x47", T(flags=71)
)
ternary(
    "flag-128",
    "flags 64 and 128 are 0",
    P + "flags: expected reserved bits of zero, found 0x87",
    T(flags=135),
)
ternary("signs-3", "signs 0 to 2", P + "flags: expected reserved bits of zero, found 0x37", T(flags=7 | 48))
ternary(
    "opposite-alone",
    "flag 4 needs 1 and 2",
    P + "flags: symmetric levels need both levels",
    T(flags=5, counts=(1,), payloads=[b"\x3b"]),
)
ternary(
    "opposite-without-negative",
    "flag 4 needs 1 and 2",
    P + "flags: symmetric levels need both levels",
    T(flags=6, levels=b"", counts=(2,), payloads=[b"\x21"]),
)
ternary(
    "signs-of-integers",
    "signs of zeros need a type with -0.0",
    P + "flags: int8 has no negative zero",
    T(flags=7 | 16, levels=b"\xff", dtype=b.INT8),
)
ternary(
    "signs-of-fnuz",
    "signs of zeros need a type with -0.0",
    P + "flags: float8_e4m3fnuz has no negative zero",
    T(flags=7 | 16, levels=b"\x81", dtype=6),
)
ternary(
    "signs-without-zeros",
    "signs of zeros need a zero",
    P + "flags: expected no signs of zeros",
    T(flags=7 | 16, counts=(3, 3), payloads=[b"\x07"]),
)
ternary(
    "negative-level-positive",
    "a negative level has the highest bit",
    P + "levels: expected negative values",
    T(flags=3, levels=HIGH + HIGH),
)
ternary(
    "negative-level-zero",
    "a negative level has the highest bit",
    P + "levels: expected at least one that is not zero",
    T(flags=3, levels=bytes(4) + HIGH),
)
ternary(
    "negative-level-minus-zero",
    "a negative level of floating point has another bit",
    P + "levels: expected negative values",
    T(flags=3, levels=MINUS + HIGH),
)
ternary(
    "negative-level-fnuz",
    "a negative level of floating point has another bit",
    P + "levels: expected negative values",
    T(flags=3, levels=b"\x80\x01", dtype=7),
)
ternary(
    "positive-level-negative",
    "a positive level has not the highest bit",
    P + "levels: expected positive values",
    T(flags=3, levels=LOW + LOW),
)
ternary(
    "positive-level-zero",
    "a positive level has a bit",
    P + "levels: expected at least one that is not zero",
    T(flags=3, levels=LOW + bytes(4)),
)
ternary(
    "opposite-of-minimum",
    "a positive level has not the highest bit",
    P + "levels: expected negatives that have an opposite",
    T(levels=b"\x80", dtype=b.INT8),
)
ternary(
    "count-negative-0",
    "at least one symbol -1",
    P + "counts: expected at least one symbol for each level",
    T(counts=(0, 2)),
)
ternary(
    "count-positive-0",
    "at least one symbol +1",
    P + "counts: expected at least one symbol for each level",
    T(counts=(1, 0)),
)
ternary(
    "count-negative-7",
    "no more symbols than elements",
    P + "count of negatives: expected at most 6, found 7",
    T(counts=(7, 2)),
)
ternary(
    "counts-7",
    "no more symbols than elements",
    P + "count of positives: expected at most 5, found 6",
    T(counts=(1, 6)),
)
ternary("codec", "a codec that is known", "tensor 'x': codec 255 is not known", T(codec=255))
ternary(
    "codec-parameters-number",
    "codec parameters that there are",
    P + "number of codec parameters: expected at most 0, found 1",
    T(number=1),
)
ternary(
    "codec-parameters-order",
    "codec parameters numbered in the order of their first use",
    P + "number of codec parameters: expected at most 1, found 2",
    T(strings=(b"a", b"b"), number=2),
)
ternary(
    "codec-parameters-unused",
    "all codec parameters are used",
    "codec parameters: expected each of 2 strings used, found 1",
    T(strings=(b"a", b"b"), number=1),
)
ternary(
    "codec-parameters-equal",
    "codec parameters differ",
    "codec parameters: expected each string once",
    T(flags=7 | 32, strings=(b"a", b"a"), number=1, signs=b"\1\0\2", payloads=[b.pack(SIX), b"\6"]),
)
ternary(
    "codec-parameters-empty",
    "codec parameters are not empty",
    "directory table.*length of codec parameters: expected at least 1, found 0",
    T(strings=(b"",), number=1),
)
ternary(
    "codec-parameters-65536",
    "codec parameters of at most 65,535 bytes",
    "directory table.*length of codec parameters: expected at most 65535, found 65536",
    T(strings=(bytes(65536),), number=1),
)
add(
    "codec-parameters-end",
    "2: codec parameters as long as the directory says",
    "codec parameters, file offset 34: string: expected 99 bytes, found 9",
    b.seal(
        b.pack(SIX),
        b.ternary(7, LOW, (1, 2)),
        b.directory(
            b.table([b.Item(b"x", b.TERNARY, shape=(2, 3))], [b.Record(b.pack(SIX), 6)], strings=[bytes(99)])
        ),
    ),
)
ternary(
    "minus-zeros-0",
    "at least one -0.0",
    P + "count of negative zeros: expected at least 1, found 0",
    T(flags=7 | 32, signs=b"\0\0\0", payloads=[b.pack(SIX), b"\7"]),
)
ternary(
    "minus-zeros-all",
    "fewer -0.0 than zeros",
    P + "count of negative zeros: expected at most 2, found 3",
    T(flags=7 | 32, signs=b"\3\0\0", payloads=[b.pack(SIX), b"\0"]),
)
ternary(
    "signs-codec",
    "a codec that is known",
    "tensor 'x': codec 255 is not known",
    T(flags=7 | 32, signs=b"\1\xff\0", payloads=[b.pack(SIX), b"\6"]),
)
ternary(
    "constant-with-record",
    "a tensor of one symbol has empty records",
    X + "expected an empty record for a constant, found 1 bytes",
    T(flags=1, counts=(6,), codec=None, payloads=[b"\1"]),
)
ternary(
    "counts-differ",
    "symbols occur as often as the counts say",
    X + r"symbols -1, 0, \+1: expected \(2, 2, 2\), found \(1, 3, 2\)",
    T(counts=(2, 2)),
)
ternary(
    "signs-differ",
    "signs occur as often as the counts say",
    X + r"signs of zeros -1, 0, \+1: expected \(1, 0, 2\), found \(2, 0, 1\)",
    T(flags=7 | 32, signs=b"\1\0\0", payloads=[b.pack(SIX), b"\1"]),
)

# --- section 7: codecs --------------------------------------------------------------------------------------


def packed(name: str, rule: str, error: str, tensor: T) -> None:
    add(f"packed-{name}", f"7.1: {rule}", error, tensor.file())


def static(name: str, rule: str, error: str, tensor: T) -> None:
    tensor.codec = 1
    add(f"static-{name}", f"7.2: {rule}", error, tensor.file())


def pair(*payloads: bytes) -> T:
    """Six symbols without -1."""
    return T(flags=2, levels=HIGH, counts=(2,), payloads=list(payloads))


def static_payload() -> bytes:
    trits = np.array(SIX, np.int8)
    return BY_NAME["static"].encode(trits, Geometry(2, 3, 1), SymbolCounts(1, 3, 2), b"")


packed(
    "parameters",
    "no parameters",
    "tensor 'x': packed: expected no parameters, found 1 bytes",
    T(strings=(b"\0",)),
)
packed(
    "243",
    "a byte is at most 242",
    X + "packed payload: expected five trits in each byte",
    T(payloads=[b"\xf3\x7a"]),
)
packed(
    "short",
    "five symbols a byte",
    X + "packed payload: expected 2 bytes, found 1",
    T(payloads=[b.pack(SIX)[:1]]),
)
packed(
    "long",
    "no byte follows",
    X + "packed payload: expected 2 bytes, found 3",
    T(payloads=[b.pack(SIX) + b"\x79"]),
)
packed(
    "filling",
    "filled up with the symbol 0",
    X + "packed payload: expected five trits",
    T(payloads=[b.pack([*SIX, 0, 0, 0, 1])]),
)
packed("bits-short", "eight symbols a byte", X + "packed payload: expected 1 bytes, found 0", pair(b""))
packed("bits-long", "no byte follows", X + "packed payload: expected 1 bytes, found 2", pair(b"\x21\0"))
packed(
    "bits-filling",
    "filled up with zero bits",
    X + "packed payload: expected zero padding bits",
    pair(b"\x61"),
)

STATIC = static_payload()
static(
    "parameters",
    "no parameters",
    "tensor 'x': static: expected no parameters, found 1 bytes",
    T(strings=(b"\0",), payloads=[STATIC]),
)
static(
    "zero-byte",
    "a record does not end in a zero byte",
    X + "static payload: expected a last byte other than zero",
    T(payloads=[STATIC + b"\0"]),
)
static(
    "long",
    "no words are left",
    X + "static payload: .*hold more than 6 symbols",
    T(payloads=[b"\1\2\3\4" + STATIC + b"\1"]),
)
static(
    "state",
    "the state is 0 in the end",
    X + "static payload: .*hold more than 6 symbols",
    T(payloads=[STATIC[:-1] + b"\xff"]),
)
