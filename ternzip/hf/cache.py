"""A cache of folders expanded to safetensors, for programs that know nothing of .tnz files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from ternzip._core.errors import DestinationExists, TernzipError
from ternzip.checkpoint.folder import decompress_folder, files_below
from ternzip.hf.hub import local_folder
from ternzip.hf.lazy import tnz_files

_PIECE = 1 << 20


def expand(
    folder_or_repo: str | os.PathLike[str],
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    max_bytes: int | None = None,
    **hub: Any,
) -> Path:
    """A copy of the folder whose .tnz files are .safetensors files, bit for bit; made when it is first asked for.

        AutoModel.from_pretrained(ternzip.hf.expand("owner/name"))
        # or, at the shell: vllm serve $(python -c "import ternzip.hf as h; print(h.expand('owner/name'))")

    Copies lie in the cache by what the folder holds, so one that has changed is expanded anew and one that has not
    is found again. Several processes may ask at the same time. A copy may be deleted at any time.

    Args:
        folder_or_repo: a folder with .tnz files, or a repository of the Hub as `owner/name`.
        cache_dir: where copies lie; None: $TERNZIP_CACHE, else `ternzip` in $XDG_CACHE_HOME or ~/.cache.
        threads: how many threads decode; None: all processors.
        max_bytes: the most bytes of memory that the tensors of one file may take; None: no limit.
        hub: revision, token, local_files_only, ... as huggingface_hub has them.

    Raises:
        TernzipError: no such folder or repository, no .tnz file in it, one that is damaged, hostile or beyond
            `max_bytes`, a cache that cannot be written.
    """
    folder = local_folder(folder_or_repo, **hub)
    tnz_files(folder)
    place = _cache(cache_dir) / _digest(folder)
    if place.is_dir():
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TernzipError(f"{place.parent}: cannot write: {error.strerror or error}") from error
    try:
        decompress_folder(folder, place, threads=threads, max_bytes=max_bytes)
    except DestinationExists:  # another process was quicker, with the same content
        if not place.is_dir():
            raise
    return place


def _cache(chosen: str | os.PathLike[str] | None) -> Path:
    if chosen is not None:
        return Path(chosen)
    own = os.environ.get("TERNZIP_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ternzip"


def _digest(folder: Path) -> str:
    """SHA-256, in hexadecimal, of all files below a folder."""
    digest = hashlib.sha256()
    for name in files_below(folder):
        path = folder / name
        try:
            with path.open("rb") as file:
                digest.update(os.fsencode(name) + f"\0{os.fstat(file.fileno()).st_size}\0".encode())
                while piece := file.read(_PIECE):
                    digest.update(piece)
        except OSError as error:
            raise TernzipError(f"{path}: cannot read: {error.strerror or error}") from error
    return digest.hexdigest()
