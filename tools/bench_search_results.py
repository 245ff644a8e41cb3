"""Where the figures of bench_search.py are written to, row by row, so that an interrupted run can go on."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

import machine

from ternzip.search import SearchResult, parse_size

OUT = Path(os.environ.get("TERNZIP_BENCH_OUT") or Path(__file__).parents[1] / "docs" / "benchmarks")


def write(name: str, figures: dict[str, Any]) -> None:
    path = OUT / f"search_{name}.json"
    path.write_text(
        json.dumps({**machine.provenance(), "threads": 1, **figures}, indent=2) + "\n", encoding="utf-8"
    )
    print(path)


def commit() -> str:
    """Of the code that measures; sizes depend on its codecs."""
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    return found.stdout.strip() or "unknown"


def known_rows(name: str, about: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows that an earlier, interrupted run has measured in the same way."""
    path = OUT / f"search_{name}.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    same = all(found.get(key) == value for key, value in about.items())
    return list(found.get("rows", [])) if same else []


def is_known(rows: list[dict[str, Any]], what: str, target: str | None, engine: str, seed: int) -> bool:
    """Whether a row of that search is among them."""
    size = None if target is None else parse_size(target)
    wanted = (what, size, engine, seed)
    return any((r["compressor"], r["target_bytes"], r["engine"], r["seed"]) == wanted for r in rows)


def summary(result: SearchResult) -> dict[str, Any]:
    """What of a search goes into a table."""
    return {
        "target_bytes": result.target,
        "engine": result.settings["engine"],
        "bytes": result.best.bytes,
        "share_of_float32": result.best.bytes / result.dense.bytes,
        "evaluations": len(result.visited),
        "seconds": result.seconds,
        "certified": result.certificate is not None,
        "refused_confirmations": sum(not c.held for c in result.confirmations),
        "dense": asdict(result.dense),
        "found": asdict(result.best),
        "uniform": asdict(result.uniform),
        "finetuned": None if result.finetuned is None else asdict(result.finetuned),
        "layers": {name: layer.label for name, layer in result.network.layers.items()},
    }
