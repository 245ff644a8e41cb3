"""numpy arrays in .tnz files, with the verbs of safetensors.numpy: save_file, load_file, save, load.

The files are those of `ternzip.save_file` and hold the same bytes, whoever made them; no torch is needed. Types that
numpy lacks, such as bfloat16, come and go as those of the package ml_dtypes where that is installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from ternzip.container.progress import Progress
from ternzip.container.reader import Reader
from ternzip.io.arrays import to_arrays, with_ties
from ternzip.io.files import check_bytes, check_path
from ternzip.io.output import Target, tnz_bytes, write_tnz

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

__all__ = ["load", "load_file", "save", "save_file"]


def save_file(
    tensor_dict: Mapping[str, NDArray[Any]],
    filename: Target,
    metadata: Mapping[str, str] | None = None,
    **options: Any,
) -> None:
    """Writes arrays to a .tnz file that restores them bit for bit.

    Args:
        tensor_dict: arrays of any shape and order by name. Names that refer to the same view of the same memory are
            stored once. Big-endian ones are stored, and come back, little-endian: the same numbers.
        filename: the file, one that exists is replaced when the new one is complete; or a binary stream to write to.
        metadata: strings by name.
        options: those of `ternzip.save_file`: codec, effort, threads, progress, merge_zeros, extensions.

    Raises as `ternzip.save_file`.
    """
    write_tnz(with_ties(tensor_dict), filename, metadata, **options)


def save(
    tensor_dict: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None, **options: Any
) -> bytes:
    """The bytes that save_file would write."""
    return tnz_bytes(with_ties(tensor_dict), metadata, **options)


def load_file(
    filename: str | os.PathLike[str] | BinaryIO,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
    max_bytes: int | None = None,
) -> dict[str, NDArray[Any]]:
    """All tensors of a .tnz file as arrays, in its order; tied ones are the same object.

    Args:
        filename: the file; or a binary stream, read from where it stands to its end, which stays open.
        threads, progress, max_bytes: as for `ternzip.load_file`.

    Raises TernzipError for a file that is missing, damaged, hostile or beyond `max_bytes`, and for a tensor of a type
    that numpy lacks (bfloat16 and float8 need ml_dtypes): its bits are never shown as those of another type.
    """
    check_path(filename, "load_file")
    with Reader.open(filename, max_bytes=max_bytes) as reader:
        return to_arrays(reader.read_all(threads=threads, progress=progress))


def load(
    data: bytes | bytearray | memoryview,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
    max_bytes: int | None = None,
) -> dict[str, NDArray[Any]]:
    """All tensors of the bytes of a .tnz file; arguments and errors as for load_file."""
    check_bytes(data)
    with Reader.open(data, max_bytes=max_bytes) as reader:
        return to_arrays(reader.read_all(threads=threads, progress=progress))
