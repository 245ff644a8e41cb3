"""`ternzip.training.trainer` on a data set of a few dozen images: what is written, stopped and refused."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("lightning")

import lightning.pytorch as lightning
from training_fixtures import WARNINGS, digits_like, weights

import ternzip
from ternzip import TernzipError
from ternzip.training import trainer as training
from ternzip.training.batches import ImageBatches
from ternzip.training.callbacks import LiveBar, TernaryCallback
from ternzip.training.catalog import DATASETS, IMAGENET_MEAN
from ternzip.training.datasets import open_dataset
from ternzip.training.evaluation import evaluate, usable_device
from ternzip.training.feeds import ImageFeed
from ternzip.training.images import Dataset, Split
from ternzip.training.learner import Learner, image_learner, lr_factor
from ternzip.training.network import frozen_modules, restore
from ternzip.training.recipe import Recipe
from ternzip.training.runs import read_run_checkpoint, read_run_folder
from ternzip.training.sizes import project, stored_sizes

pytestmark = WARNINGS


def test_a_run_leaves_its_files_and_says_what_they_are(recipe: Recipe, tmp_path: Path) -> None:
    result = training.train(recipe, tmp_path)
    assert result is not None
    names = {path.name for path in tmp_path.iterdir()}
    assert names >= {"best.ckpt", "last.ckpt", "best.tnz", "last.tnz", "result.json", "csv", "tensorboard"}
    assert json.loads((tmp_path / "result.json").read_text()) == dataclasses.asdict(result)
    assert list((tmp_path / "tensorboard").rglob("events*"))

    last = result.last
    assert last.epoch == 2
    assert last.weights == 784 * 100 + 100 * 100 + 100 * 10
    assert last.file == (tmp_path / "last.tnz").stat().st_size
    assert last.predicted > 0
    assert last.ternary <= last.predicted * 1.001 + 3 * 32
    assert result.best.accuracy >= last.accuracy

    restored = ternzip.load_file(tmp_path / "last.tnz")
    assert restored["fc1.weight"].unique().tolist() == [-1, 0, 1]
    counts = ternzip.count_symbols([restored[f"fc{i}.weight"] for i in (1, 2, 3)])
    assert (counts.sparsity, counts.entropy) == pytest.approx((last.sparsity, last.entropy))

    run = read_run_folder(tmp_path)
    assert sorted(run.epochs) == [1, 2]
    assert run.epochs[2]["accuracy"] == pytest.approx(last.accuracy)
    assert run.epochs[2]["sparsity"] == pytest.approx(last.sparsity, abs=1e-6)
    assert run.epochs[2]["delta"] == pytest.approx(0.02 + 0.004 * np.log(2))
    # The entropy says what an order-0 coder takes; the codecs that adapt do better, never worse.
    assert 0.8 * run.epochs[2]["projected_bytes"] < last.file < 1.01 * run.epochs[2]["projected_bytes"]

    for log in ("csv", "tensorboard"):
        written = (tmp_path / log / "version_0" / "hparams.yaml").read_text()
        assert "arch: fc3\n" in written
        assert "skip: []\n" in written

    for file in ("last.tnz", "last.ckpt"):
        score = evaluate(tmp_path / file, recipe)
        assert score.images == 40
        assert score.accuracy == pytest.approx(last.accuracy)


def test_a_terminal_gets_a_live_bar(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, str]] = []
    titles: set[str] = set()
    original = LiveBar.get_metrics

    def get_metrics(self: LiveBar, trainer: object, module: object) -> dict[str, str]:
        shown.append(original(self, trainer, module))
        titles.add(self.progress.tasks[self.train_progress_bar_id].description.strip())
        return shown[-1]

    monkeypatch.setattr(training, "_stderr_is_terminal", lambda: True)
    monkeypatch.setattr(LiveBar, "get_metrics", get_metrics)
    training.train(recipe, tmp_path)
    assert list(shown[-1]) == ["loss"]  # as much as a line of 80 columns has room for
    assert float(shown[-1]["loss"]) > 0
    assert titles == {"Epoch 1/2", "Epoch 2/2"}  # counted as in the lines above it


def test_nan_stops_and_keeps_the_last_good_checkpoint(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = Learner.forward

    def poisoned(self: Learner, images: torch.Tensor) -> torch.Tensor:
        return forward(self, images) * (float("nan") if self.training and self.current_epoch == 1 else 1.0)

    monkeypatch.setattr(Learner, "forward", poisoned)
    with pytest.raises(TernzipError, match="loss is nan in epoch 2, step 1: training stopped; the last good"):
        training.train(recipe, tmp_path)
    assert read_run_checkpoint(tmp_path / "last.ckpt").epoch == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"devices": "none"}, "--devices none --strategy auto.*: .*int > 0"),
        ({"accelerator": "hpu"}, "--accelerator hpu"),
        ({"strategy": "foo"}, "--strategy foo.*: .*invalid strategy name"),
    ],
)
def test_devices_that_are_not_there(
    recipe: Recipe, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(TernzipError, match=message):
        training.train(recipe.with_options(options), tmp_path)


def test_a_collapsed_training_stops(recipe: Recipe, tmp_path: Path) -> None:
    # In the second epoch Delta is beyond all weights.
    options = {
        "delta": 0.001,
        "growth": "square",
        "multiplier": 30.0,
        "lr": 1e-6,
        "batch_size": 2,
        "dropout": 0.0,
    }
    many = recipe.with_options({**options, "train_images": 84})
    with pytest.raises(TernzipError, match="collapsed: no latent weight has had a gradient for 20 steps"):
        training.train(many, tmp_path / "many")
    few = recipe.with_options({**options, "train_images": 30})
    with pytest.raises(TernzipError, match="collapsed: the weights of all ternary layers are all zero"):
        training.train(few, tmp_path / "few")


def test_a_delta_beyond_all_weights_is_refused_before_the_first_epoch(recipe: Recipe, tmp_path: Path) -> None:
    """As the paper's 0.1 is for wide linear layers in torch's own initialization, which collapsed an epoch later."""
    with pytest.raises(
        TernzipError,
        match=r"--delta 0\.2: all weights of fc3 are zero at the start, .* take --delta 0\.02 or less",
    ):
        training.train(recipe.with_options({"delta": 0.2}), tmp_path)
    assert not (tmp_path / "last.ckpt").exists()
    learner = image_learner(recipe.with_options({"delta": 0.2, "carry_on": True}), digits_like())
    assert all(count.zero == count.total for count in ternzip.count_layers(learner.model).values())


def test_a_last_layer_that_gets_nothing_but_rounding_has_collapsed_too(
    recipe: Recipe, tmp_path: Path
) -> None:
    """The first layer has weights beyond Delta, so not all is zero; the others have none, so nothing reaches it."""
    options = {"growth": "fixed", "delta": 0.11, "batch_size": 4, "dropout": 0.0, "epochs": 1}
    wide = recipe.with_options({**options, "dataset": "digits", "train_images": 100})
    pytest.importorskip("sklearn")
    with pytest.raises(TernzipError, match="collapsed: no latent weight has had a gradient for 20 steps"):
        training.train(wide, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("quantizer", ["none", "binary", "twn", "ttq", "ec2t"])
def test_every_quantizer_trains(recipe: Recipe, tmp_path: Path, quantizer: str) -> None:
    recipe = recipe.with_options(
        {"quantizer": quantizer, "epochs": 1, "clip_norm": 1.0, "clip_value": 0.5, "rebuild_adam": True}
    )
    result = training.train(recipe, tmp_path)
    assert result is not None
    assert result.last.weights == (0 if quantizer == "none" else 89_400)


def test_mixed_precision_over_two_steps_of_signed_activations(recipe: Recipe, tmp_path: Path) -> None:
    options = {"precision": "bf16-mixed", "signed_activations": True, "train_images": 64, "activation": "elu"}
    result = training.train(recipe.with_options(options), tmp_path)
    assert result is not None
    assert weights(tmp_path)["model.fc1.parametrizations.weight.original"].dtype == torch.float32


def test_early_stopping_waits_for_delta(recipe: Recipe, tmp_path: Path) -> None:
    # Nothing but Delta ever moves: it stands still from epoch 3 on, which is the best so far; epoch 4 is no better.
    options = {
        "epochs": 9,
        "lr": 0.0,
        "frozen_norm": True,
        "early_stopping": 1,
        "growth": "linear",
        "max_delta": 0.03,
        "multiplier": 0.2,
    }
    training.train(recipe.with_options(options), tmp_path)
    assert sorted(read_run_folder(tmp_path).epochs) == [1, 2, 3, 4]


def learner(recipe: Recipe) -> Learner:
    split = Split(torch.zeros(4, 3, 32, 32, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64))
    return image_learner(recipe, Dataset(DATASETS["cifar10"], split, split))


def test_transfer_starts_from_a_checkpoint_and_freezes_it(recipe: Recipe, tmp_path: Path) -> None:
    start = ternzip.models.fc3(hidden=100)
    torch.save({"state_dict": {f"module.{k}": v for k, v in start.state_dict().items()}}, tmp_path / "fp.pt")
    recipe = recipe.with_options({"init": str(tmp_path / "fp.pt"), "freeze": ["fc1"], "epochs": 1})
    training.train(recipe.with_options({"unfreeze_epoch": 9}), tmp_path / "frozen")
    training.train(recipe.with_options({"unfreeze_epoch": 1}), tmp_path / "free")
    frozen, free = weights(tmp_path / "frozen"), weights(tmp_path / "free")
    latent = "model.fc{}.parametrizations.weight.original"
    assert torch.equal(frozen[latent.format(1)], start.fc1.weight)
    assert torch.equal(frozen["model.bn1.running_mean"], start.bn1.running_mean)
    assert not torch.equal(frozen[latent.format(2)], start.fc2.weight)
    assert not torch.equal(frozen["model.bn2.running_mean"], start.bn2.running_mean)
    assert not torch.equal(free[latent.format(1)], start.fc1.weight)
    with pytest.raises(TernzipError, match=r"absent\.pt"):
        training.train(recipe.with_options({"init": "absent.pt"}), tmp_path / "absent")


def test_freezing_takes_the_norm_that_follows() -> None:
    model = ternzip.models.resnet20()
    frozen = frozen_modules(model, ("layer1.0.conv1",))
    assert frozen == [model.layer1[0].conv1, model.layer1[0].bn1]
    assert set(frozen_modules(model, ("layer2",))) == set(model.layer2.modules())
    with pytest.raises(TernzipError, match="pattern 'stem' matches no module"):
        frozen_modules(model, ("stem",))


def test_learning_rate_schedules() -> None:
    def rates(**options: object) -> list[float]:
        recipe = Recipe().with_options(options)
        return [recipe.lr * lr_factor(recipe)(t) for t in (0, 100, 101, 142, 184, 220, 499)]

    assert rates() == pytest.approx([5e-3, 5e-3, 1e-3, 5e-4, 1e-4, 1e-5, 1e-5])
    assert rates(lr_scale=0.1)[1] == pytest.approx(1e-5)
    assert rates(lr_schedule="constant") == [5e-3] * 7
    assert rates(lr_schedule="power", lr_scale=100, lr_power=2)[1] == pytest.approx(5e-3 / 4)
    assert rates(lr_schedule="exponential", lr_scale=100)[1] == pytest.approx(5e-4)


def test_width_is_for_the_papers_network_only() -> None:
    assert learner(Recipe(inflate=2)).model.conv1.weight.shape[0] == 32
    with pytest.raises(TernzipError, match="--inflate: he-resnet20 has one width"):
        learner(Recipe(arch="he-resnet20", inflate=2))


def test_colour_images_are_normalized_as_asked() -> None:
    assert learner(Recipe()).feed.mean.tolist() == pytest.approx(IMAGENET_MEAN)
    assert learner(Recipe(statistics="dataset")).feed.mean.tolist() == pytest.approx(DATASETS["cifar10"].mean)


def test_evaluate_refuses_what_does_not_fit(recipe: Recipe, tmp_path: Path) -> None:
    torch.save(ternzip.models.resnet20().state_dict(), tmp_path / "other.pt")
    with pytest.raises(TernzipError, match="tensor names do not fit FullyConnected"):
        evaluate(tmp_path / "other.pt", recipe)
    torch.save(ternzip.prepare(ternzip.models.fc3(hidden=100)).state_dict(), tmp_path / "latent.pt")
    with pytest.raises(TernzipError, match="holds latent weights"):
        evaluate(tmp_path / "latent.pt", recipe)


def test_the_callers_random_generator_is_left_alone(recipe: Recipe, tmp_path: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    training.train(recipe.with_options({"epochs": 1}), tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    for name in ("last.ckpt", "last.tnz"):
        evaluate(tmp_path / name, recipe)
        assert torch.equal(torch.get_rng_state(), before)


def test_layers_of_zeros_count(tmp_path: Path) -> None:
    """In what a run reports of its file, as in its log."""
    torch.manual_seed(0)
    model = ternzip.prepare(ternzip.models.fc3(hidden=50), "delta")
    with torch.no_grad():
        model.fc1.parametrizations["weight"].original.fill_(0.01)
    for layer in (model.fc2, model.fc3):
        layer.parametrizations["weight"].original.data.uniform_(-1, 1)
    ternzip.save_file(ternzip.ternary_state(model), tmp_path / "model.tnz")
    sizes = stored_sizes(tmp_path / "model.tnz", model)
    assert sizes.counts == sum(ternzip.count_layers(model).values(), ternzip.SymbolCounts())
    assert sizes.counts.total == 784 * 50 + 50 * 50 + 50 * 10
    assert sizes.counts.zero >= 784 * 50
    assert 0 < sizes.ternary < sizes.predicted * 1.01 + 3 * 32
    assert sizes.file == (tmp_path / "model.tnz").stat().st_size


def test_the_projection_counts_what_is_not_ternary_as_it_is() -> None:
    model = ternzip.prepare(ternzip.models.fc3(hidden=50), "delta", skip="fc3")
    others = [*model.fc3.parameters(), model.fc1.bias, model.fc2.bias]
    for norm in (model.bn1, model.bn2, model.bn3):
        others += [*norm.parameters(), *norm.buffers()]
    assert project(model).other == sum(tensor.numel() * tensor.element_size() for tensor in others)


@pytest.mark.parametrize("device", ["foo", "meta", "cuda:99"])
def test_a_device_that_is_not_there(device: str) -> None:
    with pytest.raises(TernzipError, match=f"device '{device}' cannot be used: "):
        usable_device(device)


def test_a_training_step_does_not_wait_for_the_device(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading a number off a device waits for it: neither the loss nor the gradients are read in most steps."""
    learner = image_learner(recipe, open_dataset(recipe.dataset, recipe.data))
    monkeypatch.setattr(Learner, "log", lambda *args, **kwargs: None)
    monkeypatch.setattr(Learner, "device", torch.device("cpu"))
    monkeypatch.setattr(Learner, "current_epoch", 0)
    learner.on_train_epoch_start()
    batches = iter(ImageBatches(learner.feed.dataset.train, 8, shuffle=True, padding=4, mirror=True))
    next(batches)  # an epoch's order and augmentation are sent to the device with its first batch

    def waits(*args: object) -> None:
        raise AssertionError("a number was read off the device")

    for name in ("item", "tolist", "__bool__", "__int__", "__float__"):
        monkeypatch.setattr(torch.Tensor, name, waits)
    for index in range(9):
        learner.training_step(next(batches), index)
    with pytest.raises(AssertionError, match="read off"):
        learner.training_step(next(batches), 9)


