"""Floats that are not ternary, side by side: size and speed of ternzip, of an older ternzip, and of everybody else.

    python tools/bench_floats.py [--checkpoint FILE] [--older FOLDER:FOLDER] [--megabytes 100] [--rounds 5]
                                 [--only TEXT] [--output docs/benchmarks/floats.json]

One thread each. `ternzip` is save and load to and from bytes, `ternzip blocks` the codec beneath alone; zstd at
level 3, ZipNN (`pip install zipnn`) and a plain copy take the bytes of the elements. Coders take turns over the
rounds, and the best of each counts, so that a slow spell of the machine meets them all; beside the time that passed
stands the processor time, which other programs disturb less. Everything that is read back is compared. --older names
what must come first in PYTHONPATH for another ternzip, which is measured in a process of its own. Inputs that are not
run again stay in the JSON as they were, each with its own date.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zstandard
from numpy.typing import NDArray

import ternzip

State = dict[str, torch.Tensor]

DTYPES = {
    "normal bfloat16": torch.bfloat16,
    "normal float16": torch.float16,
    "normal float32": torch.float32,
    "normal float64": torch.float64,
    "normal float8_e4m3fn": torch.float8_e4m3fn,
}


def inputs(megabytes: float, checkpoint: str | None) -> Iterator[tuple[str, Callable[[], State]]]:
    """Names, and what makes the tensors; the same in every process."""
    size = int(megabytes * 1e6)

    def normal(count: int) -> torch.Tensor:
        return torch.randn(count, generator=torch.Generator().manual_seed(2026)) * 0.02

    def weights(dtype: torch.dtype) -> State:
        count = size // dtype.itemsize
        if dtype is torch.float64:  # a conversion would leave half of its bits zero
            generator = torch.Generator().manual_seed(2026)
            return {"w": torch.randn(count, generator=generator, dtype=dtype) * 0.02}
        # Of the few values of float8, scaled weights use most.
        return {"w": (normal(count) * (50 if dtype.itemsize == 1 else 1)).to(dtype)}

    def pruned(dtype: torch.dtype) -> State:
        kept = torch.rand(size // dtype.itemsize, generator=torch.Generator().manual_seed(1)) < 0.1
        return {"w": torch.where(kept, normal(kept.numel()), 0.0).to(dtype)}

    for name, dtype in DTYPES.items():
        yield name, lambda dtype=dtype: weights(dtype)  # type: ignore[misc]
    if checkpoint is not None:
        yield Path(checkpoint).stem, lambda: tensors_of(checkpoint)
    yield "constant float32", lambda: {"w": torch.full((size // 4,), 1.5)}
    yield "sorted float32", lambda: {"w": normal(size // 4).sort().values}
    yield "repeated float32", lambda: {"w": normal(size // 1024).repeat(256)}
    for name, dtype in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        yield f"pruned {name}, 90 % zeros", lambda dtype=dtype: pruned(dtype)  # type: ignore[misc]
    yield (
        "real complex64",
        lambda: {"w": torch.complex(normal(size // 8), torch.zeros(size // 8))},
    )
    yield (
        "random bytes",
        lambda: {"w": torch.from_numpy(np.random.default_rng(1).integers(0, 256, size, np.uint8))},
    )


def tensors_of(path: str) -> State:
    """The floats of a checkpoint, or of the state_dict within it."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    content = content.get("state_dict", content)
    return {k: v for k, v in content.items() if isinstance(v, torch.Tensor) and v.is_floating_point()}


def elements(state: State) -> bytes:
    return b"".join(t.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() for t in state.values())


@dataclass
class Coder:
    """`save` takes what `prepare` makes anew for each run, untimed; `load` takes what `save` returned."""

    prepare: Callable[[State], Any]
    save: Callable[[Any], Any]
    load: Callable[[Any], Any]
    size: Callable[[Any], int] = len
    restored: Callable[[Any], bytes] = bytes


def ternzip_coder() -> Coder:
    return Coder(
        lambda state: state,
        lambda state: ternzip.save(state, threads=1),
        lambda data: ternzip.load(data, threads=1),
        restored=elements,
    )


def blocks_coder(state: State) -> Coder:
    """The codec of one large tensor, without the container around it."""
    from ternzip._core.dtypes import BY_NAME
    from ternzip.codecs.planes import MAX_BLOCK_BYTES, Run, decode_block, encode_block

    dtype = BY_NAME[str(next(iter(state.values())).dtype).removeprefix("torch.")]

    def save(raw: bytes) -> list[tuple[bytes, Run]]:
        data = np.frombuffer(raw, np.uint8)
        pieces = [data[i : i + MAX_BLOCK_BYTES] for i in range(0, data.size, MAX_BLOCK_BYTES)]
        return [(encode_block(piece, [Run(piece.size, dtype)]), Run(piece.size, dtype)) for piece in pieces]

    def load(blocks: list[tuple[bytes, Run]]) -> NDArray[np.uint8]:
        out = np.empty(sum(run.size for _, run in blocks), np.uint8)
        start = 0
        for block, run in blocks:
            decode_block(memoryview(block), [run], out[start : start + run.size])
            start += run.size
        return out

    return Coder(elements, save, load, lambda blocks: sum(len(block) for block, _ in blocks))


def zipnn_coder(state: State) -> Coder:
    zipnn = importlib.import_module("zipnn")
    name = str(next(iter(state.values())).dtype).removeprefix("torch.")
    coder = zipnn.ZipNN(input_format="byte", bytearray_dtype=name, threads=1)
    # It works in the buffer it is given, so each run gets its own.
    return Coder(lambda state: bytearray(elements(state)), coder.compress, coder.decompress)


