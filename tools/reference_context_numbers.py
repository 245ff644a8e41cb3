"""What all recipes of docs/format-context.md have in common, for their reference decoders."""

from __future__ import annotations

Coefficient = list[int]  # mean (Q16), precision (Q16)


class DamagedError(ValueError):
    """The payload is none that an encoder writes."""


def log2_q16(x: int) -> int:
    n = x.bit_length() - 1
    m = (x << 31) >> n
    result = n
    for _ in range(16):
        m = (m * m) >> 31
        result = 2 * result + (m >= 1 << 32)
        m >>= m >= 1 << 32
    return result


def log_ratio(a: int, b: int) -> int:
    return ((log2_q16(a) - log2_q16(b)) * 45426) >> 20


def make_squash() -> list[int]:
    table = [0] * 3072
    e = 1 << 38
    for j in range(1537):
        q = min(((1 << 54) + ((1 << 38) + e) // 2) // ((1 << 38) + e), 65535)
        if j < 1536:
            table[1536 + j] = q
        if j > 0:
            table[1536 - j] = 65536 - q
        e = (e * 16646655 + (1 << 23)) >> 24
    return table


SQUASH = make_squash()


def place(logit: int) -> int:
    return min(max(logit, -49152), 49151) + 49152


def squash(logit: int) -> int:
    return SQUASH[place(logit) >> 5]


def reciprocal(precision: int) -> int:
    return min((1 << 19) // max(min(precision >> 13, 4095), 8), 65535)


def prior(hundredths: int) -> int:
    return 655360000 // (hundredths * hundredths)


def grow(precision: int, by: int) -> int:
    return int(min(precision + by, 1 << 30))


def move(mean: int, gradient: int, precision: int) -> int:
    return min(max(mean + ((gradient * reciprocal(precision)) >> 16), -(1 << 24)), 1 << 24)


def step(c: Coefficient, gradient: int, curvature: int) -> None:
    c[1] = grow(c[1], curvature)
    c[0] = move(c[0], gradient, c[1])


def wrap16(x: int) -> int:
    return (x + 32768) % 65536 - 32768


def bases(counts: tuple[int, int, int]) -> tuple[int, int]:
    """Of flags and of signs: the logits that the counts say."""
    negative, zero, positive = counts
    flag_base = log_ratio(2 * (negative + positive) + 1, 2 * zero + 1)
    return flag_base, log_ratio(2 * negative + 1, 2 * positive + 1)


class BitStream:
    """Binary rANS, 64-bit state, 32-bit words."""

    def __init__(self, data: bytes) -> None:
        head = len(data) if len(data) <= 8 else 5 + (len(data) - 5) % 4
        if head and data[head - 1] == 0:
            raise DamagedError("the state's highest byte is 0")
        self.state = int.from_bytes(data[:head], "little")
        self.words = [int.from_bytes(data[i : i + 4], "little") for i in range(head, len(data), 4)][::-1]

    def bit(self, p: int) -> int:
        low = self.state & 0xFFFF
        bit = int(low >= 65536 - p)
        if bit:
            self.state = p * (self.state >> 16) + low - (65536 - p)
        else:
            self.state = (65536 - p) * (self.state >> 16) + low
        if self.state < 1 << 32 and self.words:
            self.state = (self.state << 32) | self.words.pop()
        return bit

    def finish(self) -> None:
        if self.state or self.words:
            raise DamagedError("the stream does not end where the trits do")


def decode_dead(stream: BitStream, number: int) -> list[int]:
    """Of rows or of columns: 1 for those that are dead."""
    dead: list[int] = []
    for seen in range(number):
        dead.append(stream.bit(max(((2 * sum(dead) + 1) << 16) // (2 * seen + 2), 1)))
    return dead


class Living:
    """Which rows and columns are not dead: the geometry and the counts of what is left."""

    def __init__(
        self, stream: BitStream, geometry: tuple[int, int, int], counts: tuple[int, int, int]
    ) -> None:
        rows, cols, self.kernel = geometry
        some_dead = stream.bit(2048)
        self.dead_rows = decode_dead(stream, rows) if some_dead else [0] * rows
        self.dead_columns = decode_dead(stream, cols) if some_dead else [0] * cols
        self.geometry = self.dead_rows.count(0), self.dead_columns.count(0), self.kernel
        negative, zero, positive = counts
        size = rows * cols * self.kernel
        dead = size - self.geometry[0] * self.geometry[1] * self.kernel
        if dead and zero:
            zero = max(zero - min(zero, dead * ((negative + zero + positive) // size)), 1)
        self.counts = negative, zero, positive

    def spread(self, left: list[int]) -> list[int]:
        """All trits, given those of what is left."""
        trits = iter(left)
        return [
            0 if dead_row or dead_column else next(trits)
            for dead_row in self.dead_rows
            for dead_column in self.dead_columns
            for _ in range(self.kernel)
        ]
