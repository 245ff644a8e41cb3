"""Optional packages: who needs one and has it not is told what to install, before any work is done."""

from __future__ import annotations

from importlib import import_module

from ternzip._core.errors import TernzipError

# Where the name to install is not the name to import.
DISTRIBUTIONS = {"sklearn": "scikit-learn"}


def require(purpose: str, extra: str, *packages: str) -> None:
    """TernzipError that names `ternzip[extra]` unless all packages are there.

    Only a package that is missing itself is reported so: one that is there and fails to import has a fault of its
    own, which its ImportError tells.
    """
    for package in packages:
        try:
            import_module(package)
        except ModuleNotFoundError as error:
            if error.name != package:
                raise
            missing = DISTRIBUTIONS.get(package, package)
            raise TernzipError(f"{purpose} needs {missing}: pip install 'ternzip[{extra}]'") from None
