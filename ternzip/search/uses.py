"""How a model uses its layers: which of them run, and which another module may stand in for."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from ternzip._core.errors import TernzipError
from ternzip.lowrank.passes import run_through
from ternzip.lowrank.within_torch import inside_torch

_FEW = 2
_HELD_TWICE = "the model holds it elsewhere too"


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
    """How `model`, in eval mode, uses `layers` (by name) on `inputs` (n, ...); None: only what its types say.

    Raises TernzipError for a model that runs modules that are not registered in it.
    """
    held = inside_torch(model)
    found = Uses(fixed={name: f"inside {held[id(one)]}" for name, one in layers.items() if id(one) in held})
    if inputs is None:
        return found
    found.fixed.update(dict.fromkeys(sorted(_held_twice(model, layers, inputs[:_FEW])), _HELD_TWICE))
    free = [name for name in layers if name not in found.fixed]
    if not free:
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
        found.fixed.update(dict.fromkeys(sorted(running), _HELD_TWICE))
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


def _tried(model: nn.Module, names: Iterable[str], inputs: Tensor) -> set[str] | None:
    """Which stand-ins were called, in a copy with one in each place; None where the model fails with them."""
    model = copy.deepcopy(model)
    named = dict(model.named_modules())
    places = {name: _StandIn(named[name]) for name in names}
    replace_modules(model, places)
    model.eval()
    try:
        run_through(model, inputs)
    except Exception:  # whatever the model's own code raises
        return None
    return {name for name, place in places.items() if place.called}


def _held_twice(model: nn.Module, layers: Mapping[str, nn.Module], inputs: Tensor) -> set[str]:
    """The layers that a run reaches although another module stands under their registered names.

    Raises TernzipError for modules with weights that run without being registered at all: no state_dict, and so no
    file, holds these.
    """
    probed = copy.deepcopy(model)
    places = {name: probed.get_submodule(name) for name in layers}
    replace_modules(probed, {name: copy.copy(module) for name, module in places.items()})
    own = {id(module) for module in probed.modules()}
    this_thread = threading.get_ident()
    runs: list[dict[int, nn.Module]] = []

    def record(module: nn.Module, inputs: object) -> None:
        has_tensors = any(True for _ in (*module.parameters(recurse=False), *module.buffers(recurse=False)))
        if threading.get_ident() == this_thread and id(module) not in own and has_tensors:
            runs[-1][id(module)] = module

    handle = register_module_forward_pre_hook(record)
    try:
        for _ in range(2):  # a module that forward() makes is another one the second time
            runs.append({})
            with torch.no_grad():
                probed(inputs)
    finally:
        handle.remove()
    names = {id(module): name for name, module in places.items()}
    strangers = {key: module for key, module in runs[0].items() if key in runs[1]}
    for key, module in strangers.items():
        if key not in names:
            raise TernzipError(
                f"model: expected every module that runs to be registered in it, found a {type(module).__name__} "
                "in a list, a dict or a function, whose weights no file would hold"
            )
    return {names[key] for key in strangers}


def _running(model: nn.Module, layers: Mapping[str, nn.Module], inputs: Tensor) -> set[str]:
    """Which layers run in the model as it is."""
    found: set[str] = set()
    handles = [
        layer.register_forward_pre_hook(lambda module, inputs, name=name: found.add(name))
        for name, layer in layers.items()
    ]
    run_through(model, inputs, handles)
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
