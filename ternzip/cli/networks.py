"""The network in a file: by what the file says of it, or by --arch. Heavy imports wait until it is built."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ternzip.cli.app import UsageError

if TYPE_CHECKING:
    from torch import nn

    from ternzip.models import NetworkSpec

Arch = Annotated[
    str | None,
    typer.Option(
        help="Its architecture: resnet20, he-resnet20, fc3, ..., or MODULE:FUNCTION.",
        show_default="what the file says",
    ),
]
ArchArg = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="Argument of the architecture; repeatable."),
]
TrustArch = Annotated[
    bool,
    typer.Option("--trust-arch", help="Run code that a file names as its network's; no need with --arch."),
]


def in_file(file: Path, arch: str | None, *, changed: bool = False) -> NetworkSpec | None:
    """What a file says of its network; None where --arch names another, or its options are `changed`.

    Raises UsageError where neither the file nor --arch says what it is.
    """
    from ternzip.models import read_spec

    spec = read_spec(file)
    if spec is None and arch is None:
        raise UsageError(f"{file}: does not say what its network is: expected --arch NAME")
    return None if spec is None or changed or arch not in (None, spec.arch) else spec


def resolve(
    file: Path,
    arch: str | None,
    arguments: list[str] | None,
    trust_arch: bool,
    image_shape: tuple[int, int, int] | None,
    num_classes: int | None,
) -> NetworkSpec:
    """The network in `file`: what is given wins over what the file says, and that over images of 3x32x32 in 10 classes.

    Raises TernzipError for code that the user has not agreed to, and UsageError where neither says what the network is.
    """
    from ternzip.models import NetworkSpec
    from ternzip.models.own import parse_arguments

    spec = in_file(file, arch)
    if spec is None:
        assert arch is not None
        spec = NetworkSpec(arch)
    spec.check_consent(file, arch, trust_arch)
    return dataclasses.replace(
        spec,
        options=spec.options if arguments is None else parse_arguments(arguments),
        image_shape=image_shape or spec.image_shape,
        num_classes=num_classes or spec.num_classes,
        classes=(),
    )


def load(file: Path, spec: NetworkSpec) -> nn.Module:
    """The network with the weights of the file, in evaluation mode."""
    from ternzip.models import StoredNetwork

    return StoredNetwork.read(file).build(spec)
