"""Fixtures of the tests of the command line; conftest.py hands them out."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from cli_run import Result, Run, a_model

import ternzip
from ternzip.cli import main


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Runs the command line in this process."""

    def call(*arguments: object, stdin: bytes = b"") -> Result:
        monkeypatch.setattr(sys, "argv", ["ternzip", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        monkeypatch.setenv("COLUMNS", "200")
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        sys.stdout.flush()
        out, err = capfdbinary.readouterr()
        code = caught.value.code
        assert code is None or isinstance(code, int)
        return Result(code or 0, out, err.decode())

    return call


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not list(tmp_path.rglob("*.part"))  # no test may leave half a file behind


@pytest.fixture
def model(folder: Path) -> dict[str, torch.Tensor]:
    """model.pt in the current folder."""
    tensors = a_model()
    torch.save({"state_dict": tensors, "epoch": 3}, "model.pt")
    return tensors


@pytest.fixture
def tnz(folder: Path) -> Path:
    """model.tnz in the current folder, with metadata."""
    ternzip.save_file(a_model(), "model.tnz", metadata={"author": "someone"})
    return Path("model.tnz")
