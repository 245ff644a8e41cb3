"""What data say about layers, against loops over samples."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ternzip import TernzipError
from ternzip.lowrank import LayerStatistics, collect_statistics, factorize, matrix_of, weighting


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 0))
        self.norm = nn.BatchNorm2d(3)
        self.head = nn.Linear(3 * 3 * 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.norm(self.conv(x))).flatten(1))


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net().double()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(6, 2, 5, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def layers(net: Net) -> dict[str, nn.Module]:
    return {"conv": net.conv, "head": net.head}


def test_moments_by_loops(net: Net, images: Tensor) -> None:
    found = collect_statistics(net, images.split(4), layers(net))
    padded = F.pad(images, (0, 0, 1, 1))
    columns = [
        padded[n, :, top : top + 3, x].reshape(-1)
        for n in range(6)
        for top in range(0, 5, 2)
        for x in range(5)
    ]
    expected = sum(torch.outer(x, x) for x in columns) / len(columns)
    torch.testing.assert_close(found["conv"].moments, expected)
    features = F.relu(net.eval().norm(net.conv(images))).flatten(1).detach()
    torch.testing.assert_close(found["head"].moments, features.T @ features / 6)


def test_fisher_by_loops(net: Net, images: Tensor) -> None:
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    found = collect_statistics(net, [images], layers(net), fisher=True, labels=labels)
    net.eval()
    conv, head = torch.zeros(3 * 2, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    for image, label in zip(images, labels, strict=True):
        net.zero_grad()
        F.cross_entropy(net(image[None]), label[None]).backward()
        for out in range(3):
            for j in range(2):
                conv[out * 2 + j] += net.conv.weight.grad[out, :, :, j].square().sum() / 6
        head += net.head.weight.grad.square().sum(1) / 6
    torch.testing.assert_close(found["conv"].fisher, conv)
    torch.testing.assert_close(found["head"].fisher, head)


def test_the_model_keeps_its_mode_and_its_running_statistics(net: Net, images: Tensor) -> None:
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net.train()
    collect_statistics(net, [images], layers(net), fisher=True)
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_whitening_is_nearest_in_the_outputs(net: Net, images: Tensor) -> None:
    """Whitened factors lose less of the outputs on the data than plain ones, and plain less of the weights."""
    statistics = collect_statistics(net, [images], layers(net))["head"]
    features = F.relu(net.eval().norm(net.conv(images))).flatten(1).detach()
    exact = (features @ net.head.weight.T).detach()
    lost = {}
    for name in ("plain", "whitening"):
        low_rank = factorize(net.head, 2, weighting(name, statistics))
        product = (low_rank.module[1].weight @ low_rank.module[0].weight).detach()
        lost[name] = float(torch.linalg.norm(exact - features @ product.T)), low_rank.error
    assert lost["whitening"][0] < lost["plain"][0]
    assert lost["plain"][1] < lost["whitening"][1]


def test_activation_weighting_is_the_rms_to_a_power() -> None:
    moments = torch.diag(torch.tensor([4.0, 9.0, 0.0], dtype=torch.float64))
    columns = weighting("activation", LayerStatistics(moments)).columns
    floor = 1e-3 * (2 + 3 + 0) / 3
    torch.testing.assert_close(columns, torch.tensor([2.0, 3.0, floor], dtype=torch.float64) ** 0.5)


@pytest.mark.parametrize("name", ["plain", "fisher", "activation", "whitening"])
def test_inputs_that_are_always_zero_stay_finite(name: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 4))
    samples = torch.zeros(7, 5)
    statistics = collect_statistics(net, [samples], {"0": net[0]}, fisher=True)["0"]
    low_rank = factorize(net[0], min(matrix_of(net[0]).shape), weighting(name, statistics))
    assert low_rank.error == pytest.approx(0, abs=1e-5)


def test_errors(net: Net, images: Tensor) -> None:
    with pytest.raises(TernzipError, match="expected samples, found none"):
        collect_statistics(net, [], layers(net))
    with pytest.raises(TernzipError, match="layer idle: expected it to run"):
        collect_statistics(net, [images], {"idle": nn.Linear(2, 2)})
    with pytest.raises(TernzipError, match="expected one of plain, fisher, activation, whitening, found 'x'"):
        weighting("x", None)
    with pytest.raises(TernzipError, match="'fisher': expected statistics of the layer, found none"):
        weighting("fisher", LayerStatistics(torch.eye(2)))
