"""Options of a run: presets, TOML, checks, differences."""

from __future__ import annotations

import math
from enum import Enum
from pathlib import Path

import numpy as np
import pytest

from ternzip import TernzipError
from ternzip.training.options import flag, is_within, read_toml
from ternzip.training.recipe import OPTIONS, PRESETS, Recipe, preset, recipe_of


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
    with pytest.raises(TernzipError, match=r"run.toml: unknown option 'epoch': expected epochs$"):
        Recipe().with_options(read_toml(path), source=str(path))
    with pytest.raises(TernzipError, match="unknown option 'xyz': expected one of arch, arch_arg"):
        Recipe().with_options({"xyz": 1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arch": "vgg"}, r"--arch: unknown 'vgg': expected one of resnet20"),
        ({"quantizer": "xnor"}, "--quantizer: unknown 'xnor'"),
        ({"growth": "cubic"}, "--growth: unknown 'cubic'"),
        ({"dataset": "svhn"}, "--dataset: unknown 'svhn'"),
        ({"lr_schedule": "cosine"}, "--lr-schedule: unknown 'cosine'"),
        ({"precision": "8"}, "--precision: unknown '8'"),
        ({"delta": 1.0, "max_delta": 0.9}, r"--delta: expected a number in \[0, 1\), found 1"),
        ({"delta": -0.1}, r"--delta: expected a number in \[0, 1\), found -0.1"),
        ({"delta": math.nan}, r"--delta: expected a number in \[0, 1\), found nan"),
        ({"lr": math.inf}, r"--lr: expected a number in \[0, inf\), found inf"),
        ({"max_delta": 1.0}, r"--max-delta: expected a number in \[0, 1\)"),
        ({"delta": 0.95}, "--delta: 0.95 exceeds --max-delta 0.9"),
        ({"dropout": 1.0}, r"--dropout: expected a number in \[0, 1\)"),
        ({"epochs": 0}, r"--epochs: expected a number in \[1, 1e9\], found 0"),
        ({"epochs": 2.5}, "--epochs: expected int, found 2.5"),
        ({"epochs": True}, "--epochs: expected int, found True"),
        ({"epochs": None}, "--epochs: expected int, found None"),
        ({"augment": 1}, "--augment: expected bool, found 1"),
        ({"skip": 1}, "--skip: expected a string or a list of strings, found 1"),
        ({"skip": ["conv1", 1]}, r"--skip: expected a string or a list of strings, found \['conv1', 1\]"),
        ({"lr_scale": 0}, r"--lr-scale: expected a number in \(0, inf\), found 0"),
        ({"seed": 99999999999999}, r"--seed: expected a number in \[0, 4e9\], found 99999999999999"),
        ({"batch_size": 10**400}, r"--batch-size: expected a number in \[2, 1e9\], found 10000"),
        ({"unfreeze_epoch": 2}, "--unfreeze-epoch: nothing is frozen"),
        ({"delta_scale": ["conv1"]}, "--delta-scale: expected PATTERN=FACTOR, found 'conv1'"),
        ({"delta_scale": ["conv1=x"]}, "--delta-scale: expected PATTERN=FACTOR, found 'conv1=x'"),
        ({"delta_scale": ["=2"]}, "--delta-scale: expected PATTERN=FACTOR, found '=2'"),
        (
            {"delta_scale": ["conv1=2"]},
            "--delta-scale: conv1=2: expected a factor > 0 with which --max-delta 0.9",
        ),
        ({"delta_scale": ["conv1=nan"]}, "--delta-scale: conv1=nan: expected a factor > 0"),
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
    kinds = {
        name: OPTIONS[name].kind for name in ("lr", "clip_norm", "skip", "augment", "init", "unfreeze_epoch")
    }
    assert list(kinds.values()) == [float, float, tuple, bool, str, int]


def test_options_are_held_as_pythons_own_types() -> None:
    class Name(str, Enum):
        twn = "twn"

    given = {
        "lr": np.float64(1e-3),
        "quantizer": Name.twn,
        "skip": [np.str_("conv1")],
        "growth": np.str_("log"),
    }
    recipe = Recipe().with_options(given)
    assert (recipe.lr, recipe.quantizer, recipe.skip, recipe.growth) == (1e-3, "twn", ("conv1",), "log")
    held = [recipe.lr, recipe.quantizer, *recipe.skip, recipe.growth]
    assert [type(value) for value in held] == [float, str, str, str]
    assert type(Recipe().with_options({"lr": 1}).lr) is int


def test_one_pattern_needs_no_list(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('skip = "conv1"\n')
    assert Recipe().with_options(read_toml(path)).skip == ("conv1",)


def test_an_option_that_stands_twice_in_toml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("batch-size = 8\n[data]\nbatch_size = 16\n")
    with pytest.raises(TernzipError, match=r"run\.toml: option 'batch_size' stands in it twice"):
        read_toml(path)


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        ("[0, 1)", [0, 0.999], [-1e-9, 1, math.nan]),
        ("(0, inf)", [1e-300, 10**9], [0, -1, math.inf, math.nan]),
        ("[1, 1e9]", [1, 10**9], [0, 10**9 + 1, 10**400]),
    ],
)
def test_intervals(interval: str, inside: list[float], outside: list[float]) -> None:
    assert all(is_within(value, interval) for value in inside)
    assert not any(is_within(value, interval) for value in outside)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantizer": "ttq", "delta": 0.2}, "--delta: not used with --quantizer ttq, only with delta"),
        ({"quantizer": "none", "skip": "conv1"}, "--skip: not used with --quantizer none"),
        (
            {"quantizer": "none", "ternary_activations": True},
            "--ternary-activations: not used with --quantizer none",
        ),
        (
            {"signed_activations": True, "ternary_activations": True},
            "--ternary-activations: not used with --signed-activations",
        ),
        ({"twn_ratio": 0.7}, "--twn-ratio: not used with --quantizer delta, only with twn"),
        (
            {"growth": "fixed", "multiplier": 1.0},
            "--multiplier: not used with --growth fixed, only with linear",
        ),
        ({"lr_schedule": "constant", "lr_scale": 2.0}, "--lr-scale: not used with --lr-schedule constant"),
        ({"teacher_share": 0.5}, "--teacher-share: not used without --teacher"),
        ({"rate_epochs": 5}, "--rate-epochs: not used without --rate"),
        ({"quantizer": "twn", "rate": 0.1}, "--rate: not used with --quantizer twn, only with delta"),
        ({"arch": "fc3", "inflate": 1}, "--inflate: not used with --arch fc3, only with resnet20"),
        ({"dataset": "mnist", "statistics": "dataset"}, "--statistics: not used with --dataset mnist"),
    ],
)
def test_what_is_asked_for_is_used_or_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(TernzipError, match=message):
        Recipe().with_options(options).check_used(options)


