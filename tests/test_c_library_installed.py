"""What installing libternzip gives: C programs build against it, it exports its interface alone, and is small."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from c_library import FUNCTIONS
from c_library_files import GOLDEN, NEEDS_LIBRARY, PREFIX, VALID, ternary_file

from ternzip.container.reader import Reader

ROOT = Path(__file__).parents[1]
HEADER = ROOT / "csrc" / "c" / "include" / "ternzip.h"
REFUSED: dict[str, dict[str, str]] = json.loads((GOLDEN / "invalid" / "expected.json").read_text("utf-8"))
SANITIZED = bool(os.environ.get("TERNZIP_SANITIZED"))


def declared() -> list[str]:
    return re.findall(r"^TERNZIP_API [^(]*\bternzip_(\w+)\(", HEADER.read_text("utf-8"), re.M)


def test_the_header_declares_the_functions_and_the_guide_names_them() -> None:
    assert sorted(declared()) == sorted(FUNCTIONS)
    guide = (ROOT / "docs" / "c-library.md").read_text("utf-8")
    assert [name for name in FUNCTIONS if f"`ternzip_{name}`" not in guide] == []


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def run(*command: str | Path, **environment: str) -> bytes:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, timeout=120, env=os.environ | environment
    )
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    return done.stdout


def shared_object() -> Path:
    (path,) = Path(PREFIX).glob("lib*/libternzip.so.*.*.*")
    return path


@NEEDS_LIBRARY
@pytest.mark.skipif(SANITIZED, reason="a sanitized library exports and weighs more")
def test_only_the_interface_is_exported_and_it_is_small(tmp_path: Path) -> None:
    symbols = run(tool("nm"), "-D", "--defined-only", shared_object()).decode().split("\n")
    names = {line.split()[2].split("@")[0] for line in symbols if " T " in line}
    others = {line for line in symbols if line and " T " not in line and " A " not in line}
    assert names == {f"ternzip_{name}" for name in FUNCTIONS}
    assert not others
    stripped = tmp_path / "stripped.so"
    run(tool("strip"), "-o", stripped, shared_object())
    assert stripped.stat().st_size <= 600_000
    needed = run(tool("readelf"), "-d", stripped).decode()
    assert "libternzip.so.0" in needed
    libraries = re.findall(r"\(NEEDED\).*\[([\w+]+)", needed)
    assert set(libraries) <= {"libstdc++", "libc++", "libgcc_s", "libc", "libm", "ld", "libc++abi"}


@pytest.mark.parametrize(("language", "standard"), [("c", "c99"), ("c", "c11"), ("c++", "c++11")])
def test_the_header_is_plain(language: str, standard: str) -> None:
    strict = (
        "-Wall",
        "-Wextra",
        "-Wpedantic",
        "-Wstrict-prototypes" if language == "c" else "-Wshadow",
        "-Werror",
    )
    run(tool("cc"), "-x", language, f"-std={standard}", *strict, "-fsyntax-only", HEADER)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The example, by find_package and by pkg-config."""
    if SANITIZED:
        pytest.skip("the example is not sanitized")
    tool("cc")
    folder = tmp_path_factory.mktemp("example")
    source = ROOT / "csrc" / "c" / "example"
    by_cmake = folder / "cmake"
    run(tool("cmake"), "-S", source, "-B", by_cmake, f"-DCMAKE_PREFIX_PATH={PREFIX}")
    run("cmake", "--build", by_cmake)
    built = [by_cmake / "tnz_list"]
    if shutil.which("pkg-config"):
        search = os.pathsep.join(str(path) for path in Path(PREFIX).glob("lib*/pkgconfig"))
        flags = run("pkg-config", "--cflags", "--libs", "ternzip", PKG_CONFIG_PATH=search).decode().split()
        by_hand = folder / "tnz_list"
        strict = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")
        rpath = f"-Wl,-rpath,{shared_object().parent}"
        run(tool("cc"), *strict, source / "tnz_list.c", "-o", by_hand, *flags, rpath)
        built.append(by_hand)
    return built


@NEEDS_LIBRARY
def test_the_example_lists_and_decodes(programs: list[Path]) -> None:
    for program in programs:
        for name in VALID:
            path = GOLDEN / "valid" / f"{name}.tnz"
            with Reader.open(path) as reader:
                lines = run(program, path).decode("ascii").splitlines()
                assert len(lines) == len(reader.entries) + len(reader.metadata)
                for entry, line in zip(reader.entries.values(), lines, strict=False):
                    shape = list(entry.shape)
                    stated = (
                        f" {entry.dtype.name} {shape} {entry.nbytes} bytes as {reader.shares[entry.name]}"
                    )
                    assert stated in line
                plain = [tensor for tensor in reader.entries if tensor.isascii() and "\0" not in tensor]
                if plain and program == programs[0]:
                    assert run(program, path, plain[-1]) == reader.read(plain[-1]).data.tobytes()
    for name in ("magic", "fast-trailing"):
        path = GOLDEN / "invalid" / f"{name}.tnz"
        done = subprocess.run([programs[0], path, "x"], capture_output=True, timeout=60)
        assert done.returncode == 1
        assert re.search(REFUSED[name]["error"], done.stderr.decode())


@NEEDS_LIBRARY
def test_the_program_of_the_guide(programs: list[Path], tmp_path: Path) -> None:
    """The code in docs/c-library.md compiles as it stands and does what the text says."""
    guide = (ROOT / "docs" / "c-library.md").read_text("utf-8")
    (code,) = re.findall(r"^```c\n(.*?)^```$", guide, re.M | re.S)
    source, program, path = tmp_path / "guide.c", tmp_path / "guide", tmp_path / "layer.tnz"
    source.write_text(code, "utf-8")
    path.write_bytes(ternary_file())
    library = shared_object().parent
    include = Path(PREFIX) / "include"
    flags = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
    run(
        tool("cc"),
        *flags,
        source,
        "-o",
        program,
        f"-I{include}",
        f"-L{library}",
        "-lternzip",
        f"-Wl,-rpath,{library}",
    )
    assert run(program, path, "t").decode() == "2 of -1, 5 of 0, 3 of +1\n"


@NEEDS_LIBRARY
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("arguments", [(), ("fc.weight",)])
def test_the_example_says_that_its_output_is_lost(programs: list[Path], arguments: tuple[str, ...]) -> None:
    file = GOLDEN / "valid" / "example.tnz"
    for program in programs:
        with open("/dev/full", "wb") as full:
            result = subprocess.run(
                [program, file, *arguments], stdout=full, stderr=subprocess.PIPE, check=False
            )
        assert result.returncode == 1
        assert b"No space left" in result.stderr
