"""Writes tensors as .pt or .safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import safetensors.torch
import torch

from ternzip._core import dtypes
from ternzip._core.errors import TernzipError
from ternzip.io.atomic import atomic_file, atomic_path

SUFFIXES = (".pt", ".pth", ".safetensors")


def check_suffix(path: str) -> str:
    """The suffix of a path that can be written, else TernzipError."""
    suffix = Path(path).suffix
    if suffix not in SUFFIXES:
        found = f"{suffix!r}" if suffix else "no suffix"
        raise TernzipError(f"{path}: expected a name ending in {', '.join(SUFFIXES)}, found {found}")
    return suffix


def write_checkpoint(
    tensors: Mapping[str, torch.Tensor], path: str, *, metadata: Mapping[str, str], overwrite: bool = False
) -> list[str]:
    """Writes `tensors` in the format of the path's suffix, and returns what that format could not keep.

    A .pt file keeps everything but metadata. A .safetensors file stores tied tensors once for each name, in
    an order of its own. Raises TernzipError for another suffix, for an element type or a name that
    .safetensors cannot hold (naming the tensor), and for a path that cannot be written.
    """
    if check_suffix(path) == ".safetensors":
        separate, lost = _for_safetensors(tensors, path)
        with atomic_path(path, overwrite=overwrite) as temporary:
            try:
                safetensors.torch.save_file(separate, temporary, metadata=dict(metadata) or None)
            except safetensors.SafetensorError as error:
                raise OSError(str(error)) from None
        return lost
    with atomic_file(path, overwrite=overwrite) as stream:
        try:
            torch.save(dict(tensors), stream)
        except RuntimeError as error:  # what torch's zip writer makes of a failed write
            raise TernzipError(f"{path}: cannot write: {str(error).splitlines()[0]}") from None
    return [f"metadata ({len(metadata)} entries) has no place in a .pt file"] if metadata else []


def write_safetensors(
    tensors: Mapping[str, torch.Tensor], stream: BinaryIO, *, metadata: Mapping[str, str]
) -> list[str]:
    """The same as .safetensors into a stream that need not be a file."""
    separate, lost = _for_safetensors(tensors, "<stdout>")
    stream.write(safetensors.torch.save(separate, metadata=dict(metadata) or None))
    return lost


def _for_safetensors(
    tensors: Mapping[str, torch.Tensor], path: str
) -> tuple[dict[str, torch.Tensor], list[str]]:
    owners: dict[int, str] = {}
    separate: dict[str, torch.Tensor] = {}
    lost: list[str] = []
    for name, tensor in tensors.items():
        if name == "__metadata__":
            raise TernzipError(f"{path}: tensor {name!r}: .safetensors reserves the name: decompress to .pt")
        kind = dtypes.BY_NAME[str(tensor.dtype).removeprefix("torch.")]
        if kind.safetensors is None:
            raise TernzipError(f"{path}: tensor {name!r}: .safetensors has no {kind.name}: decompress to .pt")
        owner = owners.setdefault(id(tensor), name)
        separate[name] = tensor if owner == name else tensor.clone()
        if owner != name:
            lost.append(f"tensor {name!r} is tied to {owner!r}: .safetensors holds it twice")
    if list(separate) != sorted(separate, key=lambda name: (-separate[name].element_size(), name)):
        lost.append("the order of tensors is .safetensors' own (by type, then by name)")
    return separate, lost