def coders(state: State, kind: str) -> dict[str, Callable[[], Coder]]:
    if kind == "older":
        return {"ternzip, older": ternzip_coder}
    found: dict[str, Callable[[], Coder]] = {"ternzip": ternzip_coder}
    if len(state) == 1:
        found["ternzip blocks"] = lambda: blocks_coder(state)
    found["ZipNN"] = lambda: zipnn_coder(state)
    zstd = zstandard.ZstdCompressor(level=3), zstandard.ZstdDecompressor()
    found["zstd -3"] = lambda: Coder(elements, zstd[0].compress, zstd[1].decompress)
    found["copy"] = lambda: Coder(elements, bytearray, bytearray)
    return found


@dataclass
class Times:
    """The best so far, in seconds: passed, and of the processor."""

    wall: float = float("inf")
    processor: float = float("inf")

    def run(self, action: Callable[[], Any]) -> Any:
        wall, processor = time.perf_counter(), time.process_time()
        result = action()
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        self.wall, self.processor = min(self.wall, wall), min(self.processor, processor)
        return result


@dataclass
class Measurement:
    coder: Coder
    state: State
    size: int = 0
    save: Times = field(default_factory=Times)
    load: Times = field(default_factory=Times)

    def run(self, expected: bytes) -> None:
        prepared = self.coder.prepare(self.state)
        saved = self.save.run(lambda: self.coder.save(prepared))
        self.size = self.coder.size(saved)
        loaded = self.load.run(lambda: self.coder.load(saved))
        if self.coder.restored(loaded) != expected:
            raise ValueError("does not restore the bytes")

    def result(self, size: int) -> dict[str, float]:
        return {
            "bytes": self.size,
            "ratio": self.size / size,
            "save_gb_per_s": size / self.save.wall / 1e9,
            "load_gb_per_s": size / self.load.wall / 1e9,
            "save_gb_per_processor_s": size / max(self.save.processor, 1e-9) / 1e9,
            "load_gb_per_processor_s": size / max(self.load.processor, 1e-9) / 1e9,
        }


def serve(kind: str, megabytes: float, checkpoint: str | None) -> None:
    """In a process of its own: an input's name, then a line for each round, an empty one to have the results."""
    torch.set_num_threads(1)
    known = dict(inputs(megabytes, checkpoint))
    for line in sys.stdin:
        state = known[line.rstrip("\n")]()
        expected = elements(state)
        measurements: dict[str, Measurement] = {}
        failed: dict[str, str] = {}
        for name, make in coders(state, kind).items():
            try:
                measurements[name] = Measurement(make(), state)
            except Exception as error:  # a peer that is missing or does not take the type is reported as such
                failed[name] = f"{type(error).__name__}: {error}"
        while sys.stdin.readline().strip():
            for name, measurement in list(measurements.items()):
                try:
                    measurement.run(expected)
                except Exception as error:
                    if name.startswith("ternzip"):
                        raise
                    failed[name] = f"{type(error).__name__}: {error}"
                    del measurements[name]
            print("done", flush=True)
        found = {name: one.result(len(expected)) for name, one in measurements.items()}
        print(json.dumps({"bytes": len(expected), "coders": found, "failed": failed}), flush=True)


class Server:
    def __init__(self, kind: str, arguments: argparse.Namespace, path: str | None) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        if path is not None:
            environment["PYTHONPATH"] = path
        command = [sys.executable, __file__, "--serve", kind, "--megabytes", str(arguments.megabytes)]
        if arguments.checkpoint:
            command += ["--checkpoint", arguments.checkpoint]
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def hear(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a process that measures has ended")
        return line

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def measure(name: str, servers: list[Server], rounds: int) -> dict[str, Any]:
    for server in servers:
        server.tell(name)
    for _ in range(rounds):
        for server in servers:
            server.tell("round")
            server.hear()
    row: dict[str, Any] = {"input": name, "coders": {}, "failed": {}}
    for server in servers:
        server.tell("")
        found = json.loads(server.hear())
        row["bytes"] = found["bytes"]
        row["coders"].update(found["coders"])
        row["failed"].update(found["failed"])
    return row


def show(row: dict[str, Any]) -> None:
    print(f"{row['input']}, {row['bytes']:,} bytes: ratio; saved, loaded in GB/s (of processor time)")
    for name, found in row["coders"].items():
        print(
            f"  {name:15} {found['ratio']:.4f}  {found['save_gb_per_s']:6.2f} {found['load_gb_per_s']:6.2f}"
            f"  ({found['save_gb_per_processor_s']:.2f} {found['load_gb_per_processor_s']:.2f})"
        )
    for name, problem in row["failed"].items():
        print(f"  {name:15} {problem}")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--checkpoint", help="a .pt file of float tensors")
    parser.add_argument(
        "--older", help="folders, joined by :, that hold another ternzip and its native module"
    )
    parser.add_argument("--megabytes", type=float, default=100, help="size of the inputs that are made")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="measure inputs whose name holds this")
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks/floats.json"))
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.megabytes, arguments.checkpoint)
        return
    from sections import merge_sections

    servers = [Server("current", arguments, None)]
    if arguments.older:
        servers.append(Server("older", arguments, arguments.older))
    rows = []
    for name, _ in inputs(arguments.megabytes, arguments.checkpoint):
        if arguments.only in name:
            rows.append(measure(name, servers, arguments.rounds))
            show(rows[-1])
            section = {"rounds": arguments.rounds, "threads": 1, "results": rows}
            merge_sections(arguments.output, {"floats": section}, keep_others=True)
    for server in servers:
        server.close()


if __name__ == "__main__":
    main()
