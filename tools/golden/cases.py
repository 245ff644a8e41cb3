"""The register of invalid files."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """An invalid file. It breaks one rule, and all its checksums are right unless they are the rule.

    Attributes:
        rule: the section of the format, and the rule.
        error: a regular expression that ternzip's message must match: place and problem.
        data: the file.
    """

    rule: str
    error: str
    data: bytes


INVALID: dict[str, Case] = {}


def add(name: str, rule: str, error: str, data: bytes) -> None:
    if name in INVALID:
        raise AssertionError(f"two invalid files are named {name}")
    INVALID[name] = Case(rule, error, data)
