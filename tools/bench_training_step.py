"""What one step of `ternzip train` takes, with and without --fast, and what ternarizing costs of it; writes JSON.

    python tools/bench_training_step.py --json docs/benchmarks/training_step.json

A step is what `ternzip train` does: a batch augmented and normalized, forward, backward, the watch for collapse, Adam,
clipping. Each setting runs in a process of its own, as --fast changes how a process keeps its memory; they take turns,
and the least of each one's times counts; with one thread, of its CPU times. So other work on the machine falls on all
alike, and its own time does not count.

`prepare` ternarizes in the forward and `clip_latent_` clips after the optimizer's step. The operators also have both in
one pass, with the forward only attaching the estimator; `one_pass` measures them bare, without any check that the
prepared values are still those of the weights, so it is the most that such a scheme could save.

Beside them stands the bound: the time that the step's convolutions and matrix products would take at the rate that one
large matrix product reaches on the same threads.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import multiprocessing
import time
import warnings
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from machine import provenance
from torch.utils.flop_counter import FlopCounterMode

from ternzip import ops, prepare
from ternzip.quantization import TernaryLayer, clip_latent_, count_layers, ternary_layers
from ternzip.training.batches import ImageBatches
from ternzip.training.catalog import DATASETS
from ternzip.training.collapse import CollapseWatch
from ternzip.training.fast import precision_of
from ternzip.training.images import Dataset, Split
from ternzip.training.learner import Learner, image_learner
from ternzip.training.memory import keep_freed_memory
from ternzip.training.network import build_ternary
from ternzip.training.recipe import Recipe

SETTINGS: dict[str, dict[str, Any]] = {
    "float32": {"precision": "32"},
    "bfloat16": {"precision": "bf16-mixed"},
    "compiled": {"precision": "32", "fast": True},
    "fast": {"fast": True},
}
WARM_STEPS = 2
STEPS_A_TURN = 3
MATRIX = 2048
TYPES = (torch.float32, torch.bfloat16)


class Trainer:
    """A process that trains by a recipe, a few steps at a time."""

    def __init__(self, recipe: Recipe, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._end, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(recipe, threads, other), daemon=True)
        self._process.start()
        other.close()
        self._end.recv()  # it has begun, and compiled

    def turn(self) -> float:
        """The least time of a step, of a few."""
        self._end.send(None)
        return float(self._end.recv())

    def close(self) -> None:
        """End the process."""
        self._end.close()
        self._process.join()


def _serve(recipe: Recipe, threads: int, end: Connection) -> None:
    torch.set_num_threads(threads)
    warnings.filterwarnings("ignore", ".*without a `Trainer`|.*self.log|.*trainer")
    if recipe.fast:
        keep_freed_memory()
    _, step = training_step(recipe)
    for _ in range(WARM_STEPS):
        step()
    end.send(None)
    while True:
        try:
            end.recv()
        except EOFError:
            return
        end.send(least_seconds({"step": step}, STEPS_A_TURN, warm=0)["step"])


def step_seconds(base: Recipe, rounds: int, threads: int) -> dict[str, float]:
    """The least time of a step by each setting, all in turns."""
    trainers = {name: Trainer(base.with_options(options), threads) for name, options in SETTINGS.items()}
    turns = [{name: trainer.turn() for name, trainer in trainers.items()} for _ in range(rounds)]
    for trainer in trainers.values():
        trainer.close()
    return {name: min(turn[name] for turn in turns) for name in SETTINGS}


def least_seconds(calls: Mapping[str, Callable[[], object]], rounds: int, warm: int = 2) -> dict[str, float]:
    """The least time of each call over `rounds` rounds, all calls in turns, after `warm` rounds to warm up."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    least = dict.fromkeys(calls, float("inf"))
    for i in range(rounds + warm):
        for name, call in calls.items():
            start = clock()
            call()
            if i >= warm:
                least[name] = min(least[name], clock() - start)
    return least


def operations(recipe: Recipe) -> int:
    """Floating-point operations of one step's convolutions and matrix products, two for a multiply-add."""
    _, step = training_step(recipe)
    with FlopCounterMode(display=False) as counter:
        step()
    return int(counter.get_total_flops())


def operations_per_second(rounds: int) -> dict[str, float]:
    """What a matrix product of 2,048 x 2,048 by as many reaches, by type."""
    ones = {str(dtype).removeprefix("torch."): torch.ones(MATRIX, MATRIX, dtype=dtype) for dtype in TYPES}
    least = least_seconds(
        {name: functools.partial(torch.matmul, one, one) for name, one in ones.items()}, rounds
    )
    return {name: 2 * MATRIX**3 / seconds for name, seconds in least.items()}


