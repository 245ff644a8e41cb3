"""Folders that lie here or on the Hub."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ternzip._core.errors import TernzipError
from ternzip._core.extras import require
from ternzip._core.text import first_line

WEIGHTS_OF_OTHERS = ["*.safetensors", "*.bin", "*.pt", "*.pth", "*.gguf", "*.h5", "*.msgpack", "*.onnx*"]
"""What need not be downloaded beside .tnz files."""


def local_folder(folder_or_repo: str | os.PathLike[str], **options: Any) -> Path:
    """The folder itself if there is one of that name, else a repository of the Hub, downloaded into its cache.

    Args:
        folder_or_repo: a folder, or a repository's name as `owner/name`.
        options: those of `huggingface_hub.snapshot_download`: revision, token, cache_dir, local_files_only, ...

    Raises TernzipError where there is neither.
    """
    path = Path(folder_or_repo)
    name = os.fspath(folder_or_repo)
    if path.is_dir():
        return path
    if path.exists() or name.count("/") != 1 or name.startswith((".", "/", "~")):
        found = "a file" if path.exists() else "nothing"
        raise TernzipError(f"{name}: expected a folder, or owner/name of a repository, found {found}")
    require("a repository of the Hub", "hf", "huggingface_hub")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, ignore_patterns=WEIGHTS_OF_OTHERS, **options))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        reason = first_line(error)
        raise TernzipError(f"{name}: no such folder, and the Hub cannot give it: {reason}") from error
