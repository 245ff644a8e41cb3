"""numpy's own files: .npy, one array, and .npz, a zip file of them.

Headers are read and checked here, and each array's bytes when it is wanted. With `whole`, numpy itself reads
everything: an independent way to the same arrays. Nothing is unpickled either way.
"""

from __future__ import annotations

import ast
import math
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from operator import getitem
from typing import IO, Any

import numpy as np

from ternzip._core import dtypes
from ternzip._core.dtypes import DType
from ternzip._core.errors import TernzipError
from ternzip._core.tensor import RawTensor, Tie
from ternzip._core.text import first_line, listed, quoted
from ternzip.checkpoint.base import Checkpoint, located
from ternzip.checkpoint.source_file import SourceFile
from ternzip.checkpoint.zip_members import ZipMembers
from ternzip.container.limits import shape_problem
from ternzip.io.arrays import from_raw, numpy_dtype, to_raw

MAGIC = b"\x93NUMPY"
LONE = "tensor"
"""The name of the one array of a .npy file, which has none, as of a lone tensor in a .pt file."""

_MEMBER = ".npy"
_LONGEST_HEADER = 1 << 16
_LENGTHS = {1: 2, 2: 4, 3: 4}
"""Bytes of the header's length by version."""
_LONG_SUFFIX = re.compile(r"(?<=\d)L(?=\s*[,)])")
"""What Python 2 wrote behind a long integer of a shape: (3L, 4L)."""


@dataclass(frozen=True)
class _Header:
    """What precedes the elements: `size` is its own bytes, `swapped` whether the elements are big-endian."""

    dtype: DType
    swapped: bool
    fortran: bool
    shape: tuple[int, ...]
    size: int

    @property
    def nbytes(self) -> int:
        """Bytes of the elements."""
        return math.prod(self.shape) * self.dtype.itemsize

    def tensor(self, data: bytearray) -> RawTensor:
        """The array in C order, little-endian, from its elements as they lie in the file."""
        raw = np.frombuffer(data, np.uint8)
        if self.fortran and len(self.shape) > 1:
            items = raw.view(f"V{self.dtype.itemsize}").reshape(self.shape, order="F")
            raw = np.ascontiguousarray(items).reshape(-1).view(np.uint8)
        if self.swapped:
            raw = raw.view(f"u{self.dtype.plane_width}").byteswap().view(np.uint8)
        return RawTensor(self.dtype, self.shape, raw)


def is_npz(file: SourceFile) -> bool:
    """Whether a zip file is one of arrays: it has a member whose name ends in .npy, and none that PyTorch's have.

    The file's own name decides where the members do not.
    """
    is_called_so = file.name.endswith(".npz")
    try:
        names = list(ZipMembers(file, "zip file").infos)
    except TernzipError:  # PyTorch's are the commoner ones: their reader says what is wrong
        return is_called_so
    if any(name.rpartition("/")[2] == "data.pkl" for name in names):
        return False
    return is_called_so or any(name.endswith(_MEMBER) for name in names)


def open_npz(file: SourceFile, *, whole: bool = False) -> Checkpoint:
    """The arrays of a .npz file by name, in the order of its directory.

    Raises TernzipError for a file that is damaged, and for arrays of a type without a code: strings, objects,
    structures.
    """
    members = ZipMembers(file, "npz file")
    headers: dict[str, _Header] = {}
    others = [name for name in members.infos if not name.endswith(_MEMBER)]
    for member, info in members.infos.items():
        if member in others:
            continue
        where = f"{file.name}: tensor {quoted(member.removesuffix(_MEMBER))}"
        if not members.is_readable(member):
            raise TernzipError(f"{where}: expected a member that is stored or deflated, found another kind")
        header = _read_header(members.head(member, _LONGEST_HEADER), where)
        if header.size + header.nbytes != info.file_size:
            raise TernzipError(
                f"{where}: expected {header.size + header.nbytes:,} bytes, found {info.file_size:,}"
            )
        headers[member.removesuffix(_MEMBER)] = header

    def read(name: str) -> bytearray:
        data = members.read(name + _MEMBER)
        del data[: headers[name].size]
        return data

    return _checkpoint(file, headers, read, ".npz", others, whole)


