"""Ternary training in anybody's model: `prepare` before, `convert` after.

Every chosen layer keeps its latent weight as a parametrization's original, and reads its ternary weight wherever it
used to read its weight. Nothing is shared between layers or kept from one forward to the next, so threads,
checkpointed activations, compilation and `torch.func` meet plain modules.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from fnmatch import fnmatchcase

import torch
from torch import nn
from torch.nn.utils import parametrize

from ternzip._core.errors import TernzipError
from ternzip.quantization.activations import (
    ACTIVATIONS,
    check_calibrated,
    layers_to_quantize,
    quantize_inputs,
)
from ternzip.quantization.layers import every_use, keep_plain_order, plain_order, ternary_layers
from ternzip.quantization.learned import quantizer_named
from ternzip.quantization.quantizers import TWN, Quantizer
from ternzip.quantization.selection import Include, Selection, Skip, Weight, listing, select

Choice = Quantizer | type[Quantizer] | str


def prepare(
    model: nn.Module,
    quantizer: Choice | None = None,
    *,
    skip: Skip = (),
    include: Include = (),
    overrides: Mapping[str, Choice] | None = None,
    activations: str | None = None,
) -> nn.Module:
    """Ternarize the weights of every convolution (1-3 d, transposed) and linear layer of `model`, in place.

    A layer is known by its module's name; a weight that is not called `weight`, by its own full name. All patterns are
    shell wildcards on these names ("conv1", "*.shortcut.*"). A weight used in several places is ternarized in all of
    them, with one quantizer, or in none: a linear layer tied to an embedding stays as it is unless the embedding is
    included too.

    Args:
        model: any module; returned for convenience. Nothing is changed where an error is raised.
        quantizer: an instance or a class of `ternzip.quantization`, or a name. None is TWN, whose threshold and level
            follow each layer's own scale: it fits any model. "delta" is the paper's: Delta 0.1 in units of the
            weights, levels +-1, for networks with a batch norm behind every ternary layer.
        skip: layers to leave in full precision: patterns, module types, or a function of (name, module).
        include: further weights: module types (all parameters of two or more dimensions with "weight" in their name,
            or, where none has, all but biases: transformers' Conv1D, nn.MultiheadAttention, nn.LSTM, nn.Embedding,
            experts of mixtures), or patterns.
        overrides: other quantizers for some layers, by pattern; the first that matches counts.
        activations: "ternary" puts a `ternzip.quantization.TernaryActivation` before each convolution and linear layer
            that is ternarized, but for the model's first, which reads the network's input. None: layers read floats.

    Warns once, naming layers, of weights of other types that stay in full precision (embeddings aside; `skip` says that
    they shall), and once of layers whose ternary weights are all zero at the start.

    Raises TernzipError when nothing is left to ternarize, when a pattern matches no layer, and for a layer that is
    prepared, pruned or parametrized already, has no shape yet, or is not of a floating-point type; and for other
    `activations`, or where no layer would have any. TypeError for what is no module.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"prepare takes a torch.nn.Module, got {type(model).__name__}")
    default = _quantizer(TWN() if quantizer is None else quantizer)
    special = {pattern: _quantizer(entry) for pattern, entry in (overrides or {}).items()}
    selection = select(model, skip, include, special)
    own = _quantizers(selection.chosen, default, special)
    empty = _all_zero(selection.chosen, own)
    quantized = _with_quantized_inputs(model, selection, activations)
    for weight in selection.chosen:
        _register(weight, own[id(weight.value)])
    quantize_inputs(model, quantized)
    _warn(selection, empty)
    return model


def convert(model: nn.Module) -> nn.Module:
    """Bake the ternary weights in: `model` holds plain weights again, every one of them ternary.

    Quantizers of activations stay, as modules with a scale each (`activations` of `prepare`).

    Also for a trained model that shall only run from now on: a prepared one ternarizes anew in every forward.

    Raises TernzipError for a model without a prepared layer, and for one whose ternary activations have seen no input.
    """
    layers = [layer for _, layer in every_use(model)]
    if not layers:
        raise TernzipError(
            f"{type(model).__name__} has no ternary layer to convert: call ternzip.prepare first"
        )
    check_calibrated(model)
    for layer in layers:
        if layer.parameter not in vars(type(layer.module)):
            raise TernzipError(
                f"layer {layer.name}: its class {type(layer.module).__name__} is not the one that prepare made, as "
                "after fully_shard: load its full state_dict into a prepared model of one process, and convert that"
            )
    with torch.no_grad():
        ternary = {id(layer.latent): layer.quantizer(layer.latent) for layer in ternary_layers(model)}
        for layer in layers:
            weight = ternary[id(layer.latent)]
            order = plain_order(layer.module)
            _own_class(layer.module)
            parametrize.remove_parametrizations(layer.module, layer.parameter, leave_parametrized=False)
            restored = layer.module._parameters[layer.parameter]
            assert restored is not None
            restored.copy_(weight)
            _reorder(layer.module, order)
            if isinstance(layer.module, nn.RNNBase):
                layer.module._init_flat_weights()
    return model


