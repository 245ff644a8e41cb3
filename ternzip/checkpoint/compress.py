"""Whole checkpoints into .tnz files: what `ternzip compress` does, for Python."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from ternzip._core.errors import TernzipError
from ternzip._core.extras import require
from ternzip._core.streams import ByteStream, named
from ternzip._core.text import listed
from ternzip.checkpoint.base import Checkpoint, Source
from ternzip.checkpoint.load import as_checkpoint
from ternzip.checkpoint.store import SOURCE
from ternzip.checkpoint.targets import check_target, default_target
from ternzip.container.almost_ternary import AlmostTernary
from ternzip.container.describe import FileInfo, describe_file
from ternzip.container.progress import Progress
from ternzip.container.reader import Reader
from ternzip.container.sources import StreamSource
from ternzip.container.writer import Options, write_container
from ternzip.io.output import open_output

if TYPE_CHECKING:
    from ternzip.checkpoint.rounding import Rounding
    from ternzip.checkpoint.ternarize import PostTrainingTernarization

FLOAT_DTYPES = ("bfloat16", "float16")
"""What tensors that are not ternary may be rounded to."""


@dataclass(frozen=True)
class CompressReport:
    """What was stored and what was not.

    Attributes:
        source: the checkpoint's name.
        source_bytes: bytes of its files, or those that came through a pipe.
        tensor_bytes: bytes in memory of its tensors, tied ones counted once.
        target: the file's name.
        file: what the .tnz file holds and what each tensor costs.
        not_stored: what the checkpoint holds and the file does not, a few words each.
        almost_ternary: weights that are not ternary although nearly all of their elements are, and why, in words.
        latent: names that may be latent full-precision weights of a prepared model, stored under these names.
        ternarized: what was ternarized, if that was asked for.
        rounded: what was rounded, if that was asked for.
    """

    source: str
    source_bytes: int
    tensor_bytes: int
    target: str
    file: FileInfo
    not_stored: list[str] = field(default_factory=list)
    almost_ternary: dict[str, str] = field(default_factory=dict)
    latent: list[str] = field(default_factory=list)
    ternarized: PostTrainingTernarization | None = None
    rounded: Rounding | None = None

    @property
    def ratio(self) -> float:
        """How many times smaller the file is than its source, whose bytes beyond those of tensors do not count."""
        return min(self.source_bytes, self.tensor_bytes) / self.file.bytes


def compress(
    source: Source | Checkpoint,
    target: str | os.PathLike[str] | ByteStream | None = None,
    *,
    codec: str = "auto",
    effort: int = 2,
    threads: int | None = None,
    overwrite: bool = False,
    merge_zeros: bool = False,
    ternarize: float | Literal["twn"] | None = None,
    scale: bool = False,
    skip: Sequence[str] = (),
    float_dtype: str | None = None,
    progress: Progress | None = None,
) -> CompressReport:
    """Compresses a checkpoint into a .tnz file that restores every bit of its tensors.

    Extensions of a .tnz source are kept, unless an option changes tensors. The kind of the source is remembered.

        report = ternzip.compress("model.pt")        # -> model.tnz
        print(report.ratio, report.not_stored)

    Args:
        source: a .safetensors, .npz, .npy, .gguf, .pt, .pth, .ckpt or .tnz file, a folder with a shard index, a stream
            of bytes, or a checkpoint that is open already.
        target: the file, or a stream of bytes; None: the source's stem + .tnz, beside it.
        codec: for ternary tensors: "auto" (the smallest for each), "context", "fast", "static" or "packed".
        effort: 1 to 3: how much time `context` may take, in both directions, for a smaller file.
        threads: how many threads compress; None: all processors. The file does not depend on it.
        overwrite: replace the target if it exists; never the source.
        merge_zeros: store -0.0 in ternary tensors as +0.0. Not lossless.
        ternarize: make full-precision weights ternary: by this threshold Delta, or by "twn", 0.7 times the mean
            magnitude of each tensor; an optimizer's state is left alone. Not lossless.
        scale: with `ternarize`: levels of plus and minus the mean magnitude of the kept weights instead of
            plus and minus 1; "twn" always has them.
        skip: with `ternarize`: patterns (``fc.*``) of names to leave alone, and what is tied to them.
        float_dtype: round float32 and float64 tensors that are not ternary to "bfloat16" or "float16". Not
            lossless.
        progress: called with a tensor's name and its bytes in the source as each is written, tied ones too.

    Raises:
        TernzipError: a checkpoint that is missing, damaged or changes meanwhile, a tensor the format cannot hold,
            a threshold that is none, a pattern that matches nothing, a target that exists or cannot be written.
            No target is left behind.
        ValueError: an unknown codec, effort, kind of threshold or type, or options that need `ternarize` without it.
    """
    _check_options(ternarize, scale, skip, float_dtype)
    if target is None and not isinstance(source, str | os.PathLike | Checkpoint):
        raise ValueError("target: expected a path or a stream, as the source is a stream")
    options = Options(codec=codec, effort=effort, merge_zeros=merge_zeros, threads=threads)
    with as_checkpoint(source, threads=threads) as checkpoint:
        place = default_target(checkpoint.name, ".tnz") if target is None else target
        if isinstance(place, str | os.PathLike):
            check_target(place, sources=checkpoint.files, overwrite=overwrite)
        ternarized, rounded = _conversions(ternarize, scale, skip, float_dtype)
        converted = checkpoint
        for conversion in (ternarized, rounded):
            converted = converted if conversion is None else conversion.applied_to(converted)
        not_stored = list(checkpoint.not_stored)
        dropped = [name for name in checkpoint.extensions if name != SOURCE]
        if dropped and (converted is not checkpoint or merge_zeros):
            # What they say of the tensors as they were may be wrong of others.
            kept = {SOURCE: checkpoint.extensions[SOURCE]} if SOURCE in checkpoint.extensions else {}
            converted = replace(converted, extensions=kept)
            not_stored.append(f"extensions ({listed(dropped)}): tensors are changed")
        if converted.suffix:
            own = {SOURCE: converted.suffix.encode("ascii")}
            converted = replace(converted, extensions={**converted.extensions, **own})
        almost: dict[str, str] = {}
        info = _write(converted, place, options, overwrite, progress, almost)
    return CompressReport(
        source=checkpoint.name,
        source_bytes=checkpoint.file_bytes,
        tensor_bytes=checkpoint.tensor_bytes,
        target=named(place),
        file=info,
        not_stored=not_stored,
        almost_ternary=almost,
        latent=checkpoint.latent,
        ternarized=ternarized,
        rounded=rounded,
    )


def _check_options(
    ternarize: float | str | None, scale: bool, skip: Sequence[str], float_dtype: str | None
) -> None:
    if ternarize is None and (scale or skip):
        raise ValueError("scale, skip: expected them with ternarize only")
    if isinstance(ternarize, str) and ternarize != "twn":
        raise ValueError(f"ternarize: expected a threshold or 'twn', found {ternarize!r}")
    if isinstance(skip, str):
        raise ValueError(f"skip: expected a list of patterns, found the string {skip!r}")
    if float_dtype is not None and float_dtype not in FLOAT_DTYPES:
        raise ValueError(f"float_dtype: expected one of {', '.join(FLOAT_DTYPES)}, found {float_dtype!r}")


def _conversions(
    ternarize: float | str | None, scale: bool, skip: Sequence[str], float_dtype: str | None
) -> tuple[PostTrainingTernarization | None, Rounding | None]:
    # Both need torch, which a .tnz source does not.
    ternarized, rounded = None, None
    if ternarize is not None:
        require("ternarizing", "torch", "torch")
        from ternzip.checkpoint.ternarize import PostTrainingTernarization

        delta = None if isinstance(ternarize, str) else ternarize
        ternarized = PostTrainingTernarization(delta, delta is None or scale, tuple(skip))
    if float_dtype is not None:
        require("rounding", "torch", "torch")
        import torch

        from ternzip.checkpoint.rounding import Rounding

        rounded = Rounding(getattr(torch, float_dtype))
    return ternarized, rounded


def _write(
    checkpoint: Checkpoint,
    target: str | os.PathLike[str] | ByteStream,
    options: Options,
    overwrite: bool,
    progress: Progress | None,
    almost: dict[str, str],
) -> FileInfo:
    """Writes the file; `almost` gets why weights that look ternary are not."""

    def notice(name: str, found: AlmostTernary) -> None:
        almost[name] = found.message

    with open_output(target, overwrite=overwrite, sources=checkpoint.files) as stream:
        try:
            write_container(
                stream,
                checkpoint.tensors(),
                options=options,
                metadata=checkpoint.metadata,
                extensions=checkpoint.extensions,
                progress=_in_source_bytes(progress, checkpoint.sizes),
                on_almost_ternary=notice,
            )
        except TernzipError as error:
            if str(error).startswith(("tensor ", "metadata ", "extension")):  # what the format cannot hold
                raise TernzipError(f"{checkpoint.name}: {error}") from None
            raise
        stream.seek(0)
        with Reader(StreamSource(stream, named(target))) as reader:
            return describe_file(reader)


def _in_source_bytes(progress: Progress | None, sizes: dict[str, int]) -> Callable[[str, int], None] | None:
    """Rounding changes how many bytes are written, not how many are to be read."""
    if progress is None:
        return None
    return lambda name, nbytes: progress(name, sizes.get(name, nbytes))
