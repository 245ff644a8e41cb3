"""Bytes: of the file that would be written, and of single tensors at a glance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ternzip._core.errors import TernzipError
from ternzip.codecs import CHOICES
from ternzip.codecs.context import EFFORTS
from ternzip.io.files import save


@dataclass(frozen=True)
class Coder:
    """How files are coded, in the search as in the end; see `ternzip.save`.

    Raises TernzipError for a codec or an effort that there is not.
    """

    codec: str = "context"
    effort: int = 2

    def __post_init__(self) -> None:
        if self.codec not in CHOICES:
            raise TernzipError(f"codec: expected one of {', '.join(CHOICES)}, found {self.codec!r}")
        if self.effort not in EFFORTS:
            raise TernzipError(
                f"effort: expected one of {', '.join(map(str, EFFORTS))}, found {self.effort!r}"
            )

    def file(self, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
        """The whole file, in memory."""
        return save(tensors, codec=self.codec, effort=self.effort, metadata=metadata, threads=1)


def dense_bytes(tensors: Mapping[str, Tensor]) -> int:
    """Bytes of a float32 file without its header, whatever type its floats have. Tensors tied together count once."""
    # Views that merely begin at the same place are stored apart.
    seen = {
        (t.data_ptr(), t.nbytes): 4 * t.numel() if t.is_floating_point() else t.nbytes
        for t in tensors.values()
    }
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
