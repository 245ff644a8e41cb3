"""Counts of ternary symbols, and what follows from them: sparsity and entropy. Imports neither torch nor
numpy."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class SymbolCounts:
    """How often each symbol of {-1, 0, +1} occurs; `invalid` counts the NaNs, which are no symbol.

    Counts are exact Python integers. They add up: `a + b`, or `sum(many, SymbolCounts())` over a model.
    """

    negative: int = 0
    zero: int = 0
    positive: int = 0
    invalid: int = 0

    @property
    def total(self) -> int:
        """All elements counted, the invalid ones included."""
        return self.symbols + self.invalid

    @property
    def symbols(self) -> int:
        """The elements that are a symbol."""
        return self.negative + self.zero + self.positive

    @property
    def sparsity(self) -> float:
        """The share of zeros among the symbols, in [0, 1]; 0 where there are none."""
        return self.zero / self.symbols if self.symbols else 0.0

    @property
    def entropy(self) -> float:
        """Order-0 entropy of the symbols in bits/symbol, at most log2(3); 0 where there are none."""
        symbols = self.symbols
        # Written with log2(symbols / count), every term is non-negative and a lone symbol gives 0, not -0.
        return math.fsum(
            count / symbols * math.log2(symbols / count)
            for count in (self.negative, self.zero, self.positive)
            if count
        )

    def __add__(self, other: SymbolCounts) -> SymbolCounts:
        if not isinstance(other, SymbolCounts):
            return NotImplemented
        return SymbolCounts(
            self.negative + other.negative,
            self.zero + other.zero,
            self.positive + other.positive,
            self.invalid + other.invalid,
        )

    @classmethod
    def of(cls, counts: Iterable[int]) -> SymbolCounts:
        """From (negative, zero, positive, invalid), the order in which every kernel reports."""
        return cls(*(int(count) for count in counts))
