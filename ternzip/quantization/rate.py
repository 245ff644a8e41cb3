"""What the symbols of a model will take in a file, as a term of the loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ternzip._core.errors import TernzipError
from ternzip.quantization.layers import ternary_layers
from ternzip.quantization.quantizers import Delta, wide

SMALLEST_TEMPERATURE = 1e-6  # in units of the weights: a Delta of 0 is no division by 0


def expected_bits(model: nn.Module, temperature: float = 0.25) -> Tensor:
    """The expected code length of all `Delta` layers in bits, order 0 and layer by layer; 0-d, differentiable.

    Each latent weight w takes its symbol softly: +1 with the probability sigmoid((w - Delta) / t), -1 with
    sigmoid((-w - Delta) / t), else 0, where t is `temperature` times Delta. A symbol costs -log2 of its share of
    the layer, shares being the mean probabilities, held constant. So, as in the assignment by Eq. 4 of EC2T
    (arXiv 2004.01077), a rare symbol has to pay for its bits; here in the loss, and the weights that do not are drawn
    below Delta by its gradient. Falling `temperature` makes it the entropy that the file is predicted by.

        loss = cross_entropy + price * expected_bits(model) / 8192        # price: of a kibibyte

    Args:
        model: prepared; layers of other quantizers are left out, and one without any Delta raises TernzipError.
        temperature: softness in units of Delta, > 0; TernzipError for another.
    """
    if not 0 < temperature < math.inf:
        raise TernzipError(f"temperature: expected a finite number > 0, found {temperature}")
    layers = [layer for layer in ternary_layers(model) if isinstance(layer.quantizer, Delta)]
    if not layers:
        raise TernzipError(
            "the model has no Delta layer whose bits could be expected: prepare it with 'delta'"
        )
    return torch.stack([_layer_bits(layer.latent, layer.quantizer, temperature) for layer in layers]).sum()


def _layer_bits(latent: Tensor, quantizer: nn.Module, temperature: float) -> Tensor:
    assert isinstance(quantizer, Delta)
    latent = latent.to(wide(latent))  # sums over a layer are beyond float16
    delta = quantizer.delta.to(latent.dtype)
    softness = (temperature * delta).clamp(min=SMALLEST_TEMPERATURE)
    above, below = (((side * latent - delta) / softness).sigmoid() for side in (1, -1))
    totals = torch.stack([above.sum(), below.sum()])
    # The zeros have the rest. At least one weight's share each: a symbol that is never taken stays reachable.
    count = max(latent.numel(), 1)
    shares = torch.cat([totals, (count - totals.sum()).reshape(1)]).detach() / count
    cost_above, cost_below, cost_zero = -shares.clamp(min=1 / count).log2()
    bits: Tensor = (
        cost_zero * count + (cost_above - cost_zero) * totals[0] + (cost_below - cost_zero) * totals[1]
    )
    return bits
