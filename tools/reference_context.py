"""A decoder for the context codec, written from docs/format-context.md: slow, and independent of ternzip."""

from __future__ import annotations

from math import isqrt

Coefficient = list[int]  # mean (Q16), precision (Q16)
Similar = tuple[int, int, int]  # what similar rows and columns predict: together, by rows, by columns
Sign = tuple[int, int, Similar, int]  # column, place, predictions, gradient


class DamagedError(ValueError):
    """The payload is none that an encoder writes."""


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


def read_recipe(recipe: int) -> tuple[int, list[int]]:
    """The effort, and the priors of rows, columns, similarity and the window of signs."""
    rest = recipe - 1
    effort = 1 + rest % 3
    priors = []
    for usual in (30, 40, 30, 40):
        rest //= 3
        priors.append(prior((usual, usual // 2, 2 * usual)[rest % 3]))
    return effort, priors


def wrap16(x: int) -> int:
    return (x + 32768) % 65536 - 32768


class Window:
    """Twelve lanes that share a precision."""

    def __init__(self, neighbour: int, precision: int) -> None:
        self.means = [0] * 12
        self.means[0] = self.means[4] = neighbour
        self.gradients = [0] * 12
        self.precision = precision

    def sum(self, lanes: list[int]) -> int:
        return sum(lane * (mean >> 4) for lane, mean in zip(lanes, self.means, strict=True))

    def add(self, lanes: list[int], g: int) -> None:
        self.gradients = [old + lane * g for old, lane in zip(self.gradients, lanes, strict=True)]

    def learn(self, curvature: int) -> None:
        self.precision = grow(self.precision, curvature)
        self.means = [move(m, g, self.precision) for m, g in zip(self.means, self.gradients, strict=True)]
        self.gradients = [0] * 12


class Decoder:
    def __init__(
        self,
        stream: BitStream,
        geometry: tuple[int, int, int],
        counts: tuple[int, int, int],
        recipe: int,
    ) -> None:
        self.stream = stream
        self.rows, self.cols, self.kernel = geometry
        self.matrix = self.kernel == 1
        negative, zero, positive = counts
        self.codes_flags = zero > 0
        self.codes_signs = negative > 0 and positive > 0
        self.only_sign = int(positive == 0)
        effort, (self.row_prior, column_prior, self.similar_prior, sign_prior) = read_recipe(recipe)
        self.effort = effort
        self.interleaved = effort == 3 and self.codes_flags and self.codes_signs
        self.flag_base = log_ratio(2 * (negative + positive) + 1, 2 * zero + 1)
        self.sign_base = log_ratio(2 * negative + 1, 2 * positive + 1)
        self.density = squash(self.flag_base)
        self.trits = [0] * (self.rows * self.cols * self.kernel)
        self.group = 16 if self.matrix else self.kernel
        self.width = self.plane_width()

        self.flag_window = Window(0 if self.matrix else 19661, prior(30))
        self.sign_window = Window(0 if self.matrix else 78643, sign_prior)
        self.bias: Coefficient = [0, self.row_prior]
        self.column: list[Coefficient] = [[0, column_prior] for _ in range(self.cols)]
        self.position = [0] * self.group
        self.position_gradient = [0] * self.group
        self.position_precision = prior(20)
        if not self.matrix:
            for k in range(self.kernel):
                x, y = k % self.width, k // self.width
                self.position[k] = -(((int(x > 0) + int(y > 0)) * 19661 * self.density) >> 16)
        self.refinement = [SQUASH[32 * j + 16] << 16 for j in range(96)]
        self.refinements = [list(self.refinement) for _ in range(8)]
        self.magnitude: list[Coefficient] = [[0, prior(30)] for _ in range(8)]
        self.has_pairs = 1 < self.kernel <= 9
        self.pair: dict[tuple[int, int], int] = {}
        self.pair_gradient: dict[tuple[int, int], int] = {}
        self.pair_precision = prior(20)

        self.similarity = self.rows >= 16 and effort >= 2
        self.lanes = 128 if effort == 3 else 32
        self.row_weights = [0] * self.lanes
        self.row_precision = self.similar_prior
        self.column_weights = [[0] * self.lanes for _ in range(self.cols if self.similarity else 0)]
        self.column_precision = [self.similar_prior] * self.cols
        self.row_gain: Coefficient = [65536, 4 * 65536]
        self.column_gain: Coefficient = [65536, 4 * 65536]

        self.period = 64 if effort == 3 else 256
        self.flags_since = self.signs_since = self.curvature_since = 0

    def plane_width(self) -> int:
        """Of a kernel's plane; a kernel without one is a single row."""
        root = isqrt(self.kernel)
        if root * root == self.kernel and 2 <= root <= 30:
            return root
        for root in range(2, 31):
            if root**3 == self.kernel:
                return root
        return self.kernel

    # What lies around a weight.

    def at(self, o: int, i: int, k: int) -> int:
        return self.trits[(o * self.cols + i) * self.kernel + k]

    def neighbours(self, o: int, i: int, k: int) -> list[int]:
        """The twelve trits of the window."""
        offsets = [(0, -1), (0, -2)] + [(-up, right) for up in (1, 2) for right in (2, 1, 0, -1, -2)]
        result = []
        for down, right in offsets:
            if self.matrix:
                y, x = o + down, i + right
                result.append(self.at(y, x, 0) if y >= 0 and 0 <= x < self.cols else 0)
            else:
                y, x = k // self.width + down, k % self.width + right
                result.append(self.at(o, i, y * self.width + x) if y >= 0 and 0 <= x < self.width else 0)
        return result

    def similar_trits(self, o: int, i: int, k: int, first: int) -> tuple[list[int], list[int]]:
        """The negated trits of the rows before and of the columns before; `first` is the group's column."""
        rows = [0] * self.lanes
        for row in range(max(0, o - self.lanes), o):
            rows[row % self.lanes] = -self.at(row, i, k)
        columns = [
            -self.at(o, column, k) if column >= 0 else 0 for column in range(first - self.lanes, first)
        ]
        return rows, columns

    # One weight.

    def flag(self, o: int, i: int, k: int, extra: int = 0, m: int | None = None) -> tuple[int, int, int]:
        lanes = [abs(t) for t in self.neighbours(o, i, k)]
        local = self.column[i][0] if self.matrix else self.position[k]
        logit = self.start + extra + (local >> 4) + self.flag_window.sum(lanes)
        where = place(logit)
        guess = SQUASH[where >> 5]
        tables = [self.refinement] + ([] if m is None else [self.refinements[m]])
        p = guess
        for table in tables:
            p = (p + (table[where >> 10] >> 16) + 1) >> 1
        bit = self.stream.bit(p)
        for table in tables:
            r = table[where >> 10]
            table[where >> 10] = r + (2**25 - 1 if bit else 0) - (r >> 7)
        g = (bit << 16) - guess
        h = (guess * (65536 - guess)) >> 16
        self.start += (g * self.rate) >> 20
        if self.matrix:
            step(self.column[i], g, h)
        else:
            self.position_gradient[k] += g
        self.flag_window.add(lanes, g)
        self.sum_g += g
        self.sum_h += h
        return bit, g, h

    def predict(self, o: int, i: int, k: int, similar: Similar) -> int:
        lanes = [-t for t in self.neighbours(o, i, k)]
        prediction = similar[0] + self.sign_window.sum(lanes)
        if self.has_pairs:
            prediction += sum(-self.at(o, i, q) * (self.pair.get((k, q), 0) >> 4) for q in range(k))
        return prediction

    def sign(self, o: int, i: int, k: int, prediction: int) -> int:
        lanes = [-t for t in self.neighbours(o, i, k)]
        p = squash(self.sign_base + prediction)
        bit = self.stream.bit(p)
        g = (bit << 16) - p
        self.sign_window.add(lanes, g)
        if self.has_pairs:
            for q in range(k):
                old = self.pair_gradient.get((k, q), 0)
                self.pair_gradient[k, q] = old - self.at(o, i, q) * g
        self.trits[(o * self.cols + i) * self.kernel + k] = -1 if bit else 1
        return g

    def compare(self, o: int, i: int, k: int, first: int) -> Similar:
        if not self.similarity:
            return 0, 0, 0
        rows, columns = self.similar_trits(o, i, k, first)
        by_row = sum(w * t for w, t in zip(self.row_weights, rows, strict=True))
        by_column = sum(w * t for w, t in zip(self.column_weights[i], columns, strict=True))
        both = ((self.row_gain[0] * by_row) >> 16) + ((self.column_gain[0] * by_column) >> 16)
        return both, by_row, by_column

    def learn_signs(self, o: int, first: int, signs: list[Sign]) -> None:
        """What the signs of a group, or one sign in interleaved order, teach about similarity."""
        if not self.similarity:
            return
        row_rate = reciprocal(self.row_precision)
        column_rate = [reciprocal(self.column_precision[i]) for i, *_ in signs]
        for (i, k, _, g), rate in zip(signs, column_rate, strict=True):
            rows, columns = self.similar_trits(o, i, k, first)
            move_row = wrap16((g * row_rate + (1 << 19)) >> 20)
            move_column = wrap16((g * rate + (1 << 19)) >> 20)
            weights = self.column_weights[i]
            self.row_weights = [wrap16(w + t * move_row) for w, t in zip(self.row_weights, rows, strict=True)]
            self.column_weights[i] = [
                wrap16(w + t * move_column) for w, t in zip(weights, columns, strict=True)
            ]
            self.row_precision = grow(self.row_precision, self.density // 8)
            self.column_precision[i] = grow(self.column_precision[i], self.density // 8)
        for gain, y in ((self.row_gain, 1), (self.column_gain, 2)):
            gradient = sum((g * similar[y]) >> 12 for _, _, similar, g in signs)
            step(gain, gradient, sum((similar[y] * similar[y]) >> 10 for _, _, similar, _ in signs))

    # One group.

    def decode_group(self, o: int, first: int) -> None:
        size = min(16, self.cols - first) if self.matrix else self.kernel
        self.start = self.flag_base + (self.bias[0] >> 4)
        self.rate = reciprocal(self.bias[1])
        if not self.matrix:
            self.start += self.column[first][0] >> 4
            self.rate += reciprocal(self.column[first][1]) + 4096
        self.sum_g = self.sum_h = 0
        places = [(first + k, 0) if self.matrix else (first, k) for k in range(size)]
        nonzeros = []
        if self.interleaved:
            for i, k in places:
                similar = self.compare(o, i, k, first)
                prediction = self.predict(o, i, k, similar)
                m = min(abs(prediction) >> 11, 7)
                bit, g, h = self.flag(o, i, k, self.magnitude[m][0] >> 4, m)
                step(self.magnitude[m], g, h)
                if bit:
                    nonzeros.append((i, k))
                    g = self.sign(o, i, k, prediction)
                    self.learn_signs(o, first, [(i, k, similar, g)])
        else:
            for i, k in places:
                if not self.codes_flags or self.flag(o, i, k)[0]:
                    nonzeros.append((i, k))
                    self.trits[(o * self.cols + i) * self.kernel + k] = 1  # so that the next flags see it
            predicted = []
            for i, k in nonzeros:
                self.trits[(o * self.cols + i) * self.kernel + k] = 0
                predicted.append(self.compare(o, i, k, first))
            if self.codes_signs:
                signs = [
                    (i, k, similar, self.sign(o, i, k, self.predict(o, i, k, similar)))
                    for (i, k), similar in zip(nonzeros, predicted, strict=True)
                ]
                self.learn_signs(o, first, signs)
            else:
                for i, k in nonzeros:
                    self.trits[(o * self.cols + i) * self.kernel + k] = -1 if self.only_sign else 1
        step(self.bias, self.sum_g, self.sum_h)
        if not self.matrix:
            step(self.column[first], self.sum_g, self.sum_h)
        self.flags_since += size
        self.signs_since += len(nonzeros)
        self.curvature_since += self.sum_h
        if self.flags_since >= self.period:
            self.learn()

    def learn(self) -> None:
        sign_curvature = self.signs_since * (self.density // 8)
        self.flag_window.learn((self.curvature_since * self.density) >> 16)
        self.sign_window.learn(sign_curvature)
        for key, gradient in self.pair_gradient.items():
            self.pair[key] = move(self.pair.get(key, 0), gradient, self.pair_precision)
        self.pair_gradient.clear()
        self.pair_precision = grow(self.pair_precision, sign_curvature // self.group)
        self.position_precision = grow(self.position_precision, self.curvature_since // self.group)
        for k, gradient in enumerate(self.position_gradient):
            self.position[k] = move(self.position[k], gradient, self.position_precision)
        self.position_gradient = [0] * self.group
        self.flags_since = self.signs_since = self.curvature_since = 0
        if self.effort != 3:
            self.period = min(2 * self.period, 1024)

    def decode(self) -> list[int]:
        for o in range(self.rows):
            self.bias = [0, self.row_prior]
            self.row_weights = [0] * self.lanes
            self.row_precision = self.similar_prior
            for first in range(0, self.cols, 16 if self.matrix else 1):
                self.decode_group(o, first)
        self.stream.finish()
        return self.trits


def decode_static(stream: BitStream, size: int, counts: tuple[int, int, int]) -> list[int]:
    negative, zero, positive = counts
    p_flag = squash(log_ratio(2 * (negative + positive) + 1, 2 * zero + 1))
    p_sign = squash(log_ratio(2 * negative + 1, 2 * positive + 1))
    trits = []
    for _ in range(size):
        flag = stream.bit(p_flag) if zero else 1
        sign = stream.bit(p_sign) if flag and negative and positive else int(positive == 0)
        trits.append(flag * (1 - 2 * sign))
    stream.finish()
    return trits


def decode(payload: bytes, geometry: tuple[int, int, int], counts: tuple[int, int, int]) -> list[int]:
    """The trits of a chunk, in C order. `counts`: of -1, 0 and +1 in the whole tensor."""
    rows, cols, kernel = geometry
    size = rows * cols * kernel
    if size == 0 or sum(count == 0 for count in counts) >= 2:
        if payload:
            raise DamagedError("a payload where the counts say all")
        return [1 if counts[2] else -1 if counts[0] else 0] * size
    if not payload:
        raise DamagedError("no payload")
    if kernel > 1024:
        cols, kernel = cols * kernel, 1
    recipe, stream = payload[0], BitStream(payload[1:])
    if recipe == 0:
        return decode_static(stream, size, counts)
    if recipe > 243:
        raise DamagedError(f"recipe {recipe}")
    return Decoder(stream, (rows, cols, kernel), counts, recipe).decode()
