"""Streams of bytes. The container writes with the same function, so it lives below both."""

from __future__ import annotations

from ternzip._core.streams import ByteStream, write_all

__all__ = ["ByteStream", "write_all"]
