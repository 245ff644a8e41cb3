"""The network that a recipe names: built, made ternary, restored from a run's checkpoint, frozen in part."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ternzip import models
from ternzip._core.errors import TernzipError
from ternzip.models.own import parse_arguments
from ternzip.models.spec import NetworkSpec, read_spec
from ternzip.quantization import Delta, Quantizer, count_layers, prepare, ternary_layers
from ternzip.quantization.learned import quantizer_named
from ternzip.training.catalog import DatasetInfo, statistics_of
from ternzip.training.options import flag
from ternzip.training.recipe import OPTIONS, Recipe, is_given
from ternzip.training.runs import RunCheckpoint, read_run_checkpoint

NORMS = (nn.modules.batchnorm._BatchNorm,)


def spec_of(recipe: Recipe, info: DatasetInfo) -> NetworkSpec:
    """What builds the recipe's network for the images of a data set; of options only those that change it."""
    if recipe.inflate != 1 and recipe.arch != "resnet20":
        raise TernzipError(f"--inflate: {recipe.arch} has one width: expected 1, found {recipe.inflate}")
    own = _changed(recipe, "inflate", "activation", "dropout", "signed_activations")
    arguments = parse_arguments(recipe.arch_arg)
    mean, std = normalization(recipe, info)
    return NetworkSpec(
        recipe.arch,
        {**own, **arguments},
        info.image_shape,
        info.num_classes,
        mean,
        std,
        info.classes,
        **_changed(recipe, "image_fit", "test_share"),
    )


def _changed(recipe: Recipe, *names: str) -> dict[str, Any]:
    """Of these options those that differ from the default."""
    return {name: getattr(recipe, name) for name in names if getattr(recipe, name) != OPTIONS[name].default}


def build(recipe: Recipe, info: DatasetInfo) -> nn.Module:
    """The recipe's network for a data set in full precision, started from --init where that is given."""
    network = spec_of(recipe, info).build()
    if recipe.init is not None:
        models.load_weights(network, recipe.init)
        _warn_of_another_network(recipe, info)
    return network


def _warn_of_another_network(recipe: Recipe, info: DatasetInfo) -> None:
    """Say where --init comes from a network whose weights fit, and which computes something else with them."""
    assert recipe.init is not None
    start = _spec_in(recipe.init)
    if start is None:
        return
    own = spec_of(recipe, info)
    said = {"arch": (start.arch, own.arch)}
    for name in ("activation", "signed_activations"):
        default = OPTIONS[name].default
        said[name] = (start.options.get(name, default), own.options.get(name, default))
    for name, (found, expected) in said.items():
        if found != expected:
            names = ["the architecture's own" if value is None else str(value) for value in (found, expected)]
            warnings.warn(
                f"--init {recipe.init}: was trained with {flag(name)} {names[0]}, this network has {names[1]}",
                stacklevel=2,
            )


def build_ternary(recipe: Recipe, info: DatasetInfo) -> nn.Module:
    """The recipe's network as it is trained: prepared, unless its quantizer is "none"."""
    network = build(recipe, info)
    check_norms(network, recipe)
    return make_ternary(network, recipe)


def make_ternary(network: nn.Module, recipe: Recipe) -> nn.Module:
    """The network, prepared as the recipe says, in place."""
    if recipe.quantizer == "none":
        return network
    overrides = {
        pattern: Delta(recipe.delta, ste=recipe.ste, scale=factor)
        for pattern, factor in recipe.delta_scales.items()
    }
    activations = "ternary" if recipe.ternary_activations else None
    return prepare(
        network, quantizer_of(recipe), skip=recipe.skip, overrides=overrides, activations=activations
    )


def check_norms(network: nn.Module, recipe: Recipe) -> None:
    """TernzipError where a network that is to be trained was started from --init with folded batch norms."""
    if recipe.init is not None and not recipe.frozen_norm and _has_folded_norms(network):
        raise TernzipError(
            f"--init {recipe.init}: its batch norm statistics are folded (--fold-norms), for evaluation alone: "
            "expected a checkpoint with its own, such as the run's last.ckpt"
        )


def _has_folded_norms(network: nn.Module) -> bool:
    """Whether all batch norms have the statistics 0 and 1, as fresh ones have, but not the weights of fresh ones."""
    norms = [
        norm
        for norm in network.modules()
        if isinstance(norm, NORMS) and norm.affine and norm.running_mean is not None
    ]
    return all(
        bool((norm.running_mean == 0).all() and (norm.running_var == 1).all())
        for norm in norms
        if norm.running_mean is not None and norm.running_var is not None
    ) and any(bool((norm.weight != 1).any()) for norm in norms)


