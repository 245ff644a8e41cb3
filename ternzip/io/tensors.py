"""torch tensors to the container's bytes, and back without a copy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch.nn.parameter import is_lazy

from ternzip._core import dtypes
from ternzip._core.errors import TernzipError
from ternzip._core.tensor import RawTensor, Tie
from ternzip.container.offload import Offloaded


def torch_dtype(name: str) -> torch.dtype | None:
    """The torch type of that name in the format, None where the installed torch lacks it."""
    return _TORCH_DTYPES.get(name)


def _torch_dtypes() -> dict[str, torch.dtype]:
    found = {name: getattr(torch, name, None) for name in dtypes.BY_NAME}
    return {name: dtype for name, dtype in found.items() if isinstance(dtype, torch.dtype)}


_TORCH_DTYPES = _torch_dtypes()
"""Those of the container's types that this torch has."""
_NAMES = {dtype: name for name, dtype in _TORCH_DTYPES.items()}


def to_raw(name: str, tensor: torch.Tensor) -> RawTensor:
    """The bytes of a tensor, copied only where they are not contiguous or not on the CPU.

    Raises TernzipError for what a file cannot hold: sparse, quantized, meta, nested and uninitialized
    tensors, and types without a code.
    """
    if is_lazy(tensor):
        raise TernzipError(f"tensor {name!r}: cannot store an uninitialized parameter: it has no elements")
    if tensor.layout is not torch.strided or tensor.is_nested:
        kind = "nested" if tensor.is_nested else str(tensor.layout).removeprefix("torch.")
        raise TernzipError(f"tensor {name!r}: cannot store a {kind} tensor: expected a dense one")
    if tensor.is_quantized or tensor.dtype not in _NAMES:
        raise TernzipError(f"tensor {name!r}: cannot store {tensor.dtype}: the format has no code for it")
    if tensor.is_meta:
        raise TernzipError(f"tensor {name!r}: cannot store a meta tensor: it has no elements")
    plain = tensor.detach().resolve_conj().resolve_neg().to("cpu").contiguous()
    dtype = dtypes.BY_NAME[_NAMES[tensor.dtype]]
    # A lone element is contiguous whatever its stride, but only a stride of 1 can be viewed as bytes.
    flat = plain.reshape(-1).as_strided((plain.numel(),), (1,))
    data = flat.view(torch.uint8).numpy()
    return RawTensor(dtype, tuple(plain.shape), data)


def from_raw(name: str, raw: RawTensor | Offloaded, device: str | torch.device = "cpu") -> torch.Tensor:
    """A tensor over the container's bytes; on the CPU it shares them. One decoded on the device is there.

    Raises TernzipError for a type that the installed torch lacks.
    """
    if isinstance(raw, Offloaded):
        assert isinstance(raw.tensor, torch.Tensor)
        return raw.tensor
    if raw.dtype.name not in _TORCH_DTYPES:
        raise TernzipError(
            f"tensor {name!r}: torch {torch.__version__} has no {raw.dtype.name}: upgrade torch to load it"
        )
    # numpy gives arrays of no or one byte any stride, but only a stride of 1 can be viewed as another type.
    plain = torch.from_numpy(raw.data).as_strided((raw.data.size,), (1,))
    tensor = plain.view(_TORCH_DTYPES[raw.dtype.name]).reshape(raw.shape)
    return tensor.to(device)


def with_ties(tensors: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, RawTensor | Tie]]:
    """Raw tensors in order; one that is the same view of the same storage as an earlier one becomes a Tie."""
    first: dict[tuple[object, ...], str] = {}
    for name, tensor in tensors.items():
        if not isinstance(name, str):
            raise TernzipError(f"tensor {name!r}: expected a name of type str, found {type(name).__name__}")
        if not isinstance(tensor, torch.Tensor):
            raise TernzipError(f"tensor {name!r}: expected a torch.Tensor, found {type(tensor).__name__}")
        identity = _identity(tensor)
        if identity is not None and identity in first:
            yield name, Tie(first[identity])
            continue
        if identity is not None:
            first[identity] = name
        yield name, to_raw(name, tensor)


def _identity(tensor: torch.Tensor) -> tuple[object, ...] | None:
    """What two tied tensors share; None where there is no storage to share."""
    if is_lazy(tensor) or tensor.layout is not torch.strided or tensor.is_meta or tensor.is_nested:
        return None
    if not tensor.numel():
        return None
    return (
        tensor.device,
        tensor.data_ptr(),
        tensor.dtype,
        tuple(tensor.shape),
        tensor.stride(),
        tensor.is_conj(),
        tensor.is_neg(),
    )


def to_tensors(
    raws: Iterable[tuple[str, RawTensor | Tie | Offloaded]], device: str | torch.device = "cpu"
) -> dict[str, torch.Tensor]:
    """Tensors by name; tied names share one tensor."""
    tensors: dict[str, torch.Tensor] = {}
    for name, raw in raws:
        tensors[name] = tensors[raw.target] if isinstance(raw, Tie) else from_raw(name, raw, device)
    return tensors
