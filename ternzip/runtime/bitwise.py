"""Layers whose weights and inputs are both ternary: products of trits are counted, 32 at a time, from bit planes.

With s the sum of the products of the trits, a whole number, and |s| <= 2^24,

    y = min(max(a s + b + c r, lowest), highest),

a the level of the row times the scale of the input (and the batch norm's), b and c as for the other layers. s is exact,
so that |y - exact| <= 3 u (|a s| + |b| + |c r|) (1 + O(u)), u = 2^-24, and u 2^16 |y| more in bfloat16. There the scale
of the input is not rounded to bfloat16, as `ternzip.quantization.TernaryActivation` must. After FATNN (ICCV 2021).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ternzip.runtime import _kernels, operators
from ternzip.runtime.layers import WindowLayer, trits_by_tap
from ternzip.runtime.plan import LayerPlan
from ternzip.runtime.trits import TernaryWeight


def has_planes(plan: LayerPlan) -> bool:
    """Whether bit planes can run a layer: it reads ternary activations, and has opposite levels in each row."""
    weight = plan.weight
    if plan.input_scale is None or not isinstance(weight, TernaryWeight):
        return False
    if weight.groups > 1 or weight.trits[0].numel() >= 1 << 30:
        return False
    return weight.is_opposite and bool(_scales(plan).isfinite().all())


def _scales(plan: LayerPlan) -> Tensor:
    """What a row's sum of trits is multiplied by, float32."""
    assert isinstance(plan.weight, TernaryWeight)
    assert plan.input_scale is not None
    return (plan.weight.magnitudes[:, 0].double() * plan.scale * plan.input_scale).float()


class BitwiseLayer(WindowLayer):
    """A convolution or a linear layer from bit planes: a quarter of a byte a weight, in rows of whole tiles of 16.

    Its own input it makes ternary while it packs it. An output that reads a NaN is one.
    """

    description = "bitwise"
    planes: Tensor
    scales: Tensor
    biases: Tensor

    def __init__(self, plan: LayerPlan) -> None:
        super().__init__(plan)
        self.register_buffer("planes", _kernels.build_planes(trits_by_tap(plan), plan.window.groups))
        self.register_buffer("scales", _scales(plan))

    def _quantized(self, x: Tensor, scale: Tensor) -> Tensor:
        return x  # the kernel does it

    def _convolve(self, x: Tensor, residual: Tensor | None, lowest: float, highest: float) -> Tensor:
        run = _kernels.convolve_bitwise if operators.is_plain(x) else operators.runtime_convolve_bitwise
        own: Any = self._buffers
        y: Tensor = run(
            x,
            own["planes"],
            own["scales"],
            own["biases"],
            residual,
            own["residual_scales"],
            self.native_window,
            own["input_scale"],
            lowest,
            highest,
        )
        return y
