"""Speeds of large ternary tensors: one core, two threads, whole files, and what chunks cost.

    python tools/bench_codec_threads.py [--sections one-core,load,into,threads,chunks] [--weights 64000000]
                                        [--output docs/benchmarks/codec_threads.json]

Tensors are made with independent weights of the given share of zeros; times are the best of several runs, files
lie in the page cache. Sections that are not run again stay in the JSON as they were, each with its own date.

one-core: the native `fast` codec, int8 in and out of preallocated memory, beside a copy of int8 and a whole file.
load: load_file of a `fast` file to float32 tensors against safetensors' load_file and a clone, two threads.
into: load_file(out=) into float32 tensors that exist, of 98 % to 50 % zeros and of normal numbers, against copy_ of the
same tensor, one thread and two (copy_ on as many).
threads: save and load of float32 tensors, in memory, on two threads against one.
chunks: the bytes of `context` in the chunks of a file against one chunk.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from bench_codec import best_time, counts_of, iid_trits, ternzip_coder
from sections import merge_sections

import ternzip
from ternzip.codecs import BY_NAME, Geometry, Trits

ZEROS = (0.5, 0.9, 0.98)


def floats(trits: Trits) -> dict[str, torch.Tensor]:
    """The tensor with levels of -0.04 and +0.04."""
    return {"weight": torch.from_numpy(trits).to(torch.float32).mul_(0.04).add_(0.0)}


def one_core(weights: int, folder: Path, seconds: float) -> list[dict[str, Any]]:
    sizes = sorted({min(weights, 4_300_000), weights})
    return [_one_core(iid_trits(size, zeros), folder, seconds) for size in sizes for zeros in ZEROS]


def _one_core(trits: Trits, folder: Path, seconds: float) -> dict[str, Any]:
    coder, network, size = ternzip_coder(BY_NAME["fast"]), [trits], trits.size
    payloads = coder.encode(network)
    out = np.zeros_like(trits)
    decode = best_time(lambda: coder.decode(payloads, network, [out]), seconds)
    if not np.array_equal(out, trits):
        raise SystemExit("fast does not restore the weights")
    encode = best_time(lambda: coder.encode(network), seconds)
    copy = best_time(lambda: np.copyto(out, trits), seconds / 2)
    path = folder / "one-core.tnz"
    ternzip.save_file({"weight": torch.from_numpy(trits)}, path, codec="fast")
    whole = best_time(lambda: ternzip.load_file(path, threads=1), seconds / 2)
    return {
        "weights": size,
        "zeros": float((trits == 0).mean()),
        "bits_per_weight": 8 * sum(map(len, payloads)) / size,
        "encode_per_second": size / encode,
        "decode_per_second": size / decode,
        "of_copying_int8": copy / decode,
        "load_file_int8_per_second": size / whole,
    }


def load(weights: int, folder: Path, seconds: float) -> list[dict[str, Any]]:
    return [_load(floats(iid_trits(weights, zeros)), folder, seconds) for zeros in ZEROS]


def _load(tensors: dict[str, torch.Tensor], folder: Path, seconds: float) -> dict[str, Any]:
    ours, theirs = folder / "load.tnz", folder / "load.safetensors"
    weight = tensors.pop("weight")
    ternzip.save_file({"weight": weight}, ours, codec="fast")
    safetensors.torch.save_file({"weight": weight}, theirs)
    if not torch.equal(ternzip.load_file(ours)["weight"], weight):
        raise SystemExit("load_file does not restore the tensor")

    def clone() -> list[torch.Tensor]:
        return [tensor.clone() for tensor in safetensors.torch.load_file(theirs).values()]

    own = weight.numel() / best_time(lambda: ternzip.load_file(ours, threads=2), seconds)
    other = weight.numel() / best_time(clone, seconds)
    return {
        "weights": weight.numel(),
        "zeros": float((weight == 0).float().mean()),
        "load_file_per_second": own,
        "safetensors_per_second": other,
        "ratio": own / other,
    }


def into(weights: int, folder: Path, seconds: float) -> list[dict[str, Any]]:
    """Rounds in which loading and copying have their turns, so that a slow spell of the machine meets both."""
    rows = []
    for zeros in ZEROS:
        weight = floats(iid_trits(weights, zeros))["weight"]
        for codec in ("fast", "packed", "static"):
            rows += _into(weight, codec, folder, seconds)
    normal = torch.randn(weights, generator=torch.Generator().manual_seed(0))
    rows += _into(normal, "planes", folder, seconds)
    rows += _into(normal.bfloat16(), "planes", folder, seconds)
    return rows


def _into(weight: torch.Tensor, codec: str, folder: Path, seconds: float) -> list[dict[str, Any]]:
    path, place = folder / "into.tnz", {"weight": torch.zeros_like(weight)}
    ternzip.save_file({"weight": weight}, path, codec="auto" if codec == "planes" else codec)
    ternzip.load_file(path, out=place)
    if not torch.equal(place["weight"], weight):
        raise SystemExit(f"{codec}: load_file does not restore the tensor")
    rows = []
    for number in (1, 2):
        torch.set_num_threads(number)
        load, copy = float("inf"), float("inf")
        for _ in range(2 if codec == "static" else 5):
            copy = min(copy, best_time(lambda: place["weight"].copy_(weight), seconds / 10, 1))
            load = min(
                load, best_time(partial(ternzip.load_file, path, out=place, threads=number), seconds / 5, 1)
            )
        rows.append(
            {
                "codec": codec,
                "type": str(weight.dtype).removeprefix("torch."),
                "weights": weight.numel(),
                "zeros": float((weight == 0).float().mean()),
                "threads": number,
                "load_per_second": weight.numel() / load,
                "copy_per_second": weight.numel() / copy,
                "ratio": copy / load,
            }
        )
    return rows


def threads(weights: int, folder: Path, seconds: float) -> list[dict[str, Any]]:
    return [
        _threads(floats(iid_trits(weights, zeros)), codec)
        for codec, zeros in (("fast", 0.5), ("fast", 0.9), ("context", 0.9))
    ]


def _threads(tensors: dict[str, torch.Tensor], codec: str) -> dict[str, Any]:
    size = tensors["weight"].numel()
    data = ternzip.save(tensors, codec=codec)
    row: dict[str, Any] = {
        "codec": codec,
        "weights": size,
        "zeros": float((tensors["weight"] == 0).float().mean()),
    }

    def save(number: int) -> bytes:
        return ternzip.save(tensors, codec=codec, threads=number)

    def load(number: int) -> dict[str, torch.Tensor]:
        return ternzip.load(data, threads=number)

    for action in (save, load):
        times = [
            [best_time(partial(action, number), 0, 1) for number in (1, 2)]
            for _ in range(25 if codec == "fast" else 3)
        ]
        one, two = (size / min(times_of) for times_of in zip(*times, strict=True))
        row[action.__name__] = {"one": one, "two": two, "ratio": two / one}
    return row


def structured_trits(size: int, zeros: float) -> Trits:
    """Rows and columns of different density and sign, as in trained matrices, 1,000 weights a row."""
    rng = np.random.default_rng(7)
    rows, columns = size // 1000, 1000
    scale = np.exp(0.8 * rng.standard_normal((rows, 1), np.float32))
    weight = scale * np.exp(0.8 * rng.standard_normal((1, columns), np.float32))
    weight *= rng.standard_normal((rows, columns), np.float32) + 0.5 * rng.standard_normal(
        (rows, 1), np.float32
    )
    limit = np.quantile(np.abs(weight), zeros)
    trits: Trits = (np.sign(weight) * (np.abs(weight) > limit)).astype(np.int8)
    return trits


def chunks(weights: int, folder: Path, seconds: float) -> list[dict[str, Any]]:
    """Tensors just below and just above the greatest chunk, which a file cuts in two; independent of `weights`."""
    rows = []
    codec = BY_NAME["context"]
    kinds = (("independent", iid_trits), ("rows and columns differ", structured_trits))
    for size, (name, make) in itertools.product((4_000_000, 4_300_000), kinds):
        trits = make(size, 0.9)
        counts, whole = counts_of(trits), Geometry.of_shape(trits.shape)
        one = len(codec.encode(trits.reshape(-1), whole, counts, b""))
        pieces = [
            len(codec.encode(trits.reshape(-1)[at : at + chunk.symbols], chunk, counts, b""))
            for at, chunk in whole.chunks()
        ]
        rows.append(
            {
                "tensor": name,
                "weights": trits.size,
                "one_chunk_bytes": one,
                "chunks": len(pieces),
                "chunks_bytes": sum(pieces),
                "cost": sum(pieces) / one - 1,
            }
        )
    return rows


SECTIONS: dict[str, Callable[[int, Path, float], list[dict[str, Any]]]] = {
    "one-core": one_core,
    "load": load,
    "into": into,
    "threads": threads,
    "chunks": chunks,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="speeds of large ternary tensors")
    parser.add_argument("--sections", default=",".join(SECTIONS), help="which to run, separated by commas")
    parser.add_argument("--weights", type=int, default=64_000_000)
    parser.add_argument("--seconds", type=float, default=1.5, help="at least, for each timing")
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks/codec_threads.json"))
    arguments = parser.parse_args()
    for name in arguments.sections.split(","):
        if name not in SECTIONS:
            parser.error(f"no section {name!r}: expected some of {', '.join(SECTIONS)}")
        with tempfile.TemporaryDirectory() as folder:
            rows = SECTIONS[name](arguments.weights, Path(folder), arguments.seconds)
        merge_sections(arguments.output, {name: {"results": rows}})
        for row in rows:
            print(name, row, flush=True)


if __name__ == "__main__":
    main()
