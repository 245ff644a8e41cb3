"""Commands that run a network or hand it on: bench, export. Heavy imports wait until a command runs."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ternzip._core.errors import TernzipError
from ternzip.cli import networks
from ternzip.cli.app import UsageError, app
from ternzip.cli.console import say
from ternzip.cli.networks import Arch, ArchArg, TrustArch
from ternzip.cli.reports import print_json, tell
from ternzip.cli.sources import STDIO
from ternzip.training.catalog import AUTO, Statistics, statistics_for

if TYPE_CHECKING:
    from torch import Tensor

    from ternzip.models import NetworkSpec

_MODEL = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A ternary network: .tnz, .safetensors or .pt.")
]
_IMAGE = Annotated[
    str | None,
    typer.Option(
        help="Channels x height x width of an image.", show_default="what the file says, or 3x32x32"
    ),
]
_CLASSES = Annotated[
    int | None, typer.Option(min=1, help="Classes it tells apart.", show_default="what the file says, or 10")
]


class Format(str, Enum):
    """What a network can be exported to."""

    onnx = "onnx"


class Weights(str, Enum):
    """How an ONNX file holds ternary weights."""

    float32 = "float32"
    int8 = "int8"
    int2 = "int2"


class Activations(str, Enum):
    """What an ONNX file computes in."""

    float32 = "float32"
    int8 = "int8"


_RANGES: dict[str, Any] = {"rich_help_panel": "With --activations int8"}


@app.command()
def bench(
    model: _MODEL,
    arch: Arch = None,
    arch_arg: ArchArg = None,
    trust_arch: TrustArch = False,
    image: _IMAGE = None,
    classes: _CLASSES = None,
    batch: Annotated[int, typer.Option(min=1, help="Images a call.")] = 1,
    threads: Annotated[int, typer.Option(min=1, max=256, help="Threads of every engine.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, help="Calls of each engine.")] = 30,
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="Try torch.compile.")] = True,
    onnx: Annotated[bool, typer.Option("--onnx/--no-onnx", help="Try ONNX Runtime.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Time a network by torch, torch.compile, ONNX Runtime and ternzip's own runtime, in turns."""
    shape = _image_shape(image)
    import torch

    from ternzip.models.stored import input_dtype
    from ternzip.runtime import benchmark, describe, optimize

    torch.set_num_threads(threads)
    spec = networks.resolve(model, arch, arch_arg, trust_arch, shape, classes)
    network = networks.load(model, spec)
    random = functools.partial(torch.randn, generator=torch.Generator().manual_seed(0))
    x = _batch(random, batch, spec.image_shape).to(input_dtype(network))
    optimized = optimize(network, x)
    timings = benchmark.compare(network, optimized, x, rounds=rounds, compiled=compiled, onnx=onnx)
    layers = describe(optimized)
    if as_json:
        print_json(
            {
                "file": str(model),
                "batch": batch,
                "threads": threads,
                "rounds": rounds,
                "timings": [dataclasses.asdict(timing) for timing in timings],
                "layers": [dataclasses.asdict(layer) for layer in layers],
            }
        )
        return
    kinds = ", ".join(
        f"{sum(layer.kind == kind for layer in layers)} {kind}"
        for kind in dict.fromkeys(layer.kind for layer in layers)
    )
    for line in benchmark.table(timings).splitlines():
        tell(line)
    tell(f"batch {batch}, {threads} thread(s); ternary layers: {kinds}")


@app.command()
def export(
    model: _MODEL,
    out: Annotated[Path, typer.Argument(metavar="DST", help="The file to write.")],
    arch: Arch = None,
    arch_arg: ArchArg = None,
    trust_arch: TrustArch = False,
    to: Annotated[Format, typer.Option(help="Format of the file.")] = Format.onnx,
    weights: Annotated[
        Weights | None,
        typer.Option(
            help="Ternary weights: int2 is for linear layers in ONNX Runtime, int8 elsewhere.",
            show_default="float32, or int8 beside such activations",
        ),
    ] = None,
    activations: Annotated[
        Activations,
        typer.Option(help="int8: the network computes in 8 bits, in ranges found over training images."),
    ] = Activations.float32,
    dataset: Annotated[
        str | None,
        typer.Option(help="Data set of these images, as of ternzip train.", show_default="auto", **_RANGES),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of its files.", show_default="data", **_RANGES)
    ] = None,
    statistics: Annotated[
        Statistics | None,
        typer.Option(
            help="Whose mean and deviation normalize them.",
            show_default="what the file says, or imagenet",
            **_RANGES,
        ),
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(min=1, help="How many, evenly spaced.", show_default="256", **_RANGES),
    ] = None,
    image: _IMAGE = None,
    classes: _CLASSES = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Write a network to an ONNX file, for any batch size.

    Its weights stay exactly what they are, unless activations are int8 as well.
    """
    shape = _image_shape(image)
    integer = activations is Activations.int8
    given = {"--dataset": dataset, "--data": data, "--statistics": statistics, "--images": images}
    for option, value in given.items():
        if value is not None and not integer:
            raise UsageError(f"{option}: has a meaning only with --activations int8")
    chosen = weights or (Weights.int8 if integer else Weights.float32)
    if integer and chosen is not Weights.int8:
        raise UsageError(f"--weights: expected int8 beside --activations int8, found {chosen.value}")
    if str(out) == STDIO:  # elsewhere that is stdout, and nobody wants a file of that name
        raise UsageError(f"{STDIO}: a network is exported to a file: expected its name")
    from ternzip.checkpoint.targets import check_target

    check_target(out, sources=[str(model)], overwrite=force)  # before the minute that an export may take
    import torch

    from ternzip.models.stored import input_dtype
    from ternzip.runtime.export import export_onnx

    spec = networks.resolve(model, arch, arch_arg, trust_arch, shape, classes)
    network = networks.load(model, spec)
    dtype, calibration = input_dtype(network), None
    if integer:
        calibration = _training_images(spec, dataset or AUTO, data or Path("data"), statistics, images or 256)
        calibration = calibration.to(dtype)
    example = _batch(torch.zeros, 2, spec.image_shape).to(dtype)
    export_onnx(network, out, example, weights=chosen.value, calibration=calibration, overwrite=force)
    tell(f"{out}: {out.stat().st_size:,} bytes of {to.value}")


def _training_images(
    spec: NetworkSpec, dataset: str, data: Path, statistics: Statistics | None, images: int
) -> Tensor:
    """(n, channels, height, width), normalized as the network expects."""
    from ternzip.training.batches import normalize
    from ternzip.training.datasets import open_dataset

    found = open_dataset(dataset, data, like=spec)
    for note in found.notes:
        say(note)
    return normalize(found.train.sample(images).images, *statistics_for(spec, found.info, statistics))


def _batch(make: Callable[..., Tensor], images: int, shape: tuple[int, int, int]) -> Tensor:
    """So many images made by `make`. Raises TernzipError where they do not fit into memory."""
    try:
        return make(images, *shape)
    except (RuntimeError, MemoryError) as error:
        size, taken = "x".join(map(str, shape)), 4 * images * math.prod(shape)
        raise TernzipError(
            f"batch of {images} x {size}: expected one that fits into memory, found {taken:,} bytes"
        ) from error


def _image_shape(text: str | None) -> tuple[int, int, int] | None:
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) != 3 or not all(part.isdecimal() and 0 < int(part) < 1 << 20 for part in parts):
        raise UsageError(f"--image: expected channels x height x width, as 3x32x32, found {text!r}")
    channels, height, width = map(int, parts)
    return channels, height, width
