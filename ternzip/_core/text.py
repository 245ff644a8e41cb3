"""Words that errors and reports share, and sizes that people type."""

from __future__ import annotations

import json
import math
import re
from fractions import Fraction
from typing import Any

from ternzip._core.errors import TernzipError

_PREFIXES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_PREFIXES |= {"KI": 1 << 10, "MI": 1 << 20, "GI": 1 << 30, "TI": 1 << 40}
_MOST = (1 << 63) - 1


def listed(names: list[str], most: int = 3) -> str:
    """The first names, and how many follow."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"


def quoted(name: str) -> str:
    """A name in a message of one line: escaped, and cut where it is long; one may have 65,536 bytes."""
    return repr(name) if len(name) <= 60 else f"{name[:40]!r}..."


def first_line(error: BaseException) -> str:
    """What an error of another library says, in one line."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def json_text(value: Any, indent: int) -> str:
    """JSON that every parser reads: numbers that are not finite, for which it has no words, are null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def parse_size(text: str | int) -> int:
    """Bytes, at least 1, of "2GB", "96 KiB", "1.5m" or a number; TernzipError for anything else."""
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?I?)B?\s*", str(text).upper())
    if found is None or found[2] not in _PREFIXES:
        raise TernzipError(f"size: expected a number of bytes such as 2GB or 96KiB, found {text!r}")
    size = int(Fraction(found[1]) * _PREFIXES[found[2]])
    if size < 1:
        raise TernzipError(f"size: expected at least 1 byte, found {text!r}")
    if size > _MOST:
        raise TernzipError(f"size: expected at most 2^63 - 1 bytes, found {quoted(str(text))}")
    return size
