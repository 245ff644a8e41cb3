"""Decoding somewhere else: what a reader hands over, and what it gets back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ternzip.container.layout import Entry, Record


@dataclass(frozen=True)
class Offloaded:
    """A tensor that was decoded elsewhere, in whatever form that has."""

    tensor: object


class Offload(Protocol):
    """Decodes ternary tensors in the reader's stead."""

    def start(
        self, entry: Entry, payload: Callable[[Record], memoryview]
    ) -> Callable[[], object | None] | None:
        """Begins with a ternary tensor; what is returned waits for it. None, from either: the reader decodes it
        itself, which also finds the words for what is wrong with a file. `payload` reads and checks a record.
        """
        ...
