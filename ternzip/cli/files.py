"""compress, decompress, inspect, verify."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from contextlib import closing
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ternzip._core.errors import TernzipError
from ternzip.cli.app import app
from ternzip.cli.console import listed, one_line, plural, progress_bar, say
from ternzip.cli.reports import (
    report_rounding,
    report_skipped,
    report_ternarization,
    summary,
    tensors_json,
    total_json,
)

if TYPE_CHECKING:
    from ternzip.checkpoint.base import Checkpoint
    from ternzip.container.describe import FileInfo
    from ternzip.container.writer import Options

STDIO = "-"
DELTA = 0.1
"""Threshold of --ternarize unless another is given."""


class Codec(str, Enum):
    """The codecs a user may ask for."""

    auto = "auto"
    context = "context"
    fast = "fast"
    static = "static"
    packed = "packed"


class Threshold(str, Enum):
    """How the threshold of --ternarize is found."""

    fixed = "fixed"
    twn = "twn"


class FloatDType(str, Enum):
    """What --float-dtype may round to."""

    bfloat16 = "bfloat16"
    float16 = "float16"


Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="Threads to use.", show_default="all processors")
]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace DST if it exists.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of text.")]


@app.command()
def compress(
    src: Annotated[
        str,
        typer.Argument(
            metavar="SRC",
            help="A .pt, .pth, .ckpt, .safetensors or .tnz file, a folder with a shard index, or - (stdin).",
        ),
    ],
    dst: Annotated[
        str | None,
        typer.Argument(metavar="[DST]", help="The .tnz file; default: SRC's stem + .tnz; - is stdout."),
    ] = None,
    codec: Annotated[
        Codec, typer.Option("--codec", help="Codec for ternary tensors; auto keeps the smallest for each.")
    ] = Codec.auto,
    effort: Annotated[
        int,
        typer.Option("--effort", min=1, max=3, help="Time that context may take for a smaller file."),
    ] = 2,
    threads: Threads = None,
    force: Force = False,
    merge_zeros: Annotated[
        bool, typer.Option("--merge-zeros", help="Store -0.0 in ternary tensors as +0.0 (not lossless).")
    ] = False,
    float_dtype: Annotated[
        FloatDType | None,
        typer.Option(
            "--float-dtype", help="Round float32 and float64 tensors that are not ternary (not lossless)."
        ),
    ] = None,
    as_json: AsJson = False,
    ternarize: Annotated[
        bool,
        typer.Option(
            "--ternarize",
            help="Make full-precision weights ternary (not lossless).",
            rich_help_panel="Ternarize",
        ),
    ] = False,
    threshold: Annotated[
        Threshold,
        typer.Option(
            "--threshold",
            help="fixed: |w| <= DELTA becomes 0, levels -1 and +1; "
            "twn: 0.7 x mean |w| of each tensor, levels scaled.",
            rich_help_panel="Ternarize",
        ),
    ] = Threshold.fixed,
    delta: Annotated[
        float | None,
        typer.Option(
            "--delta",
            min=0,
            help="The fixed threshold.",
            show_default=f"{DELTA}",
            rich_help_panel="Ternarize",
        ),
    ] = None,
    scale: Annotated[
        bool,
        typer.Option(
            "--scale",
            help="Levels of -+ the mean |w| of the kept weights instead of -+1.",
            rich_help_panel="Ternarize",
        ),
    ] = False,
    skip: Annotated[
        list[str] | None,
        typer.Option(
            "--skip",
            metavar="PATTERN",
            help="Leave tensors of this name (* and ? match) alone; repeatable.",
            rich_help_panel="Ternarize",
        ),
    ] = None,
) -> None:
    """Compress a checkpoint into a .tnz file that restores every bit."""
    from ternzip.checkpoint.load import open_checkpoint
    from ternzip.container.writer import Options

    is_twn = threshold is Threshold.twn
    asked = {"--threshold": is_twn, "--delta": delta is not None, "--scale": scale, "--skip": bool(skip)}
    if not ternarize and any(asked.values()):
        raise typer.BadParameter("needs --ternarize", param_hint=" ".join(o for o, on in asked.items() if on))
    if is_twn and delta is not None:
        raise typer.BadParameter("twn finds its own threshold", param_hint="--delta")
    target = dst or _default_target(src, ".tnz")
    _check_output(target, force)
    with closing(open_checkpoint(src)) as checkpoint:
        report_skipped(checkpoint)
        ternarization = None
        if ternarize:
            from ternzip.checkpoint.ternarize import Ternarization

            fixed = DELTA if delta is None else delta
            ternarization = Ternarization(None if is_twn else fixed, is_twn or scale, tuple(skip or ()))
            checkpoint = ternarization.applied_to(checkpoint)
        elif checkpoint.latent:
            say(
                f"ternzip: note: {listed(checkpoint.latent)}: latent full-precision weights, stored as such. "
                "For ternary ones, load them into the prepared model, call ternzip.convert(model) and save "
                "its state_dict; or add --ternarize --delta DELTA."
            )
        rounding = None
        if float_dtype is not None:
            import torch

            from ternzip.checkpoint.rounding import Rounding

            rounding = Rounding(getattr(torch, float_dtype.value))
            checkpoint = rounding.applied_to(checkpoint)
        options = Options(codec=codec.value, effort=effort, merge_zeros=merge_zeros, threads=threads)
        info = _write_tnz(checkpoint, target, options, force)
    if ternarization is not None:
        report_ternarization(ternarization)
    if rounding is not None:
        report_rounding(rounding)
    if merge_zeros:
        say("ternzip: note: signs of zeros in ternary tensors were dropped (--merge-zeros).")
    source_bytes = _size_on_disk(src)
    if as_json:
        _print_json({"source": src, "source_bytes": source_bytes, "file": target, **total_json(info)}, target)
    else:
        _tell(summary(src, source_bytes, target, info), target)


def _write_tnz(checkpoint: Checkpoint, target: str, options: Options, force: bool) -> FileInfo:
    from ternzip.container.describe import describe_file
    from ternzip.container.reader import Reader
    from ternzip.container.writer import write_container
    from ternzip.io.atomic import atomic_file

    with progress_bar("compress", sum(checkpoint.sizes.values())) as progress:
        if target == STDIO:
            # The preamble is written last, so the file is made on disk and then sent.
            with tempfile.TemporaryDirectory(prefix="ternzip-") as folder:
                whole = Path(folder) / "stdout.tnz"
                with whole.open("w+b") as stream:
                    write_container(
                        stream,
                        checkpoint.tensors(),
                        options=options,
                        metadata=checkpoint.metadata,
                        progress=progress,
                    )
                with Reader.open(whole) as reader, whole.open("rb") as stream:
                    info = describe_file(reader)
                    shutil.copyfileobj(stream, sys.stdout.buffer)
                    sys.stdout.buffer.flush()
                    return info
        with atomic_file(target, overwrite=force) as stream:
            write_container(
                stream, checkpoint.tensors(), options=options, metadata=checkpoint.metadata, progress=progress
            )
    with Reader.open(target) as reader:
        return describe_file(reader)


@app.command()
def decompress(
    src: Annotated[str, typer.Argument(metavar="SRC", help="A .tnz file, or - for stdin.")],
    dst: Annotated[
        str | None,
        typer.Argument(
            metavar="[DST]",
            help="A .pt, .pth or .safetensors file; default: SRC's stem + .safetensors; - for stdout.",
        ),
    ] = None,
    threads: Threads = None,
    force: Force = False,
) -> None:
    """Restore the checkpoint in a .tnz file, bit for bit."""
    target = dst or _default_target(src, ".safetensors")
    _check_output(target, force)
    with closing(_open_tnz(src)) as reader:
        if target != STDIO and Path(target).suffix not in (".pt", ".pth", ".safetensors"):
            raise typer.BadParameter(
                f"{target}: expected a name ending in .pt, .pth or .safetensors", param_hint="DST"
            )
        from ternzip.checkpoint.store import write_checkpoint, write_safetensors
        from ternzip.io.tensors import to_tensors

        with progress_bar("decompress", sum(entry.nbytes for entry in reader.entries.values())) as progress:
            tensors = to_tensors(reader.read_all(threads=threads, progress=progress))
        if target == STDIO:
            lost = write_safetensors(tensors, sys.stdout.buffer, metadata=reader.metadata)
            sys.stdout.buffer.flush()
        else:
            lost = write_checkpoint(tensors, target, metadata=reader.metadata, overwrite=force)
    for line in lost:
        say(f"ternzip: note: {line}")
    _tell(f"{src} -> {target}: {plural(len(tensors), 'tensor')} restored", target)


@app.command()
def inspect(
    src: Annotated[str, typer.Argument(metavar="SRC", help="A .tnz file, or - for stdin.")],
    as_json: AsJson = False,
) -> None:
    """Show what a .tnz file holds and what it costs, without decoding it."""
    from ternzip.container.describe import describe_file

    with closing(_open_tnz(src)) as reader:
        info = describe_file(reader)
    if as_json:
        _print_json({"tensors": tensors_json(info), "total": total_json(info), "metadata": info.metadata})
    else:
        from ternzip.cli.tables import print_file

        print_file(src, info)


@app.command()
def verify(
    src: Annotated[str, typer.Argument(metavar="SRC", help="A .tnz file, or - for stdin.")],
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="CHECKPOINT", help="Compare with this checkpoint, bit for bit."),
    ] = None,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Check every checksum and decode everything; compare with a checkpoint on demand."""
    from ternzip.checkpoint.verify import check_all, differences

    found: list[str] = []
    with closing(_open_tnz(src)) as reader:
        count = check_all(reader, threads)
        if against is not None:
            from ternzip.checkpoint.load import open_checkpoint

            with closing(open_checkpoint(against)) as checkpoint:
                found = list(differences(reader, checkpoint, threads))
    if as_json:
        _print_json(
            {"file": src, "tensors": count, "against": against, "equal": not found, "differences": found}
        )
    if found:
        for line in found[1:20]:
            say(f"ternzip: {line}")
        raise TernzipError(f"{src} differs from {against} in {plural(len(found), 'place')}: {found[0]}")
    if not as_json:
        same = f", equal to {against} bit for bit" if against else ""
        _tell(f"{src}: {plural(count, 'tensor')} whole{same}")


