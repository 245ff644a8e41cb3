"""torch tensors to the container's bytes, and back without a copy."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch.nn.parameter import is_lazy

from ternzip._core import dtypes
from ternzip._core.errors import TernzipError, UnstorableTensor
from ternzip._core.tensor import RawTensor, Tie
from ternzip._core.text import first_line, quoted
from ternzip.codecs.plane import Bytes
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

    Raises UnstorableTensor for what a file cannot hold: sparse, quantized, meta, nested and uninitialized
    tensors, types without a code, and subclasses of torch.Tensor that cannot be read as plain tensors.
    """
    if is_lazy(tensor):
        raise UnstorableTensor(
            f"tensor {quoted(name)}: cannot store an uninitialized parameter: it has no elements"
        )
    try:
        _check_storable(name, tensor)
        dense = tensor.detach().resolve_conj().resolve_neg().to("cpu")
        plain = with_its_bits(dense, torch.Tensor.contiguous).as_subclass(torch.Tensor)
        # What only wraps other tensors has no memory of its own, or stays what it is whatever is asked of it.
        unreadable = type(plain) is not torch.Tensor or (plain.numel() > 0 and not plain.data_ptr())
        changed = plain.dtype != tensor.dtype or plain.shape != tensor.shape
    except (TernzipError, MemoryError):
        raise
    except Exception as error:  # a subclass may answer in any way
        reason = first_line(error)
        raise UnstorableTensor(
            f"tensor {quoted(name)}: cannot read this {_kind(tensor)}: {reason}"
        ) from error
    if unreadable or changed:
        raise UnstorableTensor(
            f"tensor {quoted(name)}: cannot read this {_kind(tensor)}: expected a tensor with elements of its own; "
            "make a plain tensor of it first"
        )
    dtype = dtypes.BY_NAME[_NAMES[plain.dtype]]
    return RawTensor(dtype, tuple(plain.shape), memory_of(plain))


