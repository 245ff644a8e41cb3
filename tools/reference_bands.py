"""A decoder for the banded recipes of the context codec, written from docs/format-context.md: slow, and independent
of ternzip."""

from __future__ import annotations

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
)

BANDS = 16
GUESS = [SQUASH[4 * j + 2] for j in range(768)]


def guess_at(logit: int) -> int:
    return place(logit) >> 7


def limited(bias: int) -> int:
    return min(max(bias, -(1 << 20)), 1 << 20)


class Words:
    """16-bit words, of which zeros follow the last: how many were taken says whether there were enough."""

    def __init__(self, data: bytes) -> None:
        self.words = [int.from_bytes(data[i : i + 2], "little") for i in range(0, len(data), 2)]
        self.taken = 0

    def next(self) -> int:
        self.taken += 1
        return self.words[self.taken - 1] if self.taken <= len(self.words) else 0


class Coder:
    """Of one band."""

    def __init__(self, state: bytes, words: Words) -> None:
        self.state, self.words = int.from_bytes(state, "little"), words

    def trit(self, p: int, m: int) -> int:
        slot = self.state % 2**14
        if slot < 2**14 - p:
            trit, frequency, start = 0, 2**14 - p, 0
        elif slot < 2**14 - m:
            trit, frequency, start = 1, p - m, 2**14 - p
        else:
            trit, frequency, start = -1, m, 2**14 - m
        self.state = frequency * (self.state >> 14) + slot - start
        if self.state < 2**16:
            self.state = (self.state << 16) | self.words.next()
        return trit


class Window:
    """A mean for each of a trit's neighbours, with one precision in common."""

    def __init__(self, precision: int) -> None:
        self.means, self.gradients, self.precision = [0] * 4, [0] * 4, precision

    def learn(self, curvature: int) -> None:
        self.precision = grow(self.precision, curvature)
        self.means = [move(m, g, self.precision) for m, g in zip(self.means, self.gradients, strict=True)]
        self.gradients = [0] * 4


class Band:
    """Its rows so far, and what is its own in a step."""

    def __init__(self, rows: int, coder: Coder) -> None:
        self.rows, self.coder = rows, coder
        self.trits: list[list[int]] = []
        self.idle = False

    def start_row(self, step: int, row_prior: int) -> None:
        self.idle = step >= self.rows
        self.bias = self.kernel_bias = self.variance = 0
        self.precision = row_prior
        if not self.idle:
            self.trits.append([])

    def neighbours(self, x: int) -> list[int]:
        row, above = self.trits[-1], self.trits[-2] if len(self.trits) > 1 else None
        return [row[x - d] if x >= d else 0 for d in (1, 2, 3)] + [above[x] if above else 0]


