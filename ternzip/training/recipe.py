"""Everything a training run can be told: one table for the command line, TOML files and checkpoints.

Defaults are the paper's recipe. Imports neither torch nor Lightning.
"""

# Annotations are read at run time: no `from __future__ import annotations` here.
import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from ternzip._core.errors import TernzipError
from ternzip.models.activations import ACTIVATIONS
from ternzip.models.own import OWN_NAME, is_own, parse_arguments
from ternzip.models.registry import ARCHITECTURES
from ternzip.models.spec import IMAGE_FITS
from ternzip.quantization.choices import GROWTHS, QUANTIZERS
from ternzip.training.catalog import AUTO, DATASET_CHOICES, DATASETS, parse_image_size
from ternzip.training.options import flag, option, options_of

LR_SCHEDULES = ("paper", "power", "exponential", "plateau", "constant")
TERNARY = {"quantizer": QUANTIZERS}
DELTA = {"quantizer": ("delta",)}
BUILT_IN = {"arch": tuple(ARCHITECTURES)}
PICTURES = {"dataset": (AUTO, "image-folder", "parquet")}


@dataclass(frozen=True)
class Recipe:
    """A training run, checked on construction: TernzipError names the option that is wrong."""

    arch: str = option(
        "resnet20",
        "Model",
        "Architecture, or the function that makes one's own: mypackage.models:make_net.",
        choices=tuple(ARCHITECTURES),
        pattern=rf"{OWN_NAME.pattern}|<[\w.]+>",  # the latter: see is_given
        pattern_name="MODULE:FUNCTION",
    )
    arch_arg: tuple[str, ...] = option(
        (), "Model", "Argument of the architecture, as NAME=VALUE; repeatable.", unset="none"
    )
    inflate: int = option(
        1,
        "Model",
        "Width multiplier of resnet20; the paper's ResNet-20* has 5.",
        within="[1, 1e9]",
        only={"arch": ("resnet20",)},
    )
    activation: str | None = option(
        None,
        "Model",
        "Activation.",
        choices=tuple(ACTIVATIONS),
        unset="the architecture's own",
        only=BUILT_IN,
    )
    dropout: float = option(
        0.0,
        "Model",
        "Probability of dropping a feature before the linear layer.",
        within="[0, 1)",
        only=BUILT_IN,
    )
    signed_activations: bool = option(
        False, "Model", "Feed all layers but the first with signs +-1.", only=BUILT_IN
    )
    ternary_activations: bool = option(
        False,
        "Model",
        "Feed all ternary layers but the first with activations of three values, of a learned scale each.",
        only=TERNARY,
    )
    skip: tuple[str, ...] = option(
        (),
        "Model",
        "Layers to leave in full precision: name pattern; repeatable.",
        unset="none",
        only=TERNARY,
    )

    quantizer: str = option(
        "delta", "Ternarization", "Ternarizer; none: full precision.", choices=(*QUANTIZERS, "none")
    )
    delta: float = option(
        0.1, "Ternarization", "Initial Delta, in units of the weights.", within="[0, 1)", only=DELTA
    )
    growth: str = option(
        "log", "Ternarization", "How Delta grows with the epoch.", choices=tuple(GROWTHS), only=DELTA
    )
    multiplier: float = option(
        1.9,
        "Ternarization",
        "M: Delta grows by initial * M * f(epoch).",
        within="[0, inf)",
        only={**DELTA, "growth": tuple(name for name in GROWTHS if name != "fixed")},
    )
    max_delta: float = option(0.9, "Ternarization", "Bound of Delta.", within="[0, 1)", only=DELTA)
    delta_updates: str = option(
        "epoch", "Ternarization", "When Delta moves.", choices=("epoch", "iteration"), only=DELTA
    )
    ste: str = option(
        "closed",
        "Ternarization",
        "Gradient where |w| <= 1 or |w| < 1, to which weights are clipped; identity: everywhere, unclipped.",
        choices=("closed", "open", "identity"),
        only={"quantizer": ("delta", "binary", "twn")},
    )
    delta_scale: tuple[str, ...] = option(
        (),
        "Ternarization",
        "Other Deltas for some layers, as PATTERN=FACTOR: FACTOR times the schedule's; repeatable.",
        unset="none",
        only=DELTA,
    )
    rate: float = option(
        0.0,
        "Ternarization",
        "What a kibibyte of ternary weights costs in the loss, by the expected length of their code.",
        within="[0, inf)",
        only=DELTA,
    )
    rate_epochs: int = option(
        10, "Ternarization", "Epochs in which that price grows from 0.", within="[1, 1e9]", only=DELTA
    )
    twn_ratio: float = option(
        0.7,
        "Ternarization",
        "TWN: Delta as a multiple of mean |w|.",
        within="[0, inf)",
        only={"quantizer": ("twn",)},
    )
    ttq_ratio: float = option(
        0.1,
        "Ternarization",
        "TTQ: Delta as a share of max |w|.",
        within="[0, 1)",
        only={"quantizer": ("ttq",)},
    )
    ec2t_strength: float = option(
        0.1,
        "Ternarization",
        "EC2T: lambda as a share of the largest useful one.",
        within="[0, 1)",
        only={"quantizer": ("ec2t",)},
    )
    carry_on: bool = option(
        False, "Ternarization", "Go on when training has collapsed to zeros.", only=TERNARY
    )

    dataset: str = option(
        AUTO, "Data", "Data set, or layout of its files; auto: what is found.", choices=DATASET_CHOICES
    )
    data: str = option("data", "Data", "Folder of its files.")
    download: bool = option(
        False,
        "Data",
        "Fetch missing files first, md5-checked; of auto those of CIFAR-10.",
        only={"dataset": (AUTO, *(name for name, info in DATASETS.items() if info.files))},
    )
    image_size: str | None = option(
        None,
        "Data",
        "Pixels that pictures are brought to: 32, or height x width as 32x48.",
        unset="their own, or 32 if they have several",
        only=PICTURES,
    )
    image_fit: str = option(
        "crop",
        "Data",
        "How pictures of another shape get that size: cut off on both sides, or stretched.",
        choices=IMAGE_FITS,
        only=PICTURES,
    )
    test_share: float = option(
        0.2,
        "Data",
        "Share of the pictures set aside for testing where none are set apart.",
        within="(0, 1]",
        only=PICTURES,
    )
    batch_size: int = option(256, "Data", "Images a step, over all processes together.", within="[2, 1e9]")
    augment: bool = option(True, "Data", "Random shift by up to 4 pixels, and flip (never flips digits).")
    mirror: bool | None = option(
        None, "Data", "Flip images at random or not.", unset="yes for images in colour and for clothes"
    )
    statistics: str = option(
        "imagenet",
        "Data",
        "Whose mean and deviation normalize CIFAR; all other images have their own.",
        choices=("imagenet", "dataset"),
        only={"dataset": (AUTO, *(name for name, info in DATASETS.items() if info.natural))},
    )
    train_images: int | None = option(
        None, "Data", "Use N training images only, evenly spaced.", within="[2, 1e9]", unset="all"
    )
    test_images: int | None = option(
        None, "Data", "Use N test images only, evenly spaced.", within="[1, 1e9]", unset="all"
    )

    epochs: int = option(500, "Optimization", "Length, in epochs.", within="[1, 1e9]")
    lr: float = option(
        5e-3,
        "Optimization",
        "Initial rate of Adam: what a weight moves a step, at most about.",
        within="[0, inf)",
    )
    levels_lr: float | None = option(
        None,
        "Optimization",
        "Rate of TTQ's and EC2T's levels, as shares of themselves.",
        within="[0, inf)",
        unset="--lr",
        only={"quantizer": ("ttq", "ec2t")},
    )
    lr_schedule: str = option("paper", "Optimization", "How the learning rate falls.", choices=LR_SCHEDULES)
    lr_scale: float | None = option(
        None,
        "Optimization",
        "s in epochs: power (1+t/s)^-c, exponential 0.1^(t/s); paper: an epoch of the paper's takes s.",
        within="(0, inf)",
        unset="10, 100 and 1",
        only={"lr_schedule": ("power", "exponential", "paper")},
    )
    lr_power: float = option(
        1.0, "Optimization", "c of the power schedule.", within="[0, inf)", only={"lr_schedule": ("power",)}
    )
    plateau_patience: int = option(
        10,
        "Optimization",
        "plateau: epochs without progress before the rate falls tenfold.",
        within="[0, 1e9]",
        only={"lr_schedule": ("plateau",)},
    )
    weight_decay: float = option(
        0.0,
        "Optimization",
        "L2 penalty: the share of each weight added to its gradient.",
        within="[0, inf)",
    )
    rebuild_adam: bool = option(False, "Optimization", "Reset Adam's moments every epoch, as BinaryNet does.")
    clip_value: float | None = option(
        None, "Optimization", "Clip every gradient to +-this.", within="(0, inf)", unset="off"
    )
    clip_norm: float | None = option(
        None,
        "Optimization",
        "Clip the L2 norm of all gradients together to this.",
        within="(0, inf)",
        unset="off",
    )
    norm_batches: int | None = option(
        None,
        "Optimization",
        "After every epoch, batch norm's statistics anew, as the averages over N training batches.",
        within="[1, 1e9]",
        unset="running averages",
    )
    early_stopping: int | None = option(
        None,
        "Optimization",
        "Stop after N epochs without progress, once Delta stands still.",
        within="[1, 1e9]",
        unset="off",
    )

    init: str | None = option(None, "Transfer", "Full-precision checkpoint to start from.", unset="none")
    teacher: str | None = option(
        None,
        "Transfer",
        "Full-precision checkpoint whose scores are learned as well: a run's file, or weights of the same network.",
        unset="none",
    )
    teacher_share: float = option(
        0.7, "Transfer", "Share of the loss that is the distance to the teacher.", within="[0, 1]"
    )
    teacher_temperature: float = option(
        4.0, "Transfer", "Temperature at which both their scores are compared.", within="(0, inf)"
    )
    freeze: tuple[str, ...] = option(
        (),
        "Transfer",
        "Modules to freeze with their batch norm and Delta: name pattern; repeatable.",
        unset="none",
    )
    unfreeze_epoch: int | None = option(
        None, "Transfer", "Epoch (from 1) in which they move again.", within="[1, 1e9]", unset="never"
    )
    frozen_norm: bool = option(False, "Transfer", "Keep all batch norm in evaluation mode.")

    fold_norms: bool = option(
        False,
        "Run",
        "Fold batch norm statistics in the .tnz files: half the size for them, to be evaluated only.",
    )
    logger: tuple[str, ...] = option(
        ("csv", "tensorboard"),
        "Run",
        "Where the figures are logged; several with commas between them.",
        choices=("csv", "tensorboard", "mlflow", "wandb", "none"),
    )
    layers: int | None = option(
        None,
        "Run",
        "Every N epochs, a table of the layers: their Delta, zeros and bits.",
        within="[1, 1e9]",
        unset="never",
        only=TERNARY,
    )
    # A generator takes 64 bits: 32 of the seed and 20 of the epoch make every epoch's own.
    seed: int = option(0, "Run", "Seed of initialization, order and augmentation.", within="[0, 4e9]")
    fast: bool = option(
        False,
        "Run",
        "Train faster, in other rounding: the network is compiled (a minute, the first time), and computes in bfloat16 "
        "where the device does.",
    )
    precision: str | None = option(
        None,
        "Run",
        "Arithmetic; what lies in the .tnz files keeps the network's own type.",
        choices=("32", "16-mixed", "bf16-mixed", "64"),
        unset="32, or what --fast chooses",
    )
    accelerator: str = option("auto", "Run", "Lightning accelerator: auto, cpu, cuda, mps.")
    devices: str = option("1", "Run", "Lightning devices: a number, a list as 0,2 or auto.")
    num_nodes: int = option(1, "Run", "Machines.", within="[1, 1e9]")
    strategy: str = option("auto", "Run", "Lightning strategy: auto, ddp, ...")

    def __post_init__(self) -> None:
        for name, known in OPTIONS.items():
            try:
                object.__setattr__(self, name, known.checked(getattr(self, name)))
            except TernzipError as error:
                raise TernzipError(f"{flag(name)}: {error}") from None
        if self.delta > self.max_delta:
            raise TernzipError(f"--delta: {self.delta:g} exceeds --max-delta {self.max_delta:g}")
        for pattern, factor in self.delta_scales.items():
            if not 0 < factor * self.max_delta < 1:
                raise TernzipError(
                    f"--delta-scale: {pattern}={factor:g}: expected a factor > 0 with which --max-delta "
                    f"{self.max_delta:g} stays below 1"
                )
        if self.ternary_activations and self.signed_activations:
            raise TernzipError(
                "--ternary-activations: not used with --signed-activations: layers read one or the other"
            )
        parse_arguments(self.arch_arg)
        if self.image_size is not None:
            parse_image_size(self.image_size)
        if self.unfreeze_epoch is not None and not self.freeze:
            raise TernzipError("--unfreeze-epoch: nothing is frozen: give --freeze PATTERN too")

    @property
    def delta_scales(self) -> dict[str, float]:
        """`delta_scale` as pattern and factor; TernzipError where it is not so written."""
        scales: dict[str, float] = {}
        for entry in self.delta_scale:
            pattern, _, factor = entry.rpartition("=")
            try:
                scales[pattern] = float(factor)
            except ValueError:
                pattern = ""
            if not pattern:
                raise TernzipError(f"--delta-scale: expected PATTERN=FACTOR, found {entry!r}")
        return scales

    def with_options(self, options: Mapping[str, Any], source: str = "options") -> "Recipe":
        """A copy with some options changed; names may have - or _. TernzipError for an unknown name."""
        changes: dict[str, Any] = {}
        for given, value in options.items():
            name = given.replace("-", "_")
            if name not in OPTIONS:
                near = get_close_matches(name, OPTIONS, 1)
                expected = near[0] if near else f"one of {', '.join(OPTIONS)}"
                raise TernzipError(f"{source}: unknown option {given!r}: expected {expected}")
            changes[name] = value
        return dataclasses.replace(self, **changes)

    def check_used(self, names: Collection[str]) -> None:
        """TernzipError unless a run by this recipe uses all options of these names: what is asked for, happens."""
        for name, needed in (("teacher_share", "teacher"), ("teacher_temperature", "teacher")):
            if name in names and getattr(self, needed) is None:
                raise TernzipError(f"{flag(name)}: not used without {flag(needed)}")
        if "mirror" in names and self.mirror and not self.augment:
            raise TernzipError("--mirror: not used with --no-augment")
        if "norm_batches" in names and self.norm_batches and self.frozen_norm:
            raise TernzipError("--norm-batches: not used with --frozen-norm")
        if "rate_epochs" in names and not self.rate:
            raise TernzipError("--rate-epochs: not used without --rate")
        for name in names:
            for other, values in OPTIONS[name].only.items():
                found = getattr(self, other)
                if found not in values:
                    raise TernzipError(
                        f"{flag(name)}: not used with {flag(other)} {found}, only with {', '.join(values)}"
                    )

    def differences(self, other: "Recipe") -> list[str]:
        """Names of the options in which two recipes would train differently."""
        # What the data were is in a checkpoint, and compared with what they are.
        free = {"epochs", "data", "dataset", "download", "carry_on", "accelerator", "fold_norms"}
        free |= {"logger", "layers"}
        return [name for name in OPTIONS if name not in free and getattr(self, name) != getattr(other, name)]


