"""`ternzip train --fast`: compiled, in bfloat16 where the device has it, in memory that is kept."""

from __future__ import annotations

import functools
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cli_run import Run

pytest.importorskip("lightning")

from training_fixtures import WARNINGS

from ternzip.training import fast, memory
from ternzip.training import trainer as training
from ternzip.training.recipe import Recipe
from ternzip.training.runs import read_run_folder

pytestmark = WARNINGS


@pytest.mark.slow
def test_a_fast_run_learns_what_the_exact_one_does(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiled network is the same network: without dropout and in float32, the loss differs in rounding only."""
    exact = recipe.with_options({"epochs": 1, "dropout": 0.0, "precision": "32"})
    training.train(exact, tmp_path / "exact")
    training.train(exact.with_options({"fast": True}), tmp_path / "fast")
    first, second = (read_run_folder(tmp_path / name).epochs[1] for name in ("exact", "fast"))
    assert second["loss_epoch"] == pytest.approx(first["loss_epoch"], abs=1e-4)


def test_fast_needs_no_compiler(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler(*args: object, **options: object) -> None:
        raise RuntimeError("no C++ compiler found")

    torch.compiler.reset()
    compiled = functools.partial(torch.compile, backend=no_compiler)
    monkeypatch.setattr(torch, "compile", compiled)
    with pytest.warns(UserWarning, match="--fast: not compiled, so training is slower: .*no C"):
        training.train(recipe.with_options({"fast": True}), tmp_path / "fast")
    monkeypatch.setattr(fast, "computes_in_bfloat16", lambda accelerator: True)
    assert [
        fast.precision_of(r) for r in (Recipe(), Recipe(fast=True), Recipe(fast=True, precision="64"))
    ] == [
        "32",
        "bf16-mixed",
        "64",
    ]
    monkeypatch.setattr(fast, "computes_in_bfloat16", lambda accelerator: False)
    assert fast.precision_of(Recipe(fast=True)) == "32"


FAULTS = """
import resource
from ternzip.training.memory import keep_freed_memory
print(keep_freed_memory())
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = b"x" * (40 << 20)
    del block
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's allocator")
def test_memory_that_is_freed_is_kept() -> None:
    """A block of 40 MiB costs ten thousand page faults each time, or none but the first."""
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    kept, faults = done.stdout.split()
    assert kept == "True"
    assert int(faults) < 1000


def test_only_a_fast_command_keeps_its_memory(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[None] = []
    monkeypatch.setattr(memory, "keep_freed_memory", lambda: calls.append(None))
    absent = ("--data", tmp_path / "absent", "--out", tmp_path / "run")
    assert run("train", *absent).status == 1
    assert not calls
    assert run("train", "--fast", *absent).status == 1
    assert len(calls) == 1
