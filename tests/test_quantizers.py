"""Every quantizer against a plain reading of its paper."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from ternzip import SymbolCounts, TernzipError, count_layers, prepare
from ternzip.quantization import (
    EC2T,
    TTQ,
    TWN,
    Binary,
    Delta,
    DeltaSchedule,
    Quantizer,
    parameter_groups,
    quantizer_named,
    ternary_layers,
)


@pytest.fixture
def weight() -> torch.Tensor:
    return torch.randn(64, 32, generator=torch.Generator().manual_seed(0)) * 0.3


def test_delta_keeps_strictly_larger_magnitudes() -> None:
    w = torch.tensor([-0.6, -0.5, -0.4, 0.0, 0.5, 0.50001])
    assert Delta(0.5)(w).tolist() == [-1, 0, 0, 0, 0, 1]
    assert Delta(0.5, levels=(-2.0, 3.0))(w).tolist() == [-2, 0, 0, 0, 0, 3]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_binary_has_no_zeros(dtype: torch.dtype) -> None:
    info = torch.finfo(dtype)
    w = torch.tensor([-1.0, -info.tiny, -0.0, 0.0, info.tiny, 1.0], dtype=dtype)
    assert Binary()(w).tolist() == [-1, -1, 1, 1, 1, 1]


def test_a_printed_layer_shows_what_its_threshold_is_now() -> None:
    layer = prepare(nn.Linear(3, 4))
    assert repr(ternary_layers(layer)[0].quantizer) == "TWN(ratio=0.7, ste=identity)"  # nothing is clipped
    DeltaSchedule(layer, 0.5, "fixed")
    assert repr(ternary_layers(layer)[0].quantizer) == "TWN(ratio=0.5, ste=identity)"
    assert repr(Delta(0.1)) == "Delta(delta=0.1, ste=closed, bound=1.0, levels=(-1.0, 1.0))"
    assert repr(TTQ()) == "TTQ(ste=identity, ratio=0.1)"
    with torch.device("meta"):
        assert repr(ternary_layers(prepare(nn.Linear(3, 4)))[0].quantizer) == "TWN(ste=identity)"


def test_twn_threshold_and_scale(weight: torch.Tensor) -> None:
    delta = 0.7 * weight.abs().mean()
    scale = weight.abs()[weight.abs() > delta].mean()
    expected = torch.where(weight.abs() > delta, weight.sign() * scale, 0.0)
    torch.testing.assert_close(TWN()(weight), expected)


def test_twn_of_zeros_is_zero() -> None:
    assert TWN()(torch.zeros(3, 3)).tolist() == [[0, 0, 0]] * 3


@pytest.mark.parametrize("ste", ["identity", "scaled"])
def test_ttq_learns_its_levels(weight: torch.Tensor, ste: str) -> None:
    quantizer = TTQ(0.1, ste=ste).for_weight(weight)
    assert isinstance(quantizer, TTQ)
    weight = weight.clone().requires_grad_()
    out = quantizer(weight)
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
    torch.testing.assert_close(weight.grad, upstream * scale if ste == "scaled" else upstream)


def prepared_ec2t(weight: torch.Tensor, strength: float, share: float = 1.0) -> EC2T:
    quantizer = EC2T(strength).for_weight(weight, share)
    assert isinstance(quantizer, EC2T)
    return quantizer


@pytest.mark.parametrize("strength", [0.0, 0.02, 0.3, 0.9])
@pytest.mark.parametrize("levels", [None, (-0.4, 0.3), (-0.05, 0.6), (-0.2, 0.01)])
def test_ec2t_assigns_by_equation_4(
    weight: torch.Tensor, strength: float, levels: tuple[float, float] | None
) -> None:
    """Against a plain reading: the least cost of three, with the authors' two floors."""
    quantizer = prepared_ec2t(weight, strength)
    if levels is not None:
        quantizer.set_levels(*levels)
    floor = 0.675 * weight.std(correction=0)
    neg, pos = min(quantizer.neg.item(), -floor.item()), max(quantizer.pos.item(), floor.item())
    centroids = torch.tensor([neg, 0.0, pos])
    distance = (weight[..., None] - centroids).double() ** 2
    nearest = distance.argmin(-1)
    shares = torch.stack([(nearest == c).sum().clamp(min=1) for c in range(3)]) / weight.numel()
    shares[1] = shares[1].clamp(min=0.5)
    cost = distance - quantizer.penalty * shares.double().log2()
    chosen = centroids[cost.argmin(-1)]
    # A weight within rounding of a boundary may go either way.
    two = cost.sort(-1).values
    clear = two[..., 1] - two[..., 0] > 1e-6
    assert clear.float().mean() > 0.99
    torch.testing.assert_close(quantizer(weight)[clear], chosen[clear])


