"""Puts measured figures into the README: each table between its markers is made from a benchmark's JSON.

    python tools/readme_tables.py [--check]

With --check nothing is written; the exit status is 1 if a table is not what its JSON says.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BENCHMARKS = ROOT / "docs" / "benchmarks"


def _measured(result: dict[str, Any]) -> str:
    machine = result["machine"]
    return f"Measured on {result['date']}, {machine['processor']}, {machine['cores']} cores, {machine['system']}."


def files_table(result: dict[str, Any]) -> str:
    """Whole checkpoint files: sizes in bytes, and bits a ternary weight."""
    general = list(result["files"][0]["general"])
    head = ["checkpoint", "zeros", "as it is", *general, "**ternzip**", "bits/weight", "order-0 entropy"]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for row in result["files"]:
        if not row["weights"]:
            continue
        ours = row["ternzip"]["auto"]
        cells = [
            f"`{row['file']}`",
            f"{100 * row['sparsity']:.1f} %",
            f"{row['bytes']:,}",
            *(f"{row['general'][name]:,}" for name in general),
            f"**{ours['bytes']:,}**",
            f"{ours['bits_per_weight']:.4f}",
            f"{8 * row['predicted_bytes'] / row['weights']:.4f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", f"Bytes of whole files, every bit restored. {_measured(result)}"])


def codecs_table(result: dict[str, Any]) -> str:
    """Ternary payloads alone: bits a weight, and decoding in millions of weights a second, one thread."""
    section = result["sections"]["checkpoints"]
    inputs = section["results"]
    names = sorted(inputs[-1]["coders"], key=lambda name: inputs[-1]["coders"][name]["bits_per_weight"])
    head = ["coder", *(f"{one['input']}: bits/weight | decode" for one in inputs)]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (2 * len(inputs)) + "|"]
    for name in names:
        cells = [f"**{name}**" if name.startswith("ternzip") else name]
        for one in inputs:
            coder = one["coders"][name]
            cells += [f"{coder['bits_per_weight']:.4f}", f"{coder['decode_per_second'] / 1e6:,.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    note = "Symbols only, without levels and counts; decoding in 10^6 weights/s on one core."
    return "\n".join([*lines, "", f"{note} {_measured(section)}"])


TABLES: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
    "files": ("files.json", files_table),
    "codecs": ("codec.json", codecs_table),
}


def updated(text: str) -> str:
    """The README with every table made anew."""
    for name, (source, make) in TABLES.items():
        table = make(json.loads((BENCHMARKS / source).read_text(encoding="utf-8")))
        pattern = rf"(<!-- table: {name} -->\n).*?(<!-- end -->)"
        text, count = re.subn(pattern, lambda m, t=table: m[1] + t + "\n" + m[2], text, flags=re.DOTALL)  # type: ignore[misc]
        if count != 1:
            sys.exit(f"{README.name}: expected one table {name!r}, found {count}")
    return text


def main() -> None:
    text = README.read_text(encoding="utf-8")
    new = updated(text)
    if "--check" in sys.argv[1:]:
        sys.exit(
            0
            if new == text
            else f"{README.name}: tables differ from docs/benchmarks; run tools/readme_tables.py"
        )
    README.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
