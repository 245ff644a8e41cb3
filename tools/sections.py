"""Benchmark results in sections that may be measured at different times: each has its own date and machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from machine import provenance

from ternzip.io.atomic import atomic_file


def merge_sections(
    path: Path, sections: dict[str, dict[str, Any]], *, keep_others: bool = False
) -> dict[str, Any]:
    """Puts what was just measured into the JSON at `path`, beside its other sections; returns all of it.

    With `keep_others`, rows of a section whose "input" was not measured now stay, each with a "measured" that
    says when and with what it was.
    """
    found: dict[str, Any] = {"sections": {}}
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
    for name, section in sections.items():
        old = found["sections"].get(name)
        found["sections"][name] = {**provenance(), **section}
        if keep_others and old is not None:
            found["sections"][name]["results"] = _joined(old, section["results"])
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as stream:
        stream.write((json.dumps(found, indent=2) + "\n").encode())
    return found


def _joined(old: dict[str, Any], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    new = {row["input"]: row for row in rows}
    origin = {key: old[key] for key in ("date", "machine", "versions")}
    kept = [new.pop(row["input"], {"measured": origin, **row}) for row in old["results"]]
    return kept + list(new.values())
