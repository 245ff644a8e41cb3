"""What tensors are given out as: tensors of torch, or arrays of numpy."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ternzip._core.dtypes import DType
from ternzip._core.extras import require
from ternzip._core.tensor import RawTensor
from ternzip.container.reader import Reader
from ternzip.io import arrays

if TYPE_CHECKING:
    import torch

_TORCH = ("pt", "torch", "pytorch")
_NUMPY = ("np", "numpy")


class Framework(Protocol):
    """Makes tensors of what a reader has."""

    name: str

    def read(self, reader: Reader, name: str, threads: int | None) -> Any:
        """A whole tensor."""
        ...

    def from_raw(self, name: str, raw: RawTensor) -> Any:
        """A tensor of these bytes."""
        ...

    def dtype(self, dtype: DType) -> Any:
        """Its own type of that name, or None."""
        ...

    def own(self, part: Any) -> Any:
        """A copy of a part of a tensor, in memory of its own."""
        ...


class Numpy:
    """Arrays of numpy."""

    name = "numpy"

    def read(self, reader: Reader, name: str, threads: int | None) -> arrays.Array:
        """See Framework."""
        return self.from_raw(name, reader.read(name, threads=threads))

    def from_raw(self, name: str, raw: RawTensor) -> arrays.Array:
        """See Framework."""
        return arrays.from_raw(name, raw)

    def dtype(self, dtype: DType) -> np.dtype[Any] | None:
        """See Framework."""
        return arrays.numpy_dtype(dtype.name)

    def own(self, part: Any) -> arrays.Array:
        """See Framework."""
        return np.array(part, order="C")


class Torch:
    """Tensors of torch on one device."""

    name = "pt"

    def __init__(self, device: str | torch.device) -> None:
        self._device = device

    def read(self, reader: Reader, name: str, threads: int | None) -> torch.Tensor:
        """See Framework."""
        _require_torch()
        from ternzip.io.device_decoding import offload_to
        from ternzip.io.tensors import from_raw

        return from_raw(name, reader.read_with(offload_to(self._device), name, threads=threads), self._device)

    def from_raw(self, name: str, raw: RawTensor) -> torch.Tensor:
        """See Framework."""
        _require_torch()
        from ternzip.io.tensors import from_raw

        return from_raw(name, raw, self._device)

    def dtype(self, dtype: DType) -> torch.dtype | None:
        """See Framework."""
        _require_torch()
        from ternzip.io.tensors import torch_dtype

        return torch_dtype(dtype.name)

    def own(self, part: Any) -> torch.Tensor:
        """See Framework."""
        import torch

        from ternzip.io.tensors import with_its_bits

        return with_its_bits(part, partial(torch.clone, memory_format=torch.contiguous_format))


def _require_torch() -> None:
    require("safe_open (unless it has framework='numpy')", "torch", "torch")


def framework_named(name: str, device: str | torch.device) -> Framework:
    """The framework of one of the names that safetensors has for it.

    Raises ValueError for another name, and for numpy on a device. That torch is not installed shows when a tensor is
    asked for.
    """
    if name in _TORCH:
        return Torch(device)
    if name not in _NUMPY:
        raise ValueError(f"framework: expected 'pt' or 'numpy', got {name!r}")
    if str(device) != "cpu":
        raise ValueError(f"device: expected the CPU together with framework={name!r}, got {device}")
    return Numpy()
