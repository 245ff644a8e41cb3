"""The watch for networks that have died."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.distributed as dist
from process_group import be_a_rank, member, run_on_two_ranks
from torch import nn

from ternzip import TernzipError, prepare
from ternzip.quantization import Delta, count_layers, ternary_layers
from ternzip.training.collapse import CollapseWatch


def model() -> nn.Module:
    torch.manual_seed(0)
    return prepare(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)), Delta(0.1))


def empty(network: nn.Module, *indices: int) -> None:
    with torch.no_grad():
        for i in indices:
            ternary_layers(network)[i].latent.fill_(0.05)


def test_one_empty_layer_warns_once() -> None:
    network = model()
    watch = CollapseWatch(network)
    watch.after_counting(count_layers(network))
    empty(network, 1)
    with pytest.warns(UserWarning, match="layer 1: all ternary weights are zero"):
        watch.after_counting(count_layers(network))
    watch.after_counting(count_layers(network))


def test_all_layers_empty_stops() -> None:
    network = model()
    empty(network, 0, 1)
    with pytest.raises(
        TernzipError, match=r"training has collapsed: the weights of all ternary layers .* quantizer twn"
    ):
        CollapseWatch(network).after_counting(count_layers(network))


def test_carrying_on_warns_instead() -> None:
    network = model()
    empty(network, 0, 1)
    watch = CollapseWatch(network, carry_on=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            watch.after_counting(count_layers(network))
    assert sorted(str(w.message).split(":")[0] for w in caught) == [
        "layer 0",
        "layer 1",
        "training has collapsed",
    ]


def give_gradients(network: nn.Module, values: list[float], bias: float = 1.0) -> None:
    """One gradient value in each latent weight, and one in each bias."""
    for layer, value in zip(ternary_layers(network), values, strict=True):
        layer.latent.grad = torch.zeros_like(layer.latent)
        layer.latent.grad[0, 0] = value
        layer.module.bias.grad = torch.full_like(layer.module.bias, bias)  # type: ignore[arg-type]


def test_no_gradient_for_twenty_steps_stops() -> None:
    network = model()
    watch = CollapseWatch(network)
    for _ in range(19):
        give_gradients(network, [0.0, 0.0])
        watch.after_backward()
    with pytest.raises(TernzipError, match="no latent weight has had a gradient for 20 steps"):
        watch.after_backward()


def test_rounding_is_no_gradient() -> None:
    """Behind a layer of zeros and a batch norm, 1e-10 is left of a gradient where the norm's bias gets 0.05."""
    network = model()
    watch = CollapseWatch(network)
    give_gradients(network, [0.0, 1e-10], bias=0.05)
    for _ in range(19):
        watch.after_backward()
    with pytest.raises(TernzipError, match="training has collapsed"):
        watch.after_backward()


def test_small_gradients_are_gradients() -> None:
    network = model()
    watch = CollapseWatch(network)
    give_gradients(network, [1e-12, 1e-12], bias=1e-9)
    for _ in range(60):
        watch.after_backward()


def test_every_layer_is_counted_for_itself() -> None:
    """One that gets a gradient now and then does not hide that another never does."""
    network = model()
    watch = CollapseWatch(network)
    for step in range(19):
        give_gradients(network, [0.0, float(step % 7 == 0)])
        watch.after_backward()
    with pytest.warns(UserWarning, match="layer 0: its latent weights have had no gradient for 20 steps"):
        watch.after_backward()
    give_gradients(network, [0.0, 1.0])
    for _ in range(40):
        watch.after_backward()  # said once, and layer 1 learns


def test_gradients_that_overflowed_say_nothing() -> None:
    network = model()
    watch = CollapseWatch(network)
    give_gradients(network, [0.0, 0.0], bias=float("inf"))
    for _ in range(60):
        watch.after_backward()


def test_frozen_layers_are_not_waited_for() -> None:
    network = model()
    watch = CollapseWatch(network)
    give_gradients(network, [0.0, 0.0])
    ternary_layers(network)[0].latent.grad = None
    for _ in range(19):
        watch.after_backward()
    with pytest.raises(TernzipError, match="training has collapsed"):
        watch.after_backward()


def test_the_device_is_waited_for_once_in_twenty_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    network = model()
    watch = CollapseWatch(network)
    give_gradients(network, [1.0, 1.0])

    def waits(*args: object) -> None:
        raise AssertionError("a number was read off the device")

    for name in ("item", "tolist", "__bool__", "__int__", "__float__"):
        monkeypatch.setattr(torch.Tensor, name, waits)
    for _ in range(19):
        watch.after_backward()
    with pytest.raises(AssertionError, match="read off"):
        watch.after_backward()


def test_a_model_without_ternary_layers_is_left_alone() -> None:
    watch = CollapseWatch(nn.Linear(2, 2))
    for _ in range(30):
        watch.after_backward()
    watch.after_counting({})


def test_sparse_gradients_are_looked_at() -> None:
    network = prepare(nn.Sequential(nn.Embedding(10, 4, sparse=True), nn.Linear(4, 4)))
    watch = CollapseWatch(network)
    for rows in ([], [1, 1, 2]):
        network(torch.tensor(rows, dtype=torch.long)).sum().backward()
        assert network[0].weight.grad.is_sparse  # type: ignore[union-attr]
        watch.after_backward()
    # Beside what the embedding gets, the layer's is rounding.
    with torch.no_grad():
        for parameter in network[1].parameters():
            assert parameter.grad is not None
            parameter.grad.mul_(1e-12)
    watch = CollapseWatch(network)
    for _ in range(19):
        watch.after_backward()
    with pytest.raises(TernzipError, match="training has collapsed"):
        watch.after_backward()


def test_parameters_without_elements_are_passed_over() -> None:
    network = model()
    network.empty = nn.Parameter(torch.empty(0))  # type: ignore[assignment]
    give_gradients(network, [1.0, 1.0])
    network.empty.grad = torch.empty(0)  # type: ignore[union-attr]
    CollapseWatch(network).after_backward()


def watch_shards(rank: int, ranks: int, port: int) -> None:
    """Run on every rank: all find the same, whichever holds the gradient, and some hold nothing of a layer."""
    from torch.distributed.fsdp import fully_shard

    with member(rank, ranks, port) as mesh:
        torch.manual_seed(0)
        network = prepare(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1)), "delta", overrides={"1": "twn"})
        for layer in network:
            fully_shard(layer, mesh=mesh)
        watch = CollapseWatch(fully_shard(network, mesh=mesh))
        for _ in range(40):
            network(torch.ones(2, 4)).sum().backward()
            watch.after_backward()
        watch.after_counting(count_layers(network))
        for parameter in network.parameters():  # what is left is with the last rank
            assert parameter.grad is not None
            own = parameter.grad.to_local()  # type: ignore[attr-defined]
            own.mul_(rank == ranks - 1)
        for _ in range(40):
            watch.after_backward()
        for layer in ternary_layers(network):
            assert layer.latent.grad is not None
            layer.latent.grad.zero_()
        for _ in range(19):
            watch.after_backward()
        with pytest.raises(TernzipError, match="training has collapsed"):
            watch.after_backward()


@pytest.mark.skipif(not dist.is_available(), reason="PyTorch is built without torch.distributed")
def test_two_ranks_that_hold_a_part_each_agree() -> None:
    run_on_two_ranks(__file__)


if __name__ == "__main__":
    be_a_rank(watch_shards)
