"""Ternary training in anybody's model: `prepare` before, `convert` after.

Every convolution and linear layer keeps its latent weight as a parametrization's original, and reads its
ternary weight wherever it used to read its weight. One many-tensor operation, ahead of the prepared
model's forward, ternarizes all of them; a layer called outside of it ternarizes its own.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ternzip._core.errors import TernzipError
from ternzip._core.symbols import SymbolCounts
from ternzip.ops import clip_, symbol_counts, ternarize_many
from ternzip.quantization.quantizers import Delta, Quantizer, Scalar, quantizer_named

TERNARIZED_TYPES = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.Linear,
)


class Ternarization(nn.Module):
    """The parametrization: latent weight in, ternary weight out."""

    def __init__(self, quantizer: Quantizer) -> None:
        super().__init__()
        self.quantizer = quantizer
        self.ahead: Tensor | None = None  # set by the prepared model for the time of its forward

    def forward(self, latent: Tensor) -> Tensor:
        if self.ahead is not None:
            return self.ahead
        return _ternarize_all([self.quantizer], [latent])[0][0]

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight


@dataclass(frozen=True)
class TernaryLayer:
    """One prepared layer: its name in the model, the module, and what was put into it."""

    name: str
    module: nn.Module

    @property
    def ternarization(self) -> Ternarization:
        found = self.module.parametrizations["weight"][0]  # type: ignore[index]
        assert isinstance(found, Ternarization)
        return found

    @property
    def quantizer(self) -> Quantizer:
        return self.ternarization.quantizer

    @property
    def latent(self) -> Tensor:
        """The full-precision weight that the optimizer moves."""
        original = self.module.parametrizations["weight"].original  # type: ignore[index,union-attr]
        assert isinstance(original, Tensor)
        return original


def prepare(
    model: nn.Module,
    quantizer: Quantizer | str | None = None,
    *,
    skip: str | Iterable[str] = (),
    overrides: Mapping[str, Quantizer | str] | None = None,
) -> nn.Module:
    """Ternarize the weights of every convolution (1-3 d, transposed) and linear layer of `model`, in place.

    Args:
        model: any module; returned for convenience.
        quantizer: a `ternzip.quantization.quantizers` instance or its name; None is Delta 0.1 with levels +-1.
        skip: names of layers to leave in full precision, with shell wildcards ("conv1", "*.shortcut.*").
        overrides: other quantizers for some layers, by name pattern; the first that matches counts.

    Raises TernzipError when nothing is left to ternarize, when a pattern matches no layer, and when a layer
    is prepared already.
    """
    skip = [skip] if isinstance(skip, str) else list(skip)
    overrides = dict(overrides or {})
    layers = {
        name or "weight": module
        for name, module in model.named_modules()
        if isinstance(module, TERNARIZED_TYPES)
    }
    for pattern in (*skip, *overrides):
        if not any(fnmatchcase(name, pattern) for name in layers):
            raise TernzipError(
                f"pattern {pattern!r} matches no layer: the layers are {_listing(list(layers))}"
            )
    chosen = {name: m for name, m in layers.items() if not any(fnmatchcase(name, p) for p in skip)}
    if not chosen:
        raise TernzipError(
            f"{type(model).__name__} has no layer to ternarize: expected a convolution or a linear layer "
            "that is not skipped, found none"
        )
    for name, module in chosen.items():
        if parametrize.is_parametrized(module, "weight"):
            raise TernzipError(f"layer {name} is parametrized already: prepare a model once")
    default = _resolve(quantizer)
    special = {pattern: _resolve(entry) for pattern, entry in overrides.items()}
    for name, module in chosen.items():
        template = next((q for p, q in special.items() if fnmatchcase(name, p)), default)
        own = template.for_weight(module.weight)
        parametrize.register_parametrization(module, "weight", Ternarization(own))
    if model not in chosen.values():
        model.__class__ = _prepared_class(type(model))
    return model


def convert(model: nn.Module) -> nn.Module:
    """Bake the ternary weights in: `model` holds plain weights again, every one of them ternary.

    Raises TernzipError for a model without a prepared layer.
    """
    layers = ternary_layers(model)
    if not layers:
        raise TernzipError(
            f"{type(model).__name__} has no ternary layer to convert: call ternzip.prepare first"
        )
    with torch.no_grad():
        baked = _ternarize_all([layer.quantizer for layer in layers], [layer.latent for layer in layers])[0]
        for layer, weight in zip(layers, baked, strict=True):
            _own_class(layer.module)
            parametrize.remove_parametrizations(layer.module, "weight", leave_parametrized=False)
            restored = layer.module._parameters["weight"]
            assert restored is not None
            restored.copy_(weight)
            # The weight came back as the last parameter; a plain layer has it first.
            parameters = layer.module._parameters
            for name in [name for name in parameters if name != "weight"]:
                parameters[name] = parameters.pop(name)
    for module in model.modules():
        unprepared = getattr(type(module), "prepared_from", None)
        if unprepared is not None:
            module.__class__ = unprepared
    return model


def ternary_layers(model: nn.Module) -> list[TernaryLayer]:
    """The prepared layers of `model`, in the order of its modules; empty for a model that is not prepared."""
    return [
        TernaryLayer(name or "weight", module)
        for name, module in model.named_modules()
        if parametrize.is_parametrized(module, "weight")
        and isinstance(module.parametrizations["weight"][0], Ternarization)
    ]


def clip_latent_(model: nn.Module) -> None:
    """Clip every latent weight to [-1, +1]; for after every optimizer step.

    The next forward ternarizes anew, in a pass of its own. `ops.clip_ternarize_count_` does both in one and
    `ops.attach_ste` attaches the estimator, for a loop that alone writes its weights; here that would save less than
    a thousandth of a step (docs/benchmarks/training_step.json) and rest on version counters, which do not see what is
    written through `.data` or numpy: stale ternary weights, without a word.
    """
    clip_([layer.latent for layer in ternary_layers(model)])


def ternary_state(model: nn.Module) -> dict[str, Tensor]:
    """The state_dict that `convert` would leave, without touching the model: ternary weights, no latent ones.

    Tensors are detached copies where they are ternary, and the model's own storage elsewhere.
    """
    layers = {layer.name: layer for layer in ternary_layers(model)}
    with torch.no_grad():
        baked = _ternarize_all(
            [la.quantizer for la in layers.values()], [la.latent for la in layers.values()]
        )[0]
    ternary = dict(zip(layers, baked, strict=True))
    state: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        owner, mark, _ = name.partition(".parametrizations.weight.")
        owner = owner if mark else name.rpartition(".")[0]
        if owner in ternary:
            state.setdefault(f"{owner}.weight", ternary[owner])  # first of its layer, as in a plain model
        if not mark:
            state[name] = tensor
    return state


def count_layers(model: nn.Module) -> dict[str, SymbolCounts]:
    """The ternary symbols of every prepared layer as its weights stand now, by layer name."""
    layers = ternary_layers(model)
    with torch.no_grad():
        counts = _ternarize_all([la.quantizer for la in layers], [la.latent for la in layers])[1]
    return {layer.name: row for layer, row in zip(layers, counts, strict=True)}


def _ternarize_all(
    quantizers: Sequence[Quantizer], latents: Sequence[Tensor], *, counted: bool = True
) -> tuple[list[Tensor], list[SymbolCounts]]:
    """One many-tensor call for each device and STE (in nearly every model: one call)."""
    groups: dict[tuple[torch.device, str, float], list[int]] = {}
    for i, (quantizer, latent) in enumerate(zip(quantizers, latents, strict=True)):
        groups.setdefault((latent.device, quantizer.ste, quantizer.bound), []).append(i)
    ternary: dict[int, Tensor] = {}
    counts: dict[int, SymbolCounts] = {}
    for (_, ste, bound), members in groups.items():
        weights = [latents[i] for i in members]
        columns = zip(
            *((*quantizers[i].thresholds(latents[i]), *quantizers[i].levels(latents[i])) for i in members),
            strict=True,
        )
        scalars = [_one_or_stack(column, weights[0]) for column in columns]
        outputs, rows = ternarize_many(weights, *scalars, ste=ste, bound=bound)
        ternary.update(zip(members, outputs, strict=True))
        if counted:
            counts.update(zip(members, symbol_counts(rows), strict=True))
    order = range(len(latents))
    return [ternary[i] for i in order], [counts[i] for i in order] if counted else []


def _one_or_stack(column: Sequence[Scalar], like: Tensor) -> Scalar:
    first = column[0]
    if all(not isinstance(value, Tensor) and value == first for value in column):
        return first
    if not any(isinstance(value, Tensor) for value in column):
        return torch.tensor(column, dtype=torch.float64, device=like.device)
    return torch.stack([torch.as_tensor(v, dtype=torch.float64, device=like.device) for v in column])


def _prepared_class(cls: type[nn.Module]) -> type[nn.Module]:
    # A subclass, as parametrize makes one for each layer, and not forward hooks: torch.compile runs the hooks
    # of the module it is given as frames, and graphs, of their own.
    @functools.wraps(cls.forward)
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        layers = [layer for layer in ternary_layers(self) if layer.ternarization.ahead is None]
        quantizers, latents = [layer.quantizer for layer in layers], [layer.latent for layer in layers]
        for layer, weight in zip(layers, _ternarize_all(quantizers, latents, counted=False)[0], strict=True):
            layer.ternarization.ahead = weight
        try:
            return cls.forward(self, *args, **kwargs)
        finally:
            for layer in layers:
                layer.ternarization.ahead = None

    return type(f"Prepared{cls.__name__}", (cls,), {"forward": forward, "prepared_from": cls})


def _own_class(module: nn.Module) -> None:
    # Copies of a parametrized module share its generated class, and torch removes a parametrization by
    # deleting the property from that class: converting one would break the others.
    cls = type(module)
    members = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    module.__class__ = type(cls.__name__, cls.__bases__, members)


def _resolve(quantizer: Quantizer | str | None) -> Quantizer:
    if quantizer is None:
        return Delta()
    return quantizer_named(quantizer) if isinstance(quantizer, str) else quantizer


def _listing(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "") if names else "none"
