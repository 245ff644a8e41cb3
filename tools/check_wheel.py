"""Checks a built wheel: small, complete, and importable from inside the checkout.

python tools/check_wheel.py dist/ternzip-*.whl
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
LIMIT = 1_750_000
"""Bytes of a wheel with CUDA kernels for all major architectures: the native module, and the Python beside it."""


def check(wheel: Path) -> None:
    size = wheel.stat().st_size
    if size >= LIMIT:
        sys.exit(f"{wheel.name}: {size:,} bytes, expected less than {LIMIT:,}")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    sources = {path.relative_to(CHECKOUT).as_posix() for path in (CHECKOUT / "ternzip").rglob("*.py")}
    missing = (sources | {"ternzip/py.typed", "_ternzip.pyi"}) - names
    if missing:
        sys.exit(f"{wheel.name}: missing {', '.join(sorted(missing))}")
    strangers = {name for name in names if not name.startswith(("ternzip/", "ternzip-", "_ternzip."))}
    if strangers:
        sys.exit(f"{wheel.name}: unexpected {', '.join(sorted(strangers))}")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--force-reinstall", "--no-deps", str(wheel)],
        check=True,
    )
    subprocess.run([sys.executable, "-c", "import ternzip._core.native"], cwd=CHECKOUT, check=True)
    print(f"{wheel.name}: {size:,} bytes, {len(names)} files, imports")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        check(Path(argument))
