"""The network that is compressed: its layers, and the whole model at one setting of all of them."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ternzip._core.copies import model_copy
from ternzip._core.errors import TernzipError
from ternzip.io.tensors import overlapping
from ternzip.lowrank.batch_norm import BATCH_NORMS, affine_batch_norm, estimate_batch_norm
from ternzip.lowrank.passes import BATCH
from ternzip.lowrank.statistics import collect_statistics
from ternzip.lowrank.stored import METADATA_KEY, Description
from ternzip.search.compressors.base import (
    COMPRESSED_TYPES,
    HALF,
    CompressedLayer,
    Compressor,
    LayerView,
    sparser_layer,
)
from ternzip.search.compressors.encodings import Codes, Encoded, Encoding, Plain
from ternzip.search.compressors.methods import weightings
from ternzip.search.size import Coder, dense_bytes, entropy_bytes
from ternzip.search.uses import replace_modules, uses_of, without_unused

SMALLEST = 1024
"""Layers of fewer weights are not searched: they are stored with 8 bits."""


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes:
        tensors: by name.
        description: how these become a state_dict.
    """

    tensors: dict[str, Tensor]
    description: Description

    def metadata(self, extra: dict[str, str] | None = None) -> dict[str, str]:
        """What the file says of its network, and `extra`."""
        return {METADATA_KEY: self.description.to_json(), **(extra or {})}

    def file(self, coder: Coder, extra: dict[str, str] | None = None) -> bytes:
        """The .tnz file."""
        return coder.file(self.tensors, self.metadata(extra))


@dataclass(frozen=True)
class CompressedNetwork(Contents):
    """A network at one setting, and what its file holds.

    Attributes:
        model: an ordinary module, in eval mode, with exactly the values that its file gives back.
        layers: what was done to each searched layer.
    """

    model: nn.Module
    layers: dict[str, CompressedLayer]


