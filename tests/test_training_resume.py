"""Folders of runs: resumed, forced, moved, damaged."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch

pytest.importorskip("lightning")

from training_fixtures import WARNINGS, digits_like, weights

from ternzip import TernzipError
from ternzip.training import trainer as training
from ternzip.training.evaluation import evaluate
from ternzip.training.learner import Learner, image_learner
from ternzip.training.recipe import Recipe
from ternzip.training.runs import ACCURACY_KEY, EPOCHS_KEY, RECIPE_KEY, read_run_folder

pytestmark = WARNINGS


@pytest.mark.slow
@pytest.mark.parametrize("quick", [False, True])
def test_resuming_gives_the_numbers_of_the_whole_run(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: bool
) -> None:
    options = {"epochs": 3, "lr_schedule": "plateau", "early_stopping": 9, "delta_updates": "iteration"}
    # The last batch is smaller.
    both = {"ternary_activations": quick, "norm_batches": 2 if quick else None}
    recipe = recipe.with_options({**options, **both, "fast": quick, "train_images": 90})
    training.train(recipe, tmp_path / "whole")

    # Killed in the middle of the third epoch.
    step = Learner.training_step

    def killed(self: Learner, batch: object, index: int) -> torch.Tensor:
        if (self.current_epoch, index) == (2, 1):
            raise RuntimeError("killed")
        return step(self, batch, index)

    monkeypatch.setattr(Learner, "training_step", killed)
    with pytest.raises(RuntimeError, match="killed"):
        training.train(recipe, tmp_path / "parts")
    monkeypatch.setattr(Learner, "training_step", step)
    torch.compiler.reset()  # the second process compiles anew
    result = training.train(recipe, tmp_path / "parts", resume=True)
    assert result is not None
    assert result.last.epoch == 3
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    first, second = (read_run_folder(tmp_path / name).epochs for name in ("whole", "parts"))
    for epoch in (1, 2, 3):
        assert {**first[epoch], "seconds": 0} == {**second[epoch], "seconds": 0}


def test_a_folder_that_holds_a_run_is_not_overwritten(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_bytes(b"")
    with pytest.raises(TernzipError, match="holds a run already: --resume it, --force"):
        training.train(recipe, tmp_path)


def test_resume_needs_the_same_recipe(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(TernzipError, match="nothing to resume"):
        training.train(recipe, tmp_path, resume=True)
    kept = {"state_dict": {}, "epoch": 0, ACCURACY_KEY: 0.5, EPOCHS_KEY: {}}
    torch.save({RECIPE_KEY: dataclasses.asdict(recipe), **kept}, tmp_path / "last.ckpt")
    other = recipe.with_options({"delta": 0.03, "seed": 4})
    with pytest.raises(
        TernzipError, match=r"another configuration: delta: expected 0\.02, found 0\.03 \(and 1 more"
    ):
        training.train(other, tmp_path, resume=True)
    torch.save({"weight": torch.zeros(2)}, tmp_path / "last.ckpt")
    with pytest.raises(TernzipError, match="not a checkpoint of ternzip train"):
        training.train(recipe, tmp_path, resume=True)
    (tmp_path / "last.ckpt").write_bytes(b"nonsense")
    with pytest.raises(TernzipError, match="not a readable checkpoint"):
        training.train(recipe, tmp_path, resume=True)


def test_a_forced_run_is_the_new_one_alone(recipe: Recipe, tmp_path: Path) -> None:
    """In the folder of a longer one, whose logs and results must not be taken for its own."""
    training.train(recipe.with_options({"epochs": 3}), tmp_path)
    before = read_run_folder(tmp_path).epochs
    training.train(recipe.with_options({"epochs": 2, "quantizer": "none"}), tmp_path, force=True)
    run = read_run_folder(tmp_path)
    assert sorted(run.epochs) == [1, 2]
    assert "delta" in before[1]
    assert "delta" not in run.epochs[1]


def test_a_forced_run_that_breaks_off_leaves_no_result_of_the_old_one(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("best.ckpt", "last.ckpt", "best.tnz", "last.tnz", "result.json", "notes.txt"):
        (tmp_path / name).write_bytes(b"old")

    def killed(self: Learner, batch: object, index: int) -> torch.Tensor:
        raise RuntimeError("killed")

    monkeypatch.setattr(Learner, "training_step", killed)
    with pytest.raises(TernzipError, match="--accelerator hpu"):  # nothing is gone before training can start
        training.train(recipe.with_options({"accelerator": "hpu"}), tmp_path, force=True)
    assert (tmp_path / "result.json").exists()
    with pytest.raises(RuntimeError, match="killed"):
        training.train(recipe, tmp_path, force=True)
    assert {path.name for path in tmp_path.iterdir()} == {"csv", "tensorboard", "notes.txt", "run.lock"}


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_the_best_epoch_is_remembered_in_a_folder_that_was_moved(recipe: Recipe, tmp_path: Path) -> None:
    """Nothing moves but the folder: all epochs are equally good, and the first of equals is the best."""
    still = recipe.with_options({"epochs": 1, "lr": 0.0, "frozen_norm": True, "growth": "fixed"})
    training.train(still, tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    result = training.train(still.with_options({"epochs": 3}), tmp_path / "there", resume=True)
    assert result is not None
    assert (result.best.epoch, result.last.epoch) == (1, 3)
    assert not (tmp_path / "here").exists()


def test_resume_needs_the_best_epoch_too(recipe: Recipe, tmp_path: Path) -> None:
    """No later epoch may be better, and the run would end without what it promises."""
    training.train(recipe.with_options({"epochs": 1}), tmp_path)
    (tmp_path / "best.ckpt").unlink()
    before = {path: path.stat() for path in tmp_path.iterdir()}
    with pytest.raises(TernzipError, match=r"best\.ckpt: cannot resume without the best epoch's checkpoint"):
        training.train(recipe.with_options({"epochs": 2}), tmp_path, resume=True)
    assert before == {path: path.stat() for path in tmp_path.iterdir()}


def test_a_run_is_read_from_its_checkpoint_alone(recipe: Recipe, tmp_path: Path) -> None:
    """Logs are flushed now and then, and say more or less than what the weights have come to."""
    training.train(recipe, tmp_path)
    before = read_run_folder(tmp_path).epochs
    assert before[2]["seconds"] > 0
    shutil.rmtree(tmp_path / "csv")
    assert read_run_folder(tmp_path).epochs == before


def test_a_checkpoint_is_replaced_whole_or_not_at_all(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training.train(recipe.with_options({"epochs": 1}), tmp_path)
    before = (tmp_path / "last.ckpt").read_bytes()

    def killed(checkpoint: object, path: Path) -> None:
        assert Path(path).parent == tmp_path  # from another disk it would have to be copied
        Path(path).write_bytes(before[:100])
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", killed)
        with pytest.raises(RuntimeError, match="killed"):
            training.train(recipe, tmp_path, resume=True)
    assert (tmp_path / "last.ckpt").read_bytes() == before
    result = training.train(recipe, tmp_path, resume=True)
    assert result is not None
    assert result.last.epoch == 2


def test_resume_needs_as_many_epochs_as_are_done(recipe: Recipe, tmp_path: Path) -> None:
    training.train(recipe, tmp_path)
    shorter = recipe.with_options({"epochs": 1})
    with pytest.raises(TernzipError, match="2 epochs are done: expected --epochs 2 or more, found 1"):
        training.train(shorter, tmp_path, resume=True)
    assert training.train(recipe, tmp_path, resume=True) is not None  # nothing to do is no error


def test_a_checkpoint_that_does_not_fit_its_recipe(recipe: Recipe, tmp_path: Path) -> None:
    training.train(recipe.with_options({"epochs": 1}), tmp_path)
    loaded = torch.load(tmp_path / "last.ckpt", weights_only=True)
    del loaded["state_dict"]["model.fc1.bias"]
    torch.save(loaded, tmp_path / "cut.ckpt")
    with pytest.raises(TernzipError, match=r"cut\.ckpt: does not fit its own recipe: .*model|fc1\.bias"):
        evaluate(tmp_path / "cut.ckpt", recipe)
    del loaded["epoch"]
    torch.save(loaded, tmp_path / "cut.ckpt")
    with pytest.raises(TernzipError, match=r"cut\.ckpt: not a whole checkpoint of ternzip train: no 'epoch'"):
        evaluate(tmp_path / "cut.ckpt", recipe)


def test_a_rate_that_waits_for_progress_waits_as_long_in_a_run_that_goes_on(
    recipe: Recipe, tmp_path: Path
) -> None:
    """Nothing moves: no epoch is better than the first."""
    recipe = recipe.with_options(
        {"lr": 0.0, "frozen_norm": True, "quantizer": "twn", "lr_schedule": "plateau"}
    )
    training.train(recipe.with_options({"epochs": 4}), tmp_path / "whole")
    training.train(recipe, tmp_path / "parts")
    training.train(recipe.with_options({"epochs": 4}), tmp_path / "parts", resume=True)
    whole, parts = (
        torch.load(tmp_path / name / "last.ckpt", weights_only=True)["ternzip_plateau"]
        for name in ("whole", "parts")
    )
    assert whole["num_bad_epochs"] == parts["num_bad_epochs"] == 3
    assert whole == parts


def test_a_run_that_has_stopped_early_stays_as_it_is(recipe: Recipe, tmp_path: Path) -> None:
    still = recipe.with_options({"lr": 0.0, "frozen_norm": True, "quantizer": "twn", "early_stopping": 1})
    still = still.with_options({"epochs": 5})
    assert training.train(still, tmp_path) == training.train(still, tmp_path, resume=True)
    assert sorted(read_run_folder(tmp_path).epochs) == [1, 2]


def test_one_run_at_a_time_trains_in_a_folder(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fcntl")
    step, refused = Learner.training_step, []

    def second(self: Learner, batch: object, index: int) -> torch.Tensor:
        for options in ({}, {"force": True}, {"resume": True}):
            if options != {"resume": True} or (tmp_path / "last.ckpt").exists():
                with pytest.raises(TernzipError, match=r"another run is training in it: wait for its end or"):
                    training.train(recipe, tmp_path, **options)
                refused.append(options)
        return step(self, batch, index)

    monkeypatch.setattr(Learner, "training_step", second)
    assert training.train(recipe, tmp_path) is not None
    assert {"resume": True} in refused
    monkeypatch.setattr(Learner, "training_step", step)
    assert training.train(recipe, tmp_path, force=True) is not None


def test_nothing_to_resume_makes_no_folder(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(TernzipError, match="nothing to resume"):
        training.train(recipe, tmp_path / "run", resume=True)
    assert not (tmp_path / "run").exists()


def test_norms_may_be_folded_by_a_run_that_goes_on(recipe: Recipe, tmp_path: Path) -> None:
    before = training.train(recipe, tmp_path)
    folded = training.train(recipe.with_options({"fold_norms": True}), tmp_path, resume=True)
    assert before is not None
    assert folded is not None
    assert folded.best.file < before.best.file
    assert folded.last.file < before.last.file


def test_a_run_goes_on_or_starts_anew(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(TernzipError, match="--force starts anew and --resume goes on: expected one of them"):
        training.train(recipe, tmp_path, resume=True, force=True)


def test_a_run_goes_on_without_the_file_that_it_began_with(recipe: Recipe, tmp_path: Path) -> None:
    """Whose weights were so large that a Delta beyond fresh ones suited them."""
    start = image_learner(recipe.with_options({"quantizer": "none"}), digits_like()).model.state_dict()
    torch.save({name: tensor * 10 for name, tensor in start.items()}, tmp_path / "start.pt")
    begun = recipe.with_options({"init": str(tmp_path / "start.pt"), "delta": 0.2, "growth": "fixed"})
    training.train(begun, tmp_path / "whole")
    training.train(begun.with_options({"epochs": 1}), tmp_path / "parts")
    (tmp_path / "start.pt").unlink()
    training.train(begun, tmp_path / "parts", resume=True)
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
