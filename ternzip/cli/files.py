"""compress, decompress, inspect, verify: they parse, call and print; the work is in `ternzip.checkpoint`."""

from __future__ import annotations

import math
import os
import sys
from contextlib import closing
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ternzip._core.errors import TernzipError
from ternzip._core.streams import named_errors
from ternzip._core.text import parse_size
from ternzip.cli.app import app
from ternzip.cli.console import no_collection, plural, print_error, progress_bar, say
from ternzip.cli.folders import compress_whole, decompress_whole, is_folder
from ternzip.cli.originals import check_removable, remove_source, take_times
from ternzip.cli.reports import (
    compress_json,
    decompress_json,
    lost_by,
    report_compressed,
    report_not_compared,
    report_not_restored,
    summary,
    tell,
    tensors_json,
    total_json,
    verify_json,
)
from ternzip.cli.sources import STDIO, each_of, for_each, pairs_of

if TYPE_CHECKING:
    from ternzip.checkpoint.base import Checkpoint, Source
    from ternzip.container.reader import Reader

_RESTORED = (".pt", ".pth", ".safetensors", ".npz", ".npy", ".gguf")
"""Suffixes of what decompress writes: those of `ternzip.checkpoint.store`, which is not imported before it is used."""
_RESTORED_WORDS = f"{', '.join(_RESTORED[:-1])} or {_RESTORED[-1]}"

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


def _finite(value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"expected a finite number, found {value}")
    return value


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except TernzipError as error:
        raise typer.BadParameter(str(error).removeprefix("size: ")) from None


Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="Threads to use.", show_default="all processors")
]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace DST if it exists; never SRC.")]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="DST",
        help="The file to write, of one SRC; - is stdout. Of a folder, one without a file's ending is a folder to "
        "make: weights are converted, all other files copied.",
    ),
]
MaxSize = Annotated[
    int | None,
    typer.Option(
        "--max-size",
        parser=_size,
        metavar="SIZE",
        help="Refuse a file whose tensors take more memory, such as 2GB or 512MiB.",
        show_default="no limit",
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print no results and no progress; only notes and errors.")
]
Remove = Annotated[
    bool,
    typer.Option(
        "--rm/--keep",
        " /-k",  # without the blank, click would take arguments that begin with a slash for options
        help="Remove SRC once DST was read again and holds every bit of it. What is not in DST keeps SRC.",
    ),
]
Sources = Annotated[list[str], typer.Argument(metavar="SRC", help="The .tnz files, or - for stdin.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of text.")]


@app.command()
def compress(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="SRC... [DST]",
            help="Each SRC, a .safetensors, .npz, .npy, .gguf, .pt, .pth, .ckpt or .tnz file, a folder with a shard "
            "index, or - (stdin), becomes its stem + .tnz. Of two paths the second is DST if it ends in .tnz or is - "
            "(stdout).",
        ),
    ],
    output: Output = None,
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
    remove: Remove = False,
    quiet: Quiet = False,
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
            callback=_finite,
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
    """Compress checkpoints into .tnz files that restore every bit of their tensors."""
    is_twn = threshold is Threshold.twn
    asked = {"--threshold": is_twn, "--delta": delta is not None, "--scale": scale, "--skip": bool(skip)}
    if not ternarize and any(asked.values()):
        raise typer.BadParameter("needs --ternarize", param_hint=" ".join(o for o, on in asked.items() if on))
    if is_twn and delta is not None:
        raise typer.BadParameter("twn finds its own threshold", param_hint="--delta")
    pairs = pairs_of(paths, output, (".tnz",), lambda src: ".tnz")
    check_removable(pairs, remove)

    options: dict[str, Any] = {
        "codec": codec.value,
        "effort": effort,
        "threads": threads,
        "merge_zeros": merge_zeros,
        "ternarize": None if not ternarize else "twn" if is_twn else DELTA if delta is None else delta,
        "scale": scale,
        "skip": skip or (),
        "float_dtype": None if float_dtype is None else float_dtype.value,
    }

    def compress_one(src: str, dst: str) -> dict[str, Any]:
        from ternzip.checkpoint import compress as checkpoint

        if is_folder(src, dst, (".tnz",)):
            return compress_whole(src, dst, options, quiet=as_json or quiet)
        _check_target(src, dst, force)
        with (
            closing(_open_checkpoint(src, threads=threads)) as opened,
            progress_bar("compress", sum(opened.sizes.values()), quiet=quiet) as progress,
        ):
            report = checkpoint.compress(
                opened,
                sys.stdout.buffer if dst == STDIO else dst,
                overwrite=force,
                progress=progress,
                **options,
            )
        _flush(dst)
        report_compressed(report, merge_zeros)
        take_times(src, dst)
        if remove:
            remove_source(src, dst, lost_by(report, merge_zeros), tnz=dst, threads=threads)
        if not (as_json or quiet):
            tell(summary(src, dst, report), to_stderr=dst == STDIO)
        return compress_json(src, dst, report)

    for_each(pairs, compress_one, as_json)


