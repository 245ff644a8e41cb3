"""Optional packages: who needs one and has it not is told what to install, before any work is done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from ternzip._core.errors import MissingPackage

# Where the name to install is not the name to import.
DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn"}


def require(purpose: str, extra: str, *packages: str) -> None:
    """MissingPackage that names `ternzip[extra]` unless all packages are there.

    Only a package that is missing itself is reported so: one that is there and fails to import has a fault of its
    own, which its ImportError tells.
    """
    with needing(purpose, extra, *packages):
        for package in packages:
            import_module(package)


@contextmanager
def needing(purpose: str, extra: str, *packages: str) -> Iterator[None]:
    """Within this context a missing package, if it is one of `packages`, becomes a MissingPackage."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in packages:
            raise
        missing = DISTRIBUTIONS.get(error.name, error.name)
        raise MissingPackage(f"{purpose} needs {missing}: pip install 'ternzip[{extra}]'") from None
