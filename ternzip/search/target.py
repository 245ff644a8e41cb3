"""Settings whose real file has a given size: ratios between layers are given, their common factor is found."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ternzip.search.network import Network

TOLERANCE = 0.005
"""A file should be no more than this much smaller than the target, and is never larger."""
_GRID = 33
_EXACT_SIZES = 12
_CLOSE = 2e-3  # between two settings: the larger one loses few weights to become as small as the other


@dataclass(frozen=True)
class Fit:
    """theta of each layer, the bytes of the file it makes, and the share of zeros more that it took.

    `tabulated` is what the tables said of the target's bytes: the next fit with the same offsets begins with that.
    `largest`: whether no setting with these offsets makes a larger file.
    """

    theta: list[float]
    bytes: int
    zeros: float = 0.0
    tabulated: float = 1.0
    largest: bool = False


class TargetSize:
    """Finds settings for one size.

    Layers' sizes over theta are tabulated once, by entropy; files are coded only to correct what the table
    says. Batch norm is not estimated anew for that: the final file may differ by some bytes.

    Attributes:
        smallest: bytes of the file with every layer at theta = 0.
        largest: about the bytes of the largest file that any setting makes.
    """

    def __init__(self, network: Network, target: int, metadata: dict[str, str] | None = None) -> None:
        self.network = network
        self.target = target
        self._metadata = metadata or {}
        self._positions = np.linspace(0.0, 1.0, _GRID)
        self._tables = [
            np.array([network.layer_bytes(name, float(theta)) for theta in self._positions])
            for name in network.names
        ]
        self.smallest = self.bytes([0.0] * len(self._tables))
        self._others = self.smallest - sum(float(table[0]) for table in self._tables)
        self.largest = self._others + sum(float(table.max()) for table in self._tables)

    def for_target(self, target: int) -> TargetSize:
        """The same tables for another size, which may be out of reach: `fit` then gives the smallest setting."""
        other = copy.copy(self)
        other.target = target
        return other

    def bytes(self, theta: Sequence[float], zeros: float = 0.0) -> int:
        """The real size of the file, batch norm as in the original."""
        found = self.network.contents(theta, zeros=zeros)
        return len(found.file(self.network.coder, self._metadata))

    def fit(self, offsets: Sequence[float], tabulated: float = 1.0) -> Fit:
        """theta_l = s + offset_l, cut to [0, 1], with s such that the file fits as tightly as can be.

        Where the settings' steps are too coarse, the smallest setting above the target loses its smallest
        magnitudes. The size is at most `target`, and within TOLERANCE below it unless no setting on this line is
        as large, or sizes jump past it: one weight may change how the file holds its tensors.
        """
        shift = np.asarray(offsets, np.float64)
        low, high = -float(shift.max()), 1.0 - float(shift.min())
        goal = self.target * (1 - TOLERANCE / 2)
        wanted = goal * tabulated
        best = Fit([0.0] * len(shift), self.smallest)
        above: Fit | None = None
        s, crosses = self._solve(shift, wanted, low, high)
        for _ in range(_EXACT_SIZES):
            theta = [float(t) for t in np.clip(s + shift, 0.0, 1.0)]
            size = self.bytes(theta)
            if size <= self.target:
                best = Fit(theta, size, tabulated=wanted / goal) if size > best.bytes else best
                if not crosses:
                    return replace(best, largest=True)
                if self._tight(size):
                    return best
                low = max(low, s)
            else:
                if above is None or size < above.bytes:
                    above = Fit(theta, size, tabulated=wanted / goal)
                high = min(high, s)
                crosses = True
            if high - low < _CLOSE and above is not None:
                break
            wanted *= goal / size
            s, _ = self._solve(shift, wanted, low, high)
            if not low < s < high:
                s = (low + high) / 2
        if above is None:
            theta = [float(t) for t in np.clip(high + shift, 0.0, 1.0)]
            above = Fit(theta, self.bytes(theta))
            if above.bytes <= self.target:
                return replace(max(best, above, key=lambda fit: fit.bytes), largest=True)
        return self._trimmed(above, best)

    def _tight(self, size: int) -> bool:
        return size >= self.target * (1 - TOLERANCE)

    def _trimmed(self, above: Fit, best: Fit) -> Fit:
        """`above` with as many zeros more as it takes to fit; `best` where even that fits no better."""
        goal = self.target * (1 - TOLERANCE / 2)
        low, larger = 0.0, above.bytes
        high, smaller = 1.0, 0
        share = 1.0 - goal / above.bytes
        for i in range(_EXACT_SIZES):
            size = self.bytes(above.theta, share)
            if size <= self.target:
                best = Fit(above.theta, size, share, above.tabulated) if size > best.bytes else best
                if self._tight(size):
                    break
                high, smaller = share, size
            else:
                low, larger = share, size
            if not smaller:
                share = min(2 * share, (low + high) / 2)
            else:  # along the chord; every third time in the middle, as sizes need not fall evenly
                share = low + (high - low) * (0.5 if i % 3 == 2 else (larger - goal) / (larger - smaller))
        return best

    def _solve(
        self, shift: NDArray[np.float64], wanted: float, low: float, high: float
    ) -> tuple[float, bool]:
        """The first s at which the tables' sum reaches `wanted`; that of the largest sum where none does."""
        grid = np.linspace(low, high, 2 * _GRID)
        sums = [self._tabulated(shift, float(s)) for s in grid]
        reached = [i for i, size in enumerate(sums) if size >= wanted]
        if not reached:
            return float(grid[int(np.argmax(sums))]), False
        if reached[0] == 0:
            return low, True
        low, high = float(grid[reached[0] - 1]), float(grid[reached[0]])
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (middle, high) if self._tabulated(shift, middle) < wanted else (low, middle)
        return low, True

    def _tabulated(self, shift: NDArray[np.float64], s: float) -> float:
        theta = np.clip(s + shift, 0.0, 1.0)
        sizes = (np.interp(t, self._positions, table) for t, table in zip(theta, self._tables, strict=True))
        return self._others + float(sum(sizes))
