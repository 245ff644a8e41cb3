"""Batch norm as an affine map, and back as it can be trained."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import ternzip
from ternzip.lowrank import affine_batch_norm, estimate_batch_norm, trainable_batch_norm


def network() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(96, 5))
    model = nn.Sequential(*model, nn.BatchNorm1d(5)).double()
    for _ in range(3):
        model(3 * images() + 1)
    for norm in (model[1], model[5]):
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.uniform_(norm.bias, -1, 1)
    return model.eval()


def images() -> Tensor:
    return torch.randn(40, 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_the_same_function_with_two_vectors() -> None:
    model = network()
    affine = copy.deepcopy(model)
    affine_batch_norm(affine)
    torch.testing.assert_close(affine(images()), model(images()))
    for norm in (affine[1], affine[5]):
        assert not norm.running_mean.any()
        assert bool((norm.running_var == 1).all())


def test_trainable_again_it_is_the_same_function_near_its_own_in_training() -> None:
    model = network()
    expected = model(images())
    affine_batch_norm(model)
    trainable_batch_norm(model, images())
    torch.testing.assert_close(model(images()), expected)
    assert not model.training
    # One batch: its statistics are those that were estimated, but for the variance's n - 1.
    torch.testing.assert_close(model.train()(images()), expected, rtol=0.1, atol=0.1)


def test_norms_that_share_or_lack_something_stay() -> None:
    model = nn.Sequential(*(nn.BatchNorm1d(4, affine=i != 2, track_running_stats=i != 3) for i in range(4)))
    model[1].weight = model[0].weight
    model(torch.randn(8, 4) + 3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    affine_batch_norm(model)
    trainable_batch_norm(model[3], torch.randn(8, 4))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("training", [False, True])
def test_statistics_are_averages_over_batches(training: bool) -> None:
    model = network().train(training)
    momentum = model[1].momentum
    estimate_batch_norm(model, images())
    torch.testing.assert_close(model[1].running_mean, model[0](images()).mean((0, 2, 3)))
    assert model[1].momentum == momentum
    assert model[1].training is training


def test_a_prepared_network_has_a_smaller_file() -> None:
    torch.manual_seed(0)
    model = ternzip.prepare(ternzip.models.resnet20(), ternzip.quantization.Delta(0.05))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
            module.momentum = 1.0  # the statistics of what it sees, which keep rounding small
    with torch.no_grad():
        model(torch.randn(16, 3, 32, 32))
    model.eval()
    affine = ternzip.prepare(ternzip.models.resnet20(), ternzip.quantization.Delta(0.05)).eval()
    affine.load_state_dict(model.state_dict())
    affine_batch_norm(affine)
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(affine(images), model(images), rtol=1e-3, atol=1e-3)
    sizes = [len(ternzip.save(ternzip.ternary_state(network))) for network in (affine, model)]
    assert sizes[0] < sizes[1] - 3000


def test_norms_without_weight_or_statistics_stay() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3, affine=False), nn.BatchNorm1d(3, track_running_stats=False))
    before = copy.deepcopy(model.state_dict())
    affine_batch_norm(model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
