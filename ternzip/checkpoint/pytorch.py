"""PyTorch's own files: zip and legacy, loaded without running any code from them."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import torch

from ternzip._core.errors import TernzipError
from ternzip._core.tensor import RawTensor, Tie
from ternzip.checkpoint.archive import Archive, NotReadableLazily
from ternzip.checkpoint.base import Checkpoint, located
from ternzip.checkpoint.entries import find_entries, size_of
from ternzip.checkpoint.source_file import SourceFile
from ternzip.checkpoint.zip_members import ZIP
from ternzip.io.tensors import to_raw

_PICKLE = b"\x80"
"""How a pickle of protocol 2 begins, the oldest that torch.load reads safely."""

_NEWER_OPCODES = range(0x8C, 0x99)
"""Of pickles of protocols 4 and 5, which torch.save writes on demand and torch.load reads unsafely only."""


def open_pytorch(file: SourceFile, *, whole: bool = False) -> Checkpoint:
    """The tensors of a .pt, .pth, .bin or .ckpt file; closes the file when the checkpoint is closed.

    Zip files are read tensor by tensor. With `whole`, and for the legacy format, torch.load reads everything
    into memory first: an independent way to the same tensors.

    Raises TernzipError for a file that is no checkpoint, is damaged, or holds anything that `weights_only`
    unpickling refuses.
    """
    loaded, devices, read = _loaded(file, whole)
    entries = find_entries(loaded, file.name)
    sizes = {key: size_of(tensor) for key, tensor in entries.tensors.items()}

    def tensors() -> Iterator[tuple[str, RawTensor | Tie]]:
        for key, tensor in entries.tensors.items():
            yield key, Tie(entries.ties[key]) if key in entries.ties else to_raw(key, read(tensor))
        file.check_unchanged()

    return Checkpoint(
        file.name,
        lambda: located(file.name, tensors()),
        sizes,
        ties=entries.ties,
        moments=frozenset(entries.moments),
        not_stored=entries.not_stored(devices),
        suffix=".pt",
        files=[] if file.path is None else [file.path],
        file_bytes=file.size,
        close=file.close,
    )


def _loaded(file: SourceFile, whole: bool) -> tuple[object, set[str], Callable[[torch.Tensor], torch.Tensor]]:
    """(what the file holds, the devices it was saved from, how to read one of its tensors)."""
    head = file.read(0, min(16, file.size))
    if not any(head):
        raise TernzipError(f"{file.name}: expected a checkpoint, found zeros")
    if not head.startswith((ZIP, _PICKLE)):  # of these bytes, torch would speak as of a pickle
        raise TernzipError(
            f"{file.name}: not a readable PyTorch checkpoint: expected a zip file or a pickle, "
            f"found {bytes(head[:8])!r} at its start"
        )
    if head.startswith(ZIP) and not whole:
        try:
            archive = Archive(file)
        except NotReadableLazily:
            pass  # torch.load reads it, or says why not
        else:
            return archive.loaded, archive.devices, archive.tensor
    devices: set[str] = set()
    loaded = _load_whole(file, devices)
    file.check_unchanged()
    return loaded, devices, lambda tensor: tensor


def _load_whole(file: SourceFile, devices: set[str]) -> object:
    def on_the_cpu(storage: torch.UntypedStorage, device: str) -> torch.UntypedStorage:
        devices.add(str(device))  # a damaged file may call it anything
        return storage

    name = file.name
    try:
        return _torch_load(file.stream, on_the_cpu)
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
        operand = re.search(r"Unsupported operand (\d+)", str(error))
        if operand and int(operand[1]) in _NEWER_OPCODES:
            raise TernzipError(
                f"{name}: refused: expected a pickle of protocol 2 or 3, found one of protocol 4 or later, "
                "which torch does not read safely: save it again without pickle_protocol="
            ) from None
        reason = _first_line(str(error).split("WeightsUnpickler error: ")[-1], error)
        raise TernzipError(f"{name}: refused: expected a pickle of tensors only: {reason}") from None
    except Exception as error:
        if "TorchScript" in str(error):
            raise TernzipError(
                f"{name}: expected a checkpoint, found a TorchScript archive: "
                "load it with torch.jit.load and save its state_dict()"
            ) from None
        # Damaged pickles fail in as many ways as there are opcodes.
        reason = _first_line(str(error), error)
        raise TernzipError(f"{name}: not a readable PyTorch checkpoint: {reason}") from None


def _first_line(message: str, error: Exception) -> str:
    line = (message.strip().splitlines() or [""])[0]
    # Advice to torch's own users, which must not be followed here.
    return type(error).__name__ if not line or "weights_only" in line else line


def _torch_load(stream: BinaryIO, map_location: Callable[[Any, str], Any]) -> object:
    stream.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's advice to its own users
        return torch.load(stream, map_location=map_location, weights_only=True)