class Stream(torch.utils.data.IterableDataset):  # type: ignore[type-arg]
    """Six samples that do not say how many they are."""

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(torch.ones(6, 4))


class OwnModule(lightning.LightningModule):
    """A LightningModule of somebody's own, which notes the Delta of every step."""

    def __init__(self) -> None:
        super().__init__()
        self.model = ternzip.prepare(torch.nn.Linear(4, 4), "delta")
        self.deltas: list[float] = []

    def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
        self.deltas.append(self.model.parametrizations.weight[0].delta.item())  # type: ignore[index, union-attr]
        return self.model(batch).square().sum()  # type: ignore[no-any-return]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


@pytest.mark.parametrize(
    ("per_iteration", "steps", "deltas"),
    [
        (True, None, None),
        (True, 2, [0.03, 0.035, 0.04, 0.045]),
        (False, None, [0.03, 0.03, 0.03, 0.04, 0.04, 0.04]),
    ],
)
@pytest.mark.filterwarnings("ignore:.*train_dataloader. does not have many workers")
@pytest.mark.filterwarnings("ignore:The number of training batches")
def test_delta_per_step_takes_an_epoch_of_known_length(
    per_iteration: bool, steps: int | None, deltas: list[float] | None
) -> None:
    module = OwnModule()
    schedule = ternzip.DeltaSchedule(module, 0.02, "linear", 0.5)
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=2,
        limit_train_batches=steps,
        callbacks=[TernaryCallback(schedule, per_iteration=per_iteration)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = torch.utils.data.DataLoader(Stream(), batch_size=2)
    if deltas is None:
        with pytest.raises(TernzipError, match=r"per_iteration: .* have no length, .* limit_train_batches=N"):
            trainer.fit(module, loader)
        return
    trainer.fit(module, loader)
    assert module.deltas == pytest.approx(deltas)


class Killed(lightning.Callback):
    """Writes a checkpoint after a step, and ends the training there."""

    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)
            raise KeyError("killed")


