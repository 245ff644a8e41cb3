"""Eq. 1, 3 and 5 and their variance, against loops over samples."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from ternzip import TernzipError
from ternzip.search.choices import LOSSES
from ternzip.search.objective import Loss, accuracy, fresh
from ternzip.search.samples import Samples, gather, samples_of, split


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def samples(count: int = 12, labels: bool = True) -> Samples:
    return Samples(random(count, 3), torch.arange(count) % 4 if labels else None, random(count, 4, seed=1))


def test_distance_by_a_loop() -> None:
    data, outputs = samples(), random(12, 4, seed=2)
    spread, lost = 0.0, []
    for n in range(12):
        exact, near = data.outputs[n].tolist(), outputs[n].tolist()
        exact_mean, near_mean = sum(exact) / 4, sum(near) / 4
        spread += sum((e - exact_mean) ** 2 for e in exact) / 12
        lost.append(sum(((a - near_mean) - (e - exact_mean)) ** 2 for a, e in zip(near, exact, strict=True)))
    terms = [value / spread for value in lost]
    mean = sum(terms) / 12
    variance = sum((t - mean) ** 2 for t in terms) / 11
    found = Loss.over("distance", data).estimate(outputs, data)
    assert found.value == pytest.approx(mean)
    assert found.standard_error == pytest.approx(math.sqrt(variance / 12))


def test_distance_ignores_what_softmax_ignores() -> None:
    data = samples()
    assert Loss.over("distance", data).estimate(data.outputs + 5.0, data).value == pytest.approx(0)


def test_labelled_losses_by_a_loop() -> None:
    data, outputs = samples(), random(12, 4, seed=2)
    wrong = [float(max(range(4), key=lambda c: outputs[n, c]) != n % 4) for n in range(12)]
    logs = [
        math.log(sum(math.exp(v) for v in outputs[n].tolist())) - float(outputs[n, n % 4]) for n in range(12)
    ]
    assert Loss.over("error", data).estimate(outputs, data).value == pytest.approx(sum(wrong) / 12)
    assert Loss.over("cross-entropy", data).estimate(outputs, data).value == pytest.approx(sum(logs) / 12)


def test_the_variance_has_a_floor() -> None:
    """m samples can show no error at all; that is no proof that there is none."""
    data = samples()
    assert data.labels is not None
    right = torch.nn.functional.one_hot(data.labels, 4).double()
    found = Loss.over("error", data).estimate(right, data)
    assert found.value == 0
    assert found.standard_error == pytest.approx(math.sqrt((1 / 14) * (13 / 14) / 12))
    assert Loss.over("distance", data).estimate(data.outputs, data).standard_error > 0


def test_the_standard_error_is_that_of_repeated_draws() -> None:
    """Over many draws of fresh samples the estimates scatter as they say."""
    data, outputs = samples(4000), random(4000, 4, seed=2)
    loss = Loss.over("distance", data)
    whole = loss.terms(outputs, data)
    estimates = []
    for evaluation in range(300):
        drawn = fresh(Samples(torch.arange(4000), data.labels, data.outputs), 50, 0, evaluation)
        index = drawn.inputs
        found = loss.estimate(outputs[index], data.take(index))
        estimates.append((found.value - float(whole.mean())) / found.standard_error)
    scores = torch.tensor(estimates)
    assert abs(float(scores.mean())) < 0.25
    assert 0.8 < float(scores.std()) < 1.25


def test_every_evaluation_draws_others_and_always_the_same() -> None:
    data = samples(1000)
    first, second = fresh(data, 50, 0, 1), fresh(data, 50, 0, 2)
    assert torch.equal(first.inputs, fresh(data, 50, 0, 1).inputs)
    assert not torch.equal(first.inputs, second.inputs)
    assert not torch.equal(first.inputs, fresh(data, 50, 1, 1).inputs)
    assert len(torch.unique(first.inputs, dim=0)) == 50
    assert len(fresh(data, 2000, 0, 1)) == 1000


def test_losses_that_cannot_be() -> None:
    with pytest.raises(TernzipError, match="expected one of distance, error, cross-entropy, found 'x'"):
        Loss.over("x", samples())
    with pytest.raises(TernzipError, match="'error': expected samples with labels, found none"):
        Loss.over("error", samples(labels=False))
    data = samples()
    with pytest.raises(TernzipError, match="expected outputs that differ between classes"):
        Loss.over("distance", Samples(data.inputs, None, torch.ones(12, 4)))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_outputs_that_are_not_finite_are_very_bad_and_no_error(value: float) -> None:
    data = samples()
    assert data.labels is not None
    broken = data.outputs.clone()
    broken[3, 1] = value
    found = {name: Loss.over(name, data).estimate(broken, data) for name in LOSSES}
    assert found["error"].value == 1
    assert found["distance"].value == pytest.approx(4)  # the original's outputs with the opposite sign
    assert found["cross-entropy"].value == Loss("cross-entropy").estimate(-data.outputs, data).value
    assert all(0 < one.standard_error < math.inf for one in found.values())
    # The largest output of such a row may be the label's.
    right = data.outputs.argmax(1)
    assert accuracy(data.outputs, right) == 1
    assert accuracy(broken, right) == pytest.approx(11 / 12)


def test_samples_are_gathered_from_whatever_holds_them() -> None:
    inputs, labels = torch.arange(12.0).reshape(6, 2), torch.arange(6)
    pairs = [(inputs[:4], labels[:4]), (inputs[4:], labels[4:])]
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs, labels), batch_size=4)
    for source in ((inputs, labels), pairs, loader):
        found = gather(source)
        assert torch.equal(found[0], inputs)
        assert found[1] is not None
        assert torch.equal(found[1], labels)
    for source in (inputs, [inputs[:1], inputs[1:]], [(inputs,)]):
        assert gather(source)[1] is None
    assert len(gather(pairs, most=5)[0]) == 5


def test_samples_that_are_refused() -> None:
    for nothing in ([], torch.zeros(0, 3)):
        with pytest.raises(TernzipError, match="samples: expected at least one, found none"):
            gather(nothing)
    with pytest.raises(TernzipError, match="expected 3 labels, found 2"):
        gather((torch.zeros(3, 1), torch.zeros(2)))
    with pytest.raises(TernzipError, match="labels with all batches or with none, found them with 1 of 2"):
        gather([(torch.zeros(2, 3), torch.zeros(2)), torch.zeros(2, 3)])
    with pytest.raises(TernzipError, match="expected batches of a tensor"):
        gather([{"x": 1}])
    everything = torch.zeros(3, 4), torch.zeros(3)
    for label_of_each, message in (
        (torch.zeros(3, 1), r"^samples: expected labels of shape \[3\], found \[3, 1\]$"),
        (torch.eye(3), r"^samples: expected labels of shape \[3\], found \[3, 3\]$"),
        (torch.tensor([0.0, 1.0, 1.9]), "^samples: expected whole numbers as labels, found others$"),
        (torch.tensor([0.0, 1.0, math.nan]), "^samples: expected whole numbers as labels, found others$"),
    ):
        for source in ((everything[0], label_of_each), [(everything[0], label_of_each)]):
            with pytest.raises(TernzipError, match=message):
                gather(source)
    with pytest.raises(
        TernzipError, match=r"inputs of one shape, found .* inputs and labels of all samples are a"
    ):
        gather(list(everything))
    for held in (torch.utils.data.TensorDataset(*everything), torch.utils.data.TensorDataset(everything[0])):
        with pytest.raises(
            TernzipError, match=r"found single samples \(TensorDataset\): give a DataLoader of it"
        ):
            gather(held)
    with pytest.raises(TernzipError, match="found a single number"):
        gather(torch.tensor(1.0))
    with pytest.raises(TernzipError, match="at least 2 to search with and 2 held out, found 3"):
        split(samples(3), 0.2, 0)


def test_networks_whose_outputs_are_not_finite() -> None:
    net = nn.Linear(2, 2)
    net.weight.data[0, 0] = float("inf")
    with pytest.raises(
        TernzipError, match="model: expected finite outputs on the samples, found NaN or infinity"
    ):
        samples_of(net, torch.ones(3, 2), None)
    with pytest.raises(TernzipError, match=r"outputs of shape \(batch, classes\)"):
        samples_of(nn.Flatten(0), torch.ones(3, 2), None)
    with pytest.raises(
        TernzipError, match=r"that the model takes, found torch.float32 of shape \[3, 5\]: mat1"
    ):
        samples_of(nn.Linear(2, 2), torch.ones(3, 5), None)


def test_held_out_samples_are_apart() -> None:
    data = samples(50)
    pool, held = split(data, 0.2, 0)
    assert (len(pool), len(held)) == (40, 10)
    assert len(torch.unique(torch.cat([pool.inputs, held.inputs]), dim=0)) == 50
