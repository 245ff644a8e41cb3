"""How a caller hears of progress."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int], None]
"""Called with a tensor's name and its bytes in memory when it has been written or read.

Tied tensors are reported like all others, so the bytes add up to those of all names."""
