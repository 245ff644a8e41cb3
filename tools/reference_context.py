"""A decoder for the context codec, written from docs/format-context.md: slow, and independent of ternzip."""

from __future__ import annotations

from math import isqrt
from typing import NamedTuple

from reference_bands import decode_bands
from reference_context_numbers import (
    SQUASH,
    BitStream,
    Coefficient,
    DamagedError,
    Living,
    bases,
    grow,
    move,
    place,
    prior,
    reciprocal,
    squash,
    step,
    wrap16,
)

__all__ = ["DamagedError", "decode"]

Lanes = list[tuple[int, int]]  # the number of a mean, what it is multiplied by


class Recipe(NamedTuple):
    effort: int
    row_prior: int
    column_prior: int
    similar_prior: int
    sign_prior: int
    smooth: bool

    @property
    def lanes(self) -> int:
        """Rows and columns before that are searched for similarity."""
        return 128 if self.effort == 3 else 32


def read_recipe(recipe: int) -> Recipe:
    rest = recipe - 1
    effort = 1 + rest % 3
    priors = []
    for usual in (36, 36, 30):
        rest //= 3
        priors.append(prior((usual, usual // 2, 2 * usual)[rest % 3]))
    variant = rest // 3
    rows, columns, similar = priors
    return Recipe(effort, rows, columns, similar, prior(20 if variant == 2 else 40), variant == 1)


class Tensor:
    """The trits decoded so far; the rest are 0, or 1 where only the sign is not known yet."""

    def __init__(self, rows: int, cols: int, kernel: int) -> None:
        self.rows, self.cols, self.kernel = rows, cols, kernel
        self.matrix = kernel == 1
        self.width = cols if self.matrix else self.kernel_width()
        self.trits = [0] * (rows * cols * kernel)

    def kernel_width(self) -> int:
        """Of a kernel's plane; a kernel without one is a single row."""
        square = isqrt(self.kernel)
        if square**2 == self.kernel and 2 <= square <= 30:
            return square
        return next((root for root in range(2, 31) if root**3 == self.kernel), self.kernel)

    def at(self, o: int, i: int, k: int) -> int:
        return self.trits[(o * self.cols + i) * self.kernel + k]

    def put(self, o: int, i: int, k: int, trit: int) -> None:
        self.trits[(o * self.cols + i) * self.kernel + k] = trit

    def window(self, o: int, i: int, k: int) -> list[int]:
        """The twelve trits around a weight; 0 for what lies outside its plane."""
        y, x = (o, i) if self.matrix else divmod(k, self.width)
        offsets = [(0, -1), (0, -2)] + [(-up, right) for up in (1, 2) for right in (2, 1, 0, -1, -2)]
        result = []
        for down, right in offsets:
            v, u = y + down, x + right
            inside = v >= 0 and 0 <= u < self.width
            place = (v, u, 0) if self.matrix else (o, i, v * self.width + u)
            result.append(self.at(*place) if inside else 0)
        return result

    def adjacent(self, k: int) -> list[int]:
        """The places before, after, above and below place k of a kernel."""
        y, x = divmod(k, self.width)
        around = [(y, x - 1), (y, x + 1), (y - 1, x), (y + 1, x)]
        height = -(-self.kernel // self.width)
        return [v * self.width + u for v, u in around if 0 <= v < height and 0 <= u < self.width]

    def groups(self) -> list[list[tuple[int, int]]]:
        """Of a row: the column and the place in the kernel of every weight."""
        if not self.matrix:
            return [[(i, k) for k in range(self.kernel)] for i in range(self.cols)]
        columns = range(self.cols)
        return [[(i, 0) for i in columns[first : first + 16]] for first in range(0, self.cols, 16)]


class Means:
    """Means with one precision in common, and the gradients that they will move by."""

    def __init__(self, means: list[int], precision: int) -> None:
        self.means = means
        self.gradients = [0] * len(means)
        self.precision = precision

    def sum(self, lanes: Lanes) -> int:
        return sum(lane * (self.means[j] >> 4) for j, lane in lanes)

    def add(self, lanes: Lanes, g: int) -> None:
        for j, lane in lanes:
            self.gradients[j] += lane * g

    def grow(self, curvature: int) -> None:
        self.precision = grow(self.precision, curvature)

    def move(self) -> None:
        self.means = [move(m, g, self.precision) for m, g in zip(self.means, self.gradients, strict=True)]
        self.gradients = [0] * len(self.means)


def make_window(neighbour: int, precision: int) -> Means:
    return Means([neighbour if lane in (0, 4) else 0 for lane in range(12)], precision)


class Flags:
    def __init__(self, stream: BitStream, tensor: Tensor, base: int, recipe: Recipe) -> None:
        self.stream, self.tensor, self.base, self.effort = stream, tensor, base, recipe.effort
        self.density = squash(base)
        self.row_prior = recipe.row_prior
        self.bias: Coefficient = [0, self.row_prior]
        self.column: list[Coefficient] = [[0, recipe.column_prior] for _ in range(tensor.cols)]
        self.window = make_window(0 if tensor.matrix else 19661, prior(30))
        self.position = Means([self.first_position(k) for k in range(tensor.kernel)], prior(20))
        self.refinement = [SQUASH[32 * j + 16] << 16 for j in range(96)]
        self.refinements = [list(self.refinement) for _ in range(8)]
        self.magnitude: list[Coefficient] = [[0, prior(30)] for _ in range(8)]
        self.period = 64 if self.effort == 3 else 256
        self.since = self.curvature = 0  # flags and the sum of all H since the window learned

    def first_position(self, k: int) -> int:
        inside = int(k % self.tensor.width > 0) + int(k >= self.tensor.width)
        return -((inside * 19661 * self.density) >> 16)

    def start_row(self) -> None:
        self.bias = [0, self.row_prior]

    def start_group(self, i: int) -> None:
        self.start = self.base + (self.bias[0] >> 4)
        self.rate = reciprocal(self.bias[1])
        if not self.tensor.matrix:
            self.start += self.column[i][0] >> 4
            self.rate += reciprocal(self.column[i][1]) + 6144
        self.sum_g = self.sum_guess = 0

    def decode(self, o: int, i: int, k: int, m: int | None) -> int:
        """A flag; `m` is the magnitude of the sign's prediction, in interleaved order."""
        lanes = [(lane, abs(trit)) for lane, trit in enumerate(self.tensor.window(o, i, k))]
        local = self.column[i][0] if self.tensor.matrix else self.position.means[k]
        extra = 0 if m is None else self.magnitude[m][0] >> 4
        at = place(self.start + extra + (local >> 4) + self.window.sum(lanes))
        guess = SQUASH[at >> 5]
        flag = self.refined([self.refinement] + ([] if m is None else [self.refinements[m]]), at >> 10, guess)
        g = (flag << 16) - guess
        h = (guess * (65536 - guess)) >> 16
        self.start += (g * self.rate) >> 20
        self.sum_g += g
        self.sum_guess += guess
        self.window.add(lanes, g)
        if self.tensor.matrix:
            step(self.column[i], g, h)
        else:
            self.position.add([(k, 1)], g)
        if m is not None:
            step(self.magnitude[m], g, h)
        return flag

    def refined(self, tables: list[list[int]], j: int, p: int) -> int:
        """The flag, and what it teaches the tables."""
        for table in tables:
            p = (p + (table[j] >> 16) + 1) >> 1
        flag = self.stream.bit(p)
        for table in tables:
            table[j] += (2**25 - 1 if flag else 0) - (table[j] >> 7)
        return flag

    def end_group(self, i: int, n: int) -> None:
        curvature = self.sum_guess - ((self.sum_guess * self.sum_guess * (65536 // n)) >> 32)
        step(self.bias, self.sum_g, curvature // 2 if self.tensor.matrix else curvature)
        if not self.tensor.matrix:
            step(self.column[i], self.sum_g, curvature)
        self.since += n
        self.curvature += curvature
        if self.since >= self.period:
            self.learn()

    def learn(self) -> None:
        self.window.grow((self.curvature * self.density) >> 16)
        self.window.move()
        if not self.tensor.matrix:
            self.position.grow(self.curvature // self.tensor.kernel)
            self.position.move()
        self.since = self.curvature = 0
        if self.effort < 3:
            self.period = min(2 * self.period, 1024)


class Side:
    """What similarity learns of rows or of columns: a gain, and what it will learn from."""

    def __init__(self) -> None:
        self.gain: Coefficient = [65536, 4 * 65536]
        self.gradient = self.curvature = 0

    def scale(self, by: int) -> int:
        return (self.gain[0] * by) >> 16

    def add(self, g: int, by: int) -> None:
        self.gradient += (g * by) >> 12
        self.curvature += (by * by) >> 10

    def learn(self) -> None:
        step(self.gain, self.gradient, self.curvature)
        self.gradient = self.curvature = 0


class Weights:
    """Those of a row or of a column."""

    def __init__(self, lanes: int, precision: int) -> None:
        self.weights = [0] * lanes
        self.precision = precision

    def sum(self, values: list[int], shift: int) -> int:
        return sum(w * v for w, v in zip(self.weights, values, strict=True)) >> shift

    def learn(self, values: list[int], g: int, curvature: int, shift: int) -> None:
        by = wrap16((g * reciprocal(self.precision) + (1 << (19 + shift))) >> (20 + shift))
        self.weights = [wrap16(w + v * by) for w, v in zip(self.weights, values, strict=True)]
        self.precision = grow(self.precision, curvature)


class Similarity:
    def __init__(self, tensor: Tensor, density: int, recipe: Recipe) -> None:
        self.tensor, self.prior, self.lanes, self.smooth = (
            tensor,
            recipe.similar_prior,
            recipe.lanes,
            recipe.smooth,
        )
        self.shift = 2 if recipe.smooth else 0
        self.curvature = (3 if recipe.smooth else 1) * (density // 4)
        self.column_weights = [Weights(self.lanes, self.prior) for _ in range(tensor.cols)]
        self.row_side, self.column_side = Side(), Side()
        self.start_row()

    def start_row(self) -> None:
        self.row_weights = Weights(self.lanes, self.prior)

    def predict(self, o: int, i: int, k: int) -> int:
        by_row = self.row_weights.sum(self.row_lanes(o, i, k), self.shift)
        by_column = self.column_weights[i].sum(self.column_lanes(o, i, k), self.shift)
        return self.row_side.scale(by_row) + self.column_side.scale(by_column)

    def add(self, o: int, i: int, k: int, g: int) -> None:
        """What a sign teaches."""
        for side, weights, lanes in (
            (self.row_side, self.row_weights, self.row_lanes(o, i, k)),
            (self.column_side, self.column_weights[i], self.column_lanes(o, i, k)),
        ):
            side.add(g, weights.sum(lanes, self.shift))
            weights.learn(lanes, g, self.curvature, self.shift)

    def value(self, o: int, i: int, k: int) -> int:
        """What a weight of an earlier row or column counts as."""
        at = self.tensor.at
        if not self.smooth:
            return -at(o, i, k)
        return -2 * at(o, i, k) - sum(at(o, i, q) for q in self.tensor.adjacent(k))

    def row_lanes(self, o: int, i: int, k: int) -> list[int]:
        lanes = [0] * self.lanes
        for row in range(max(0, o - self.lanes), o):
            lanes[row % self.lanes] = self.value(row, i, k)
        return lanes

    def column_lanes(self, o: int, i: int, k: int) -> list[int]:
        return [self.value(o, c, k) if c >= 0 else 0 for c in range(i - self.lanes, i)]

    def learn(self) -> None:
        self.row_side.learn()
        self.column_side.learn()


class Signs:
    def __init__(self, stream: BitStream, tensor: Tensor, base: int, density: int, recipe: Recipe) -> None:
        self.stream, self.tensor, self.base, self.density = stream, tensor, base, density
        self.effort = recipe.effort
        self.window = make_window(0 if tensor.matrix else 78643, recipe.sign_prior)
        self.has_pairs = 2 <= tensor.kernel <= 9
        self.pairs = Means([0] * (tensor.kernel**2 if self.has_pairs else 0), prior(20))
        fits = tensor.cols * tensor.kernel <= 2**21 // recipe.lanes
        used = tensor.rows >= 16 and self.effort >= 2 and fits
        self.similarity = Similarity(tensor, density, recipe) if used else None
        self.period = 16 if self.effort == 3 else 64
        self.since = 0

    def start_row(self) -> None:
        if self.similarity:
            self.similarity.start_row()

    def window_lanes(self, o: int, i: int, k: int) -> Lanes:
        return [(lane, -trit) for lane, trit in enumerate(self.tensor.window(o, i, k))]

    def pair_lanes(self, o: int, i: int, k: int) -> Lanes:
        earlier = range(k if self.has_pairs else 0)
        return [(k * self.tensor.kernel + q, -self.tensor.at(o, i, q)) for q in earlier]

    def predict(self, o: int, i: int, k: int) -> int:
        similar = self.similarity.predict(o, i, k) if self.similarity else 0
        window = self.window.sum(self.window_lanes(o, i, k))
        return similar + window + self.pairs.sum(self.pair_lanes(o, i, k))

    def decode(self, o: int, i: int, k: int, prediction: int) -> None:
        p = squash(self.base + prediction)
        sign = self.stream.bit(p)
        g = (sign << 16) - p
        self.tensor.put(o, i, k, -1 if sign else 1)
        self.window.add(self.window_lanes(o, i, k), g)
        self.pairs.add(self.pair_lanes(o, i, k), g)
        if self.similarity:
            self.similarity.add(o, i, k, g)
        self.since += 1
        if self.since >= self.period:
            self.learn()

    def learn(self) -> None:
        curvature = self.period * (self.density // 8)
        self.window.grow(curvature)
        self.window.move()
        self.pairs.move()
        self.pairs.grow(curvature // self.tensor.kernel)
        if self.similarity:
            self.similarity.learn()
        self.since = 0
        if self.effort < 3:
            self.period = 128


def decode_adaptive(stream: BitStream, tensor: Tensor, counts: tuple[int, int, int], recipe: Recipe) -> None:
    negative, zero, positive = counts
    codes_flags, codes_signs = zero > 0, negative > 0 and positive > 0
    interleaved = recipe.effort == 3 and codes_flags and codes_signs
    flag_base, sign_base = bases(counts)
    flags = Flags(stream, tensor, flag_base, recipe)
    signs = Signs(stream, tensor, sign_base, flags.density, recipe)
    for o in range(tensor.rows):
        flags.start_row()
        signs.start_row()
        nonzeros = []
        for group in tensor.groups():
            flags.start_group(group[0][0])
            for i, k in group:
                prediction = signs.predict(o, i, k) if interleaved else 0
                m = min(abs(prediction) >> 11, 7) if interleaved else None
                if codes_flags and not flags.decode(o, i, k, m):
                    continue
                tensor.put(o, i, k, 1 if positive else -1)
                nonzeros.append((i, k))
                if interleaved:
                    signs.decode(o, i, k, prediction)
            flags.end_group(group[0][0], len(group))
        if codes_signs and not interleaved:
            for i, k in nonzeros:
                signs.decode(o, i, k, signs.predict(o, i, k))


def decode_blocks(stream: BitStream, tensor: Tensor, counts: tuple[int, int, int], recipe: Recipe) -> None:
    if not tensor.trits:
        return
    width = min(tensor.cols, 2**18 // tensor.kernel)
    for first in range(0, tensor.cols, width):
        block = Tensor(tensor.rows, min(width, tensor.cols - first), tensor.kernel)
        decode_adaptive(stream, block, counts, recipe)
        row = block.cols * block.kernel
        for o in range(block.rows):
            start = (o * tensor.cols + first) * tensor.kernel
            tensor.trits[start : start + row] = block.trits[o * row : (o + 1) * row]


def decode_living(
    stream: BitStream, geometry: tuple[int, int, int], counts: tuple[int, int, int], recipe: Recipe
) -> list[int]:
    living = Living(stream, geometry, counts)
    tensor = Tensor(*living.geometry)
    decode_blocks(stream, tensor, living.counts, recipe)
    return living.spread(tensor.trits)


def decode_static(stream: BitStream, size: int, counts: tuple[int, int, int]) -> list[int]:
    negative, zero, positive = counts
    p_flag, p_sign = (squash(base) for base in bases(counts))
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
    recipe = payload[0]
    if 244 <= recipe <= 249:
        return decode_bands(payload, (rows, cols, kernel), counts)
    if recipe > 249:
        raise DamagedError(f"recipe {recipe}")
    stream = BitStream(payload[1:])
    if recipe == 0:
        return decode_static(stream, size, counts)
    if len(payload) < size >> (18 - read_recipe(recipe).effort):
        raise DamagedError("more trits than this effort may have to a byte")
    trits = decode_living(stream, (rows, cols, kernel), counts, read_recipe(recipe))
    stream.finish()
    return trits
