"""Bytes: of the file that would be written, and of single tensors at a glance."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ternzip._core.errors import TernzipError
from ternzip.io.files import save

_UNITS = {"": 1, "b": 1, "k": 1000, "kb": 1000, "m": 1000**2, "mb": 1000**2, "kib": 1024, "mib": 1024**2}


@dataclass(frozen=True)
class Coder:
    """How files are coded, in the search as in the end; see `ternzip.save`."""

    codec: str = "context"
    effort: int = 2

    def file(self, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
        """The whole file, in memory."""
        return save(tensors, codec=self.codec, effort=self.effort, metadata=metadata, threads=1)


def dense_bytes(tensors: Mapping[str, Tensor]) -> int:
    """Bytes of the elements as they are: a float32 file without its header. Tensors tied together count once."""
    seen: dict[int, int] = {}
    for tensor in tensors.values():
        seen[tensor.data_ptr() or id(tensor)] = tensor.numel() * tensor.element_size()
    return sum(seen.values())


def entropy_bytes(tensors: Mapping[str, Tensor]) -> float:
    """What order-0 coding of each tensor alone would take: quick, and near enough to steer by; at least 1.

    Ternary and integer tensors by their symbols' entropy, others by the bytes of their elements.
    """
    return max(1.0, sum(_entropy_bytes(tensor) for tensor in tensors.values()))


def _entropy_bytes(tensor: Tensor) -> float:
    plain = float(tensor.numel() * tensor.element_size())
    if tensor.dtype == torch.int8:
        counts = torch.bincount(tensor.flatten().int() + 128)
    elif tensor.is_floating_point() and tensor.dim() >= 2:
        magnitude = tensor.abs().flatten(1)
        if not bool(((magnitude == 0) | (magnitude == magnitude.amax(1, keepdim=True))).all()):
            return plain
        counts = torch.stack([(tensor < 0).sum(), (tensor == 0).sum(), (tensor > 0).sum()])
    else:
        return plain
    shares = counts[counts > 0].double() / tensor.numel()
    bits = float(-(shares * shares.log2()).sum()) * tensor.numel()
    levels = 0.0
    if tensor.is_floating_point():
        levels = 4.0 * len(torch.unique(magnitude.amax(1)))
    return min(plain, bits / 8 + levels)


def parse_size(text: str | int) -> int:
    """Bytes from "200KB", "96 KiB", "1.5MB" or a number. Raises TernzipError for anything else."""
    if isinstance(text, int):
        size = text
    else:
        match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)\s*", text)
        unit = match and _UNITS.get(match[2].lower())
        if match is None or unit is None:
            raise TernzipError(f"size: expected a number of bytes such as 200KB or 96KiB, found {text!r}")
        size = math.floor(float(match[1]) * unit)
    if size < 1:
        raise TernzipError(f"size: expected at least 1 byte, found {text!r}")
    return size
