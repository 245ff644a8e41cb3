"""Codecs for ternary tensors, by number and by name, and the choice between them."""

from __future__ import annotations

from ternzip.codecs.base import CorruptPayload, TernaryCodec, Trits
from ternzip.codecs.fast import FastCodec
from ternzip.codecs.geometry import MAX_CHUNK_SYMBOLS, Geometry
from ternzip.codecs.packed import PackedCodec
from ternzip.codecs.static import StaticCodec

__all__ = [
    "BY_CODE",
    "BY_NAME",
    "MAX_CHUNK_SYMBOLS",
    "CorruptPayload",
    "Geometry",
    "TernaryCodec",
    "Trits",
    "candidates",
]

_CODECS: tuple[TernaryCodec, ...] = (PackedCodec(), StaticCodec(), FastCodec())

BY_CODE: dict[int, TernaryCodec] = {codec.code: codec for codec in _CODECS}
BY_NAME: dict[str, TernaryCodec] = {codec.name: codec for codec in _CODECS}

CHOICES = ("auto", *(codec.name for codec in _CODECS))
"""What `codec=` accepts."""


def candidates(choice: str) -> list[tuple[TernaryCodec, bytes]]:
    """The codecs to try for one tensor, with their parameters; the smallest is kept, the first of equals."""
    if choice == "auto":
        return [(BY_NAME["static"], b""), (BY_NAME["packed"], b"")]
    if choice not in BY_NAME:
        raise ValueError(f"codec: expected one of {', '.join(CHOICES)}, got {choice!r}")
    return [(BY_NAME[choice], b"")]
