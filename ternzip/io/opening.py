"""Single tensors of a .tnz file, with safetensors' verb: safe_open."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

from ternzip._core.errors import TernzipError
from ternzip._core.streams import named
from ternzip._core.text import quoted
from ternzip.container.describe import TensorInfo, describe
from ternzip.container.reader import Reader
from ternzip.io.files import check_path
from ternzip.io.frameworks import framework_named
from ternzip.io.slices import TensorSlice

if TYPE_CHECKING:
    import torch


class safe_open:  # noqa: N801 - the verb of safetensors
    """A .tnz file of which single tensors are read. Several threads may use one::

        with ternzip.safe_open("model.tnz") as f:
            for name in f.keys():                        # or: in f, name in f, len(f)
                weight = f.get_tensor(name)              # reads and checks that tensor's bytes only

            rows = f.get_slice("embed.weight")[10:20]    # and of a large one only what these rows need

    A pickled one opens the file anew where it is unpickled, as in the workers of a DataLoader.

    Args:
        path: the file; or a binary stream, whose file begins where it stands and ends where it ends. It is read by
            position, so leave it alone meanwhile; it stays open.
        framework: what get_tensor gives: "pt" ("torch", "pytorch") or "numpy" ("np").
        device: where get_tensor puts tensors of torch.
        threads: how many threads decode one tensor; None: all processors.
        max_bytes: the most bytes of memory that one tensor or extension may take; None: no limit. See load_file.

    Raises:
        TernzipError: on opening, if the file's index is missing, damaged or hostile.
        ValueError: another framework, or numpy together with a device.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | BinaryIO,
        framework: str = "pt",
        device: str | torch.device = "cpu",
        *,
        threads: int | None = None,
        max_bytes: int | None = None,
    ) -> None:
        self._framework = framework_named(framework, device)
        check_path(path, "safe_open")
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

    def metadata(self) -> dict[str, str] | None:
        """The strings that the file holds beside its tensors; None, as safetensors has it, where there are none."""
        return dict(self._reader.metadata) or None

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

    def get_tensor(self, name: str) -> Any:
        """The tensor of that name; an unknown one raises TernzipError, and so does a file that has been closed."""
        return self._framework.read(self._reader, name, self.threads)

    def get_slice(self, name: str) -> TensorSlice:
        """The tensor of that name while it is in the file: shape and type at once, parts of it by indexing.

            part = f.get_slice("embed.weight")[1000:2000, :16]      # decodes the chunks that hold these rows

        An unknown name raises TernzipError.
        """
        return TensorSlice(self._reader, self._framework, name, self.threads)

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
        return f"safe_open({named(self.path)!r}, device={str(self.device)!r})"

    def __reduce__(self) -> tuple[Callable[..., safe_open], tuple[object, ...]]:
        if not isinstance(self.path, str | os.PathLike):
            raise TypeError(f"cannot pickle safe_open of a stream ({named(self.path)}): open a path")
        again = partial(safe_open, threads=self.threads, max_bytes=self._reader.max_bytes)
        return again, (self.path, self._framework.name, self.device)
