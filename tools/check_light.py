"""Checks a built wheel where there is no torch: a fresh environment of the light dependencies, files there and back.

python tools/check_light.py dist/ternzip-*.whl [--megabytes 1] [--report]

Makes a virtual environment, installs the wheel without extras, and runs the command line as a user would: compress,
inspect, verify and decompress a file of safetensors and one of numpy, half of their tensors ternary and half random
floats. The first must come back byte for byte. A .pt file and `ternzip.ops` must ask for `ternzip[torch]` in one line.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from pathlib import Path

_MAKE = """
import sys
import numpy as np
from safetensors.numpy import save_file
count = max(1, round(float(sys.argv[1]) / 2))
rng = np.random.default_rng(0)
tensors = {f"layer{n}.random": rng.standard_normal((512, 512), np.float32) for n in range(count)}
tensors |= {f"layer{n}.ternary": rng.integers(-1, 2, (512, 512)).astype(np.float32) / 8 for n in range(count)}
save_file(tensors, "model.safetensors", {"made": "for a check"})
np.savez("model.npz", **tensors)
open("model.pt", "wb").write(b"PK" + bytes(100))
"""
_SAME_ARRAYS = """
import numpy as np
with np.load("model.npz") as one, np.load("again.npz") as other:
    assert list(one) == list(other)
    assert all(one[name].tobytes() == other[name].tobytes() for name in one)
"""


class LightEnvironment:
    """A virtual environment with a wheel and what it requires, in a folder that is the working directory."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self._folder = folder
        venv.create(folder / "venv", with_pip=True)
        scripts = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
        self._python, self._ternzip = str(scripts / "python"), str(scripts / "ternzip")
        self.python("-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel.resolve()))

    def run(self, *command: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """A command's result; SystemExit unless its exit status is the one expected."""
        clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run(command, cwd=self._folder, env=clean, capture_output=True, text=True)
        if done.returncode != status:
            sys.exit(
                f"{' '.join(command)}: status {done.returncode}, expected {status}\n{done.stdout}{done.stderr}"
            )
        return done

    def python(self, *arguments: str) -> str:
        """What a Python program prints."""
        return self.run(self._python, *arguments).stdout

    def ternzip(self, *arguments: str, status: int = 0) -> str:
        """What the command line prints on stderr."""
        return self.run(self._ternzip, *arguments, status=status).stderr

    def least_seconds(self, *command: str, times: int = 5) -> float:
        """The least time that a command takes."""
        found = []
        for _ in range(times):
            start = time.perf_counter()
            self.run(*command)
            found.append(time.perf_counter() - start)
        return min(found)

    def report(self) -> list[str]:
        """What is installed, how large it is, and how long it takes to start."""
        packages = Path(self.python("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
        size = sum(path.stat().st_size for path in packages.rglob("*") if path.is_file())
        pip = sum(path.stat().st_size for path in packages.glob("pip*/**/*") if path.is_file())
        started = self.least_seconds(self._python, "-c", "pass")
        imported = self.least_seconds(self._python, "-c", "import ternzip")
        helped = self.least_seconds(self._ternzip, "--help")
        return [
            f"installed: {(size - pip) / 1e6:.1f} MB without pip",
            *self.python("-m", "pip", "list", "--format=freeze", "--disable-pip-version-check").splitlines(),
            f"python alone {started * 1e3:.0f} ms, with import ternzip {imported * 1e3:.0f} ms, "
            f"ternzip --help {helped * 1e3:.0f} ms",
        ]


def check(environment: LightEnvironment, folder: Path, megabytes: float) -> None:
    """Every step of the light path; SystemExit for the first that fails."""
    environment.python("-c", "import importlib.util as u, sys; sys.exit(u.find_spec('torch') is not None)")
    environment.python("-c", _MAKE, str(megabytes))
    for suffix in (".safetensors", ".npz"):
        environment.ternzip("compress", f"model{suffix}", "model.tnz", "--force")
        environment.ternzip("inspect", "model.tnz")
        environment.ternzip("verify", "model.tnz", "--against", f"model{suffix}")
        environment.ternzip("decompress", "model.tnz", f"again{suffix}")
    if (folder / "model.safetensors").read_bytes() != (folder / "again.safetensors").read_bytes():
        sys.exit("model.safetensors: did not come back byte for byte")
    environment.python("-c", _SAME_ARRAYS)
    asked = [
        environment.ternzip("compress", "model.pt", "x.tnz", status=1),
        environment.ternzip("train", status=1),
        environment.python(
            "-c", "import ternzip\ntry: ternzip.ops\nexcept ImportError as error: print(error)"
        ),
    ]
    for line in asked:
        if len(line.splitlines()) != 1 or not re.search(
            r" needs \w+: pip install 'ternzip\[(torch|train)\]'$", line
        ):
            sys.exit(f"expected one line that says what to install, found {line!r}")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--megabytes", type=float, default=2, help="of each file")
    parser.add_argument("--report", action="store_true", help="print sizes and times as well")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="ternzip-light-") as place:
        folder = Path(place)
        environment = LightEnvironment(folder, options.wheel)
        check(environment, folder, options.megabytes)
        print(f"{options.wheel.name}: works without torch")
        if options.report:
            print("\n".join(environment.report()))


if __name__ == "__main__":
    main()
