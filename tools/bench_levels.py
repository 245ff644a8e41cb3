"""Levels for groups, rows and shards: bits a weight of whole files, and how fast weights are found, saved and loaded.

    python tools/bench_levels.py [--weights 6.5] [--rounds 5] [--codec fast] [--output docs/benchmarks/levels.json]

One thread, and its processor time, which other programs disturb less. Symbols are independent, 42 % of them zeros;
levels are random, one magnitude for each block.
`found` is the time in which detection recognises the tensor, beside one pass of a plain copy over the same bytes, and
beside what detection takes for normal floats of that size. Measurements take turns over the rounds; the least of each
counts. Everything that is read back is compared.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from machine import provenance

import ternzip
from ternzip._core.tensor import RawTensor
from ternzip.codecs.ternary import detect
from ternzip.container.describe import describe
from ternzip.container.reader import Reader
from ternzip.io.tensors import to_raw

ZEROS = 0.42
COLUMNS = 3200


def cases(weights: int) -> dict[str, tuple[torch.dtype, tuple[int, int], tuple[int, int]]]:
    """Name: element type, shape, and rows and columns of a block of levels."""
    rows = weights // COLUMNS // 32 * 32
    shape = (rows, COLUMNS)
    return {
        "bfloat16, groups of 128": (torch.bfloat16, shape, (1, 128)),
        "float16, groups of 128": (torch.float16, shape, (1, 128)),
        "float32, groups of 128": (torch.float32, shape, (1, 128)),
        "float64, groups of 128": (torch.float64, shape, (1, 128)),
        "bfloat16, groups of 32": (torch.bfloat16, shape, (1, 32)),
        "bfloat16, rows": (torch.bfloat16, shape, (1, COLUMNS)),
        "float16, 4 shards of columns": (torch.float16, shape, (rows, COLUMNS // 4)),
        "float16, 4 shards of rows": (torch.float16, shape, (rows // 4, COLUMNS)),
        "bfloat16, squares of 32": (torch.bfloat16, shape, (32, 32)),
        "bfloat16, tensor": (torch.bfloat16, shape, shape),
    }


def made(dtype: torch.dtype, shape: tuple[int, int], block: tuple[int, int]) -> torch.Tensor:
    """A ternary tensor with a random level for each block."""
    generator = torch.Generator().manual_seed(2026)
    symbols = torch.randint(0, 2, shape, generator=generator, dtype=torch.int8) * 2 - 1
    symbols[torch.rand(shape, generator=generator) < ZEROS] = 0
    levels = (
        torch.randn([s // b for s, b in zip(shape, block, strict=True)], generator=generator).abs() * 0.02
        + 1e-3
    )
    spread = levels.repeat_interleave(block[0], 0).repeat_interleave(block[1], 1)
    return (symbols * spread + 0.0).to(dtype)


def least(actions: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Seconds of processor time of each action, the least of several rounds."""
    seconds = dict.fromkeys(actions, float("inf"))
    for _ in range(rounds):
        for name, action in actions.items():
            start = time.process_time()
            action()
            seconds[name] = min(seconds[name], time.process_time() - start)
    return seconds


def measure(tensor: torch.Tensor, block: tuple[int, int], codec: str, rounds: int) -> dict[str, Any]:
    """Sizes and speeds for one tensor; raises if it does not come back, or other blocks are found."""
    data = ternzip.save({"t": tensor}, codec=codec, threads=1)
    back = ternzip.load(data, threads=1)["t"]
    if not torch.equal(back.view(torch.uint8), tensor.view(torch.uint8)):
        raise AssertionError("the tensor does not come back")
    with Reader.open(data) as reader:
        info = describe(reader, "t")
    if info.level_block_shape != block:
        raise AssertionError(f"expected blocks of {block}, found {info.level_block_shape}")
    raw = to_raw("t", tensor)
    normal = to_raw("n", torch.randn(tensor.shape).to(tensor.dtype))
    target = torch.empty_like(tensor)

    def find(elements: RawTensor) -> Callable[[], object]:
        return lambda: detect(elements, 1)

    seconds = least(
        {
            "save": lambda: ternzip.save({"t": tensor}, codec=codec, threads=1),
            "load": lambda: ternzip.load(data, threads=1),
            "found": find(raw),
            "normal": find(normal),
            "copy": lambda: target.copy_(tensor),
        },
        rounds,
    )
    weights, size = tensor.numel(), tensor.numel() * tensor.element_size()
    return {
        "weights": weights,
        "bits_per_weight": 8 * len(data) / weights,
        "save_weights_per_second": weights / seconds["save"],
        "load_weights_per_second": weights / seconds["load"],
        "found_gigabytes_per_second": size / seconds["found"] / 1e9,
        "copy_gigabytes_per_second": size / seconds["copy"] / 1e9,
        "found_over_copy": seconds["found"] / seconds["copy"],
        "normal_floats_turned_down_microseconds": seconds["normal"] * 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--weights", type=float, default=6.5, help="millions of weights in each tensor")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--codec", default="fast")
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks/levels.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = {}
    for name, (dtype, shape, block) in cases(int(arguments.weights * 1e6)).items():
        rows[name] = measure(made(dtype, shape, block), block, arguments.codec, arguments.rounds)
        print(name, json.dumps(rows[name], indent=2))
    result = {**provenance(), "codec": arguments.codec, "zeros": ZEROS, "levels": rows}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
