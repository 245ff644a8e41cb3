"""Ternary training in any loop: `prepare` a model, move its thresholds, `convert` it.

Names are loaded when they are first used: `ternzip.quantization.choices` serves command lines that do without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ternzip._core.lazy import lazy_names

if TYPE_CHECKING:
    from ternzip.quantization.activations import TernaryActivation, quantize_inputs
    from ternzip.quantization.layers import TernaryLayer, ternary_layers
    from ternzip.quantization.learned import EC2T, TTQ, LearnedLevels, quantizer_named
    from ternzip.quantization.preparation import convert, prepare
    from ternzip.quantization.quantizers import TWN, Binary, Delta, Quantizer
    from ternzip.quantization.rate import expected_bits
    from ternzip.quantization.schedules import DeltaSchedule
    from ternzip.quantization.state import clip_latent_, count_layers, parameter_groups, ternary_state

_HOMES = {
    "EC2T": "learned",
    "TTQ": "learned",
    "TWN": "quantizers",
    "Binary": "quantizers",
    "Delta": "quantizers",
    "DeltaSchedule": "schedules",
    "LearnedLevels": "learned",
    "Quantizer": "quantizers",
    "TernaryActivation": "activations",
    "TernaryLayer": "layers",
    "clip_latent_": "state",
    "convert": "preparation",
    "count_layers": "state",
    "expected_bits": "rate",
    "parameter_groups": "state",
    "prepare": "preparation",
    "quantize_inputs": "activations",
    "quantizer_named": "learned",
    "ternary_layers": "layers",
    "ternary_state": "state",
}

__all__ = [
    "EC2T",
    "TTQ",
    "TWN",
    "Binary",
    "Delta",
    "DeltaSchedule",
    "LearnedLevels",
    "Quantizer",
    "TernaryActivation",
    "TernaryLayer",
    "clip_latent_",
    "convert",
    "count_layers",
    "expected_bits",
    "parameter_groups",
    "prepare",
    "quantize_inputs",
    "quantizer_named",
    "ternary_layers",
    "ternary_state",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