class Network:
    """A trained model and what may be done to each of its layers.

    Attributes:
        model: a copy of the original on the CPU, its batch norms as `ternzip.lowrank.affine_batch_norm` makes them.
        views: the searched layers by name, in the model's order.
        compressor: what is done to them.
        uses: which layers were left alone because they never run, and which must stay one layer.
        dense_bytes: bytes of the original's float32 file.

    Args:
        model: any nn.Module with weights in floating point.
        compressor: one of `ternzip.search.compressors`.
        calibration: inputs, (n, ...), for weighted SVDs and for batch norm; None switches both off.
        skip: names of layers to leave out, with wildcards; they are stored with 8 bits like small ones.
        batch_norm: whether running statistics are estimated anew after every compression.
        smallest: layers of fewer weights are left out.
        fisher: whether gradients are needed (for the weighting "fisher").
        labels: of the calibration inputs, for "fisher".

    A layer that the model also reaches by another path than its registered name, say in a list of its own, keeps its
    module: no pair of low rank takes its place.

    Raises TernzipError for a model without a layer to compress, a pattern that matches none, a prepared
    model, weights that are not finite, tensors that share memory without being tied, and modules that run without
    being registered.
    """

    def __init__(
        self,
        model: nn.Module,
        compressor: Compressor,
        *,
        calibration: Tensor | None = None,
        labels: Tensor | None = None,
        skip: str | Iterable[str] = (),
        batch_norm: bool = True,
        smallest: int = SMALLEST,
        fisher: bool = False,
        coder: Coder | None = None,
    ) -> None:
        self.model = copied(model).eval()
        for parameter in self.model.parameters():
            parameter.requires_grad_(fisher)
        self.compressor = compressor
        self.calibration = calibration
        self.coder = coder or Coder()
        layers = _layers(self.model, [skip] if isinstance(skip, str) else list(skip), smallest)
        self.uses = uses_of(self.model, layers, calibration)
        layers = without_unused(layers, self.uses, model)
        found = {}
        fixed = self.uses.fixed
        factored = {
            name: la
            for name, la in layers.items()
            if LayerView(name, la, fixed=fixed.get(name)).obstacle is None
        }
        if calibration is not None and factored:
            found = collect_statistics(
                self.model,
                torch.split(calibration, BATCH),
                factored,
                fisher=fisher,
                correlations="whitening" in weightings(compressor),
                labels=labels,
            )
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        self.views = {
            name: LayerView(name, la, found.get(name), "activation", fixed.get(name))
            for name, la in layers.items()
        }
        self._norms = {
            name: copy.deepcopy(module.state_dict())
            for name, module in self.model.named_modules()
            if isinstance(module, BATCH_NORMS)
        }
        affine_batch_norm(self.model)
        self._state = self.model.state_dict()
        self._others: dict[int, Encoded] = {}
        modules = {id(la): name for name, la in layers.items()}
        self._first_names = {
            name: modules[id(module)]
            for name, module in self.model.named_modules(remove_duplicate=False)
            if id(module) in modules
        }
        self.dense_bytes = dense_bytes(self._state)
        normed = any(isinstance(module, BATCH_NORMS) for module in self.model.modules())
        self.batch_norm = batch_norm and normed and calibration is not None
        if self.batch_norm and calibration is not None and len(calibration) < 2:
            raise TernzipError(
                f"calibration: expected at least 2 samples to estimate batch norm on, found {len(calibration)}"
            )
        self._compressed: dict[tuple[str, float], CompressedLayer] = {}

    @property
    def notes(self) -> list[str]:
        """Which layers were left alone, and why, for people."""
        reasons: dict[str, list[str]] = {}
        for name in self.uses.unused:
            reasons.setdefault("left at 8 bits, as they never run on the samples", []).append(name)
        if weightings(self.compressor):
            for name, why in self.uses.fixed.items():
                reasons.setdefault(f"never two layers of low rank ({why})", []).append(name)
        return [f"{', '.join(names)}: {why}" for why, names in reasons.items()]

    @property
    def names(self) -> list[str]:
        """Of the layers that may be compressed, in the order of theta."""
        return list(self.views)

    def layer(self, name: str, theta: float) -> CompressedLayer:
        """What becomes of one layer; the latest few settings are remembered."""
        key = name, theta
        if key not in self._compressed:
            if len(self._compressed) >= 4 * len(self.views):
                self._compressed.pop(next(iter(self._compressed)))
            self._compressed[key] = self.compressor.compress(self.views[name], theta)
        return self._compressed[key]

    def layer_bytes(self, name: str, theta: float) -> float:
        """About what one layer takes, by entropy."""
        return entropy_bytes(self.layer(name, theta).stored())

    def compress(
        self, theta: Sequence[float], *, zeros: float = 0.0, batch_norm: bool = True
    ) -> CompressedNetwork:
        """The network with layer l at theta[l], in the order of `names`.

        `zeros`: the share of what the layers keep that becomes zeros as well, the smallest magnitudes.
        """
        return self.assemble(self._layers_at(theta, zeros), batch_norm=batch_norm)

    def contents(self, theta: Sequence[float], *, zeros: float = 0.0) -> Contents:
        """What the file of `compress` holds with batch norm as in the original; no module is built for it."""
        layers = self._layers_at(theta, zeros)
        state: dict[str, Tensor] = {}
        for name, value in self._state.items():
            owner, _, part = name.rpartition(".")
            layer = layers[self._first_names[owner]] if owner in self._first_names else None
            if layer is None or layer.rank is None:
                state[name] = value
            elif part == "weight":
                state |= {f"{owner}.{piece}": encoded.value for piece, encoded in layer.encoded.items()}
            else:
                state[f"{owner}.1.{part}"] = value
        found, _ = self._stored(state, layers, self._others)
        return found

    def _layers_at(self, theta: Sequence[float], zeros: float) -> dict[str, CompressedLayer]:
        layers = {name: self.layer(name, t) for name, t in zip(self.views, theta, strict=True)}
        if zeros:
            layers = {name: sparser_layer(self.views[name], la, zeros) for name, la in layers.items()}
        return layers

    def assemble(
        self,
        layers: dict[str, CompressedLayer],
        *,
        base: nn.Module | None = None,
        batch_norm: bool = True,
    ) -> CompressedNetwork:
        """The network of these layers; what is no searched layer comes from `base`, by default the original.

        Batch norms of `base` may be as training left them.
        """
        model = copy.deepcopy(base or self.model)
        if base is None:
            # What stays one module stays that module, whoever else holds it.
            for name, layer in layers.items():
                if layer.rank is None:
                    weight = model.get_submodule(name).weight
                    assert isinstance(weight, Tensor)
                    weight.copy_(layer.encoded["weight"].value)
            for name, norm in self._norms.items():
                model.get_submodule(name).load_state_dict(norm)
            replace_modules(
                model,
                {n: la.module(self.views[n].layer) for n, la in layers.items() if la.rank is not None},
            )
        model.eval()
        if batch_norm and self.batch_norm:
            assert self.calibration is not None
            estimate_batch_norm(model, self.calibration)
        affine_batch_norm(model)
        state = model.state_dict()
        found, values = self._stored(state, layers, {})
        with torch.no_grad():
            for name, value in state.items():
                value.copy_(values[name])
        return CompressedNetwork(found.tensors, found.description, model, layers)

    def blank(self) -> nn.Module:
        """The architecture, for a file to be loaded into: NaN in place of all that the file has to give."""
        model = copy.deepcopy(self.model)
        for value in model.state_dict().values():
            if isinstance(value, Tensor) and value.is_floating_point():
                value.fill_(float("nan"))
        return model

    def _stored(
        self, state: dict[str, Tensor], layers: dict[str, CompressedLayer], known: dict[int, Encoded]
    ) -> tuple[Contents, dict[str, Tensor]]:
        """What is stored of a state_dict whose searched layers are `layers`, and the values that come back.

        `known` holds the encodings of tensors that no compressor changes, by address; new ones are added.
        """
        searched = {
            f"{name}.{part}": encoded
            for name, first in self._first_names.items()
            for part, encoded in layers[first].encoded.items()
        }
        tensors: dict[str, Tensor] = {}
        values: dict[str, Tensor] = {}
        codes: list[str] = []
        dtypes: dict[str, str] = {}
        for name, value in state.items():
            encoded = searched.get(name)
            if encoded is None:
                # Tensors tied together stay one tensor, in the file as well.
                key = value.data_ptr() or id(value)
                if key not in known:
                    known[key] = _encoding_of_others(value).encode(value)
                encoded = known[key]
            values[name] = encoded.value
            tensors[name] = encoded.stored
            if encoded.scale is not None:
                codes.append(name)
                tensors[f"{name}.scale"] = encoded.scale
            if encoded.stored.dtype != value.dtype and (
                encoded.scale is None or value.dtype != torch.float32
            ):
                dtypes[name] = str(value.dtype).removeprefix("torch.")
        ranks = {name: la.rank for name, la in layers.items() if la.rank is not None}
        return Contents(tensors, Description(ranks, tuple(codes), dtypes)), values

    def describe(self) -> str:
        """The space that is searched, as JSON: layers and compressor."""
        parts = {
            "layers": self.names,
            "compressor": self.compressor.describe(),
            "batch_norm": self.batch_norm,
            "calibration": 0 if self.calibration is None else len(self.calibration),
        }
        return json.dumps(parts, sort_keys=True)


