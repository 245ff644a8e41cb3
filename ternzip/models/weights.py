"""Reading somebody's checkpoint into a network: wrappers off, names and shapes checked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import closing
from pathlib import Path

import torch
from torch import Tensor, nn

from ternzip._core.errors import TernzipError
from ternzip.checkpoint.base import LATENT_MARK
from ternzip.checkpoint.load import open_checkpoint
from ternzip.io.models import check_fit, load_fitting
from ternzip.io.tensors import to_tensors


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of any checkpoint ternzip reads (.tnz, .safetensors, .pt, ...), by name, on the CPU.

    Of a training checkpoint (Lightning's, say) they are those of its `state_dict`, not an optimizer's. Names are the
    file's: a wrapper's `module.` or `model.` before them stays, and `load_weights` takes it off where it is one.

    Runs no code from the file. Raises TernzipError for a missing, damaged or foreign file.
    """
    return read_checkpoint(path)[1]


def read_checkpoint(path: str | Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The metadata beside the tensors; as read_weights."""
    with closing(open_checkpoint(str(path))) as checkpoint:
        return dict(checkpoint.metadata), _of_the_model(to_tensors(checkpoint.tensors(), "cpu"))


def _of_the_model(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # No module can be called `state_dict`, so that a name with this prefix is never a network's own.
    found = {
        name.removeprefix("state_dict."): value
        for name, value in tensors.items()
        if name.startswith("state_dict.")
    }
    return found or dict(tensors)


def unwrap(tensors: Mapping[str, Tensor], expected: Collection[str]) -> Mapping[str, Tensor]:
    """The tensors of the model, without the `module.` or `model.` that a wrapper put before every name, if it was one.

    A network may have a child of that name and nothing else: what stays is by the names of which most are `expected`,
    and by those of the file where there is nothing to choose.

    Where they do not fit, as in a training checkpoint that holds an optimizer too, those under one key are taken that
    fit whole; of two that do, as a model and its average, none.
    """
    whole = _unwrapped(tensors, expected)
    if _fits(whole, expected):
        return whole
    parts = [_unwrapped(part, expected) for part in _parts(tensors)]
    fitting = [part for part in parts if _fits(part, expected)]
    return fitting[0] if len(fitting) == 1 else whole


def _parts(tensors: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """The tensors under each of the outermost keys."""
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        key, _, rest = name.partition(".")
        parts.setdefault(key, {})[rest] = value
    return list(parts.values())


def _fits(tensors: Mapping[str, Tensor], expected: Collection[str]) -> bool:
    """Whether every name is expected, and none is missing but for batch norm's counters."""
    missing = set(expected) - set(tensors)
    return set(tensors) <= set(expected) and all(name.endswith("num_batches_tracked") for name in missing)


def _unwrapped(tensors: Mapping[str, Tensor], expected: Collection[str]) -> Mapping[str, Tensor]:
    readings = [tensors]
    for prefix in ("module.", "model."):
        if all(name.startswith(prefix) for name in readings[-1]):
            readings.append({name.removeprefix(prefix): value for name, value in readings[-1].items()})
    return max(readings, key=lambda reading: sum(name in expected for name in reading))


def load_weights(model: nn.Module, source: str | Path | Mapping[str, Tensor]) -> nn.Module:
    """Load a checkpoint file, or a state_dict already read, into `model`; returns `model`.

    Raises TernzipError when names or shapes do not match, naming the first that does not.
    """
    if isinstance(source, str | Path):
        where, tensors = str(source), read_weights(source)
    else:
        where, tensors = "state_dict", _of_the_model(source)
    fill(model, tensors, where)
    return model


def fill(model: nn.Module, tensors: Mapping[str, Tensor], where: str, *, in_place: bool = True) -> None:
    """Gives `model` these tensors: their values, or, if not `in_place`, they themselves, in the model's dtypes.

    Raises TernzipError as load_weights does; `where` they are from is for messages.
    """
    expected = model.state_dict()
    tensors = unwrap(tensors, expected)
    if any(LATENT_MARK in name for name in tensors) and not any(LATENT_MARK in name for name in expected):
        raise TernzipError(
            f"{where}: holds latent weights of a prepared model: expected plain tensors; "
            "load it into a prepared model, or save what ternzip.convert returns"
        )
    # Batch norm's counter is missing from old checkpoints, and nothing depends on it.
    counters = {
        name: torch.zeros(()) if tensor.is_meta else tensor
        for name, tensor in expected.items()
        if name.endswith("num_batches_tracked")
    }
    tensors = {**counters, **tensors}
    check_fit(model, tensors, where)
    load_fitting(model, tensors, assign=not in_place)
