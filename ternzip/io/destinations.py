"""Tensors that exist, as places to load a file into."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ternzip._core.errors import TernzipError
from ternzip.codecs.plane import Bytes
from ternzip.container.layout import Entry
from ternzip.container.reader import Reader
from ternzip.io.tensors import memory_of, overlapping, same_view, torch_dtype


def destinations(reader: Reader, out: Mapping[str, torch.Tensor]) -> dict[str, Bytes]:
    """The memory of the tensors in `out` as bytes, for every tensor of the file that is not tied.

    Raises TernzipError for the first thing that does not fit, and nothing has been written then: names, types and
    shapes other than the file's; tensors that are no plain, contiguous ones on the CPU; those that require grad while
    grad mode is on, as their copy_ would; and memory that two of them share, unless the file ties them.
    """
    _check_names(reader, out)
    for name, entry in reader.entries.items():
        problem = _problem(entry, out[name])
        if problem:
            raise TernzipError(f"{reader.name}: cannot load into out[{name!r}]: {problem}")
    _check_memory(reader, out)
    return {
        name: memory_of(out[name].detach().as_subclass(torch.Tensor))
        for name, entry in reader.entries.items()
        if entry.tied_to is None
    }


def finish(reader: Reader, out: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of `out` in the file's order, when those that are not tied have been filled."""
    for name, entry in reader.entries.items():
        if entry.tied_to is not None and not same_view(out[name], out[entry.tied_to]):
            with torch.no_grad():
                out[name].copy_(out[entry.tied_to])
        elif not out[name].is_inference():  # as torch's own operations tell autograd
            torch.autograd.graph.increment_version(out[name])
    return {name: out[name] for name in reader.entries}


def _check_names(reader: Reader, out: Mapping[str, torch.Tensor]) -> None:
    if not isinstance(out, Mapping):
        raise TypeError(f"out: expected a mapping of names to tensors, got {type(out).__name__}")
    missing = [name for name in reader.entries if name not in out]
    unknown = [name for name in out if name not in reader.entries]
    if missing or unknown:
        parts = [f"{len(missing)} missing, first {missing[0]!r}"] if missing else []
        parts += [f"{len(unknown)} not in the file, first {unknown[0]!r}"] if unknown else []
        raise TernzipError(f"{reader.name}: names of out do not fit: {'; '.join(parts)}")


def _problem(entry: Entry, tensor: object) -> str | None:
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter):
        return f"expected a plain torch.Tensor, found {type(tensor).__name__}"
    assert isinstance(tensor, torch.Tensor)
    if tensor.layout is not torch.strided or tensor.is_nested or tensor.is_quantized:
        return "expected a dense tensor"
    if tensor.device.type != "cpu":
        return (
            f"expected a tensor on the CPU, found {tensor.device} (load_file's device= makes tensors there)"
        )
    if tensor.dtype != torch_dtype(entry.dtype.name):
        return f"expected type {entry.dtype.name}, found {str(tensor.dtype).removeprefix('torch.')}"
    if tuple(tensor.shape) != entry.shape:
        return f"expected shape {list(entry.shape)}, found {list(tensor.shape)}"
    if not tensor.is_contiguous():
        return f"expected a contiguous tensor, found strides {list(tensor.stride())}"
    if tensor.is_conj() or tensor.is_neg():
        return "expected a tensor of its own, found a conjugate or negative view"
    if tensor.requires_grad and torch.is_grad_enabled():
        return "it requires grad: give tensor.detach() or model.state_dict(), or call under torch.no_grad()"
    return None


def _check_memory(reader: Reader, out: Mapping[str, torch.Tensor]) -> None:
    known = {name: out[name] for name in reader.entries}
    owners: dict[tuple[int, int], str] = {}
    for name, tensor in known.items():
        entry = reader.entries[name]
        stored = name if entry.tied_to is None else entry.tied_to
        other = owners.setdefault((tensor.data_ptr(), tensor.nbytes), stored) if tensor.numel() else stored
        if other != stored:
            raise TernzipError(
                f"{reader.name}: cannot load into out[{name!r}] and out[{other!r}]: they share memory, and the file "
                "stores them apart"
            )
    for name, other in overlapping(known):
        raise TernzipError(
            f"{reader.name}: cannot load into out[{name!r}] and out[{other!r}]: they overlap in memory"
        )
