"""Which tensors share their elements, and which cannot be read: io/tensors.py."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from samples import assert_same
from torch import Tensor

import ternzip
from ternzip._core.errors import TernzipError
from ternzip.container.reader import Reader
from ternzip.io.tensors import _Stored, overlapping


class Lazy(Mapping[str, Tensor]):
    """Tensors that exist from the moment they are asked for."""

    def __init__(self, makers: Mapping[str, Callable[[], Tensor]]) -> None:
        self._makers = makers

    def __getitem__(self, name: str) -> Tensor:
        return self._makers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


def ties_of(data: bytes) -> list[str | None]:
    with Reader.open(data) as reader:
        return [entry.tied_to for entry in reader.entries.values()]


# --- ties and the lifetime of memory -----------------------------------------------------------------------


@pytest.mark.parametrize("size", [8, 40_000])
def test_tensors_made_on_access_are_not_tied(size: int) -> None:
    """Their memory is freed and given to the next: equal addresses mean nothing."""
    tensors = {f"t{n}": torch.full((size,), n + 0.5) for n in range(12)}
    lazy = Lazy({name: tensor.clone for name, tensor in tensors.items()})
    data = ternzip.save(lazy, threads=1)
    assert_same(ternzip.load(data), tensors)
    assert ties_of(data) == [None] * 12


def test_arrays_of_an_npz_file(tmp_path: Path) -> None:
    arrays = {f"a{n}": np.full(40_000, n, np.float32) for n in range(8)}
    np.savez(tmp_path / "x.npz", **arrays)  # type: ignore[arg-type]
    with np.load(tmp_path / "x.npz") as file:
        lazy = Lazy({name: lambda name=name: torch.from_numpy(file[name]) for name in arrays})  # type: ignore[misc]
        data = ternzip.save(lazy, threads=1)
    assert_same(ternzip.load(data), {name: torch.from_numpy(array) for name, array in arrays.items()})


def test_a_safetensors_file_in_a_mapping(tmp_path: Path) -> None:
    import safetensors
    import safetensors.torch

    tensors = {f"t{n}": torch.full((40_000,), float(n)) for n in range(8)}
    safetensors.torch.save_file(tensors, tmp_path / "x.safetensors")
    with safetensors.safe_open(tmp_path / "x.safetensors", "pt") as file:
        lazy = Lazy({name: lambda name=name: file.get_tensor(name) for name in tensors})  # type: ignore[misc]
        assert_same(ternzip.load(ternzip.save(lazy, threads=1)), tensors)


def test_memory_that_lives_on_ties_views_made_on_access() -> None:
    base = torch.arange(6.0)
    data = ternzip.save(Lazy({"a": lambda: base.view(2, 3), "b": lambda: base.view(2, 3), "c": lambda: base}))
    assert ties_of(data) == [None, "a", None]
    array = np.arange(5.0)
    assert ties_of(ternzip.save({"a": torch.from_numpy(array), "b": torch.from_numpy(array)})) == [None, "a"]


def test_ties_that_count_their_changes_for_themselves() -> None:
    """`.data`, Parameter(...) and from_numpy make tensors whose count of changes begins anew."""
    embedding, head = torch.nn.Embedding(10, 4, padding_idx=0), torch.nn.Linear(4, 10, bias=False)
    head.weight = torch.nn.Parameter(embedding.weight.data)
    assert embedding.weight._version != head.weight._version
    assert ties_of(ternzip.save({"e": embedding.weight, "h": head.weight})) == [None, "e"]
    changed = torch.zeros(5).add_(1)
    assert ties_of(ternzip.save({"a": changed, "b": changed.data, "c": changed})) == [None, "a", "a"]
    array = np.arange(5.0)
    first = torch.from_numpy(array).mul_(2)
    assert ties_of(ternzip.save({"a": first, "b": torch.from_numpy(array)})) == [None, "a"]


def test_a_storage_that_gave_its_memory_up() -> None:
    """As sharded training frees parameters: the storage lives, its memory may belong to another tensor."""
    tensor = torch.zeros(30, 40)
    address = tensor.data_ptr()
    stored = _Stored("a", weakref.ref(tensor.untyped_storage()), weakref.ref(tensor), 0)
    assert stored.holds(address)
    assert not stored.holds(address - 1)
    tensor.untyped_storage().resize_(0)
    assert not stored.holds(address)
    del tensor
    assert not stored.holds(address)


def test_elements_that_change_between_two_names() -> None:
    buffer = torch.zeros(100)
    counter = itertools.count()
    lazy = Lazy({name: lambda: buffer.fill_(float(next(counter))) for name in "ab"})
    with pytest.raises(
        TernzipError, match=r"^tensor 'b': shares its elements with 'a', and they have been changed"
    ):
        ternzip.save(lazy)


def test_inference_tensors_are_tied_too() -> None:
    with torch.inference_mode():
        weight = torch.ones(3, 3)
    assert ties_of(ternzip.save({"a": weight, "b": weight})) == [None, "a"]


# --- subclasses --------------------------------------------------------------------------------------------


class Wrapper(Tensor):
    """Holds another tensor and has no memory of its own; every operation gives a plain result."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Wrapper:
        made: Wrapper = Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)
        made.inner = inner
        return made

    @classmethod
    def wrapped(cls, result: Any) -> Any:
        return result

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        plain = [arg.inner if isinstance(arg, Wrapper) else arg for arg in args]
        return cls.wrapped(func(*plain, **(kwargs or {})))


