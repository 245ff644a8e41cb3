"""The tensors of one or more .tnz files as a mapping that decodes each when it is asked for."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from ternzip._core.errors import TernzipError
from ternzip.io.opening import safe_open
from ternzip.io.slices import TensorSlice


class LazyTensors(Mapping[str, TensorSlice]):
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
        self._tensors: dict[str, TensorSlice] = {}
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
                tensor = self._tensors[name] = file.get_slice(name)
                if file.info(name).tied_to is None:
                    total += math.prod(tensor.shape) * tensor.dtype.itemsize
        if max_bytes is not None and total > max_bytes:
            raise TernzipError(
                f"{os.fspath(source)}: expected tensors of at most {max_bytes:,} bytes, found {total:,}"
            )

    def __getitem__(self, name: str) -> TensorSlice:
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
