"""Tensors whose names differ in numbers only, as one: what `ternzip inspect` shows of files with very many."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from ternzip.container.describe import TensorInfo

_NUMBERS = re.compile(r"\d+")


@dataclass
class Alike:
    """Tensors of one type and shape, stored by one codec, whose names are one but for numbers.

    Attributes:
        name: their names with `*` for each number; of a single one, its own.
        tensors: all of them, in the file's order.
    """

    name: str
    tensors: list[TensorInfo] = field(default_factory=list)


def alike(tensors: Iterable[TensorInfo]) -> list[Alike]:
    """Groups in the order of their first tensors."""
    groups: dict[tuple[object, ...], Alike] = {}
    for tensor in tensors:
        pattern = _NUMBERS.sub("*", tensor.name)
        key = (pattern, tensor.dtype, tensor.shape, tensor.codec, tensor.counts is None)
        group = groups.get(key)
        if group is None:
            groups[key] = group = Alike(tensor.name)
        elif len(group.tensors) == 1:
            group.name = pattern
        group.tensors.append(tensor)
    return list(groups.values())
