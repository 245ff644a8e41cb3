"""Codecs for ternary tensors, by number and by name, and the choice between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ternzip.codecs.base import BatchDecoder, CorruptPayload, ParameterChooser, TernaryCodec, Trits
from ternzip.codecs.context import DEFAULT_EFFORT, ContextCodec
from ternzip.codecs.elements import ElementDecoder
from ternzip.codecs.fast import FastCodec
from ternzip.codecs.geometry import MAX_CHUNK_SYMBOLS, Geometry
from ternzip.codecs.packed import PackedCodec
from ternzip.codecs.parameters import MAX_CODEC_PARAMETER_BYTES
from ternzip.codecs.static import StaticCodec

__all__ = [
    "BATCH_DECODERS",
    "BY_CODE",
    "BY_NAME",
    "CHOICES",
    "DEFAULT_EFFORT",
    "ELEMENT_DECODERS",
    "MAX_CHUNK_SYMBOLS",
    "Candidate",
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


@dataclass(frozen=True)
class Candidate:
    """A codec to try for tensors.

    Attributes:
        codec: the codec.
        shared: its parameters for the whole file; empty for none.
        chooser: the codec again if it chooses parameters for each tensor, else None: all tensors get `shared`.
    """

    codec: TernaryCodec
    shared: bytes = b""
    chooser: ParameterChooser | None = None


def candidates(
    choice: str, effort: int = DEFAULT_EFFORT, parameters: Mapping[str, bytes] | None = None
) -> list[Candidate]:
    """The codecs to try for each tensor; the smallest result is kept, the first of equals.

    `parameters` are those of codecs by name, for the whole file. Raises ValueError for an unknown choice or effort,
    and for parameters that the codec of that name does not take.
    """
    context = ContextCodec(effort)
    if choice not in CHOICES:
        raise ValueError(f"codec: expected one of {', '.join(CHOICES)}, got {choice!r}")
    parameters = parameters or {}
    for name, shared in parameters.items():
        _check_parameters(name, shared)
    names = ("context", "fast", "static", "packed") if choice == "auto" else (choice,)
    found = []
    for name in names:
        codec = context if name == "context" else BY_NAME[name]
        chooser = codec if isinstance(codec, ParameterChooser) else None
        found.append(Candidate(codec, parameters.get(name, b""), chooser))
    return found


def _check_parameters(name: str, parameters: bytes) -> None:
    if name not in BY_NAME:
        raise ValueError(f"codec parameters: expected those of {', '.join(BY_NAME)}, got {name!r}")
    if len(parameters) > MAX_CODEC_PARAMETER_BYTES:
        raise ValueError(
            f"{name}: expected at most {MAX_CODEC_PARAMETER_BYTES:,} bytes of parameters, got {len(parameters):,}"
        )
    problem = BY_NAME[name].parameters_problem(parameters)
    if problem:
        raise ValueError(problem)
