"""Batch norm folded into the layer before it: the same function, and nothing of the norm left to store."""

from __future__ import annotations

import copy
from collections import Counter

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from ternzip._core.errors import TernzipError
from ternzip._core.text import first_line

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def fold_batch_norm(model: nn.Module, example: Tensor) -> nn.Module:
    """A copy of `model` in eval mode whose batch norms are part of the linear layer or convolution before them.

    gamma (W x + b - mean) / sigma + beta is one layer with the weight (gamma / sigma) W and a bias, so outputs are the
    same to rounding. Of a network that is to be small this saves four vectors a norm; what it costs is that running
    statistics can no longer be estimated anew. Folded norms become nn.Identity, so that other names stay as they are.

    A norm is folded where it is all that reads its layer's output, both run once, nothing else reads their weights or
    sees what is between them by a hook, and the norm's channels are the layer's outputs; others stay.

    Args:
        model: in any mode; it is not changed. Its norms' running statistics are used.
        example: one input, (n, ...), which tells the shapes inside.

    Raises TernzipError for a model that torch.fx cannot trace, and for parametrized layers.
    """
    folded = copy.deepcopy(model).eval()
    with torch.no_grad():
        for layer_name, norm_name in _pairs(folded, example):
            layer, norm = folded.get_submodule(layer_name), folded.get_submodule(norm_name)
            assert isinstance(norm, _NORMS)
            fused: nn.Module
            if isinstance(layer, nn.Linear):
                fused = fuse_linear_bn_eval(layer, norm)
            else:
                assert isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d)
                fused = fuse_conv_bn_eval(layer, norm)
            folded.set_submodule(layer_name, fused)
            folded.set_submodule(norm_name, nn.Identity())
    return folded


def _pairs(model: nn.Module, example: Tensor) -> list[tuple[str, str]]:
    """Names of layers and of the norms that can be folded into them."""
    try:
        graph = fx.symbolic_trace(copy.deepcopy(model)).graph  # a forward may keep what it is traced with
    except Exception as error:
        reason = first_line(error)
        raise TernzipError(
            f"fold_batch_norm: {type(model).__name__} cannot be traced by torch.fx: {reason}"
        ) from None
    modules = dict(model.named_modules(remove_duplicate=False))
    calls = Counter(id(modules[str(node.target)]) for node in graph.nodes if node.op == "call_module")
    weights = Counter(id(p) for m in model.modules() for p in m.parameters(recurse=False))
    tensors: dict[str, Tensor] = {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }
    read = {id(tensors.get(str(node.target))) for node in graph.nodes if node.op == "get_attr"}
    shapes = _output_shapes(model, example)
    found = []
    for node in graph.nodes:
        source = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(source, fx.Node) or source.op != "call_module" or len(source.users) != 1:
            continue
        layer, norm = modules[str(source.target)], modules[str(node.target)]
        if not isinstance(norm, _NORMS) or norm.running_mean is None:
            continue
        if not isinstance(layer, _LAYERS):
            continue
        if parametrize.is_parametrized(layer):
            raise TernzipError(
                f"layer {source.target}: expected plain weights, found a parametrization: convert it first"
            )
        alone = all(calls[id(module)] == 1 for module in (layer, norm))
        own = all(weights[id(p)] == 1 for module in (layer, norm) for p in module.parameters())
        own &= read.isdisjoint(
            id(t) for module in (layer, norm) for t in (*module.parameters(), *module.buffers())
        )
        seen = layer._forward_hooks or norm._forward_pre_hooks or norm._forward_hooks
        if alone and own and not seen and _normalises_outputs(layer, shapes.get(id(layer))):
            found.append((str(source.target), str(node.target)))
    return found


def _normalises_outputs(layer: nn.Module, shape: torch.Size | None) -> bool:
    """Whether dimension 1, which batch norm normalises, counts the layer's outputs."""
    if shape is None:
        return False
    # Of (n, length, features) a norm takes the length for its channels; an unbatched convolution has them first.
    return len(shape) == 2 if isinstance(layer, nn.Linear) else len(shape) == layer.weight.dim()  # type: ignore[operator]


def _output_shapes(model: nn.Module, example: Tensor) -> dict[int, torch.Size]:
    shapes: dict[int, torch.Size] = {}
    handles = [
        module.register_forward_hook(
            lambda module, inputs, output: shapes.__setitem__(id(module), output.shape)
        )
        for module in model.modules()
        if isinstance(module, _LAYERS)
    ]
    try:
        with torch.no_grad():
            model(example)
    finally:
        for handle in handles:
            handle.remove()
    return shapes
