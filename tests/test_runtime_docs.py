"""The examples of docs/runtime.md do what they say, and its options are those of the commands."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_documents import blocks, run

TEXT = (Path(__file__).parents[1] / "docs" / "runtime.md").read_text(encoding="utf-8")


def test_the_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = blocks("docs/runtime.md")
    python = [code for language, code in found if language == "python"]
    shell = [code for language, code in found if language == "sh"]
    assert (len(python), len(shell)) == (3, 1)
    threads = torch.get_num_threads()
    try:
        run("\n".join(python), "python")
        run(shell[0], "sh")
    finally:
        torch.set_num_threads(threads)


def test_figures_of_the_text_are_those_of_the_code() -> None:
    from ternzip.runtime.choice import SPARSE_DENSITY
    from ternzip.runtime.layers import BLOCK_CODES

    assert f"up to {SPARSE_DENSITY:.0%}".replace("%", " %") in TEXT.replace("\n", " ")
    assert f"about {BLOCK_CODES} weights" in TEXT
