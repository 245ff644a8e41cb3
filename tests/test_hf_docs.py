"""The blocks of docs/huggingface.md run, one after the other, on a random-weight model."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from test_documents import blocks, run

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")

from small_llama import small_llama


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TERNZIP_CACHE", str(tmp_path / "cache"))
    small_llama(32).save_pretrained("llama")
    found = blocks("docs/huggingface.md")
    assert {language for language, _ in found} == {"python", "sh"}
    scope = {"__name__": "__main__"}  # one for all blocks, as a reader would go through them
    for language, code in found:
        if language == "python":
            exec(compile(code, "docs/huggingface.md", "exec"), scope)
        else:
            run(code, language)
    logged = [entry["delta"] for entry in scope["trainer"].state.log_history if "loss" in entry]  # type: ignore[attr-defined]
    assert logged == pytest.approx([0.6, 0.7])
    assert torch.equal(scope["net"].layer.weight, type(scope["net"]).from_pretrained("net").layer.weight)  # type: ignore[attr-defined]
    assert torch.equal(
        scope["norm"],  # type: ignore[arg-type]
        scope["ternary"].model.norm.weight,  # type: ignore[attr-defined]
    )
