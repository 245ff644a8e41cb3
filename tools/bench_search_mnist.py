"""Searches of FC3 on MNIST's test images, and four weightings of its SVD at equal bytes."""

from __future__ import annotations

import argparse
import gzip
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_search_results import commit, is_known, known_rows, summary, write
from torch import Tensor, nn
from torch.nn import functional as F

from ternzip.models import fc3
from ternzip.search import parse_size, search
from ternzip.search.compressors import RankCompressor
from ternzip.search.network import Network
from ternzip.search.objective import accuracy
from ternzip.search.problem import Problem
from ternzip.search.samples import outputs_of, samples_of
from ternzip.search.target import TargetSize

KAPPA = 5.0
"""Of searches without a size: what is lost of the outputs' spread weighs five times what is lost of the file."""


def mnist(folder: Path) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The 10,000 test images, 8,000 to train with and 2,000 to test, by a fixed seed."""
    images = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())[8:]
    x = torch.from_numpy(np.frombuffer(images, np.uint8).copy()).reshape(-1, 1, 28, 28).float()
    x = (x / 255 - 0.1307) / 0.3081
    y = torch.from_numpy(np.frombuffer(labels, np.uint8).copy()).long()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, test = order[:8000], order[8000:]
    return (x[train], y[train]), (x[test], y[test])


def moved(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image turned, sheared, scaled and shifted a little: up to 12 degrees, 0.15, an eighth, 2.5 pixels."""

    def uniform(most: float, *shape: int) -> Tensor:
        return most * (2 * torch.rand(len(images), *shape, generator=generator) - 1)

    angle, scale = uniform(math.radians(12)), 1 + uniform(0.125)
    cosine, sine = torch.cos(angle) / scale, torch.sin(angle) / scale
    first = torch.stack([cosine, uniform(0.15) - sine], 1)
    matrix = torch.stack([first, torch.stack([sine, cosine], 1)], 1)
    affine = torch.cat([matrix, uniform(2.5 / 14, 2, 1)], 2)
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def trained_fc3(train: tuple[Tensor, Tensor], epochs: int) -> nn.Module:
    """Strong decay of the weights, which leaves the network accurate and its matrices near low rank."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    model = fc3(dropout=0.3)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=4.0)
    batches = -(-len(train[0]) // 100)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * batches)
    for _ in range(epochs):
        for index in torch.randperm(len(train[0])).chunk(batches):
            loss = F.cross_entropy(model(moved(train[0][index], generator)), train[1][index])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return model.eval()


def fc3_table(arguments: argparse.Namespace) -> None:
    train, test = mnist(arguments.mnist)
    model = trained_fc3(train, arguments.epochs)
    about = {"data": "MNIST test images, split 8,000 / 2,000", "epochs": arguments.epochs}
    rows = known_rows("fc3", about)
    for what, target in [
        ("rank-whitening", "65KB"),
        ("rank-whitening", "105KB"),
        ("rank", None),
        ("rank-activation", "105KB"),
        ("rank", "65KB"),
        ("rank", "105KB"),
        ("rank-activation", "65KB"),
        ("ternary", "160KB"),
        ("ternary", "96KB"),
        ("ternary", "48KB"),
        ("all", "48KB"),
    ]:
        for seed in range(arguments.seeds if target is None else 1):
            if is_known(rows, what, target, "pac", seed):
                continue
            compressor: Any = what
            result = search(
                model,
                train,
                test=test,
                compressor=compressor,
                target_size=target,
                kappa=KAPPA,
                seed=seed,
                evaluations=90 if target is None else 30,  # no size narrows the space
                finetune=0 if target is None else 2,
            )
            if target is not None and result.bytes > parse_size(target):
                raise SystemExit(f"{what}: {result.bytes:,} bytes of {target}")
            rows.append({"compressor": what, "seed": seed, "commit": commit(), **summary(result)})
            print({k: v for k, v in rows[-1].items() if k not in ("layers", "dense")}, flush=True)
            write("fc3", {**about, "rows": rows})


def svd_table(arguments: argparse.Namespace) -> None:
    train, test = mnist(arguments.mnist)
    model = trained_fc3(train, arguments.epochs)
    pool, held = samples_of(model, *train), samples_of(model, *test)
    rows = []
    for weighting in ("plain", "fisher", "activation", "whitening"):
        for size in (65_000, 105_000):
            network = Network(
                model,
                RankCompressor(weighting),
                calibration=pool.inputs[:1000],
                labels=None if pool.labels is None else pool.labels[:1000],
                fisher=True,
            )
            problem = Problem(network, pool, held, target=size)
            assert isinstance(problem.target, TargetSize)
            found = problem.uniform(size)
            outputs = outputs_of(found.network.model, held.inputs)
            assert held.labels is not None
            layers = {
                name: {
                    "what": layer.label,
                    "error": layer.error,
                    "activation_weighted_error": layer.weighted_error,
                }
                for name, layer in found.network.layers.items()
            }
            rows.append(
                {
                    "weighting": weighting,
                    "target_bytes": size,
                    "bytes": len(found.data),
                    "loss": problem.loss.estimate(outputs, held).value,
                    "accuracy": accuracy(outputs, held.labels),
                    "layers": layers,
                }
            )
            print(rows[-1], flush=True)
    write(
        "svd",
        {
            "data": "MNIST test images, split 8,000 / 2,000",
            "setting": "one theta for all layers",
            "rows": rows,
        },
    )
