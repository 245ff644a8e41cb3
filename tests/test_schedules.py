"""Delta's growth, Eq. 6 and 7, and a torch scheduler's habits."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from ternzip import DeltaSchedule, TernzipError, convert, count_layers, prepare
from ternzip.quantization import Delta, ternary_layers


@pytest.fixture
def model() -> nn.Module:
    return prepare(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)), "delta")


def deltas(model: nn.Module) -> list[float]:
    return [layer.quantizer.delta.item() for layer in ternary_layers(model)]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("growth", "expected"),
    [
        ("fixed", [0.1, 0.1, 0.1]),
        ("linear", [0.12, 0.14, 0.16]),
        ("square", [0.12, 0.18, 0.28]),
        ("exp", [0.1 + 0.02 * math.e, 0.1 + 0.02 * math.e**2, 0.1 + 0.02 * math.e**3]),
        ("log", [0.1, 0.1 + 0.02 * math.log(2), 0.1 + 0.02 * math.log(3)]),
    ],
)
def test_every_growth_follows_its_formula(model: nn.Module, growth: str, expected: list[float]) -> None:
    schedule = DeltaSchedule(model, 0.1, growth, multiplier=0.2)
    for value in expected:
        assert schedule.delta == pytest.approx(value)
        assert deltas(model) == pytest.approx([value, value])
        schedule.step()


def test_the_papers_log_regime_meets_its_bound_at_epoch_68(model: nn.Module) -> None:
    schedule = DeltaSchedule(model)
    assert schedule.at(67) < 0.9 == schedule.at(68)
    schedule.step(67)
    assert not schedule.finished
    schedule.step()
    assert schedule.finished
    assert schedule.delta == 0.9


def test_exponential_growth_does_not_overflow(model: nn.Module) -> None:
    assert DeltaSchedule(model, growth="exp").at(5000) == 0.9


def test_a_fixed_delta_is_finished_at_once(model: nn.Module) -> None:
    assert DeltaSchedule(model, 0.3, "fixed").finished
    assert DeltaSchedule(model, 0.3, "linear", multiplier=0).finished


def test_steps_per_iteration_pass_through_the_epochs(model: nn.Module) -> None:
    fine, coarse = DeltaSchedule(model, steps_per_epoch=3), DeltaSchedule(model)
    for _ in range(6):
        fine.step()
    coarse.step(3)
    assert fine.delta == pytest.approx(coarse.delta)
    fine.step()
    assert coarse.delta < fine.delta < coarse.at(4)


def test_state_dict_resumes(model: nn.Module) -> None:
    schedule = DeltaSchedule(model, 0.05, "linear", 0.5, 0.8)
    schedule.step(7)
    other_model = prepare(nn.Linear(3, 3), "delta")
    other = DeltaSchedule(other_model)
    other.load_state_dict(schedule.state_dict())
    assert other.delta == schedule.delta
    assert deltas(other_model) == pytest.approx([schedule.delta])
    other.step()
    schedule.step()
    assert other.delta == schedule.delta


def test_pinned_layers_keep_their_delta(model: nn.Module) -> None:
    first = ternary_layers(model)[0].quantizer
    assert isinstance(first, Delta)
    first.pinned = True
    DeltaSchedule(model, 0.2).step(9)
    assert deltas(model)[0] == 0.1
    assert deltas(model)[1] > 0.2


def test_layers_without_a_gradient_keep_their_delta_until_they_have_one(model: nn.Module) -> None:
    schedule = DeltaSchedule(model, 0.2, "linear", 0.5)
    model[0].requires_grad_(False)  # type: ignore[operator]
    frozen = model[0].weight.clone()  # type: ignore[operator]
    schedule.step()
    assert deltas(model) == pytest.approx([0.3, 0.4])
    assert torch.equal(model[0].weight, frozen)  # type: ignore[arg-type]
    again = DeltaSchedule(model)
    again.load_state_dict(schedule.state_dict())
    assert deltas(model) == pytest.approx([0.3, 0.4])
    model[0].requires_grad_(True)  # type: ignore[operator]
    schedule.step()
    assert deltas(model) == pytest.approx([0.5, 0.5])


def test_a_frozen_ratio_stays_too() -> None:
    model = prepare(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)))
    ternary_layers(model)[1].latent.requires_grad_(False)
    DeltaSchedule(model, 0.3)
    assert [layer.quantizer.ratio.item() for layer in ternary_layers(model)] == [0.3, 0.7]  # type: ignore[union-attr]


def test_a_converted_model_has_nothing_to_schedule(model: nn.Module) -> None:
    schedule = DeltaSchedule(model)
    weight = convert(model)[0].weight.clone()  # type: ignore[index, union-attr, operator]
    schedule.step()
    assert torch.equal(model[0].weight, weight)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrap", [copy.deepcopy, AveragedModel])
def test_a_copy_gets_every_layers_own_delta(model: nn.Module, wrap: Callable[[nn.Module], nn.Module]) -> None:
    """Also where the copy was made before a layer was frozen, or is frozen as a whole."""
    schedule = DeltaSchedule(model, 0.15, "linear", 0.0)
    average = wrap(model).requires_grad_(False)
    ternary_layers(model)[0].quantizer.pinned = True
    schedule.load_state_dict({**schedule.state_dict(), "initial": 0.4})
    assert deltas(model) == [0.15, 0.4]
    schedule.apply_to(average)
    assert deltas(average) == [0.15, 0.4]


def test_a_copy_of_another_model_is_refused(model: nn.Module) -> None:
    schedule = DeltaSchedule(model)
    for other in (nn.Linear(2, 2), prepare(nn.Linear(4, 4), "delta")):
        with pytest.raises(
            TernzipError, match=r"a copy of the scheduled model, with a Delta in 2 of its layers: found"
        ):
            schedule.apply_to(other)


def scaled(scale: float) -> nn.Module:
    layers = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    return prepare(layers, "delta", overrides={"1": Delta(0.02, scale=scale)})


def test_a_scale_that_would_take_delta_to_1_is_refused_at_once() -> None:
    model = scaled(1.25)
    with pytest.raises(
        TernzipError, match=r"layer 1: its scale of 1\.25 makes a Delta of 1\.125 out of .* largest, 0\.9"
    ):
        DeltaSchedule(model)
    assert deltas(model) == [0.1, 0.025]
    schedule = DeltaSchedule(model, maximum=0.79)
    schedule.step(1000)
    assert deltas(model) == pytest.approx([0.79, 0.9875])
    before = schedule.state_dict()
    with pytest.raises(TernzipError, match=r"layer 1: its scale of 1\.25"):
        schedule.load_state_dict({**before, "maximum": 0.8})
    assert schedule.state_dict() == before
    assert deltas(model) == pytest.approx([0.79, 0.9875])


def test_a_delta_that_stands_still_need_not_fear_its_maximum() -> None:
    for still in ({"growth": "fixed"}, {"multiplier": 0.0}):
        schedule = DeltaSchedule(scaled(5.0), 0.15, **still)  # type: ignore[arg-type]
        schedule.step(1000)
    with pytest.raises(TernzipError, match=r"makes a Delta of 1 out of the schedule's largest, 0\.2"):
        DeltaSchedule(scaled(5.0), 0.2, "fixed")


def test_only_delta_layers_are_scheduled() -> None:
    model = prepare(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)), "delta", overrides={"0": "twn"})
    DeltaSchedule(model, 0.3)
    twn, delta = (layer.quantizer for layer in ternary_layers(model))
    assert twn.ratio.item() == 0.7  # type: ignore[union-attr]
    assert delta.delta.item() == 0.3  # type: ignore[union-attr]


def test_in_a_model_without_delta_the_ratio_to_each_layers_scale_grows() -> None:
    torch.manual_seed(0)
    model = prepare(nn.Sequential(nn.Linear(400, 40), nn.Linear(40, 20)))
    schedule = DeltaSchedule(model)
    shares = []
    for epoch in (1, 10, 40, 200):
        schedule.step(epoch)
        assert [layer.quantizer.ratio.item() for layer in ternary_layers(model)] == [schedule.delta] * 2  # type: ignore[union-attr]
        counts = count_layers(model).values()
        assert all(0 < count.zero < count.total for count in counts)
        shares.append(sum(count.zero for count in counts))
    assert shares == sorted(set(shares))


DAMAGED: list[dict[str, object]] = [
    {"initial": 3.0},
    {"maximum": 1.5},
    {"maximum": 0.01},
    {"growth": "cubic"},
    {"multiplier": -1.0},
    {"multiplier": math.nan},
    {"steps": -5},
    {"steps": math.inf},
    {"steps_per_epoch": 0},
    {"initial": "much"},
    {"steps": None},
    {"pace": 3},
]


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_state_is_refused_and_changes_nothing(model: nn.Module, damage: dict[str, object]) -> None:
    schedule = DeltaSchedule(model, 0.2, "linear", 0.1)
    before = schedule.state_dict()
    with pytest.raises(TernzipError):
        schedule.load_state_dict({**before, **damage})
    assert schedule.state_dict() == before
    assert deltas(model) == [schedule.delta] * 2


def test_a_state_that_lacks_an_entry_is_refused(model: nn.Module) -> None:
    schedule = DeltaSchedule(model)
    state = schedule.state_dict()
    del state["growth"]
    with pytest.raises(TernzipError, match="the state is no DeltaSchedule's: expected initial, growth"):
        schedule.load_state_dict(state)


@pytest.mark.parametrize(
    "arguments", [{"initial": 1.0}, {"initial": -0.1}, {"maximum": 1.0}, {"initial": math.nan}]
)
def test_delta_outside_0_1_is_refused(model: nn.Module, arguments: dict[str, float]) -> None:
    with pytest.raises(TernzipError, match=r"Delta must lie in \[0, 1\)"):
        DeltaSchedule(model, **arguments)


def test_other_bad_options_are_refused(model: nn.Module) -> None:
    with pytest.raises(TernzipError, match=r"unknown growth 'cubic': expected one of fixed, linear"):
        DeltaSchedule(model, growth="cubic")
    with pytest.raises(TernzipError, match="exceeds maximum"):
        DeltaSchedule(model, 0.5, maximum=0.4)
    with pytest.raises(TernzipError, match="multiplier"):
        DeltaSchedule(model, multiplier=-1)
    for steps in (0, math.nan, math.inf):
        with pytest.raises(ValueError, match="steps_per_epoch must be finite and >= 1"):
            DeltaSchedule(model, steps_per_epoch=steps)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="count from 1"):
        DeltaSchedule(model).step(0.5)
    with pytest.raises(TernzipError, match=r"to schedule: call ternzip\.prepare first"):
        DeltaSchedule(nn.Linear(2, 2))
    mixed = prepare(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), "binary", overrides={"1": "ttq"})
    with pytest.raises(TernzipError, match="to schedule: expected Delta or TWN, found Binary, TTQ"):
        DeltaSchedule(mixed)


def test_delta_is_a_tensor_that_does_not_recompile(model: nn.Module) -> None:
    before = ternary_layers(model)[0].quantizer.delta  # type: ignore[union-attr]
    DeltaSchedule(model, 0.4)
    assert ternary_layers(model)[0].quantizer.delta is before  # type: ignore[union-attr]
    assert isinstance(before, torch.Tensor)
