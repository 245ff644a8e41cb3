"""The value that travels from the public calls to the kernels: what a ternarizer is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

SATURATING = ("closed", "open")  # the estimators that let no gradient through beyond the bound
STE = (*SATURATING, "identity", "scaled")


class Ternarizer(NamedTuple):
    """Two thresholds, two levels and a straight-through estimator, for one weight or for several.

    A named tuple, because `Ternarizer(*flat)` and `f(*ternarizer)` are then the one way into and out of the two
    places where torch must see every tensor by itself: an operator's schema and `autograd.Function.apply`.

    Attributes:
        lo, hi, neg, pos: tensors of `scalar_dtype`, 0-d (one value for all weights) or 1-d (one for each).
        ste: one of STE.
        bound: where "closed" and "open" saturate.
    """

    lo: Tensor
    hi: Tensor
    neg: Tensor
    pos: Tensor
    ste: str = "closed"
    bound: float = 1.0

    @property
    def scalars(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(lo, hi, neg, pos)."""
        return self[:4]

    def at(self, index: int | Tensor) -> Ternarizer:
        """That of one weight, or of those that `index`, a 1-d tensor, lists."""
        return self.map(lambda value: value if value.dim() == 0 else value[index])

    def map(self, function: Callable[[Tensor], Tensor]) -> Ternarizer:
        """The same with `function` of every scalar."""
        lo, hi, neg, pos = map(function, self.scalars)
        return Ternarizer(lo, hi, neg, pos, self.ste, self.bound)


def scalar_dtype(device: torch.device) -> torch.dtype:
    """Of thresholds, levels and their gradients on a device.

    float64 holds a value of every weight dtype, so the one rounding is that to the weight's dtype, in the kernel. MPS
    has no float64: there a value is rounded to float32 first.
    """
    return torch.float32 if device.type == "mps" else torch.float64


def scalar(value: float | Tensor, device: torch.device) -> Tensor:
    """A threshold or a level as a tensor for weights on `device`."""
    if isinstance(value, Tensor):
        return value.to(device=device, dtype=scalar_dtype(device))
    # For a GPU a number stays here and travels with the launch; a compiled graph keeps to one device.
    stays = device.type == "cuda" and not torch.compiler.is_compiling()
    return torch.full((), value, dtype=scalar_dtype(device), device="cpu" if stays else device)


def ternarizer_for(
    weights: Sequence[Tensor],
    lo: float | Tensor,
    hi: float | Tensor,
    neg: float | Tensor,
    pos: float | Tensor,
    ste: str = "closed",
    bound: float = 1.0,
) -> Ternarizer:
    """The ternarizer of these weights, of which there is at least one; ValueError for what cannot be one.

    Floats are checked. What a tensor holds is not: to look would wait for its device.
    """
    if ste not in STE:
        raise ValueError(f"ste must be one of {', '.join(STE)}, not {ste!r}")
    check_bound(bound)
    for name, value in (("lo", lo), ("hi", hi)):
        # A NaN compares false with everything.
        if not isinstance(value, Tensor) and not -math.inf <= value <= math.inf:
            raise ValueError(f"the threshold {name} must be a number, not {value}")
    if not isinstance(neg, Tensor) and not -math.inf < neg < 0:
        raise ValueError(f"the level of -1 must be finite and below 0, not {neg}")
    if not isinstance(pos, Tensor) and not 0 < pos < math.inf:
        raise ValueError(f"the level of +1 must be finite and above 0, not {pos}")
    device = weights[0].device
    t = Ternarizer(
        scalar(lo, device), scalar(hi, device), scalar(neg, device), scalar(pos, device), ste, bound
    )
    for name, value in zip(("lo", "hi", "neg", "pos"), t.scalars, strict=True):
        if value.dim() > 1 or (value.dim() == 1 and value.shape[0] != len(weights)):
            raise ValueError(f"{name} has shape {tuple(value.shape)}; expected one value, or {len(weights)}")
    return t


def estimator(ste: str, bound: float, device: torch.device) -> Ternarizer:
    """A ternarizer of which only the estimator is asked, and not "scaled", which needs the levels."""
    unused = torch.zeros(
        (), dtype=scalar_dtype(device), device="cpu"
    )  # by value with a launch, wherever that is
    return Ternarizer(unused, unused, unused, unused, ste, bound)


def check_bound(bound: float) -> None:
    """ValueError unless the bound is above zero."""
    if not bound > 0:
        raise ValueError(f"the bound must be positive, not {bound}")