def copied(model: nn.Module) -> nn.Module:
    """A copy on the CPU. Raises TernzipError for a model that cannot be copied, or whose state no file holds."""
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise TernzipError(f"module {name or 'model'}: expected one of Python, found a ScriptModule")
        if (
            isinstance(module, COMPRESSED_TYPES)
            and not parametrize.is_parametrized(module)
            and module._parameters.get("weight") is None
        ):
            raise TernzipError(
                f"layer {name}: expected a weight of its own, found one that is computed, as by "
                "torch.nn.utils.weight_norm or spectral_norm: remove that first"
            )
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise TernzipError(f"state {name}: expected a tensor, found {type(value).__name__}")
        if value.is_meta:
            raise TernzipError(f"tensor {name}: expected values, found a meta tensor")
    return model_copy(model).to("cpu")


def _layers(model: nn.Module, skip: list[str], smallest: int) -> dict[str, nn.Module]:
    owners: dict[int, int] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    found = {}
    for name, module in model.named_modules():
        if parametrize.is_parametrized(module):
            raise TernzipError(
                f"layer {name}: expected plain weights, found a parametrization: convert it first"
            )
        if name and isinstance(module, COMPRESSED_TYPES) and module.weight.is_floating_point():
            found[name] = module
    if isinstance(model, COMPRESSED_TYPES):
        raise TernzipError(f"model: expected layers inside a model, found {type(model).__name__} alone")
    for pattern in skip:
        if not any(fnmatchcase(name, pattern) for name in found):
            raise TernzipError(
                f"pattern {pattern!r} matches no layer: the layers are {', '.join(found) or 'none'}"
            )
    state = model.state_dict()
    for name, other in overlapping(state):  # one of them could not change without the other
        raise TernzipError(f"tensor {name}: expected memory of its own, found some of {other}'s")
    masks = {  # buffers may hold infinity, as causal masks do
        f"{name}.{buffer}".removeprefix(".")
        for name, module in model.named_modules(remove_duplicate=False)
        if not isinstance(module, BATCH_NORMS)
        for buffer in module._buffers
    }
    for name, tensor in state.items():
        fine = ~tensor.isnan() if name in masks else tensor.isfinite()
        if not bool(fine.all()):
            raise TernzipError(f"tensor {name}: expected finite values, found NaN or infinity")
    chosen: dict[str, nn.Module] = {
        name: module
        for name, module in found.items()
        if not any(fnmatchcase(name, pattern) for pattern in skip)
        and module.weight.numel() >= smallest
        and owners[id(module.weight)] == 1  # a weight that two modules share is not one layer's to change
    }
    if not chosen:
        raise TernzipError(
            f"{type(model).__name__}: expected a linear layer or a convolution of at least {smallest} weights "
            f"that is not skipped, found none"
        )
    return chosen


def _encoding_of_others(value: Tensor) -> Encoding:
    """How tensors are stored that no compressor changes: weights with 8 bits, vectors with 16, masks as they are."""
    if not value.is_floating_point() or not value.numel() or not bool(value.isfinite().all()):
        return Plain()
    return Codes(8) if value.dim() >= 2 else HALF