def _quantizer(choice: Choice) -> Quantizer:
    if isinstance(choice, str):
        return quantizer_named(choice)
    if isinstance(choice, type) and issubclass(choice, Quantizer):
        return choice()
    if isinstance(choice, Quantizer):
        return choice
    raise TernzipError(
        f"quantizer: expected a Quantizer, its class or its name, found {choice!r}: "
        "a Delta of your own is ternzip.quantization.Delta(0.1)"
    )


def _with_quantized_inputs(model: nn.Module, selection: Selection, activations: str | None) -> list[str]:
    """Names of the layers that shall read ternary activations."""
    if activations is None:
        return []
    if activations not in ACTIVATIONS:
        raise TernzipError(f'activations: expected None or "ternary", found {activations!r}')
    ternary = [weight.module for weight in selection.chosen if weight.parameter == "weight"]
    names = layers_to_quantize(model, ternary)
    if not names:
        raise TernzipError(
            "activations: expected a ternarized convolution or linear layer behind the model's first layer, found none"
        )
    return names


def _quantizers(
    chosen: list[Weight], default: Quantizer, special: Mapping[str, Quantizer]
) -> dict[int, Quantizer]:
    """A quantizer of its own for every distinct weight, by the weight's id."""
    largest = max(1, *(weight.value.numel() for weight in chosen))
    own: dict[int, Quantizer] = {}
    for weight in chosen:
        if id(weight.value) not in own:
            template = next((q for p, q in special.items() if fnmatchcase(weight.name, p)), default)
            value = weight.value.detach()
            own[id(weight.value)] = template.for_weight(value, value.numel() / largest)
    return own


def _all_zero(chosen: list[Weight], own: Mapping[int, Quantizer]) -> list[str]:
    """Names of the layers that would start without a single weight."""
    counts = {
        weight.name: own[id(weight.value)].count(weight.value)
        for weight in chosen
        if not weight.value.is_meta
    }
    return [name for name, count in counts.items() if count.total and count.zero == count.total]


def _register(weight: Weight, quantizer: Quantizer) -> None:
    module, order = weight.module, tuple(weight.module._parameters)
    # unsafe=True leaves out a trial that has been made already, before anything was changed.
    parametrize.register_parametrization(module, weight.parameter, quantizer, unsafe=True)
    keep_plain_order(module, order)
    if isinstance(module, nn.RNNBase):
        # torch's recurrent layers compute with a list of their weights that they keep; a kept list of ternary weights
        # would be shared between threads.
        type(module)._flat_weights = property(_weights_now, _no_weights_kept)  # type: ignore[assignment]


def _weights_now(module: nn.RNNBase) -> list[torch.Tensor]:
    return [getattr(module, name) for name in module._flat_weights_names]


def _no_weights_kept(module: nn.RNNBase, weights: list[torch.Tensor]) -> None:
    pass


def _warn(selection: Selection, empty: list[str]) -> None:
    if selection.left:
        kinds = "; ".join(
            f"{len(names)} {'' if kind.startswith('tied') else 'of '}{kind} ({listing(names, 3)})"
            for kind, names in selection.left.items()
        )
        warnings.warn(
            f"prepare leaves weights in full precision: {kinds}; include= ternarizes them, skip= keeps them so",
            stacklevel=3,
        )
    if empty:
        warnings.warn(
            f"{len(empty)} of {len(selection.chosen)} layers start with all ternary weights zero ({listing(empty)}) "
            "and may never learn: take a smaller Delta, or the default quantizer, whose threshold follows the layer",
            stacklevel=3,
        )


def _reorder(module: nn.Module, order: tuple[str, ...]) -> None:
    parameters = module._parameters
    for name in (*(n for n in order if n in parameters), *(n for n in parameters if n not in order)):
        parameters[name] = parameters.pop(name)


def _own_class(module: nn.Module) -> None:
    # Copies of a parametrized module share its generated class, and torch removes a parametrization by
    # deleting the property from that class: converting one would break the others.
    cls = type(module)
    members = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    module.__class__ = type(cls.__name__, cls.__bases__, members)
