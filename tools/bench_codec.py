"""Ternary codecs side by side: bits per weight and speed of ternzip's and everybody else's, in one run.

    python tools/bench_codec.py [--checkpoints DIR] [--networks DIR] [--sections NAME,NAME]
                                [--only TEXT] [--seconds 0.4] [--output docs/benchmarks/codec.json]
                                [--chart docs/benchmarks/codec.svg]

Inputs are the ternary tensors of every checkpoint in the two folders, and synthetic ones with independent weights,
large and small, and large matrices of rows and columns that differ: the sections checkpoints, networks, independent,
small and matrices. The folders may hold runs of `ternzip train`, done or in progress: of each the best.ckpt is taken,
its latent weights made ternary, under the name of the run's folder.
Speeds are one thread's, weights per second, the best of several runs, in rounds in which each coder has its turn, so
that a slow spell of the machine meets them all; every decoder's result is compared. Sections that are not run again
stay in the JSON as they were, each with its own date; --only keeps the inputs whose name holds the text, and replaces
only them. The chart and the tables are made of the whole JSON; with `--sections ""` nothing is
measured. Peers that are not installed are reported as missing: brotli, constriction, nncodec
(`pip install --no-deps nncodec`), tmq.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from codec_chart import draw
from codec_peers import Coder, Network, Payloads, peers
from rich.console import Console
from rich.table import Table
from sections import merge_sections

from ternzip._core.symbols import SymbolCounts
from ternzip._core.tensor import RawTensor
from ternzip.checkpoint.load import open_checkpoint
from ternzip.codecs import BY_NAME, DEFAULT_EFFORT, Geometry, TernaryCodec, Trits
from ternzip.codecs.base import DecodeJob
from ternzip.codecs.context import EFFORTS, ContextCodec
from ternzip.codecs.ternary import detect, trits_of
from ternzip.io.tensors import to_raw
from ternzip.quantization import ternary_state
from ternzip.training.network import restore
from ternzip.training.runs import read_run_checkpoint

SUFFIXES = (".pt", ".pth", ".ckpt", ".safetensors")
# Sizes of synthetic tensors, with their shares of zeros.
SYNTHETIC = {
    1_000_000: (1 / 3, 0.5, 0.9, 0.98, 0.995),
    4_300_000: (0.5, 0.9, 0.98),
    64_000_000: (1 / 3, 0.5, 0.9, 0.98, 0.995),
}
# Names, the weights of each tensor, and their share of zeros.
SMALL = (
    ("16 small tensors, 98 % zeros", [10_872] * 16, 0.98),
    ("100 tensors of 504 weights, 50 % zeros", [504] * 100, 0.5),
    ("100 tensors of 504 weights, 90 % zeros", [504] * 100, 0.9),
)
# Shares of zeros of matrices of 2048 x 2048 weights.
MATRICES = (0.5, 0.8, 0.95)
# Each coder is timed so often, with all others between.
ROUNDS = 3
SLOW_LIMIT = 5_000_000  # weights up to which slow coders take part: they need minutes for ten times as many


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


def ternzip_coder(codec: TernaryCodec, variant: str = "", slow: bool = False) -> Coder:
    """A ternary codec of ternzip, chunk by chunk as in a file; `context` may decode chunks in lockstep."""

    def chunks(tensor: Trits) -> Iterator[tuple[Trits, Geometry]]:
        flat = tensor.reshape(-1)
        for start, geometry in Geometry.of_shape(tensor.shape).chunks():
            yield flat[start : start + geometry.symbols], geometry

    def encode(network: Network) -> Payloads:
        return [
            codec.encode(trits, geometry, counts, b"")
            for tensor, counts in zip(network, known_counts(network), strict=True)
            for trits, geometry in chunks(tensor)
        ]

    def decode(payloads: Payloads, network: Network, out: Network) -> None:
        waiting = iter(payloads)
        jobs = [
            DecodeJob(memoryview(next(waiting)), geometry, known, b"", trits)
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
        """What a writer finds with the levels and a file states beside the payload: not part of a timed run."""
        key = id(network)
        if key not in cache:
            cache.clear()
            cache[key] = [counts_of(tensor) for tensor in network]
        return cache[key]

    return Coder(f"ternzip {codec.name}{variant}", encode, decode, prepare=known_counts, slow=slow)


def own_coders() -> list[Coder]:
    efforts = [
        ternzip_coder(ContextCodec(effort), f" {effort}", slow=effort != DEFAULT_EFFORT) for effort in EFFORTS
    ]
    return [*efforts, *(ternzip_coder(BY_NAME[name]) for name in ("fast", "static", "packed"))]


def network_of(path: Path) -> Network:
    network = []
    for tensor in tensors_of(path):
        ternary = detect(tensor)
        if ternary is not None and tensor_is_weight(ternary.geometry):
            network.append(trits_of(tensor).reshape(tensor.shape))
    return network


def tensors_of(path: Path) -> Iterator[RawTensor]:
    """All tensors of a checkpoint; of a run's .ckpt, those that its network runs with."""
    if path.suffix == ".ckpt":
        run = read_run_checkpoint(path)
        for name, weight in ternary_state(restore(run, path)).items():
            yield to_raw(name, weight)
        return
    with closing(open_checkpoint(str(path))) as checkpoint:
        for _, tensor in checkpoint.tensors():
            if isinstance(tensor, RawTensor):
                yield tensor


