"""Files appear whole or not at all, whatever goes wrong on the way."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ternzip._core.errors import DestinationExists, TernzipError
from ternzip.io import atomic
from ternzip.io.atomic import atomic_file, atomic_path

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX permissions and links")
# Root may write anywhere; permissions bind others only.
not_root = pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")


@pytest.fixture(autouse=True)
def _no_leftovers(tmp_path: Path) -> Iterator[None]:
    yield
    assert not list(tmp_path.rglob("*.part"))


def write(path: Path | str, data: bytes = b"new", *, overwrite: bool = True) -> None:
    with atomic_file(path, overwrite=overwrite) as stream:
        stream.write(data)


def test_a_new_file(tmp_path: Path) -> None:
    target = tmp_path / "file"
    with atomic_file(target) as stream:
        stream.write(b"half")
        stream.flush()
        assert not target.exists()
        (temporary,) = tmp_path.iterdir()
        assert temporary.name.startswith(".file.")
        assert temporary.name.endswith(".part")
        stream.seek(0)
        assert stream.read() == b"half"
    assert target.read_bytes() == b"half"
    assert list(tmp_path.iterdir()) == [target]


def test_an_existing_file_is_replaced_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    with atomic_file(target) as stream:
        stream.write(b"new")
        stream.flush()
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize(
    "error", [ValueError("x"), KeyboardInterrupt(), TernzipError("x"), MemoryError()], ids=repr
)
@pytest.mark.parametrize("before", [None, b"old"])
def test_failures_in_the_middle_leave_nothing(
    tmp_path: Path, error: BaseException, before: bytes | None
) -> None:
    target = tmp_path / "file"
    if before is not None:
        target.write_bytes(before)

    def fail() -> None:
        with atomic_file(target) as stream:
            stream.write(b"half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert [path.read_bytes() for path in tmp_path.iterdir()] == ([] if before is None else [before])


def test_system_errors_in_the_middle_name_the_file(tmp_path: Path) -> None:
    target = tmp_path / "file"

    def fail() -> None:
        with atomic_path(target):
            raise OSError(28, "No space left on device")

    with pytest.raises(TernzipError, match=r"file: cannot write: No space left on device$"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_existing_files_are_kept_on_demand(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write(target, overwrite=False)
    with pytest.raises(TernzipError, match=r"file: exists already$"):
        write(target, b"other", overwrite=False)
    assert target.read_bytes() == b"new"


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "file"

    def race() -> None:
        with atomic_file(target, overwrite=False) as stream:
            stream.write(b"mine")
            target.write_bytes(b"theirs")

    with pytest.raises(TernzipError, match="exists already"):
        race()
    assert target.read_bytes() == b"theirs"


def test_targets_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for target, reason in (
        (tmp_path, "is a directory"),
        (tmp_path / "no" / "file", "No such file or directory"),
        (tmp_path / "file" / "x", "Not a directory"),
        (tmp_path / ("x" * 300), "File name too long"),
    ):
        with pytest.raises(TernzipError, match=f"cannot write: {reason}"):
            write(target)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_names_of_the_greatest_length(tmp_path: Path) -> None:
    for name in ("x" * 255, "\U0001f600" * 63):
        write(tmp_path / name)
        assert (tmp_path / name).read_bytes() == b"new"


@posix
def test_special_files_stay_what_they_are(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for overwrite in (False, True):
        with pytest.raises(TernzipError, match="pipe: cannot write: not a regular file"):
            write(pipe, overwrite=overwrite)
    assert pipe.is_fifo()


@posix
def test_a_link_to_itself_leaves_nothing(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(TernzipError, match="loop: cannot write: "):
        write(loop)
    assert list(tmp_path.iterdir()) == [loop]


@posix
def test_links_stay_links(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    target, link = folder / "file", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    write(link)
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    dangling = tmp_path / "dangling"
    dangling.symlink_to("folder/other")
    write(dangling)
    assert dangling.is_symlink()
    assert (folder / "other").read_bytes() == b"new"
    with pytest.raises(TernzipError, match="exists already"):
        write(link, overwrite=False)


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_a_file_that_appears_at_the_last_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """Of two processes that write one new file, the second to end replaces nothing."""

    def refuse(*names: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    check = atomic._check

    def then_another(target: Path, path: Path, overwrite: bool) -> None:
        check(target, path, overwrite)
        if links and list(tmp_path.glob("*.part")):
            target.write_bytes(b"another's")

    monkeypatch.setattr(atomic, "_check", then_another)
    if not links:
        monkeypatch.setattr(os, "link", refuse)
        write(tmp_path / "file", overwrite=False)
        assert (tmp_path / "file").read_bytes() == b"new"
        return
    with pytest.raises(DestinationExists, match="exists already"):
        write(tmp_path / "file", overwrite=False)
    assert (tmp_path / "file").read_bytes() == b"another's"


@posix
def test_permissions(tmp_path: Path) -> None:
    """A new file has those of any new file, a replaced one keeps its own."""
    target = tmp_path / "file"
    before = os.umask(0o027)
    try:
        write(target)
        assert stat.S_IMODE(target.stat().st_mode) == 0o640
        with atomic_file(target):
            (temporary,) = tmp_path.glob("*.part")
            assert stat.S_IMODE(temporary.stat().st_mode) == 0o600  # nobody reads half a file
        target.chmod(0o604)
        write(target)
        assert stat.S_IMODE(target.stat().st_mode) == 0o604
    finally:
        os.umask(before)


@posix
def test_the_umask_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It belongs to all threads: while one looks at it by changing it, another's new file gets any permissions."""

    def changed(mask: int) -> int:
        raise AssertionError("the umask of the process was changed")

    monkeypatch.setattr(os, "umask", changed)
    write(tmp_path / "file")
    write(tmp_path / "file")


