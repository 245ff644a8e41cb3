"""Which chunks or blocks of a tensor hold a stretch of its elements."""

from __future__ import annotations

from ternzip.codecs.planes import MAX_BLOCK_BYTES
from ternzip.container.layout import Entry, Storage


def decodable_stretch(entry: Entry, start: int, stop: int) -> range:
    """The shortest stretch of elements around start..stop that can be decoded without the others.

    It consists of whole chunks of a ternary tensor, or whole blocks of one stored as planes. It is the whole tensor
    where that lies in a solid block, or keeps the signs of its zeros: which belongs to a zero depends on all before it.
    """
    if start == stop:
        return range(start, stop)
    if entry.storage is Storage.PLANES:
        block = MAX_BLOCK_BYTES // entry.dtype.itemsize
        return range(start // block * block, min(-(-stop // block) * block, entry.size))
    if entry.ternary is None or entry.ternary.has_zero_signs:
        return range(entry.size)
    needed = [
        range(first, first + chunk.symbols)
        for first, chunk in entry.ternary.geometry.chunks()
        if first < stop and start < first + chunk.symbols
    ]
    return range(needed[0].start, needed[-1].stop)
