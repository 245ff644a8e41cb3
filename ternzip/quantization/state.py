"""What a prepared model holds: its ternary weights, their symbols, its latent weights and its learned levels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ternzip._core.errors import TernzipError
from ternzip._core.symbols import SymbolCounts
from ternzip.ops import SATURATING, clip_
from ternzip.quantization.activations import TernaryActivation
from ternzip.quantization.layers import TernaryLayer, every_use, plain_order, ternary_layers
from ternzip.quantization.learned import LearnedLevels


def clip_latent_(model: nn.Module) -> None:
    """Clip the latent weights to where their estimator saturates, [-1, +1]; for after every optimizer step.

    Beyond that bound "closed" and "open" give no gradient, and a weight would never come back. Layers of other
    estimators have no bound and are left alone (the default quantizer's among them), as are frozen latent weights
    (requires_grad False, or a quantizer that is `pinned`).

    The next forward ternarizes anew, in a pass of its own. `ops.clip_ternarize_count_` does both in one and
    `ops.attach_ste` attaches the estimator, for a loop that alone writes its weights; here that would save less than
    a thousandth of a step (docs/benchmarks/training_step.json) and rest on version counters, which do not see what is
    written through `.data` or numpy: stale ternary weights, without a word.
    """
    by_bound: dict[float, list[Tensor]] = {}
    for layer in ternary_layers(model):
        if layer.quantizer.ste in SATURATING and not layer.is_frozen:
            by_bound.setdefault(layer.quantizer.bound, []).append(layer.latent)
    for bound, latents in by_bound.items():
        clip_(latents, bound)


def count_layers(model: nn.Module) -> dict[str, SymbolCounts]:
    """The ternary symbols of every prepared layer as its weights stand now, by layer name; tied weights once.

    Empty for a model without any, as after `convert`: `ternzip.count_symbols` counts what its layers hold.
    """
    return {layer.name: layer.quantizer.count(layer.latent) for layer in ternary_layers(model)}


def ternary_names(model: nn.Module) -> dict[str, Tensor]:
    """The latent weight behind every entry of a plain state_dict that `convert` would make ternary.

    A tied weight stands under each of its names.
    """
    return {_plain_name(module, layer): layer.latent for module, layer in every_use(model, every_name=True)}


def ternary_state(model: nn.Module) -> dict[str, Tensor]:
    """The state_dict that `convert` would leave, without touching the model: ternary weights, no latent ones.

    Tensors are detached copies where they are ternary, the same one for all names of a tied weight, and the model's own
    storage elsewhere. Entries are in a plain model's order.
    """
    with torch.no_grad():
        ternary = {id(layer.latent): layer.quantizer(layer.latent) for layer in ternary_layers(model)}
    found = model.state_dict()
    layers = _layers_in(found, model)
    plain = {name: ternary[id(layer.latent)] for name, layer in layers.items()}
    orders = {name[: name.rfind(".") + 1]: plain_order(layer.module) for name, layer in layers.items()}
    latent_prefixes = tuple(_parametrization(name) for name in plain)
    state: dict[str, Tensor] = {}
    for key, tensor in found.items():
        is_latent = key.startswith(latent_prefixes)
        prefix = key[: key.rindex("parametrizations.")] if is_latent else key[: key.rfind(".") + 1]
        for name in (f"{prefix}{parameter}" for parameter in orders.get(prefix, ())):
            if name in plain or name in found:
                state.setdefault(name, plain[name] if name in plain else found[name])
        if not is_latent:
            state.setdefault(key, tensor)
    return state


def other_state(model: nn.Module) -> dict[str, Tensor]:
    """The entries of the state_dict that `convert` would leave as they are: all but the prepared weights' own."""
    found = model.state_dict()
    prefixes = tuple(_parametrization(name) for name in _layers_in(found, model))
    return {key: tensor for key, tensor in found.items() if not key.startswith(prefixes)}


def _layers_in(found: Mapping[str, Tensor], model: nn.Module) -> dict[str, TernaryLayer]:
    """The layers of `ternary_names` by names as a state_dict has them; wrappers may rename (checkpoint_wrapper does).

    Raises TernzipError for a weight that is there under no name that is known: its latent form would pass for it.
    """
    layers = {_plain_name(module, layer): layer for module, layer in every_use(model, every_name=True)}
    if all(f"{_parametrization(name)}original" in found for name in layers):
        return layers
    keys: dict[int, list[str]] = {}
    for key, tensor in model.state_dict(keep_vars=True).items():  # the parameters themselves
        keys.setdefault(id(tensor), []).append(key)
    known: dict[str, TernaryLayer] = {}
    for name, layer in layers.items():
        if f"{_parametrization(name)}original" in found:
            known[name] = layer
            continue
        own = [key for key in keys.get(id(layer.latent), ()) if key.endswith(".original")]
        if not own:
            raise TernzipError(
                f"{name}: its latent weight is not in the model's state_dict: take the model out of what wraps it"
            )
        for key in own:
            prefix, _, parameter = key.removesuffix(".original").rpartition("parametrizations.")
            known[prefix + parameter] = layer
    return known


def _plain_name(module: str, layer: TernaryLayer) -> str:
    """The name of a layer's weight in a plain state_dict, by that of its module."""
    return f"{module}.{layer.parameter}" if module else layer.parameter


def _parametrization(name: str) -> str:
    """Prefix of what a prepared model's state_dict holds in place of the plain entry `name`."""
    module, _, parameter = name.rpartition(".")
    return f"{module}.parametrizations.{parameter}." if module else f"parametrizations.{parameter}."


def parameter_groups(
    model: nn.Module, *, lr: float, levels_lr: float | None = None, weight_decay: float = 0.0
) -> list[dict[str, Any]]:
    """Two groups for an optimizer: learned levels and scales of activations, without weight decay, and all else.

        torch.optim.AdamW(parameter_groups(model, lr=1e-4, levels_lr=1e-5, weight_decay=0.01))

    Both are stored as logarithms: decay would pull every level towards 1, and a step of Adam changes a level
    by about the share `levels_lr` of itself.

    Args:
        model: any module; one without any of them gives one group.
        lr: rate of all other parameters.
        levels_lr: rate of the levels of TTQ and EC2T and of the scales of ternary activations; None: `lr`.
        weight_decay: of all other parameters.
    """
    learned = (LearnedLevels, TernaryActivation)
    levels = [p for m in model.modules() if isinstance(m, learned) for p in m.parameters(recurse=False)]
    ids = {id(p) for p in levels}
    groups: list[dict[str, Any]] = [
        {
            "params": [p for p in model.parameters() if id(p) not in ids],
            "lr": lr,
            "weight_decay": weight_decay,
        }
    ]
    if levels:
        groups.append({"params": levels, "lr": lr if levels_lr is None else levels_lr, "weight_decay": 0.0})
    return groups
