"""compress and decompress of whole model folders, which they turn to where DST is a folder too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ternzip._core.errors import DestinationExists, TernzipError
from ternzip._core.text import listed
from ternzip.cli.console import plural, progress_bar
from ternzip.cli.reports import (
    compress_json,
    decompress_json,
    report_compressed,
    report_not_restored,
    summary,
    tell,
)
from ternzip.cli.sources import STDIO


def is_folder(src: str, dst: str, suffixes: tuple[str, ...]) -> bool:
    """Whether a folder is to be copied as a whole: SRC is one, and DST is not named like a file or stdout."""
    return os.path.isdir(src) and dst != STDIO and Path(dst).suffix not in suffixes


def compress_whole(src: str, dst: str, options: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    """Copies a model folder with its weights in .tnz files; what `compress --json` prints of it."""
    from ternzip.checkpoint.folder import compress_folder

    with _bar("compress", src, ".safetensors", quiet) as progress, _never_replaced():
        done = compress_folder(src, dst, progress=progress, **options)
    for report in done.files:
        report_compressed(report, options["merge_zeros"])
        if not quiet:
            tell(summary(report.source, report.target, report))
    if not quiet:
        tell(f"{src} -> {dst}: {plural(len(done.files), 'file')} of weights; {_carried(done.carried)}")
    files = [compress_json(report.source, report.target, report) for report in done.files]
    return {"source": src, "folder": dst, "files": files, "carried": done.carried}


def decompress_whole(src: str, dst: str, options: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    """Copies a folder with its .tnz files as .safetensors files again; what `decompress --json` prints of it."""
    from ternzip.checkpoint.folder import decompress_folder

    with _never_replaced():
        done = decompress_folder(src, dst, **options)
    for report in done.files:
        report_not_restored(report.target, report)
    tensors = sum(report.tensors for report in done.files)
    if not quiet:
        tell(
            f"{src} -> {dst}: {plural(tensors, 'tensor')} in {plural(len(done.files), 'file')} restored; "
            f"{_carried(done.carried)}"
        )
    files = [decompress_json(report.source, report.target, report) for report in done.files]
    return {"source": src, "folder": dst, "files": files, "carried": done.carried}


def _carried(names: list[str]) -> str:
    return f"copied as they are: {listed(names)}" if names else "no other files"


@contextmanager
def _bar(title: str, folder: str, suffix: str, quiet: bool) -> Iterator[Any]:
    sizes = [path.stat().st_size for path in Path(folder).rglob(f"*{suffix}") if path.is_file()]
    with progress_bar(title, sum(sizes), quiet=quiet) as progress:
        yield progress


@contextmanager
def _never_replaced() -> Iterator[None]:
    """Keeps the command line from offering --force, which is for single files."""
    try:
        yield
    except DestinationExists as error:
        raise TernzipError(f"{error}: a folder is never replaced") from None
