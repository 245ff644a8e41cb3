"""A model of transformers from a folder of .tnz files, beside the same from safetensors: time and peak memory.

    python tools/bench_hf.py [--megabytes 200] [--rounds 5] [--output docs/benchmarks/hf.json]

Random-weight Llamas in bfloat16, once with ordinary and once with ternary weights (one level a tensor). Every load
is a process of its own, that measures the call alone; the formats take turns, and the medians count. The logits
of all must be equal. For Linux, as it reads memory from /proc.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import provenance

from ternzip.io.atomic import atomic_file

FORMATS = ("safetensors", "tnz auto", "tnz fast")


def make(folder: Path, megabytes: int, *, ternary: bool) -> dict[str, Any]:
    """The model in each format below `folder`, and what they weigh."""
    import torch
    import transformers

    from ternzip.checkpoint.folder import compress_folder

    hidden, vocabulary = 1024, 8192
    layer = 2 * (4 * hidden * hidden + 3 * hidden * 2816)
    layers = max(1, round((megabytes * 1_000_000 - 2 * 2 * hidden * vocabulary) / layer))
    config = transformers.LlamaConfig(
        hidden_size=hidden,
        intermediate_size=2816,
        num_hidden_layers=layers,
        num_attention_heads=16,
        num_key_value_heads=16,
        vocab_size=vocabulary,
        dtype="bfloat16",
    )
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config).to(torch.bfloat16)
    if ternary:
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "proj" in name:
                    magnitude = weight.abs().float()
                    kept = magnitude > 0.7 * magnitude.mean()
                    weight.copy_(weight.sign() * kept * magnitude[kept].mean())
    model.save_pretrained(folder / "safetensors")
    for name in FORMATS[1:]:
        compress_folder(folder / "safetensors", folder / name, codec=name.split()[1])
    return {
        "layers": layers,
        "bytes": {name: sum(p.stat().st_size for p in (folder / name).iterdir()) for name in FORMATS},
    }


def resident(key: str) -> int:
    """Bytes of this process in memory: now (VmRSS) or at most so far (VmHWM); mapped files count where touched."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key))


def load(folder: Path) -> dict[str, Any]:
    """One load and first use in this process: seconds, peak memory beyond the imports', a digest of the logits."""
    import torch
    import transformers

    from ternzip.hf import from_pretrained

    transformers.logging.set_verbosity_error()
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    start = time.perf_counter()
    if folder.name == "safetensors":
        model = transformers.LlamaForCausalLM.from_pretrained(folder)
    else:
        model = from_pretrained(folder)
    seconds = time.perf_counter() - start
    with torch.no_grad():
        logits = model(torch.arange(16).reshape(1, 16)).logits
    until_logits = time.perf_counter() - start
    peak = resident("VmHWM")  # only now: weights of a mapped file are in memory once they have been used
    digest = hashlib.sha256(logits.float().numpy().tobytes()).hexdigest()
    return {
        "seconds": seconds,
        "seconds_to_logits": until_logits,
        "peak_bytes": peak - before,
        "logits": digest,
    }


def measure(megabytes: int, rounds: int, *, ternary: bool) -> dict[str, Any]:
    """Medians of all formats, taken in turns."""
    with tempfile.TemporaryDirectory() as place:
        row: dict[str, Any] = {"weights": "ternary" if ternary else "ordinary"}
        row.update(make(Path(place), megabytes, ternary=ternary))
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in FORMATS}
        for turn in range(rounds):
            for name in FORMATS if turn % 2 else reversed(FORMATS):
                command = [sys.executable, __file__, "--load", str(Path(place, name))]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                found[name].append(json.loads(done.stdout.splitlines()[-1]))
    if len({one["logits"] for ones in found.values() for one in ones}) != 1:
        raise SystemExit("the logits differ")
    row["logits_equal"] = True
    for key in ("seconds", "seconds_to_logits", "peak_bytes"):
        row[key] = {name: statistics.median(one[key] for one in ones) for name, ones in found.items()}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks/hf.json"))
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.load is not None:
        print(json.dumps(load(arguments.load)))
        return
    rows = [measure(arguments.megabytes, arguments.rounds, ternary=ternary) for ternary in (True, False)]
    result = {**provenance(), "models": rows}
    with atomic_file(arguments.output) as stream:
        stream.write((json.dumps(result, indent=2) + "\n").encode())
    print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
