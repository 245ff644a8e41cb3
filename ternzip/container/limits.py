"""The limits of the format: what the reader refuses beyond them, and the writer never writes.

docs/FORMAT.md lists them, section 10. Where a check takes more than a comparison, both sides call the same function.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ternzip._core.dtypes import DType
from ternzip._core.varint import MAX_VARINT
from ternzip.codecs.geometry import MAX_CHUNK_SYMBOLS
from ternzip.codecs.levels import MIN_LEVEL_BLOCK_ELEMENTS
from ternzip.codecs.parameters import MAX_CODEC_PARAMETER_BYTES
from ternzip.codecs.planes import MAX_BLOCK_BYTES
from ternzip.codecs.zstd import MAX_WINDOW_BYTES

__all__ = [
    "DIRECTORY_RATIO",
    "DIRECTORY_SLACK",
    "ENTRY_BYTES",
    "ENTRY_SLACK",
    "MAX_BLOCK_BYTES",
    "MAX_CHUNK_SYMBOLS",
    "MAX_CODEC_PARAMETER_BYTES",
    "MAX_DIMENSIONS",
    "MAX_EXPANSION",
    "MAX_EXTENSIONS",
    "MAX_EXTENSION_NAME_BYTES",
    "MAX_NAME_BYTES",
    "MAX_SECTION_BYTES",
    "MAX_TENSOR_BYTES",
    "MAX_VARINT",
    "MAX_WINDOW_BYTES",
    "MIN_LEVEL_BLOCK_ELEMENTS",
    "SOLID_BLOCK_BYTES",
    "SOLID_LIMIT",
    "most_entries",
    "most_table_bytes",
    "shape_problem",
    "text_problem",
]

MAX_DIMENSIONS = 64
"""Dimensions of a tensor; torch can do little with more."""

MAX_TENSOR_BYTES = (1 << 63) - 1
"""Bytes of a tensor, lengths of zero counted as one: strides are computed from them too."""

MAX_NAME_BYTES = 1 << 16
"""Bytes of a tensor's name in UTF-8."""

MAX_EXTENSIONS = 256
"""Extensions of a file."""

MAX_EXTENSION_NAME_BYTES = 255
"""Bytes of an extension's name in UTF-8; it has one at least."""

MAX_SECTION_BYTES = (1 << 32) - 1
"""Bytes of the parameters, and of the directory as it is stored: the preamble states both in 32 bits."""

MAX_EXPANSION = 1 << 19
"""No stored byte stands for more symbols or bytes than this, so a small file cannot ask for much memory."""

SOLID_LIMIT = 1 << 16
"""Tensors that are not ternary and smaller than this many bytes share solid blocks."""

SOLID_BLOCK_BYTES = 1 << 20
"""What the members of a solid block may add up to."""

DIRECTORY_RATIO, DIRECTORY_SLACK = 128, 1 << 16
# Tensors and metadata entries become objects of hundreds of bytes in memory, however well their names compress. A
# stored directory has four bytes or more for each.
ENTRY_BYTES, ENTRY_SLACK = 4, 1 << 16


def most_table_bytes(directory_size: int) -> int:
    """How large the table in a directory of some bytes may be: names and shapes compress less, zstd could more."""
    return DIRECTORY_RATIO * directory_size + DIRECTORY_SLACK


def most_entries(directory_size: int) -> int:
    """How many tensors and metadata entries a directory of some bytes may list."""
    return ENTRY_SLACK + directory_size // ENTRY_BYTES


def shape_problem(shape: Sequence[int], dtype: DType) -> str | None:
    """What is wrong with a tensor's shape; None if nothing is."""
    if len(shape) > MAX_DIMENSIONS:
        return f"dimensions: expected at most {MAX_DIMENSIONS}, found {len(shape)}"
    if math.prod(length or 1 for length in shape) * dtype.itemsize > MAX_TENSOR_BYTES:
        return f"shape: expected less than 2^63 bytes, found {list(shape)} of {dtype.name}"
    return None


def text_problem(text: str) -> str | None:
    """What is wrong with a name, or with a key or value of the metadata; None if nothing is."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"expected text that UTF-8 can hold: {error.reason}"
    return None
