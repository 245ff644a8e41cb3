"""A layer as compressors see it, what becomes of it, and what every compressor offers."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, TypeAlias

import torch
from torch import Tensor, nn

from ternzip.lowrank.decomposition import Decomposition, Weighting, decompose
from ternzip.lowrank.layers import (
    FACTORED_TYPES,
    as_matrix,
    empty_pair,
    input_weight,
    output_weight,
    reads_ternary,
    relative_errors,
)
from ternzip.lowrank.statistics import LayerStatistics, weighting
from ternzip.search.compressors.encodings import Encoded, Encoding, Half

COMPRESSED_TYPES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
Latents: TypeAlias = Mapping[str, tuple[Tensor, Encoding]]


class LayerView:
    """A layer, what data say of it, and the decompositions that have been asked for.

    Attributes:
        name: in the model.
        layer: one of COMPRESSED_TYPES; it is never changed.
        statistics: None where no data were seen, or the layer has no matrix (groups, other dimensions).
        error_weighting: the weighting of the weighted errors reported.
        fixed: why no pair of layers can stand in its place, in a few words; None where one can.
    """

    def __init__(
        self,
        name: str,
        layer: nn.Module,
        statistics: LayerStatistics | None = None,
        error_weighting: str = "plain",
        fixed: str | None = None,
    ) -> None:
        self.name = name
        self.layer = layer
        self.statistics = statistics
        self.error_weighting = error_weighting if statistics is not None else "plain"
        self.fixed = fixed
        self._decompositions: dict[str, Decomposition] = {}

    @property
    def weight(self) -> Tensor:
        """The layer's weight, without a gradient."""
        found = self.layer.weight
        assert isinstance(found, Tensor)
        return found.detach()

    @cached_property
    def matrix(self) -> Tensor:
        """The weight as a matrix: that of `ternzip.lowrank` where it can be factored, else flattened."""
        return self.as_matrix(self.weight)

    @property
    def obstacle(self) -> str | None:
        """Why low rank leaves the layer as it is, in a few words; None where it may be tried."""
        layer = self.layer
        if not isinstance(layer, FACTORED_TYPES):
            return type(layer).__name__
        if isinstance(layer, nn.Conv2d) and layer.groups != 1:
            return f"{layer.groups} groups"
        if reads_ternary(layer):
            return "ternary activations"
        if self.fixed is not None:
            return self.fixed
        return None if self.largest_rank >= 1 else "no rank saves a byte"

    @property
    def largest_rank(self) -> int:
        """The largest rank whose two factors hold no more numbers than the matrix."""
        rows, columns = self.matrix.shape
        return rows * columns // (rows + columns)

    def as_matrix(self, weight: Tensor) -> Tensor:
        """Another weight of the same shape as a matrix, in the way of `matrix`."""
        if isinstance(self.layer, FACTORED_TYPES):
            return as_matrix(self.layer, weight)
        return weight.flatten(1)

    def weighting(self, name: str) -> Weighting:
        """The weighting of that name by the layer's statistics."""
        return weighting(name, self.statistics)

    @cached_property
    def _error_weighting(self) -> Weighting | None:
        return None if self.error_weighting == "plain" else self.weighting(self.error_weighting)

    def decomposition(self, name: str) -> Decomposition:
        """The weighted SVD of that weighting, computed once."""
        if name not in self._decompositions:
            self._decompositions[name] = decompose(self.matrix, self.weighting(name))
        return self._decompositions[name]

    def errors(self, matrix: Tensor) -> tuple[float, float]:
        """Relative Frobenius errors of a matrix in place of the layer's: plain, and weighted."""
        return relative_errors(self.matrix, matrix, self._error_weighting)


