"""PyTorch's zip files, read tensor by tensor.

torch.load either reads the whole file or maps it; a map shows compressed bytes as if they were weights, and
ends the process when somebody cuts the file short. Here torch unpickles the structure, with storages that have
a size and no memory, and the bytes of each tensor are read when it is wanted.
"""

from __future__ import annotations

import io
import sys
import warnings
import zlib
from typing import Any

import torch

from ternzip._core.errors import TernzipError
from ternzip.checkpoint.entries import has_storage, storage_of
from ternzip.checkpoint.source_file import SourceFile
from ternzip.checkpoint.zip_members import ZipMembers

_PIECE = 1 << 20


class NotReadableLazily(Exception):
    """This file, or this torch, needs torch.load."""


class Archive:
    """The storages of one zip file.

    Attributes:
        loaded: what torch.load would return, with tensors on the meta device.
        devices: where storages lived when they were saved.

    Raises NotReadableLazily for what only torch.load knows, TernzipError for what is damaged.
    """

    def __init__(self, file: SourceFile) -> None:
        self._file = file
        # torch.serialization.set_crc32_options(False) leaves zeros.
        self._members = ZipMembers(file, "PyTorch checkpoint", zero_is_no_checksum=True)
        self._root = next(iter(self._members.infos), "").split("/")[0]
        self._storages: dict[str, tuple[torch.storage.TypedStorage, int]] = {}
        self._keys: dict[int, str] = {}
        self._checked: set[str] = set()
        self._inflated: tuple[str, bytearray] | None = None
        self.devices: set[str] = set()
        order = f"{self._root}/byteorder"
        is_little = order not in self._members.infos or self._read(order) == b"little"
        is_script = f"{self._root}/constants.pkl" in self._members.infos
        if sys.byteorder != "little" or not is_little or is_script:
            raise NotReadableLazily
        self.loaded = self._unpickle()

    def tensor(self, stand_in: torch.Tensor) -> torch.Tensor:
        """The tensor that a tensor of `loaded` stands for; others, which lie in the pickle, are themselves."""
        key = self._keys.get(storage_of(stand_in)) if has_storage(stand_in) else None
        if key is None:
            return stand_in
        width = stand_in.element_size()
        start = int(stand_in.storage_offset()) * width
        reach = sum(s * (n - 1) for s, n in zip(stand_in.stride(), stand_in.shape, strict=True))
        size = (reach + 1) * width if stand_in.numel() else 0
        if size and start + size > self._storages[key][1]:
            raise TernzipError(
                f"{self._file.name}: storage {key!r}: expected at least {start + size:,} bytes, "
                f"found {self._storages[key][1]:,}"
            )
        data = self._part(key, start, size) if size else bytearray()
        # A view of none or one byte takes any stride, but only a stride of 1 can be viewed as another type.
        flat = torch.frombuffer(data, dtype=torch.uint8) if size else torch.empty(0, dtype=torch.uint8)
        tensor = flat.view(stand_in.dtype).as_strided(stand_in.shape, stand_in.stride())
        tensor = tensor.conj() if stand_in.is_conj() else tensor
        return tensor.neg() if stand_in.is_neg() else tensor

    def _unpickle(self) -> object:
        try:
            from torch._weights_only_unpickler import Unpickler
        except ImportError:  # a torch that has moved it
            raise NotReadableLazily from None
        pickled = self._read(f"{self._root}/data.pkl")
        unpickler = Unpickler(io.BytesIO(pickled), encoding="utf-8")
        unpickler.persistent_load = self._storage  # type: ignore[method-assign]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's advice to its own users
                return unpickler.load()  # type: ignore[no-untyped-call]
        except TernzipError:
            raise
        except Exception:
            raise NotReadableLazily from None  # torch.load knows the reason, and may get further
        finally:
            _forget_sparse_tensors()

    def _storage(self, identity: tuple[Any, ...]) -> torch.storage.TypedStorage:
        _, kind, key, location, count = identity
        key = str(key)
        if key not in self._storages:
            dtype = torch.uint8 if kind is torch.UntypedStorage else kind.dtype
            size = count * dtype.itemsize
            name = f"{self._root}/data/{key}"
            member = self._members.infos.get(name)
            found = None if member is None else member.file_size
            if found != size:
                raise TernzipError(
                    f"{self._file.name}: not a readable PyTorch checkpoint: storage {key!r}: "
                    f"expected {size:,} bytes, found {'none' if found is None else f'{found:,}'}"
                )
            untyped = torch.UntypedStorage(size, device="meta")  # type: ignore[no-untyped-call]
            typed = torch.storage.TypedStorage(  # type: ignore[no-untyped-call]
                wrap_storage=untyped, dtype=dtype, _internal=True
            )
            self._storages[key] = typed, size
            if not self._members.is_readable(name):
                raise NotReadableLazily
            self._keys[int(untyped._cdata)] = key
            self.devices.add(str(location))
        return self._storages[key][0]

    def _part(self, key: str, start: int, size: int) -> bytearray:
        """Bytes of one storage; the whole of it is compared with its checksum when it is first used."""
        name = f"{self._root}/data/{key}"
        if not self._members.is_stored(name):
            if self._inflated is None or self._inflated[0] != name:
                self._inflated = name, self._read(name)
            return self._inflated[1][start : start + size]
        whole, offset = self._members.infos[name].file_size, self._members.offset(name)
        if size == whole:
            data = self._file.read(offset, size)
            self._members.check(name, zlib.crc32(data))
            return data
        if name not in self._checked:
            crc = 0
            for place in range(0, whole, _PIECE):
                piece = min(_PIECE, whole - place)
                crc = zlib.crc32(self._file.read(offset + place, piece), crc)
            self._members.check(name, crc)
            self._checked.add(name)
        return self._file.read(offset + start, size)

    def _read(self, name: str) -> bytearray:
        """A whole member, unpacked."""
        if not self._members.is_readable(name):
            raise NotReadableLazily
        return self._members.read(name)


def _forget_sparse_tensors() -> None:
    """torch keeps sparse tensors to check them at the end of torch.load; ours have nothing to check."""
    waiting: list[torch.Tensor] = getattr(torch._utils, "_sparse_tensors_to_validate", [])
    waiting[:] = [tensor for tensor in waiting if not tensor.is_meta]