class BandedDecoder:
    """`data` is what follows the names of the dead: states and words."""

    def __init__(
        self, recipe: int, data: bytes, geometry: tuple[int, int, int], counts: tuple[int, int, int]
    ) -> None:
        rows, cols, self.kernel = geometry
        self.rows, self.row_size = rows, cols * self.kernel
        width, self.predicted = (recipe - 244) % 3, recipe >= 247
        self.row_prior = prior((36, 18, 72)[width])
        self.flag_base, self.sign_base = bases(counts)
        self.density = squash(self.flag_base)
        self.words = Words(data[64:])
        starts = [band * rows // BANDS for band in range(BANDS + 1)]
        self.bands = [
            Band(starts[i + 1] - starts[i], Coder(data[4 * i : 4 * i + 4], self.words)) for i in range(BANDS)
        ]
        self.column: list[Coefficient] = [[0, self.row_prior] for _ in range(self.row_size)]
        self.refinement = [SQUASH[32 * j + 16] << 16 for j in range(96)]
        self.flags, self.signs = Window(prior(30)), Window(prior(40))
        self.curvature = self.columns_since = 0

    def decode(self) -> list[int]:
        for row in range(-(-self.rows // BANDS)):
            for band in self.bands:
                band.start_row(row, self.row_prior)
            self.decode_step()
        return [trit for band in self.bands for row in band.trits for trit in row]

    def finish(self) -> None:
        if any(band.coder.state != 1 << 16 for band in self.bands):
            raise DamagedError("a state does not end as it began")
        if self.words.taken != len(self.words.words):
            raise DamagedError("the words do not end where the trits do")

    def decode_step(self) -> None:
        gradients = []
        for x in range(self.row_size):
            refinement = list(self.refinement)  # as it was before the column
            active = [(i, band) for i, band in enumerate(self.bands) if not band.idle]
            gradients.append(sum(self.decode_trit(band, x, refinement, i == x % BANDS) for i, band in active))
            if (x + 1) % self.kernel == 0:
                for band in self.bands:
                    band.kernel_bias = 0
            if (x + 1) % 16 == 0 or x + 1 == self.row_size:
                self.end_tile(x % 16 + 1)
        for x, gradient in enumerate(gradients):
            guess = GUESS[guess_at(self.flag_base + (self.column[x][0] >> 4))]
            step(self.column[x], gradient, (guess * (65536 - guess)) >> 12)

    def decode_trit(self, band: Band, x: int, refinement: list[int], teaches: bool) -> int:
        """Returns the gradient of its flag."""
        around = band.neighbours(x)
        logit = self.flag_base + (band.bias >> 4) + (band.kernel_bias >> 4) + (self.column[x][0] >> 4)
        at = guess_at(logit + sum(mean >> 4 for t, mean in zip(around, self.flags.means, strict=True) if t))
        guess = GUESS[at]
        p = max((guess + (refinement[at >> 3] >> 16) + 1) >> 3, 2)
        sign_logit = sum(t * (mean >> 4) for t, mean in zip(around, self.signs.means, strict=True))
        sign_guess = GUESS[guess_at(self.sign_base - sign_logit)]
        trit = band.coder.trit(p, 1 + (((p - 2) * sign_guess) >> 16))
        band.trits[-1].append(trit)
        g = (abs(trit) << 16) - guess
        band.bias = limited(band.bias + (((g >> 3) * reciprocal(band.precision)) >> 13))
        if self.kernel > 1:
            band.kernel_bias = limited(band.kernel_bias + (((g >> 3) * 24000) >> 13))
        band.variance += (guess * (65536 - guess)) >> 16
        e = (65536 if trit < 0 else 0) - sign_guess
        for j, t in enumerate(around):
            self.flags.gradients[j] += g * abs(t)
            if self.predicted:
                self.signs.gradients[j] -= e * t * abs(trit)
        if teaches:
            self.refinement[at >> 3] += (2**25 - 1 if trit else 0) - (refinement[at >> 3] >> 7)
        return g

    def end_tile(self, columns: int) -> None:
        for band in self.bands:
            band.precision = grow(band.precision, band.variance)
            self.curvature += band.variance
            band.variance = 0
        self.columns_since += columns
        if self.columns_since >= 64:
            self.flags.learn((self.curvature * self.density) >> 16)
            self.signs.learn(4 * self.columns_since * ((self.density * self.density) >> 16))
            self.curvature = self.columns_since = 0


def has_bands(geometry: tuple[int, int, int], counts: tuple[int, int, int]) -> bool:
    rows, cols, kernel = geometry
    return rows >= BANDS and 1 <= cols * kernel <= 2**17 and 0 not in counts


def decode_bands(payload: bytes, geometry: tuple[int, int, int], counts: tuple[int, int, int]) -> list[int]:
    """The trits of a chunk, in C order, of a payload with one of the recipes 244 to 249."""
    names = int.from_bytes(payload[1:5], "little")
    if len(payload) < 5 + names or not has_bands(geometry, counts):
        raise DamagedError("the names of the dead are cut, or the chunk has no bands")
    stream = BitStream(payload[5 : 5 + names])
    living = Living(stream, geometry, counts)
    stream.finish()
    data = payload[5 + names :]
    if len(data) < 4 * BANDS or len(data) % 2 or not has_bands(living.geometry, living.counts):
        raise DamagedError("no sixteen states and whole words, or what lives has no bands")
    decoder = BandedDecoder(payload[0], data, living.geometry, living.counts)
    if any(band.coder.state < 1 << 16 for band in decoder.bands):
        raise DamagedError("a state is below its least")
    trits = decoder.decode()
    decoder.finish()
    return living.spread(trits)