@app.command()
def decompress(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="SRC... [DST]",
            help="Each SRC, a .tnz file or - (stdin), becomes its stem + the suffix of what it was made from. Of two "
            f"paths the second is DST if it ends in {_RESTORED_WORDS} or is - (stdout, which gets .safetensors).",
        ),
    ],
    output: Output = None,
    threads: Threads = None,
    force: Force = False,
    max_size: MaxSize = None,
    remove: Remove = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Restore the checkpoints in .tnz files, bit for bit."""
    suffixes = _RESTORED
    pairs = pairs_of(paths, output, suffixes, _original_suffix)
    check_removable(pairs, remove)
    for src, dst in pairs:
        if dst != STDIO and not is_folder(src, dst, suffixes) and Path(dst).suffix not in suffixes:
            raise typer.BadParameter(f"{dst}: expected a name ending in {_RESTORED_WORDS}", param_hint="DST")

    def decompress_one(src: str, dst: str) -> dict[str, Any]:
        from ternzip.checkpoint import decompress as checkpoint

        if is_folder(src, dst, suffixes):
            options = {"threads": threads, "max_bytes": max_size}
            return decompress_whole(src, dst, options, quiet=as_json or quiet)
        _check_target(src, dst, force)
        with _open_tnz(src, max_size) as reader:
            total = sum(entry.nbytes for entry in reader.entries.values())
            with progress_bar("decompress", total, quiet=quiet) as progress:
                target = sys.stdout.buffer if dst == STDIO else dst
                report = checkpoint.decompress(
                    reader, target, threads=threads, overwrite=force, progress=progress
                )
        _flush(dst)
        report_not_restored(dst, report)
        take_times(src, dst)
        if remove:
            remove_source(src, dst, report.not_stored, tnz=src, threads=threads)
        if not (as_json or quiet):
            tell(f"{src} -> {dst}: {plural(report.tensors, 'tensor')} restored", to_stderr=dst == STDIO)
        return decompress_json(src, dst, report)

    for_each(pairs, decompress_one, as_json)


def _original_suffix(src: str) -> str:
    """The suffix of what a .tnz file was made from. What is wrong with the file is told when it is decompressed.

    A pipe can be read once only, and is not asked.
    """
    from ternzip.checkpoint.origin import UNKNOWN, suffix_of

    if not os.path.isfile(src):
        return UNKNOWN
    try:
        with _open_tnz(src) as reader:
            return suffix_of(reader)
    except (TernzipError, OSError):
        return UNKNOWN


@app.command()
def inspect(
    paths: Sources,
    as_json: AsJson = False,
    every: Annotated[
        bool, typer.Option("--all", help="A row for each tensor, also of files with more than 1,000.")
    ] = False,
    max_size: MaxSize = None,
) -> None:
    """Show what .tnz files hold and what they cost, without decoding them.

    Of more than 1,000 tensors, those that differ in the numbers of their names only share a row.
    """

    def inspect_one(src: str) -> dict[str, Any]:
        from ternzip.container.describe import describe_file

        with _open_tnz(src, max_size) as reader:
            reader.check_limit()
            info = describe_file(reader)
        if not as_json:
            from ternzip.cli.tables import print_file

            if src is not paths[0]:
                tell("")
            print_file(src, info, every=every)
            return {}
        about = {"metadata": info.metadata, "extensions": info.extensions}
        named = {} if len(paths) == 1 else {"file": src}
        return {**named, "tensors": tensors_json(info), "total": total_json(info), **about}

    with no_collection():
        each_of(paths, inspect_one, lambda src: {"file": src}, as_json)


@app.command()
def verify(
    paths: Sources,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="CHECKPOINT",
            help="Compare with this checkpoint, bit for bit. It is read whole, by its own library and not as "
            "compress reads it: that takes memory for all of it.",
        ),
    ] = None,
    threads: Threads = None,
    as_json: AsJson = False,
    max_size: MaxSize = None,
) -> None:
    """Check every checksum and decode everything; compare with a checkpoint on demand."""
    if against is not None and len(paths) > 1:
        raise typer.BadParameter(f"compares one SRC, found {len(paths)}", param_hint="--against")
    if paths[0] == against == STDIO:
        raise typer.BadParameter("stdin can only be read once", param_hint="--against")

    def verify_one(src: str) -> dict[str, Any]:
        from ternzip.checkpoint import verify as checkpoint

        with _open_tnz(src, max_size) as reader:
            if against is None:
                report = checkpoint.verify(reader, threads=threads)
            else:
                with closing(_open_checkpoint(against, whole=True, threads=threads)) as other:
                    report = checkpoint.verify(reader, other, threads=threads)
        report_not_compared(report)
        if report.differences:
            for line in report.differences[1:20]:
                say(f"ternzip: {line}")
            places = plural(len(report.differences), "place")
            print_error(TernzipError(f"{src} differs from {against} in {places}: {report.differences[0]}"))
        elif not as_json:
            same = f", equal to {against} bit for bit" if against else ""
            tell(f"{src}: {plural(report.tensors, 'tensor')} whole{same}")
        return verify_json(src, against, report)

    results = each_of(
        paths, verify_one, lambda src: {"file": src, "against": against, "equal": False}, as_json
    )
    if not all(result["equal"] for result in results):
        raise typer.Exit(1)


def _check_target(src: str, dst: str, force: bool) -> None:
    """Finds out before the source is read whether the result can be kept."""
    from ternzip.checkpoint.targets import check_target

    if dst != STDIO:
        check_target(dst, sources=[src], overwrite=force)
    elif getattr(sys.stdout, "name", None) == os.devnull:
        # The entry point opened it so, as it was closed; that of `> /dev/null` is called <stdout>.
        raise TernzipError("<stdout>: cannot write: closed")
    elif sys.stdout.isatty():
        raise typer.BadParameter(
            "refusing to write binary data to a terminal: redirect stdout", param_hint="DST"
        )


def _flush(dst: str) -> None:
    """What is buffered for stdout gets there, or fails, before anybody says that it did."""
    if dst == STDIO:
        with named_errors(sys.stdout):
            sys.stdout.buffer.flush()


def _open_checkpoint(path: str, *, whole: bool = False, threads: int | None = None) -> Checkpoint:
    from ternzip.checkpoint.load import open_checkpoint

    return open_checkpoint(_source(path), name=_name(path), whole=whole, threads=threads)


def _open_tnz(path: str, max_size: int | None = None) -> Reader:
    from ternzip.checkpoint.load import open_tnz

    if os.path.isdir(path):
        raise TernzipError(
            f"{path}: expected a .tnz file, found a folder: give the files in it, or to decompress all -o FOLDER"
        )
    return open_tnz(_source(path), name=_name(path), max_bytes=max_size)


def _source(path: str) -> Source:
    return sys.stdin.buffer if path == STDIO else path


def _name(path: str) -> str:
    return "<stdin>" if path == STDIO else path
