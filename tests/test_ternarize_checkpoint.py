"""Full-precision checkpoints ternarized on their way into a file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from samples import assert_same, bits, name_of, trits

from ternzip._core.errors import TernzipError
from ternzip.checkpoint.load import as_checkpoint
from ternzip.checkpoint.ternarize import PostTrainingTernarization
from ternzip.io.tensors import to_tensors


def ternarized(
    tensors: dict[str, torch.Tensor], how: PostTrainingTernarization, path: Path
) -> dict[str, torch.Tensor]:
    torch.save(tensors, path)
    with as_checkpoint(str(path)) as checkpoint:
        return to_tensors(how.applied_to(checkpoint).tensors())


def test_ternarizing_by_a_fixed_threshold(tmp_path: Path) -> None:
    weight = torch.tensor([[0.5, -0.25, 0.0], [-0.5, 0.1, -0.1]])
    tensors = {
        "w": weight,
        "tied": weight,
        "bias": torch.randn(3),
        "done": trits(3, 3).float(),
        "ids": torch.ones(2, 2).int(),
    }
    how = PostTrainingTernarization(0.25, scaled=False)
    found = ternarized(tensors, how, tmp_path / "model.pt")
    assert found["w"].tolist() == [[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]
    assert found["tied"] is found["w"]
    assert_same(
        {k: found[k] for k in ("bias", "done", "ids")}, {k: tensors[k] for k in ("bias", "done", "ids")}
    )
    assert how.changed == ["w"]
    assert how.kept == ["done"]
    assert (how.counts.negative, how.counts.zero, how.counts.positive) == (1, 4, 1)


def test_ternarizing_with_levels_of_the_mean(tmp_path: Path) -> None:
    weight = torch.tensor([[3.0, -1.0, 0.5, -0.25]])
    how = PostTrainingTernarization(0.5, scaled=True)
    assert ternarized({"w": weight}, how, tmp_path / "model.pt")["w"].tolist() == [[2.0, -2.0, 0.0, 0.0]]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=name_of)
def test_ternarizing_as_twn_does(tmp_path: Path, dtype: torch.dtype) -> None:
    weight = torch.randn(8, 6, 3, 3, generator=torch.Generator().manual_seed(2)).to(dtype)
    found = ternarized({"w": weight}, PostTrainingTernarization(None, scaled=True), tmp_path / "model.pt")[
        "w"
    ]
    threshold = 0.7 * weight.double().abs().mean()
    kept = weight.double().abs() > threshold.to(dtype).double()
    level = weight.double().abs()[kept].mean().to(dtype)
    assert found.dtype == dtype
    assert torch.equal(found, torch.where(kept, weight.sign() * level, torch.zeros_like(weight)))


def test_ternarizing_skips_what_it_is_told_to(tmp_path: Path) -> None:
    tensors = {"conv.weight": torch.randn(3, 3), "fc.weight": torch.randn(3, 3), "head": torch.randn(3, 3)}
    how = PostTrainingTernarization(0.1, scaled=False, skip=("fc.*", "hea?"))
    found = ternarized(tensors, how, tmp_path / "model.pt")
    assert how.changed == ["conv.weight"]
    assert how.kept == ["fc.weight", "head"]
    assert bits(found["head"]) == bits(tensors["head"])


def test_a_tie_is_skipped_by_any_of_its_names(tmp_path: Path) -> None:
    """The head is stored as the embedding is: who names the head must not get a ternary one."""
    weight = torch.randn(6, 4)
    tensors = {"embed.weight": weight, "fc.weight": torch.randn(4, 4), "head.weight": weight}
    for pattern in ("head.*", "embed.*"):
        how = PostTrainingTernarization(0.1, scaled=False, skip=(pattern,))
        found = ternarized(tensors, how, tmp_path / "model.pt")
        assert (how.changed, how.kept) == (["fc.weight"], ["embed.weight"])
        assert bits(found["head.weight"]) == bits(weight)
        assert found["head.weight"] is found["embed.weight"]


@pytest.mark.parametrize("delta", [None, 0.1])
def test_tensors_without_elements_stay(tmp_path: Path, delta: float | None) -> None:
    """They have no mean: a threshold of NaN ended in a traceback."""
    tensors = {"w": torch.randn(4, 4), "none": torch.empty(0, 2)}
    how = PostTrainingTernarization(delta, scaled=True)
    found = ternarized(tensors, how, tmp_path / "model.pt")
    assert found["none"].shape == (0, 2)
    assert (how.changed, how.kept) == (["w"], [])


def test_weights_whose_sum_is_beyond_float64(tmp_path: Path) -> None:
    weight = torch.tensor([[1.5e308, -1.5e308, 1.5e308, 1.0]], dtype=torch.float64)
    found = ternarized({"w": weight}, PostTrainingTernarization(None, scaled=True), tmp_path / "model.pt")[
        "w"
    ]
    assert found.tolist() == [[1.5e308, -1.5e308, 1.5e308, 0.0]]


def test_a_pattern_that_skips_nothing_is_an_error(tmp_path: Path) -> None:
    """A typo must not make the head ternary."""
    tensors = {"conv.weight": torch.randn(3, 3), "head.weight": torch.randn(3, 3)}
    how = PostTrainingTernarization(0.1, scaled=False, skip=("conv.*", "haed.*"))
    expected = r"skip: no tensor matches 'haed\.\*': expected one of conv\.weight, head\.weight"
    with pytest.raises(TernzipError, match=expected):
        ternarized(tensors, how, tmp_path / "model.pt")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_ternarizing_needs_finite_weights(tmp_path: Path, value: float) -> None:
    path = tmp_path / "model.pt"
    with pytest.raises(
        TernzipError, match=r"model\.pt: tensor 'w': cannot ternarize: expected finite weights"
    ):
        ternarized({"w": torch.tensor([[1.0, value]])}, PostTrainingTernarization(0.1, scaled=False), path)


@pytest.mark.parametrize("delta", [-0.1, float("nan"), float("inf")])
def test_thresholds_that_are_none(delta: float) -> None:
    with pytest.raises(TernzipError, match="delta: expected a finite threshold of at least 0"):
        PostTrainingTernarization(delta, scaled=False)
