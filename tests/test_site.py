"""The site: every block of code on its pages runs somewhere, every public name is in its reference, no link is dead."""

from __future__ import annotations

import re
from pathlib import Path

import check_site
import command_reference
import pytest
import typer.main
from test_documents import BLOCK, NOT_RUN, ROOT

import ternzip
from ternzip.cli.app import app

PAGES = [path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]]
# Where the blocks of a page run.
RUN_BY = {
    "CONTRIBUTING.md": "test_documents.py",
    "README.md": "test_documents.py",
    "docs/gguf.md": "test_gguf_files.py",
    "docs/guide.md": "test_documents.py",
    "docs/huggingface.md": "test_hf_docs.py",
    "docs/model-search.md": "test_search_docs.py",
    "docs/runtime.md": "test_runtime_docs.py",
}
# Blocks without a language, and in these, are bytes, formulas, output, or of Sphinx; those in C are compiled and run by
# test_c_library_installed.py.
NOT_CODE = {"", "text", "console", "{toctree}", "{literalinclude}", "{eval-rst}", "c"}
FENCE = re.compile(r"^```+(?P<language>[^`\n]*)\n.*?^```+$", re.M | re.S)
REFERENCE = ROOT / "docs" / "reference"


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_run_or_says_why_not(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    runs = {match.end() for match in BLOCK.finditer(text)}
    for fence in FENCE.finditer(text):
        language = (fence["language"].split() or [""])[0]
        assert language in NOT_CODE or fence.end() in runs, f"a block of {language!r}: nothing runs these"
    to_run = [match for match in BLOCK.finditer(text) if not NOT_RUN.match(match["mark"] or "")]
    assert bool(to_run) == (page in RUN_BY), page
    if to_run:
        assert f'"{page}"' in (ROOT / "tests" / RUN_BY[page]).read_text(encoding="utf-8")


def test_the_reference_has_every_public_name() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in REFERENCE.glob("*.md"))
    found = re.findall(r"auto(?:function|class|exception|module):: ternzip\.(\S+)", text)
    assert set(ternzip.__all__) - set(found) == {"__version__"}


def test_the_command_page_has_every_option() -> None:
    sections = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", command_reference.markdown(), re.M | re.S))
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert list(sections) == list(commands)
    for name, command in commands.items():
        for flag in (flag for option in command.params for flag in option.opts if flag.startswith("--")):
            assert f"{flag} " in sections[name] or f"{flag}`" in sections[name], f"{name} {flag}"


def test_dead_links_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "index.html").write_text(
        '<a href="a.html#here">1</a><a href="#top">2</a><a href="https://example.org/">3</a><p id="top">'
    )
    (tmp_path / "a.html").write_text('<p id="here"><a href="index.html">4</a>')
    assert check_site.main(tmp_path) == 0
    assert capsys.readouterr().out == "https://example.org/\n"
    (tmp_path / "a.html").write_text('<a href="b.html">5</a><img src="c.svg"><a href="#nowhere">6</a>')
    assert check_site.main(tmp_path) == 1
    dead = capsys.readouterr().err.splitlines()
    expected = ["a.html: #nowhere", "a.html: b.html", "a.html: c.svg", "index.html: a.html#here"]
    assert dead == [f"dead link: {link}" for link in expected]


def test_a_folder_without_a_site_is_no_site(tmp_path: Path) -> None:
    assert check_site.main(tmp_path) == 1
