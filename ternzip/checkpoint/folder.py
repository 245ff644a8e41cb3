"""Whole model folders: weights become .tnz files and back, every other file is carried along."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from ternzip._core.errors import DestinationExists, TernzipError
from ternzip.checkpoint.compress import CompressReport, compress
from ternzip.checkpoint.decompress import DecompressReport, decompress
from ternzip.io.atomic import no_more_than

_Report = TypeVar("_Report", CompressReport, DecompressReport)

_SAFETENSORS, _TNZ = ".safetensors", ".tnz"


@dataclass(frozen=True)
class CompressFolderReport:
    """What became of a model folder.

    Attributes:
        source: the folder.
        target: the folder that was made.
        files: one report for each file of weights, in the order of their names.
        carried: every other file, copied byte for byte, by its path below the folder.
    """

    source: str
    target: str
    files: list[CompressReport] = field(default_factory=list)
    carried: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class DecompressFolderReport:
    """What became of a folder of .tnz files; the attributes are those of CompressFolderReport."""

    source: str
    target: str
    files: list[DecompressReport] = field(default_factory=list)
    carried: list[str] = field(default_factory=list)


def compress_folder(
    source: str | os.PathLike[str], target: str | os.PathLike[str], **options: Any
) -> CompressFolderReport:
    """Makes a copy of a model folder in which each .safetensors file is a .tnz file of the same stem.

    Configuration, tokenizer, shard index and all other files are copied as they are, so `decompress_folder`
    restores the folder, every tensor bit for bit. Links are followed, as the folders of Hugging Face's cache are
    made of them. What only its owner or group may read stays so.

    Args:
        source: a folder with at least one .safetensors file, at any depth.
        target: the folder to make; it appears when it is complete, and must not exist or be empty.
        options: those of `compress`: codec, effort, threads, progress, ...

    Raises:
        TernzipError: as `compress`; a folder without weights, two files that would become one, a target that
            exists, lies in the source or cannot be written. No target is left behind.
    """

    def convert(file: Path, place: Path) -> CompressReport:
        return compress(file, place, **options)

    taken = [file for file in files_below(Path(source)) if file.suffix == _TNZ]
    if taken:  # on the way back nobody could tell it from the others
        raise TernzipError(
            f"{os.fspath(source)}: expected no {_TNZ} file in a folder to compress, found {taken[0]}"
        )
    files, carried = _convert(source, target, _SAFETENSORS, _TNZ, convert)
    return CompressFolderReport(os.fspath(source), os.fspath(target), files, carried)


def decompress_folder(
    source: str | os.PathLike[str], target: str | os.PathLike[str], **options: Any
) -> DecompressFolderReport:
    """Makes a copy of a folder in which each .tnz file is a .safetensors file again; see `compress_folder`.

    Args:
        source: a folder with at least one .tnz file, at any depth.
        target: the folder to make.
        options: those of `decompress`: threads, max_bytes (for each file), progress.
    """

    def convert(file: Path, place: Path) -> DecompressReport:
        return decompress(file, place, **options)

    files, carried = _convert(source, target, _TNZ, _SAFETENSORS, convert)
    return DecompressFolderReport(os.fspath(source), os.fspath(target), files, carried)


def _convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    old: str,
    new: str,
    convert: Callable[[Path, Path], _Report],
) -> tuple[list[_Report], list[str]]:
    folder = Path(source)
    plan = _plan(folder, old, new)
    reports, carried = [], []
    with _new_folder(target, source) as part:
        for file, place in plan.items():
            destination = part / place
            with _cannot_write(target):
                for inner in reversed(place.parents[:-1]):
                    if not (part / inner).exists():
                        _make_folder(part / inner, like=folder / inner)
            if file != place:
                report = convert(folder / file, destination)
                reports.append(replace(report, target=str(Path(target) / place)))  # where it will be
            else:
                _copy(folder / file, destination, os.fspath(target))
                carried.append(str(file))
    return reports, carried


def _plan(folder: Path, old: str, new: str) -> dict[Path, Path]:
    """Where every file goes, by its path below the folder; TernzipError where that is not plain."""
    name = os.fspath(folder)
    plan = {file: file.with_suffix(new) if file.suffix == old else file for file in files_below(folder)}
    if all(file == place for file, place in plan.items()):
        raise TernzipError(f"{name}: expected a folder with {old} files, found none")
    owners: dict[Path, Path] = {}
    for file, place in plan.items():
        if owners.setdefault(place, file) != file:
            raise TernzipError(f"{name}: {owners[place]} and {file} would both become {place}")
    return plan


def files_below(folder: Path) -> list[Path]:
    """Every regular file below a folder, links followed; TernzipError for what can be neither read nor copied."""
    if not folder.is_dir():
        kind = "a file" if folder.exists() else "nothing"
        raise TernzipError(f"{os.fspath(folder)}: expected a folder, found {kind}")
    found = []
    seen: set[tuple[int, int]] = set()

    def refuse(error: OSError) -> None:
        raise TernzipError(f"{error.filename}: cannot read: {error.strerror or error}")

    for root, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        status = os.stat(root)
        if (status.st_dev, status.st_ino) in seen and os.name == "posix":
            raise TernzipError(
                f"{root}: expected each folder once, found one that is linked into itself or twice"
            )
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        for file in sorted(names):
            path = Path(root, file)
            if not path.is_file():
                raise TernzipError(f"{path}: expected a file, found a broken link, a pipe or a device")
            found.append(path.relative_to(folder))
    return sorted(found)


@contextmanager
def _new_folder(target: str | os.PathLike[str], source: str | os.PathLike[str]) -> Iterator[Path]:
    """A new folder beside `target`, which is given that name if the block ends well, and vanishes otherwise."""
    name, place = os.fspath(target), Path(os.path.realpath(target))
    inside = Path(os.path.realpath(source))
    if place == inside or inside in place.parents:
        raise TernzipError(f"{name}: cannot write: it is the source, or lies in it: expected another folder")
    _check_free(place, name)
    part = place.with_name(f".{place.name[:32]}.{secrets.token_hex(8)}.part")
    with _cannot_write(target):
        _make_folder(part, like=inside)
    try:
        yield part
        _check_free(place, name)
        with _cannot_write(target):
            if place.is_dir():
                part.chmod(stat.S_IMODE(place.stat().st_mode))
                place.rmdir()  # empty, or it is an error; not every system renames onto a folder
            part.rename(place)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _make_folder(folder: Path, *, like: Path) -> None:
    """A new folder, of whose permissions group and others get no more than `like` gives them."""
    folder.mkdir()
    folder.chmod(no_more_than(like, stat.S_IMODE(folder.stat().st_mode)))


def _check_free(place: Path, name: str) -> None:
    if place.is_dir():
        if next(place.iterdir(), None) is not None:
            raise DestinationExists(f"{name}: exists already, and is not empty")
    elif place.exists():
        raise TernzipError(f"{name}: cannot write: expected a folder, found a file")
    if not place.parent.is_dir():
        raise TernzipError(f"{name}: cannot write: no folder {place.parent}")


@contextmanager
def _cannot_write(target: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TernzipError(f"{os.fspath(target)}: cannot write: {error.strerror or error}") from error


def _copy(file: Path, place: Path, target: str) -> None:
    try:
        with file.open("rb") as source:
            with _cannot_write(target), place.open("xb") as copy:
                shutil.copyfileobj(source, copy)
            shutil.copystat(file, place)
    except OSError as error:
        raise TernzipError(f"{file}: cannot read: {error.strerror or error}") from error
