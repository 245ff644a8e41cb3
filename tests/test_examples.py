"""Every program of examples/ runs, and says something that is true."""

from __future__ import annotations

import re
import runpy
import tempfile
import warnings
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
# What each needs beside torch, and a part of what it prints.
PROGRAMS = {
    "bits_while_the_threshold_grows": ((), r"\n   12  0\.142 "),
    "compress_and_open_lazily": ((), "all tensors are back, bit for bit"),
    "huggingface_folder": (("transformers", "accelerate"), "the same bits"),
    "run_from_trits": ((), r"largest difference .*: \d\.\de-0[6-9]"),
    "search_to_a_size": (("botorch", "optuna", "sklearn"), r"best of \d+ settings:  [23],\d{3} bytes, [6-9]"),
    "train_in_your_own_loop": (("sklearn",), r"ternary +9\d\.\d% right,   \d,\d{3} bytes"),
}


def test_every_example_is_listed() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(PROGRAMS)
    for page in ("docs/examples.md", "examples/README.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        assert set(re.findall(r"(\w+)\.py\b", text)) >= set(PROGRAMS), page


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    needed, expected = PROGRAMS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of others, while they are imported
        for module in needed:
            pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TERNZIP_CACHE", str(tmp_path))  # put back what the example sets
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    try:
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    finally:
        torch.set_rng_state(state)
        torch.set_num_threads(threads)
    assert re.search(expected, capsys.readouterr().out)
