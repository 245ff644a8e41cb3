"""A small trained network and its samples, made once, for the tests of searches."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from ternzip.search.compressors import Compressor, method
from ternzip.search.network import Network
from ternzip.search.problem import Problem
from ternzip.search.samples import samples_of, split


def network() -> nn.Module:
    """Untrained; the architecture of `trained`."""
    return nn.Sequential(
        nn.Linear(12, 40), nn.BatchNorm1d(40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 3)
    )


@functools.cache
def data() -> tuple[Tensor, Tensor]:
    """Inputs (600, 12) whose class is the largest of three random projections."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(600, 12, generator=generator)
    return inputs, (inputs @ torch.randn(12, 3, generator=generator)).argmax(1)


@functools.cache
def trained() -> nn.Module:
    """The same in every process: sums over another number of threads may round in other ways."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = network()
        inputs, labels = data()
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        for _ in range(60):
            loss = nn.functional.cross_entropy(model(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    torch.set_num_threads(threads)
    return model.eval()


def problem(
    target: int | None = None, compressor: Compressor | str = "rank", loss: str = "distance", count: int = 50
) -> Problem:
    inputs, labels = data()
    pool, held = split(samples_of(trained(), inputs, labels), 0.25, 0)
    chosen = method(compressor) if isinstance(compressor, str) else compressor
    made = Network(trained(), chosen, calibration=pool.inputs[:200], smallest=100)
    return Problem(made, pool, held, target=target, loss=loss, count=count)
