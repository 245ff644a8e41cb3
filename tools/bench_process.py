"""Whole processes: how quickly the command line starts, and how much memory and reading a large file takes.

    python tools/bench_process.py [--gigabytes 2] [--output docs/benchmarks/process.json]

Start-up is the median of several runs, as a share of `python -c "import torch"` in turn with it. Memory is the
peak of anonymous memory (Linux) while a made .safetensors file of 64 tensors is compressed; reading counts the
bytes that `safe_open` takes from the file for one tensor of it.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from machine import provenance
from safetensors.torch import save_file

from ternzip.container.reader import Reader
from ternzip.container.sources import FileSource

TENSORS = 64


def make_large_file(path: Path, gigabytes: float) -> int:
    """64 float32 matrices, every other one ternary; returns the bytes of the largest tensor."""
    rows = int(gigabytes * 2**30 / TENSORS / 4 / 4096)
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for number in range(TENSORS):
        weight = 0.02 * torch.randn(rows, 4096, generator=generator)
        if number % 2:
            weight = torch.where(weight.abs() < 0.02, torch.tensor(0.0), 0.03125 * weight.sign())
        tensors[f"layers.{number}.weight"] = weight
    save_file(tensors, path)
    return rows * 4096 * 4


def peak_anonymous_bytes(command: list[str]) -> int:
    """Runs a command; the highest RssAnon seen in /proc while it ran."""
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            try:
                found = re.search(r"RssAnon:\s+(\d+) kB", status.read_text())
            except OSError:
                break
            if found:
                peak = max(peak, int(found[1]) * 1024)
            time.sleep(0.005)
        if process.wait() != 0:
            raise SystemExit(f"failed: {' '.join(command)}")
    return peak


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def startup(small: Path, runs: int) -> dict[str, Any]:
    """Medians in seconds, taken in turn, and the ratios pair by pair."""
    commands = {
        "help": [sys.executable, "-m", "ternzip", "--help"],
        "inspect": [sys.executable, "-m", "ternzip", "inspect", str(small)],
        "import torch": [sys.executable, "-c", "import torch"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for run in range(runs + 1):
        for name, command in commands.items():
            took = seconds(command)
            if run:  # the first round warms the disk cache
                times[name].append(took)
    result: dict[str, Any] = {f"{name}_seconds": statistics.median(values) for name, values in times.items()}
    for name in ("help", "inspect"):
        ratios = [own / other for own, other in zip(times[name], times["import torch"], strict=True)]
        result[f"{name}_ratio"] = statistics.median(ratios)
    return result


class RecordingSource(FileSource):
    """Counts what is read."""

    total = 0

    def read(self, offset: int, size: int) -> memoryview:
        self.total += size
        return super().read(offset, size)


def reading(path: Path) -> dict[str, int]:
    """Bytes read for one tensor beyond those of the index, and the bytes of its records."""
    source = RecordingSource(path)
    with Reader(source) as reader:
        index = source.total
        name = list(reader.entries)[TENSORS // 2 + 1]
        reader.read(name)
        stored = sum(record.stored for record in reader.entries[name].records)
    return {"index_bytes": index, "tensor_read_bytes": source.total - index, "tensor_stored_bytes": stored}


def main() -> None:
    parser = argparse.ArgumentParser(description="start-up, memory and reading of whole processes")
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks/process.json"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        large, packed, small = (
            Path(folder) / name for name in ("large.safetensors", "large.tnz", "small.tnz")
        )
        largest = make_large_file(large, arguments.gigabytes)
        source = Path(folder) / "small.safetensors"
        save_file({"weight": torch.randn(64, 64).sign()}, source)
        subprocess.run([sys.executable, "-m", "ternzip", "compress", str(source), str(small)], check=True)
        result = {
            **provenance(),
            "source_bytes": large.stat().st_size,
            "largest_tensor_bytes": largest,
            "limit_bytes": 3 * largest + 300_000_000,
            "peak_anonymous_bytes": peak_anonymous_bytes(
                [sys.executable, "-m", "ternzip", "compress", str(large), str(packed)]
            ),
            "reading": reading(packed),
            "startup": startup(small, arguments.runs),
        }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
