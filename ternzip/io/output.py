"""Where files are written: to a path, where they appear whole or not at all, or into a stream."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import IO, Any

from ternzip._core.streams import ByteStream, check_binary, write_all
from ternzip._core.tensor import RawTensor, Tie
from ternzip.container.progress import Progress
from ternzip.container.writer import Options, write_container
from ternzip.io.atomic import PartFile, atomic_file

Target = str | os.PathLike[str] | ByteStream
"""Where a file goes to: a path, or a stream of bytes."""

_PIECE = 1 << 20


@contextmanager
def open_output(
    target: Target, *, overwrite: bool = True, sources: Iterable[str] = ()
) -> Iterator[IO[bytes]]:
    """A new file to write and to read again in binary, whose bytes reach `target` if the block ends well.

    A stream gets them at the end, as the first bytes of a .tnz file are written last; until then they are in a
    temporary file. `sources` and errors as for `atomic_file`; errors of a stream pass unchanged.
    """
    if isinstance(target, str | os.PathLike):
        with atomic_file(target, overwrite=overwrite, sources=sources) as stream:
            yield stream
        return
    check_binary(target)
    where = f"temporary file in {tempfile.gettempdir()}"  # which may be full where the stream is not
    with (
        tempfile.TemporaryFile(prefix="ternzip-") as temporary,
        io.BufferedRandom(PartFile(os.dup(temporary.fileno()), where)) as stream,
    ):
        yield stream
        stream.seek(0)
        while piece := stream.read(_PIECE):
            write_all(target, piece)


def write_tnz(
    raws: Iterable[tuple[str, RawTensor | Tie]],
    target: Target,
    metadata: Mapping[str, str] | None = None,
    **options: Any,
) -> None:
    """Writes a .tnz file; the arguments are those of `ternzip.save_file`."""
    write = _writer(raws, metadata, **options)
    with open_output(target) as stream:
        write(stream)


def tnz_bytes(
    raws: Iterable[tuple[str, RawTensor | Tie]],
    metadata: Mapping[str, str] | None = None,
    **options: Any,
) -> bytes:
    """The bytes of a .tnz file; the arguments are those of `ternzip.save`."""
    stream = io.BytesIO()
    _writer(raws, metadata, **options)(stream)
    return stream.getvalue()


def _writer(
    raws: Iterable[tuple[str, RawTensor | Tie]],
    metadata: Mapping[str, str] | None,
    *,
    codec: str = "auto",
    effort: int = 2,
    threads: int | None = None,
    progress: Progress | None = None,
    merge_zeros: bool = False,
    extensions: Mapping[str, bytes] | None = None,
) -> Callable[[IO[bytes]], object]:
    """What writes the container to a stream; options that make no sense are refused before there is one."""
    options = Options(codec=codec, effort=effort, merge_zeros=merge_zeros, threads=threads)
    return partial(
        write_container,
        tensors=raws,
        options=options,
        metadata=metadata,
        extensions=extensions,
        progress=progress,
    )
