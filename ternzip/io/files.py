"""Ternzip files from Python, with the verbs of safetensors: save_file, load_file, save, load, safe_open."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

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
    *,
    codec: str = "auto",
    effort: int = 2,
    metadata: Mapping[str, str] | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    merge_zeros: bool = False,
) -> None:
    """Writes `tensors` to a .tnz file that restores them bit for bit.

    Args:
        tensors: dense tensors of any shape, layout and device by name. Names that refer to the same view of
            the same storage are stored once and come back tied.
        path: the file; one that exists is replaced when the new one is complete.
        codec: for ternary tensors: "auto" (the smallest for each), "context", "fast", "static" or "packed".
        effort: 1 to 3: how much time `context` may take, in both directions, for a smaller file.
        metadata: strings by name.
        threads: how many threads compress; None: all processors. The file does not depend on it.
        progress: called with a tensor's name and bytes as each is written.
        merge_zeros: store -0.0 in ternary tensors as +0.0, giving up their signs.

    Raises:
        TernzipError: a tensor the format cannot hold (named), or a path that cannot be written.
        ValueError: an unknown codec or effort, or threads below 1.
    """
    from ternzip.io.tensors import with_ties

    options = Options(codec=codec, effort=effort, merge_zeros=merge_zeros, threads=threads)
    with atomic_file(path) as stream:
        write_container(stream, with_ties(tensors), options=options, metadata=metadata, progress=progress)


def save(
    tensors: Mapping[str, torch.Tensor],
    *,
    codec: str = "auto",
    effort: int = 2,
    metadata: Mapping[str, str] | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    merge_zeros: bool = False,
) -> bytes:
    """The bytes that save_file would write."""
    from ternzip.io.tensors import with_ties

    options = Options(codec=codec, effort=effort, merge_zeros=merge_zeros, threads=threads)
    stream = io.BytesIO()
    write_container(stream, with_ties(tensors), options=options, metadata=metadata, progress=progress)
    return stream.getvalue()


def load_file(
    path: str | os.PathLike[str],
    *,
    device: str | torch.device = "cpu",
    threads: int | None = None,
    progress: Progress | None = None,
) -> dict[str, torch.Tensor]:
    """All tensors of a .tnz file, in its order; tied ones are the same object.

    On a CUDA device that the native kernels serve, what `fast` holds is decoded there.

    Raises TernzipError for a file that is missing, damaged or hostile.
    """
    from ternzip.io.device_decoding import offload_to
    from ternzip.io.tensors import to_tensors

    with Reader.open(path) as reader:
        return to_tensors(
            reader.read_all_with(offload_to(device), threads=threads, progress=progress), device
        )


def load(
    data: bytes | bytearray | memoryview, *, device: str | torch.device = "cpu", threads: int | None = None
) -> dict[str, torch.Tensor]:
    """All tensors of the bytes of a .tnz file."""
    from ternzip.io.device_decoding import offload_to
    from ternzip.io.tensors import to_tensors

    with Reader.open(data) as reader:
        return to_tensors(reader.read_all_with(offload_to(device), threads=threads), device)


@dataclass
class safe_open:  # noqa: N801 - the verb of safetensors
    """A .tnz file of which single tensors are read.

        with ternzip.safe_open("model.tnz") as f:
            weight = f.get_tensor("conv1.weight")    # reads and checks that tensor's bytes only

    Args:
        path: the file.
        device: where get_tensor puts tensors.
        threads: how many threads decode one tensor; None: all processors.

    Raises TernzipError on opening if the file's index is missing, damaged or hostile.
    """

    path: str | os.PathLike[str]
    device: str | torch.device = "cpu"
    threads: int | None = None

    def __post_init__(self) -> None:
        self._reader = Reader.open(self.path)

    def keys(self) -> list[str]:
        """Names of all tensors, in the file's order."""
        return list(self._reader.entries)

    def metadata(self) -> dict[str, str]:
        return dict(self._reader.metadata)

    def info(self, name: str) -> TensorInfo:
        """What the index says of a tensor: shape, dtype, codec, levels, counts, bytes. Decodes nothing."""
        return describe(self._reader, name)

    def get_tensor(self, name: str) -> torch.Tensor:
        """The tensor of that name; an unknown one raises TernzipError."""
        from ternzip.io.device_decoding import offload_to
        from ternzip.io.tensors import from_raw

        offload = offload_to(self.device)
        return from_raw(name, self._reader.read_with(offload, name, threads=self.threads), self.device)

    def close(self) -> None:
        self._reader.close()

    def __enter__(self) -> safe_open:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