def tensor_is_weight(geometry: Geometry) -> bool:
    """Not a bias, a scale or a counter that happens to hold three values."""
    return geometry.rows > 1 and geometry.symbols >= 64


def iid_trits(size: int, zeros: float) -> Trits:
    """Independent weights, as many negative as positive ones, 1,000 to a row."""
    uniform = np.random.default_rng(2024).random(size, np.float32).reshape(size // 1000, 1000)
    trits = (uniform >= zeros).astype(np.int8)
    trits[uniform >= zeros + (1 - zeros) / 2] = -1
    return trits


def uneven_trits(side: int, zeros: float) -> Trits:
    """A square matrix of rows and columns of differing scales, as trained layers have, ternarized by one threshold."""
    rng = np.random.default_rng(2024)
    rows, columns = (np.exp(0.3 * rng.standard_normal(shape)) for shape in ((side, 1), (1, side)))
    weights = rng.standard_normal((side, side)) * rows * columns
    threshold = np.quantile(np.abs(weights), zeros)
    trits: Trits = (np.sign(weights) * (np.abs(weights) > threshold)).astype(np.int8)
    return trits


def best_time(action: Callable[[], object], seconds: float, repeats: int = 3) -> float:
    """The shortest of `repeats` runs or more, which take `seconds` or more; of one that takes long, it alone.

    Freeing what the action returns is not part of its time.
    """
    best = float("inf")
    start = time.perf_counter()
    for run in range(1, 51):
        before = time.perf_counter()
        result = action()
        now = time.perf_counter()
        del result
        best = min(best, now - before)
        if now - start > seconds and (run >= repeats or now - start > 5 * seconds):
            break
    return best


class Measurement:
    """One coder on one input."""

    def __init__(self, coder: Coder, item: Input) -> None:
        """Encodes, and decodes to see that the weights come back."""
        if coder.prepare is not None:
            coder.prepare(item.network)
        self.coder, self.item = coder, item
        self.payloads = coder.encode(item.network)
        self.out = [np.full(tensor.shape, 2, np.int8) for tensor in item.network]
        self.decode()
        for decoded, tensor in zip(self.out, item.network, strict=True):
            if not np.array_equal(decoded, tensor):
                raise SystemExit(f"{item.name}: {coder.name} does not restore the weights")
        self.decode_seconds = self.encode_seconds = float("inf")

    def decode(self) -> None:
        self.coder.decode(self.payloads, self.item.network, self.out)

    def time(self, seconds: float) -> None:
        decoding = best_time(self.decode, seconds, 1)
        encoding = best_time(lambda: self.coder.encode(self.item.network), seconds / 2, 1)
        self.decode_seconds = min(self.decode_seconds, decoding)
        self.encode_seconds = min(self.encode_seconds, encoding)

    def result(self) -> dict[str, Any]:
        size = sum(len(payload) for payload in self.payloads)
        return {
            "bytes": size,
            "bits_per_weight": 8 * size / self.item.weights,
            "decode_per_second": self.item.weights / self.decode_seconds,
            "encode_per_second": self.item.weights / self.encode_seconds,
        }


def copy_speed(item: Input, seconds: float) -> float:
    out = [np.zeros_like(tensor) for tensor in item.network]

    def copy() -> None:
        for target, tensor in zip(out, item.network, strict=True):
            np.copyto(target, tensor)

    return item.weights / best_time(copy, seconds)


def run(items: Iterator[Input], coders: Sequence[Coder], seconds: float) -> Iterator[dict[str, Any]]:
    """A row for each input as soon as it is measured; each is printed too."""
    console = Console(width=100)
    for item in items:
        skipped = [coder.name for coder in coders if coder.slow and item.weights > SLOW_LIMIT]
        row: dict[str, Any] = {
            "input": item.name,
            "weights": item.weights,
            "zeros": item.zeros,
            "entropy_bits_per_weight": item.entropy / item.weights,
            "copy_int8_per_second": copy_speed(item, seconds / 4),
            "coders": {},
            "skipped": dict.fromkeys(skipped, f"takes too long for more than {SLOW_LIMIT:,} weights"),
        }
        measurements = [Measurement(coder, item) for coder in coders if coder.name not in skipped]
        for _ in range(ROUNDS):
            for measurement in measurements:
                measurement.time(seconds / ROUNDS)
        row["coders"] = {m.coder.name: m.result() for m in measurements}
        console.print(table_of(row))
        yield row


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


def checkpoints(folder: Path, only: str) -> Iterator[Input]:
    files = [(path.stem, path) for path in folder.iterdir() if path.suffix in SUFFIXES]
    runs = [(path.parent.name, path) for path in folder.glob("*/best.ckpt")]
    for name, path in sorted(files + runs):
        if only in name:
            network = network_of(path)
            if network:
                yield Input(name, network)


def synthetic(only: str) -> Iterator[Input]:
    for size, shares in SYNTHETIC.items():
        for zeros in shares:
            name = f"i.i.d. {size / 1e6:g} M, {100 * zeros:.4g} % zeros"
            if only in name:
                yield Input(name, [iid_trits(size, zeros)])


def matrices(only: str) -> Iterator[Input]:
    for zeros in MATRICES:
        name = f"2048 x 2048, rows and columns differ, {100 * zeros:.4g} % zeros"
        if only in name:
            yield Input(name, [uneven_trits(2048, zeros)])


def small(only: str) -> Iterator[Input]:
    """Networks of small tensors, where what a tensor costs beside its weights shows."""
    for name, sizes, zeros in SMALL:
        if only in name:
            rng = np.random.default_rng(2024)
            shares = [(1 - zeros) / 2, zeros, (1 - zeros) / 2]
            values = np.array([-1, 0, 1], np.int8)
            yield Input(name, [rng.choice(values, (size // 8, 8), p=shares) for size in sizes])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--checkpoints", type=Path, help="folder of checkpoint files")
    parser.add_argument("--networks", type=Path, help="folder of further networks")
    parser.add_argument(
        "--sections", help="which to measure; default: those that have a folder, and made ones"
    )
    parser.add_argument("--only", default="", help="measure inputs whose name holds this")
    parser.add_argument("--seconds", type=float, default=0.4, help="for each timing, at least")
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks/codec.json"))
    parser.add_argument("--chart", type=Path, default=Path("docs/benchmarks/codec.svg"))
    arguments = parser.parse_args()
    folders = {"checkpoints": arguments.checkpoints, "networks": arguments.networks}
    made = {"independent": synthetic, "matrices": matrices, "small": small}
    wanted = [name for name in folders if folders[name] is not None] + list(made)
    if arguments.sections is not None:
        wanted = [name for name in arguments.sections.split(",") if name]
    for name in wanted:
        if name not in (*folders, *made) or (name in folders and folders[name] is None):
            parser.error(f"section {name!r}: expected {', '.join(made)}, or one whose folder is given")
    others, missing = peers()
    console = Console()
    if missing:
        console.print("missing:", missing)
    result = merge_sections(arguments.output, {})
    for name in wanted:
        start = time.perf_counter()
        items = made[name](arguments.only) if name in made else checkpoints(folders[name], arguments.only)
        rows: list[dict[str, Any]] = []
        for row in run(items, [*own_coders(), *others], arguments.seconds):
            rows.append(row)  # what is measured is kept, whatever becomes of the next input
            section = {"threads": 1, "missing": missing, "results": rows}
            result = merge_sections(arguments.output, {name: section}, keep_others=bool(arguments.only))
        console.print(f"{name}: {time.perf_counter() - start:.0f} s")
    draw(result["sections"], arguments.chart)


if __name__ == "__main__":
    main()
