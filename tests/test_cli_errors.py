"""What the command line says of bad input and destinations: one line, exit status 1, nothing left behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import safetensors.torch
import torch
from cli_run import Run, fails
from samples import trits

import ternzip
from ternzip.cli.console import one_line


@pytest.mark.parametrize("command", ["compress", "decompress", "inspect", "verify"])
def test_sources_that_cannot_be_read(run: Run, folder: Path, command: str) -> None:
    fails(run(command, "missing.tnz"), "missing.tnz: cannot read: No such file or directory")
    Path("empty.tnz").touch()
    fails(run(command, "empty.tnz"), "empty.tnz: ")
    Path("garbage.tnz").write_bytes(b"\x00garbage" * 9)
    fails(run(command, "garbage.tnz"), "garbage.tnz: ")
    Path("folder.tnz").mkdir()
    fails(run(command, "folder.tnz", *(["x.pt"] if command == "decompress" else [])), "folder.tnz: ")
    fails(run(command, "x" * 5000), "x: ")
    Path("locked.tnz").write_bytes(b"x")
    Path("locked.tnz").chmod(0)
    if not os.access("locked.tnz", os.R_OK):
        fails(run(command, "locked.tnz"), "locked.tnz: cannot read: Permission denied")
    made = {"empty.tnz", "garbage.tnz", "folder.tnz", "locked.tnz"}
    assert {path.name for path in folder.iterdir()} == made


def test_damaged_sources_leave_no_file(run: Run, tnz: Path) -> None:
    whole = tnz.read_bytes()
    for data in (whole[:-1], whole[:40] + b"\xff" + whole[41:], whole[:9]):
        Path("bad.tnz").write_bytes(data)
        for arguments in (
            ["decompress", "bad.tnz"],
            ["decompress", "bad.tnz", "x.pt"],
            ["compress", "bad.tnz", "y.tnz"],
        ):
            fails(run(*arguments), "bad.tnz: ", "offset")
    assert {path.name for path in Path().iterdir()} == {"bad.tnz", "model.tnz"}


def test_destinations_that_cannot_be_written(run: Run, model: dict[str, torch.Tensor], tnz: Path) -> None:
    Path("folder").mkdir()
    Path("file").touch()
    for command, source, suffix in (("compress", "model.pt", ".tnz"), ("decompress", "model.tnz", ".pt")):
        fails(run(command, source, f"no/such/folder/x{suffix}"), "cannot write: no folder no/such/folder")
        fails(run(command, source, f"file/x{suffix}"), f"file/x{suffix}: cannot write")
        (Path("folder") / f"taken{suffix}").mkdir()
        fails(run(command, source, f"folder/taken{suffix}"), "cannot write: is a directory")
        fails(run(command, source, f"folder/taken{suffix}", "--force"), "cannot write: is a directory")
        fails(run(command, source, "x" * 300 + suffix), "ame too long")
    assert sorted(path.name for path in Path("folder").iterdir()) == ["taken.pt", "taken.tnz"]


def test_existing_destinations_are_only_replaced_on_demand(run: Run, model: dict[str, torch.Tensor]) -> None:
    Path("model.tnz").write_bytes(b"mine")
    fails(run("compress", "model.pt"), "model.tnz: exists already; it is only replaced with --force")
    assert Path("model.tnz").read_bytes() == b"mine"
    assert run("compress", "model.pt", "--force").status == 0
    Path("model.safetensors").write_bytes(b"mine")
    fails(run("decompress", "model.tnz", "model.safetensors"), "model.safetensors: exists already")
    assert Path("model.safetensors").read_bytes() == b"mine"
    before = Path("model.pt").read_bytes()
    fails(run("decompress", "model.tnz"), "model.pt: exists already")
    assert Path("model.pt").read_bytes() == before
    assert run("decompress", "model.tnz", "model.safetensors", "-f").status == 0
    assert len(safetensors.torch.load_file("model.safetensors")) == 5


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_devices_stay_devices(run: Run, model: dict[str, torch.Tensor]) -> None:
    result = run("compress", "model.pt", "--output", "/dev/full", "--force")
    fails(result, "/dev/full: cannot write: not a regular file")
    assert Path("/dev/full").is_char_device()


def test_pickles_that_run_code(run: Run, folder: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, ("ran",)

    torch.save({"w": torch.ones(2), "x": Evil()}, "evil.pt")
    fails(run("compress", "evil.pt"), "evil.pt: refused: expected tensors only", "mkdir")
    assert [path.name for path in folder.iterdir()] == ["evil.pt"]


def test_tensors_that_cannot_be_stored(run: Run, folder: Path) -> None:
    torch.save({"w": torch.ones(2), "meta\nline": torch.ones(2, device="meta")}, "odd.pt")
    fails(run("compress", "odd.pt"), r"odd.pt: tensor 'meta\nline': cannot store a meta tensor")
    ternzip.save_file({"c": torch.zeros(2, dtype=torch.complex128)}, "c.tnz")
    fails(run("decompress", "c.tnz"), "tensor 'c': .safetensors has no complex128: decompress to .pt")
    assert {path.name for path in folder.iterdir()} == {"odd.pt", "c.tnz"}


def test_control_characters_cannot_break_lines(run: Run, folder: Path) -> None:
    evil = "a\x1b[31m\nternzip: error: b\r\u2028\u202e[/red]"
    plain = one_line(evil)
    assert plain.isprintable()
    latent = f"{evil}.parametrizations.weight.original"
    torch.save({evil: trits(3, 50).float(), latent: torch.ones(3), f"{evil}!": 3}, "evil.pt")
    packed = run("compress", "evil.pt")
    assert packed.status == 0
    assert len(packed.err.splitlines()) == 2
    for result in (packed, run("inspect", "evil.tnz"), run("inspect", "evil.tnz", "--json")):
        for line in (result.text + result.err).splitlines():
            assert line.isprintable()
    assert plain in run("inspect", "evil.tnz").text
    torch.save({"w": torch.ones(2)}, "other.pt")
    result = run("verify", "evil.tnz", "--against", "other.pt")
    assert len(result.err.splitlines()) == 3
    assert all(line.isprintable() for line in result.err.splitlines())
    fails(
        run("decompress", "evil.tnz", "x.pt", "y.pt") if False else run("verify", f"missing{evil}"), "missing"
    )


def test_file_names_are_no_markup(run: Run, folder: Path) -> None:
    for name in ("[bold]x[/bold].tnz", "[/x].tnz", ":smile:.tnz"):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        ternzip.save_file({"[/w]": trits(3, 50), ":smile:": torch.ones(3)}, path, metadata={"[/k]": "[/v]"})
        result = run("inspect", path)
        assert result.status == 0
        for word in (name.split("/")[-1], "[/w]", ":smile:", "[/k]: [/v]"):
            assert word in result.text