def test_options_that_a_run_uses_pass() -> None:
    Recipe().check_used(["delta", "growth", "multiplier", "ste", "skip", "inflate", "lr_scale", "statistics"])
    Recipe(quantizer="twn", lr_schedule="plateau").check_used(["twn_ratio", "ste", "plateau_patience"])


def test_every_condition_names_options_and_choices_that_exist() -> None:
    for known in OPTIONS.values():
        for other, values in known.only.items():
            assert values
            assert set(values) <= set(OPTIONS[other].choices)


def test_twn_clips_no_network_that_is_not_built_in() -> None:
    given = {"arch": "<Net>"}
    assert recipe_of(given).ste == recipe_of({}, "own").ste == "identity"
    assert recipe_of({**given, "quantizer": "twn"}, "paper").ste == "identity"
    assert recipe_of({**given, "ste": "open"}).ste == "open"
    assert recipe_of({**given, "quantizer": "delta"}).ste == "closed"
    assert recipe_of({}).ste == recipe_of({"quantizer": "twn"}).ste == "closed"
    assert recipe_of({}, start=Recipe(arch="<Net>", quantizer="twn")).ste == "closed"


def test_a_run_goes_on_by_no_other_preset() -> None:
    begun = recipe_of({"delta": 0.05}, "quick")
    for name, message in (
        ("quick", r"--delta: expected 0\.05, found 0\.03: leave --preset out"),
        ("paper", r"--train-images: expected 10000, found None"),
        ("own", "another recipe"),
    ):
        with pytest.raises(TernzipError, match=f"--preset {name}: cannot resume with .*{message}"):
            recipe_of({}, name, start=begun)
    assert recipe_of({"delta": 0.05, "epochs": 20}, "quick", start=begun).epochs == 20
    assert recipe_of({}, "own", start=Recipe().with_options(PRESETS["own"])).ste == "closed"


def test_images_are_not_mirrored_without_augmentation() -> None:
    with pytest.raises(TernzipError, match="--mirror: not used with --no-augment"):
        recipe_of({"mirror": True, "augment": False})
    recipe_of({"mirror": False, "augment": False})
