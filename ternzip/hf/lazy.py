"""The tensors of one or more .tnz files as a mapping that decodes each when it is asked for."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ternzip._core.errors import TernzipError
from ternzip._core.streams import named
from ternzip.container.describe import TensorInfo
from ternzip.io.opening import safe_open

if TYPE_CHECKING:
    import torch


class LazyTensor:
    """A tensor that is still in its file. Indexing decodes it, in any thread; shape and dtype are in the index.

    transformers (from release 5) takes such objects for the values of a state_dict, as safetensors' own slices.
    """

    def __init__(self, file: safe_open, info: TensorInfo) -> None:
        from ternzip.io.tensors import torch_dtype

        dtype = torch_dtype(info.dtype)
        if dtype is None:
            raise TernzipError(f"{named(file.path)}: tensor {info.name!r}: this torch has no {info.dtype}")
        self.dtype: torch.dtype = dtype
        self.shape = tuple(info.shape)
        self._file = file
        self._name = info.name

    def __getitem__(self, index: Any) -> torch.Tensor:
        """That part of the tensor, in memory of its own; the whole of it is decoded."""
        whole: torch.Tensor = self._file.get_tensor(self._name)
        return whole if index is Ellipsis else whole[index].clone()

    def get_shape(self) -> list[int]:
        """The shape as a list, for those who come from safetensors."""
        return list(self.shape)

    def is_floating_point(self) -> bool:
        """Whether its dtype is one of the floating point types."""
        return self.dtype.is_floating_point

    def __repr__(self) -> str:
        return f"LazyTensor({self._name!r}, shape={self.shape}, dtype={self.dtype})"


class LazyTensors(Mapping[str, LazyTensor]):
    """All tensors of a .tnz file, or of the .tnz files of a folder, by name.

        tensors = ternzip.hf.LazyTensors("folder")
        weight = tensors["model.norm.weight"][...]       # decodes that one

    Args:
        source: a .tnz file, or a folder: all .tnz files directly in it.
        max_bytes: the most bytes of memory that all tensors may take; None: no limit. See `ternzip.load_file`.
        threads: how many threads decode one tensor; None: all processors.

    Raises:
        TernzipError: no .tnz file, one that is damaged or hostile, a name in two files, a dtype that the installed
            torch lacks, tensors beyond `max_bytes`.
    """

    def __init__(
        self, source: str | os.PathLike[str], *, max_bytes: int | None = None, threads: int | None = None
    ) -> None:
        self._files: list[safe_open] = []
        self._tensors: dict[str, LazyTensor] = {}
        self.metadata: dict[str, str] = {}
        try:
            self._open(source, max_bytes, threads)
        except BaseException:
            self.close()
            raise

    def _open(self, source: str | os.PathLike[str], max_bytes: int | None, threads: int | None) -> None:
        owners: dict[str, Path] = {}
        total = 0
        for path in tnz_files(source):
            file = safe_open(path, threads=threads, max_bytes=max_bytes)
            self._files.append(file)
            self.metadata.update(file.metadata() or {})
            for name in file.keys():  # noqa: SIM118 - in the file's order
                if owners.setdefault(name, path) != path:
                    raise TernzipError(
                        f"{path}: tensor {name!r}: expected in one file, found in {owners[name]} too"
                    )
                info = file.info(name)
                tensor = self._tensors[name] = LazyTensor(file, info)
                if info.tied_to is None:
                    total += math.prod(tensor.shape) * tensor.dtype.itemsize
        if max_bytes is not None and total > max_bytes:
            raise TernzipError(
                f"{os.fspath(source)}: expected tensors of at most {max_bytes:,} bytes, found {total:,}"
            )

    def __getitem__(self, name: str) -> LazyTensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def close(self) -> None:
        """Gives the files up; closing twice does no harm."""
        for file in self._files:
            file.close()

    def __enter__(self) -> LazyTensors:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()


def tnz_files(source: str | os.PathLike[str]) -> list[Path]:
    """A .tnz file itself, or those directly in a folder, by name; TernzipError where there are none."""
    path = Path(source)
    if not path.is_dir():
        return [path]
    found = sorted(path.glob("*.tnz"))
    if not found:
        raise TernzipError(f"{path}: expected .tnz files in the folder, found none")
    return found
