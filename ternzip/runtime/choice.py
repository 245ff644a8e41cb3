"""Which way each layer runs: by measured time, or by a rule on its share of zeros."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ternzip.runtime._kernels import DTYPE_CODES
from ternzip.runtime.bitwise import BitwiseLayer, has_planes
from ternzip.runtime.dense_layers import ChannelsLastLayer, DenseLayer
from ternzip.runtime.layers import (
    DirectLayer,
    LookupLayer,
    RuntimeLayer,
    SparseLayer,
    ratios_and_scales,
)
from ternzip.runtime.plan import LayerPlan, LayerSizes
from ternzip.runtime.trits import TernaryWeight

SPARSE_DENSITY = 0.5
"""The rule: lists up to this share of weights that are not zero. They break even with oneDNN between 0.5 and 0.8."""
FEW_SPARSE_DENSITY = 0.7
"""The rule for layers of at most FEW_WEIGHTS. They break even with our dense kernel at about 0.8."""
SPARSE_WEIGHTS = 4.0
"""The rule: lists where an output has this many weights at least on average (depthwise ones do not)."""
FEW_WEIGHTS = 1 << 16
"""The rule: a kernel of ours runs dense layers of at most so many weights, as calls of torch take longer."""
Times = dict[str, dict[type[RuntimeLayer], float]]
BITWISE_CHANNELS = 16
"""The rule: bit planes for this many channels of a group at least; a word holds 32."""
_ROUNDS = 5
_MOST_ROUNDS = 40
_SECONDS = 0.05
_MOST_TAPS = 1 << 15


@dataclass(frozen=True)
class LayerChoice:
    """How a layer of an optimized model runs.

    Attributes:
        name: of the layer in the model it was made from.
        kind: "sparse" (lists), "lookup" (tables of sums), "bitwise" (bit planes, of ternary activations), "direct"
            (dense weights, a kernel of ours), "dense" (torch's) or "channels_last" (torch's, in that layout).
        density: share of its weights that are not zero.
        weight_bytes: what its weights take in memory.
    """

    name: str
    kind: str
    density: float
    weight_bytes: int


def describe(model: nn.Module) -> list[LayerChoice]:
    """The ternary layers of an optimized model and how they run, in the order of its modules."""
    return [
        LayerChoice(layer.plan_name, layer.description, layer.density, weight_bytes(layer))
        for layer in model.modules()
        if isinstance(layer, RuntimeLayer) and layer.is_ternary
    ]


def weight_bytes(model: nn.Module) -> int:
    """Bytes of all parameters and buffers, shared ones counted once."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


def kinds_of(plan: LayerPlan) -> list[type[RuntimeLayer]]:
    """What can run a layer, the likely quickest first by the rule."""
    kinds: list[type[RuntimeLayer]] = [DenseLayer, DirectLayer]
    few = math.prod(plan.weight.shape) <= FEW_WEIGHTS
    if few:
        kinds.reverse()
    if plan.is_ternary and _has_lists(plan):
        weights = plan.density * math.prod(plan.weight.shape[1:])
        most = FEW_SPARSE_DENSITY if few else SPARSE_DENSITY
        suits = plan.density <= most and weights >= SPARSE_WEIGHTS
        kinds.insert(0 if suits else len(kinds), SparseLayer)
    if plan.window.dimensions == 2:
        kinds.append(ChannelsLastLayer)
    if plan.is_ternary and not plan.window.dimensions:
        kinds.insert(0, LookupLayer)
    if has_planes(plan):
        kinds.insert(0 if plan.weight.shape[1] >= BITWISE_CHANNELS else 1, BitwiseLayer)
    return kinds


def native_kinds_of(plan: LayerPlan) -> list[type[RuntimeLayer]]:
    """Those of them that a native program has steps for."""
    if plan.input_scale is not None:
        return []
    kinds = (SparseLayer, DirectLayer) if plan.window.dimensions else (LookupLayer, DirectLayer)
    return [kind for kind in kinds_of(plan) if kind in kinds]


