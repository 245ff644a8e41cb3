"""Tensors of torch in .tnz files, with the verbs of safetensors: save_file, load_file, save, load."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, BinaryIO

from ternzip._core.extras import require
from ternzip.container.progress import Progress
from ternzip.container.reader import Reader
from ternzip.io.output import Target, tnz_bytes, write_tnz

if TYPE_CHECKING:
    import torch


def save_file(
    tensors: Mapping[str, torch.Tensor],
    path: Target,
    metadata: Mapping[str, str] | None = None,
    *,
    codec: str = "auto",
    effort: int = 2,
    threads: int | None = None,
    progress: Progress | None = None,
    merge_zeros: bool = False,
    extensions: Mapping[str, bytes] | None = None,
) -> None:
    """Writes `tensors` to a .tnz file that restores them bit for bit.

    Args:
        tensors: dense tensors of any shape, layout and device by name. Names that refer to the same view of
            the same memory are stored once and come back tied; views that merely overlap are stored apart. A
            mapping may make its tensors as they are asked for, each in memory of its own. None of them may be
            changed before the call returns.
        path: the file, one that exists is replaced when the new one is complete; or a binary stream to write to.
        metadata: strings by name.
        codec: for ternary tensors: "auto" (the smallest for each), "context", "fast", "static" or "packed".
        effort: 1 to 3: how much time `context` may take, in both directions, for a smaller file.
        threads: how many threads compress; None: all processors. The file does not depend on it.
        progress: called with a tensor's name and bytes as each is written, tied ones too: in all, the bytes of all
            values of `tensors`. What it raises passes unchanged, and no file is left.
        merge_zeros: store -0.0 in ternary tensors as +0.0, giving up their signs.
        extensions: bytes by name, stored beside the tensors for readers that know them; all others pass over them.
            At most 256, with names of 1 to 255 bytes; those that begin with ``tnz.`` are for later editions of the
            format.

    Raises:
        TernzipError: a tensor, a name, metadata or extensions the format cannot hold (named), or a path that cannot be
            written. Of tensors and their names also a ValueError and a RuntimeError, as safetensors has them.
        ValueError: an unknown codec or effort, or threads below 1.
    """
    _require_torch()
    from ternzip.io.tensors import with_ties

    write_tnz(
        with_ties(tensors),
        path,
        metadata,
        codec=codec,
        effort=effort,
        threads=threads,
        progress=progress,
        merge_zeros=merge_zeros,
        extensions=extensions,
    )


def save(
    tensors: Mapping[str, torch.Tensor],
    metadata: Mapping[str, str] | None = None,
    *,
    codec: str = "auto",
    effort: int = 2,
    threads: int | None = None,
    progress: Progress | None = None,
    merge_zeros: bool = False,
    extensions: Mapping[str, bytes] | None = None,
) -> bytes:
    """The bytes that save_file would write."""
    _require_torch()
    from ternzip.io.tensors import with_ties

    return tnz_bytes(
        with_ties(tensors),
        metadata,
        codec=codec,
        effort=effort,
        threads=threads,
        progress=progress,
        merge_zeros=merge_zeros,
        extensions=extensions,
    )


def load_file(
    path: str | os.PathLike[str] | BinaryIO,
    device: str | torch.device = "cpu",
    *,
    out: Mapping[str, torch.Tensor] | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    max_bytes: int | None = None,
) -> dict[str, torch.Tensor]:
    """All tensors of a .tnz file, in its order; tied ones are the same object.

    On a CUDA device that the native kernels serve, what `fast` holds is decoded there.

    Args:
        path: the file; or a binary stream, read from where it stands to its end, which stays open.
        device: where the tensors are put.
        out: tensors that exist, a module's state_dict() for one, to be filled and returned instead of new ones: by
            exactly the names in the file, of the same types and shapes, plain, contiguous and on the CPU. Names that
            the file ties may be one tensor or several; others must not share memory. Where the file turns out to be
            damaged, an error is raised and what `out` holds is undefined.
        threads: how many threads decompress; None: all processors.
        progress: called with a tensor's name and bytes as each is read, tied ones too.
        max_bytes: the most bytes that the tensors may take in memory, tied ones counted once; None: no limit. A
            file from a stranger needs one: a byte of it may stand for 2^19 elements, so a few kilobytes can ask
            for more memory than there is, and for the time to fill it.

    Raises:
        TernzipError: a file that is missing, damaged, hostile, or beyond `max_bytes`, and what does not fit in
            `out` (one that requires grad among it, unless grad mode is off); for the last two, before anything is
            decoded or written.
        ValueError: `out` together with a device other than the CPU.
    """
    check_path(path, "load_file")
    with Reader.open(path, max_bytes=max_bytes) as reader:
        return _all_tensors(reader, device, out, threads, progress)


def load(
    data: bytes | bytearray | memoryview,
    device: str | torch.device = "cpu",
    *,
    out: Mapping[str, torch.Tensor] | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    max_bytes: int | None = None,
) -> dict[str, torch.Tensor]:
    """All tensors of the bytes of a .tnz file; arguments and errors as for load_file."""
    check_bytes(data)
    with Reader.open(data, max_bytes=max_bytes) as reader:
        return _all_tensors(reader, device, out, threads, progress)


def check_path(path: object, verb: str) -> None:
    """TypeError for bytes where a verb takes a path."""
    if isinstance(path, bytes | bytearray | memoryview):
        raise TypeError(f"{verb} takes a path; load takes bytes")


def check_bytes(data: object) -> None:
    """TypeError for what is not bytes."""
    if not isinstance(data, bytes | bytearray | memoryview):
        hint = "; load_file takes a path" if isinstance(data, str | os.PathLike) else ""
        raise TypeError(f"load takes bytes, got {type(data).__name__}{hint}")


def _all_tensors(
    reader: Reader,
    device: str | torch.device,
    out: Mapping[str, torch.Tensor] | None,
    threads: int | None,
    progress: Progress | None,
) -> dict[str, torch.Tensor]:
    _require_torch()
    if out is not None:
        return _fill(reader, device, out, threads, progress)
    from ternzip.io.device_decoding import offload_to
    from ternzip.io.tensors import to_tensors

    return to_tensors(reader.read_all_with(offload_to(device), threads=threads, progress=progress), device)


def _fill(
    reader: Reader,
    device: str | torch.device,
    out: Mapping[str, torch.Tensor],
    threads: int | None,
    progress: Progress | None,
) -> dict[str, torch.Tensor]:
    import torch

    from ternzip.io import destinations

    if torch.device(device).type != "cpu":
        raise ValueError(f"device: expected the CPU together with out, got {device}")
    reader.check_limit()
    reader.check_codecs()
    into = destinations.destinations(reader, out)
    for _ in reader.read_all_with(None, threads=threads, progress=progress, into=into):
        pass
    return destinations.finish(reader, out)


def _require_torch() -> None:
    require(
        "ternzip's load and save for tensors of torch (ternzip.numpy has them for arrays)", "torch", "torch"
    )
