"""Invalid files that break a rule of docs/format-context.md, the payload of the codec `context`."""

from __future__ import annotations

import numpy as np

from golden.cases import add
from golden.invalid_ternary import SIX, T, X
from ternzip._core.symbols import SymbolCounts
from ternzip.codecs import BY_NAME, Geometry

ERROR = X + "context payload: .* bytes cannot stand for "
SMOOTH = [1, 1, 1, 0, 0, -1, -1, -1, 0] * 32  # one filter, 32 times


def context(name: str, rule: str, payload: bytes) -> None:
    add(f"context-{name}", f"context: {rule}", ERROR + "6 symbols", T(codec=2, payloads=[payload]).file())


def adaptive(name: str, rule: str, payload: bytes) -> None:
    shape = (32, 1, 3, 3)
    tensor = T(codec=2, shape=shape, counts=(96, 96), payloads=[payload], units=(288,))
    add(f"context-{name}", f"context: {rule}", ERROR + "288 symbols", tensor.file())


def encoded(symbols: list[int], geometry: Geometry) -> bytes:
    trits = np.array(symbols, np.int8)
    counts = SymbolCounts(symbols.count(-1), symbols.count(0), symbols.count(1))
    return BY_NAME["context"].encode(trits, geometry, counts, b"")


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


PLAIN = encoded(SIX, Geometry(2, 3, 1))
WHOLE = encoded(SMOOTH, Geometry(32, 1, 9))

add(
    "context-parameters",
    "7: no codec has parameters",
    "tensor 'x': context: expected no parameters, found 1 bytes",
    T(codec=2, strings=(b"\2",), payloads=[PLAIN]).file(),
)
context("empty", "a payload of two symbols or more begins with its recipe", b"")
context("recipe-244", "recipes are below 244", b"\xf4" + PLAIN[1:])
context("recipe-255", "recipes are below 244", b"\xff" + PLAIN[1:])
context("state-zero", "the state has no leading zero byte", PLAIN[:1] + b"\0")
context("trailing", "no words are left after the last bit", PLAIN + b"\1\2\3\4\5\6\7\x08")
adaptive("recipe-changed", "the state is 0 after the last bit", bytes([WHOLE[0] + 3]) + WHOLE[1:])
adaptive("cut", "the state is 0 after the last bit", WHOLE[:-4])
adaptive("words-left", "no words are left after the last bit", WHOLE + bytes(4))
for effort in (1, 2, 3):
    expansion(effort)
