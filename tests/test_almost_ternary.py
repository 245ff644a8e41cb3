"""Why a tensor that looks ternary is not: counts that are exact, and silence about everything else."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import SIGNED, SMALL_FLOATS, name_of, random_bits, trits
from torch import Tensor

from ternzip.codecs.ternary import detect
from ternzip.container.almost_ternary import AlmostTernary, Grouping, almost_ternary
from ternzip.container.layout import Storage
from ternzip.container.writer import write_container
from ternzip.io.tensors import to_raw


def ask(tensor: Tensor) -> AlmostTernary | None:
    return almost_ternary(to_raw("t", tensor))


def test_one_stray_value() -> None:
    weight = 0.05 * trits(64, 64, 3, 3).float()
    assert ask(weight) is None
    weight[3, 5, 1, 2] = 0.07
    found = ask(weight)
    assert found is not None
    assert (found.grouping, found.elements, found.strays) == (Grouping.TENSOR, 36864, 1)
    assert found.first_stray == ((3 * 64 + 5) * 3 + 1) * 3 + 2
    assert found.message == (
        "36,863 of 36,864 elements take three values; 1 does not, the first at index 1,778"
    )


@pytest.mark.parametrize("stray", [float("nan"), float("inf"), -3.0, 1e-45])
def test_strays_of_any_kind(stray: float) -> None:
    weight = trits(1, 5000).float()
    weight[0, [17, 4000]] = stray
    found = ask(weight)
    assert found is not None
    assert (found.strays, found.first_stray) == (2, 17)
    assert "4,998 of 5,000 elements take three values; 2 do not, the first at index 17" in found.message


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float16, torch.bfloat16, *SMALL_FLOATS, *SIGNED], ids=name_of
)
def test_types(dtype: torch.dtype) -> None:
    weight = trits(40, 50).float()
    weight[2, 3] = 3
    found = ask(weight.to(dtype))
    assert found is not None
    assert (found.strays, found.first_stray) == (1, 103)
    assert ask(trits(40, 50).float().to(dtype)) is None


def test_negative_zeros_are_zeros() -> None:
    weight = trits(40, 50).float()
    weight[weight == 0] = -0.0
    weight[0, 0] = 5
    found = ask(weight)
    assert found is not None
    assert (found.strays, found.values) == (1, 3)


def test_binary_weights_take_two_values() -> None:
    weight = trits(30, 100, zeros=0).float()
    weight[29, 50] = 0.5
    found = ask(weight)
    assert found is not None
    assert found.message.startswith("2,999 of 3,000 elements take two values; 1 does not")


def test_a_stray_among_levels_per_row() -> None:
    weight = trits(8, 300).float() * torch.arange(1.0, 9.0).view(8, 1)
    assert ask(weight) is None
    weight[6, 1] = 100
    found = ask(weight)
    assert found is not None
    assert found.message == (
        "2,399 of 2,400 elements take at most three values for each index of dimension 0; "
        "1 does not, the first at index 1,801"
    )


def test_a_stray_that_is_a_level_of_its_row() -> None:
    weight = torch.zeros(40, 30)
    weight[1:, ::7], weight[:, 3::7] = 1, -1
    weight[0, 0] = 1000.5
    assert detect(to_raw("t", weight)) is not None
    assert ask(weight) is None


def test_levels_of_columns_and_of_stretches() -> None:
    symbols = trits(512, 256, seed=3).float()
    columns = symbols * torch.arange(1.0, 257.0)
    found = ask(columns)
    assert found is not None
    assert found.message == (
        "all 131,072 elements take at most three values for each index of dimension 1; "
        "ternzip stores levels that eight consecutive elements of a row share, or more"
    )
    columns[5, 7] = -1e9
    found = ask(columns)
    assert found is not None
    assert (found.grouping, found.strays, found.first_stray) == (Grouping.DIMENSION_1, 1, 5 * 256 + 7)

    scales = torch.arange(1.0, 1025.0).view(512, 2, 1)
    stretches = (symbols.view(512, 2, 128) * scales).view(512, 256)
    assert ask(stretches) is None
    stretches[3, 200] = 1e9
    found = ask(stretches)
    assert found is not None
    assert found.message == (
        "131,071 of 131,072 elements take at most three values in each 128 elements of a row; "
        "1 does not, the first at index 968"
    )


def test_convolutions_with_levels_per_input_channel() -> None:
    weight = trits(32, 16, 3, 3).float() * torch.arange(1.0, 17.0).view(1, 16, 1, 1)
    weight[9, 2, 1, 1] = 77
    found = ask(weight)
    assert found is not None
    assert (found.grouping, found.group_size) == (Grouping.DIMENSION_1, 288)
    assert found.first_stray == ((9 * 16 + 2) * 3 + 1) * 3 + 1


def test_silence_about_what_is_far_from_ternary() -> None:
    generator = torch.Generator().manual_seed(0)
    full = torch.randn(300, 256, generator=generator)
    sparse = torch.where(torch.rand(300, 256, generator=generator) < 0.005, full, torch.zeros(()))
    five_levels = torch.randint(-2, 3, (300, 256), generator=generator).float()
    several = trits(300, 256).float()
    several[:, :8] = full[:, :8]  # three elements in a hundred
    for tensor in (full, sparse, five_levels, several, random_bits(torch.float16, 64, 64), torch.ones(3)):
        assert ask(tensor) is None
    assert ask(torch.zeros(0, 5)) is None
    assert ask(torch.zeros(100, 100)) is None
    assert ask(torch.zeros(100, 100, dtype=torch.uint8)) is None
    assert ask(torch.full((100, 100), float("nan"))) is None


@settings(max_examples=60, deadline=None)
@given(
    shape=st.sampled_from([(40, 30), (20, 6, 3, 3), (700,), (3, 400), (64, 512)]),
    zeros=st.sampled_from([0.0, 0.5, 0.95]),
    where=st.lists(st.integers(0, 10**6), max_size=6),
    scale=st.sampled_from(["none", "rows", "columns"]),
    seed=st.integers(0, 9),
)
def test_what_is_said_is_true(
    shape: tuple[int, ...], zeros: float, where: list[int], scale: str, seed: int
) -> None:
    """Whatever the sample suggested: the counts are those of a plain look at every element."""
    weight = trits(*shape, seed=seed, zeros=zeros).float()
    if scale != "none" and len(shape) > 1:
        axis = 0 if scale == "rows" else 1
        factors = torch.arange(1.0, shape[axis] + 1)
        weight *= factors.view([-1 if d == axis else 1 for d in range(len(shape))])
    for number in where:
        weight.view(-1)[number % weight.numel()] = 1000.5 + number
    found = ask(weight)
    if detect(to_raw("t", weight)) is not None:
        assert found is None
        return
    if found is None:
        return
    assert found.elements == weight.numel()
    axis_of = {Grouping.DIMENSION_0: 0, Grouping.DIMENSION_1: 1}
    groups = [weight] if found.grouping is Grouping.TENSOR else list(weight.unbind(axis_of[found.grouping]))
    taken = []
    for group in groups:
        values, counts = np.unique(group.numpy(), return_counts=True)
        sides = [counts[values < 0], counts[values > 0]]
        taken.append(int(counts[values == 0].sum()) + sum(int(side.max()) for side in sides if side.size))
    assert found.strays == weight.numel() - sum(taken)
    if found.strays:
        assert weight.view(-1)[found.first_stray].item() >= 1000.5


@pytest.mark.parametrize("zeros", [0.9, 0.95, 0.99, 0.999])
def test_pruned_weights_are_told_by_samples(monkeypatch: pytest.MonkeyPatch, zeros: float) -> None:
    """They are zero or a level for the most part too; full counts took ten times as long as compressing them."""
    weight = torch.randn(512, 2048, generator=torch.Generator().manual_seed(0))
    weight *= trits(512, 2048, zeros=zeros).abs()
    monkeypatch.setattr("ternzip.container.almost_ternary._count", pytest.fail)
    for dtype in (torch.float32, torch.bfloat16):
        assert ask(weight.to(dtype)) is None


@pytest.mark.parametrize(("zeros", "strays"), [(0.9, 5000), (0.99, 500), (0.999, 50)])
def test_strays_among_few_levels(zeros: float, strays: int) -> None:
    weight = trits(512, 2048, zeros=zeros).float()
    weight.view(-1)[-strays:] = torch.randn(strays, generator=torch.Generator().manual_seed(0))
    found = ask(weight)
    assert found is not None
    assert (found.grouping, found.strays) == (Grouping.TENSOR, strays)


def test_a_stray_that_makes_blocks_of_levels_that_do_not_pay() -> None:
    """The element that keeps a tensor from being stored as ternary is named, though levels in blocks could hold it."""
    weight = trits(300, 400, zeros=0.8, seed=19)
    weight[200, 100] = 3
    ternary = detect(to_raw("t", weight))
    assert ternary is not None
    assert ternary.grid.block_shape == (1, 21)
    noticed: dict[str, AlmostTernary] = {}
    (entry,) = write_container(
        io.BytesIO(), [("t", to_raw("t", weight))], on_almost_ternary=noticed.__setitem__
    )
    assert entry.storage is Storage.PLANES
    assert (noticed["t"].strays, noticed["t"].first_stray) == (1, 200 * 400 + 100)


def test_repeated_values_are_no_strays() -> None:
    """Rows of one value each have levels in blocks too, and are smaller as planes."""
    weight = torch.randn(512, 1, generator=torch.Generator().manual_seed(0)).repeat(1, 512)
    noticed: dict[str, AlmostTernary] = {}
    write_container(io.BytesIO(), [("t", to_raw("t", weight))], on_almost_ternary=noticed.__setitem__)
    assert not noticed