def build_teacher(recipe: Recipe, info: DatasetInfo) -> nn.Module:
    """The network in full precision of the file `--teacher`, in evaluation mode, for images of this data set.

    Its architecture and options are the file's own where it says so, as a run's files do, and else the recipe's. Leaves
    the global random generator alone.
    """
    assert recipe.teacher is not None
    spec = _spec_in(recipe.teacher)
    if spec is None:
        spec = spec_of(recipe, info)
    else:
        spec.check_consent(recipe.teacher, recipe.arch, False)
        spec = dataclasses.replace(spec, image_shape=info.image_shape, num_classes=info.num_classes)
    with torch.random.fork_rng(devices=[]):
        teacher = models.load_weights(spec.build(), recipe.teacher)
    return teacher.requires_grad_(False).eval()


def _spec_in(path: str) -> NetworkSpec | None:
    """What builds the network of a run's .ckpt or of a .tnz file; None where the file does not say."""
    if Path(path).suffix != ".ckpt":
        return read_spec(path)
    try:
        run = read_run_checkpoint(path)
    except TernzipError:  # another program's
        return None
    return None if is_given(run.recipe.arch) else spec_of(run.recipe, run.dataset)


def check_start(model: nn.Module, recipe: Recipe) -> None:
    """TernzipError where Delta is beyond every weight that a network starts with: nothing in it would ever learn."""
    layers = ternary_layers(model)
    counts = count_layers(model).values()
    if recipe.quantizer != "delta" or any(count.zero < count.total for count in counts):
        return
    largest = max(float(layer.latent.detach().abs().max()) for layer in layers)
    raise TernzipError(
        f"--delta {recipe.delta:g}: all weights of {recipe.arch} are zero at the start, as the largest is "
        f"{largest:.3g}, and none would ever learn: take --delta {float(f'{largest / 4:.1g}'):g} or less with as small "
        "a --max-delta, or --quantizer twn, whose threshold follows each layer"
    )


def restore(
    run: RunCheckpoint, source: str | Path, *, arch: str | None = None, trust_arch: bool = False
) -> nn.Module:
    """The network of a run's checkpoint, as `build_ternary` makes it, with its weights.

    Leaves the global random generator alone. Raises TernzipError, naming `source`, when they do not fit, and for a
    network made by code that is neither the `arch` that the user has named nor trusted.
    """
    recipe = dataclasses.replace(run.recipe, init=None)
    if is_given(recipe.arch):
        raise TernzipError(
            f"{source}: its network was given to ternzip.train, and has no architecture to build it by"
        )
    spec_of(recipe, run.dataset).check_consent(source, arch, trust_arch)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of how the random weights start that are replaced below
        network = build_ternary(recipe, run.dataset)
    return load_state(network, run.state, source)


def load_state(network: nn.Module, state: Mapping[str, Tensor], source: str | Path) -> nn.Module:
    """A prepared network with the weights of a run's state_dict; TernzipError, naming `source`, if they do not fit."""
    try:
        network.load_state_dict({name.removeprefix("model."): tensor for name, tensor in state.items()})
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise TernzipError(f"{source}: does not fit its own recipe: {reason}") from error
    return network


def quantizer_of(recipe: Recipe) -> Quantizer:
    """The recipe's quantizer, ready for `prepare`."""
    options: dict[str, dict[str, Any]] = {
        "delta": {"delta": recipe.delta, "ste": recipe.ste},
        "binary": {"ste": recipe.ste},
        "twn": {"ratio": recipe.twn_ratio, "ste": recipe.ste},
        "ttq": {"ratio": recipe.ttq_ratio},
        "ec2t": {"strength": recipe.ec2t_strength},
    }
    return quantizer_named(recipe.quantizer, **options[recipe.quantizer])


def normalization(recipe: Recipe, info: DatasetInfo) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std) for each channel, as the recipe asks for them."""
    return statistics_of(info, recipe.statistics)


def frozen_modules(model: nn.Module, patterns: tuple[str, ...]) -> list[nn.Module]:
    """Modules whose name matches, all inside them, and the batch norm right after a frozen weight.

    Raises TernzipError for a pattern that matches nothing.
    """
    chosen: dict[int, nn.Module] = {}
    for pattern in patterns:
        found = [m for name, m in model.named_modules() if name and fnmatchcase(name, pattern)]
        if not found:
            raise TernzipError(f"--freeze: pattern {pattern!r} matches no module")
        chosen.update((id(inner), inner) for module in found for inner in module.modules())
    weights_before = False
    for module in model.modules():
        if isinstance(module, NORMS):
            if weights_before:
                chosen[id(module)] = module
            weights_before = False
        elif isinstance(module, nn.modules.conv._ConvNd | nn.Linear):
            weights_before = id(module) in chosen
    return list(chosen.values())
