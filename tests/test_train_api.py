"""ternzip.train: models and samples of one's own, and what the command does."""

from __future__ import annotations

import copy
import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

pytest.importorskip("lightning")

import ternzip
from ternzip import TernzipError
from ternzip.training.evaluation import evaluate
from ternzip.training.learner import Learner
from ternzip.training.objective import right
from ternzip.training.recipe import Recipe
from ternzip.training.runs import read_run_checkpoint
from ternzip.training.sizes import project

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning:lightning.*"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The `srun` command"),
]

SHORT: dict[str, Any] = {"epochs": 2, "batch_size": 16, "accelerator": "cpu"}


def samples(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images of 8 x 8 in four classes, told apart by their brightness."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (count,), generator=generator)
    return torch.randn(count, 1, 8, 8, generator=generator) + labels[:, None, None, None], labels


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.1), nn.Flatten(), nn.Linear(288, 4)
    )


def test_a_model_is_trained_and_holds_what_its_file_holds(tmp_path: Path) -> None:
    model = network()
    before = torch.get_rng_state()
    result = ternzip.train(model, samples(64), samples(20, 1), out=tmp_path, skip="5", **SHORT)
    assert result is not None
    assert torch.equal(torch.get_rng_state(), before)
    assert type(model) is nn.Sequential
    assert model[0].weight.unique().numel() == 3
    assert model[5].weight.unique().numel() > 3
    stored = ternzip.load_file(result.path)
    assert all(torch.equal(tensor, stored[name]) for name, tensor in model.state_dict().items())
    assert result.path == tmp_path / "last.tnz"
    assert result.best.accuracy is not None
    assert [entry["epoch"] for entry in result.history] == [1, 2]
    assert {"test_loss", "accuracy", "sparsity", "entropy", "loss_epoch"} <= set(result.history[0])
    assert result.last.loss == result.history[1]["test_loss"]
    assert json.loads((tmp_path / "result.json").read_text())["history"] == result.history
    model.eval()
    images, labels = samples(20, 1)
    assert (model(images).argmax(1) == labels).float().mean() == pytest.approx(result.last.accuracy)
    assert F.cross_entropy(model(images), labels).item() == pytest.approx(result.last.loss, rel=1e-5)


