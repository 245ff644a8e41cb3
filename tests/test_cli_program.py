"""ternzip as a program of its own: streams, signals, imports, file names of any bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from cli_run import a_model, python
from samples import assert_same

import ternzip


def test_as_a_program(folder: Path) -> None:
    torch.save(a_model(), "model.pt")
    done = python("-m", "ternzip", "compress", "model.pt")
    assert (done.returncode, done.stderr) == (0, b"")
    assert_same(ternzip.load_file("model.tnz"), a_model())
    done = python("-m", "ternzip", "compress", "model.pt")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"ternzip: error: model.tnz: exists already; it is only replaced with --force\n"
    with open("model.tnz", "rb") as stdin:
        done = python("-m", "ternzip", "verify", "-", stdin=stdin)
    assert (done.returncode, done.stdout) == (0, b"-: 5 tensors whole\n")


LIGHT = """
import sys
from ternzip.cli import main
sys.argv = ["ternzip", *sys.argv[1:]]
try:
    main()
except SystemExit as exit:
    assert not exit.code, exit.code
loaded = {"torch", "safetensors", "lightning", "matplotlib", "sklearn"} & set(sys.modules)
assert not loaded, loaded
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["inspect", "model.tnz"],
        ["inspect", "model.tnz", "--json"],
        ["verify", "model.tnz"],
    ],
)
def test_these_commands_do_without_torch(tnz: Path, arguments: list[str]) -> None:
    done = python("-c", LIGHT, *arguments)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout


def test_torch_would_be_noticed(folder: Path) -> None:
    done = python("-c", "import torch\n" + LIGHT, "--version")
    assert done.returncode == 1
    assert b"AssertionError: {'torch'}" in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="file names of any bytes")
def test_file_names_of_any_bytes(folder: Path) -> None:
    torch.save(a_model(), "model.pt")
    os.rename(b"model.pt", b"\xff\n.pt")
    done = python("-m", "ternzip", "compress", b"\xff\n.pt")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.count(b"\n") == 1
    done = python("-m", "ternzip", "inspect", b"\xff\n.tnz", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, b"")
    done = python("-m", "ternzip", "inspect", b"\xff\xfe")
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize(
    "arguments", [["inspect", "model.tnz"], ["decompress", "model.tnz", "-"], ["--help"]]
)
def test_a_stdout_that_takes_no_more(tnz: Path, arguments: list[str]) -> None:
    command = [sys.executable, "-m", "ternzip", *arguments]
    # With a buffer, the failure comes at the end, where the interpreter shuts down.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=environment, timeout=120)
    assert done.returncode == 1
    assert (
        done.stderr == b"ternzip: error: <stdout>: No space left on device\n" or arguments[0] == "decompress"
    )
    assert b"<stdout>: No space left on device\n" in done.stderr


UNBUFFERED = {**os.environ, "PYTHONUNBUFFERED": "1"}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize(
    "arguments", [["inspect", "model.tnz", "--json"], ["decompress", "model.tnz", "-"], ["--help"]]
)
def test_an_unbuffered_stdout_that_takes_no_more(tnz: Path, arguments: list[str]) -> None:
    command = [sys.executable, "-m", "ternzip", *arguments]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=UNBUFFERED, timeout=120)
    assert (done.returncode, done.stderr) == (1, b"ternzip: error: <stdout>: No space left on device\n")


@pytest.mark.skipif(os.name != "posix", reason="needs file size limits")
@pytest.mark.parametrize(
    "environment", [UNBUFFERED, {**os.environ, "PYTHONUNBUFFERED": ""}], ids=["raw", "buffered"]
)
def test_a_file_that_may_not_grow_further(folder: Path, environment: dict[str, str]) -> None:
    ternzip.save_file({"w": torch.randn(1000, 300)}, "big.tnz")
    limited = "import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000)); "
    limited += "os.execv(sys.executable, [sys.executable, '-m', 'ternzip', 'decompress', 'big.tnz', '-'])"
    with open("out", "wb") as out:
        done = subprocess.run(
            [sys.executable, "-c", limited], stdout=out, stderr=subprocess.PIPE, env=environment, timeout=120
        )
    assert (done.returncode, done.stderr) == (1, b"ternzip: error: <stdout>: File too large\n")


@pytest.mark.skipif(os.name != "posix", reason="needs pipes that do not block")
@pytest.mark.parametrize("blocking", [True, False])
def test_an_unbuffered_pipe_with_a_slow_reader(folder: Path, blocking: bool) -> None:
    """An unbuffered stream may take a part of what it is given, and says so only by the number it returns."""
    weight = torch.randn(1000, 800)  # 3.2 MB, of which a pipe holds 64 KiB
    ternzip.save_file({"w": weight}, "big.tnz")
    reading, writing = os.pipe()
    os.set_blocking(writing, blocking)
    process = subprocess.Popen(
        [sys.executable, "-m", "ternzip", "decompress", "big.tnz", "-"],
        stdout=writing,
        stderr=subprocess.PIPE,
        env=UNBUFFERED,
    )
    os.close(writing)
    assert process.stderr is not None
    if blocking:
        data = bytearray()
        while piece := os.read(reading, 10_000):
            data += piece
        assert torch.equal(safetensors.torch.load(bytes(data))["w"], weight)
    error = process.stderr.read()
    process.stderr.close()
    os.close(reading)
    if blocking:
        assert (process.wait(120), error.count(b"\n")) == (0, 1)
    else:
        assert process.wait(120) == 1
        assert error.startswith(b"ternzip: error: ")
        assert error.count(b"\n") == 1


SLOW = """
import signal, sys, time
from ternzip.cli import main
for number in (signal.SIGTERM, signal.SIGHUP):  # who started the tests may have one ignored, as nohup does
    signal.signal(number, signal.SIG_DFL)
from ternzip.container import writer
def wait(self, *ignored):
    print("ready", flush=True)
    time.sleep(60)
writer._Writer.close = wait
sys.argv = ["ternzip", "compress", "model.pt"]
main()
"""


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize("number", ["SIGTERM", "SIGHUP"])
def test_a_signal_leaves_no_half_written_file(folder: Path, number: str) -> None:
    torch.save(a_model(), "model.pt")
    with subprocess.Popen(
        [sys.executable, "-c", SLOW], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert list(folder.glob(".*.part"))
        process.send_signal(getattr(signal, number))
        out, error = process.communicate()
    assert process.returncode == 128 + getattr(signal, number)
    assert (out, error) == (b"", b"")
    assert [path.name for path in folder.iterdir()] == ["model.pt"]


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_ignored_signals_stay_ignored(folder: Path) -> None:
    """As under nohup."""
    program = (
        "import signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
        "from ternzip.cli.entry import _ended_by_signals\n"
        "with _ended_by_signals(): print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)"
    )
    assert python("-c", program).stdout == b"True\n"


def test_a_reader_that_goes_away(tnz: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "ternzip", "inspect", "model.tnz"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(120) == 1
