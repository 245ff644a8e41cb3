"""Sessions for developers; `.ci/run` is what a change must pass."""

from pathlib import Path

import nox

nox.options.sessions = ["tests", "lint", "types"]
nox.options.default_venv_backend = "venv"


@nox.session(python=["3.10", "3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """The whole suite against an installed package."""
    session.install(".[test]")
    session.run("pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Every formatter and linter, as pre-commit runs them."""
    session.install(".[dev]")
    session.run("pre-commit", "run", "--all-files", *session.posargs)


@nox.session
def types(session: nox.Session) -> None:
    """mypy in strict mode, and the stub of the native module against the module."""
    session.install(".[dev]")
    session.run("mypy")
    allowed = "csrc/bindings/stubtest-allowlist.txt"
    stubtest = ("python", "-m", "mypy.stubtest", "_ternzip", "--allowlist", allowed)
    session.run(*stubtest, env={"MYPYPATH": "csrc/bindings"})


@nox.session
def docs(session: nox.Session) -> None:
    """The site, in build/docs/html: warnings are errors, links within it are followed, the others listed."""
    session.install(".[docs]")
    session.run(".ci/docs", "build/docs", external=True)


@nox.session
def clang_tidy(session: nox.Session) -> None:
    """The C++ part under clang-tidy, by the checks of .clang-tidy; minutes, as it is compiled file by file."""
    session.install("clang-tidy==23.1.4", "cmake", "ninja", "pybind11")
    build = str(session.create_tmp()) + "/tidy"
    python = f"-DPython_EXECUTABLE={session.virtualenv.location}/bin/python"
    session.run("cmake", "--preset", "default", "-B", build, python, "-DTERNZIP_CUDA=OFF")
    session.run("run-clang-tidy.py", "-quiet", "-p", build, *session.posargs, r"csrc/.*\.cpp$")


@nox.session
def sanitizers(session: nox.Session) -> None:
    """Native code under ASan and UBSan."""
    session.install(".[test]", "pybind11", "cmake", "ninja")
    session.run(".ci/sanitize", str(session.create_tmp()) + "/sanitize", external=True)


@nox.session
def wheel(session: nox.Session) -> None:
    """A wheel, as a user's pip would build it, and what it does where there is no torch."""
    session.install("build")
    place = session.create_tmp()
    session.run("python", "-m", "build", "--wheel", "--outdir", place)
    for path in sorted(Path(place).glob("*.whl")):
        session.run("python", "tools/check_light.py", str(path))