@pytest.mark.filterwarnings("ignore:.*train_dataloader. does not have many workers")
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
def test_a_run_that_goes_on_within_an_epoch_knows_its_delta(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "accelerator": "cpu",
        "max_epochs": 2,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    loader = torch.utils.data.DataLoader(torch.ones(6, 4), batch_size=2)
    found = []
    for kill, start in ((5, None), (0, tmp_path / "middle.ckpt")):
        module = OwnModule()
        schedule = ternzip.DeltaSchedule(module, 0.02, "linear", 0.5)
        callbacks = [TernaryCallback(schedule), Killed(kill, tmp_path / "middle.ckpt")]
        trainer = lightning.Trainer(callbacks=callbacks, **options)
        with pytest.raises(KeyError, match="killed") if kill else nullcontext():
            trainer.fit(module, loader, ckpt_path=start)
        found.append((len(module.deltas), module.deltas[-1], schedule.delta))
    assert found == [(5, 0.04, 0.04), (1, 0.04, 0.04)]


def test_ternary_activations_are_in_the_file_and_in_what_reads_it(recipe: Recipe, tmp_path: Path) -> None:
    recipe = dataclasses.replace(recipe, ternary_activations=True)
    result = training.train(recipe, tmp_path)
    assert result is not None
    scales = [name for name in ternzip.load_file(result.path) if name.endswith("log_scale")]
    assert [name.split(".")[0] for name in scales] == ["fc2", "fc3"]
    for file in ("last.tnz", "last.ckpt"):
        assert evaluate(tmp_path / file, recipe).accuracy == pytest.approx(result.last.accuracy)


def test_scales_of_activations_come_from_the_first_batch_and_nothing_else_is_changed(recipe: Recipe) -> None:
    recipe = dataclasses.replace(recipe, ternary_activations=True)
    learner = image_learner(recipe, open_dataset(recipe.dataset, recipe.data))
    before = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
    modes = [module.training for module in learner.modules()]
    drawn = torch.get_rng_state()
    learner.calibrate()
    assert torch.equal(torch.get_rng_state(), drawn)
    assert [module.training for module in learner.modules()] == modes
    after = learner.state_dict()
    scales = {name for name in after if name.endswith("log_scale")}
    assert len(scales) == 2
    assert all(before[name].isnan() and after[name].isfinite() for name in scales)
    assert all(torch.equal(after[name], before[name]) for name in after.keys() - scales)
    found = {name: after[name].clone() for name in scales}
    learner.calibrate()
    assert all(torch.equal(learner.state_dict()[name], found[name]) for name in scales)


def test_norms_of_the_stored_networks_are_those_of_their_weights(recipe: Recipe, tmp_path: Path) -> None:
    """By the first batches of the epoch, without its dropout."""
    recipe = recipe.with_options({"norm_batches": 2})
    result = training.train(recipe, tmp_path / "anew")
    assert result is not None
    network = restore(read_run_checkpoint(tmp_path / "anew" / "last.ckpt"), "last.ckpt").eval()
    found = {name: value.clone() for name, value in network.named_buffers() if "running" in name}
    feed = ImageFeed(recipe, open_dataset(recipe.dataset, recipe.data))
    batches = itertools.islice(feed.batches(True, 1, 0, 1), 2)
    outputs = torch.cat([feed.arguments(batch, torch.float32)[0][0] for batch in batches])
    seen: list[torch.Tensor] = []
    first = next(module for module in network.modules() if isinstance(module, torch.nn.BatchNorm1d))
    first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        network(outputs)
    name = next(name for name in found if name.endswith("running_mean"))
    torch.testing.assert_close(found[name], seen[0].mean(0), rtol=1e-4, atol=1e-5)
    assert evaluate(tmp_path / "anew" / "last.tnz", recipe).accuracy == pytest.approx(result.last.accuracy)

    training.train(recipe.with_options({"norm_batches": None}), tmp_path / "running")
    running, anew = weights(tmp_path / "running"), weights(tmp_path / "anew")
    assert all(torch.equal(running[n], anew[n]) for n in anew if n.endswith("original"))  # trains as it did
    assert not torch.equal(running[f"model.{name}"], anew[f"model.{name}"])


def test_norms_that_are_frozen_or_not_there_are_not_estimated(recipe: Recipe, tmp_path: Path) -> None:
    options = {"norm_batches": 1, "freeze": ("fc1",), "epochs": 1, "train_images": 64}
    training.train(recipe.with_options(options), tmp_path / "run")
    counts = [v for n, v in weights(tmp_path / "run").items() if n.endswith("num_batches_tracked")]
    assert [int(count) for count in counts] == [0, 1, 1]
    with pytest.raises(TernzipError, match="--norm-batches: not used with --frozen-norm"):
        recipe.with_options({"norm_batches": 2, "frozen_norm": True}).check_used(["norm_batches"])
    plain = recipe.with_options({"norm_batches": 1, "quantizer": "none"})
    with pytest.raises(TernzipError, match="--norm-batches: expected a network with batch norm, found none"):
        Learner(plain, torch.nn.Linear(4, 4), ImageFeed(recipe, digits_like()))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="gloo over subprocesses")