def _has_lists(plan: LayerPlan) -> bool:
    """Whether lists can run the layer: levels of rows that are, as their quotient, ordinary numbers; a small kernel.

    What a batch norm makes of them may be subnormal, as it is of a channel that training has given up.
    """
    assert isinstance(plan.weight, TernaryWeight)
    if plan.weight.groups > 1:
        return False
    ratios, scales = ratios_and_scales(plan)
    values = torch.cat([ratios, plan.weight.positives[:, 0], plan.weight.negatives[:, 0]])
    tiny = torch.finfo(torch.float32).tiny
    ordinary = bool(
        (values.isfinite() & ((values == 0) | (values.abs() >= tiny))).all() and scales.isfinite().all()
    )
    return ordinary and math.prod(plan.weight.shape[2:]) <= _MOST_TAPS and plan.weight.trits.numel() < 1 << 31


def by_rule(plan: LayerPlan) -> RuntimeLayer:
    """The layer that the rule picks."""
    return kinds_of(plan)[0](plan)


class MeasuringLayer(LayerSizes, nn.Module):
    """Stands for a layer while a model is run once: tries what can run it, and keeps the quickest.

    Attributes:
        chosen: the quickest, None before the layer has run.
        keeps_layout: as of a RuntimeLayer.
        times: seconds of each kind by the layer's name; the layer adds its own.
        was_read: whether the network read the weight or bias, which only the original layer has.
    """

    def __init__(self, plan: LayerPlan, times: Times) -> None:
        super().__init__()
        self.plan = plan
        self.rows, self.columns, self.window = plan.rows, int(plan.weight.shape[1]), plan.window
        self.times = times
        self.chosen: RuntimeLayer | None = None
        self.keeps_layout = False
        self.was_read = False
        self.training = False

    @property
    def weight(self) -> Tensor:
        """The layer's weight."""
        self.was_read = True
        return self.plan.weight.dense().to(self.plan.weight.dtype)

    @property
    def bias(self) -> Tensor | None:
        """The layer's bias."""
        self.was_read = True
        return self.plan.bias.to(self.plan.weight.dtype) if self.plan.has_bias else None

    def forward(self, input: Tensor, residual: Tensor | float | None = None) -> Tensor:  # noqa: A002 - as torch calls it
        """The layer's output."""
        x = input
        if self.chosen is None:
            candidates = [kind(self.plan) for kind in kinds_of(self.plan)]
            for candidate in candidates:
                candidate.keeps_layout = self.keeps_layout
            if x.dtype not in DTYPE_CODES:
                candidates = candidates[:1]  # which says what it expects
            calls = [lambda layer=layer: layer(x, residual) for layer in candidates]
            times = measured(calls) if len(calls) > 1 else [0.0]
            self.chosen = candidates[times.index(min(times))]
            self.times[self.plan.name] = dict(zip(map(type, candidates), times, strict=True))
        y: Tensor = self.chosen(x, residual)
        return y

    def settled(self) -> RuntimeLayer:
        """The layer that was chosen; by the rule for one that has not run."""
        if self.chosen is None:
            self.chosen = by_rule(self.plan)
        return self.chosen


def measured(calls: Sequence[Callable[[], object]]) -> list[float]:
    """Seconds of each call: the least of several, in turns, after one that does not count.

    Short calls are made more often: one that is interrupted each time it is looked at would seem the slowest.
    """
    least = [math.inf] * len(calls)
    end = math.inf
    for number in range(_MOST_ROUNDS + 1):
        if number > _ROUNDS and time.perf_counter() > end:
            break
        for i, call in enumerate(calls):
            start = time.perf_counter()
            call()
            taken = time.perf_counter() - start
            if number:
                least[i] = min(least[i], taken)
        if not number:
            end = time.perf_counter() + _SECONDS
    return least
