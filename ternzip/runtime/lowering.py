"""Puts the graph of an optimized network into steps of a native program (csrc/core/runtime/program.hpp).

A graph is lowered for the shapes of one input, batch aside, and only as a whole: one node of which no rule here knows
exactly what it computes, and there is no program.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from ternzip._core.native import core
from ternzip.quantization.activations import input_quantizer
from ternzip.runtime._kernels import address
from ternzip.runtime.choice import FEW_WEIGHTS
from ternzip.runtime.folding import bounds_of
from ternzip.runtime.layers import (
    BLOCK_CODES,
    DirectLayer,
    LookupLayer,
    RuntimeLayer,
    SparseLayer,
    WindowLayer,
)
from ternzip.runtime.tracing import has_hooks, only_tensor

Shapes = Mapping[fx.Node, Sequence[int]]


class NotLowered(Exception):
    """A node is not one of those that programs have steps for."""


def lower(graph: fx.GraphModule, shapes: Shapes) -> tuple[core.RuntimeProgram, list[Tensor]] | None:
    """The finished program of a graph, and tensors that must live as long; None if it has none.

    `shapes` are those of all tensors among its nodes, for some batch. The program holds addresses of the modules'
    parameters and buffers, which must stay where they are.
    """
    try:
        lowering = _Lowering(graph, shapes)
        for node in graph.graph.nodes:
            lowering.add(node)
        return lowering.program, lowering.own
    except Exception:  # NotLowered, the program's own refusal, or arguments that no rule here thought of
        return None


def may_lower(graph: fx.GraphModule) -> bool:
    """Whether a program may have steps for all nodes: a glance that needs no shapes."""
    nodes = list(graph.graph.nodes)
    inputs = sum(node.op == "placeholder" for node in nodes)
    return inputs == 1 and all(_rule_of(graph, node) is not None for node in nodes)


def _rule_of(graph: fx.GraphModule, node: fx.Node) -> Callable[[_Lowering, fx.Node], int | None] | None:
    if node.op == "call_module":
        module = graph.get_submodule(str(node.target))
        if has_hooks(module) or module.training or input_quantizer(module) is not None:
            return None
        if isinstance(module, RuntimeLayer) and module.input_scale is not None:
            return None  # a program has no step that makes inputs ternary
        return _MODULES.get(type(module))
    if node.op == "call_function":
        return _FUNCTIONS.get(node.target)
    if node.op == "call_method":
        return _METHODS.get(str(node.target))
    return {"placeholder": _Lowering.input, "output": _Lowering.output}.get(node.op)


def _require(holds: bool) -> None:
    if not holds:
        raise NotLowered


def _pair(value: Any) -> tuple[int, int]:
    """Of what torch takes as the size of a window in two dimensions."""
    pair = (value, value) if isinstance(value, int) else tuple(value)
    _require(len(pair) == 2 and all(type(n) is int for n in pair))
    return pair[0], pair[1]


def _range_of(part: slice, size: int) -> tuple[int, int, int]:
    """(first, step, count) of what a slice takes."""
    _require(all(n is None or type(n) is int for n in (part.start, part.stop, part.step)))
    taken = range(*part.indices(size))
    return taken.start, taken.step, len(taken)


class _Lowering:
    """A program in the making.

    Attributes:
        program: native.
        values: the number of each tensor node's value.
        batches: nodes that are the batch size of the input, and those that are a tensor's sizes.
        own: tensors made for the program.
    """

    def __init__(self, graph: fx.GraphModule, shapes: Shapes) -> None:
        self.graph = graph
        self.shapes = shapes
        self.program = core.RuntimeProgram((1, 1, 1))  # until the input is known
        self.values: dict[fx.Node, int] = {}
        self.batches: set[fx.Node] = set()
        self.sizes: set[fx.Node] = set()
        self.own: list[Tensor] = []

    def add(self, node: fx.Node) -> None:
        """Adds the step of a node; raises an exception if it has none."""
        rule = _rule_of(self.graph, node)
        _require(rule is not None)
        assert rule is not None
        value = rule(self, node)
        if value is None:
            return
        self.values[node] = value
        # What the program thinks comes out has to be what torch makes of it.
        _require(math.prod(self.program.shape(value)) == math.prod(self.shapes[node][1:]))

    # --- what rules are made of ---

    def module(self, node: fx.Node) -> Any:
        return self.graph.get_submodule(str(node.target))

    def value(self, node: Any) -> int:
        _require(isinstance(node, fx.Node) and node in self.values)
        return self.values[node]

    def only_value(self, node: fx.Node) -> int:
        """The value of the one argument."""
        _require(len(node.args) == 1 and not node.kwargs)
        return self.value(node.args[0])

    def dimensions(self, node: Any) -> int:
        return len(self.shapes[node])

    def arguments(self, node: fx.Node, names: Sequence[str], defaults: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments behind the first, by their names."""
        _require(len(node.args) <= 1 + len(names))
        given = dict(zip(names, node.args[1:], strict=False)) | dict(node.kwargs)
        _require(not set(given) - set(names) and set(names) <= set(given) | set(defaults))
        return {**defaults, **given}

    def writes(self, node: fx.Node, written: Any) -> None:
        """`node` may write into the memory of `written`, if nothing else reads or shows it."""
        fresh = written.op == "call_module" or written.target in (operator.add, operator.iadd, torch.add)
        view = written.op == "call_module" and type(self.module(written)) in (nn.Flatten, nn.Identity)
        _require(len(written.users) == 1 and fresh and not view)

    # --- rules ---

    def input(self, node: fx.Node) -> int:
        shape = self.shapes[node]
        _require(2 <= len(shape) <= 4)
        channels, *sizes = shape[1:]
        height, width = [1, 1, *sizes][-2:]
        self.program = core.RuntimeProgram((channels, height, width))
        return 0

    def same(self, node: fx.Node) -> int:
        """The argument: whether it is a tensor is known here."""
        return self.value(node.args[0])

    def output(self, node: fx.Node) -> None:
        self.program.finish(self.only_value(node))

    def runtime_layer(self, node: fx.Node) -> int:
        layer: RuntimeLayer = self.module(node)
        _require(1 <= len(node.args) <= 2 and not node.kwargs)
        x = self.value(node.args[0])
        shape = self.shapes[node.args[0]]  # type: ignore[index]
        residual = -1
        if len(node.args) == 2:
            residual = self.value(node.args[1])
            _require(self.shapes[node.args[1]] == self.shapes[node])  # type: ignore[index]
        dimensions = layer.window.dimensions
        _require(len(shape) == (dimensions + 2 if dimensions else 2))
        epilogue = (layer.biases.data_ptr(), layer.residual_scales.data_ptr())
        if isinstance(layer, LookupLayer):
            levels = (layer.codes.data_ptr(), layer.positives.data_ptr(), address(layer.negatives))
            sizes = (layer.rows, layer.columns, layer.group_width)
            return self.program.multiply(x, residual, sizes, levels, epilogue, layer.lowest, layer.highest)
        assert isinstance(layer, WindowLayer)
        _require(layer.window.padding_mode == "zeros" and (dimensions > 0 or isinstance(layer, DirectLayer)))
        height, width = (1, 1, *shape[2:])[-2:]
        ky, sy, dy, top, kx, sx, dx, left, *_ = layer.native_window
        out_height, out_width = layer.window.output(height, width)
        codes, starts, ratios, scales, weights = map(
            address, (layer.codes, layer.starts, layer.ratios, layer.scales, layer.weights)
        )
        return self.program.convolve(
            x,
            residual,
            (height, out_height, ky, sy, dy, top),
            (width, out_width, kx, sx, dx, left),
            layer.index_shape,
            0 if layer.codes is None else layer.codes.numel(),
            (codes, starts, ratios, scales, weights),
            epilogue,
            layer.lowest,
            layer.highest,
        )

    def linear(self, node: fx.Node) -> int:
        """torch's own layer, as a convolution of one pixel."""
        layer: nn.Linear = self.module(node)
        x = self.only_value(node)
        rows, columns = layer.weight.shape
        fits = self.dimensions(node) == 2 and layer.weight.numel() <= FEW_WEIGHTS
        _require(fits and _is_plain_float(layer.weight) and layer.weight.is_contiguous())
        ones = torch.ones(rows, dtype=torch.float32, device="cpu")
        biases = torch.zeros_like(ones) if layer.bias is None else layer.bias
        _require(_is_plain_float(biases))
        self.own += [ones, biases]
        one = (1, 1, 1, 1, 1, 0)
        return self.program.convolve(
            x,
            -1,
            one,
            one,
            (rows, 1, columns, 1, min(columns, BLOCK_CODES)),
            0,
            (0, 0, 0, ones.data_ptr(), layer.weight.data_ptr()),
            (biases.data_ptr(), ones.data_ptr()),
            -math.inf,
            math.inf,
        )

    def norm(self, node: fx.Node) -> int:
        norm: nn.BatchNorm2d = self.module(node)
        x = self.only_value(node)
        tensors = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        _require(norm.running_mean is not None and norm.running_var is not None)
        _require(all(t is None or _is_plain_float(t) for t in tensors))
        _require(norm.num_features == self.program.shape(x)[0])
        means, variances, weights, biases = map(address, tensors)
        return self.program.normalize(x, (means, variances, weights, biases), norm.eps)

    def activation(self, node: fx.Node) -> int:
        module = self.module(node) if node.op == "call_module" else None
        bounds = bounds_of(node, module)
        _require(bounds is not None and len(node.args) == 1)
        assert bounds is not None
        x = self.value(node.args[0])
        method = node.op == "call_method" and str(node.target).endswith("_")
        if method or node.kwargs.get("inplace") or getattr(module, "inplace", False):
            self.writes(node, node.args[0])
        return self.program.clamp(x, *bounds)

    def sum(self, node: fx.Node) -> int:
        _require(len(node.args) == 2 and not node.kwargs)
        a, b = node.args
        x, y = self.value(a), self.value(b)
        _require(self.shapes[a] == self.shapes[b])  # type: ignore[index]
        if node.target in (operator.iadd, "add_"):
            self.writes(node, a)
        return self.program.add(x, y, -math.inf, math.inf)

    def largest(self, node: fx.Node) -> int:
        if node.op == "call_module":
            pool: nn.MaxPool2d = self.module(node)
            _require(len(node.args) == 1 and not node.kwargs and not pool.return_indices)
            rest = (pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.ceil_mode)
        else:
            names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
            defaults = {"stride": None, "padding": 0, "dilation": 1, "ceil_mode": False}
            given = self.arguments(node, names, {**defaults, "return_indices": False})
            _require(not given.pop("return_indices"))
            rest = tuple(given[name] for name in names[:-1])
        kernel, stride, padding, dilation, ceil_mode = rest
        _require(_pair(dilation) == (1, 1) and not ceil_mode and self.dimensions(node.args[0]) == 4)
        axes = zip(_pair(kernel), _pair(kernel if stride is None else stride), _pair(padding), strict=True)
        return self.program.largest(self.value(node.args[0]), *axes)

    def average(self, node: fx.Node) -> int:
        if node.op == "call_module":
            pool: nn.AvgPool2d = self.module(node)
            _require(len(node.args) == 1 and not node.kwargs)
            kernel, stride, divisor = pool.kernel_size, pool.stride, pool.divisor_override
            _require(_pair(pool.padding) == (0, 0) and not pool.ceil_mode)
        else:
            given = self.arguments(node, ("kernel_size", "stride"), {"stride": None})
            kernel, stride, divisor = given["kernel_size"], given["stride"], None
        _require(divisor is None and self.dimensions(node.args[0]) == 4)
        axes = zip(_pair(kernel), _pair(kernel if stride is None else stride), (0, 0), strict=True)
        return self.program.average(self.value(node.args[0]), *axes)

    def average_of_all(self, node: fx.Node) -> int:
        """Each channel's mean, as torch's adaptive pool of size 1 and mean(...) over height and width say it."""
        if node.op == "call_module":
            _require(len(node.args) == 1 and not node.kwargs)
            one = self.module(node).output_size in (1, (1, 1))
        elif node.target is F.adaptive_avg_pool2d:
            one = self.arguments(node, ("output_size",), {})["output_size"] in (1, (1, 1), [1, 1])
        else:
            given = self.arguments(node, ("dim", "keepdim"), {"keepdim": False})
            one = isinstance(given["dim"], tuple | list) and sorted(d % 4 for d in given["dim"]) == [2, 3]
        _require(one and self.dimensions(node.args[0]) == 4)
        x = self.value(node.args[0])
        _, height, width = self.program.shape(x)
        return self.program.average(x, (height, 1, 0), (width, 1, 0))

    def flat(self, node: fx.Node) -> int:
        if node.op == "call_module":
            _require(
                len(node.args) == 1 and (self.module(node).start_dim, self.module(node).end_dim) == (1, -1)
            )
        else:
            given = self.arguments(node, ("start_dim", "end_dim"), {"end_dim": -1})
            _require((given["start_dim"], given["end_dim"]) == (1, -1))
        return self.program.flatten(self.value(node.args[0]))

    def view(self, node: fx.Node) -> int:
        """view or reshape to (batch, everything else)."""
        x, *sizes = node.args
        sizes = list(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], tuple | list) else sizes
        _require(
            not node.kwargs and len(sizes) == 2 and sizes[0] in self.batches and isinstance(sizes[1], int)
        )
        return self.program.flatten(self.value(x))

    def item(self, node: fx.Node) -> int | None:
        """A tensor's size for the batch, or some of its rows and columns."""
        x, index = node.args
        if x in self.sizes:
            _require(type(index) is int and index == 0)
            self.batches.add(node)
            return None
        _require(self.dimensions(x) == 4 and isinstance(index, tuple) and len(index) == 4)
        assert isinstance(index, tuple)
        _require(index[:2] == (slice(None), slice(None)) and all(isinstance(i, slice) for i in index))
        value = self.value(x)
        rows, columns = (
            _range_of(i, size)
            for i, size in zip(index[2:], self.shapes[x][2:], strict=True)  # type: ignore[index]
        )
        return self.program.slice(value, rows, columns, 0, 0)

    def pad(self, node: fx.Node) -> int:
        """Channels of zeros before and behind."""
        given = self.arguments(node, ("pad", "mode", "value"), {"mode": "constant", "value": None})
        pads = given["pad"]
        _require(
            given["mode"] == "constant"
            and given["value"] in (None, 0, 0.0)
            and isinstance(pads, tuple | list)
        )
        _require(self.dimensions(node.args[0]) == 4 and len(pads) == 6 and tuple(pads[:4]) == (0, 0, 0, 0))
        _require(all(type(n) is int and n >= 0 for n in pads))
        x = self.value(node.args[0])
        _, height, width = self.program.shape(x)
        return self.program.slice(x, (0, 1, height), (0, 1, width), *pads[4:])

    def size(self, node: fx.Node) -> None:
        """x.size(0), or x.size() and x.shape, of which the first is asked for."""
        if node.op == "call_function":
            _require(len(node.args) == 2 and node.args[1] == "shape")
        self.value(node.args[0])
        _require(not node.kwargs)
        if node.op == "call_method" and len(node.args) == 2:
            _require(type(node.args[1]) is int and node.args[1] == 0)
            self.batches.add(node)
        else:
            self.sizes.add(node)


