"""What the file commands say of their work, to people and to scripts."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ternzip._core.errors import TernzipError
from ternzip._core.text import listed
from ternzip.cli.console import one_line, plural, say, told

if TYPE_CHECKING:
    from ternzip.checkpoint.compress import CompressReport
    from ternzip.checkpoint.decompress import DecompressReport
    from ternzip.checkpoint.rounding import Rounding
    from ternzip.checkpoint.ternarize import PostTrainingTernarization
    from ternzip.checkpoint.verify import VerifyReport
    from ternzip.container.describe import FileInfo

SCHEMA = 1
"""Version of everything --json prints; a change that a script could notice raises it."""

_MOST_ALMOST_TERNARY = 5  # lines; JSON has them all


def tell(message: str, *, to_stderr: bool = False) -> None:
    """Results go to stdout, unless the data does."""
    print(one_line(message), file=sys.stderr if to_stderr else sys.stdout)


def print_json(value: Mapping[str, Any], *, to_stderr: bool = False) -> None:
    """One JSON object with the version of its schema, indented."""
    text = json.dumps({"schema": SCHEMA, **value}, indent=2, allow_nan=False)
    print(text, file=sys.stderr if to_stderr else sys.stdout)


@contextmanager
def failure_json(wanted: bool, about: Mapping[str, Any]) -> Iterator[None]:
    """Scripts that asked for JSON get the error in it too."""
    try:
        yield
    except TernzipError as error:
        if wanted:
            print_json(
                {**about, "error": told(error)}, to_stderr=about.get("file") == "-" and "source" in about
            )
        raise


def report_compressed(report: CompressReport, merge_zeros: bool) -> None:
    """What was changed on the way in, and what was left out: a line each."""
    if report.ternarized is not None:
        report_ternarization(report.ternarized)
    if report.rounded is not None:
        report_rounding(report.rounded)
    if merge_zeros:
        say("ternzip: note: signs of zeros in ternary tensors were dropped (--merge-zeros).")
    if report.latent:
        done = (
            "stored as such"
            if report.ternarized is None
            else "made ternary by --ternarize, not by their quantizer"
        )
        say(
            f"ternzip: note: {listed(report.latent)}: latent full-precision weights, {done}. "
            "For the network's ternary ones, load them into the prepared model, call ternzip.convert(model) and save "
            "its state_dict."
        )
    for name, why in list(report.almost_ternary.items())[:_MOST_ALMOST_TERNARY]:
        say(f"ternzip: note: {name}: not stored as ternary: {why}")
    more = len(report.almost_ternary) - _MOST_ALMOST_TERNARY
    if more > 0:
        say(f"ternzip: note: {plural(more, 'more tensor')} not stored as ternary, though nearly so")
    if report.not_stored:
        say(f"ternzip: note: {report.source}: not stored: {'; '.join(report.not_stored)}")


def report_not_compared(report: VerifyReport) -> None:
    """What the checkpoint holds and a .tnz file cannot: a line."""
    if report.not_compared:
        say(f"ternzip: note: {report.against}: not compared: {'; '.join(report.not_compared)}")


def report_not_restored(dst: str, report: DecompressReport) -> None:
    """What a .tnz file holds and the checkpoint's format does not keep: a line."""
    if report.not_stored:
        say(f"ternzip: note: {dst}: not stored: {'; '.join(report.not_stored)}")


def report_ternarization(done: PostTrainingTernarization) -> None:
    """What was made ternary and how, and what was left as found."""
    if done.changed:
        _report_changed(done)
    else:
        say(
            "ternzip: ternarized no tensor: found no full-precision weights of two or more dimensions to change."
        )
    if done.kept:
        say(f"ternzip: left {plural(len(done.kept), 'tensor')} as found: {listed(done.kept)}")


def _report_changed(done: PostTrainingTernarization) -> None:
    how = "0.7 x mean |w| of each tensor" if done.delta is None else f"Delta = {done.delta:g}"
    levels = "-+ mean |w| of the kept weights" if done.scaled else "-1 and +1"
    say(
        f"ternzip: ternarized {plural(len(done.changed), 'tensor')} ({done.counts.total:,} weights), {how}, "
        f"levels {levels}: {100 * done.counts.sparsity:.2f} % zeros ({listed(done.changed)}). "
        "The file does not restore the full-precision weights."
    )
    if done.emptied:
        say(
            f"ternzip: warning: {plural(len(done.emptied), 'tensor')} became all zero ({listed(done.emptied)}): "
            "no weight is beyond Delta, and a network computes nothing with such a layer; take a smaller --delta, "
            "--threshold twn, or --skip"
        )


