"""Writes tensors as .safetensors, .npz, .npy, .gguf or .pt."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

from ternzip._core.errors import TernzipError
from ternzip._core.extras import require
from ternzip._core.streams import ByteStream, named, write_all
from ternzip._core.tensor import RawTensor, Tie
from ternzip._core.text import listed, quoted
from ternzip.checkpoint.base import LONGEST_SAFETENSORS_HEADER
from ternzip.io.atomic import atomic_file

SUFFIXES = (".pt", ".pth", ".safetensors", ".npz", ".npy", ".gguf")
_OF_TORCH = (".pt", ".pth")
SOURCE = "ternzip.source"
"""The extension that names the kind of file that a .tnz file was made from: its suffix, in ASCII."""
_MAX_COPIES = 1 << 32
"""Bytes that copies of tied tensors may add to a file without ties: a small .tnz can hold any number of them."""

Tensors = Mapping[str, RawTensor | Tie]


def check_suffix(path: str | os.PathLike[str]) -> str:
    """The suffix of a path that can be written, else TernzipError; MissingPackage where that needs torch."""
    suffix = Path(path).suffix
    if suffix not in SUFFIXES:
        found = f"{suffix!r}" if suffix else "no suffix"
        raise TernzipError(
            f"{os.fspath(path)}: expected a name ending in {', '.join(SUFFIXES)}, found {found}"
        )
    if suffix in _OF_TORCH:
        require(f"{os.fspath(path)}: writing a PyTorch file", "torch", "torch")
    return suffix


def write_checkpoint(
    tensors: Tensors,
    target: str | os.PathLike[str] | ByteStream,
    *,
    metadata: Mapping[str, str],
    extensions: Mapping[str, bytes] | None = None,
    overwrite: bool = False,
    sources: Iterable[str] = (),
) -> list[str]:
    """Writes `tensors` in the format of the path's suffix, and returns what that format could not keep.

    A .pt file keeps everything but metadata. A .safetensors file, which a stream gets too, stores tied tensors
    once for each name, in another order where this one would not align them; numpy's files do so in the same order and
    without metadata. A .gguf file is the one that was compressed, where `extensions` hold its head, else a new one. A
    new file is closed to those to whom one of `sources`, the files that the tensors are from, is closed.

    Raises TernzipError for another suffix, for an element type or a name that the format cannot hold (naming
    the tensor), and for a path that cannot be written.
    """
    extensions = extensions or {}
    if not isinstance(target, str | os.PathLike):
        return _write_safetensors(tensors, target, metadata, named(target)) + _without(extensions)
    suffix = check_suffix(target)
    with atomic_file(target, overwrite=overwrite, sources=sources) as stream:
        if suffix == ".gguf":
            return _write_gguf(tensors, stream, metadata, extensions, os.fspath(target))
        if suffix == ".safetensors":
            return _write_safetensors(tensors, stream, metadata, os.fspath(target)) + _without(extensions)
        lost = (
            [f"metadata ({listed(list(metadata))}): a {suffix} file has no place for it"] if metadata else []
        )
        lost += _without(extensions)
        if suffix in _OF_TORCH:
            _write_pt(tensors, stream, os.fspath(target))
            return lost
        return lost + _write_numpy(tensors, stream, suffix, os.fspath(target))


def _without(extensions: Mapping[str, bytes]) -> list[str]:
    """What is lost of them; what a file was made from is no loss to a file."""
    names = [name for name in extensions if name != SOURCE]
    return [f"extensions ({listed(names)}): only a .tnz file has a place for them"] if names else []


def _write_gguf(
    tensors: Tensors,
    stream: ByteStream,
    metadata: Mapping[str, str],
    extensions: Mapping[str, bytes],
    name: str,
) -> list[str]:
    from ternzip.checkpoint.gguf.head import EXTENSION, decode_head
    from ternzip.checkpoint.gguf.writing import export_gguf, restore_gguf

    raws = {key: _resolved(tensors, key) for key in tensors}
    ties = {key: tensor.target for key, tensor in tensors.items() if isinstance(tensor, Tie)}
    _check_copies(raws, ties, name)
    lost = _without({key: body for key, body in extensions.items() if key != EXTENSION})
    if ties:
        lost.append(f"ties ({listed(list(ties))}): .gguf holds a copy for each name")
    if EXTENSION in extensions:
        if metadata:  # they were not in the file that comes back
            lost.append(
                f"metadata ({listed(list(metadata))}): the .gguf file that was compressed has none of them"
            )
        restore_gguf(raws, decode_head(extensions[EXTENSION]), stream, name)
        return lost
    return lost + export_gguf(raws, stream, name, metadata)


def _write_numpy(tensors: Tensors, stream: IO[bytes], suffix: str, name: str) -> list[str]:
    from ternzip.checkpoint.numpy import write_npy, write_npz

    raws = {key: _resolved(tensors, key) for key in tensors}
    ties = {key: tensor.target for key, tensor in tensors.items() if isinstance(tensor, Tie)}
    _check_copies(raws, ties, name)
    lost = [f"ties ({listed(list(ties))}): {suffix} holds a copy for each name"] if ties else []
    if suffix == ".npy":
        return lost + write_npy(raws, stream, name)
    write_npz(raws, stream, name)
    return lost


def _write_pt(tensors: Tensors, stream: IO[bytes], name: str) -> None:
    import torch

    from ternzip.io.tensors import to_tensors

    try:
        torch.save(to_tensors(tensors.items()), stream)
    except RuntimeError as error:  # what torch's zip writer makes of a failed write
        if isinstance(error.__context__, TernzipError):  # which says why
            raise error.__context__ from None
        raise TernzipError(f"{name}: cannot write: {str(error).splitlines()[0]}") from None


def _write_safetensors(
    tensors: Tensors, stream: ByteStream, metadata: Mapping[str, str], name: str
) -> list[str]:
    """Header and tensors one after the other: the library would have all copies of ties in memory at once."""
    ties = {key: tensor.target for key, tensor in tensors.items() if isinstance(tensor, Tie)}
    raws = {key: _resolved(tensors, key) for key in tensors}
    _check_fit(raws, ties, name)
    order = list(raws)
    if not _is_aligned(raws.values()):  # larger elements first, as the library does it
        order.sort(key=lambda key: (-raws[key].dtype.itemsize, key))
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    place = 0
    for key in order:
        raw = raws[key]
        shape = list(raw.shape)
        if raw.dtype.safetensors == "F4":  # torch counts pairs, the format their halves
            shape[-1] *= 2
        end = place + raw.data.nbytes
        header[key] = {"dtype": raw.dtype.safetensors, "shape": shape, "data_offsets": [place, end]}
        place = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > LONGEST_SAFETENSORS_HEADER:
        raise TernzipError(
            f"{name}: names, shapes and metadata: a .safetensors file takes {LONGEST_SAFETENSORS_HEADER:,} bytes of "
            f"them, found {len(text):,}: decompress to .pt"
        )
    write_all(stream, len(text).to_bytes(8, "little") + text)
    for key in order:
        write_all(stream, raws[key].data.data)
    lost = []
    if ties:
        lost.append(f"ties ({listed(list(ties))}): .safetensors holds a copy for each name")
    if list(raws) != order:
        lost.append("the order of tensors: in .safetensors larger elements come first, then it goes by name")
    return lost


def _is_aligned(raws: Iterable[RawTensor]) -> bool:
    """Whether, one after the other, each begins at a multiple of its element's size."""
    place = 0
    for raw in raws:
        if place % raw.dtype.itemsize:
            return False
        place += raw.data.nbytes
    return True


