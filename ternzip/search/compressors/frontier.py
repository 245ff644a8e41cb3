"""Several ways to compress a layer as one: theta moves along the best of them at each size."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from ternzip.search.compressors.base import CompressedLayer, Compressor, LayerView
from ternzip.search.size import entropy_bytes


@dataclass(frozen=True)
class Point:
    """One setting of one compressor: `bytes` by order-0 entropy, and the layer's weighted error."""

    bytes: float
    error: float
    choice: int
    theta: float


@dataclass(frozen=True)
class Frontier:
    """Of each layer, the settings that no other setting beats in both bytes and weighted error.

    theta is the position between the smallest and the largest of them on a logarithmic scale of bytes. Between
    two neighbours of one compressor theta is interpolated; between two of different ones the smaller is taken.
    A choice of method thus needs no parameter of its own, which a Gaussian process could not smooth over.

    Attributes:
        compressors: what may be done to a layer.
        grid: how many values of theta are tried of each.
    """

    compressors: tuple[Compressor, ...]
    grid: int = 13
    name: str = "size"
    spread: float = 0.4
    monotone: bool = True
    _known: WeakKeyDictionary[LayerView, list[Point]] = field(
        default_factory=WeakKeyDictionary, repr=False, compare=False
    )

    def describe(self) -> str:
        """See Compressor."""
        return f"frontier({'; '.join(c.describe() for c in self.compressors)}; {self.grid})"

    def points(self, view: LayerView) -> list[Point]:
        """The frontier of a layer, from the smallest to the largest."""
        if view not in self._known:
            tried = []
            for choice, compressor in enumerate(self.compressors):
                for i in range(self.grid):
                    theta = i / (self.grid - 1)
                    found = compressor.compress(view, theta)
                    tried.append(Point(entropy_bytes(found.stored()), found.weighted_error, choice, theta))
            best: list[Point] = []
            for point in sorted(tried, key=lambda point: (point.bytes, point.error)):
                if not best or point.error < best[-1].error:
                    best.append(point)
            self._known[view] = best
        return self._known[view]

    def compress(self, view: LayerView, theta: float) -> CompressedLayer:
        """See Compressor."""
        points = self.points(view)
        sizes = [math.log(point.bytes) for point in points]
        wanted = sizes[0] + theta * (sizes[-1] - sizes[0])
        i = max(0, bisect.bisect_right(sizes, wanted + 1e-12) - 1)
        below = points[i]
        setting = below.theta
        if i + 1 < len(points) and points[i + 1].choice == below.choice:
            share = (wanted - sizes[i]) / (sizes[i + 1] - sizes[i])
            setting += share * (points[i + 1].theta - below.theta)
        return self.compressors[below.choice].compress(view, setting)
