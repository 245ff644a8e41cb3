"""The example of docs/model-search.md does what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
import readme_tables
from test_documents import blocks


def test_the_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("botorch", "matplotlib", "optuna", "sklearn"):
        pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    found = [code for language, code in blocks("docs/model-search.md") if language == "python"]
    assert len(found) == 2
    exec(compile("\n".join(found), "docs/model-search.md", "exec"), {"__name__": "__main__"})
    names = {path.name for path in tmp_path.iterdir()}
    assert {"digits.tnz", "digits.report.md", "digits.report.svg", "digits.study.db"} <= names


def test_tables_are_what_was_measured() -> None:
    document = Path(__file__).parents[1] / "docs" / "model-search.md"
    assert readme_tables.updated("docs/model-search.md") == document.read_text(encoding="utf-8")


def test_every_option_is_described() -> None:
    import typer.main

    from ternzip.cli.app import app

    command = typer.main.get_command(app).commands["search"]  # type: ignore[attr-defined]
    text = (Path(__file__).parents[1] / "docs" / "model-search.md").read_text(encoding="utf-8")
    for parameter in command.params:
        for flag in parameter.opts:
            if flag.startswith("--") and flag != "--help":
                assert f"`{flag}`" in text, flag