def open_npy(file: SourceFile, *, whole: bool = False) -> Checkpoint:
    """The one array of a .npy file, under the name `LONE`; raises as `open_npz`."""
    header = _read_header(bytes(file.read(0, min(file.size, _LONGEST_HEADER))), file.name)
    if header.size + header.nbytes != file.size:
        raise TernzipError(
            f"{file.name}: expected {header.size + header.nbytes:,} bytes, found {file.size:,}"
        )
    return _checkpoint(
        file, {LONE: header}, lambda _: file.read(header.size, header.nbytes), ".npy", [], whole
    )


def _checkpoint(
    file: SourceFile,
    headers: Mapping[str, _Header],
    read: Callable[[str], bytearray],
    suffix: str,
    others: list[str],
    whole: bool,
) -> Checkpoint:
    def tensors() -> Iterator[tuple[str, RawTensor | Tie]]:
        if whole:
            yield from _read_by_numpy(file, headers)
        else:
            for name, header in headers.items():
                yield name, header.tensor(read(name))
        file.check_unchanged()

    swapped = [name for name, header in headers.items() if header.swapped]
    fortran = [name for name, header in headers.items() if header.fortran and len(header.shape) > 1]
    not_stored = [f"members that are no arrays ({listed(others)})"] if others else []
    if swapped:
        not_stored.append(
            f"big-endian order of bytes: the same numbers come back little-endian ({listed(swapped)})"
        )
    if fortran:
        not_stored.append(f"Fortran order of elements: they come back in C order ({listed(fortran)})")
    return Checkpoint(
        file.name,
        lambda: located(file.name, tensors()),
        {name: header.nbytes for name, header in headers.items()},
        not_stored=not_stored,
        faithful=False,
        suffix=suffix,
        files=[] if file.path is None else [file.path],
        file_bytes=file.size,
        close=file.close,
    )


def _read_header(head: bytes, where: str) -> _Header:
    """Magic, version, length, and a dictionary in the syntax of Python's literals."""

    def expect(holds: bool, problem: str) -> None:
        if not holds:
            raise TernzipError(f"{where}: not a readable array of numpy: {problem}")

    expect(head.startswith(MAGIC) and len(head) >= 8, f"expected it to start with {MAGIC!r}")
    version = head[6]
    expect(version in _LENGTHS, f"expected a version of 1 to 3, found {version}")
    start = 8 + _LENGTHS[version]
    size = start + int.from_bytes(head[8:start], "little")
    expect(
        start <= len(head) and size <= len(head),
        f"expected a header of at most {len(head):,} bytes, found {size:,}",
    )
    try:
        text = head[start:size].decode("utf-8" if version == 3 else "latin-1")
        fields = ast.literal_eval(_LONG_SUFFIX.sub("", text).strip())
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        reason = first_line(error)
        raise TernzipError(f"{where}: not a readable array of numpy: header: {reason}") from None
    known = isinstance(fields, dict) and set(fields) == {"descr", "fortran_order", "shape"}
    expect(known, "expected a header of descr, fortran_order and shape")
    descr, fortran, shape = fields["descr"], fields["fortran_order"], fields["shape"]
    # An integer of thousands of digits, or what holds one, has no text: found values are named by their types.
    expect(
        isinstance(fortran, bool),
        f"expected fortran_order to be True or False, found {type(fortran).__name__}",
    )
    expect(
        isinstance(shape, tuple) and all(type(length) is int and 0 <= length < 1 << 63 for length in shape),
        "expected a shape of lengths",
    )
    if not isinstance(descr, str) or descr not in _DESCRIPTIONS:
        kind = (
            descr[:40] if isinstance(descr, str) else f"an element type described by a {type(descr).__name__}"
        )
        raise TernzipError(f"{where}: cannot store {kind}: the format has no code for it")
    dtype = _DESCRIPTIONS[descr]
    problem = shape_problem(shape, dtype)
    if problem:
        raise TernzipError(f"{where}: {problem}")
    return _Header(dtype, descr.startswith(">"), fortran, shape, size)


