"""The blocks of docs/huggingface.md run, one after the other, on a random-weight model."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from test_documents import blocks, run

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TERNZIP_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        vocab_size=32,
        bos_token_id=1,
        eos_token_id=2,
    )
    transformers.LlamaForCausalLM(config).save_pretrained("llama")
    found = blocks("docs/huggingface.md")
    assert {language for language, _ in found} == {"python", "sh"}
    scope = {"__name__": "__main__"}  # one for all blocks, as a reader would go through them
    for language, code in found:
        if language == "python":
            exec(compile(code, "docs/huggingface.md", "exec"), scope)
        else:
            run(code, language)
    assert torch.equal(scope["net"].layer.weight, type(scope["net"]).from_pretrained("net").layer.weight)  # type: ignore[attr-defined]
    assert torch.equal(
        scope["norm"],  # type: ignore[arg-type]
        scope["ternary"].model.norm.weight,  # type: ignore[attr-defined]
    )
