"""Runs ternary networks on the CPU from what their weights are: lists of those that are not zero, or codes of two.

    fast = ternzip.runtime.optimize(model)                        # of a converted or loaded model
    fast = ternzip.runtime.load_model(network, "network.tnz")     # without dense weights in between

Nothing is multiplied but a level with a sum. The answer is the dense network's up to rounding: sums are
float32 and in another order (`ternzip.runtime.layers` states the bound). Importing this package imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ternzip._core.lazy import lazy_names

if TYPE_CHECKING:
    from ternzip.runtime.choice import LayerChoice, describe
    from ternzip.runtime.optimization import load_model, optimize

_HOMES = {
    "LayerChoice": "choice",
    "describe": "choice",
    "load_model": "optimization",
    "optimize": "optimization",
}

__all__ = ["LayerChoice", "describe", "load_model", "optimize"]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
