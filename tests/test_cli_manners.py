"""What zstd's users expect: times, --rm, -q, the kind of file that was compressed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_run import Run, fails, misused
from safetensors.torch import save_file as save_safetensors
from samples import trits

import ternzip

TENSORS = {"w": torch.tensor([[0.5, 0.0, -0.5] * 20] * 4), "b": torch.arange(4.0)}


@pytest.fixture
def plain(folder: Path) -> Path:
    """model.pt with nothing but tensors, an hour old."""
    torch.save(TENSORS, "model.pt")
    os.utime("model.pt", (1_600_000_000, 1_600_000_000))
    return Path("model.pt")


def test_results_take_over_the_time_of_change(plain: Path, run: Run) -> None:
    assert run("compress", plain).status == 0
    assert os.stat("model.tnz").st_mtime == 1_600_000_000
    assert run("decompress", "model.tnz", "-o", "again.pt").status == 0
    assert os.stat("again.pt").st_mtime == 1_600_000_000


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors", ".ckpt"])
def test_the_kind_of_source_comes_back(folder: Path, run: Run, suffix: str) -> None:
    source = Path(f"model{suffix}")
    if suffix == ".safetensors":
        save_safetensors(TENSORS, source)
    else:
        torch.save(TENSORS, source)
    assert run("compress", source, "-o", "m.tnz").status == 0
    assert run("decompress", "m.tnz").status == 0
    restored = Path("m.safetensors" if suffix == ".safetensors" else "m.pt")
    assert restored.is_file()
    assert run("verify", "m.tnz", "--against", restored).status == 0


def test_files_that_do_not_say_what_they_were(folder: Path, run: Run) -> None:
    for name, extensions in {
        "none": {},
        "odd": {"ternzip.source": b".exe"},
        "long": {"ternzip.source": b"." * 1000},
        "bytes": {"ternzip.source": b"\xff"},
    }.items():
        ternzip.save_file(TENSORS, f"{name}.tnz", extensions=extensions)
        assert run("decompress", f"{name}.tnz").status == 0
        assert Path(f"{name}.safetensors").is_file()


def test_the_same_tensors_of_another_kind_are_equal(plain: Path, run: Run) -> None:
    save_safetensors(TENSORS, "other.safetensors")
    assert run("compress", plain).status == 0
    assert run("verify", "model.tnz", "--against", "other.safetensors").status == 0
    assert run("compress", "model.tnz", "-o", "twice.tnz").status == 0
    assert run("verify", "twice.tnz", "--against", "model.tnz").status == 0


def test_quiet(plain: Path, run: Run) -> None:
    done = run("compress", "-q", plain)
    assert (done.status, done.out, done.err) == (0, b"", "")
    done = run("decompress", "-q", "-f", "model.tnz")
    assert (done.status, done.out, done.err) == (0, b"", "")
    done = run("decompress", "-q", "model.tnz")
    assert done.status == 1
    assert "exists already" in done.err


def test_decompress_in_json(plain: Path, run: Run) -> None:
    torch.save({"a": torch.ones(3, dtype=torch.uint8), "b": torch.ones(2)}, plain)  # b would not be aligned
    run("compress", plain)
    found = json.loads(run("decompress", "--json", "model.tnz", "-o", "again.safetensors").out)
    assert {key: found[key] for key in ("source", "file", "tensors")} == {
        "source": "model.tnz",
        "file": "again.safetensors",
        "tensors": 2,
    }
    assert found["schema"] == 1
    assert "order" in found["not_stored"][0]
    failed = run("decompress", "--json", "model.tnz", "-o", "again.safetensors")
    assert failed.status == 1
    assert "exists already" in json.loads(failed.out)["error"]


def test_rm_removes_what_became_a_file(plain: Path, run: Run) -> None:
    assert run("compress", "--rm", plain).status == 0
    assert sorted(os.listdir()) == ["model.tnz"]
    assert run("decompress", "--rm", "model.tnz").status == 0
    assert sorted(os.listdir()) == ["model.pt"]
    found = torch.load("model.pt", weights_only=True)
    assert all(torch.equal(found[name], tensor) for name, tensor in TENSORS.items())


@pytest.mark.parametrize(
    ("options", "lost"),
    [
        (["--ternarize"], "full-precision weights"),
        (["--float-dtype", "bfloat16"], "unrounded values"),
        (["--merge-zeros"], "signs of zeros"),
    ],
)
def test_rm_keeps_what_the_file_does_not_hold(folder: Path, run: Run, options: list[str], lost: str) -> None:
    plain = Path("model.pt")
    torch.save({**TENSORS, "dense": torch.randn(4, 4)}, plain)
    done = run("compress", "--rm", plain, *options)
    assert done.status == 0
    assert f"model.pt: kept, as model.tnz does not hold all of it: {lost}" in done.err
    assert plain.is_file()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--ternarize"], "ternarized no tensor: found no full-precision weights of two or more dimensions"),
        (
            ["--float-dtype", "float16"],
            "rounded no tensor: found none of float32 or float64 that is not ternary.",
        ),
    ],
)
def test_options_that_change_nothing_lose_nothing(
    folder: Path, run: Run, options: list[str], words: str
) -> None:
    torch.save({"weight": trits(8, 8).float(), "steps": torch.tensor(3)}, "model.pt")
    done = run("compress", "--rm", "model.pt", *options)
    assert done.status == 0
    assert words in done.err
    assert "does not restore" not in done.err
    assert "kept" not in done.err
    assert sorted(os.listdir()) == ["model.tnz"]


def test_rm_keeps_a_checkpoint_of_more_than_tensors(folder: Path, run: Run) -> None:
    torch.save({"state_dict": TENSORS, "epoch": 3}, "model.pt")
    done = run("compress", "--rm", "model.pt")
    assert "kept" in done.err
    assert Path("model.pt").is_file()


def test_rm_keeps_a_state_dict_and_says_why(folder: Path, run: Run) -> None:
    torch.save(torch.nn.Linear(2, 2).state_dict(), "model.pt")
    done = run("compress", "--rm", "model.pt")
    reason = "versions of modules, which torch adds to a state_dict (_metadata)"
    assert f"model.pt: kept, as model.tnz does not hold all of it: {reason}" in done.err
    assert Path("model.pt").is_file()


def test_rm_keeps_what_lost_its_ties(folder: Path, run: Run) -> None:
    tied = torch.ones(5)
    ternzip.save_file({"a": tied, "b": tied}, "m.tnz")
    done = run("decompress", "--rm", "m.tnz", "-o", "m.safetensors")
    assert "m.tnz: kept" in done.err
    assert Path("m.tnz").is_file()


def test_rm_knows_which_is_which_whatever_they_are_called(plain: Path, run: Run) -> None:
    assert run("compress", "--rm", plain, "-o", "model.bin").status == 0
    assert sorted(os.listdir()) == ["model.bin"]
    assert run("decompress", "--rm", "model.bin", "-o", "model.pt").status == 0
    assert sorted(os.listdir()) == ["model.pt"]


def test_rm_compares_what_was_written(plain: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake of the writer must not cost the original."""
    from ternzip.checkpoint import verify as module
    from ternzip.checkpoint.verify import VerifyReport

    monkeypatch.setattr(
        module, "verify", lambda *files, **options: VerifyReport("", 2, "", ["tensor 'w': differs"])
    )
    done = run("compress", "--rm", plain)
    assert "kept, as model.tnz does not hold all of it: tensor 'w': differs" in done.err
    assert plain.is_file()


