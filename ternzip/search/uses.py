"""How a model uses its layers: which of them run, and which another module may stand in for."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ternzip._core.errors import TernzipError

_BATCH = 256
_CONTAINERS = (nn.Module, nn.Sequential, nn.ModuleList, nn.ModuleDict)
_FEW = 2


@dataclass(frozen=True)
class Uses:
    """What was seen of a model's layers.

    Attributes:
        unused: layers that never run and that nothing reads.
        fixed: layers that two layers cannot stand in for, and why, in a few words.
    """

    unused: list[str] = field(default_factory=list)
    fixed: dict[str, str] = field(default_factory=dict)


class _StandIn(nn.Sequential):
    """A layer within a module that has no weight, as the two layers of low rank have none."""

    called = False

    def forward(self, *inputs: Tensor, **named: Tensor) -> Tensor:
        self.called = True
        found: Tensor = self[0](*inputs, **named)
        return found


def uses_of(model: nn.Module, layers: Mapping[str, nn.Module], inputs: Tensor | None) -> Uses:
    """How `model`, in eval mode, uses `layers` (by name) on `inputs` (n, ...); None: only what its types say."""
    found = Uses(fixed=_within_torch(model, layers))
    free = [name for name in layers if name not in found.fixed]
    if inputs is None or not free:
        return found
    called = _tried(model, free, inputs)
    if called is None:
        read = [name for name in free if _tried(model, [name], inputs[:_FEW]) is None]
        free = [name for name in free if name not in read]
        called = _tried(model, free, inputs)
        if called is None:  # on samples beyond the first few, or several together
            read, free, called = [*read, *free], [], set()
        found.fixed.update(dict.fromkeys(read, "the model reads its weight"))
    idle = {name: layers[name] for name in free if name not in called}
    if idle:
        running = _running(model, idle, inputs)
        found.fixed.update(dict.fromkeys(sorted(running), "the model holds it elsewhere too"))
        found.unused.extend(name for name in idle if name not in running)
    return found


def replace_modules(model: nn.Module, modules: Mapping[str, nn.Module]) -> None:
    """Puts modules in the places of those named, in place, under every name that these have."""
    named = dict(model.named_modules(remove_duplicate=False))
    new = {id(named[name]): module for name, module in modules.items()}
    for name, module in named.items():
        if id(module) in new:
            parent, _, child = name.rpartition(".")
            setattr(named[parent], child, new[id(module)])


def _within_torch(model: nn.Module, layers: Mapping[str, nn.Module]) -> dict[str, str]:
    """Layers of torch's own modules, which read weights past `forward`, some of them on fast paths only."""
    names = {id(layer): name for name, layer in layers.items()}
    named = dict(model.named_modules(remove_duplicate=False))
    found = {}
    for path, module in named.items():
        kind = type(named[path.rpartition(".")[0]])
        if id(module) in names and kind.__module__.startswith("torch.nn.") and kind not in _CONTAINERS:
            found[names[id(module)]] = f"inside {kind.__name__}"
    return found


def _tried(model: nn.Module, names: Iterable[str], inputs: Tensor) -> set[str] | None:
    """Which stand-ins were called, in a copy with one in each place; None where the model fails with them."""
    model = copy.deepcopy(model)
    named = dict(model.named_modules())
    places = {name: _StandIn(named[name]) for name in names}
    replace_modules(model, places)
    model.eval()
    try:
        with torch.no_grad():
            for batch in torch.split(inputs, _BATCH):
                model(batch)
    except Exception:  # whatever the model's own code raises
        return None
    return {name for name, place in places.items() if place.called}


def _running(model: nn.Module, layers: Mapping[str, nn.Module], inputs: Tensor) -> set[str]:
    """Which layers run in the model as it is."""
    found: set[str] = set()
    handles = [
        layer.register_forward_pre_hook(lambda module, inputs, name=name: found.add(name))
        for name, layer in layers.items()
    ]
    try:
        with torch.no_grad():
            for batch in torch.split(inputs, _BATCH):
                model(batch)
    finally:
        for handle in handles:
            handle.remove()
    return found


def without_unused(layers: Mapping[str, nn.Module], uses: Uses, model: nn.Module) -> dict[str, nn.Module]:
    """The layers that are used. Raises TernzipError where none is."""
    left = {name: layer for name, layer in layers.items() if name not in uses.unused}
    if not left:
        raise TernzipError(
            f"{type(model).__name__}: expected a layer that runs on the samples, found none: "
            f"{', '.join(layers)} never run"
        )
    return left
