"""Which samples a search uses for what: nothing depends on the order that they come in."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from search_problem import data, problem, trained
from torch import Tensor, nn

import ternzip
from ternzip.search import search
from ternzip.search.finetune import finetune
from ternzip.search.network import Network
from ternzip.search.samples import Samples, drawn, samples_of

for module in ("botorch", "optuna"):
    pytest.importorskip(module)


def by_class() -> tuple[Tensor, Tensor]:
    """The samples as a folder of images has them: one class after the other."""
    inputs, labels = data()
    order = labels.argsort(stable=True)
    return inputs[order], labels[order]


def test_samples_are_drawn_from_all_and_in_no_order() -> None:
    assert sorted(drawn(7, 10, 0).tolist()) == list(range(7))
    found = drawn(1000, 100, 3)
    assert len(set(found.tolist())) == 100
    assert found.tolist() != sorted(found.tolist())
    assert torch.equal(found, drawn(1000, 100, 3))
    assert not torch.equal(found, drawn(1000, 100, 4))


@pytest.mark.parametrize("calibration", [60, 10_000])
def test_calibration_samples_are_of_all_classes(monkeypatch: pytest.MonkeyPatch, calibration: int) -> None:
    seen: list[Tensor] = []

    class Watched(Network):
        def __init__(self, *arguments: object, labels: Tensor, **options: object) -> None:
            seen.append(labels)
            super().__init__(*arguments, labels=labels, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("ternzip.search.run.Network", Watched)
    search(trained(), by_class(), test=data(), smallest=100, evaluations=1, calibration=calibration)
    (labels,) = seen
    for batch in labels.split(60):  # whatever part is taken of them, as batches are
        assert len(batch.unique()) == 3


def test_fine_tuning_is_judged_by_samples_of_all_classes_that_it_did_not_train_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = problem(compressor="rank")
    inputs, labels = by_class()
    trained_on: list[Tensor] = []
    judged: list[Samples] = []

    def train(model: nn.Module, samples: Samples, index: Tensor, *others: object) -> None:
        trained_on.append(samples.take(index).inputs)

    def badness(outputs: Tensor, samples: Samples) -> float:
        judged.append(samples)
        return 0.0

    monkeypatch.setattr("ternzip.search.finetune._train", train)
    monkeypatch.setattr("ternzip.search.finetune._badness", badness)
    finetune(made.network, made.network.compress([0.5] * 3), samples_of(trained(), inputs, labels), epochs=1)
    before, after = judged
    assert torch.equal(before.inputs, after.inputs)
    assert len(before) == 75
    assert before.labels is not None
    assert len(before.labels.unique()) == 3
    seen = {tuple(row) for row in trained_on[0].tolist()}
    assert len(seen) == 525
    assert not seen & {tuple(row) for row in before.inputs.tolist()}


def test_a_handful_of_samples_can_be_fine_tuned_on() -> None:
    made = problem(compressor="rank")
    few = made.samples.take(torch.arange(3))
    finetune(made.network, made.network.compress([0.5] * 3), few, epochs=1)


def test_images_are_drawn_at_random(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    from typer.testing import CliRunner

    from ternzip.cli.app import app
    from ternzip.models import fc3

    torch.manual_seed(0)
    torch.save(fc3(in_features=64).state_dict(), tmp_path / "model.pt")
    pools: list[tuple[Tensor, Tensor]] = []

    def stop(network: nn.Module, pool: tuple[Tensor, Tensor], **options: object) -> None:
        pools.append(pool)
        raise KeyboardInterrupt

    monkeypatch.setattr(ternzip.search, "search", stop)
    for count, seed in ((50, 0), (50, 0), (50, 1), (100_000, 0)):
        arguments = ["--arch", "fc3", "--dataset", "digits", "--images", str(count), "--seed", str(seed)]
        out = ["--out", str(tmp_path / "out.tnz")]
        CliRunner().invoke(app, ["search", str(tmp_path / "model.pt"), *arguments, *out])
    one, again, other, whole = (images.flatten(1) for images, _ in pools)
    assert torch.equal(one, again)
    assert len(one) == len(other) == 50 < len(whole)
    assert not torch.equal(one, other)
    places = [int((whole == image).all(1).nonzero()[0]) for image in one]
    assert len(set(places)) == 50
    labels = {tuple(image.tolist()): int(label) for image, label in zip(whole, pools[3][1], strict=True)}
    assert [labels[tuple(image.tolist())] for image in one] == pools[0][1].tolist()
