"""Sources and destinations at the shell: several SRC, -o, and a source that is never replaced."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cli_run import Run, fails, misused, python
from samples import assert_same, trits

import ternzip


@pytest.fixture
def models(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """a.pt and b.pt in the current folder."""
    tensors = {name: {"w": trits(20, 20, seed=seed).float()} for seed, name in enumerate("ab")}
    for name, state in tensors.items():
        torch.save(state, f"{name}.pt")
    return tensors


@pytest.mark.usefixtures("models")
def test_several_sources_become_a_file_each(run: Run, models: dict[str, dict[str, torch.Tensor]]) -> None:
    """`compress -f *.pt` with two matches, of which the second once was taken for the destination."""
    before = {name: Path(f"{name}.pt").read_bytes() for name in models}
    result = run("compress", "-f", "a.pt", "b.pt")
    assert result.status == 0
    assert [line.split(" (")[0] for line in result.text.splitlines()] == ["a.pt", "b.pt"]
    for name, tensors in models.items():
        assert Path(f"{name}.pt").read_bytes() == before[name]
        assert_same(ternzip.load_file(f"{name}.tnz"), tensors)
        Path(f"{name}.pt").unlink()
    result = run("decompress", "a.tnz", "b.tnz")
    assert (result.status, len(result.text.splitlines())) == (0, 2)
    assert Path("a.pt").exists()
    assert Path("b.pt").exists()


def test_one_that_fails_does_not_stop_the_others(
    run: Run, models: dict[str, dict[str, torch.Tensor]]
) -> None:
    Path("bad.pt").write_bytes(b"bad")
    result = run("compress", "bad.pt", "a.pt", "b.pt")
    assert result.status == 1
    assert result.err.startswith("ternzip: error: bad.pt: ")
    assert result.err.count("\n") == 1
    assert_same(ternzip.load_file("b.tnz"), models["b"])
    value = run("compress", "-f", "bad.pt", "a.pt", "b.pt", "--json")
    assert value.status == 1
    files = value.json()["files"]
    assert value.json()["schema"] == 1
    assert [("error" in file, file["source"]) for file in files] == [
        (True, "bad.pt"),
        (False, "a.pt"),
        (False, "b.pt"),
    ]


@pytest.mark.usefixtures("models")
def test_the_source_is_never_replaced(run: Run) -> None:
    before = Path("a.pt").read_bytes()
    for arguments in (["-f", "a.pt", "a.pt"], ["-f", "a.pt", "-o", "a.pt"], ["-f", "a.pt", "-o", "./a.pt"]):
        result = run("compress", *arguments)
        assert result.status == ("-o" in arguments)
        assert len(result.text.splitlines()) == ("-o" not in arguments)  # a name given twice is done once
        assert Path("a.pt").read_bytes() == before
    fails(run("compress", "-f", "a.pt", "-o", "a.pt"), "a.pt: cannot write: it is the source")
    Path("a.tnz").unlink(missing_ok=True)
    os.symlink("a.pt", "a.tnz")
    fails(run("compress", "-f", "a.pt"), "a.tnz: cannot write: it is the source")
    assert Path("a.pt").read_bytes() == before


@pytest.mark.usefixtures("models")
def test_two_files_are_never_guessed_to_be_source_and_destination(run: Run) -> None:
    assert run("compress", "a.pt", "b.pt").status == 0
    before = Path("b.tnz").read_bytes()
    misused(run("compress", "-f", "a.tnz", "b.tnz"), "b.tnz: a second SRC, or DST? Name DST with --output")
    assert Path("b.tnz").read_bytes() == before
    assert run("compress", "-f", "a.tnz", "-o", "b.tnz", "--codec", "packed").status == 0
    assert Path("b.tnz").read_bytes() != before
    misused(run("compress", "a.pt", "c"), "c: no such SRC, and DST is expected to end in .tnz")
    misused(
        run("decompress", "a.tnz", "c.onnx"),
        "DST is expected to end in .pt or .pth or .safetensors or .npz or .npy or .gguf",
    )
    misused(
        run("decompress", "a.tnz", "-o", "c.onnx"),
        "expected a name ending in .pt, .pth, .safetensors, .npz, .npy or .gguf",
    )


@pytest.mark.usefixtures("models")
def test_two_sources_of_one_name(run: Run) -> None:
    Path("a.ckpt").write_bytes(Path("a.pt").read_bytes())
    misused(run("compress", "a.pt", "a.ckpt"), "a.pt and a.ckpt would both become a.tnz")
    misused(run("compress", "a.pt", "-", "b.pt"), "- cannot be one of several SRC")
    misused(run("compress", "a.pt", "b.pt", "-o", "c.tnz"), "expected one SRC, found 2")
    assert not Path("a.tnz").exists()
    Path("real").mkdir()
    Path("link").symlink_to("real")
    for name in ("m.pt", "m.pth"):
        Path("real", name).write_bytes(Path("a.pt").read_bytes())
    for other in ("link/m.pth", "real/../real/m.pth", "./real/m.pth"):
        misused(run("compress", "-f", "--rm", "real/m.pt", other), "would both become")
    assert run("compress", "-f", "real/m.pt", "link/m.pt", "real/../real/m.pt").text.count("->") == 1


@pytest.mark.usefixtures("models")
def test_no_result_replaces_another_source_or_another_result(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of `decompress -f *` the .pt files are sources too, and no less so for being refused as such."""
    run("compress", "a.pt", "b.pt")
    before = Path("a.pt").read_bytes()
    for sources in (["a.pt", "a.tnz", "b.tnz"], ["a.tnz", "b.tnz", "a.pt"]):
        result = run("decompress", "-f", *sources)
        assert result.status == 1
        assert "a.pt: cannot write: it is a.pt, a source too: expected another name" in result.err
        assert Path("a.pt").read_bytes() == before
    # As on a disk that takes names in any case for one: both results would be the same file.
    Path("b.tnz").unlink()
    Path("b.tnz").symlink_to("a.tnz")
    result = run("compress", "-f", "--rm", "a.pt", "b.pt")
    assert "b.tnz: cannot write: it is what a.pt became: expected another name" in result.err
    assert not Path("a.pt").exists()
    assert Path("b.pt").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("command", ["compress", "inspect", "verify", "decompress"])
def test_a_named_pipe_as_source(models: dict[str, dict[str, torch.Tensor]], command: str) -> None:
    """It can be opened only once."""
    source = "a.pt"
    if command != "compress":
        ternzip.save_file(models["a"], "a.tnz")
        source = "a.tnz"
    os.mkfifo("pipe")
    writer = subprocess.Popen(
        [sys.executable, "-c", f"open('pipe', 'wb').write(open('{source}', 'rb').read())"]
    )
    target = {"compress": ["out.tnz"], "decompress": ["out.pt"]}.get(command, [])
    done = python("-m", "ternzip", command, "pipe", *target)
    assert writer.wait(60) == 0
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_source_may_not_be_a_device(run: Run) -> None:
    for command in ("compress", "inspect", "verify", "decompress"):
        fails(run(command, "/dev/null", *(["x.pt"] if command == "decompress" else [])), "found a device")
