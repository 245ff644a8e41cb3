#!/usr/bin/env python3
"""Write the golden files of tests/golden: valid ones that every later release must read, invalid ones, test vectors.

A valid file, or vector, that exists is never changed without --force: bytes that differ are another version of the
format, or another version of the zstd library, and then the old file is worth more than the new one.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from golden.catalog import INVALID, VALID
from golden.valid import expectation
from golden.vectors import vectors

FOLDER = Path(__file__).parents[1] / "tests" / "golden"


def write_valid(folder: Path, *, force: bool) -> list[str]:
    """Write what is missing; return the names of the files that exist and would change."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = []
    for name, make in VALID.items():
        golden = make()
        expected = json.dumps(expectation(golden), indent=1, ensure_ascii=True) + "\n"
        for path, content in [
            (folder / f"{name}.tnz", golden.data),
            (folder / f"{name}.json", expected.encode()),
        ]:
            if path.exists() and path.read_bytes() != content and not force:
                kept.append(path.name)
            else:
                path.write_bytes(content)
    return kept


def write_vectors(path: Path, *, force: bool) -> list[str]:
    """Write the test vectors of the codecs, one a line; return the file's name if it exists and would change."""
    lines = ",\n".join(json.dumps(vector) for vector in vectors())
    content = f"[\n{lines}\n]\n".encode()
    if path.exists() and path.read_bytes() != content and not force:
        return [path.name]
    path.write_bytes(content)
    return []


def write_invalid(folder: Path) -> None:
    """Write all invalid files anew, and remove those that are no longer made."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.tnz"):
        if old.stem not in INVALID:
            old.unlink()
    expected = {}
    for name, case in INVALID.items():
        (folder / f"{name}.tnz").write_bytes(case.data)
        expected[name] = {"rule": case.rule, "error": case.error}
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the golden files of tests/golden.")
    parser.add_argument("--force", action="store_true", help="change valid files and vectors that exist")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="default: tests/golden")
    arguments = parser.parse_args()
    kept = write_valid(arguments.folder / "valid", force=arguments.force)
    kept += write_vectors(arguments.folder / "vectors.json", force=arguments.force)
    write_invalid(arguments.folder / "invalid")
    for name in kept:
        print(f"{name}: exists and would change; left as it is (--force changes it)", file=sys.stderr)
    return 1 if kept else 0


if __name__ == "__main__":
    raise SystemExit(main())
