"""Linear layers and convolutions as matrices, and pairs of ordinary layers in their place.

A linear layer and a 1 x 1 convolution are a matrix of outputs by inputs. A convolution kh x kw is, after Tai
et al. (2016, arXiv 1511.06067), the matrix M[(co, j), (ci, i)] = weight[co, ci, i, j]: its rank-K
factors are a convolution kh x 1 to K channels and one 1 x kw from K channels, each with the stride, padding
and dilation of its own axis.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from ternzip._core.errors import TernzipError
from ternzip.lowrank.decomposition import Weighting, decompose

FACTORED_TYPES = (nn.Linear, nn.Conv2d)
Layer: TypeAlias = nn.Linear | nn.Conv2d


@dataclass(frozen=True)
class LowRank:
    """A layer of low rank.

    Attributes:
        module: nn.Sequential of two layers, with the bias of the original on the second.
        rank: K.
        error: |W - A B|_F / |W|_F.
        weighted_error: |S (W - A B) T|_F / |S W T|_F; the same where nothing is weighted.
    """

    module: nn.Sequential
    rank: int
    error: float
    weighted_error: float


def matrix_of(layer: nn.Module) -> Tensor:
    """The weight as the matrix that is factored: (out, in), or (Co kw, Ci kh) for a convolution.

    Raises TernzipError for other layers than nn.Linear and nn.Conv2d, for groups, and for ternary activations.
    """
    return as_matrix(_checked(layer), _checked(layer).weight)


def as_matrix(layer: Layer, values: Tensor) -> Tensor:
    """A tensor of the shape of the layer's weight, rearranged like it."""
    values = values.detach()
    if isinstance(layer, nn.Linear):
        return values
    out_channels, in_channels, height, width = values.shape
    return values.permute(0, 3, 1, 2).reshape(out_channels * width, in_channels * height)


def largest_rank(layer: nn.Module) -> int:
    """The largest K at which two factors hold no more numbers than the layer: floor(H W / (H + W)).

    0 where not even one component pays.
    """
    rows, columns = matrix_of(layer).shape
    return rows * columns // (rows + columns)


def factorize(layer: nn.Module, rank: int, weighting: Weighting | None = None) -> LowRank:
    """The pair of layers that is nearest to `layer` at that rank; `layer` itself stays as it is.

    Raises TernzipError as matrix_of does, and for a rank beyond the matrix.
    """
    layer = _checked(layer)
    matrix = matrix_of(layer)
    a, b = decompose(matrix, weighting).factors(rank)
    error, weighted = relative_errors(matrix, a @ b, weighting)
    return LowRank(factor_pair(layer, a, b), rank, error, weighted)


def relative_errors(
    matrix: Tensor, nearby: Tensor, weighting: Weighting | None = None
) -> tuple[float, float]:
    """|W - X|_F / |W|_F, and |S (W - X) T|_F / |S W T|_F."""
    exact, difference = matrix.double(), matrix.double() - nearby.double()

    def relative(over: Tensor, under: Tensor) -> float:
        norm = float(torch.linalg.matrix_norm(under))
        return float(torch.linalg.matrix_norm(over)) / norm if norm else 0.0

    plain = relative(difference, exact)
    if weighting is None:
        return plain, plain
    return plain, relative(weighting.apply(difference), weighting.apply(exact))


def factor_pair(layer: nn.Module, a: Tensor, b: Tensor) -> nn.Sequential:
    """Two layers whose product is A B, (rows, K) and (K, columns) of the layer's matrix."""
    layer = _checked(layer)
    pair = empty_pair(layer, a.shape[1])
    first, second = pair
    assert isinstance(first, FACTORED_TYPES)
    assert isinstance(second, FACTORED_TYPES)
    with torch.no_grad():
        first.weight.copy_(input_weight(layer, b))
        second.weight.copy_(output_weight(layer, a))
        if layer.bias is not None:
            assert second.bias is not None
            second.bias.copy_(layer.bias)
    return pair


def output_weight(layer: Layer, a: Tensor) -> Tensor:
    """A (rows, K) as the weight of the second layer, which makes the outputs: (out, K) or (Co, K, 1, kw)."""
    if isinstance(layer, nn.Linear):
        return a
    return a.reshape(layer.out_channels, layer.kernel_size[1], 1, a.shape[1]).permute(0, 3, 2, 1)


def input_weight(layer: Layer, b: Tensor) -> Tensor:
    """B (K, columns) as the weight of the first layer, which reads the inputs: (K, in) or (K, Ci, kh, 1)."""
    if isinstance(layer, nn.Linear):
        return b
    return b.reshape(b.shape[0], layer.in_channels, layer.kernel_size[0], 1)


def empty_pair(layer: nn.Module, rank: int) -> nn.Sequential:
    """Two layers of the right shapes, dtype and device, with arbitrary weights."""
    layer = _checked(layer)
    options: dict[str, Any] = {"device": layer.weight.device, "dtype": layer.weight.dtype}
    bias = layer.bias is not None
    if isinstance(layer, nn.Linear):
        return _like(
            layer,
            nn.Linear(layer.in_features, rank, bias=False, **options),
            nn.Linear(rank, layer.out_features, bias=bias, **options),
        )
    vertical, horizontal = (_axis(layer, axis) for axis in (0, 1))
    return _like(
        layer,
        nn.Conv2d(layer.in_channels, rank, bias=False, **vertical, **options),
        nn.Conv2d(rank, layer.out_channels, bias=bias, **horizontal, **options),
    )


def _like(layer: nn.Module, *pair: nn.Module) -> nn.Sequential:
    return nn.Sequential(*pair).train(layer.training)


def _axis(layer: nn.Conv2d, axis: int) -> Mapping[str, Any]:
    """The convolution's settings along one axis, and those that do nothing along the other."""

    def along(value: tuple[int, ...], neutral: int) -> tuple[int, int]:
        return (value[0], neutral) if axis == 0 else (neutral, value[1])

    padding = layer.padding if isinstance(layer.padding, str) else along(layer.padding, 0)
    return {
        "kernel_size": along(layer.kernel_size, 1),
        "stride": along(layer.stride, 1),
        "padding": padding,
        "dilation": along(layer.dilation, 1),
        "padding_mode": layer.padding_mode,
    }


def reads_ternary(layer: nn.Module) -> bool:
    """Whether a layer has ternary activations, which a pair in its place would not have."""
    return "input_quantizer" in layer._modules  # of ternzip.quantization


def _checked(layer: nn.Module) -> Layer:
    if not isinstance(layer, FACTORED_TYPES):
        raise TernzipError(f"low rank: expected nn.Linear or nn.Conv2d, found {type(layer).__name__}")
    if isinstance(layer, nn.Conv2d) and layer.groups != 1:
        raise TernzipError(f"low rank: expected a convolution of one group, found {layer.groups} groups")
    if reads_ternary(layer):
        raise TernzipError("low rank: expected a layer that reads floats, found one with ternary activations")
    return layer
