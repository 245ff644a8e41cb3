"""Ternary codecs side by side: bits per weight and speed of ternzip's and everybody else's, in one run.

    python tools/bench_codec.py [--checkpoints DIR] [--networks DIR] [--quick]
                                [--output docs/benchmarks/codec.json] [--chart docs/benchmarks/codec.svg]

Inputs are the ternary tensors of every checkpoint in the folders, and synthetic ones with independent weights.
Speeds are one thread's, weights per second, the best of several runs; every decoder's result is compared. Peers
that are not installed are reported as missing: brotli, constriction, nncodec (`pip install --no-deps nncodec`), tmq.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from codec_peers import Coder, Network, Payloads, peers
from machine import provenance
from rich.console import Console
from rich.table import Table

from ternzip.checkpoint.load import open_checkpoint
from ternzip.codecs import BY_NAME, Geometry, Trits
from ternzip.codecs.base import DecodeJob
from ternzip.codecs.context import EFFORTS, ContextCodec
from ternzip.codecs.ternary import detect, trits_of
from ternzip.container.tensor import RawTensor
from ternzip.symbols import SymbolCounts

ZEROS = (1 / 3, 0.5, 0.9, 0.98, 0.995)
SLOW_LIMIT = 5_000_000  # weights up to which coders that need minutes for more take part


@dataclass
class Input:
    name: str
    network: Network

    @property
    def weights(self) -> int:
        return sum(tensor.size for tensor in self.network)

    @property
    def zeros(self) -> float:
        return sum(int((tensor == 0).sum()) for tensor in self.network) / self.weights

    @property
    def entropy(self) -> float:
        """Bits for each tensor at its own order-0 entropy."""
        return sum(counts_of(tensor).entropy * tensor.size for tensor in self.network)


def counts_of(trits: Trits) -> SymbolCounts:
    return SymbolCounts(int((trits == -1).sum()), int((trits == 0).sum()), int((trits == 1).sum()))


def ternzip_coder(name: str, parameters: bytes = b"") -> Coder:
    """A ternary codec of ternzip, chunk by chunk as in a file; `context` may decode chunks in lockstep."""
    codec = BY_NAME[name]

    def chunks(tensor: Trits) -> Iterator[tuple[Trits, Geometry]]:
        flat = tensor.reshape(-1)
        for start, geometry in Geometry.of_shape(tensor.shape).chunks():
            yield flat[start : start + geometry.symbols], geometry

    def encode(network: Network) -> Payloads:
        return [
            codec.encode(trits, geometry, counts, parameters)
            for tensor in network
            for counts in [counts_of(tensor)]
            for trits, geometry in chunks(tensor)
        ]

    def decode(payloads: Payloads, network: Network, out: Network) -> None:
        waiting = iter(payloads)
        jobs = [
            DecodeJob(memoryview(next(waiting)), geometry, known, parameters, trits)
            for tensor, known in zip(out, known_counts(network), strict=True)
            for trits, geometry in chunks(tensor)
        ]
        if isinstance(codec, ContextCodec):
            assert all(codec.decode_many(jobs))
            return
        for job in jobs:
            codec.decode(job.payload, job.geometry, job.counts, job.parameters, job.out)

    cache: dict[int, list[SymbolCounts]] = {}

    def known_counts(network: Network) -> list[SymbolCounts]:
        """What a file states beside the payload, counted outside the timed run."""
        key = id(network)
        if key not in cache:
            cache.clear()
            cache[key] = [counts_of(tensor) for tensor in network]
        return cache[key]

    label = f"ternzip {name}" + (f" {parameters[0]}" if parameters else "")
    return Coder(label, encode, decode, prepare=known_counts)


def own_coders() -> list[Coder]:
    efforts = [ternzip_coder("context", bytes([effort])) for effort in EFFORTS]
    return [*efforts, ternzip_coder("fast"), ternzip_coder("static"), ternzip_coder("packed")]


def network_of(path: Path) -> Network:
    network = []
    with closing(open_checkpoint(str(path))) as checkpoint:
        for _, tensor in checkpoint.tensors():
            ternary = detect(tensor) if isinstance(tensor, RawTensor) else None
            if ternary is not None and tensor_is_weight(ternary.geometry):
                assert isinstance(tensor, RawTensor)
                network.append(trits_of(tensor).reshape(tensor.shape))
    return network


def tensor_is_weight(geometry: Geometry) -> bool:
    """Not a bias, a scale or a counter that happens to hold three values."""
    return geometry.rows > 1 and geometry.symbols >= 64


def synthetic(quick: bool) -> Iterator[Input]:
    rng = np.random.default_rng(2024)
    for size in (1_000_000,) if quick else (1_000_000, 4_300_000, 64_000_000):
        for zeros in ZEROS:
            uniform = rng.random(size, np.float32).reshape(size // 1000, 1000)
            trits = (uniform >= zeros).astype(np.int8)
            trits[uniform >= zeros + (1 - zeros) / 2] = -1
            yield Input(f"i.i.d. {size / 1e6:g} M, {100 * zeros:.4g} % zeros", [trits])


def best_time(action: Callable[[], object], seconds: float) -> float:
    best = float("inf")
    start = time.perf_counter()
    for run in range(50):
        before = time.perf_counter()
        action()
        now = time.perf_counter()
        best = min(best, now - before)
        if run >= 2 and now - start > seconds:
            break
    return best


def measure(coder: Coder, item: Input, seconds: float) -> dict[str, Any]:
    """Bytes, bits per weight, speeds; raises if the decoded weights differ."""
    if coder.prepare is not None:
        coder.prepare(item.network)
    payloads = coder.encode(item.network)
    size = sum(len(payload) for payload in payloads)
    result: dict[str, Any] = {"bytes": size, "bits_per_weight": 8 * size / item.weights}
    out = [np.full(tensor.shape, 2, np.int8) for tensor in item.network]
    decode = coder.decode
    result["decode_per_second"] = item.weights / best_time(
        lambda: decode(payloads, item.network, out), seconds
    )
    for decoded, tensor in zip(out, item.network, strict=True):
        if not np.array_equal(decoded, tensor):
            raise SystemExit(f"{item.name}: {coder.name} does not restore the weights")
    result["encode_per_second"] = item.weights / best_time(lambda: coder.encode(item.network), seconds / 2)
    return result


def copy_speed(item: Input, seconds: float) -> float:
    out = [np.zeros_like(tensor) for tensor in item.network]

    def copy() -> None:
        for target, tensor in zip(out, item.network, strict=True):
            np.copyto(target, tensor)

    return item.weights / best_time(copy, seconds)


def run(items: Iterator[Input], coders: Sequence[Coder], seconds: float) -> list[dict[str, Any]]:
    console = Console(width=100)
    results = []
    for item in items:
        row: dict[str, Any] = {
            "input": item.name,
            "weights": item.weights,
            "zeros": item.zeros,
            "entropy_bits_per_weight": item.entropy / item.weights,
            "copy_int8_per_second": copy_speed(item, seconds / 4),
            "coders": {},
        }
        for coder in coders:
            if not coder.slow or item.weights <= SLOW_LIMIT:
                row["coders"][coder.name] = measure(coder, item, seconds)
        results.append(row)
        console.print(table_of(row))
    return results


def table_of(row: dict[str, Any]) -> Table:
    entropy = row["entropy_bits_per_weight"]
    table = Table(
        title=f"{row['input']}: {row['weights']:,} weights, {100 * row['zeros']:.2f} % zeros, "
        f"order-0 entropy {entropy:.4f} bits"
    )
    for heading in ("coder", "bits/weight", "of entropy", "encode G/s", "decode G/s", "of copying int8"):
        table.add_column(heading, justify="left" if heading == "coder" else "right")
    for name, found in sorted(row["coders"].items(), key=lambda pair: pair[1]["bytes"]):
        table.add_row(
            name,
            f"{found['bits_per_weight']:.4f}",
            f"{found['bits_per_weight'] / entropy:.3f}" if entropy else "-",
            f"{found['encode_per_second'] / 1e9:.3f}",
            f"{found['decode_per_second'] / 1e9:.3f}",
            f"{found['decode_per_second'] / row['copy_int8_per_second']:.2f}",
        )
    return table


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Size against decode speed, a panel for each input."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(3, len(rows))
    lines = -(-len(rows) // columns)
    figure, axes = pyplot.subplots(lines, columns, figsize=(5 * columns, 3.8 * lines), squeeze=False)
    for axis, row in zip(axes.flat, rows, strict=False):
        for name, found in row["coders"].items():
            speed, bits = found["decode_per_second"] / 1e9, found["bits_per_weight"]
            own = name.startswith("ternzip")
            axis.scatter(speed, bits, color="tab:red" if own else "tab:gray", s=18, zorder=3)
            axis.annotate(name, (speed, bits), fontsize=6, xytext=(3, 2), textcoords="offset points")
        axis.axhline(row["entropy_bits_per_weight"], color="tab:blue", linewidth=0.8, linestyle="--")
        axis.set_xscale("log")
        axis.set_title(row["input"], fontsize=8)
        axis.set_xlabel("decode, 10⁹ weights/s", fontsize=7)
        axis.set_ylabel("bits per weight", fontsize=7)
        axis.tick_params(labelsize=6)
    for axis in axes.flat[len(rows) :]:
        axis.remove()
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def inputs(arguments: argparse.Namespace) -> Iterator[Input]:
    for folder in (arguments.checkpoints, arguments.networks):
        for path in sorted(folder.iterdir()) if folder is not None else ():
            if path.suffix in (".pt", ".pth", ".safetensors"):
                network = network_of(path)
                if network:
                    yield Input(path.stem, network)
    if not arguments.no_synthetic:
        yield from synthetic(arguments.quick)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--checkpoints", type=Path, help="folder of checkpoint files")
    parser.add_argument("--networks", type=Path, help="folder of further networks")
    parser.add_argument("--no-synthetic", action="store_true", help="the folders only")
    parser.add_argument("--quick", action="store_true", help="short timings, small synthetic tensors")
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks/codec.json"))
    parser.add_argument("--chart", type=Path, default=Path("docs/benchmarks/codec.svg"))
    arguments = parser.parse_args()
    others, missing = peers()
    rows = run(inputs(arguments), [*own_coders(), *others], 0.1 if arguments.quick else 1.0)
    if missing:
        Console().print("missing:", missing)
    result = {**provenance(), "threads": 1, "missing": missing, "results": rows}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if rows:
        draw(rows, arguments.chart)


if __name__ == "__main__":
    main()
