"""Compressed networks in .tnz files: what their metadata say, and how an ordinary module comes of them.

A file holds tensors named as in the compressed module's state_dict: `fc1.0.weight` and `fc1.1.weight` are the
factors of `fc1`. A weight kept as integer codes is an int8 tensor with its scales beside it, `NAME.scale`,
of a shape that multiplies the codes by broadcasting, in float32. One kept in 16 bits is a float16 tensor.
The metadata entry METADATA_KEY is JSON: {"version": 1, "low_rank": {layer: rank}, "codes": [tensor names],
"dtypes": {tensor name: torch dtype to restore}}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from ternzip._core.errors import TernzipError
from ternzip.container.reader import Reader
from ternzip.io.models import restore_quantizers
from ternzip.io.tensors import to_tensors, torch_dtype
from ternzip.lowrank.layers import empty_pair, matrix_of

METADATA_KEY = "ternzip.compressed"
VERSION = 1
SCALE = ".scale"


@dataclass(frozen=True)
class Description:
    """How the tensors of a file become the state_dict of an ordinary module.

    Attributes:
        low_rank: the rank of every layer that is stored as two.
        codes: names of tensors that are integer codes, times `NAME.scale`.
        dtypes: the dtypes ("float32") of tensors that are stored in another.
    """

    low_rank: dict[str, int] = field(default_factory=dict)
    codes: tuple[str, ...] = ()
    dtypes: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """The metadata's text; the same description gives the same text."""
        parts = {"low_rank": self.low_rank, "codes": sorted(self.codes), "dtypes": self.dtypes}
        return json.dumps({"version": VERSION, **parts}, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Description:
        """Reads what to_json wrote; raises TernzipError for anything else."""
        try:
            found = json.loads(text)
        except ValueError as error:
            raise TernzipError(f"metadata {METADATA_KEY!r}: expected JSON: {error}") from None
        if not isinstance(found, dict) or found.get("version") != VERSION:
            version = found.get("version") if isinstance(found, dict) else None
            raise TernzipError(f"metadata {METADATA_KEY!r}: expected version {VERSION}, found {version!r}")
        low_rank, codes, dtypes = (cast(Any, found.get(key)) for key in ("low_rank", "codes", "dtypes"))
        if not _maps(low_rank, int) or not _maps(dtypes, str) or not _is_names(codes):
            raise TernzipError(
                f"metadata {METADATA_KEY!r}: expected low_rank, codes and dtypes, found others"
            )
        return cls(low_rank, tuple(codes), dtypes)


def _maps(value: Any, kind: type) -> bool:
    return isinstance(value, dict) and all(type(entry) is kind for entry in value.values())


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def rebuild(model: nn.Module, description: Description) -> nn.Module:
    """Puts pairs of layers where `description` says so, in place, with arbitrary weights; returns `model`.

    A layer known under several names becomes one pair under all of them. Raises TernzipError for names that
    are no nn.Linear or nn.Conv2d of `model`, and for ranks beyond the layer.
    """
    pairs: dict[int, nn.Module] = {}
    replaced: dict[str, nn.Module] = {}
    named = dict(model.named_modules(remove_duplicate=False))
    for name, rank in description.low_rank.items():
        layer = named.get(name)
        if layer is None:
            raise TernzipError(f"layer {name}: expected in {type(model).__name__}, found no such module")
        if not name:
            raise TernzipError("low rank: expected a layer inside a model, found the model itself")
        most = min(matrix_of(layer).shape)
        if not 1 <= rank <= most:
            raise TernzipError(f"layer {name}: expected a rank of 1 to {most}, found {rank}")
        pairs[id(layer)] = empty_pair(layer, rank)
    for name, layer in named.items():
        if id(layer) in pairs:
            replaced[name] = pairs[id(layer)]
    for name, pair in replaced.items():
        parent, _, child = name.rpartition(".")
        setattr(named[parent], child, pair)
    return model


def decode(tensors: Mapping[str, Tensor], description: Description) -> dict[str, Tensor]:
    """The state_dict: codes times their scales, other dtypes back, everything else as it is.

    Raises TernzipError for codes or scales that are missing or do not fit.
    """
    scales = {name + SCALE for name in description.codes}
    state: dict[str, Tensor] = {}
    for name in (*description.codes, *scales, *description.dtypes):
        if name not in tensors:
            raise TernzipError(f"tensor {name!r}: expected by the file's metadata, found none")
    for name, tensor in tensors.items():
        if name in scales:
            continue
        value = tensor
        if name in description.codes:
            scale = tensors[name + SCALE]
            if not _broadcasts(scale, tensor):
                raise TernzipError(
                    f"tensor {name + SCALE!r}: expected a shape that broadcasts to {list(tensor.shape)}, "
                    f"found {list(scale.shape)}"
                )
            value = tensor.float() * scale.float()
        if name in description.dtypes:
            dtype = torch_dtype(description.dtypes[name])
            if dtype is None:
                raise TernzipError(
                    f"tensor {name!r}: expected a dtype of torch, found {description.dtypes[name]!r}"
                )
            value = value.to(dtype)
        state[name] = value
    return state


def _broadcasts(scale: Tensor, codes: Tensor) -> bool:
    return scale.dim() == codes.dim() and all(
        s in (1, n) for s, n in zip(scale.shape, codes.shape, strict=True)
    )


def load_compressed(model: nn.Module, source: str | Path | bytes) -> nn.Module:
    """Loads a file of `ternzip search`, or its bytes, into a fresh dense `model`, in place; returns it.

    `model` has the architecture that was compressed; its weights do not matter. Layers of low rank become
    nn.Sequential of two, those with ternary activations get their quantizers, everything else stays what it is. A file
    without METADATA_KEY is loaded as it is.
    Raises TernzipError where file and model do not fit; the model is then unusable.
    """
    with Reader.open(source) as reader:
        metadata = dict(reader.metadata)
        tensors = to_tensors(reader.read_all())
    description = Description.from_json(metadata[METADATA_KEY]) if METADATA_KEY in metadata else Description()
    state = decode(tensors, description)
    rebuild(model, description)
    restore_quantizers(model, state)
    expected = model.state_dict()
    where = "compressed model" if isinstance(source, bytes) else str(source)
    for name in (*expected, *state):
        if (name in expected) != (name in state):
            found = "is missing" if name in expected else "is unknown"
            raise TernzipError(f"{where}: tensor {name} {found}: the file is of another architecture")
        if expected[name].shape != state[name].shape:
            shapes = f"expected shape {list(expected[name].shape)}, found {list(state[name].shape)}"
            raise TernzipError(f"{where}: tensor {name}: {shapes}")
    model.load_state_dict({name: value.to(expected[name].dtype) for name, value in state.items()})
    return model


def read_description(source: str | Path | bytes) -> Description | None:
    """What the file says of itself; None for one that `ternzip search` did not write."""
    with Reader.open(source) as reader:
        text = reader.metadata.get(METADATA_KEY)
    return None if text is None else Description.from_json(text)
