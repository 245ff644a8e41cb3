"""Batch norm statistics folded into weight and bias."""

from __future__ import annotations

import copy

import torch
from torch import nn

import ternzip
from ternzip.quantization import fold_norms


def trained() -> nn.Module:
    """A ternary network whose norms have the statistics of what they see."""
    torch.manual_seed(0)
    model = ternzip.prepare(ternzip.models.resnet20(), ternzip.quantization.Delta(0.05))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
            module.momentum = 1.0
    with torch.no_grad():
        model(torch.randn(16, 3, 32, 32))
    return model.eval()


def test_the_network_computes_the_same_from_a_smaller_file() -> None:
    model = trained()
    state = ternzip.quantization.ternary_state(model)
    before = {name: tensor.clone() for name, tensor in state.items()}
    folded = fold_norms(model, state)
    assert list(folded) == list(state)
    assert all(torch.equal(state[name], before[name]) for name in state)  # what was given is not touched
    assert all(folded[name].dtype == state[name].dtype for name in state)
    plain, again = ternzip.models.resnet20().eval(), ternzip.models.resnet20().eval()
    plain.load_state_dict(state)
    again.load_state_dict(folded)
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(again(images), plain(images), rtol=1e-3, atol=1e-3)
    assert len(ternzip.save(folded)) < len(ternzip.save(state)) - 3000


def test_norms_without_weight_or_statistics_stay() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3, affine=False), nn.BatchNorm1d(3, track_running_stats=False))
    state = copy.deepcopy(model.state_dict())
    folded = fold_norms(model, state)
    assert all(folded[name] is state[name] for name in state)
