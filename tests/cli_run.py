"""The command line run in this process or another, and what its results must look like."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from samples import alpha_sign_mask, trits
from typer.testing import CliRunner

from ternzip.cli import app


@dataclass
class Result:
    status: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    def json(self) -> Any:
        def no_constants(constant: str) -> None:
            raise AssertionError(f"{constant} is not JSON")

        return json.loads(self.out, parse_constant=no_constants)


Run = Callable[..., Result]


def ternzip_command(*arguments: object) -> str:
    """What the command prints; whatever it raises passes through."""
    result = CliRunner().invoke(
        app, [str(a) for a in arguments], catch_exceptions=False, env={"COLUMNS": "160"}
    )
    assert result.exit_code == 0, result.output
    return result.stdout


def fails(result: Result, *words: str) -> None:
    """Exit status 1, nothing on stdout, and one line on stderr that holds the words."""
    assert result.status == 1
    assert result.out == b""
    assert result.err.startswith("ternzip: error: ")
    assert result.err.count("\n") == 1
    for word in words:
        assert word in result.err


def misused(result: Result, *words: str) -> None:
    assert result.status == 2
    assert result.out == b""
    for word in words:
        assert word in result.err


def python(*arguments: str | bytes, **options: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, timeout=120, **options)


def a_model() -> dict[str, torch.Tensor]:
    weight = trits(16, 8, 3, 3).float() * 0.5
    return {
        "z.weight": weight,
        "masked": alpha_sign_mask(8, 9),
        "bias": torch.arange(8.0),
        "tied": weight,
        "steps": torch.tensor(3),
    }
