"""Every picture and every table of figures in the repository opens: nothing was cut off while it was written.

And all that people write is clean at the ends of its lines.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Folders that hold files of ours; caches, builds and environments beside them are somebody else's.
FOLDERS = ("csrc", "docs", "examples", "ternzip", "tests", "tools")


def committed(suffix: str) -> list[Path]:
    """All files of that kind, at the root and in the folders."""
    inside = (path for folder in FOLDERS for path in (ROOT / folder).rglob(f"*{suffix}"))
    return sorted([*ROOT.glob(f"*{suffix}"), *inside])


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", committed(".svg"), ids=relative)
def test_svg_parses(path: Path) -> None:
    root = xml.etree.ElementTree.parse(path).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(root)


@pytest.mark.parametrize("path", committed(".png"), ids=relative)
def test_png_opens(path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    with image.open(path) as picture:
        picture.load()  # every pixel: the header alone says nothing of a file that was cut off


@pytest.mark.parametrize("path", committed(".json"), ids=relative)
def test_json_parses(path: Path) -> None:
    assert json.loads(path.read_text(encoding="utf-8"))


WRITTEN = (
    ".py",
    ".pyi",
    ".md",
    ".toml",
    ".cpp",
    ".hpp",
    ".h",
    ".c",
    ".cu",
    ".cuh",
    ".txt",
    ".cmake",
    ".cff",
    ".css",
    ".sh",
)


def test_lines_end_cleanly() -> None:
    found = []
    for path in (path for suffix in WRITTEN for path in committed(suffix)):
        data = path.read_bytes()
        if b" \n" in data or b"\r" in data or (data and not data.endswith(b"\n")) or data.endswith(b"\n\n"):
            found.append(relative(path))
    assert found == []


def test_there_is_something_to_check() -> None:
    assert committed(".svg")
    assert len(committed(".json")) > 10