def training_step(recipe: Recipe) -> tuple[Learner, Callable[[], None]]:
    """A fresh network, and one step of its training on images of noise."""
    count = 2 * recipe.batch_size
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8)
    split = Split(images, torch.randint(0, 10, (count,))).resident(torch.device("cpu"))
    learner = image_learner(recipe, Dataset(DATASETS["cifar10"], split, split))
    optimizer = learner.configure_optimizers()["optimizer"]
    watch = CollapseWatch(learner, carry_on=True)
    batches = itertools.cycle(
        ImageBatches(split, recipe.batch_size, shuffle=True, padding=4, mirror=True, epoch=epoch)
        for epoch in range(8)
    )
    stream = itertools.chain.from_iterable(batches)
    mixed = precision_of(recipe) == "bf16-mixed"
    learner.on_train_epoch_start()

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            loss = learner.training_step(next(stream), 0)
        loss.backward()  # type: ignore[no-untyped-call]
        watch.after_backward()
        optimizer.step()
        clip_latent_(learner)

    return learner, step


class WeightsAlone(torch.nn.Module):
    """The same ternary layers, asked for their weights and for nothing more."""

    def __init__(self, layers: list[TernaryLayer]) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Conv2d(1, 1, 1) for _ in layers)
        for own, layer in zip(self.layers, layers, strict=True):
            own.weight = torch.nn.Parameter(layer.latent.detach().clone())

    def forward(self) -> list[torch.Tensor]:
        return [torch.as_tensor(layer.weight) for layer in self.layers]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, default=Path("training_step.json"))
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    base = Recipe(batch_size=arguments.batch_size)
    steps = step_seconds(base, arguments.rounds, arguments.threads)
    count, rates = operations(base), operations_per_second(arguments.rounds)
    bounds = {name: count / rate for name, rate in rates.items()}

    layers = ternary_layers(build_ternary(base, DATASETS["cifar10"]))
    bare = prepare(WeightsAlone(layers), "delta")
    upstream = [torch.randn_like(layer.latent) for layer in ternary_layers(bare)]
    latents = [layer.latent for layer in ternary_layers(bare)]
    ternary = [torch.empty_like(latent) for latent in latents]

    def ternarizing() -> None:
        """What `prepare` and the loop add to a step: forward, backward and clipping."""
        bare.zero_grad()
        torch.autograd.backward(bare(), upstream)
        clip_latent_(bare)

    def counting() -> None:
        """What they add to an epoch."""
        count_layers(bare)

    def two_passes() -> None:
        bare.zero_grad()
        torch.autograd.backward(ops.ternarize_many(latents, -0.1, 0.1)[0], upstream)
        ops.clip_(latents)

    def one_pass() -> None:
        bare.zero_grad()
        torch.autograd.backward(ops.attach_ste(latents, ternary, -0.1, 0.1), upstream)
        ops.clip_ternarize_count_(latents, ternary, -0.1, 0.1)

    one_pass()
    parts = least_seconds(
        {call.__name__: call for call in (ternarizing, counting, two_passes, one_pass)}, 20 * arguments.rounds
    )
    record = {
        **provenance(),
        "threads": arguments.threads,
        "batch_size": arguments.batch_size,
        "weights": sum(latent.numel() for latent in latents),
        "precision_of_fast": precision_of(base.with_options(SETTINGS["fast"])),
        "step_seconds": steps,
        "of_float32": {name: least / steps["float32"] for name, least in steps.items()},
        "multiplications": {
            "operations": count,
            "operations_per_second": rates,
            "seconds": bounds,
            "of_float32": {name: bound / steps["float32"] for name, bound in bounds.items()},
        },
        "parts_seconds": parts,
        "ternarizing_share_of_fast": parts["ternarizing"] / steps["fast"],
        "one_pass_saves_of_fast": (parts["two_passes"] - parts["one_pass"]) / steps["fast"],
    }
    arguments.json.write_text(json.dumps(record, indent=2) + "\n")
    for name, least in steps.items():
        print(f"{name:>9}: {least:.3f} s a step, {least / steps['float32']:.2f} of float32")
    for name, bound in bounds.items():
        print(
            f"its multiplications alone in {name}: {bound:.3f} s, {bound / steps['float32']:.2f} of float32"
        )
    print(
        f"ternarizing {1e3 * parts['ternarizing']:.2f} ms, {record['ternarizing_share_of_fast']:.2%} of a fast step"
    )


if __name__ == "__main__":
    main()
