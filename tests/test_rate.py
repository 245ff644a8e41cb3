"""The bits that a model's symbols are expected to take, and their price in a loss."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import ternzip
from ternzip import TernzipError
from ternzip.quantization import Delta, expected_bits, ternary_layers
from ternzip.training.sizes import predicted_bytes

pytestmark = pytest.mark.filterwarnings("ignore:.* layers start with all ternary weights zero")


def network(delta: float = 0.1) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(30, 20), nn.Linear(20, 4))
    for layer in model:
        assert isinstance(layer, nn.Linear)
        nn.init.normal_(layer.weight, std=0.1)
    return ternzip.prepare(model, Delta(delta))


def test_it_is_the_cross_entropy_of_soft_symbols() -> None:
    model = network()
    expected = 0.0
    for layer in ternary_layers(model):
        w = layer.latent.detach().double().numpy()
        soft = 1 / (1 + np.exp(-(np.stack([w, -w]) - 0.1) / (0.5 * 0.1)))
        probabilities = np.stack([*soft, 1 - soft.sum(0)])
        shares = probabilities.mean((1, 2))
        expected += float(-(probabilities * np.log2(shares)[:, None, None]).sum())
    assert float(expected_bits(model, temperature=0.5).detach()) == pytest.approx(expected, rel=1e-5)


def test_without_softness_it_is_what_the_file_is_predicted_to_take() -> None:
    model = network()
    bits = float(expected_bits(model, temperature=1e-5).detach())
    assert bits == pytest.approx(8 * predicted_bytes(ternzip.count_layers(model)), rel=1e-4)


def test_its_gradient_draws_weights_below_delta() -> None:
    model = network(0.15)  # most are zero: the other symbols are dear
    before = expected_bits(model)
    before.backward()
    for layer in ternary_layers(model):
        gradient = layer.latent.grad
        assert gradient is not None
        far = layer.latent.abs() > 0.05  # where one symbol's gradient is all
        assert bool((gradient * layer.latent)[far].min() > 0)
        with torch.no_grad():
            layer.latent.sub_(1e-4 * gradient)
    assert bool(expected_bits(model) < before)


@pytest.mark.parametrize("delta", [0.0, 0.9])
def test_symbols_that_never_occur_have_finite_bits(delta: float) -> None:
    model = network(delta)
    bits = expected_bits(model)
    bits.backward()
    assert bool(bits.isfinite())
    assert all(bool(layer.latent.grad.isfinite().all()) for layer in ternary_layers(model))


def test_only_delta_layers_have_a_rate() -> None:
    with pytest.raises(TernzipError, match="no Delta layer"):
        expected_bits(ternzip.prepare(nn.Linear(3, 3), "twn"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_has_the_bits_of_float32(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer = ternzip.prepare(nn.Linear(512, 512, dtype=dtype), Delta(0.02))
    bits = expected_bits(layer)
    bits.backward()
    assert bits.item() == pytest.approx(expected_bits(layer.float()).item())
    assert all(p.grad is None or p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize("temperature", [0.0, -0.25, math.nan, math.inf])
def test_a_temperature_that_softens_nothing_is_refused(temperature: float) -> None:
    with pytest.raises(TernzipError, match=r"^temperature: expected a finite number > 0, found"):
        expected_bits(network(), temperature)
