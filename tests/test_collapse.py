"""The watch for networks that have died."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from ternzip import TernzipError, prepare
from ternzip.quantization import Delta, count_layers, ternary_layers
from ternzip.training.collapse import CollapseWatch


def model() -> nn.Module:
    torch.manual_seed(0)
    return prepare(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)), Delta(0.1))


def empty(network: nn.Module, *indices: int) -> None:
    with torch.no_grad():
        for i in indices:
            ternary_layers(network)[i].latent.fill_(0.05)


def test_one_empty_layer_warns_once() -> None:
    network = model()
    watch = CollapseWatch(network)
    watch.after_counting(count_layers(network))
    empty(network, 1)
    with pytest.warns(UserWarning, match="layer 1: all ternary weights are zero"):
        watch.after_counting(count_layers(network))
    watch.after_counting(count_layers(network))


def test_all_layers_empty_stops() -> None:
    network = model()
    empty(network, 0, 1)
    with pytest.raises(TernzipError, match="training has collapsed: the weights of all ternary layers"):
        CollapseWatch(network).after_counting(count_layers(network))


def test_carrying_on_warns_instead() -> None:
    network = model()
    empty(network, 0, 1)
    watch = CollapseWatch(network, carry_on=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            watch.after_counting(count_layers(network))
    assert sorted(str(w.message).split(":")[0] for w in caught) == [
        "layer 0",
        "layer 1",
        "training has collapsed",
    ]


def test_no_gradient_for_twenty_steps_stops() -> None:
    network = model()
    watch = CollapseWatch(network)
    latents = [layer.latent for layer in ternary_layers(network)]

    def step(value: float) -> None:
        for latent in latents:
            latent.grad = torch.zeros_like(latent)
        latents[1].grad[0, 0] = value  # type: ignore[index]
        watch.after_backward()

    for _ in range(19):
        step(0.0)
    step(1e-30)  # the smallest gradient starts the count again
    for _ in range(19):
        step(0.0)
    with pytest.raises(TernzipError, match="exactly zero for 20 steps"):
        step(0.0)


def test_a_model_without_ternary_layers_is_left_alone() -> None:
    watch = CollapseWatch(nn.Linear(2, 2))
    for _ in range(30):
        watch.after_backward()
    watch.after_counting({})
