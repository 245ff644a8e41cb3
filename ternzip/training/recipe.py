"""Everything a training run can be told: one table for the command line, TOML files and checkpoints.

Defaults are the paper's recipe. Imports neither torch nor Lightning.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

from ternzip._core.errors import TernzipError
from ternzip.quantization.choices import GROWTHS, QUANTIZERS


def option(
    default: Any,
    panel: str,
    text: str,
    *,
    choices: tuple[str, ...] = (),
    least: float | None = None,
    unset: str = "",
) -> Any:
    """One field of a Recipe: its default, the panel of --help it stands in, what it means and its unit.

    `unset` says what a default of None or () means.
    """
    metadata = {"panel": panel, "help": text, "choices": choices, "least": least, "unset": unset}
    return field(default=default, metadata=metadata)


ARCHS = ("resnet20", "resnet20-star", "he-resnet20", "he-resnet32", "he-resnet44", "he-resnet56", "fc3")
DATASETS = ("cifar10", "mnist", "fashion-mnist", "digits")
LR_SCHEDULES = ("paper", "power", "exponential", "plateau", "constant")
ACTIVATIONS = ("hardtanh", "relu", "leaky_relu", "elu", "selu")


@dataclass(frozen=True)
class Recipe:
    """A training run, checked on construction: TernzipError names the option that is wrong."""

    arch: str = option("resnet20", "Model", "Architecture.", choices=ARCHS)
    inflate: int = option(1, "Model", "Width multiplier of resnet20; the paper's ResNet-20* has 5.", least=1)
    activation: str | None = option(
        None, "Model", "Activation.", choices=ACTIVATIONS, unset="the architecture's own"
    )
    dropout: float = option(
        0.0, "Model", "Probability of dropping a feature before the linear layer.", least=0
    )
    signed_activations: bool = option(False, "Model", "Feed all layers but the first with signs +-1.")
    skip: tuple[str, ...] = option(
        (), "Model", "Layers to leave in full precision: name pattern; repeatable.", unset="none"
    )

    quantizer: str = option(
        "delta", "Ternarization", "Ternarizer; none: full precision.", choices=(*QUANTIZERS, "none")
    )
    delta: float = option(0.1, "Ternarization", "Initial Delta, in units of the weights, in [0, 1).", least=0)
    growth: str = option("log", "Ternarization", "How Delta grows with the epoch.", choices=tuple(GROWTHS))
    multiplier: float = option(1.9, "Ternarization", "M: Delta grows by initial * M * f(epoch).", least=0)
    max_delta: float = option(0.9, "Ternarization", "Bound of Delta, in [0, 1).", least=0)
    delta_updates: str = option("epoch", "Ternarization", "When Delta moves.", choices=("epoch", "iteration"))
    ste: str = option(
        "closed", "Ternarization", "Gradient where |w| <= 1 or |w| < 1.", choices=("closed", "open")
    )
    twn_ratio: float = option(0.7, "Ternarization", "TWN: Delta as a multiple of mean |w|.", least=0)
    ttq_ratio: float = option(0.1, "Ternarization", "TTQ: Delta as a share of max |w|, in [0, 1).", least=0)
    ec2t_strength: float = option(
        0.1, "Ternarization", "EC2T: lambda as a share of the largest useful one, in [0, 1).", least=0
    )
    carry_on: bool = option(False, "Ternarization", "Go on when training has collapsed to zeros.")

    dataset: str = option("cifar10", "Data", "Data set.", choices=DATASETS)
    data: str = option("data", "Data", "Folder of its files.")
    download: bool = option(False, "Data", "Fetch missing files first, md5-checked.")
    batch_size: int = option(256, "Data", "Images a step, over all processes together.", least=2)
    augment: bool = option(True, "Data", "Random shift by up to 4 pixels, and flip (never flips digits).")
    statistics: str = option(
        "imagenet",
        "Data",
        "Whose mean and deviation normalize colour images.",
        choices=("imagenet", "dataset"),
    )
    train_images: int | None = option(
        None, "Data", "Use only the first N training images.", least=2, unset="all"
    )
    test_images: int | None = option(None, "Data", "Use only the first N test images.", least=1, unset="all")

    epochs: int = option(500, "Optimization", "Length, in epochs.", least=1)
    lr: float = option(
        5e-3, "Optimization", "Initial rate of Adam: what a weight moves a step, at most about.", least=0
    )
    levels_lr: float | None = option(
        None,
        "Optimization",
        "Rate of TTQ's and EC2T's levels, as shares of themselves.",
        least=0,
        unset="--lr",
    )
    lr_schedule: str = option("paper", "Optimization", "How the learning rate falls.", choices=LR_SCHEDULES)
    lr_scale: float | None = option(
        None,
        "Optimization",
        "s in epochs: power (1+t/s)^-c, exponential 0.1^(t/s); paper: an epoch of the paper's takes s.",
        least=0,
        unset="10, 100 and 1",
    )
    lr_power: float = option(1.0, "Optimization", "c of the power schedule.", least=0)
    plateau_patience: int = option(
        10, "Optimization", "plateau: epochs without progress before the rate falls tenfold.", least=0
    )
    weight_decay: float = option(
        0.0, "Optimization", "L2 penalty: the share of each weight added to its gradient.", least=0
    )
    rebuild_adam: bool = option(False, "Optimization", "Reset Adam's moments every epoch, as BinaryNet does.")
    clip_value: float | None = option(
        None, "Optimization", "Clip every gradient to +-this.", least=0, unset="off"
    )
    clip_norm: float | None = option(
        None, "Optimization", "Clip the L2 norm of all gradients together to this.", least=0, unset="off"
    )
    early_stopping: int | None = option(
        None,
        "Optimization",
        "Stop after N epochs without progress, once Delta stands still.",
        least=1,
        unset="off",
    )

    init: str | None = option(None, "Transfer", "Full-precision checkpoint to start from.", unset="none")
    freeze: tuple[str, ...] = option(
        (),
        "Transfer",
        "Modules to freeze with their batch norm and Delta: name pattern; repeatable.",
        unset="none",
    )
    unfreeze_epoch: int | None = option(
        None, "Transfer", "Epoch (from 1) in which they move again.", least=1, unset="never"
    )
    frozen_norm: bool = option(False, "Transfer", "Keep all batch norm in evaluation mode.")

    seed: int = option(0, "Run", "Seed of initialization, order and augmentation.", least=0)
    precision: str = option("32", "Run", "Arithmetic.", choices=("32", "16-mixed", "bf16-mixed", "64"))
    accelerator: str = option("auto", "Run", "Lightning accelerator: auto, cpu, cuda, mps.")
    devices: str = option("1", "Run", "Lightning devices: a number, a list as 0,2 or auto.")
    num_nodes: int = option(1, "Run", "Machines.", least=1)
    strategy: str = option("auto", "Run", "Lightning strategy: auto, ddp, ...")

    def __post_init__(self) -> None:
        for entry in dataclasses.fields(self):
            _check(entry, getattr(self, entry.name))
        for name in ("delta", "max_delta", "ttq_ratio", "ec2t_strength", "dropout"):
            if getattr(self, name) >= 1:
                raise TernzipError(f"{flag(name)}: expected a value in [0, 1), found {getattr(self, name):g}")
        if self.delta > self.max_delta:
            raise TernzipError(f"--delta: {self.delta:g} exceeds --max-delta {self.max_delta:g}")
        if self.unfreeze_epoch is not None and not self.freeze:
            raise TernzipError("--unfreeze-epoch: nothing is frozen: give --freeze PATTERN too")

    def with_options(self, options: Mapping[str, Any], source: str = "options") -> Recipe:
        """A copy with some options changed; names may have - or _. TernzipError for an unknown name."""
        known = {entry.name: entry for entry in dataclasses.fields(self)}
        changes: dict[str, Any] = {}
        for given, value in options.items():
            name = given.replace("-", "_")
            if name not in known:
                raise TernzipError(f"{source}: unknown option {given!r}: expected one of {', '.join(known)}")
            changes[name] = tuple(value) if isinstance(value, list) else value
        return dataclasses.replace(self, **changes)

    def differences(self, other: Recipe) -> list[str]:
        """Names of the options in which two recipes would train differently."""
        free = {"epochs", "data", "download", "carry_on", "accelerator"}
        names = [entry.name for entry in dataclasses.fields(self) if entry.name not in free]
        return [name for name in names if getattr(self, name) != getattr(other, name)]


PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    # About ten minutes on two CPU cores: ten epochs of a fifth of the images, Delta from small on.
    "quick": {
        "epochs": 10,
        "train_images": 10_000,
        "test_images": 2_000,
        "batch_size": 64,
        "delta": 0.03,
        "multiplier": 1.0,
        "lr_scale": 0.04,
    },
}


def preset(name: str) -> Recipe:
    """A recipe by name: "paper" or "quick"; TernzipError for another name."""
    if name not in PRESETS:
        raise TernzipError(f"unknown preset {name!r}: expected one of {', '.join(PRESETS)}")
    return Recipe().with_options(PRESETS[name])


def read_toml(path: str | Path) -> dict[str, Any]:
    """Options in a TOML file, at top level or in tables of any name. TernzipError if it cannot be read."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        with open(path, "rb") as stream:
            document = tomllib.load(stream)
    except FileNotFoundError:
        raise TernzipError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TernzipError(f"{path}: not a readable TOML file: {error}") from error
    options: dict[str, Any] = {}
    for name, value in document.items():
        options.update(value if isinstance(value, dict) else {name: value})
    return options


