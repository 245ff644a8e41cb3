"""docs/format-example.md lists the bytes of a golden file: those that are there now, every one of them, once."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import annotate_file
import pytest

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "tests" / "golden" / "valid" / "example.tnz"
PAGE = ROOT / "docs" / "format-example.md"
LINE = re.compile(r"^ *(\d+)  ((?:[0-9a-f]{2} ?)+)", re.M)


def test_the_page_lists_the_file() -> None:
    (listing,) = annotate_file.LISTING.findall(PAGE.read_text("utf-8"))
    assert listing == annotate_file.annotated(EXAMPLE.read_bytes())


def test_the_listing_has_every_byte_once() -> None:
    found = [(int(at), bytes.fromhex(text)) for at, text in LINE.findall(PAGE.read_text("utf-8"))]
    position = 0
    for at, part in found:
        assert at == position
        position += len(part)
    assert b"".join(part for _, part in found) == EXAMPLE.read_bytes()


def test_the_tool_renews_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n```text\nstale\n```\nafter\n", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["annotate_file.py", str(EXAMPLE), "--into", str(page)])
    assert annotate_file.main() == 0
    listing = annotate_file.annotated(EXAMPLE.read_bytes())
    assert page.read_text("utf-8") == f"before\n```text\n{listing}```\nafter\n"


@pytest.mark.parametrize("name", ["levels-per-row", "zero-signs", "planes-types", "names", "codec-static"])
def test_what_it_does_not_know_it_refuses(name: str) -> None:
    with pytest.raises(SystemExit, match="expected"):
        annotate_file.annotated(EXAMPLE.with_stem(name).read_bytes())