def _resolved(tensors: Tensors, key: str) -> RawTensor:
    tensor = tensors[key]
    target = tensors[tensor.target] if isinstance(tensor, Tie) else tensor
    assert isinstance(target, RawTensor)  # a tie is to a tensor that has elements of its own
    return target


def _check_fit(raws: Mapping[str, RawTensor], ties: Mapping[str, str], name: str) -> None:
    for key, raw in raws.items():
        if key == "__metadata__":
            raise TernzipError(
                f"{name}: tensor {quoted(key)}: .safetensors reserves the name: decompress to .pt"
            )
        if raw.dtype.safetensors is None or (raw.dtype.safetensors == "F4" and not raw.shape):
            raise TernzipError(
                f"{name}: tensor {quoted(key)}: .safetensors has no {raw.dtype.name}: decompress to .pt"
            )
    _check_copies(raws, ties, name)


def _check_copies(raws: Mapping[str, RawTensor], ties: Mapping[str, str], name: str) -> None:
    copied = 0
    for key in ties:
        copied += raws[key].data.nbytes
        if copied > _MAX_COPIES:
            raise TernzipError(
                f"{name}: tensor {quoted(key)}: tied to {quoted(ties[key])}: expected at most {_MAX_COPIES:,} bytes "
                f"of copies in a {Path(name).suffix or '.safetensors'} file, found {copied:,} so far: "
                "decompress to .pt, which keeps ties"
            )
