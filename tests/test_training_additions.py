"""What is beyond the paper's recipe: the price of bits, a teacher, folded norms, a Delta for each layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("lightning")

from training_fixtures import WARNINGS, digits_like, weights

import ternzip
from ternzip import TernzipError
from ternzip.training import trainer as training
from ternzip.training.catalog import DATASETS
from ternzip.training.evaluation import evaluate
from ternzip.training.learner import image_learner
from ternzip.training.losses import distillation, rate_price
from ternzip.training.network import build, build_teacher, build_ternary
from ternzip.training.recipe import Recipe

pytestmark = WARNINGS


def test_a_price_of_bits_makes_the_file_smaller(recipe: Recipe, tmp_path: Path) -> None:
    free = recipe.with_options({"epochs": 4, "growth": "fixed", "lr": 1e-3})
    sizes = []
    for name, rate in (("free", 0.0), ("priced", 2.0)):
        result = training.train(free.with_options({"rate": rate, "rate_epochs": 2}), tmp_path / name)
        assert result is not None
        sizes.append(result.last.ternary)
    assert sizes[1] < 0.9 * sizes[0]


def test_the_price_of_bits_grows_to_that_of_the_recipe() -> None:
    recipe = Recipe(rate=8.0, rate_epochs=4)
    assert [8192 * rate_price(recipe, epoch) for epoch in (1, 2, 4, 9)] == [2, 4, 8, 8]


def test_a_teacher_is_learned_from_and_is_no_part_of_the_network(recipe: Recipe, tmp_path: Path) -> None:
    training.train(recipe.with_options({"quantizer": "none", "epochs": 1}), tmp_path / "twin")
    alone = recipe.with_options({"epochs": 1, "dropout": 0.0})
    taught = alone.with_options({"teacher": str(tmp_path / "twin" / "last.tnz")})
    for name, one in (
        ("alone", alone),
        ("nothing", taught.with_options({"teacher_share": 0.0})),
        ("taught", taught),
    ):
        training.train(one, tmp_path / name)
    first, nothing, second = (weights(tmp_path / name) for name in ("alone", "nothing", "taught"))
    assert list(first) == list(nothing) == list(second)
    latent = "model.fc1.parametrizations.weight.original"
    assert torch.equal(first[latent], nothing[latent])  # the teacher draws no random numbers
    assert not torch.equal(first[latent], second[latent])
    training.train(taught.with_options({"precision": "64"}), tmp_path / "double")
    with pytest.raises(TernzipError, match=r"absent\.tnz"):
        training.train(alone.with_options({"teacher": "absent.tnz"}), tmp_path / "absent")


def test_the_distance_to_a_teacher() -> None:
    own, taught = torch.tensor([[0.0, 2.0]]), torch.tensor([[2.0, 0.0]])
    assert float(distillation(own, own, 3.0)) == pytest.approx(0.0, abs=1e-6)
    p = 1 / (1 + np.exp(-1.0))  # at temperature 2 both differ by 1
    expected = p * np.log(p / (1 - p)) + (1 - p) * np.log((1 - p) / p)
    assert float(distillation(own, taught, 2.0)) == pytest.approx(4 * expected, rel=1e-6)


def test_folded_norms_are_in_the_file_and_not_in_the_checkpoint(recipe: Recipe, tmp_path: Path) -> None:
    training.train(recipe, tmp_path)
    plain = ternzip.load_file(tmp_path / "last.tnz")
    result = training.train(recipe.with_options({"fold_norms": True, "epochs": 3}), tmp_path, resume=True)
    assert result is not None
    folded = ternzip.load_file(tmp_path / "last.tnz")
    assert list(folded) == list(plain)
    assert folded["bn1.running_var"].unique().tolist() == [1.0]
    assert len(weights(tmp_path)["model.bn1.running_var"].unique()) > 1
    assert evaluate(tmp_path / "last.tnz", recipe).accuracy == pytest.approx(result.last.accuracy)


def test_folded_norms_are_no_start(recipe: Recipe, tmp_path: Path) -> None:
    """In training mode a folded norm is another function: a run from it would begin far from its twin."""
    twin = recipe.with_options({"quantizer": "none", "fold_norms": True, "epochs": 1})
    training.train(twin, tmp_path / "twin")
    mnist = DATASETS["mnist"]
    folded, whole = (str(tmp_path / "twin" / name) for name in ("last.tnz", "last.ckpt"))
    with pytest.raises(TernzipError, match=r"last\.tnz: its batch norm statistics are folded .* last\.ckpt"):
        build_ternary(recipe.with_options({"init": folded}), mnist)
    build_ternary(recipe.with_options({"init": folded, "frozen_norm": True}), mnist)
    build_teacher(recipe.with_options({"teacher": folded}), mnist)
    started = build_ternary(recipe.with_options({"init": whole, "quantizer": "none"}), mnist)
    assert torch.equal(started.bn1.running_var, weights(tmp_path / "twin")["model.bn1.running_var"])
    build_ternary(recipe, mnist)
    other = recipe.with_options({"init": whole, "quantizer": "none", "activation": "relu"})
    with pytest.warns(
        UserWarning, match=r"last\.ckpt: was trained with --activation .*, this network has relu"
    ):
        build_ternary(other, mnist)


def test_layers_may_have_deltas_of_their_own(recipe: Recipe) -> None:
    scaled = recipe.with_options(
        {"delta_scale": ["fc1=0.5", "fc*=2"], "growth": "linear", "multiplier": 1.0, "max_delta": 0.4}
    )
    learner = image_learner(scaled, digits_like())
    assert learner.schedule is not None
    learner.schedule.step(3)
    deltas = {
        layer.name: float(layer.quantizer.delta)
        for layer in ternzip.quantization.ternary_layers(learner.model)
    }
    assert deltas == pytest.approx({"fc1": 0.04, "fc2": 0.16, "fc3": 0.16})


def test_a_scale_of_output_channels_cancels_before_a_norm_and_not_before_a_sum() -> None:
    """Why there is no option for it: what the guide says of the paper's network."""
    network = ternzip.prepare(ternzip.models.resnet20(), "delta").train()
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    ternzip.convert(network)
    with torch.no_grad():
        before = network(images)
        for name, cancels in (("conv1", True), ("conv2", False)):
            weight = network.layer2[1].get_submodule(name).weight
            factors = torch.linspace(0.5, 2, len(weight))[:, None, None, None]
            weight.mul_(factors)
            assert torch.allclose(network(images), before, atol=1e-3) == cancels
            weight.div_(factors)


def test_a_teacher_is_built_by_its_own_recipe(recipe: Recipe, tmp_path: Path) -> None:
    own = recipe.with_options({"quantizer": "none", "signed_activations": True, "activation": "hardtanh"})
    training.train(own, tmp_path)
    mnist = digits_like().info
    images = torch.randn(8, 1, 28, 28)
    with torch.no_grad():
        for name in ("last.ckpt", "last.tnz"):
            teacher = build_teacher(recipe.with_options({"teacher": str(tmp_path / name)}), mnist)
            twin = build_teacher(own.with_options({"teacher": str(tmp_path / name)}), mnist)
            other = ternzip.models.load_weights(build(recipe, mnist), tmp_path / name).eval()
            assert torch.equal(teacher(images), twin(images))
            assert not torch.equal(teacher(images), other(images))
    # A checkpoint of another program says nothing of its network.
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    torch.save({"state_dict": state}, tmp_path / "other.ckpt")
    with torch.no_grad():
        teacher = build_teacher(recipe.with_options({"teacher": str(tmp_path / "other.ckpt")}), mnist)
        assert torch.equal(teacher(images), other(images))
