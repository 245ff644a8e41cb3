"""The code in README.md and on the pages of docs runs, block by block, but for blocks marked `not run`."""

from __future__ import annotations

import glob
import re
import shlex
from pathlib import Path

import pytest
import readme_tables
import safetensors.torch
import torch
from typer.testing import CliRunner

import ternzip
from ternzip.cli.app import app

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"(?P<mark><!--[^\n]*-->\n)?^```(?P<language>python|sh)\n(?P<code>.*?)^```$", re.M | re.S)

# With a reason; the two commands of the README run in .ci/run.
NOT_RUN = re.compile(r"<!-- (not run: \S|command: )")


def blocks(document: str) -> list[tuple[str, str]]:
    """(language, code) of what is to be run, in order."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return [(m["language"], m["code"]) for m in BLOCK.finditer(text) if not NOT_RUN.match(m["mark"] or "")]


def run(code: str, language: str) -> None:
    """One block, in this process: a fresh one for each would spend its time importing torch."""
    if language == "python":
        exec(compile(code, "document", "exec"), {"__name__": "__main__"})
        return
    for line in filter(None, (shlex.split(line, comments=True) for line in code.splitlines())):
        assert line[0] == "ternzip", code
        line = [name for word in line for name in (sorted(glob.glob(word)) or [word])]
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
    weight = torch.randn(16, 16)
    for path in ("model.pt", "fp32.pt", "run/a.pt", "run/b.pt"):
        Path(path).parent.mkdir(exist_ok=True)
        torch.save({"weight": weight if path == "fp32.pt" else 0.1 * ternzip.ternarize(weight, 0.5)}, path)
    Path("llama").mkdir()
    Path("llama", "config.json").write_text("{}", encoding="utf-8")
    safetensors.torch.save_file({"weight": weight}, "llama/model.safetensors")

    found = blocks("README.md")
    assert {language for language, _ in found} == {"python", "sh"}
    for language, code in found:
        run(code, language)
    assert torch.equal(
        torch.load("again.pt", weights_only=True)["weight"], ternzip.load_file("model.tnz")["weight"]
    )
    assert Path("run/b.tnz").exists()
    assert Path("llama-tnz/config.json").exists()


def test_how_to_contribute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ((language, code),) = blocks("CONTRIBUTING.md")
    run(code, language)


@pytest.mark.parametrize("document", ["README.md", "docs/guide.md", "docs/runtime.md"])
def test_tables_are_what_was_measured(document: str) -> None:
    assert readme_tables.updated(document) == (ROOT / document).read_text(encoding="utf-8")
