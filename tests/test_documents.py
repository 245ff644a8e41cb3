"""The code in README.md and docs/guide.md does what it says: every block runs, but for those marked `not run`."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import readme_tables
from typer.testing import CliRunner

from ternzip.cli.app import app

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"(?P<mark><!--[^\n]*-->\n)?^```(?P<language>python|sh)\n(?P<code>.*?)^```$", re.M | re.S)


def blocks(document: str) -> list[tuple[str, str]]:
    """(language, code) of what is to be run, in order."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return [(m["language"], m["code"]) for m in BLOCK.finditer(text) if "not run" not in (m["mark"] or "")]


def run(code: str, language: str) -> None:
    """One block, in this process: a fresh one for each would spend its time importing torch."""
    if language == "python":
        exec(compile(code, "document", "exec"), {"__name__": "__main__"})
        return
    for line in filter(None, (shlex.split(line, comments=True) for line in code.splitlines())):
        assert line[0] == "ternzip", code
        result = CliRunner().invoke(app, line[1:], catch_exceptions=False)
        assert result.exit_code == 0, f"{shlex.join(line)}\n{result.output}"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning:lightning.*")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The `srun` command")
def test_the_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("lightning", "matplotlib", "sklearn"):
        pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    found = blocks("docs/guide.md")
    assert {language for language, _ in found} == {"python", "sh"}
    for language, code in found:
        run(code, language)


def test_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    python = [code for language, code in blocks("README.md") if language == "python"]
    assert python
    for code in python:
        run(code, "python")


@pytest.mark.parametrize("document", ["README.md", "docs/guide.md"])
def test_tables_are_what_was_measured(document: str) -> None:
    assert readme_tables.updated(document) == (ROOT / document).read_text(encoding="utf-8")
