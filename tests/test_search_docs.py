"""The example of docs/model-search.md does what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
import readme_tables
import search_tables
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


def row(
    engine: str, seed: int, accuracy: float, target: int = 96_000, binding: bool = True
) -> dict[str, object]:
    """What the table of engines needs of a search; the uniform setting has 70 %."""
    sizes = {"found": {"accuracy": accuracy, "bytes": 95_900}, "uniform": {"accuracy": 0.7, "bytes": 95_800}}
    return {
        "compressor": "all",
        "target_bytes": target,
        "binding": binding,
        "engine": engine,
        "seed": seed,
        "finetuned": None,
        **sizes,
    }


def test_engines_are_compared_in_pairs() -> None:
    """Same method, size and seed; searches that no size binds are one search, however many sizes there are."""
    rows = [row("pac", 0, 0.71), row("pac", 1, 0.73), row("tpe", 0, 0.72), row("tpe", 2, 0.99)]
    assert search_tables._ahead(rows, "tpe") == "-1.00 (1)"
    assert search_tables._ahead(rows, None) == "+2.00 ± 1.00 (2)"
    assert search_tables._ahead(rows, "random") == ""
    unbound = [row(engine, 0, 0.7, size, False) for engine in ("pac", "tpe") for size in (64_000, 96_000)]
    assert search_tables._ahead([*rows, *unbound], "tpe") == "-0.50 ± 0.50 (2)"
    assert search_tables._mean_and_spread(rows[:2]) == "72.00% ± 1.41"


def test_files_beyond_their_size_stop_the_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    for module in ("botorch", "optuna"):
        pytest.importorskip(module)
    from bench_search_resnet import check_size

    check_size(row("pac", 0, 0.7))
    assert capsys.readouterr().out == ""
    with pytest.raises(SystemExit, match="all, pac: found: 95,900 bytes of 95,899"):
        check_size(row("pac", 0, 0.7, 95_899))
    check_size(row("pac", 0, 0.7, 96_300))
    assert capsys.readouterr().out == "all, pac: uniform: only 95,800 bytes of 96,300\n"
    check_size(row("pac", 0, 0.7, 160_000, binding=False))
    assert capsys.readouterr().out == ""
