"""Invalid files that break a rule of docs/format-context.md, the payload of the codec `context`."""

from __future__ import annotations

import numpy as np

from golden.cases import add
from golden.invalid_ternary import SIX, T, X
from golden.valid import symbols
from golden.vectors import echoing
from ternzip._core.symbols import SymbolCounts
from ternzip.codecs import DEFAULT_EFFORT, Geometry, candidates

ERROR = X + "context payload: .* bytes cannot stand for "
SMOOTH = [1, 1, 1, 0, 0, -1, -1, -1, 0] * 32  # one filter, 32 times


def context(name: str, rule: str, payload: bytes) -> None:
    add(f"context-{name}", f"context: {rule}", ERROR + "6 symbols", T(codec=2, payloads=[payload]).file())


def adaptive(name: str, rule: str, payload: bytes) -> None:
    shape = (32, 1, 3, 3)
    tensor = T(codec=2, shape=shape, counts=(96, 96), payloads=[payload], units=(288,))
    add(f"context-{name}", f"context: {rule}", ERROR + "288 symbols", tensor.file())


def encoded(values: list[int], geometry: Geometry, effort: int = DEFAULT_EFFORT) -> bytes:
    trits = np.array(values, np.int8)
    counts = SymbolCounts(values.count(-1), values.count(0), values.count(1))
    (candidate,) = candidates("context", effort)
    return candidate.codec.encode(trits, geometry, counts, b"")


def banded(name: str, rule: str, payload: bytes, rows: int = 43, cols: int = 97) -> None:
    counts = (ECHOES.count(-1), ECHOES.count(1)) if rows * cols >= len(ECHOES) else (1, 1)
    tensor = T(codec=2, shape=(rows, cols), counts=counts, payloads=[payload], units=(rows * cols,))
    add(f"context-bands-{name}", f"context: {rule}", f"{ERROR}{rows * cols} symbols", tensor.file())


def expansion(effort: int) -> None:
    """One byte less than so many trits need, of which the encoder would make a few bytes at a lower effort."""
    rows = 1 << (18 - effort)
    trits = [0] * (6 * rows)
    trits[:2] = [-1, 1]
    payload = bytes([effort]) + encoded(trits, Geometry(rows, 6, 1))[1:5]
    assert len(payload) == 5
    tensor = T(codec=2, shape=(rows, 6), counts=(1, 1), payloads=[payload], units=(6 * rows,))
    rule = f"a byte stands for at most 2^{18 - effort} trits at effort {effort}"
    add(f"context-expansion-{effort}", f"context: {rule}", f"{ERROR}{6 * rows} symbols", tensor.file())


ECHOES = echoing(symbols("bands", 43 * 97, zeros=128, negatives=64))
BANDED = encoded(ECHOES, Geometry(43, 97, 1), effort=3)
assert BANDED[0] in range(244, 250)
PLAIN = encoded(SIX, Geometry(2, 3, 1))
WHOLE = encoded(SMOOTH, Geometry(32, 1, 9))

add(
    "context-parameters",
    "7: no codec has parameters",
    "tensor 'x': context: expected no parameters, found 1 bytes",
    T(codec=2, strings=(b"\2",), payloads=[PLAIN]).file(),
)
context("empty", "a payload of two symbols or more begins with its recipe", b"")
context("recipe-250", "recipes are below 250", b"\xfa" + PLAIN[1:])
context("recipe-255", "recipes are below 250", b"\xff" + PLAIN[1:])
context("state-zero", "the state has no leading zero byte", PLAIN[:1] + b"\0")
context("trailing", "no words are left after the last bit", PLAIN + b"\1\2\3\4\5\6\7\x08")
adaptive("recipe-changed", "the state is 0 after the last bit", bytes([WHOLE[0] + 3]) + WHOLE[1:])
adaptive("cut", "the state is 0 after the last bit", WHOLE[:-4])
adaptive("words-left", "no words are left after the last bit", WHOLE + bytes(4))
for effort in (1, 2, 3):
    expansion(effort)
banded("cut", "the bands' states are 2^16 after the last trit", BANDED[:-2])
banded("state-changed", "the bands' states are 2^16 after the last trit", BANDED[:5] + bytes(4) + BANDED[9:])
banded("words-left", "no words are left after the last trit", BANDED + bytes(2))
banded("half-a-word", "states of four bytes and words of two follow the recipe", BANDED + b"\0")
banded("states-missing", "states of four bytes and words of two follow the recipe", BANDED[:67])
banded("names-cut", "as many bytes follow as name the dead", BANDED[:1] + b"\0\0\1\0" + BANDED[5:])
banded("names-not-read", "the state is 0 after the last name", BANDED[:1] + b"\1\0\0\0\1" + BANDED[5:])
banded("rows", "every band has a row", BANDED, rows=15)
banded("wide", "a row in bands has at most 2^17 symbols", BANDED, rows=16, cols=(1 << 17) + 1)
