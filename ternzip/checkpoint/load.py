"""Finds out what a path or a stream holds and opens it; the contents decide, not the suffix."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ternzip._core.errors import TernzipError
from ternzip._core.extras import require
from ternzip._core.streams import named
from ternzip._core.text import listed
from ternzip.checkpoint.base import LONGEST_SAFETENSORS_HEADER, Checkpoint, Source
from ternzip.checkpoint.gguf.reading import open_gguf
from ternzip.checkpoint.source_file import SourceFile
from ternzip.container.layout import MAGIC
from ternzip.container.reader import Reader
from ternzip.container.sources import BufferSource


@contextmanager
def as_checkpoint(
    source: Source | Checkpoint, *, whole: bool = False, threads: int | None = None
) -> Iterator[Checkpoint]:
    """An open checkpoint, as it is; anything else is opened, and closed in the end."""
    if isinstance(source, Checkpoint):
        yield source
    else:
        with closing(open_checkpoint(source, whole=whole, threads=threads)) as checkpoint:
            yield checkpoint


@contextmanager
def as_reader(source: Source | Reader, *, max_bytes: int | None = None) -> Iterator[Reader]:
    """An open .tnz file, as it is; anything else is opened, and closed in the end."""
    if isinstance(source, Reader):
        yield source
    else:
        with open_tnz(source, max_bytes=max_bytes) as reader:
            yield reader


def open_checkpoint(
    source: Source, *, name: str | None = None, whole: bool = False, threads: int | None = None
) -> Checkpoint:
    """Any checkpoint: .safetensors, .npz, .npy, .gguf, .pt, .pth, .ckpt, a folder with a shard index, .tnz, a pipe or
    a stream. PyTorch's own files need torch.

    Files are read tensor by tensor, so that memory stays near the largest; of the legacy .pt format, of a
    pipe and of a stream, all is read at once. With `whole`, PyTorch's, numpy's and the safetensors library's own
    readers read all at once too, an independent way to the same tensors: it takes memory for the file (twice
    for .safetensors; of shards, one by one). A .tnz file is decoded by `threads` threads, None: all processors.
    Messages call the source `name`.

    Raises TernzipError where it is missing, empty, damaged or holds what is not tensors; MissingPackage where it
    needs torch, which is not installed.
    """
    name = name or named(source)
    content = _content(source, name)
    if isinstance(content, bytes):
        return _from_file(SourceFile(content, name), content, whole, threads)
    target = Path(content)
    if target.is_dir() or target.name.endswith(".index.json"):
        return _from_folder(target, name, whole)
    return _from_file(SourceFile(content, name), content, whole, threads)


def open_tnz(source: Source, *, name: str | None = None, max_bytes: int | None = None) -> Reader:
    """The .tnz file at a path, in a pipe or in a stream; TernzipError where it is missing or damaged.

    Reading refuses tensors that take more than `max_bytes` of memory.
    """
    name = name or named(source)
    content = _content(source, name)
    if isinstance(content, bytes):
        return Reader(BufferSource(content, name), max_bytes=max_bytes)
    if os.path.isfile(content) and not os.path.getsize(content):
        raise TernzipError(f"{name}: expected a .tnz file, found an empty file")
    return Reader.open(content, max_bytes=max_bytes)


def _content(source: Source, name: str) -> str | bytes:
    """The path of a file or folder, or all bytes of what can only be read once: a pipe or a stream."""
    try:
        if not isinstance(source, str | os.PathLike):
            content = source.read()
        else:
            mode = os.stat(source).st_mode
            if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
                return os.fspath(source)
            if not stat.S_ISFIFO(mode):
                raise TernzipError(
                    f"{name}: cannot read: expected a file, a folder or a pipe, found a device"
                )
            content = Path(source).read_bytes()
    except OSError as error:
        raise TernzipError(f"{name}: cannot read: {error.strerror or error}") from None
    if not content:
        raise TernzipError(f"{name}: expected a file's bytes, found none")
    return content


def _from_file(file: SourceFile, content: str | bytes, whole: bool, threads: int | None) -> Checkpoint:
    try:
        head = bytes(file.read(0, min(16, file.size)))
        if not head:
            raise TernzipError(f"{file.name}: expected a checkpoint, found an empty file")
        if head.startswith(MAGIC[:4]):
            return _from_tnz(file, content, threads)
        if head.startswith(b"GGUF"):
            return open_gguf(file)
        # A .tnz file is inspected and verified without what other files need.
        from ternzip.checkpoint import numpy
        from ternzip.checkpoint.safetensors import open_safetensors
        from ternzip.checkpoint.zip_members import ZIP

        if _is_safetensors(head) or file.name.endswith(".safetensors"):
            return open_safetensors(file, whole=whole)
        if head.startswith(numpy.MAGIC):
            return numpy.open_npy(file, whole=whole)
        if (file.name.endswith(".npz") or head.startswith(ZIP)) and numpy.is_npz(file):
            return numpy.open_npz(file, whole=whole)
        require(f"{file.name}: reading a PyTorch checkpoint", "torch", "torch")
        from ternzip.checkpoint.pytorch import open_pytorch

        return open_pytorch(file, whole=whole)
    except BaseException:
        file.close()
        raise


def _is_safetensors(head: bytes) -> bool:
    """The length of a header, then the brace that opens it."""
    length = int.from_bytes(head[:8], "little")
    return len(head) > 8 and head[8:9] == b"{" and length <= LONGEST_SAFETENSORS_HEADER


def _from_folder(target: Path, name: str, whole: bool) -> Checkpoint:
    from ternzip.checkpoint.safetensors import open_safetensors, open_sharded

    if not target.is_dir():
        return open_sharded(target, name, whole=whole)
    indexes = sorted(target.glob("*.safetensors.index.json"))
    files = sorted(target.glob("*.safetensors"))
    checkpoint = None
    if len(indexes) == 1:
        checkpoint = open_sharded(indexes[0], name, whole=whole)
    elif not indexes and len(files) == 1:
        checkpoint = open_safetensors(SourceFile(files[0], name), whole=whole)
    if checkpoint is not None:
        read = {os.path.basename(file) for file in checkpoint.files}
        others = sorted(path.name for path in target.iterdir() if path.name not in read)
        if others:
            checkpoint.not_stored.append(f"what else lies in the folder ({listed(others)})")
        return checkpoint
    raise TernzipError(
        f"{name}: expected one .safetensors.index.json (or one .safetensors file) in the folder, "
        f"found {len(indexes)} and {len(files)}"
    )


def _from_tnz(file: SourceFile, content: str | bytes, threads: int | None) -> Checkpoint:
    reader = Reader(BufferSource(content, file.name)) if isinstance(content, bytes) else Reader.open(content)

    def close() -> None:
        reader.close()
        file.close()

    return Checkpoint(
        file.name,
        lambda: reader.read_all(threads=threads),
        {entry.name: entry.nbytes for entry in reader.entries.values()},
        ties={entry.name: entry.tied_to for entry in reader.entries.values() if entry.tied_to is not None},
        metadata=reader.metadata,
        extensions=reader.extensions,
        files=[] if file.path is None else [file.path],
        file_bytes=file.size,
        close=close,
    )