@dataclass(frozen=True)
class CompressedLayer:
    """What becomes of a layer.

    Attributes:
        latents: by name within the new layer ("weight", or "0.weight" and "1.weight"): the values before
            they are stored, and how they are.
        rank: of a layer that becomes two; None for one that stays one.
        label: what was done, for people: "rank 12, 8 bits".
        encoded: the stored tensors under the same names.
        error, weighted_error: relative Frobenius errors of the layer's matrix.
    """

    latents: Latents
    rank: int | None
    label: str
    encoded: dict[str, Encoded] = field(repr=False)
    error: float
    weighted_error: float

    def stored(self) -> dict[str, Tensor]:
        """The tensors of the file, scales included, by name within the layer; biases are not among them."""
        found: dict[str, Tensor] = {}
        for name, encoded in self.encoded.items():
            found[name] = encoded.stored
            if encoded.scale is not None:
                found[f"{name}.scale"] = encoded.scale
        return found

    def module(self, layer: nn.Module) -> nn.Module:
        """An ordinary module with the stored values, in place of `layer`, which stays as it is."""
        made = copy.deepcopy(layer) if self.rank is None else empty_pair(layer, self.rank)
        values = {name: encoded.value for name, encoded in self.encoded.items()}
        if self.rank is not None and layer.bias is not None:
            assert isinstance(layer.bias, Tensor)
            values["1.bias"] = layer.bias.detach()
        with torch.no_grad():
            for name, parameter in made.named_parameters():
                if name in values:
                    parameter.copy_(values[name])
        return made


class Compressor(Protocol):
    """A pure function of a layer and of numbers in [0, 1]: 0 makes the smallest file, 1 the largest."""

    @property
    def name(self) -> str:
        """What its parameter is called in a study: "threshold", "rank", ..."""
        ...

    @property
    def spread(self) -> float:
        """How far from a common theta a layer's own may lie, either way, where a size is given."""
        ...

    @property
    def monotone(self) -> bool:
        """Whether a layer's error falls all the way to theta = 1; otherwise the largest file is not the best."""
        ...

    def describe(self) -> str:
        """All its settings, to tell studies apart."""
        ...

    def compress(self, view: LayerView, theta: float) -> CompressedLayer:
        """What becomes of the layer at `theta`."""
        ...


def compress_layer(
    layer: nn.Module, compressor: Compressor, theta: float, statistics: LayerStatistics | None = None
) -> tuple[nn.Module, CompressedLayer]:
    """An ordinary module in place of `layer`, and what was done; `layer` stays as it is."""
    found = compressor.compress(LayerView("", layer, statistics), theta)
    return found.module(layer), found


def encode_layer(view: LayerView, latents: Latents, rank: int | None, label: str) -> CompressedLayer:
    """The layer that these latents make once they are stored."""
    encoded = {name: encoding.encode(latent) for name, (latent, encoding) in latents.items()}
    if rank is None:
        matrix = view.as_matrix(encoded["weight"].value)
    else:
        second, first = encoded["0.weight"].value, encoded["1.weight"].value
        # The inverse of output_weight: (Co, K, 1, kw) to (Co kw, K).
        left = first if first.dim() == 2 else first.permute(0, 3, 1, 2).reshape(-1, rank)
        matrix = left.double() @ second.reshape(rank, -1).double()
    return CompressedLayer(latents, rank, label, encoded, *view.errors(matrix))


def sparser_layer(
    view: LayerView, layer: CompressedLayer, share: float, latents: Mapping[str, Tensor] | None = None
) -> CompressedLayer:
    """The layer with that share of what it keeps made zeros as well, and with other latents if given."""
    moved = {}
    for name, (latent, encoding) in layer.latents.items():
        values = latent if latents is None else latents[name]
        moved[name] = values, encoding.sparser(values, share) if share else encoding
    label = f"{layer.label}, {share:.2%} more zeros" if share else layer.label
    return encode_layer(view, moved, layer.rank, label)


def kept_whole(view: LayerView, encoding: Encoding, label: str) -> CompressedLayer:
    """The layer as one layer, its weight stored by `encoding`."""
    return encode_layer(view, {"weight": (view.weight, encoding)}, None, label)


def factored(
    view: LayerView, a: Tensor, b: Tensor, encodings: tuple[Encoding, Encoding], label: str
) -> CompressedLayer:
    """The layer as two: A by the first encoding, B by the second."""
    layer = view.layer
    assert isinstance(layer, FACTORED_TYPES)
    dtype = view.weight.dtype
    latents: Latents = {
        "0.weight": (input_weight(layer, b).to(dtype).contiguous(), encodings[1]),
        "1.weight": (output_weight(layer, a).to(dtype).contiguous(), encodings[0]),
    }
    return encode_layer(view, latents, a.shape[1], label)


HALF = Half()
