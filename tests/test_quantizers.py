"""Every quantizer against a plain reading of its paper."""

from __future__ import annotations

import math

import pytest
import torch

from ternzip import TernzipError
from ternzip.ops import ternarize_many
from ternzip.quantization.quantizers import EC2T, TTQ, TWN, Binary, Delta, Quantizer, quantizer_named


def apply(quantizer: Quantizer, weight: torch.Tensor) -> torch.Tensor:
    """The forward that a prepared layer does."""
    lo, hi = quantizer.thresholds(weight)
    neg, pos = quantizer.levels(weight)
    (out,), _ = ternarize_many([weight], lo, hi, neg, pos, ste=quantizer.ste, bound=quantizer.bound)
    return out


@pytest.fixture
def weight() -> torch.Tensor:
    return torch.randn(64, 32, generator=torch.Generator().manual_seed(0)) * 0.3


def test_delta_keeps_strictly_larger_magnitudes() -> None:
    w = torch.tensor([-0.6, -0.5, -0.4, 0.0, 0.5, 0.50001])
    assert apply(Delta(0.5), w).tolist() == [-1, 0, 0, 0, 0, 1]
    assert apply(Delta(0.5, levels=(-2.0, 3.0)), w).tolist() == [-2, 0, 0, 0, 0, 3]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_binary_has_no_zeros(dtype: torch.dtype) -> None:
    info = torch.finfo(dtype)
    w = torch.tensor([-1.0, -info.tiny, -0.0, 0.0, info.tiny, 1.0], dtype=dtype)
    assert apply(Binary(), w).tolist() == [-1, -1, 1, 1, 1, 1]


def test_twn_threshold_and_scale(weight: torch.Tensor) -> None:
    delta = 0.7 * weight.abs().mean()
    scale = weight.abs()[weight.abs() > delta].mean()
    expected = torch.where(weight.abs() > delta, weight.sign() * scale, 0.0)
    torch.testing.assert_close(apply(TWN(), weight), expected)


def test_twn_of_zeros_is_zero() -> None:
    assert apply(TWN(), torch.zeros(3, 3)).tolist() == [[0, 0, 0]] * 3


def test_ttq_learns_its_levels(weight: torch.Tensor) -> None:
    quantizer = TTQ(0.1).for_weight(weight)
    assert isinstance(quantizer, TTQ)
    weight = weight.clone().requires_grad_()
    out = apply(quantizer, weight)
    upstream = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    out.backward(upstream)
    delta = 0.1 * weight.abs().max()
    above, below = weight > delta, weight < -delta
    assert out[above].unique().item() == quantizer.pos.item() > 0
    assert out[below].unique().item() == quantizer.neg.item() < 0
    # dL/d(log level) = level dL/d(level).
    torch.testing.assert_close(quantizer.log_pos.grad, quantizer.pos.detach() * upstream[above].sum())
    torch.testing.assert_close(quantizer.log_neg.grad, quantizer.neg.detach() * upstream[below].sum())
    scale = torch.where(above, quantizer.pos.detach(), torch.where(below, -quantizer.neg.detach(), 1.0))
    torch.testing.assert_close(weight.grad, upstream * scale)


@pytest.mark.parametrize("strength", [0.0, 1e-3, 0.02, 0.5])
@pytest.mark.parametrize("levels", [(-0.4, 0.3), (-0.05, 0.6), (-0.2, 0.01)])
def test_ec2t_assigns_by_equation_4(
    weight: torch.Tensor, strength: float, levels: tuple[float, float]
) -> None:
    quantizer = EC2T(strength)
    quantizer.set_levels(*levels)
    centroids = torch.stack([quantizer.neg, torch.tensor(0.0), quantizer.pos]).detach()
    assert centroids.tolist() == pytest.approx([levels[0], 0.0, levels[1]])
    distance = (weight[..., None] - centroids).double() ** 2
    nearest = distance.argmin(-1)
    shares = torch.stack([(nearest == c).sum().clamp(min=1) for c in range(3)]) / weight.numel()
    cost = distance - strength * shares.double().log2()
    chosen = centroids[cost.argmin(-1)]
    # A weight within rounding of a boundary may go either way.
    two = cost.sort(-1).values
    clear = two[..., 1] - two[..., 0] > 1e-6
    assert clear.float().mean() > 0.99
    assert torch.equal(apply(quantizer, weight)[clear], chosen[clear])


def test_ec2t_entropy_falls_with_its_strength(weight: torch.Tensor) -> None:
    zeros = [
        (apply(EC2T(s).for_weight(weight), weight) == 0).float().mean().item() for s in (0.0, 0.01, 0.05)
    ]
    assert zeros == sorted(zeros)
    assert zeros[0] < zeros[-1]


def test_learned_levels_start_at_the_means_of_what_they_stand_for(weight: torch.Tensor) -> None:
    own = TTQ(0.05).for_weight(weight)
    assert isinstance(own, TTQ)
    delta = 0.05 * weight.abs().max()
    assert own.pos.item() == pytest.approx(weight[weight > delta].mean().item())
    assert own.neg.item() == pytest.approx(weight[weight < -delta].mean().item())


@pytest.mark.parametrize("value", [-0.01, 1.0, 1.5, math.nan, math.inf])
def test_delta_outside_0_1_is_refused(value: float) -> None:
    with pytest.raises(TernzipError, match=r"Delta must lie in \[0, 1\)"):
        Delta(value)
    with pytest.raises(TernzipError, match="TTQ's ratio must lie"):
        TTQ(value)


def test_other_bad_options_are_refused() -> None:
    with pytest.raises(TernzipError, match="levels must be"):
        Delta(0.1, levels=(1.0, 2.0))
    with pytest.raises(TernzipError, match="TWN's ratio"):
        TWN(-1.0)
    with pytest.raises(TernzipError, match="EC2T's strength"):
        EC2T(math.nan)
    with pytest.raises(TernzipError, match=r"unknown quantizer 'xnor': expected one of delta, binary"):
        quantizer_named("xnor")


def test_quantizers_by_name() -> None:
    assert isinstance(quantizer_named("twn", ratio=0.5), TWN)
