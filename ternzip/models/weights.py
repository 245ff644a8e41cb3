"""Reading somebody's checkpoint into a network: wrappers off, names and shapes checked."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ternzip.errors import TernzipError

LATENT_MARK = ".parametrizations."


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a .tnz, .safetensors, .pt, .pth or .ckpt file, by name, on the CPU.

    Never unpickles anything but tensors and plain containers. Raises TernzipError for a missing or
    unreadable file, and for one without tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise TernzipError(f"{path}: no such file")
    suffix = path.suffix.lower()
    try:
        if suffix == ".tnz":
            import ternzip

            return dict(ternzip.load_file(path))
        if suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except TernzipError:
        raise
    except pickle.UnpicklingError as error:
        reason = "a damaged file, or a pickle that holds more than tensors and plain containers"
        raise TernzipError(f"{path}: not read: {reason}") from error
    except Exception as error:
        detail = str(error).strip().splitlines() or [type(error).__name__]
        raise TernzipError(f"{path}: not a checkpoint that can be read: {detail[0]}") from error
    return unwrap(loaded, str(path))


def unwrap(loaded: Any, source: str = "checkpoint") -> dict[str, Tensor]:
    """The state_dict inside `loaded`, without its outer dict and `module.` or `model.` before every name."""
    while isinstance(loaded, Mapping):
        inner = next(
            (loaded[key] for key in ("state_dict", "model_state_dict", "model") if key in loaded), None
        )
        if not isinstance(inner, Mapping):
            break
        loaded = inner
    tensors = {}
    if isinstance(loaded, Mapping):
        tensors = {str(name): value for name, value in loaded.items() if isinstance(value, Tensor)}
    if not tensors:
        raise TernzipError(
            f"{source}: no tensors found: expected a state_dict, found {type(loaded).__name__}"
        )
    for prefix in ("module.", "model."):
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def load_weights(model: nn.Module, source: str | Path | Mapping[str, Any]) -> nn.Module:
    """Load a checkpoint file, or a state_dict already read, into `model`; returns `model`.

    Raises TernzipError when names or shapes do not match, naming the first that does not.
    """
    if isinstance(source, str | Path):
        where, tensors = str(source), read_weights(source)
    else:
        where, tensors = "state_dict", unwrap(source)
    expected = model.state_dict()
    if any(LATENT_MARK in name for name in tensors) and not any(LATENT_MARK in name for name in expected):
        raise TernzipError(
            f"{where}: holds latent weights of a prepared model: expected plain tensors; "
            "load it into a prepared model, or save what ternzip.convert returns"
        )
    optional = {name for name in expected if name.endswith("num_batches_tracked")}
    missing = [name for name in expected if name not in tensors and name not in optional]
    unknown = [name for name in tensors if name not in expected]
    if missing or unknown:
        parts = [f"{len(missing)} missing, first {missing[0]}"] if missing else []
        parts += [f"{len(unknown)} unknown, first {unknown[0]}"] if unknown else []
        raise TernzipError(f"{where}: tensor names do not fit {type(model).__name__}: {'; '.join(parts)}")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            shapes = f"expected shape {tuple(expected[name].shape)}, found {tuple(tensor.shape)}"
            raise TernzipError(f"{where}: tensor {name}: {shapes}")
    model.load_state_dict(tensors, strict=not optional.difference(tensors))
    return model