OPTIONS = options_of(Recipe)


def is_given(arch: str) -> bool:
    """Whether a recipe's network is no architecture with a name but a model that `ternzip.train` was given."""
    return arch.startswith("<")


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
    # For any network: thresholds that follow each layer, and a rate that most of them bear.
    "own": {"quantizer": "twn", "epochs": 20, "batch_size": 64, "lr": 1e-3, "lr_schedule": "constant"},
}


def preset(name: str) -> Recipe:
    """A recipe by name, of PRESETS; TernzipError for another name."""
    if name not in PRESETS:
        raise TernzipError(f"unknown preset {name!r}: expected one of {', '.join(PRESETS)}")
    return Recipe().with_options(PRESETS[name])


def recipe_of(
    options: Mapping[str, Any],
    preset_name: str | None = None,
    source: str = "options",
    *,
    start: Recipe | None = None,
) -> Recipe:
    """A recipe from options, which may have - or _, on top of a preset, or of the recipe of a run that goes on.

    Without a name the preset is "paper" for a built-in architecture and "own" for any other; TWN leaves the weights of
    preset "own" and of networks that are not built in unclipped, where no `ste` is given. Raises TernzipError, naming
    the option and its `source`, for one that makes no sense or would not be used.
    """
    if start is not None:
        recipe = start.with_options(options, source)
        _check_preset(preset_name, start, [name.replace("-", "_") for name in options])
    else:
        arch = str(options.get("arch", ""))
        own = is_own(arch) or is_given(arch)
        recipe = preset(preset_name or ("own" if own else "paper")).with_options(options, source)
        if recipe.quantizer == "twn" and (own or preset_name == "own") and "ste" not in options:
            # TWN's levels follow the weights, which may be of any size in networks that are not built in.
            recipe = dataclasses.replace(recipe, ste="identity")
    recipe.check_used([name.replace("-", "_") for name in options])
    return recipe


def _check_preset(name: str | None, start: Recipe, given: Collection[str]) -> None:
    """TernzipError where a preset is named for a run that goes on and was begun by other numbers."""
    if name is None:
        return
    named = preset(name)
    for key in dict.fromkeys(key for options in PRESETS.values() for key in options):
        expected, found = getattr(start, key), getattr(named, key)
        if key not in (*given, "epochs") and expected != found:
            raise TernzipError(
                f"--preset {name}: cannot resume with another recipe: {flag(key)}: expected {expected!r}, found "
                f"{found!r}: leave --preset out"
            )
