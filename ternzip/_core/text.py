"""Words that errors and reports share."""

from __future__ import annotations


def listed(names: list[str], most: int = 3) -> str:
    """The first names, and how many follow."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"