def flag(name: str) -> str:
    """The command-line flag of an option."""
    return "--" + name.replace("_", "-")


@cache
def _hints() -> dict[str, Any]:
    """Every field's annotation, evaluated: once, because the command line asks for all of them at its start."""
    return get_type_hints(Recipe)


def kind(name: str) -> type:
    """The Python type of an option: bool, int, float, str or tuple."""
    hint = _hints()[name]
    if getattr(hint, "__origin__", None) is tuple:
        return tuple
    found: type = next((part for part in get_args(hint) if part is not type(None)), hint)
    return found


def _check(entry: dataclasses.Field[Any], value: Any) -> None:
    if value is None and entry.default is None:
        return
    expected = kind(entry.name)
    accepted = (int, float) if expected is float else expected
    wrong_bool = isinstance(value, bool) and expected is not bool
    if not isinstance(value, accepted) or wrong_bool:
        raise TernzipError(f"{flag(entry.name)}: expected {expected.__name__}, found {value!r}")
    choices, least = entry.metadata["choices"], entry.metadata["least"]
    if choices and value not in choices:
        raise TernzipError(f"{flag(entry.name)}: unknown {value!r}: expected one of {', '.join(choices)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise TernzipError(f"{flag(entry.name)}: expected a finite number, found {value:g}")
    if least is not None and not value >= least:
        raise TernzipError(f"{flag(entry.name)}: expected at least {least:g}, found {value:g}")
