"""What may import what: data flows one way, and what only moves bytes works without torch."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import ternzip

PACKAGE = Path(ternzip.__file__).parent

# Every part of the package, and the parts it may import. DESIGN.md draws the picture.
FILES = {"_core", "codecs", "container"}
TENSORS = FILES | {"ops", "io"}
ALLOWED: dict[str, set[str]] = {
    "_version": set(),
    "_core": {"_version"},
    "ops": {"_core"},
    "quantization": {"_core", "ops"},
    "codecs": {"_core"},
    "container": {"_core", "codecs"},
    "io": FILES | {"ops", "quantization"},
    "numpy": FILES | {"io"},
    "checkpoint": TENSORS,
    "models": TENSORS | {"checkpoint", "lowrank"},
    "lowrank": TENSORS,
    "runtime": TENSORS | {"quantization", "lowrank"},
    "search": TENSORS | {"_version", "lowrank"},
    "training": TENSORS | {"quantization", "checkpoint", "models", "lowrank"},
    "hf": TENSORS | {"quantization", "checkpoint", "training"},
    "cli": TENSORS
    | {"_version", "quantization", "checkpoint", "models", "training", "lowrank", "runtime", "search"},
    "__main__": {"cli"},
    "__init__": TENSORS
    | {
        "_version",
        "quantization",
        "checkpoint",
        "models",
        "numpy",
        "training",
        "lowrank",
        "runtime",
        "search",
        "hf",
    },
}
# Parts that can be imported without torch, but for these modules of theirs.
WITHOUT_TORCH = ["_version", "_core", "codecs", "container", "numpy", "io", "checkpoint", "cli", "hf"]
WITH_TORCH = {
    *(f"ternzip.io.{name}" for name in ("destinations", "device_decoding", "models", "tensors")),
    *(f"ternzip.checkpoint.{name}" for name in ("archive", "entries", "pytorch", "rounding", "ternarize")),
    *(f"ternzip.hf.{name}" for name in ("mixin", "pretrained", "trainer")),
}


def files_of(part: str) -> list[Path]:
    single = PACKAGE / f"{part}.py"
    return [single] if single.exists() else sorted((PACKAGE / part).rglob("*.py"))


def name_of(path: Path) -> str:
    """The module's full name."""
    parts = ["ternzip", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def imports(path: Path, *, at_import_only: bool = False) -> set[str]:
    """Full names of all modules that a module imports, also inside functions; or only those that importing it takes."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if at_import_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return
        if at_import_only and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                found.add(name if name in MODULES else node.module)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


def taken_along(name: str) -> set[str]:
    """Full names of all modules that importing a module of ours imports, those of the packages around it too."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        found.add(module)
        if module in MODULES:
            waiting += imports(MODULES[module], at_import_only=True)
            waiting += [module.rpartition(".")[0]] if "." in module else []
    return found


def test_every_part_is_listed() -> None:
    found = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert found == set(ALLOWED)


def test_the_root_holds_no_mechanism() -> None:
    files = {path.name for path in PACKAGE.iterdir() if path.is_file()}
    assert files == {"__init__.py", "__main__.py", "_version.py", "py.typed"}


def test_parts_form_no_circle() -> None:
    graphlib.TopologicalSorter(ALLOWED).prepare()  # raises CycleError


@pytest.mark.parametrize("part", ALLOWED)
def test_import_direction(part: str) -> None:
    files = files_of(part)
    assert files
    for path in files:
        for name in imports(path):
            if name.startswith("ternzip."):
                other = name.split(".")[1]
                assert other == part or other in ALLOWED[part], f"{path.name} imports {name}"
            elif name == "ternzip":
                pytest.fail(f"{path.name} imports the package's face instead of the part it needs")


def test_modules_form_no_circle() -> None:
    graph = {
        name: {other for other in imports(path) if other in MODULES and other != name}
        for name, path in MODULES.items()
    }
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError


@pytest.mark.parametrize("part", WITHOUT_TORCH)
def test_what_is_imported_without_torch(part: str) -> None:
    for path in files_of(part):
        packages = {name.split(".")[0] for name in taken_along(name_of(path))}
        assert ("torch" in packages) == (name_of(path) in WITH_TORCH), path.name
        assert not packages & {"lightning", "transformers"} or name_of(path) in WITH_TORCH, path.name
        if part in FILES:  # also inside functions
            assert not {name.split(".")[0] for name in imports(path)} & {"torch", "safetensors"}, path.name


def test_the_container_runs_without_torch() -> None:
    """In a process where importing torch is an error, a file is written and read."""
    program = """
import sys
sys.modules["torch"] = None
import io
import numpy as np
import ternzip
from ternzip._core import dtypes
from ternzip._core.tensor import RawTensor
from ternzip.container.reader import Reader
from ternzip.container.writer import write_container
data = np.tile(np.array([1, 0, -1, 0], np.float32), 100).view(np.uint8)
stream = io.BytesIO()
write_container(stream, [("w", RawTensor(dtypes.BY_NAME["float32"], (20, 20), data))])
with Reader.open(stream.getvalue()) as reader:
    assert reader.read("w").data.tobytes() == data.tobytes()
try:
    ternzip.ops
except ImportError:
    print("as expected")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=120)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, b"as expected", b"")


def test_importing_ternzip_imports_neither_torch_nor_numpy() -> None:
    program = "import sys, ternzip, ternzip.cli; print(sorted({'torch', 'numpy', 'safetensors'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, b"[]")


def test_no_unsafe_unpickling_anywhere() -> None:
    calls = [
        (path, node)
        for path in MODULES.values()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    ]
    loads = 0
    for path, node in calls:
        called = ast.unparse(node.func)
        assert called not in ("pickle.load", "pickle.loads", "eval", "exec"), path.name
        if called == "torch.load":
            loads += 1
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert keywords.get("weights_only") == "True", path.name
    assert loads  # the check has found what it looks for


def test_public_names() -> None:
    for name in ternzip.__all__:
        assert getattr(ternzip, name) is not None
    promised = {"save_file", "load_file", "save", "load", "safe_open", "ternarize", "clip_", "count_symbols"}
    promised |= {"prepare", "convert", "DeltaSchedule", "backend", "TernzipError", "__version__"}
    assert promised <= set(ternzip.__all__)
    with pytest.raises(AttributeError, match="module 'ternzip' has no attribute 'no_such_name'"):
        ternzip.no_such_name  # noqa: B018


def test_public_names_are_listed_before_they_are_used() -> None:
    program = "import ternzip; print(set(ternzip.__all__) <= set(dir(ternzip)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, b"True")