def zeros(quantizer: Quantizer, weight: torch.Tensor) -> int:
    return quantizer.count(weight).zero


@pytest.mark.parametrize("seed", range(8))
def test_more_lambda_makes_more_zeros_always(seed: int) -> None:
    """For any weights: normal, one-sided, sparse, of any scale."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(50, 40, generator=generator)
    for weight in (normal, normal + 2.0, normal**3, normal * (normal > 1), normal.abs(), 1e-3 * normal):
        found = [zeros(prepared_ec2t(weight, s), weight) for s in (0.0, 0.05, 0.1, 0.3, 0.6, 0.99)]
        assert found == sorted(found)
        assert found[-1] < weight.numel()


def test_ec2ts_lambda_is_a_share_of_the_largest_useful_one(weight: torch.Tensor) -> None:
    quantizer = prepared_ec2t(weight, 0.5)
    most = 2 * quantizer.penalty
    quantizer.penalty.copy_(most * 0.999)
    assert zeros(quantizer, weight) == weight.numel() - 1
    quantizer.penalty.copy_(most * 1.001)
    assert zeros(quantizer, weight) == weight.numel()


def test_ec2ts_lambda_is_weighted_by_the_size_of_a_layer() -> None:
    model = prepare(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 2)), EC2T(0.4))
    large, small = (layer.quantizer for layer in ternary_layers(model))
    assert isinstance(large, EC2T)
    assert isinstance(small, EC2T)
    with torch.no_grad():
        most = EC2T(0.4)
        most.set_levels(small.neg.item(), small.pos.item())
        largest = most.largest_penalty(ternary_layers(model)[1].latent)
    assert small.penalty.item() == pytest.approx(0.4 * 16 / 64 * largest)


def test_ec2ts_levels_have_a_floor(weight: torch.Tensor) -> None:
    quantizer = prepared_ec2t(weight, 0.1)
    quantizer.set_levels(-1e-6, 1e-6)
    out = quantizer(weight)
    torch.testing.assert_close(out.max(), 0.675 * weight.std(correction=0))
    torch.testing.assert_close(out.min(), -0.675 * weight.std(correction=0))


def blobs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (256,), generator=generator)
    return torch.randn(4, 20, generator=generator)[labels] + 0.7 * torch.randn(
        256, 20, generator=generator
    ), labels


def fit(model: nn.Module, groups: object, steps: int) -> float:
    """Accuracy on the training data."""
    x, y = blobs()
    optimizer = torch.optim.Adam(groups)  # type: ignore[arg-type]
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return (model(x).argmax(1) == y).double().mean().item()


@pytest.fixture(scope="module")
def full_precision() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(20, 32),
        nn.ReLU(),
        nn.Linear(32, 32),
        nn.ReLU(),
        nn.Linear(32, 32),
        nn.ReLU(),
        nn.Linear(32, 4),
    )
    for i in (2, 4):
        nn.init.kaiming_normal_(model[i].weight)
    assert fit(model, [{"params": model.parameters(), "lr": 3e-3}], 60) > 0.95
    return model


def share_of_zeros(model: nn.Module) -> float:
    return sum(count_layers(model).values(), SymbolCounts()).sparsity


@pytest.mark.parametrize("quantizer", [TTQ(), EC2T()])
def test_learned_levels_keep_their_zeros_from_a_pretrained_start(
    full_precision: nn.Module, quantizer: Quantizer
) -> None:
    model = prepare(copy.deepcopy(full_precision), quantizer, skip=["0", "6"])
    before = share_of_zeros(model)
    assert fit(model, parameter_groups(model, lr=3e-4, levels_lr=1e-5), 60) > 0.9
    assert 0.2 < share_of_zeros(model) < 0.75
    assert share_of_zeros(model) == pytest.approx(before, abs=0.1)


def test_more_lambda_leaves_more_zeros_after_training(full_precision: nn.Module) -> None:
    found = []
    for strength in (0.0, 0.1, 0.2, 0.4):
        model = prepare(copy.deepcopy(full_precision), EC2T(strength), skip=["0", "6"])
        fit(model, parameter_groups(model, lr=1e-3), 30)
        found.append(share_of_zeros(model))
    assert found == sorted(set(found))


def zeros_after_noise(ste: str) -> float:
    """Share of zeros left when nothing but noise moves the weights under Adam."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Linear(64, 64, bias=False)
    nn.init.normal_(model.weight, std=0.05, generator=generator)
    prepare(model, TTQ(0.1, ste=ste))
    before = share_of_zeros(model)
    (latent,) = (layer.latent for layer in ternary_layers(model))
    optimizer = torch.optim.Adam([latent], 2e-3)
    for _ in range(100):
        optimizer.zero_grad()
        (model.weight * torch.randn(64, 64, generator=generator)).sum().backward()
        optimizer.step()
    return share_of_zeros(model) / before


