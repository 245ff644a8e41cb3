"""Ternzip files from Python, with the verbs of safetensors: save_file, load_file, save, load, safe_open."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

from ternzip._core.errors import TernzipError
from ternzip._core.text import quoted
from ternzip.container.describe import TensorInfo, describe
from ternzip.container.progress import Progress
from ternzip.container.reader import Reader
from ternzip.container.writer import Options, write_container
from ternzip.io.atomic import atomic_file

if TYPE_CHECKING:
    import torch


def save_file(
    tensors: Mapping[str, torch.Tensor],
    path: str | os.PathLike[str],
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
        path: the file; one that exists is replaced when the new one is complete.
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
            written.
        ValueError: an unknown codec or effort, or threads below 1.
    """
    from ternzip.io.tensors import with_ties

    options = Options(codec=codec, effort=effort, merge_zeros=merge_zeros, threads=threads)
    with atomic_file(path) as stream:
        write_container(
            stream,
            with_ties(tensors),
            options=options,
            metadata=metadata,
            extensions=extensions,
            progress=progress,
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
    from ternzip.io.tensors import with_ties

    options = Options(codec=codec, effort=effort, merge_zeros=merge_zeros, threads=threads)
    stream = io.BytesIO()
    write_container(
        stream,
        with_ties(tensors),
        options=options,
        metadata=metadata,
        extensions=extensions,
        progress=progress,
    )
    return stream.getvalue()


def load_file(
    path: str | os.PathLike[str],
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
        path: the file.
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
    if isinstance(path, bytes | bytearray | memoryview):
        raise TypeError("load_file takes a path; load takes bytes")
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
    _check_bytes(data)
    with Reader.open(data, max_bytes=max_bytes) as reader:
        return _all_tensors(reader, device, out, threads, progress)


def _check_bytes(data: object) -> None:
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


class safe_open:  # noqa: N801 - the verb of safetensors
    """A .tnz file of which single tensors are read. Several threads may use one.

        with ternzip.safe_open("model.tnz") as f:
            for name in f.keys():                        # or: in f, name in f, len(f)
                weight = f.get_tensor(name)              # reads and checks that tensor's bytes only

    A pickled one opens the file anew where it is unpickled, as in the workers of a DataLoader.

    Args:
        path: the file.
        framework: "pt", the only one; for those who come from safetensors.
        device: where get_tensor puts tensors.
        threads: how many threads decode one tensor; None: all processors.
        max_bytes: the most bytes of memory that one tensor or extension may take; None: no limit. See load_file.

    Raises:
        TernzipError: on opening, if the file's index is missing, damaged or hostile.
        ValueError: another framework.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        framework: str = "pt",
        device: str | torch.device = "cpu",
        *,
        threads: int | None = None,
        max_bytes: int | None = None,
    ) -> None:
        if framework != "pt":
            raise ValueError(f"framework: expected 'pt', got {framework!r}")
        if isinstance(path, bytes | bytearray | memoryview):
            raise TypeError("safe_open takes a path; load takes bytes")
        self.path = path
        self.device = device
        self.threads = threads
        self._reader = Reader.open(path, max_bytes=max_bytes)

    def keys(self) -> list[str]:
        """Names of all tensors, in the file's order."""
        return list(self._reader.entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, name: object) -> bool:
        return name in self._reader.entries

    def __len__(self) -> int:
        return len(self._reader.entries)

    def metadata(self) -> dict[str, str]:
        """The strings that the file holds beside its tensors; empty where there are none."""
        return dict(self._reader.metadata)

    def extensions(self) -> list[str]:
        """Names of the extensions, bytes that the file holds beside its tensors; empty where there are none."""
        return list(self._reader.extensions)

    def extension(self, name: str) -> bytes:
        """The bytes of an extension, read and checked now; TernzipError for an unknown one, and beyond max_bytes."""
        found = self._reader.extensions
        if name not in found:
            raise TernzipError(f"{self._reader.name}: no extension {quoted(name)} among {len(found)}")
        return found[name]

    def info(self, name: str) -> TensorInfo:
        """What the index says of a tensor: shape, dtype, codec, levels, counts, bytes. Decodes nothing."""
        return describe(self._reader, name)

    def get_tensor(self, name: str) -> torch.Tensor:
        """The tensor of that name; an unknown one raises TernzipError, and so does a file that has been closed."""
        from ternzip.io.device_decoding import offload_to
        from ternzip.io.tensors import from_raw

        offload = offload_to(self.device)
        return from_raw(name, self._reader.read_with(offload, name, threads=self.threads), self.device)

    def close(self) -> None:
        """Gives the file up. Names, metadata and info stay; closing twice does no harm."""
        self._reader.close()

    def __enter__(self) -> safe_open:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"safe_open({os.fspath(self.path)!r}, device={str(self.device)!r})"

    def __reduce__(self) -> tuple[Callable[..., safe_open], tuple[object, ...]]:
        again = partial(safe_open, threads=self.threads, max_bytes=self._reader.max_bytes)
        return again, (self.path, "pt", self.device)
