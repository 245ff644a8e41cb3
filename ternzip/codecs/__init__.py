"""Codecs for ternary tensors, by number and by name, and the choice between them."""

from __future__ import annotations

from ternzip.codecs.base import BatchDecoder, CorruptPayload, TernaryCodec, Trits
from ternzip.codecs.context import DEFAULT_EFFORT, ContextCodec
from ternzip.codecs.elements import ElementDecoder
from ternzip.codecs.fast import FastCodec
from ternzip.codecs.geometry import MAX_CHUNK_SYMBOLS, Geometry
from ternzip.codecs.packed import PackedCodec
from ternzip.codecs.static import StaticCodec

__all__ = [
    "BATCH_DECODERS",
    "BY_CODE",
    "BY_NAME",
    "CHOICES",
    "DEFAULT_EFFORT",
    "ELEMENT_DECODERS",
    "MAX_CHUNK_SYMBOLS",
    "CorruptPayload",
    "Geometry",
    "TernaryCodec",
    "Trits",
    "candidates",
]

_CODECS: tuple[TernaryCodec, ...] = (PackedCodec(), StaticCodec(), ContextCodec(), FastCodec())

BY_CODE: dict[int, TernaryCodec] = {codec.code: codec for codec in _CODECS}
BY_NAME: dict[str, TernaryCodec] = {codec.name: codec for codec in _CODECS}

# Asking whether a codec fits a protocol takes longer than decoding a small tensor, so it is asked once.
BATCH_DECODERS: dict[int, BatchDecoder] = {c.code: c for c in _CODECS if isinstance(c, BatchDecoder)}
ELEMENT_DECODERS: dict[int, ElementDecoder] = {c.code: c for c in _CODECS if isinstance(c, ElementDecoder)}

CHOICES = ("auto", *(codec.name for codec in _CODECS))
"""What `codec=` accepts."""


def candidates(choice: str, effort: int = DEFAULT_EFFORT) -> list[tuple[TernaryCodec, bytes]]:
    """The codecs to try for one tensor, with their parameters; the smallest is kept, the first of equals."""
    context = ContextCodec(effort)
    if choice not in CHOICES:
        raise ValueError(f"codec: expected one of {', '.join(CHOICES)}, got {choice!r}")
    names = ("context", "fast", "static", "packed") if choice == "auto" else (choice,)
    return [(context if name == "context" else BY_NAME[name], b"") for name in names]