def test_errors_of_the_caller_stay_as_they_are(tmp_path: Path) -> None:
    """A progress callback may fail to write a log, a lazy mapping to read its file: neither is about this file."""

    def fail(error: Exception) -> None:
        with atomic_file(tmp_path / "file") as stream:
            stream.write(b"half")
            raise error

    for error in (
        OSError(5, "Input/output error", "elsewhere"),
        FileNotFoundError(2, "no log"),
        OSError("odd"),
    ):
        with pytest.raises(OSError) as caught:  # noqa: PT011 - compared below
            fail(error)
        assert caught.value is error
    assert list(tmp_path.iterdir()) == []


def test_errors_of_the_file_name_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    from ternzip.io import atomic

    class Full(atomic.PartFile):
        def write(self, data: object, /) -> int:
            with atomic._cannot_write(self._target):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic, "PartFile", Full)
    for size in (10, 1 << 20):  # found when the buffer is flushed, or at once
        with pytest.raises(TernzipError, match=r"file: cannot write: No space left on device$"):
            write(tmp_path / "file", bytes(size))
    assert list(tmp_path.iterdir()) == []


@posix
@not_root
def test_folders_that_may_not_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    folder.chmod(0o500)
    with pytest.raises(TernzipError, match="cannot write: Permission denied"):
        write(folder / "file")
    folder.chmod(0o700)
    assert list(folder.iterdir()) == []


def test_what_is_renamed_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data are flushed before the rename, and the folder after it."""
    calls: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def record_fsync(handle: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def record_replace(source: Path, target: Path) -> Path:
        calls.append("rename")
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(Path, "replace", record_replace)
    write(tmp_path / "file")
    assert calls == (["file", "rename", "folder"] if os.name == "posix" else ["file", "rename"])


@posix
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_commands_that_are_asked_to_end_leave_nothing(tmp_path: Path, name: str) -> None:
    """The signal comes when the file is complete but for its name."""
    import signal

    import torch

    torch.save({"w": torch.ones(3)}, tmp_path / "model.pt")
    program = f"""
import os, signal, sys
from ternzip.cli import main
signal.signal(signal.{name}, signal.SIG_DFL)  # who started the tests may have it ignored, as nohup does
os.fsync = lambda handle: os.kill(os.getpid(), signal.{name})
sys.argv = ["ternzip", "compress", "model.pt"]
main()
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (128 + getattr(signal, name), b"", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


# --- a full disk -------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB, which only root can make; without it these tests are skipped."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("a full disk: needs root to mount a small tmpfs")
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("a full disk: this system does not let root mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True, capture_output=True)


def test_a_full_disk(small_disk: Path) -> None:
    target = small_disk / "file"
    target.write_bytes(b"old")
    for size in (300_000, 10 << 20):
        with pytest.raises(TernzipError, match=r"file: cannot write: No space left on device$"):
            write(target, bytes(size))
        assert [path.name for path in small_disk.iterdir()] == ["file"]
        assert target.read_bytes() == b"old"
    write(target, bytes(100_000))


def test_checkpoints_on_a_full_disk(small_disk: Path) -> None:
    """The writers of torch and safetensors report a full disk in ways of their own."""
    import torch

    import ternzip
    from ternzip.checkpoint.store import write_checkpoint
    from ternzip.io.tensors import with_ties

    tensors = {f"t{number}": torch.randn(20_000) for number in range(20)}

    def store(name: str) -> None:
        if name == "model.tnz":
            ternzip.save_file(tensors, small_disk / name)
        else:
            write_checkpoint(dict(with_ties(tensors)), str(small_disk / name), metadata={})

    for name in ("model.pt", "model.safetensors", "model.tnz"):
        with pytest.raises(TernzipError, match=rf"{name}: cannot write: .") as caught:
            store(name)
        assert "\n" not in str(caught.value)
        assert list(small_disk.iterdir()) == []
    for name in ("model.pt", "model.safetensors"):
        write_checkpoint(dict(with_ties({"t": tensors["t0"]})), str(small_disk / name), metadata={})
        (small_disk / name).unlink()


def test_the_command_line_on_a_full_disk(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import torch

    import ternzip
    from ternzip.cli import main

    torch.save({"w": torch.randn(200_000)}, tmp_path / "model.pt")
    ternzip.save_file({"w": torch.randn(200_000)}, tmp_path / "model.tnz")
    for command, source, name in (
        ("compress", "model.pt", "x.tnz"),
        ("decompress", "model.tnz", "x.pt"),
        ("decompress", "model.tnz", "x.safetensors"),
    ):
        monkeypatch.setattr(sys, "argv", ["ternzip", command, str(tmp_path / source), str(small_disk / name)])
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capfd.readouterr()
        assert (caught.value.code, out) == (1, "")
        assert err.startswith(f"ternzip: error: {small_disk / name}: cannot write: ")
        assert err.count("\n") == 1
        assert list(small_disk.iterdir()) == []