def test_a_model_in_evaluation_mode_is_trained_in_training_mode(tmp_path: Path) -> None:
    states = []
    for name in ("training", "evaluation"):
        model = network().train(name == "training")
        ternzip.train(model, samples(64), samples(20, 1), out=tmp_path / name, **SHORT)
        assert model.training == (name == "training")
        states.append(model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_model_is_trained_with_ternary_activations(tmp_path: Path) -> None:
    model = network()
    result = ternzip.train(
        model, samples(64), samples(20, 1), out=tmp_path, ternary_activations=True, **SHORT
    )
    assert result is not None
    images, labels = samples(20, 1)
    assert (model.eval()(images).argmax(1) == labels).float().mean() == pytest.approx(result.last.accuracy)
    again = ternzip.load_model(network(), result.path).eval()
    assert torch.equal(again(images), model(images))
    assert again[5].get_submodule("input_quantizer").scale > 0


def test_datasets_and_tensors_give_the_same_numbers_and_loaders_their_own_batches(tmp_path: Path) -> None:
    train, test = samples(50), samples(20, 1)
    states = []
    for name, given in (("tensors", train), ("dataset", TensorDataset(*train))):
        model = network()
        ternzip.train(model, given, TensorDataset(*test), out=tmp_path / name, **SHORT)
        states.append(model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    seen = []
    loader = DataLoader(
        TensorDataset(*train), batch_size=7, collate_fn=lambda batch: seen.append(len(batch)) or batch
    )
    with pytest.raises(TernzipError, match=r"expected batches of \(inputs, targets\)|expected targets"):
        ternzip.train(network(), loader, test, out=tmp_path / "loader", **SHORT)
    assert seen == [7] or seen[0] == 7
    loader = DataLoader(TensorDataset(*train), batch_size=7, shuffle=True)
    assert ternzip.train(network(), loader, test, out=tmp_path / "loader", force=True, **SHORT) is not None


def test_resuming_gives_the_numbers_of_the_whole_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = DataLoader(TensorDataset(*samples(48)), batch_size=16, shuffle=True)
    for train in (samples(48), loader):
        whole, parts = network(), network()
        out = tmp_path / type(train).__name__
        ternzip.train(whole, train, samples(20, 1), out=out / "whole", quantizer="delta", delta=0.02, **SHORT)
        step = Learner.training_step

        def killed(self: Learner, batch: Any, index: int, step: Any = step) -> Tensor:
            if (self.current_epoch, index) == (1, 1):
                raise RuntimeError("killed")
            return step(self, batch, index)

        initial = {name: tensor.clone() for name, tensor in parts.state_dict().items()}
        with monkeypatch.context() as patch:
            patch.setattr(Learner, "training_step", killed)
            with pytest.raises(RuntimeError, match="killed"):
                ternzip.train(
                    parts, train, samples(20, 1), out=out / "parts", quantizer="delta", delta=0.02, **SHORT
                )
        assert all(torch.equal(tensor, initial[name]) for name, tensor in parts.state_dict().items())
        ternzip.train(parts, train, samples(20, 1), out=out / "parts", resume=True)
        state = parts.state_dict()
        assert all(torch.equal(tensor, state[name]) for name, tensor in whole.state_dict().items())


def test_another_task_has_its_own_loss_and_its_best_epoch_is_of_the_least(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs, more = torch.randn(2, 64, 5, generator=generator)
    targets = inputs @ torch.randn(5, 2, generator=generator)

    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(5, 2)

        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            return self.layer(first + 0 * second)

    data = (inputs, more, targets)
    result = ternzip.train(
        Sum(), data, data, out=tmp_path, loss=nn.MSELoss(), **{**SHORT, "epochs": 3, "lr": 0.05}
    )
    assert result is not None
    assert result.best.accuracy is None
    losses = [entry["test_loss"] for entry in result.history]
    assert result.best.loss == min(losses)
    assert "accuracy" not in result.history[0]
    assert read_run_checkpoint(tmp_path / "best.ckpt").accuracy is None
    with ternzip.safe_open(result.path) as file:
        assert "arch" not in file.metadata()


def test_a_test_loss_that_is_no_number_is_null_in_the_results_file(tmp_path: Path) -> None:
    data = torch.randn(32, 5), torch.randn(32, 2)
    broken = data[0], data[1].index_fill(0, torch.tensor([3]), torch.nan)
    result = ternzip.train(nn.Linear(5, 2), data, broken, out=tmp_path, loss=nn.MSELoss(), **SHORT)
    assert result is not None
    assert math.isnan(result.history[0]["test_loss"])

    def no_number(word: str) -> None:
        pytest.fail(f"found {word} in result.json")

    told = json.loads((tmp_path / "result.json").read_text(), parse_constant=no_number)
    assert [entry["test_loss"] for entry in told["history"]] == [None, None]
    assert told["history"][0]["loss_epoch"] == result.history[0]["loss_epoch"]
    assert told["best"]["loss"] is None


def test_scores_that_are_no_numbers_are_wrong(tmp_path: Path) -> None:
    """Also of samples of class 0, where argmax finds the first NaN."""
    images, _ = samples(32)
    data = images, torch.arange(32) % 4
    result = ternzip.train(network(), data, (images * torch.nan, data[1]), out=tmp_path, **SHORT)
    assert result is not None
    assert [entry["accuracy"] for entry in result.history] == [0, 0]
    scores = torch.tensor([[0.0, 1.0], [torch.nan, 1.0], [2.0, torch.inf], [1.0, torch.nan]])
    assert right(scores, torch.tensor([1, 0, 1, 1])).tolist() == [True, False, True, False]


def test_the_weights_of_a_given_model_may_be_of_any_size_and_frozen_ones_stay(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 4, bias=False), nn.Linear(4, 1, bias=False))
    with torch.no_grad():
        model[0].weight.mul_(20)
        model[1].weight.copy_(torch.tensor([[5.0, -5, 5, 0.1]]))
    inputs = torch.randn(64, 8)
    for ste, ternarizer in (("identity", ternzip.quantization.TWN()), ("closed", "delta")):
        expected = ternzip.convert(ternzip.prepare(copy.deepcopy(model), ternarizer))
        own = {} if ste == "identity" else {"quantizer": "delta"}
        trained = copy.deepcopy(model)
        data = (inputs, expected(inputs).detach())
        options: dict[str, Any] = {**SHORT, **own, "lr": 1e-3, "freeze": "0", "loss": nn.MSELoss()}
        ternzip.train(trained, data, data, out=tmp_path / ste, **options)
        assert read_run_checkpoint(tmp_path / ste / "last.ckpt").recipe.ste == ste
        assert torch.equal(trained[0].weight, expected[0].weight)
        assert torch.allclose(trained[1].weight, expected[1].weight, rtol=0.01)


def test_each_module_keeps_its_mode(tmp_path: Path) -> None:
    model = network()
    model[1].eval()
    ternzip.train(model, samples(64), samples(20, 1), out=tmp_path, **SHORT)
    assert [module.training for module in model] == [True, False, True, True, True, True]


def test_norms_without_statistics_are_not_folded_ones(tmp_path: Path) -> None:
    model = network()
    model[1] = nn.BatchNorm2d(8, track_running_stats=False)
    with torch.no_grad():
        model[1].weight.mul_(2)
    torch.save(model.state_dict(), tmp_path / "start.pt")
    options = {**SHORT, "init": str(tmp_path / "start.pt")}
    assert ternzip.train(model, samples(64), samples(20, 1), out=tmp_path / "run", **options) is not None


class Noisy(Dataset):  # type: ignore[type-arg]
    """Draws from the generators of Python and numpy."""

    def __len__(self) -> int:
        return 32

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        noise = random.random() + np.random.rand()  # noqa: NPY002
        return torch.full((1, 8, 8), noise), index % 4


class Mislabelled(Noisy):
    """The first samples are of the classes that the model knows, the last is not."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return super().__getitem__(index)[0], 7 if index == 31 else index % 4


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_target_that_is_no_class_is_named_wherever_it_stands(part: str, tmp_path: Path) -> None:
    data = (Mislabelled(), Noisy()) if part == "train" else (Noisy(), Mislabelled())
    with pytest.raises(TernzipError, match="expected targets from 0 to 3, found 7"):
        ternzip.train(network(), *data, out=tmp_path, **SHORT)


def test_a_dataset_that_draws_numbers_itself_is_resumed_exactly(tmp_path: Path) -> None:
    def states() -> list[Any]:
        return [random.getstate(), str(np.random.get_state())]  # noqa: NPY002

    model, before = network(), states()
    options: dict[str, Any] = {**SHORT, "epochs": 1}
    ternzip.train(model, Noisy(), samples(20, 1), out=tmp_path / "parts", **options)
    assert states() == before
    random.seed(5)
    parts, whole = network(), network()
    ternzip.train(parts, Noisy(), samples(20, 1), out=tmp_path / "parts", resume=True, epochs=2)
    random.seed(6)
    ternzip.train(whole, Noisy(), samples(20, 1), out=tmp_path / "whole", **SHORT)
    assert all(torch.equal(tensor, whole.state_dict()[name]) for name, tensor in parts.state_dict().items())


def test_a_run_goes_on_with_its_own_network_and_task(tmp_path: Path) -> None:
    data = samples(64), samples(20, 1)
    ternzip.train(network(), *data, out=tmp_path, **{**SHORT, "epochs": 1})
    before = (tmp_path / "best.ckpt").read_bytes(), (tmp_path / "last.ckpt").read_bytes()
    shallow = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    wide = network()
    wide[0], wide[1], wide[5] = nn.Conv2d(1, 9, 3), nn.BatchNorm2d(9), nn.Linear(324, 4)
    changes: list[tuple[nn.Module, dict[str, Any], str]] = [
        (shallow, {}, "last.ckpt: cannot resume with another network: tensor names do not fit Sequential: "),
        (wide, {}, r"cannot resume with another network: tensor 0.bias: expected shape \(9,\), found \(8,\)"),
        (
            network(),
            {"accuracy": False},
            "with another task: accuracy: expected True, found False: give loss=",
        ),
        (network(), {"loss": F.cross_entropy}, "with another task: accuracy: expected True, found False"),
    ]
    for model, options, message in changes:
        with pytest.raises(TernzipError, match=message):
            ternzip.train(model, *data, out=tmp_path, resume=True, epochs=2, **options)
    assert before == ((tmp_path / "best.ckpt").read_bytes(), (tmp_path / "last.ckpt").read_bytes())
    resumed = ternzip.train(
        network(), *data, out=tmp_path, resume=True, epochs=2, loss=F.cross_entropy, accuracy=True
    )
    assert resumed is not None


class Named(nn.Module):
    """Takes a dictionary of inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, inputs: dict[str, Tensor]) -> Any:
        return self.inner(inputs["image"])


@pytest.mark.parametrize("precision", ["32", "64"])
def test_an_input_may_be_a_dictionary(precision: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {**SHORT, "precision": precision, "ternary_activations": True, "logger": "none"}
    named, plain = Named(), network()
    data = [
        [({"image": image}, label) for image, label in zip(*part, strict=True)]
        for part in (samples(64), samples(20, 1))
    ]
    ternzip.train(named, *data, out=tmp_path / "named", **options)
    ternzip.train(plain, samples(64), samples(20, 1), out=tmp_path / "plain", **options)
    assert all(
        torch.equal(tensor, named.inner.state_dict()[name]) for name, tensor in plain.state_dict().items()
    )


class Drawn(Dataset):  # type: ignore[type-arg]
    """Draws from torch's generator, as augmentation does."""

    def __len__(self) -> int:
        return 32

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.randn(1, 8, 8), index % 4


def test_a_loader_with_lasting_workers_is_resumed_exactly(tmp_path: Path) -> None:
    loader = DataLoader(Drawn(), batch_size=8, shuffle=True, num_workers=1, persistent_workers=True)
    test = DataLoader(TensorDataset(*samples(20, 1)), batch_size=8)
    options: dict[str, Any] = {"accelerator": "cpu", "logger": "none"}
    ternzip.train(network(), loader, test, out=tmp_path / "parts", epochs=1, **options)
    ternzip.train(network(), loader, test, out=tmp_path / "parts", resume=True, epochs=3)
    ternzip.train(network(), loader, test, out=tmp_path / "whole", epochs=3, **options)
    whole, parts = (read_run_checkpoint(tmp_path / name / "last.ckpt").state for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.parametrize("name", ["~/run", "a::b", "{epoch} $HOME?%41#=run"])
def test_a_folder_of_any_name_holds_its_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    options: dict[str, Any] = {**SHORT, "epochs": 1, "logger": "csv"}
    assert ternzip.train(network(), samples(64), samples(20, 1), out=name, **options) is not None
    assert ternzip.train(network(), samples(64), samples(20, 1), out=name, resume=True, epochs=2) is not None
    assert {"best.ckpt", "last.tnz", "result.json", "csv"} <= {entry.name for entry in Path(name).iterdir()}
    assert not (tmp_path / "home").exists()


def test_loaders_have_batches_of_their_own(tmp_path: Path) -> None:
    loader = DataLoader(TensorDataset(*samples(20)), batch_size=4)
    with pytest.raises(TernzipError, match="batch_size: not used with DataLoaders, which have their own"):
        ternzip.train(network(), loader, loader, out=tmp_path, **SHORT)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_double_precision_is_resumed_exactly_and_takes_inputs_of_both(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    data = [(images.to(dtype), labels) for images, labels in (samples(64), samples(20, 1))]
    double: dict[str, Any] = {**SHORT, "precision": "64", "ternary_activations": True}
    start = network().state_dict()
    torch.save(start, tmp_path / "start.pt")
    for name in ("whole", "parts"):
        epochs = 2 if name == "whole" else 1
        out, options = tmp_path / name, {**double, "epochs": epochs, "init": str(tmp_path / "start.pt")}
        ternzip.train(network(), *data, out=out, **options)
    (tmp_path / "start.pt").unlink()
    ternzip.train(network(), *data, out=tmp_path / "parts", resume=True, epochs=2)
    whole, parts = (read_run_checkpoint(tmp_path / name / "last.ckpt").state for name in ("whole", "parts"))
    assert whole["model.5.parametrizations.weight.original"].dtype == torch.float64
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


class Endless(IterableDataset):  # type: ignore[type-arg]
    def __iter__(self) -> Any:
        return iter(())


class Told(nn.Linear):
    def get_extra_state(self) -> dict[str, int]:
        return {"steps": 1}

    def set_extra_state(self, state: dict[str, int]) -> None:
        pass


class Shared(nn.Sequential):
    """Two layers whose weights are two parameters in one place."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, 64, bias=False), nn.Linear(64, 64, bias=False))
        self[2].weight.data = self[1].weight.data


class Odd(nn.Module):
    """Takes no batch of one sample."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x) < 2:
            raise ValueError("fewer than two\nsamples")
        return x


def loader(data: Dataset[Any]) -> DataLoader[Any]:
    return DataLoader(data, batch_size=16, drop_last=True)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ({"test": None}, {}, "test: expected a model, training and test samples together, found None"),
        ({"model": None}, {}, "model: expected a model, training and test samples together"),
        ({}, {"arch": "fc3"}, "arch: not used with a model of one's own"),
        ({}, {"data": "data"}, "data: not used with samples of one's own"),
        ({}, {"augment": True}, "augment: not used with samples of one's own"),
        ({}, {"dropout": 0.1}, "--dropout: not used with --arch <Sequential>, only with resnet20"),
        ({}, {"epoch": 1}, "unknown option 'epoch': expected epochs"),
        (
            {"model": ternzip.prepare(nn.Linear(64, 10))},
            {},
            "Linear: layer .* is prepared already: expected a model as it was before ternzip.prepare",
        ),
        ({}, {"delta": 0.1}, "--delta: not used with --quantizer twn, only with delta"),
        (
            {"train": Endless()},
            {},
            "train: expected a pair of tensors .*, a Dataset or a DataLoader, found Endless",
        ),
        ({"train": (torch.zeros(0, 1, 8, 8), torch.zeros(0))}, {}, "train: expected samples, found none"),
        ({"train": {0: samples(2)}}, {}, "train: expected a pair .* a Dataset or a DataLoader, found dict"),
        ({"test": "pictures"}, {}, "test: expected a pair .* a Dataset or a DataLoader, found str"),
        ({"train": loader(TensorDataset(*samples(9)))}, {}, "train: expected batches, found none"),
        ({"train": loader(Endless())}, {}, "train: expected batches, found none"),
        ({"train": loader(Endless())}, {"ternary_activations": True}, "train: expected batches, found none"),
        ({"test": loader(Endless())}, {}, "test: expected batches, found none"),
        (
            {"train": (torch.zeros(3, 1), torch.zeros(2))},
            {},
            r"train: expected tensors of as many samples each, found",
        ),
        (
            {"test": (torch.zeros(3, 1, 8, 8), torch.full((3,), 4))},
            {},
            "expected targets from 0 to 3, found 4",
        ),
        (
            {"test": (torch.zeros(3, 1, 8, 8), torch.zeros(3))},
            {},
            "of torch.float32: another task has its own loss=",
        ),
        (
            {"train": (np.zeros((9, 1, 8, 8)), np.zeros(9))},
            {},
            "train: expected a pair .* found numpy arrays",
        ),
        (
            {"test": (torch.zeros(3, 1, 8, 8), torch.zeros(3).int())},
            {},
            "whole numbers, torch.int64, .* torch.int32",
        ),
        (
            {"train": (torch.zeros(3, 1, 8, 8), torch.full((3,), 7))},
            {},
            "expected targets from 0 to 3, found 7",
        ),
        ({"train": samples(1)}, {}, "train: expected two samples or more, found 1"),
        (
            {"model": network().requires_grad_(False)},
            {},
            "loss: expected one with a gradient, found none: all parameters of the model are frozen",
        ),
        (
            {"train": (torch.zeros(9, 2, 8, 8), torch.zeros(9).long())},
            {},
            "epoch 1, training batch 1: the model or its loss does not take it: Given groups=1",
        ),
        (
            {"train": (torch.zeros(9, 1, 8, 8), torch.zeros(9))},
            {},
            "epoch 1, training batch 1: the model or its loss does not take it: expected .* Float",
        ),
        (
            {
                "test": (torch.zeros(17, 1, 8, 8), torch.zeros(17).long()),
                "model": nn.Sequential(Odd(), network()),
            },
            {},
            "epoch 1, test batch 2: the model or its loss does not take it: fewer than two",
        ),
        (
            {"test": (torch.zeros(3, 2, 8, 8), torch.zeros(3).long())},
            {},
            "Sequential: the model or its loss does not",
        ),
        (
            {"loss": nn.CrossEntropyLoss(reduction="none")},
            {},
            r"loss: expected a tensor .* found shape \(16,\)",
        ),
        (
            {"model": nn.Sequential(Told(64, 4))},
            {},
            "Sequential: 0._extra_state: expected a tensor, found dict",
        ),
        (
            {"model": Shared()},
            {},
            "Shared: 1.weight and 2.weight are two parameters in the same memory: expected one",
        ),
        ({"model": nn.Conv2d(1, 4, 3)}, {}, r"found outputs \(16, 4, 6, 6\) and targets \(16,\)"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(
    tmp_path: Path, arguments: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    given = {"model": network(), "train": samples(20), "test": samples(20), **arguments}
    with pytest.raises(TernzipError, match=message):
        ternzip.train(**given, out=tmp_path / "run", **SHORT, **options)
    assert not (tmp_path / "run" / "last.ckpt").exists()


def test_a_named_network_on_a_folder_of_images_as_the_command_does_it(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    options = {"dataset": "digits", "train_images": 64, "test_images": 40, **SHORT, "epochs": 1}
    named = ternzip.train(arch="fc3", arch_arg="hidden=20", delta=0.02, out=tmp_path / "named", **options)
    assert named is not None
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    own = ternzip.train(model, out=tmp_path / "own", **options)
    assert own is not None
    assert model[1].weight.unique().numel() == 3
    with pytest.raises(TernzipError, match=r"its network was given to ternzip\.train"):
        evaluate(tmp_path / "own" / "last.ckpt", Recipe())
    for wrong, message in (
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 9)), "expected (scores|targets)"),
        (nn.Sequential(nn.Conv2d(3, 10, 8), nn.Flatten()), "Sequential: the model or its loss does not take"),
    ):
        with pytest.raises(TernzipError, match=message):
            ternzip.train(wrong, out=tmp_path / "wrong", **options)


def test_extra_state_that_is_no_tensor_takes_no_bytes() -> None:
    model = ternzip.prepare(nn.Sequential(Told(8, 4)), "twn")
    assert project(model).other == 4 * 4
