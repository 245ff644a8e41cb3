"""Which weights of a model become ternary: by module type, by name, and never a tied one in one place alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from ternzip._core.errors import TernzipError
from ternzip.ops._kernels import WEIGHT_CODES
from ternzip.quantization.layers import is_prepared, layer_name, parametrizations

TERNARIZED_TYPES = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.Linear,
)
# Known to stay in full precision, so that nobody needs to be told of them.
EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)

Skip = str | type[nn.Module] | Iterable[str | type[nn.Module]] | Callable[[str, nn.Module], bool]
Include = str | type[nn.Module] | Iterable[str | type[nn.Module]]


@dataclass(frozen=True)
class Weight:
    """A parameter of a module that is, or might be, made ternary."""

    name: str
    module: nn.Module
    parameter: str

    @property
    def value(self) -> nn.Parameter:
        """The weight itself, still a plain parameter."""
        found = self.module._parameters[self.parameter]
        assert found is not None
        return found

    @property
    def kind(self) -> str:
        """For a message: the type of its module, and its own name where that says more."""
        own = "" if self.parameter == "weight" else f".{self.parameter}"
        return f"{type(self.module).__name__}{own}"


@dataclass(frozen=True)
class Selection:
    """The weights to ternarize, tied ones at every place, and names of what stays in full precision, by kind."""

    chosen: list[Weight]
    left: dict[str, list[str]]


def select(model: nn.Module, skip: Skip, include: Include, overrides: Iterable[str]) -> Selection:
    """Choose, and check everything before anything is changed.

    Raises TernzipError when a pattern matches nothing, when nothing is left to ternarize, and for a weight that cannot
    be parametrized, by name.
    """
    types, patterns = _types_and_patterns(include, "include")
    for pattern in overrides:
        if not isinstance(pattern, str):
            raise TernzipError(f"overrides: expected name patterns, found {pattern!r}")
    usual: list[Weight] = []
    other: list[Weight] = []
    for weight in _weights(model):
        by_type = isinstance(weight.module, TERNARIZED_TYPES) or _is_of_type(weight, types)
        named = any(fnmatchcase(weight.name, pattern) for pattern in patterns)
        (usual if by_type or named else other).append(weight)
    _check_patterns([*patterns, *overrides], usual)
    _check_types(types, usual, "include")
    skipped = _skipped(skip, [*usual, *other])
    wanted = [weight for weight in usual if not skipped(weight)]
    for weight in wanted:
        _check_weight(weight)
    chosen, left = _without_half_ties(model, wanted)
    for weight in other:
        if not _stays_without_a_word(weight) and not skipped(weight):
            left.setdefault(weight.kind, []).append(weight.name)
    if not chosen:
        beside = f" (it has {', '.join(left)}: see include=)" if left else ""
        raise TernzipError(
            f"{type(model).__name__} has no layer to ternarize: expected a convolution or a linear layer "
            f"that is not skipped, found none{beside}"
        )
    return Selection(chosen, left)


def _weights(model: nn.Module) -> Iterator[Weight]:
    """Every weight of at least two dimensions, whatever it is called, biases aside.

    And the weight of every convolution and linear layer as it may be.
    """
    for name, module in model.named_modules():
        if isinstance(module, parametrize.ParametrizationList):
            continue
        if isinstance(module, TERNARIZED_TYPES):
            yield Weight(layer_name(name, "weight"), module, "weight")
            continue
        found = {
            _computed(module, parameter): None
            for parameter, value in module._parameters.items()
            if value is not None and "bias" not in parameter and not is_lazy(value) and value.dim() >= 2
        }
        for parameter in found:
            yield Weight(layer_name(name, parameter), module, parameter)


def _computed(module: nn.Module, parameter: str) -> str:
    """What pruning or weight_norm has renamed stands for the weight it computes, so that it is refused by that name."""
    for ending in ("_g", "_v"):
        stem = parameter.removesuffix(ending)
        if stem != parameter and stem in vars(module):
            return stem
    return parameter.removesuffix("_orig")


def _is_of_type(weight: Weight, types: tuple[type[nn.Module], ...]) -> bool:
    """Whether a weight is meant by the type of its module: one called so, or any where none is called so."""
    names = weight.module._parameters
    is_meant = "weight" in weight.parameter or not any("weight" in name for name in names)
    return is_meant and isinstance(weight.module, types)


def _stays_without_a_word(weight: Weight) -> bool:
    """Embeddings, norms, and what is a vector or an embedding by its shape or its name."""
    kinds = isinstance(weight.module, EMBEDDINGS) or "Norm" in type(weight.module).__name__
    if kinds or "weight" in weight.parameter:
        return kinds
    value = weight.module._parameters.get(weight.parameter)
    is_vector = value is not None and sum(length > 1 for length in value.shape) < 2
    return is_vector or "emb" in weight.parameter


def _types_and_patterns(given: Include, option: str) -> tuple[tuple[type[nn.Module], ...], list[str]]:
    entries = [given] if isinstance(given, str | type) else list(given)
    for entry in entries:
        if not isinstance(entry, str) and not (isinstance(entry, type) and issubclass(entry, nn.Module)):
            raise TernzipError(f"{option}: expected module types and name patterns, found {entry!r}")
    types = tuple(entry for entry in entries if isinstance(entry, type))
    return types, [entry for entry in entries if isinstance(entry, str)]


def _check_patterns(patterns: Iterable[str], weights: Sequence[Weight]) -> None:
    names = [weight.name for weight in weights]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise TernzipError(f"pattern {pattern!r} matches no layer: the layers are {listing(names)}")


def _check_types(types: Iterable[type[nn.Module]], weights: Sequence[Weight], option: str) -> None:
    for kind in types:
        if not any(isinstance(weight.module, kind) for weight in weights):
            raise TernzipError(f"{option}: {kind.__name__}: the model has no such layer with weights")


def _skipped(skip: Skip, weights: Sequence[Weight]) -> Callable[[Weight], bool]:
    """Whether a weight is skipped; TernzipError for a pattern or a type that matches none of these."""
    if callable(skip) and not isinstance(skip, type):
        chosen = skip
        return lambda weight: bool(chosen(weight.name, weight.module))
    types, patterns = _types_and_patterns(skip, "skip")
    _check_patterns(patterns, weights)
    _check_types(types, weights, "skip")
    return lambda weight: (
        isinstance(weight.module, types) or any(fnmatchcase(weight.name, pattern) for pattern in patterns)
    )


def _check_weight(weight: Weight) -> None:
    where, parameter = f"layer {weight.name}", weight.parameter
    if is_prepared(weight.module, parameter):
        raise TernzipError(f"{where} is prepared already: prepare a model once, or skip what is prepared")
    if parameter in parametrizations(weight.module):
        kind = type(parametrizations(weight.module)[parameter][0]).__name__  # type: ignore[index]
        raise TernzipError(
            f"{where} is parametrized already, by {kind}: remove that first (torch.nn.utils.parametrize."
            "remove_parametrizations), or skip the layer"
        )
    value = weight.module._parameters.get(parameter)
    if value is None:
        raise TernzipError(
            f"{where}: its {parameter} is no parameter, but computed, as by pruning or weight_norm: expected a "
            "parameter: make that permanent first (torch.nn.utils.prune.remove, remove_weight_norm), or skip the layer"
        )
    if is_lazy(value):
        raise TernzipError(f"{where} has no shape yet: run one batch through the model first")
    if getattr(weight.module, "sparse", False) is True:
        raise TernzipError(
            f"{where}: its gradients are sparse, and a ternary weight's are dense: expected sparse=False"
        )
    if value.dtype not in WEIGHT_CODES:
        known = ", ".join(str(dtype).removeprefix("torch.") for dtype in WEIGHT_CODES)
        raise TernzipError(
            f"{where}: expected a floating-point weight, found {value.dtype}: {known} can be trained"
        )
    if value.layout is not torch.strided:
        raise TernzipError(f"{where}: expected a dense weight, found the layout {value.layout}")


def _without_half_ties(model: nn.Module, wanted: list[Weight]) -> tuple[list[Weight], dict[str, list[str]]]:
    """A weight used in several places is ternarized in all of them or in none: elsewhere `convert` would change it.

    In none where the places are parameters of their own that share memory (`a.weight.data = b.weight.data`): each
    would have a quantizer of its own.
    """
    places: dict[tuple[int, int], list[tuple[str, nn.Parameter, bool]]] = {}
    inside = {(id(weight.module), weight.parameter) for weight in wanted}
    for name, module in model.named_modules():
        for parameter, value in module._parameters.items():
            if value is not None:
                use = layer_name(name, parameter), value, (id(module), parameter) in inside
                places.setdefault(_memory(value), []).append(use)
    chosen, left = [], dict[str, list[str]]()
    for weight in wanted:
        uses = places[_memory(weight.value)]
        outside = [name for name, value, is_inside in uses if not is_inside or value is not weight.value]
        if outside:
            left.setdefault(f"tied to {outside[0]}", []).append(weight.name)
        else:
            chosen.append(weight)
    return chosen, left


def _memory(value: nn.Parameter) -> tuple[int, int]:
    """The same for parameters that begin in one place of one storage; of those without a storage, their own."""
    if type(value) is not nn.Parameter or value.layout is not torch.strided:
        return id(value), 0
    return int(value.untyped_storage()._cdata), int(value.storage_offset())


def listing(names: Sequence[str], most: int = 6) -> str:
    """Names for a message, the first few of many."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "") if names else "none"