def test_rm_is_for_files(plain: Path, run: Run) -> None:
    misused(run("compress", "--rm", "-", "-o", "a.tnz", stdin=b""), "files that became files")
    misused(run("compress", "--rm", plain, "-o", "-"), "files that became files")
    Path("sub").mkdir()
    misused(run("compress", "--rm", "sub"), "files that became files")


def test_rm_keeps_a_list_of_tensors(folder: Path, run: Run) -> None:
    for name, loaded in {"list": [torch.ones(3), torch.zeros(2)], "tuple": (torch.ones(3),)}.items():
        torch.save(loaded, f"{name}.pt")
        done = run("compress", "--rm", f"{name}.pt")
        assert "the nesting of dictionaries and lists" in done.err
        assert Path(f"{name}.pt").is_file()


def test_a_source_that_cannot_be_removed_is_named(
    plain: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("other.pt").write_bytes(plain.read_bytes())
    unlink = os.unlink

    def refuse(path: Any, **options: Any) -> None:
        if str(path) == "model.pt":
            raise PermissionError(1, "Operation not permitted", path)
        unlink(path, **options)

    monkeypatch.setattr(os, "unlink", refuse)
    done = run("compress", "--rm", "--json", plain, "other.pt")
    assert done.status == 1
    assert "model.pt: became model.tnz, but cannot be removed: Operation not permitted" in done.err
    assert ["error" in file for file in done.json()["files"]] == [True, False]
    assert not Path("other.pt").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are a matter of Unix")
def test_pipes_with_names_are_read_once(plain: Path, run: Run) -> None:
    run("compress", plain)
    os.mkfifo("p.tnz")
    with subprocess.Popen(["cp", "model.tnz", "p.tnz"]):  # as `cat model.tnz > p.tnz`
        done = run("decompress", "p.tnz")
    assert done.status == 0
    assert Path("p.safetensors").is_file()
    misused(run("decompress", "--rm", "p.tnz"), "no folders, pipes or streams")


@pytest.mark.skipif(os.name != "posix", reason="a shell closes the streams")
def test_streams_that_are_closed(plain: Path, run: Run) -> None:
    run("compress", plain, "-o", "expected.tnz")
    command = f'"{sys.executable}" -m ternzip'
    for line, status in {
        f"{command} compress model.pt -o out.tnz >&-": 0,
        f"{command} inspect out.tnz >&- 2>&-": 0,
        f"{command} inspect - <&-": 1,
    }.items():
        done = subprocess.run(["sh", "-c", line], capture_output=True, timeout=120)
        assert (done.returncode, b"Traceback" in done.stderr) == (status, False)
    assert Path("out.tnz").read_bytes() == Path("expected.tnz").read_bytes()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is full")
@pytest.mark.parametrize(
    ("redirection", "words"), [(">&-", b"closed"), ("> /dev/full", b"No space left on device")]
)
def test_a_stdout_that_keeps_nothing(plain: Path, run: Run, redirection: str, words: bytes) -> None:
    """What was to go there is lost, however little it is."""
    run("compress", plain)
    command = f'"{sys.executable}" -m ternzip'
    for line in (f"{command} compress model.pt -", f"{command} decompress model.tnz -"):
        done = subprocess.run(["sh", "-c", f"{line} {redirection}"], capture_output=True, timeout=120)
        assert done.returncode == 1
        assert done.stderr.startswith(b"ternzip: error: <stdout>: "), done.stderr
        assert words in done.stderr
        done = subprocess.run(["sh", "-c", f"{line} > /dev/null"], capture_output=True, timeout=120)
        assert (done.returncode, b"error" in done.stderr) == (0, False)


def test_what_has_no_name_to_make_one_of(run: Run) -> None:
    fails(run("compress", "/"), "/: has no name that the result's could be made of")


def test_a_failure_removes_nothing(plain: Path, run: Run) -> None:
    run("compress", plain)
    Path("bad.pt").write_bytes(b"PK\x03\x04 nonsense")
    assert run("compress", "--rm", plain, "bad.pt").status == 1  # model.tnz exists; bad.pt cannot be read
    assert plain.is_file()
    assert Path("bad.pt").is_file()