def test_zeros_do_not_drift_away() -> None:
    """A gradient scaled by the levels, here near 0.05, is twenty times stronger among the zeros: they leave."""
    assert zeros_after_noise("scaled") < 0.75
    assert zeros_after_noise(TTQ().ste) > 0.95


def test_learned_levels_start_at_the_means_of_what_they_stand_for(weight: torch.Tensor) -> None:
    own = TTQ(0.05).for_weight(weight)
    assert isinstance(own, TTQ)
    delta = 0.05 * weight.abs().max()
    assert own.pos.item() == pytest.approx(weight[weight > delta].mean().item())
    assert own.neg.item() == pytest.approx(weight[weight < -delta].mean().item())


@pytest.mark.parametrize("quantizer", ["twn", "ttq", "ec2t"])
def test_half_precision_sums_do_not_overflow(quantizer: str) -> None:
    weight = 8 * torch.randn(300, 300, generator=torch.Generator().manual_seed(0))
    own = quantizer_named(quantizer).for_weight(weight)
    half = weight.half()
    of_half = quantizer_named(quantizer).for_weight(half)
    out = of_half(half)
    assert out.isfinite().all()
    torch.testing.assert_close(out.abs().max().float(), own(weight).abs().max(), rtol=2e-3, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("quantizer", ["delta", "twn", "ec2t"])
def test_thresholds_are_exact_in_a_model_of_any_type(quantizer: str, dtype: torch.dtype) -> None:
    model = prepare(nn.Linear(64, 64), quantizer)
    schedule = None if quantizer == "ec2t" else DeltaSchedule(model, 0.1)
    (layer,) = ternary_layers(model)
    own = layer.quantizer
    before = {name: buffer.clone() for name, buffer in own.named_buffers()}
    model.to(dtype)
    assert model.weight.dtype == dtype
    buffers = dict(own.named_buffers())
    assert len(buffers) == 1
    assert all(
        buffer.dtype == torch.float64 and torch.equal(buffer, before[name])
        for name, buffer in buffers.items()
    )
    if schedule is not None:
        schedule.step()
        assert all(buffer.item() == schedule.delta for buffer in own.buffers())
    assert all(buffer.is_meta for buffer in copy.deepcopy(model).to("meta").buffers())


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


def test_a_layers_own_scale_multiplies_what_the_schedule_sets() -> None:
    model = prepare(
        nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)),
        Delta(0.1),
        overrides={"1": Delta(0.1, scale=2)},
    )
    schedule = DeltaSchedule(model, 0.1, "fixed")
    deltas = [float(layer.quantizer.delta) for layer in ternary_layers(model)]
    assert deltas == pytest.approx([0.1, 0.2])
    schedule.step(2)
    with pytest.raises(TernzipError, match="another quantizer: expected scale=None, found scale=2"):
        model[0].load_state_dict(model[1].state_dict())
    for scale in (0.0, -1.0, float("nan")):
        with pytest.raises(TernzipError, match="Delta's scale must be finite and > 0"):
            Delta(0.1, scale=scale)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_binary_has_no_zeros_where_subnormal_numbers_are_zeros(dtype: torch.dtype) -> None:
    smallest = torch.finfo(dtype).tiny
    weights = torch.tensor([-1.0, -smallest, -0.0, 0.0, smallest, 1.0], dtype=dtype)
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor has no such mode")
    try:
        assert Binary()(weights).tolist() == [-1, -1, 1, 1, 1, 1]
    finally:
        torch.set_flush_denormal(False)