class Sticky(Wrapper):
    """The same, but results are wrapped again, as in DTensor and quantized tensors."""

    @classmethod
    def wrapped(cls, result: Any) -> Any:
        return cls(result) if isinstance(result, Tensor) else result


class Unwilling(Wrapper):
    @classmethod
    def wrapped(cls, result: Any) -> Any:
        raise NotImplementedError("no such thing\nhere")


class Plain(Tensor):
    """A subclass in name only."""


def test_wrappers_are_read_or_refused_and_never_tied() -> None:
    tensors = {f"w{n}": torch.full((4,), float(n)) for n in range(3)}
    data = ternzip.save({name: Wrapper(tensor) for name, tensor in tensors.items()})
    assert_same(ternzip.load(data), tensors)
    for kind, words in (
        (Sticky, "cannot read this Sticky: expected a tensor with elements of its own"),
        (Unwilling, "cannot read this Unwilling: no such thing$"),
    ):
        for good in ({}, {"good": torch.ones(2)}):
            with pytest.raises(TernzipError, match=f"^tensor 'bad': {words}"):
                ternzip.save({**good, "bad": kind(torch.ones(3))})


def test_fake_tensors_are_refused() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        fake = torch.ones(3)
    with pytest.raises(TernzipError, match=r"^tensor 'f': cannot read this FakeTensor"):
        ternzip.save({"f": fake})


def test_subclasses_with_memory_of_their_own() -> None:
    weight = torch.arange(6.0).as_subclass(Plain)
    data = ternzip.save({"a": weight, "b": weight})
    assert ties_of(data) == [None, "a"]
    assert bytes(ternzip.load(data)["a"].numpy()) == bytes(torch.arange(6.0).numpy())


def test_tensors_larger_than_memory_are_refused_by_name() -> None:
    huge = torch.zeros(1).expand(1 << 45)
    with pytest.raises(
        TernzipError, match=r"^tensor 'huge': cannot read this tensor of shape \[35184372088832\] on cpu: "
    ):
        ternzip.save({"huge": huge})


# --- overlapping views -------------------------------------------------------------------------------------


def test_overlapping_views_are_named_and_stored_apart() -> None:
    base = torch.arange(100.0)
    tensors = {
        "tail": base[40:],
        "head": base[:50],
        "apart": torch.ones(3),
        "tied": base[40:],
        "square": base[60:].view(8, 5),
        "empty": base[3:3],
        "meta": torch.ones(2, device="meta"),
    }
    assert overlapping(tensors) == [("tail", "head"), ("square", "tail")]
    del tensors["meta"]
    assert_same(ternzip.load(ternzip.save(tensors)), tensors)
    flat = torch.arange(12.0)
    parts = {"a": flat[:4].view(2, 2), "b": flat[4:], "c": torch.ones(4)}
    assert overlapping(parts) == []
    assert overlapping({"t": flat.view(3, 4), "turned": flat.view(3, 4).t()}) == [("turned", "t")]
