"""Help, bad usage, words, and where errors go."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
import torch
from cli_run import Result, Run, python

import ternzip
from ternzip._core.text import listed
from ternzip.cli import main
from ternzip.cli.console import one_line, plural, progress_bar


def test_help_and_version(run: Run) -> None:
    for arguments in (["--help"], ["-h"]):
        result = run(*arguments)
        assert result.status == 0
        for command in ("compress", "decompress", "inspect", "verify"):
            assert command in result.text
    result = run("compress", "-h")
    assert result.status == 0
    for option in ("--codec", "--merge-zeros", "--ternarize", "--force", "--json"):
        assert option in result.text
    assert run("--version") == Result(0, f"ternzip {ternzip.__version__}\n".encode(), "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["shrink", "model.pt"],
        ["compress"],
        ["compress", "model.pt", "a.tnz", "--output", "b.tnz"],
        ["compress", "model.pt", "a.onnx"],
        ["compress", "model.tnz", "model.tnz"],
        ["compress", "model.pt", "-", "model.tnz"],
        ["compress", "model.pt", "model.ckpt", "model.safetensors"],
        ["compress", "model.pt", "--codec", "zip"],
        ["compress", "model.pt", "--threads", "0"],
        ["compress", "model.pt", "--threads", "many"],
        ["compress", "model.pt", "--quality", "9"],
        ["decompress"],
        ["decompress", "model.tnz", "model.onnx"],
        ["decompress", "model.tnz", "model"],
        ["inspect"],
        ["verify"],
        ["verify", "model.tnz", "--against"],
        ["--wrong"],
    ],
    ids=" ".join,
)
def test_bad_usage(run: Run, model: dict[str, torch.Tensor], tnz: Path, arguments: list[str]) -> None:
    before = sorted(Path().iterdir())
    result = run(*arguments)
    assert result.status == 2
    assert result.out == b""
    assert result.err
    assert sorted(Path().iterdir()) == before


def test_no_command_shows_the_help(run: Run) -> None:
    result = run()
    assert result.status == 2
    assert "compress" in result.text + result.err


def test_debug_shows_the_traceback(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["--debug", "inspect", "missing.tnz"], ["inspect", "missing.tnz", "--debug"]):
        monkeypatch.setattr(sys, "argv", ["ternzip", *arguments])
        with pytest.raises(ternzip.TernzipError, match=r"missing\.tnz: cannot read"):
            main()
    done = python("-m", "ternzip", "inspect", "missing.tnz", "--debug")
    assert done.returncode == 1
    assert b"Traceback (most recent call last)" in done.stderr
    assert b"TernzipError: missing.tnz: cannot read" in done.stderr
    assert capfd.readouterr() == ("", "")


def test_words() -> None:
    assert [plural(n, "tensor") for n in (0, 1, 2, 3000)] == [
        "0 tensors",
        "1 tensor",
        "2 tensors",
        "3,000 tensors",
    ]
    assert listed(["a", "b"]) == "a, b"
    assert listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
    assert one_line("a\tb\x7f\ud800\u00e9") == "a\\tb\\x7f\\ud800\u00e9"


def test_a_progress_bar_only_where_somebody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    with progress_bar("compress", 10) as progress:
        assert progress is None

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress_bar("compress", 10) as progress:
        assert progress is not None
        progress("w", 10)