def _descriptions() -> dict[str, DType]:
    """The element types of a header: "<f4", ">f4", "|b1", ..."""
    found = {}
    for dtype in dtypes.BY_NAME.values():
        kind = numpy_dtype(dtype.name)
        # Of numpy's own: it reads no others back, although some of ml_dtypes say that they are of a kind of its.
        if kind is not None and kind.kind in "fiucb" and kind.isbuiltin == 1:
            for order in "<>|":
                found[f"{order}{kind.kind}{kind.itemsize}"] = dtype
    return found


_DESCRIPTIONS = _descriptions()


def _read_by_numpy(file: SourceFile, headers: Mapping[str, _Header]) -> Iterator[tuple[str, RawTensor]]:
    file.stream.seek(0)
    try:
        loaded = _without_advice(lambda: np.load(file.stream, allow_pickle=False))
        for name in headers:
            # By the member's whole name: without the suffix it might be that of another one.
            member = partial(getitem, loaded, name + _MEMBER)
            yield name, to_raw(name, loaded if isinstance(loaded, np.ndarray) else _without_advice(member))
    except (ValueError, EOFError, KeyError, OSError, zipfile.BadZipFile, zlib.error) as error:
        reason = first_line(error)
        raise TernzipError(f"{file.name}: numpy cannot read it: {reason}") from None


def _without_advice(load: Callable[[], Any]) -> Any:
    """What numpy loads; it advises to save files of Python 2 again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load()


def write_npz(raws: Mapping[str, RawTensor], stream: IO[bytes], name: str) -> None:
    """Writes a .npz file, not compressed, of these arrays in their order; TernzipError for one it cannot hold."""
    for key, raw in raws.items():
        _check_fit(key, raw, name)
        longest = 0xFFFF - len(_MEMBER)
        if "\0" in key or len(key.encode()) > longest:
            raise TernzipError(
                f"{name}: tensor {quoted(key)}: a .npz file takes names of at most {longest:,} bytes without NUL"
            )
    with zipfile.ZipFile(stream, "w") as archive:
        for key, raw in raws.items():
            # A ZipInfo of its own has a fixed date: the same arrays give the same bytes.
            with archive.open(zipfile.ZipInfo(key + _MEMBER), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, from_raw(key, raw), allow_pickle=False)


def write_npy(raws: Mapping[str, RawTensor], stream: IO[bytes], name: str) -> list[str]:
    """Writes a .npy file of the one array and returns what it could not keep.

    TernzipError where there are more or it cannot hold it.
    """
    if len(raws) != 1:
        raise TernzipError(
            f"{name}: expected one tensor for a .npy file, found {len(raws):,}: decompress to .npz"
        )
    ((key, raw),) = raws.items()
    _check_fit(key, raw, name)
    np.lib.format.write_array(stream, from_raw(key, raw), allow_pickle=False)
    return (
        [] if key == LONE else [f"the name of the tensor ({listed([key])}): a .npy file has no place for it"]
    )


def _check_fit(key: str, raw: RawTensor, name: str) -> None:
    """numpy would write types of ml_dtypes too, but as bytes that nothing tells apart."""
    if raw.dtype not in _DESCRIPTIONS.values():
        way = ".safetensors" if raw.dtype.safetensors is not None else ".pt"
        raise TernzipError(
            f"{name}: tensor {quoted(key)}: numpy's files have no {raw.dtype.name}: decompress to {way}"
        )