def report_rounding(done: Rounding) -> None:
    """What was rounded, and by how much."""
    if not done.changed:
        say("ternzip: rounded no tensor: found none of float32 or float64 that is not ternary.")
        return
    say(
        f"ternzip: rounded {plural(len(done.changed), 'tensor')} ({done.elements:,} elements) to "
        f"{str(done.dtype).removeprefix('torch.')}, absolute error at most {done.largest:.2g}: "
        f"{listed(done.changed)}. The file does not restore the unrounded values."
    )


def summary(src: str, dst: str, report: CompressReport) -> str:
    """One line of the result: sizes, and what the ternary weights cost."""
    info = report.file
    gain = f"{report.ratio:.1f} x smaller" if report.ratio > 1 else "no smaller than its tensors"
    line = f"{src} ({report.source_bytes:,} bytes) -> {dst} ({info.bytes:,} bytes, {gain})"
    if not info.counts.total:
        return line + "; no ternary weights"
    return line + (
        f"; {info.counts.total:,} ternary weights, {100 * info.counts.sparsity:.2f} % zeros: "
        f"{8 * info.ternary_bytes / info.counts.total:.4f} bits/weight "
        f"(order-0 entropy {info.entropy:.4f})"
    )


def compress_json(src: str, dst: str, report: CompressReport) -> dict[str, Any]:
    """What `compress --json` prints of one source."""
    return {
        "source": src,
        "source_bytes": report.source_bytes,
        "tensor_bytes": report.tensor_bytes,
        "file": dst,
        **total_json(report.file),
        "not_stored": report.not_stored,
        "almost_ternary": report.almost_ternary,
        "latent": report.latent,
        "ternarized": [] if report.ternarized is None else report.ternarized.changed,
        "rounded": [] if report.rounded is None else report.rounded.changed,
    }


def decompress_json(src: str, dst: str, report: DecompressReport) -> dict[str, Any]:
    """What `decompress --json` prints of one source."""
    return {"source": src, "file": dst, "tensors": report.tensors, "not_stored": report.not_stored}


def lost_by(report: CompressReport, merge_zeros: bool) -> list[str]:
    """What of a checkpoint is not in the file that was made of it, a few words each."""
    lost = list(report.not_stored)
    if report.ternarized is not None and report.ternarized.changed:
        lost.append("full-precision weights")
    if report.rounded is not None and report.rounded.changed:
        lost.append("unrounded values")
    if merge_zeros:
        lost.append("signs of zeros")
    return lost


def verify_json(src: str, against: str | None, report: VerifyReport) -> dict[str, Any]:
    """What `verify --json` prints."""
    return {
        "file": src,
        "tensors": report.tensors,
        "against": against,
        "equal": report.equal,
        "differences": report.differences,
        "not_compared": report.not_compared,
    }


def tensors_json(info: FileInfo) -> list[dict[str, Any]]:
    """The tensors of `inspect --json`; what only ternary ones have is left out of the others."""
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
                "level_blocks": tensor.level_blocks,
                "level_block_shape": tensor.level_block_shape and list(tensor.level_block_shape),
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
    """The totals of `inspect --json` and `compress --json`: bytes, symbols, bits per symbol."""
    weights = info.counts.total
    return {
        "bytes": info.bytes,
        "overhead_bytes": info.overhead,
        "tensors": len(info.tensors),
        "ternary_weights": weights,
        "ternary_bytes": info.ternary_bytes,
        "other_bytes": info.tensor_bytes - info.ternary_bytes,
        "extension_bytes": sum(info.extensions.values()),
        "negative": info.counts.negative,
        "zero": info.counts.zero,
        "positive": info.counts.positive,
        "sparsity": info.counts.sparsity,
        "entropy": info.entropy,
        "predicted_bytes": info.predicted_bytes,
        "bits_per_symbol": 8 * info.ternary_bytes / weights if weights else None,
    }


def _json_level(level: float | None) -> float | str | None:
    """JSON has no infinities: they are the strings "inf" and "-inf"."""
    return level if level is None or math.isfinite(level) else str(level)
