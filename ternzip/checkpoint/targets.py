"""Where results go: default names, and what must not be overwritten."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ternzip._core.errors import DestinationExists, TernzipError


def default_target(source: str | os.PathLike[str], suffix: str) -> Path:
    """The source's name with another suffix, beside it; of a folder, its name with that suffix appended."""
    path = Path(source)
    if path.is_dir():
        path = path if path.name not in ("", "..") else path.resolve()
        if not path.name:
            raise TernzipError(
                f"{os.fspath(source)}: has no name that the result's could be made of: name it"
            )
        return path.with_name(path.name + suffix)
    name = path.name
    for ending in (".safetensors.index.json", path.suffix):
        if ending and name.endswith(ending):
            name = name.removesuffix(ending)
            break
    return path.with_name(name + suffix)


def check_target(target: str | os.PathLike[str], *, sources: Iterable[str], overwrite: bool) -> None:
    """Finds out before the work whether the result can be kept.

    Raises TernzipError where the target is one of the sources, also by another name, is no regular file or
    lies in no folder; DestinationExists where it exists and `overwrite` is false.
    """
    name = os.fspath(target)
    try:
        _check(Path(target), name, sources, overwrite)
    except OSError as error:  # a name that is too long, a folder that may not be searched
        raise TernzipError(f"{name}: cannot write: {error.strerror or error}") from None


def _check(path: Path, name: str, sources: Iterable[str], overwrite: bool) -> None:
    if path.is_dir():
        raise TernzipError(f"{name}: cannot write: is a directory")
    if path.exists():
        if not path.is_file():
            raise TernzipError(f"{name}: cannot write: not a regular file")
        for source in sources:
            if os.path.exists(source) and os.path.samefile(source, path):
                raise TernzipError(f"{name}: cannot write: it is the source: expected another name")
        if not overwrite:
            raise DestinationExists(f"{name}: exists already")
    if not path.parent.is_dir():
        raise TernzipError(f"{name}: cannot write: no folder {path.parent}")
