"""What the paper claims, asked of the finished runs: each answer with its numbers, or with what it waits for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from reproduce_plan import (
    FULL_PRECISION,
    LOG_BOTH,
    SHORT,
    SHORT_BOTH,
    SHORT_HALF,
    SHORT_HALF_NORMS,
    SHORT_NORMS,
)

Row = Mapping[str, Any]
KB = 1000


def answers(rows: Sequence[Row]) -> list[list[str]]:
    """(question, answer) for each question, of the last epoch's means over the seeds that are finished."""
    last = {row["method"]: row for row in rows if row["epoch"] == "last"}
    found = []
    asked = (
        QUESTIONS + OF_LOG_WITH_BOTH * (LOG_BOTH in last) + OF_THE_LEARNED + OF_THE_ABLATION * (SHORT in last)
    )
    for question, methods, answer in asked:
        missing = [name for name in methods if name not in last]
        found.append(
            [question, f"waits for {', '.join(missing)}" if missing else answer(*(last[m] for m in methods))]
        )
    return found


def _falls(key: str) -> Callable[..., str]:
    """Whether a figure falls from each method to the next; of accuracies, by more than those of single runs deviate."""

    def answer(*rows: Row) -> str:
        numbers = ", ".join(f"{row['method']} {100 * row[key]:.2f}" for row in rows)
        pairs = [(one[key] - two[key], _deviation(one, two)) for one, two in pairwise(rows)]
        plain = "no" if any(gap <= 0 for gap, _ in pairs) else "yes"
        if key != "accuracy":
            return f"{plain}: {numbers}"
        known = [(gap, deviation) for gap, deviation in pairs if deviation is not None]
        if len(known) < len(pairs):
            return f"{plain}, with too few seeds to tell it from chance: {numbers}"
        if any(gap < -deviation for gap, deviation in known):
            return f"no: {numbers}"
        if any(gap <= deviation for gap, deviation in known):
            return f"{plain}, within the deviation: {numbers}"
        return f"yes: {numbers}"

    return answer


def _deviation(one: Row, two: Row) -> float | None:
    """Of the difference of two single runs."""
    deviations = one["accuracy_deviation"], two["accuracy_deviation"]
    return None if None in deviations else sum(value**2 for value in deviations) ** 0.5


def _near(largest: int) -> Callable[[Row, Row], str]:
    """Whether a method's file is of at most so many kB, while it loses at most 4 points and has 80 % zeros."""

    def answer(_: Row, row: Row) -> str:
        if row["loss"] is None:
            return f"waits for a seed that {row['method']} and {FULL_PRECISION} both have"
        loss, zeros, size = 100 * row["loss"], 100 * row["zeros"], row["file"] / KB
        holds = loss <= 4 and zeros >= 80 and size <= largest
        return f"{'yes' if holds else 'no'}: {loss:.2f} points, {zeros:.2f} % zeros, {size:.1f} kB"

    return answer


def _learned(*rows: Row) -> str:
    holds = all(0.3 <= row["zeros"] <= 0.75 for row in rows)
    return f"{'yes' if holds else 'no'}: " + ", ".join(
        f"{r['method']} {100 * r['zeros']:.2f} %" for r in rows
    )


def _smaller(alone: Row, both: Row) -> str:
    """By the last epochs, as a single one swings by more than what is asked for."""
    holds = both["late"] >= alone["late"] and both["file"] <= 18 * KB
    return f"{'yes' if holds else 'no'}: " + ", ".join(
        f"{row['method']}: {100 * row['late']:.2f} ± {100 * row['swing']:.2f} %, {row['file'] / KB:.1f} kB"
        for row in (alone, both)
    )


Questions = tuple[tuple[str, tuple[str, ...], Callable[..., str]], ...]
QUESTIONS: Questions = (
    ("accuracy, %: log > linear > binary", ("log", "linear", "binary"), _falls("accuracy")),
    ("zeros, %: log > fixed", ("log", "fixed"), _falls("zeros")),
    (
        "log within 4 points of full precision, at 80 % zeros and more, the file at most 24 kB",
        (FULL_PRECISION, "log"),
        _near(24),
    ),
)
OF_THE_LEARNED: Questions = (("EC2T and TTQ: 30 to 75 % zeros", ("EC2T", "TTQ"), _learned),)
OF_LOG_WITH_BOTH: Questions = (
    (
        "the same of log with a price of bits and a teacher, the file at most 18 kB",
        (FULL_PRECISION, LOG_BOTH),
        _near(18),
    ),
)
OF_THE_ABLATION: Questions = (
    (
        "short runs: a price of bits and a teacher lose nothing in the last epochs, the file at most 18 kB",
        (SHORT, SHORT_BOTH),
        _smaller,
    ),
    (
        "the same at half the price",
        (SHORT, SHORT_HALF),
        _smaller,
    ),
    (
        "half the price without a teacher, batch norm's statistics anew after every epoch of both",
        (SHORT_NORMS, SHORT_HALF_NORMS),
        _smaller,
    ),
)
