"""What may import what: data flows one way, and the container works without torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ternzip

PACKAGE = Path(ternzip.__file__).parent

# Of each part, what it may import of the package beside itself. DESIGN.md draws the picture.
BASE = {"errors", "_version"}
CODECS = BASE | {"native", "symbols", "dtypes", "codecs", "container.varint", "container.tensor"}
CONTAINER = CODECS | {"container"}
DEVICE = CONTAINER | {"tensors", "cuda", "device_decoding"}
FILES = DEVICE | {"atomic", "files"}
ALLOWED = {
    "errors": set[str](),
    "_version": set[str](),
    "native": BASE,
    "symbols": BASE,
    "dtypes": BASE,
    "atomic": BASE,
    "codecs": CODECS,
    "container": CONTAINER,
    "tensors": CONTAINER,
    "cuda": {"native"},
    "device_decoding": DEVICE,
    "files": FILES,
    "checkpoint": FILES | {"checkpoint", "ops"},
}
OPS = ["ops", "library", "composite", "derivatives", "quantizers", "schedules", "modules"]
WITHOUT_TORCH = ["errors", "_version", "native", "symbols", "dtypes", "atomic", "codecs", "container"]


def modules(part: str) -> list[Path]:
    single = PACKAGE / f"{part}.py"
    return [single] if single.exists() else sorted((PACKAGE / part).glob("*.py"))


def imports(path: Path, *, at_run_time_only: bool) -> set[str]:
    """Full names of everything a module imports, also inside functions."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if at_run_time_only and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


@pytest.mark.parametrize("part", ALLOWED)
def test_import_direction(part: str) -> None:
    files = modules(part)
    assert files
    for path in files:
        for name in imports(path, at_run_time_only=False):
            if name == "ternzip" or not name.startswith("ternzip."):
                continue
            inner = name.removeprefix("ternzip.")
            fits = any(inner == allowed or inner.startswith(f"{allowed}.") for allowed in ALLOWED[part])
            assert fits or inner in ALLOWED[part], f"{path.name} imports {name}"


def test_ops_and_container_never_import_each_other() -> None:
    files = {"ternzip.container", "ternzip.codecs", "ternzip.files", "ternzip.tensors", "ternzip.checkpoint"}
    for part in OPS:
        for path in modules(part):
            for name in imports(path, at_run_time_only=False):
                assert ".".join(name.split(".")[:2]) not in files, f"{path.name} imports {name}"
    for part in ("container", "codecs"):
        for path in modules(part):
            for name in imports(path, at_run_time_only=False):
                assert name.split(".")[1:2] not in [[part] for part in OPS], f"{path.name} imports {name}"


@pytest.mark.parametrize("part", WITHOUT_TORCH)
def test_no_torch_in_the_container(part: str) -> None:
    for path in modules(part):
        names = {name.split(".")[0] for name in imports(path, at_run_time_only=True)}
        assert not names & {"torch", "safetensors", "lightning"}, path.name


def test_the_container_runs_without_torch() -> None:
    """In a process where importing torch is an error, a file is written and read."""
    program = """
import sys
sys.modules["torch"] = None
import io
import numpy as np
import ternzip
from ternzip import dtypes
from ternzip.container.reader import Reader
from ternzip.container.tensor import RawTensor
from ternzip.container.writer import write_container
data = np.tile(np.array([1, 0, -1, 0], np.float32), 100).view(np.uint8)
stream = io.BytesIO()
write_container(stream, [("w", RawTensor(dtypes.BY_NAME["float32"], (20, 20), data))])
with Reader.open(stream.getvalue()) as reader:
    assert reader.read("w").data.tobytes() == data.tobytes()
try:
    ternzip.save
except ImportError:
    print("as expected")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, b"")


def test_importing_ternzip_imports_neither_torch_nor_numpy() -> None:
    program = "import sys, ternzip, ternzip.cli; print(sorted({'torch', 'numpy', 'safetensors'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, b"[]")


def test_no_unsafe_unpickling_anywhere() -> None:
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("pickle.load", "pickle.loads", "eval", "exec"), path.name
                if called == "torch.load":
                    keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                    assert keywords.get("weights_only") == "True", path.name


def test_public_names() -> None:
    for name in ternzip.__all__:
        assert getattr(ternzip, name) is not None
    assert set(ternzip.__all__) <= set(dir(ternzip))
    promised = {"save_file", "load_file", "save", "load", "safe_open", "ternarize", "clip_", "count_symbols"}
    promised |= {"prepare", "convert", "DeltaSchedule", "backend", "TernzipError", "__version__"}
    assert promised <= set(ternzip.__all__)
    with pytest.raises(AttributeError, match="module 'ternzip' has no attribute 'no_such_name'"):
        ternzip.no_such_name  # noqa: B018
