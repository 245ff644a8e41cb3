"""Whole files, side by side: a checkpoint, what general compressors make of it, and what ternzip makes of it.

    python tools/bench_files.py --checkpoints DIR [--output docs/benchmarks/files.json]

Every .pt, .pth and .safetensors file in DIR is compressed with each tool that is installed, restored, and
compared bit for bit. `tools/readme_tables.py` puts the result into the README.
"""

from __future__ import annotations

import argparse
import importlib
import json
import lzma
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zstandard
from machine import provenance

import ternzip
from ternzip.container.describe import describe_file
from ternzip.container.reader import Reader


def _general_compressors() -> dict[str, Callable[[bytes], bytes]]:
    tools: dict[str, Callable[[bytes], bytes]] = {
        "zstd -19": zstandard.ZstdCompressor(level=19).compress,
        "xz -9e": lambda data: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME),
    }
    try:
        brotli = importlib.import_module("brotli")
    except ImportError:
        return tools
    return {**tools, "brotli -11": lambda data: brotli.compress(data, quality=11, lgwin=24)}


def measure(path: Path, codecs: list[str]) -> dict[str, Any]:
    """Sizes in bytes for one checkpoint; raises if any ternzip file does not restore it exactly."""
    data = path.read_bytes()
    row: dict[str, Any] = {"file": path.name, "bytes": len(data)}
    row["general"] = {name: len(compress(data)) for name, compress in _general_compressors().items()}
    row["ternzip"] = {}
    with tempfile.TemporaryDirectory() as folder:
        for codec in codecs:
            target = Path(folder) / f"{codec}.tnz"
            ternzip.compress(path, target, codec=codec)
            report = ternzip.verify(target, against=path)
            if report.differences:
                raise SystemExit(f"{path}: not restored: {report.differences[0]}")
            with Reader.open(target) as reader:
                info = describe_file(reader)
            row["ternzip"][codec] = {
                "bytes": info.bytes,
                "ternary_bytes": info.ternary_bytes,
                "overhead_bytes": info.overhead,
                "other_bytes": info.bytes - info.overhead - info.ternary_bytes,
                "bits_per_weight": 8 * info.ternary_bytes / info.counts.total if info.counts.total else None,
            }
            row["weights"] = info.counts.total
            row["sparsity"] = info.counts.sparsity
            row["predicted_bytes"] = info.predicted_bytes
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--checkpoints", type=Path, required=True, help="folder of checkpoint files")
    parser.add_argument("--codecs", nargs="+", default=["auto", "static"], help="ternzip codecs to compare")
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks/files.json"))
    arguments = parser.parse_args()
    paths = sorted(p for p in arguments.checkpoints.iterdir() if p.suffix in (".pt", ".pth", ".safetensors"))
    result = {**provenance(), "files": [measure(path, arguments.codecs) for path in paths]}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result["files"], indent=2))


if __name__ == "__main__":
    main()