def _open_tnz(src: str) -> Any:
    from ternzip.container.reader import Reader
    from ternzip.container.sources import BufferSource

    if src == STDIO:
        return Reader(BufferSource(sys.stdin.buffer.read(), "<stdin>"))
    return Reader.open(src)


def _default_target(src: str, suffix: str) -> str:
    if src == STDIO:
        return STDIO
    path = Path(src)
    if path.is_dir():
        return f"{path if path.name not in ('', '..') else path.resolve()}{suffix}"
    name = path.name
    for ending in (".safetensors.index.json", path.suffix):
        if ending and name.endswith(ending):
            name = name.removesuffix(ending)
            break
    return str(path.with_name(name + suffix))


def _check_output(target: str, force: bool) -> None:
    """Finds out before the work whether the result can be kept."""
    if target == STDIO:
        if sys.stdout.isatty():
            raise typer.BadParameter(
                "refusing to write binary data to a terminal: redirect stdout", param_hint="DST"
            )
        return
    path = Path(target)
    if path.is_dir():
        raise TernzipError(f"{target}: cannot write: is a directory")
    if path.exists() and not path.is_file():
        raise TernzipError(f"{target}: cannot write: not a regular file")
    if path.exists() and not force:
        raise TernzipError(f"{target}: exists already; it is only replaced with --force")
    if not path.parent.is_dir():
        raise TernzipError(f"{target}: cannot write: no folder {path.parent}")


def _size_on_disk(src: str) -> int | None:
    path = Path(src)
    if src == STDIO:
        return None
    if path.name.endswith(".index.json"):
        path = path.parent
    if path.is_dir():
        return sum(file.stat().st_size for file in path.glob("*.safetensors"))
    return path.stat().st_size


def _tell(message: str, target: str = "") -> None:
    """Results go to stdout, unless the data does."""
    print(one_line(message), file=sys.stderr if target == STDIO else sys.stdout)


def _print_json(value: object, target: str = "") -> None:
    text = json.dumps(value, indent=2, allow_nan=False)
    print(text, file=sys.stderr if target == STDIO else sys.stdout)
