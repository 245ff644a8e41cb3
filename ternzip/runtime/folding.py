"""What follows a layer in a network's graph and can be computed while its sums are still in registers.

A chain is a layer, then in any order at most one addition of another tensor and any batch norms, then at most one
activation that clamps; every link but the last has one reader. A link moves down to the chain's end, so what
stands between must not write into tensors that already exist. A ternary activation that the layer alone reads moves
with it.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from ternzip.quantization.activations import TernaryActivation
from ternzip.runtime.plan import LayerPlan
from ternzip.runtime.tracing import IN_PLACE, has_hooks

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_NOTHING = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d)
_ADDITIONS = (operator.add, operator.iadd, torch.add)
_RELU = (0.0, math.inf)
_FUNCTION_BOUNDS: dict[Any, tuple[float, float]] = {
    F.relu: _RELU,
    torch.relu: _RELU,
    F.relu6: (0.0, 6.0),
}


def fold(
    model: fx.GraphModule, plans: Mapping[str, LayerPlan], make: Callable[[LayerPlan], nn.Module]
) -> set[str]:
    """Puts a layer made by `make` in the place of each planned one and its chain; returns which were replaced.

    A module that is called in several places is not. Layers that only layers read are told so (`keeps_layout`).
    """
    _remove_nothings(model)
    calls: dict[str, int] = {}
    for node in model.graph.nodes:
        if node.op == "call_module":
            calls[str(node.target)] = calls.get(str(node.target), 0) + 1
    done = set()
    for node in list(model.graph.nodes):
        name = str(node.target)
        if node.op == "call_module" and name in plans and calls[name] == 1 and len(node.args) == 1:
            _replace(model, node, plans[name], make)
            done.add(name)
    for node in model.graph.nodes:
        if node.op == "call_module" and node.target in done:
            module: Any = model.get_submodule(str(node.target))
            module.keeps_layout = all(u.op == "call_module" and u.target in done for u in node.users)
    model.graph.lint()
    model.delete_all_unused_submodules()
    model.recompile()
    return done


def _replace(
    model: fx.GraphModule, node: fx.Node, plan: LayerPlan, make: Callable[[LayerPlan], nn.Module]
) -> None:
    chain, residual, plan = _chain(model, node, plan)
    last = chain[-1]
    source = node.args[0]
    quantizer = _own_quantizer(model, node, chain) if plan.input_scale is None else None
    if quantizer is not None:
        source = quantizer.args[0]
        plan = plan.with_input(model.get_submodule(str(quantizer.target)))
    model.add_submodule(str(node.target), make(plan))
    with model.graph.inserting_after(last):
        fused = model.graph.call_module(str(node.target), (source,))
    if residual is not None:
        fused.args = (source, residual)
    last.replace_all_uses_with(fused)
    for link in reversed(chain):
        model.graph.erase_node(link)
    if quantizer is not None:
        model.graph.erase_node(quantizer)


def _own_quantizer(model: fx.GraphModule, node: fx.Node, chain: list[fx.Node]) -> fx.Node | None:
    """The ternary activation that a layer alone reads, if it may be computed where the layer will be."""
    source = node.args[0]
    if not isinstance(source, fx.Node) or source.op != "call_module" or len(source.args) != 1:
        return None
    module = model.get_submodule(str(source.target))
    alone = type(module) is TernaryActivation and not has_hooks(module) and len(source.users) == 1
    return source if alone and _may_move(model, source, chain[-1], chain) else None


def _chain(
    model: fx.GraphModule, node: fx.Node, plan: LayerPlan
) -> tuple[list[fx.Node], fx.Node | None, LayerPlan]:
    """The longest chain that starts at a layer, the tensor it adds, and the plan with all of it."""
    chain = [node]
    residual: fx.Node | None = None
    while not plan.has_activation and len(chain[-1].users) == 1:
        link = chain[-1]
        (reader,) = link.users
        longer = _longer(model, plan, link, reader, residual is None)
        if longer is None or not _may_move(model, node, reader, chain):
            break
        plan, added = longer
        residual = residual if added is None else added
        chain.append(reader)
    return chain, residual, plan


def _longer(
    model: fx.GraphModule, plan: LayerPlan, link: fx.Node, reader: fx.Node, may_add: bool
) -> tuple[LayerPlan, fx.Node | None] | None:
    """The plan with the reader of its last link, and what that adds; None if it cannot be folded in."""
    module = model.get_submodule(str(reader.target)) if reader.op == "call_module" else None
    if module is not None and has_hooks(module):
        return None
    if isinstance(module, _NORMS):
        kind = nn.BatchNorm2d if plan.window.dimensions == 2 else nn.BatchNorm1d
        plain = type(module) is kind and not module.training and module.running_mean is not None
        return (plan.with_norm(module), None) if plain and module.num_features == plan.rows else None
    bounds = bounds_of(reader, module)
    if bounds is not None:
        return plan.with_bounds(*bounds), None
    added = _added(link, reader)
    return (plan.with_residual(), added) if may_add and added is not None else None


def _added(link: fx.Node, reader: fx.Node) -> fx.Node | None:
    """The other tensor, where the reader is nothing but an addition."""
    function = reader.op == "call_function" and reader.target in _ADDITIONS
    method = reader.op == "call_method" and reader.target in ("add", "add_")
    if not (function or method) or reader.kwargs or len(reader.args) != 2:
        return None
    in_place = reader.target in (operator.iadd, "add_")
    if in_place and reader.args[0] is not link:
        return None  # it writes into the other tensor, which others may read
    other = reader.args[1] if reader.args[0] is link else reader.args[0]
    return other if isinstance(other, fx.Node) and other is not link else None


def bounds_of(reader: fx.Node, module: nn.Module | None) -> tuple[float, float] | None:
    """The interval that an activation clamps to."""
    if type(module) is nn.ReLU:
        return _RELU
    if type(module) in (nn.Hardtanh, nn.ReLU6):
        assert isinstance(module, nn.Hardtanh)
        return float(module.min_val), float(module.max_val)
    if reader.op == "call_function" and reader.target is F.hardtanh:  # traced with its limits as keywords
        lowest, highest = (reader.kwargs.get(name) for name in ("min_val", "max_val"))
        alone = len(reader.args) == 1 and isinstance(lowest, int | float) and isinstance(highest, int | float)
        return (float(lowest), float(highest)) if alone else None  # type: ignore[arg-type]
    alone = len(reader.args) == 1 and not set(reader.kwargs) - {"inplace"}
    if not alone:
        return None
    if reader.op == "call_function":
        return _FUNCTION_BOUNDS.get(reader.target)
    if reader.op == "call_method" and reader.target in ("relu", "relu_"):
        return _RELU
    return None


def _may_move(model: fx.GraphModule, first: fx.Node, last: fx.Node, chain: list[fx.Node]) -> bool:
    """Whether `first` may be computed where `last` is: no node between them writes into a tensor."""
    node = first.next
    while node is not last:
        if node not in chain and _writes(model, node):
            return False
        node = node.next
    return True


def _writes(model: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node may change a tensor that exists already."""
    if node.op == "call_module":
        module = model.get_submodule(str(node.target))
        own = type(module).__module__.startswith(("torch.nn.modules", "ternzip."))
        return not own or bool(getattr(module, "inplace", False)) or module.training or has_hooks(module)
    if node.op == "call_method":
        return str(node.target).endswith("_") or str(node.target).startswith("__i")
    if node.op == "call_function":
        name = getattr(node.target, "__name__", "")
        in_place = bool(node.kwargs.get("inplace")) or "out" in node.kwargs
        # F.relu(x, True): a flag by position counts as one that writes.
        flagged = any(argument is True for argument in node.args)
        return name.endswith("_") or node.target in (*IN_PLACE, operator.setitem) or in_place or flagged
    return False


def _remove_nothings(model: fx.GraphModule) -> None:
    """Takes out what does nothing in evaluation mode."""
    for node in list(model.graph.nodes):
        if node.op != "call_module" or len(node.args) != 1 or node.kwargs:
            continue
        module = model.get_submodule(str(node.target))
        if type(module) in _NOTHING and not module.training and not has_hooks(module):
            node.replace_all_uses_with(node.args[0])
            model.graph.erase_node(node)
