"""What kind of file a .tnz file was made from, so that `decompress` makes one of that kind again."""

from __future__ import annotations

from ternzip.checkpoint.store import SOURCE, SUFFIXES
from ternzip.container.reader import Reader

UNKNOWN = ".safetensors"
"""What files become that do not say it."""


def suffix_of(reader: Reader) -> str:
    """The suffix of what a .tnz file was made from; UNKNOWN where it does not say so in terms that are known here."""
    if reader.extensions.sizes.get(SOURCE, 1 << 20) > max(map(len, SUFFIXES)):
        return UNKNOWN
    found = reader.extensions[SOURCE].decode("ascii", "replace")
    return found if found in SUFFIXES else UNKNOWN