def _is_plain_float(tensor: Tensor) -> bool:
    return tensor.dtype == torch.float32 and tensor.is_cpu and tensor.is_contiguous() and not tensor.is_neg()


_Rule = Callable[[_Lowering, fx.Node], int | None]
_MODULES: dict[type[nn.Module], _Rule] = {
    **dict.fromkeys((SparseLayer, DirectLayer, LookupLayer), _Lowering.runtime_layer),
    nn.Linear: _Lowering.linear,
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d), _Lowering.norm),
    **dict.fromkeys((nn.ReLU, nn.ReLU6, nn.Hardtanh), _Lowering.activation),
    nn.MaxPool2d: _Lowering.largest,
    nn.AvgPool2d: _Lowering.average,
    nn.AdaptiveAvgPool2d: _Lowering.average_of_all,
    nn.Flatten: _Lowering.flat,
}
_FUNCTIONS: dict[Any, _Rule] = {
    only_tensor: _Lowering.same,
    **dict.fromkeys((operator.add, operator.iadd, torch.add), _Lowering.sum),
    **dict.fromkeys((F.relu, torch.relu, F.relu6, F.hardtanh), _Lowering.activation),
    F.max_pool2d: _Lowering.largest,
    F.avg_pool2d: _Lowering.average,
    **dict.fromkeys((F.adaptive_avg_pool2d, torch.mean), _Lowering.average_of_all),
    torch.flatten: _Lowering.flat,
    torch.reshape: _Lowering.view,
    operator.getitem: _Lowering.item,
    F.pad: _Lowering.pad,
    getattr: _Lowering.size,
}
_METHODS: dict[str, _Rule] = {
    **dict.fromkeys(("add", "add_"), _Lowering.sum),
    **dict.fromkeys(("relu", "relu_"), _Lowering.activation),
    "mean": _Lowering.average_of_all,
    "flatten": _Lowering.flat,
    **dict.fromkeys(("view", "reshape"), _Lowering.view),
    "size": _Lowering.size,
}
