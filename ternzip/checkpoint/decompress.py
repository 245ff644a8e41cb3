"""Checkpoints back out of .tnz files: what `ternzip decompress` does, for Python."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from ternzip._core.streams import ByteStream, named
from ternzip.checkpoint.base import Source
from ternzip.checkpoint.load import as_reader
from ternzip.checkpoint.origin import suffix_of
from ternzip.checkpoint.store import check_suffix, write_checkpoint
from ternzip.checkpoint.targets import check_target, default_target
from ternzip.container.progress import Progress
from ternzip.container.reader import Reader


@dataclass(frozen=True)
class DecompressReport:
    """What was restored.

    Attributes:
        source: the .tnz file's name.
        target: the checkpoint's name.
        tensors: how many there are, tied ones counted for each name.
        not_stored: what the .tnz file holds and the checkpoint's format does not keep, a few words each.
    """

    source: str
    target: str
    tensors: int
    not_stored: list[str] = field(default_factory=list)


def decompress(
    source: Source | Reader,
    target: str | os.PathLike[str] | ByteStream | None = None,
    *,
    threads: int | None = None,
    overwrite: bool = False,
    max_bytes: int | None = None,
    progress: Progress | None = None,
) -> DecompressReport:
    """Restores the checkpoint in a .tnz file, bit for bit.

    Args:
        source: a .tnz file, a stream with the bytes of one, or a reader that is open already.
        target: a .pt, .pth, .safetensors, .npz, .npy or .gguf file, or a stream, which gets .safetensors; None: the
            source's stem, beside it, with the suffix of what it was made from, else .safetensors. A .gguf file that was
            compressed comes back byte for byte; of other tensors a new one is made, in which ternary weights are
            TQ2_0.
        threads: how many threads decode; None: all processors.
        overwrite: replace the target if it exists; never the source.
        max_bytes: the most bytes that the tensors may take in memory, tied ones counted once; None: no limit. A
            reader that is open already has its own.
        progress: called with a tensor's name and bytes as each is decoded.

    Raises:
        TernzipError: a file that is missing, damaged, hostile or beyond
            `max_bytes`, a tensor the target's format cannot hold, a
            target that exists or cannot be written. No target is left behind.
        ValueError: a stream without a target.
    """
    if target is None and not isinstance(source, str | os.PathLike | Reader):
        raise ValueError("target: expected a path or a stream, as the source is a stream")
    with as_reader(source, max_bytes=max_bytes) as reader:
        place = default_target(reader.name, suffix_of(reader)) if target is None else target
        if isinstance(place, str | os.PathLike):
            check_suffix(place)
            check_target(place, sources=[reader.name], overwrite=overwrite)
        tensors = dict(reader.read_all(threads=threads, progress=progress))
        lost = write_checkpoint(
            tensors,
            place,
            metadata=reader.metadata,
            extensions=reader.extensions,
            overwrite=overwrite,
            sources=[reader.name],
        )
    return DecompressReport(reader.name, named(place), len(tensors), lost)
