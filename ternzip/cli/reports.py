"""What the file commands say of their work, to people and to scripts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ternzip.cli.console import listed, plural, say

if TYPE_CHECKING:
    from ternzip.checkpoint.base import Checkpoint
    from ternzip.checkpoint.rounding import Rounding
    from ternzip.checkpoint.ternarize import Ternarization
    from ternzip.container.describe import FileInfo


def report_skipped(checkpoint: Checkpoint) -> None:
    for name in checkpoint.skipped:
        say(f"ternzip: note: {checkpoint.name}: {name!r} is not a tensor of the model and is not stored.")


def report_ternarization(done: Ternarization) -> None:
    how = "0.7 x mean |w| of each tensor" if done.delta is None else f"Delta = {done.delta:g}"
    levels = "-+ mean |w| of the kept weights" if done.scaled else "-1 and +1"
    say(
        f"ternzip: ternarized {plural(len(done.changed), 'tensor')} ({done.counts.total:,} weights), {how}, "
        f"levels {levels}: {100 * done.counts.sparsity:.2f} % zeros. "
        "The file does not restore the full-precision weights."
    )
    if done.kept:
        say(f"ternzip: left {plural(len(done.kept), 'tensor')} as found: {listed(done.kept)}")


def report_rounding(done: Rounding) -> None:
    say(
        f"ternzip: rounded {plural(len(done.changed), 'tensor')} ({done.elements:,} elements) to "
        f"{str(done.dtype).removeprefix('torch.')}, absolute error at most {done.largest:.2g}: "
        f"{listed(done.changed)}. The file does not restore the unrounded values."
    )


def summary(src: str, source_bytes: int | None, target: str, info: FileInfo) -> str:
    ratio = f", {source_bytes / info.bytes:.1f} x smaller" if source_bytes else ""
    before = f" ({source_bytes:,} bytes)" if source_bytes else ""
    line = f"{src}{before} -> {target} ({info.bytes:,} bytes{ratio})"
    if not info.counts.total:
        return line + "; no ternary weights"
    return line + (
        f"; {info.counts.total:,} ternary weights, {100 * info.counts.sparsity:.2f} % zeros: "
        f"{8 * info.ternary_bytes / info.counts.total:.4f} bits/weight "
        f"(order-0 entropy {8 * info.predicted_bytes / info.counts.total:.4f})"
    )


def tensors_json(info: FileInfo) -> list[dict[str, Any]]:
    rows = []
    for tensor in info.tensors:
        row: dict[str, Any] = {
            "name": tensor.name,
            "shape": list(tensor.shape),
            "dtype": tensor.dtype,
            "codec": tensor.codec,
            "bytes": tensor.bytes,
            "tied_to": tensor.tied_to,
        }
        if tensor.counts is not None:
            row |= {
                "levels": tensor.levels and [_json_level(level) for level in tensor.levels],
                "level_rows": tensor.level_rows,
                "counted": tensor.counted,
                "negative": tensor.counts.negative,
                "zero": tensor.counts.zero,
                "positive": tensor.counts.positive,
                "negative_zeros": tensor.negative_zeros,
                "sparsity": tensor.counts.sparsity,
                "entropy": tensor.counts.entropy,
                "bits_per_symbol": tensor.bits_per_symbol,
            }
        rows.append(row)
    return rows


def total_json(info: FileInfo) -> dict[str, Any]:
    weights = info.counts.total
    return {
        "bytes": info.bytes,
        "overhead_bytes": info.overhead,
        "tensors": len(info.tensors),
        "ternary_weights": weights,
        "ternary_bytes": info.ternary_bytes,
        "other_bytes": info.bytes - info.overhead - info.ternary_bytes,
        "negative": info.counts.negative,
        "zero": info.counts.zero,
        "positive": info.counts.positive,
        "sparsity": info.counts.sparsity,
        "entropy": info.counts.entropy,
        "predicted_bytes": info.predicted_bytes,
        "bits_per_symbol": 8 * info.ternary_bytes / weights if weights else None,
    }


def _json_level(level: float | None) -> float | str | None:
    """JSON has no infinities: they are the strings "inf" and "-inf"."""
    return level if level is None or math.isfinite(level) else str(level)
