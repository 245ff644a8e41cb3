"""All golden files."""

from __future__ import annotations

from collections.abc import Callable

from golden import (
    invalid_container,
    invalid_context,
    invalid_fast,
    invalid_huffman,
    invalid_levels,
    invalid_ternary,
    valid,
    valid_codecs,
    valid_files,
    valid_huffman,
    valid_levels,
)
from golden.cases import INVALID
from golden.valid_fast import fast_choices

__all__ = [
    "INVALID",
    "VALID",
    "invalid_container",
    "invalid_context",
    "invalid_fast",
    "invalid_huffman",
    "invalid_levels",
    "invalid_ternary",
]

VALID: dict[str, Callable[[], valid.Golden]] = {
    **valid.CASES,
    **valid_files.CASES,
    **valid_codecs.CASES,
    **valid_huffman.CASES,
    **valid_levels.CASES,
    "fast-choices": fast_choices,
}
