"""Finds every tensor in what torch.load returns, and says what a file of tensors by name cannot keep of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from ternzip._core.errors import TernzipError
from ternzip._core.text import listed

_MAX_DEPTH = 32  # of containers within containers
_MAX_CONTAINERS = 1 << 20  # counted as often as they are referred to
_MAX_REPEATED = 1 << 22  # entries of containers that are referred to again, counted each time
_MAX_EXPANDED = 1 << 32
"""Bytes that tensors may have beyond those of their storages: one stored element can stand for any number."""


@dataclass
class Entries:
    """What was found.

    Attributes:
        tensors: by name, in the order found; the name is the path of keys and indices, joined by dots.
        others: paths of what is no tensor and holds none; a dictionary or list is named as a whole.
        ties: names of tensors that are the same view of the same storage as an earlier one, and its name.
        wrapper: the one key of the outermost dictionary that holds tensors; names do not repeat it.
        is_nested: whether dictionaries or lists hold tensors further down.
        is_lone: whether there is one tensor and nothing around it; its name is "tensor".
        keys: names in which a key that was no string has become one.
        attributes: paths of Python attributes of dictionaries, as ``_metadata`` of a state_dict.
        moments: names of tensors that are an optimizer's state, and no weights.
    """

    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    ties: dict[str, str] = field(default_factory=dict)
    wrapper: str | None = None
    is_nested: bool = False
    is_lone: bool = False
    keys: list[str] = field(default_factory=list)
    attributes: list[str] = field(default_factory=list)
    moments: list[str] = field(default_factory=list)

    def not_stored(self, devices: Iterable[str] = ()) -> list[str]:
        """What a file of these tensors does not hold, each in a few words; nothing twice."""
        tensors = self.tensors
        views = list(self._views())
        versions = [path for path in self.attributes if path.rpartition(".")[2] == "_metadata"]
        lines: list[str] = []
        if self.others:
            kind = "entry that is no tensor" if len(self.others) == 1 else "entries that are no tensors"
            lines.append(f"{len(self.others):,} {kind} ({listed(self.others)})")
        if self.wrapper is not None:
            lines.append(f"the key {self.wrapper!r} around the tensors")
        if self.is_lone:
            lines.append("that this is a lone tensor (its name here is 'tensor')")
        if self.is_nested:
            lines.append("the nesting of dictionaries and lists (names are paths)")
        for what, names in (
            ("types of keys that are no strings", self.keys),
            ("versions of modules, which torch adds to a state_dict", versions),
            ("attributes of dictionaries", [path for path in self.attributes if path not in versions]),
            ("requires_grad and torch.nn.Parameter", [n for n, t in tensors.items() if _is_trained(t)]),
            ("Python classes and attributes", [n for n, t in tensors.items() if _is_special(t)]),
            ("strides: they come back contiguous", [n for n, t in tensors.items() if _is_strided(t)]),
            ("shared storage: each view is stored by itself", views),
        ):
            if names:
                lines.append(f"{what} ({listed(names)})")
        elsewhere = sorted({device for device in devices if device != "cpu"})
        if elsewhere:
            lines.append(f"devices ({listed(elsewhere)})")
        return lines

    def _views(self) -> Iterator[str]:
        """Tensors that share their storage with another view of it."""
        by_storage: dict[object, list[str]] = {}
        for name, tensor in self.tensors.items():
            if name not in self.ties and has_storage(tensor):
                by_storage.setdefault(storage_of(tensor), []).append(name)
        for names in by_storage.values():
            if len(names) > 1:
                yield from names


def find_entries(loaded: object, name: str) -> Entries:
    """Every tensor in dictionaries, lists and tuples of whatever torch.load returned.

    A state_dict's keys are kept as they are, whether the file is one or holds one under some key and no other
    tensors. Everything else is told apart by its path, as in ``optimizer.state.0.exp_avg``.

    Raises TernzipError where there is no tensor, where two would have the same name, and for containers
    nested without end.
    """
    entries = Entries()
    if isinstance(loaded, torch.Tensor):
        entries.tensors["tensor"] = loaded
        entries.is_lone = True
        _check_expanded(entries, name)
        return entries
    if not isinstance(loaded, Mapping | list | tuple):
        raise TernzipError(f"{name}: expected a dictionary of tensors, found {type(loaded).__name__}")
    _check_nesting(loaded, name)
    entries.is_nested = not isinstance(loaded, Mapping)  # which is what comes back
    holders = [(key, value) for key, value in _items(loaded) if _holds_tensors(value)]
    root: Any = loaded
    if isinstance(loaded, Mapping) and len(holders) == 1 and isinstance(holders[0][1], Mapping):
        key, root = holders[0]
        entries.wrapper = str(key)
        entries.others += [str(other) for other in loaded if other is not key]
        entries.attributes += _attributes(loaded, "")
    _Walk(entries, name).into(root, "")
    if not entries.tensors:
        count = len(loaded)
        raise TernzipError(f"{name}: expected at least one tensor, found none among {count:,} entries")
    entries.ties = _ties(entries.tensors)
    _check_expanded(entries, name)
    return entries


class _Walk:
    """Goes through containers in their order, depth first."""

    def __init__(self, entries: Entries, name: str) -> None:
        self._entries = entries
        self._name = name

    def into(self, container: Any, prefix: str) -> None:
        self._entries.attributes += _attributes(container, prefix)
        before = len(self._entries.tensors)
        for key, value in _items(container):
            self._visit(value, f"{prefix}{key}", key, container)
        # The two keys that every torch.optim.Optimizer gives its state_dict.
        if isinstance(container, Mapping) and {"state", "param_groups"} <= container.keys():
            self._entries.moments += list(self._entries.tensors)[before:]

    def _visit(self, value: object, path: str, key: object, container: object) -> None:
        entries = self._entries
        holds = _holds_tensors(value)
        if holds and isinstance(container, Mapping) and not isinstance(key, str):
            entries.keys.append(path)
        if isinstance(value, torch.Tensor):
            if path in entries.tensors:
                raise TernzipError(f"{self._name}: tensor {path!r}: duplicate name")
            entries.tensors[path] = value
        elif not holds:
            entries.others.append(path)
        elif isinstance(value, set | frozenset):
            raise TernzipError(
                f"{self._name}: {path!r}: cannot store tensors of a set: they have neither names nor an order"
            )
        else:
            entries.is_nested = True
            self.into(value, f"{path}.")


def _items(container: Any) -> Iterable[tuple[object, object]]:
    return container.items() if isinstance(container, Mapping) else enumerate(container)


_CONTAINERS = (Mapping, list, tuple, set, frozenset)


def _children(value: object) -> Iterable[object]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, _CONTAINERS) else ()


def _holds_tensors(value: object) -> bool:
    return isinstance(value, torch.Tensor) or any(_holds_tensors(child) for child in _children(value))


def _check_nesting(outermost: object, name: str) -> None:
    """A pickle may nest containers without end, put one into itself, or refer to a long list a thousand times."""
    level: list[Any] = [outermost]
    seen: set[int] = set()
    total, repeated = 1, 0
    for _ in range(_MAX_DEPTH):
        inner: list[Any] = []
        for container in level:
            repeated += len(container) if id(container) in seen else 0
            seen.add(id(container))
            if repeated > _MAX_REPEATED:
                raise TernzipError(
                    f"{name}: expected at most {_MAX_REPEATED} entries in dictionaries and lists that are there again, "
                    "found more"
                )
            inner += (child for child in _children(container) if isinstance(child, _CONTAINERS))
            if total + len(inner) > _MAX_CONTAINERS:
                break
        total += len(inner)
        level = inner
        if not level:
            return
        if total > _MAX_CONTAINERS:
            break
    raise TernzipError(
        f"{name}: expected at most {_MAX_CONTAINERS} dictionaries and lists, nested at most {_MAX_DEPTH} deep"
    )


def _attributes(container: object, prefix: str) -> list[str]:
    return [f"{prefix}{attribute}" for attribute in getattr(container, "__dict__", ())]


def has_storage(tensor: torch.Tensor) -> bool:
    """Whether it is dense: not sparse, nested or uninitialized."""
    return not is_lazy(tensor) and tensor.layout is torch.strided and not tensor.is_nested


def storage_of(tensor: torch.Tensor) -> int:
    """Identifies the storage among those alive, also of a tensor without an address."""
    return int(tensor.untyped_storage()._cdata)


def _ties(tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """The tensors are all alive, so what is equal here is shared and not merely at a reused address."""
    first: dict[tuple[object, ...], str] = {}
    ties: dict[str, str] = {}
    for name, tensor in tensors.items():
        if not has_storage(tensor) or not tensor.numel():
            continue
        place = (storage_of(tensor), tensor.storage_offset(), tuple(tensor.shape), tensor.stride())
        owner = first.setdefault((*place, tensor.dtype, tensor.is_conj(), tensor.is_neg()), name)
        if owner != name:
            ties[name] = owner
    return ties


def size_of(tensor: torch.Tensor) -> int:
    """Bytes of the elements; 0 where reading the tensor will refuse it."""
    if is_lazy(tensor) or tensor.is_nested:
        return 0
    return tensor.numel() * tensor.element_size()


def _check_expanded(entries: Entries, name: str) -> None:
    beyond = 0
    for label, tensor in entries.tensors.items():
        if label in entries.ties or not has_storage(tensor):
            continue
        beyond += max(0, size_of(tensor) - tensor.untyped_storage().nbytes())
        if beyond > _MAX_EXPANDED:
            raise TernzipError(
                f"{name}: tensor {label!r}: cannot store {size_of(tensor):,} bytes, expanded from "
                f"{tensor.untyped_storage().nbytes():,} in the file: expected at most {_MAX_EXPANDED:,} more"
            )


def _is_trained(tensor: torch.Tensor) -> bool:
    return tensor.requires_grad or isinstance(tensor, torch.nn.Parameter)


def _is_special(tensor: torch.Tensor) -> bool:
    return type(tensor) not in (torch.Tensor, torch.nn.Parameter) or bool(getattr(tensor, "__dict__", None))


def _is_strided(tensor: torch.Tensor) -> bool:
    return has_storage(tensor) and tensor.numel() > 0 and not tensor.is_contiguous()
