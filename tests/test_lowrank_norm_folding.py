"""Batch norm folded into the layers before it: the same outputs, and what is left alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import ternzip
from ternzip import TernzipError
from ternzip.lowrank import fold_batch_norm
from ternzip.models import he_resnet20


def moved(model: nn.Module) -> nn.Module:
    """The model in float64 with batch norms that do something, in eval mode."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            for tensor in (module.running_mean, module.running_var, module.weight, module.bias):
                if tensor is not None:
                    tensor.data.uniform_(0.5, 2.0, generator=generator)
    return model.double().eval()


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 3, bias=False)), (4, 5)),
        (nn.Sequential(nn.Conv1d(2, 6, 3), nn.BatchNorm1d(6)), (4, 2, 9)),
        (
            nn.Sequential(nn.Conv2d(4, 6, 3, groups=2, bias=False), nn.BatchNorm2d(6, affine=False)),
            (4, 4, 8, 8),
        ),
        (nn.Sequential(nn.Conv3d(1, 2, 2), nn.BatchNorm3d(2)), (2, 1, 4, 4, 4)),
        (he_resnet20(), (2, 3, 32, 32)),
    ],
)
def test_the_same_function_without_norms(model: nn.Module, shape: tuple[int, ...]) -> None:
    model = moved(model)
    inputs = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    folded = fold_batch_norm(model, inputs[:1])
    torch.testing.assert_close(folded(inputs), model(inputs))
    assert norms(folded) == 0
    assert norms(model) > 0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert {name for name, _ in folded.named_modules()} == {name for name, _ in model.named_modules()}


class Residual(nn.Module):
    """The layer's output is also read beside its norm."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(6, 6), nn.BatchNorm1d(6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x)
        return x + self.norm(x)


class Twice(Residual):
    """The layer runs twice, the norm once."""

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.layer(self.layer(x)))


class Tied(Residual):
    """Another layer has the same weight."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(6, 6)
        self.other.weight = self.layer.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.layer(self.other(x)))


class Transposed(Residual):
    """The layer's weight is read once more, by itself."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(self.norm(self.layer(x)), self.layer.weight.t())


class Statistics(Residual):
    """The norm's mean is read by itself."""

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.layer(x)) + self.norm.running_mean


def hooked() -> nn.Module:
    """A hook changes what the norm reads."""
    model = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6))
    model[0].register_forward_hook(lambda module, inputs, output: 2 * output)
    return model


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (Residual, (4, 6)),
        (Twice, (4, 6)),
        (Tied, (4, 6)),
        (Transposed, (4, 6)),
        (Statistics, (4, 6)),
        (hooked, (4, 6)),
        # A norm of (n, length, features) normalises the length.
        (lambda: nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6)), (4, 6, 6)),
        (lambda: nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.BatchNorm1d(6)), (4, 6)),
        (lambda: nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6, track_running_stats=False)), (4, 6)),
    ],
)
def test_norms_that_cannot_be_folded_stay(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    model = moved(make())
    inputs = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    folded = fold_batch_norm(model, inputs)
    assert norms(folded) == 1
    assert torch.equal(folded(inputs), model(inputs))


def test_models_that_are_refused() -> None:
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(TernzipError, match=r"^fold_batch_norm: Branching cannot be traced by torch.fx: "):
        fold_batch_norm(Branching(), torch.zeros(1))
    prepared = ternzip.prepare(nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64)))
    with pytest.raises(TernzipError, match=r"^layer 0: expected plain weights, found a parametrization"):
        fold_batch_norm(prepared, torch.zeros(2, 64))
