"""Weights with everything that a kernel could trip over, and what must become of them, by float64."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
BITS = {8: torch.int64, 4: torch.int32, 2: torch.int16, 1: torch.int8}
LENGTHS = [0, 1, 2, 5, 8, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129, 1000, 8191, 8192, 8193, 20011]


def patterns(t: Tensor) -> np.ndarray:
    """The elements' bit patterns in index order: tells -0 from 0 and one NaN from another."""
    return t.detach().contiguous().view(BITS[t.dtype.itemsize]).flatten().cpu().numpy()


def bits(t: Tensor) -> bytes:
    return patterns(t).tobytes()


def clamped(w: Tensor, bound: float) -> Tensor:
    """aten's clamp, but for the payloads of NaNs, which it may quiet."""
    return torch.where(w.isnan(), w, w.clamp(-bound, bound))


def rounded(value: float, dtype: torch.dtype) -> float:
    return float(torch.tensor(value, dtype=torch.float64).to(dtype))


def specials(dtype: torch.dtype, *thresholds: float) -> Tensor:
    """Both zeros, infinities, NaNs, the extremes, denormals, and the thresholds with both neighbours."""
    info = torch.finfo(dtype)
    values = [0.0, -0.0, float("inf"), float("-inf"), float("nan"), 1.0, -1.0, info.max, info.min, info.tiny]
    values += [info.smallest_normal / 2, -info.smallest_normal / 2, *thresholds, *(-t for t in thresholds)]
    t = torch.tensor(values, dtype=torch.float64).to(dtype)
    integers = t.view(BITS[dtype.itemsize])
    return torch.cat([t, (integers + 1).view(dtype), (integers - 1).view(dtype)])


def draw(n: int, dtype: torch.dtype, *thresholds: float, seed: int = 0, special: bool = True) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    t = torch.randn(n, dtype=torch.float64, generator=generator).to(dtype)
    if special and n:
        pool = specials(dtype, *thresholds)
        where = torch.rand(n, generator=generator) < 0.3
        t = torch.where(where, pool[torch.randint(len(pool), (n,), generator=generator)], t)
    return t


def oracle(w: Tensor, lo: float, hi: float, neg: float, pos: float) -> tuple[bytes, list[int]]:
    """Patterns and counts. Weights and rounded thresholds are doubles exactly: numpy compares the truth."""
    values = w.to(torch.float64).flatten().cpu().numpy()
    symbols = np.where(values > rounded(hi, w.dtype), 1, np.where(values < rounded(lo, w.dtype), -1, 0))
    invalid = np.isnan(values)
    levels = patterns(torch.tensor([0.0, pos, neg], dtype=torch.float64).to(w.dtype))
    counts = [int(((symbols == s) & ~invalid).sum()) for s in (-1, 0, 1)]
    return np.where(invalid, patterns(w), levels[symbols]).tobytes(), [*counts, int(invalid.sum())]


def as_tensors(*values: float) -> list[Tensor]:
    """Scalars as the operators take them without a check, so that they may be anything."""
    return [torch.tensor(value, dtype=torch.float64) for value in values]


# (lo, hi, neg, pos), sensible or not.
THRESHOLDS = [
    (-0.1, 0.1, -1.0, 1.0),
    (-0.0, 0.0, -1.0, 1.0),
    (0.0, -0.0, -0.3, 0.7),
    (-0.5, 0.25, -0.123456789, 2.5),
    (0.2, 0.4, -1.0, 1.0),
    (0.4, 0.2, -1.0, 1.0),
    (float("-inf"), float("inf"), -1.0, 1.0),
    (float("nan"), float("nan"), -1.0, 1.0),
    (-1e-40, 1e-320, -1e300, 1e-7),
    (0.0, 0.0, 0.0, 1.0),
]
