"""Stores a tensor, checks that it comes back, and says how it was stored."""

from __future__ import annotations

from samples import assert_same
from torch import Tensor

import ternzip
from ternzip.container.describe import FileInfo, TensorInfo, describe_file
from ternzip.container.reader import Reader


def describe(data: bytes) -> FileInfo:
    with Reader.open(data) as reader:
        return describe_file(reader)


def round_trip(tensor: Tensor, codec: str = "auto") -> TensorInfo:
    """Stores one tensor and checks that it comes back; returns what the file says of it."""
    data = ternzip.save({"t": tensor}, codec=codec)
    assert_same(ternzip.load(data), {"t": tensor})
    return describe(data).tensors[0]
