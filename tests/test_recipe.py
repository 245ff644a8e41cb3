"""Options of a run: presets, TOML, checks, differences."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from ternzip import TernzipError
from ternzip.training.recipe import PRESETS, Recipe, flag, kind, preset, read_toml


def test_the_default_is_the_papers_recipe() -> None:
    recipe = preset("paper")
    assert recipe == Recipe()
    assert (recipe.batch_size, recipe.lr, recipe.epochs, recipe.weight_decay) == (256, 5e-3, 500, 0.0)
    assert (recipe.delta, recipe.growth, recipe.multiplier, recipe.max_delta) == (0.1, "log", 1.9, 0.9)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_is_valid(name: str) -> None:
    assert preset(name).epochs > 0


def test_options_may_have_dashes_and_lists() -> None:
    recipe = Recipe().with_options({"batch-size": 8, "skip": ["conv1", "linear"], "lr": 1})
    assert (recipe.batch_size, recipe.skip, recipe.lr) == (8, ("conv1", "linear"), 1)


def test_toml_at_top_level_and_in_tables(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        'epochs = 3\n[ternarization]\ngrowth = "linear"\ndelta = 0.2\n[model]\nskip = ["conv1"]\n'
    )
    recipe = Recipe().with_options(read_toml(path), source=str(path))
    assert (recipe.epochs, recipe.growth, recipe.delta, recipe.skip) == (3, "linear", 0.2, ("conv1",))


def test_bad_toml(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    with pytest.raises(TernzipError, match=r"run\.toml: no such file"):
        read_toml(path)
    path.write_text("epochs = \n")
    with pytest.raises(TernzipError, match="not a readable TOML file"):
        read_toml(path)
    path.write_text("epoch = 3\n")
    with pytest.raises(
        TernzipError, match=r"run.toml: unknown option 'epoch': expected one of arch, inflate"
    ):
        Recipe().with_options(read_toml(path), source=str(path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arch": "vgg"}, r"--arch: unknown 'vgg': expected one of resnet20"),
        ({"quantizer": "xnor"}, "--quantizer: unknown 'xnor'"),
        ({"growth": "cubic"}, "--growth: unknown 'cubic'"),
        ({"dataset": "svhn"}, "--dataset: unknown 'svhn'"),
        ({"lr_schedule": "cosine"}, "--lr-schedule: unknown 'cosine'"),
        ({"precision": "8"}, "--precision: unknown '8'"),
        ({"delta": 1.0, "max_delta": 0.9}, r"--delta: expected a value in \[0, 1\), found 1"),
        ({"delta": -0.1}, "--delta: expected at least 0, found -0.1"),
        ({"delta": math.nan}, "--delta: expected a finite number, found nan"),
        ({"lr": math.inf}, "--lr: expected a finite number, found inf"),
        ({"max_delta": 1.0}, r"--max-delta: expected a value in \[0, 1\)"),
        ({"delta": 0.95}, "--delta: 0.95 exceeds --max-delta 0.9"),
        ({"dropout": 1.0}, r"--dropout: expected a value in \[0, 1\)"),
        ({"epochs": 0}, "--epochs: expected at least 1, found 0"),
        ({"epochs": 2.5}, "--epochs: expected int, found 2.5"),
        ({"epochs": True}, "--epochs: expected int, found True"),
        ({"epochs": None}, "--epochs: expected int, found None"),
        ({"augment": 1}, "--augment: expected bool, found 1"),
        ({"skip": "conv1"}, "--skip: expected tuple, found 'conv1'"),
        ({"unfreeze_epoch": 2}, "--unfreeze-epoch: nothing is frozen"),
    ],
)
def test_bad_options_are_one_clear_line(options: dict[str, object], message: str) -> None:
    with pytest.raises(TernzipError, match=message):
        Recipe().with_options(options)


def test_differences_leave_out_what_does_not_change_the_numbers() -> None:
    one = Recipe()
    assert one.differences(one.with_options({"epochs": 900, "data": "elsewhere", "carry_on": True})) == []
    assert one.differences(one.with_options({"seed": 1, "lr": 0.1})) == ["lr", "seed"]


def test_flags_and_types() -> None:
    assert flag("max_delta") == "--max-delta"
    assert (kind("lr"), kind("clip_norm"), kind("skip"), kind("augment"), kind("init")) == (
        float,
        float,
        tuple,
        bool,
        str,
    )