def test_two_processes_train_as_one(data: str, tmp_path: Path) -> None:
    """Batch norm in evaluation mode, so that its statistics do not depend on who sees which images.

    In double precision: Adam divides by gradients that are zero but for rounding.
    """
    options = {"epochs": 1, "batch_size": 32, "test_images": 39, "delta": 0.02, "multiplier": 0.2}
    both = {
        "arch": "fc3",
        "dataset": "mnist",
        "data": data,
        "accelerator": "cpu",
        "precision": "64",
        **options,
    }
    training.train(Recipe(**both, frozen_norm=True, ternary_activations=True), tmp_path / "one")

    # The command itself, as a launcher of processes must be able to run it again.
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in both.items()]
    flags += ["--frozen-norm", "--ternary-activations"]
    ddp = ("--devices", "2", "--strategy", "ddp", "--out", str(tmp_path / "two"))
    done = subprocess.run(
        [sys.executable, "-m", "ternzip", "train", *flags, *ddp],
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("images of 1x28x28") == 1  # told once, however many processes
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-6, atol=1e-6)
    first, second = (read_run_folder(tmp_path / name).epochs[1] for name in ("one", "two"))
    assert second["accuracy"] == pytest.approx(first["accuracy"], abs=1e-6)
    assert second["sparsity"] == pytest.approx(first["sparsity"])


def test_learned_levels_have_their_own_rate_and_no_decay() -> None:
    recipe = Recipe(quantizer="ttq", levels_lr=1e-5, weight_decay=0.1)
    rest, levels = learner(recipe).configure_optimizers()["optimizer"].param_groups
    assert (rest["lr"], rest["weight_decay"]) == (recipe.lr, 0.1)
    assert (levels["lr"], levels["weight_decay"]) == (1e-5, 0.0)
    assert len(levels["params"]) == 2 * 16


def test_ec2ts_strength_is_a_share() -> None:
    with pytest.raises(TernzipError, match=r"--ec2t-strength: expected a number in \[0, 1\), found 1.5"):
        Recipe(quantizer="ec2t", ec2t_strength=1.5)
