"""PyTorch's own files: zip and legacy, loaded without running any code from them."""

from __future__ import annotations

import io
import os
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import BinaryIO

import torch
from torch.nn.parameter import is_lazy

from ternzip._core.errors import TernzipError
from ternzip.checkpoint.base import Checkpoint, located
from ternzip.io.tensors import with_ties

_MAX_DEPTH = 32  # of dictionaries within dictionaries
_MAX_DICTIONARIES = 1 << 20  # counted as often as they are referred to


def open_pytorch(source: str | os.PathLike[str] | bytes, name: str) -> Checkpoint:
    """The tensors of a .pt, .pth, .bin or .ckpt file.

    Files in the zip format are mapped into memory, not read. Raises TernzipError for a file that is no
    checkpoint, is damaged, or holds anything `weights_only` unpickling refuses.
    """
    loaded = _load(source, name)
    tensors, skipped = find_tensors(loaded, name)
    sizes = {key: _size(tensor) for key, tensor in tensors.items()}
    return Checkpoint(name, lambda: located(name, with_ties(tensors)), sizes, skipped=skipped)


def _size(tensor: torch.Tensor) -> int:
    """Bytes of the elements; 0 where reading the tensor will refuse it."""
    if is_lazy(tensor) or tensor.is_nested:
        return 0
    return tensor.numel() * tensor.element_size()


def _load(source: str | os.PathLike[str] | bytes, name: str) -> object:
    try:
        with open(source, "rb") if not isinstance(source, bytes) else io.BytesIO(source) as stream:
            return _load_stream(stream, source)
    except OSError as error:
        raise TernzipError(f"{name}: cannot read: {error.strerror or error}") from None
    except pickle.UnpicklingError as error:
        # Most of torch's message is advice to load the file without this protection.
        forbidden = re.search(r"GLOBAL (\S+)", str(error))
        if forbidden:
            raise TernzipError(
                f"{name}: refused: expected tensors only, "
                f"found a pickle that would run code or build objects ({forbidden[1]})"
            ) from None
        reason = _first_line(str(error).split("WeightsUnpickler error: ")[-1], error)
        raise TernzipError(f"{name}: refused: expected a pickle of tensors only: {reason}") from None
    except Exception as error:
        # Damaged pickles fail in as many ways as there are opcodes.
        reason = _first_line(str(error), error)
        raise TernzipError(f"{name}: not a readable PyTorch checkpoint: {reason}") from None


def _first_line(message: str, error: Exception) -> str:
    return (message.strip().splitlines() or [type(error).__name__])[0]


def _load_stream(stream: BinaryIO, source: str | os.PathLike[str] | bytes) -> object:
    is_zip = stream.read(4) == b"PK\x03\x04"
    stream.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's advice to its own users
        if is_zip and not isinstance(source, bytes) and _torch_can_name(source):
            return torch.load(os.fspath(source), map_location="cpu", weights_only=True, mmap=True)
        return torch.load(stream, map_location="cpu", weights_only=True)


def _torch_can_name(path: str | os.PathLike[str]) -> bool:
    """Torch maps files by names in UTF-8; others can be read all the same."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def find_tensors(loaded: object, name: str) -> tuple[dict[str, torch.Tensor], list[str]]:
    """(tensors by name, names of what is not stored) of whatever torch.load returned.

    A state_dict's keys are kept as they are, whether the file is one or holds one under some key. Where a
    checkpoint holds a `state_dict` beside other tensors (an optimizer's, say), only that is stored. Several
    nested dictionaries of tensors without one of that name are told apart by their keys, as in
    ``generator.weight``.
    """
    if isinstance(loaded, torch.Tensor):
        return {"tensor": loaded}, []
    if not isinstance(loaded, Mapping):
        raise TernzipError(f"{name}: expected a dictionary of tensors, found {type(loaded).__name__}")
    _check_nesting(loaded, name)
    groups = [key for key, value in loaded.items() if isinstance(value, Mapping) and _holds_tensors(value)]
    direct = any(isinstance(value, torch.Tensor) for value in loaded.values())
    if not direct and "state_dict" in groups:
        groups = ["state_dict"]
    if not direct and len(groups) == 1:
        tensors, skipped = _flatten(loaded[groups[0]], name, "")
        return tensors, skipped + [str(key) for key in loaded if key != groups[0]]
    tensors, skipped = _flatten(loaded, name, "")
    if not tensors:
        raise TernzipError(f"{name}: expected at least one tensor, found none among {len(loaded)} entries")
    return tensors, skipped


def _check_nesting(mapping: Mapping[object, object], name: str) -> None:
    """A pickle may nest dictionaries without end, or put one into itself."""
    level: list[Mapping[object, object]] = [mapping]
    total = 1
    for _ in range(_MAX_DEPTH):
        inner = (value for outer in level for value in outer.values() if isinstance(value, Mapping))
        level = list(islice(inner, _MAX_DICTIONARIES))
        total += len(level)
        if not level:
            return
        if total > _MAX_DICTIONARIES:
            break
    raise TernzipError(
        f"{name}: expected at most {_MAX_DICTIONARIES} dictionaries, nested at most {_MAX_DEPTH} deep"
    )


def _holds_tensors(mapping: Mapping[object, object]) -> bool:
    return any(
        isinstance(value, torch.Tensor) or (isinstance(value, Mapping) and _holds_tensors(value))
        for value in mapping.values()
    )


def _flatten(
    mapping: Mapping[object, object], name: str, prefix: str
) -> tuple[dict[str, torch.Tensor], list[str]]:
    tensors: dict[str, torch.Tensor] = {}
    skipped: list[str] = []
    for label, value in _leaves(mapping, prefix):
        if not isinstance(value, torch.Tensor):
            skipped.append(label)
        elif label in tensors:
            raise TernzipError(f"{name}: tensor {label!r}: duplicate name")
        else:
            tensors[label] = value
    return tensors, skipped


def _leaves(mapping: Mapping[object, object], prefix: str) -> Iterator[tuple[str, object]]:
    for key, value in mapping.items():
        label = f"{prefix}{key}"
        if isinstance(value, Mapping) and _holds_tensors(value):
            yield from _leaves(value, f"{label}.")
        else:
            yield label, value
