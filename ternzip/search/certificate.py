"""When to stop: Eq. 12, in two proposals in a row, and confirmed by samples that no evaluation has drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

IN_A_ROW = 2
_STANDARD_ERRORS = 2.0


@dataclass(frozen=True)
class Confirmation:
    """The incumbent measured again, on samples set aside for that.

    Attributes:
        theta: the incumbent.
        expected: the model's mean of J there.
        found: J on the samples set aside, and its standard error.
        held: whether `found` is at most `expected` + delta, give or take two standard errors.
    """

    theta: tuple[float, ...]
    expected: float
    found: float
    standard_error: float
    held: bool

    @classmethod
    def of(
        cls, theta: Sequence[float], expected: float, found: float, standard_error: float, delta: float
    ) -> Confirmation:
        """What a measurement says of an expectation: it holds within `delta` and some standard errors."""
        held = found <= expected + delta + _STANDARD_ERRORS * standard_error
        return cls(tuple(theta), expected, found, standard_error, held)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Confirmation:
        """What to_dict made."""
        return cls(**{**value, "theta": tuple(value["theta"])})


@dataclass(frozen=True)
class Certificate:
    """What the engine is ready to say of its incumbent.

    Attributes:
        evaluations: finished when it was said.
        risk: Phi(max A_PAC), the larger of the two in a row.
        delta, epsilon: of Eq. 12; delta in units of J.
        confirmation: on samples set aside.
    """

    evaluations: int
    risk: float
    delta: float
    epsilon: float
    confirmation: Confirmation

    def answers(self, delta: float, epsilon: float) -> bool:
        """Whether it says as much as one with these."""
        return self.delta <= delta and self.epsilon <= epsilon

    def words(self) -> str:
        """One sentence, with no more in it than is known."""
        c = self.confirmation
        return (
            f"Under the model, with probability {1 - self.epsilon:g} no setting is better by more than "
            f"{self.delta:g} in J (twice in a row, after {self.evaluations} evaluations); on samples that none of them "
            f"drew J = {c.found:.4f} +- {c.standard_error:.4f} where the model expected {c.expected:.4f}. "
            "The model may be wrong, the more so the more parameters there are."
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Certificate:
        """What to_dict made."""
        return cls(**{**value, "confirmation": Confirmation.from_dict(value["confirmation"])})


def is_certified(risks: Sequence[float | None], epsilon: float) -> bool:
    """Whether the last IN_A_ROW proposals all had a risk Phi(max A_PAC) of at most epsilon, as Eq. 12 asks."""
    last = risks[-IN_A_ROW:]
    return len(last) == IN_A_ROW and all(risk is not None and risk <= epsilon for risk in last)
