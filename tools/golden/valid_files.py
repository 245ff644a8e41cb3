"""Valid files that show parts of the format together: extensions, and the example of the document."""

from __future__ import annotations

import struct
from collections.abc import Callable

from golden.valid import F32, SIX, Expected, Golden, dense, elements, noise, saved
from ternzip.container.layout import Storage
from ternzip.container.writer import Options


def extensions() -> Golden:
    """After a solid block, and with a name as long as may be."""
    contents = {
        "example.note": b"for readers that know it",
        "empty": b"",
        "\u00e9" * 127: noise("long name", 300),
    }
    return saved("extensions", [dense("a", "uint8", (5,))], {"key": "value"}, extensions=contents)


def extensions_alone() -> Golden:
    return saved("an extension, and nothing else", [], extensions={"x": b"y"})


def example() -> Golden:
    """The file that docs/format-example.md shows byte by byte: a bit of everything, and small."""
    weight = elements(SIX, F32)
    tensors = [
        Expected("fc.weight", "float32", (2, 3), weight),
        Expected("fc.bias", "float32", (2,), struct.pack("<2f", 1.0, -2.0)),
        Expected("tied", "float32", (2, 3), weight, "fc.weight"),
    ]
    options = Options(codec="packed", threads=1)
    storage = {"fc.weight": Storage.TERNARY, "fc.bias": Storage.SOLID, "tied": Storage.TIED}
    return saved(
        "the example of the document", tensors, {"by": "me"}, options, storage, {"example.note": b"hi"}
    )


CASES: dict[str, Callable[[], Golden]] = {
    "example": example,
    "extensions": extensions,
    "extensions-alone": extensions_alone,
}