def with_its_bits(tensor: torch.Tensor, copied: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """What `copied` makes of a tensor: copying booleans, torch makes 1 of every other byte that is not 0."""
    if tensor.dtype is not torch.bool:
        return copied(tensor)
    return copied(tensor.view(torch.uint8)).view(torch.bool)


def memory_of(tensor: torch.Tensor) -> Bytes:
    """The elements of a plain, contiguous tensor on the CPU, without gradient, as bytes in the same memory."""
    # A lone element is contiguous whatever its stride, but only a stride of 1 can be viewed as bytes.
    flat = tensor.reshape(-1).as_strided((tensor.numel(),), (1,))
    data: Bytes = flat.view(torch.uint8).numpy()
    return data


def _check_storable(name: str, tensor: torch.Tensor) -> None:
    if tensor.layout is not torch.strided or tensor.is_nested:
        kind = "nested" if tensor.is_nested else str(tensor.layout).removeprefix("torch.")
        raise UnstorableTensor(f"tensor {quoted(name)}: cannot store a {kind} tensor: expected a dense one")
    if tensor.is_quantized or tensor.dtype not in _NAMES:
        raise UnstorableTensor(
            f"tensor {quoted(name)}: cannot store {tensor.dtype}: the format has no code for it"
        )
    if tensor.is_meta:
        raise UnstorableTensor(f"tensor {quoted(name)}: cannot store a meta tensor: it has no elements")
    if type(tensor) in (torch.Tensor, torch.nn.Parameter) and _storage(tensor) is not None:
        found = tensor.untyped_storage().nbytes()
        expected = (int(tensor.storage_offset()) + _stretch(tensor)) * tensor.element_size()
        if found < expected:  # resize_() takes storage from under its tensors
            raise UnstorableTensor(
                f"tensor {quoted(name)}: cannot read this {_kind(tensor)}: expected a storage of at least "
                f"{expected:,} bytes, found {found:,}"
            )


def _stretch(tensor: torch.Tensor) -> int:
    """How many elements of its storage lie from its first element to its last; it has some."""
    steps = ((length - 1) * stride for length, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return 1 + sum(steps)


def _kind(tensor: torch.Tensor) -> str:
    """A name for its class, and for a plain tensor what is not plain about it."""
    if type(tensor) in (torch.Tensor, torch.nn.Parameter):
        return f"tensor of shape {list(tensor.shape)} on {tensor.device}"
    return type(tensor).__name__


def from_raw(name: str, raw: RawTensor | Offloaded, device: str | torch.device = "cpu") -> torch.Tensor:
    """A tensor over the container's bytes; on the CPU it shares them. One decoded on the device is there.

    Raises TernzipError for a type that the installed torch lacks.
    """
    if isinstance(raw, Offloaded):
        assert isinstance(raw.tensor, torch.Tensor)
        return raw.tensor
    if raw.dtype.name not in _TORCH_DTYPES:
        raise TernzipError(
            f"tensor {quoted(name)}: torch {torch.__version__} has no {raw.dtype.name}: upgrade torch to load it"
        )
    # numpy gives arrays of no or one byte any stride, but only a stride of 1 can be viewed as another type.
    plain = torch.from_numpy(raw.data).as_strided((raw.data.size,), (1,))
    tensor = plain.view(_TORCH_DTYPES[raw.dtype.name]).reshape(raw.shape)
    return tensor.to(device)


@dataclass(frozen=True)
class _Stored:
    """A tensor that has been stored, and how to tell whether its memory still is what it was."""

    name: str
    storage: weakref.ref[torch.UntypedStorage]
    tensor: weakref.ref[torch.Tensor]
    version: int | None

    def unchanged(self, other: torch.Tensor) -> bool:
        """Whether the elements, which `other` has too, are those that were stored.

        Each tensor made by `.data`, nn.Parameter(...) or torch.from_numpy counts changes for itself, from 0 on: only
        of the tensor that was stored, while it lives, does the count say anything for certain.
        """
        own = self.tensor()
        return _version(other if own is None else own) == self.version

    def holds(self, address: int) -> bool:
        """Whether `address` lies in memory that has belonged to the tensor's storage all the time.

        Where the storage has died or given its memory up, another tensor may have got the same address.
        """
        storage = self.storage()
        return storage is not None and 0 <= address - storage.data_ptr() < storage.nbytes()


def with_ties(tensors: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, RawTensor | Tie]]:
    """Raw tensors in order; one that is the same view of the same memory as an earlier one becomes a Tie.

    The mapping may make its tensors as they are asked for: tensors are tied only while the first of them is alive.
    Raises UnstorableTensor, naming the tensor, for what cannot be stored, and TernzipError for one that is tied to a
    tensor whose elements have been changed since they were read.
    """
    if not hasattr(tensors, "items"):
        raise UnstorableTensor(
            f"tensors: expected a mapping of names to tensors, found {type(tensors).__name__}"
        )
    stored: dict[tuple[object, ...], _Stored] = {}
    for name, tensor in tensors.items():
        if not isinstance(name, str):
            raise UnstorableTensor(
                f"tensor {name!r}: expected a name of type str, found {type(name).__name__}"
            )
        if not isinstance(tensor, torch.Tensor):
            raise UnstorableTensor(
                f"tensor {quoted(name)}: expected a torch.Tensor, found {type(tensor).__name__}"
            )
        storage = _storage(tensor)
        if storage is None:
            yield name, to_raw(name, tensor)
            continue
        view, version = view_of(tensor), _version(tensor)  # before the elements are read
        first = stored.get(view)
        if first is not None and first.holds(tensor.data_ptr()):
            if not first.unchanged(tensor):
                raise TernzipError(
                    f"tensor {quoted(name)}: shares its elements with {quoted(first.name)}, "
                    "and they have been changed since that was stored"
                )
            yield name, Tie(first.name)
            continue
        raw = to_raw(name, tensor)
        stored[view] = _Stored(name, weakref.ref(storage), weakref.ref(tensor), version)
        yield name, raw


def overlapping(tensors: Mapping[str, torch.Tensor]) -> list[tuple[str, str]]:
    """Pairs of names whose tensors lie in overlapping stretches of memory without being the same view.

    A file stores such tensors apart: their values come back, a change of one no longer shows in the other. Each
    name stands first in at most one pair, in the order of `tensors`, beside one it overlaps. Stretches reach from
    a tensor's first element to its last, so the columns of one matrix overlap. Tensors without memory of their own
    are left out.
    """
    stretches = []
    for number, (name, tensor) in enumerate(tensors.items()):
        if _storage(tensor) is not None:
            start = tensor.data_ptr()
            end = start + _stretch(tensor) * tensor.element_size()
            stretches.append((str(tensor.device), start, end, number, name, view_of(tensor)))
    stretches.sort(key=lambda stretch: stretch[:3])
    found: list[tuple[int, str, str]] = []
    reaching = None  # of those so far, the one that ends last
    for stretch in stretches:
        device, start, end, number, name, view = stretch
        if reaching is not None and reaching[0] == device and start < reaching[2] and view != reaching[5]:
            found.append((number, name, reaching[4]))
        if reaching is None or reaching[0] != device or end > reaching[2]:
            reaching = stretch
    return [(name, other) for _, name, other in sorted(found)]


def _storage(tensor: torch.Tensor) -> torch.UntypedStorage | None:
    """The memory of a tensor's elements; None where it has none that others could share."""
    if is_lazy(tensor):
        return None
    try:
        if tensor.layout is not torch.strided or tensor.is_nested or not tensor.numel():
            return None
        storage = tensor.untyped_storage()
        if tensor.is_meta or storage.device.type == "meta" or not storage.data_ptr():
            return None
    except Exception:  # subclasses that wrap other tensors answer in many ways; to_raw finds words for them
        return None
    return storage


def view_of(tensor: torch.Tensor) -> tuple[object, ...]:
    """What two tensors share that are the same view of the same memory."""
    return (
        tensor.device,
        tensor.data_ptr(),
        tensor.dtype,
        tuple(tensor.shape),
        tensor.stride(),
        tensor.is_conj(),
        tensor.is_neg(),
    )


def shared_views(tensors: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, str]]:
    """Each name whose tensor is the same view of the same memory as an earlier one, and the first such name.

    Tensors without memory of their own are left out.
    """
    firsts: dict[tuple[object, ...], str] = {}
    for name, tensor in tensors.items():
        if _storage(tensor) is not None:
            first = firsts.setdefault(view_of(tensor), name)
            if first != name:
                yield name, first


def same_view(tensor: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors are the same view of the same memory."""
    return view_of(tensor) == view_of(other)


def _version(tensor: torch.Tensor) -> int | None:
    """How often the elements have been changed in place; None where torch does not count."""
    return None if tensor.is_inference() else tensor._version


def to_tensors(
    raws: Iterable[tuple[str, RawTensor | Tie | Offloaded]], device: str | torch.device = "cpu"
) -> dict[str, torch.Tensor]:
    """Tensors by name; tied names share one tensor."""
    tensors: dict[str, torch.Tensor] = {}
    for name, raw in raws:
        tensors[name] = tensors[raw.target] if isinstance(raw, Tie) else from_raw(name, raw, device)
    return tensors
