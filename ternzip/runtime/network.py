"""A whole network as one native call, where all of it can be put into a native program."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from itertools import chain
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.module import _has_any_global_hook

from ternzip._core.native import core
from ternzip.runtime.lowering import lower, may_lower
from ternzip.runtime.operators import is_plain
from ternzip.runtime.tracing import has_hooks

_MOST_PROGRAMS = 8


class NativeNetwork(nn.Module):
    """Runs a graph of layers as one native program, or layer by layer where that cannot be.

    A program is made for each shape of a sample, by the first call with it, which runs the layers too; up to eight are
    kept. It computes what the layers compute, with the same kernels; means over pixels and float linear layers, which
    are torch's among the layers, are added up in another order. Layer by layer run: inputs that are not float32 tensors
    on the CPU, calls under torch.compile, autocast, with hooks on a layer or for the gradient of one, and shapes for
    which some layer has no native step. Calls may come from several threads.

    Attributes:
        layers: the graph. What is changed in it, weights or modules, changes what the network computes; settings of
            torch's modules other than of norms, as the size of a pool, are read when a program is made.
    """

    def __init__(self, layers: fx.GraphModule) -> None:
        super().__init__()
        self.layers = layers
        self.training = False
        self._programs: dict[tuple[int, ...], _Program | None] = {}

    @classmethod
    def of(cls, layers: nn.Module) -> NativeNetwork | None:
        """The network of a graph; None if it has nodes that programs have no steps for."""
        return cls(layers) if isinstance(layers, fx.GraphModule) and may_lower(layers) else None

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """What the graph returns for these arguments."""
        x = inputs[0] if len(inputs) == 1 and not named else None
        if not isinstance(x, Tensor) or not _is_simple(x):
            return self.layers(*inputs, **named)
        key = x.shape[1:]
        program = self._programs.get(key)
        if program is not None and program.is_current(self.layers):
            return program.run(x) if not program.is_watched() else self.layers(x)
        if (program is None and key in self._programs) or has_hooks(self.layers):
            return self.layers(x)
        recorder = _Recorder(self.layers)
        y = recorder.run(x)
        program = _Program.of(self.layers, recorder.shapes)
        programs = self._programs if len(self._programs) < _MOST_PROGRAMS else {}
        self._programs = {**programs, key: program}
        return y if program is None or program.is_watched() else program.run(x)  # as the calls to come

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles make programs of their own."""
        return {**self.__dict__, "_programs": {}}


def _is_simple(x: Tensor) -> bool:
    """Whether a native program may take an input and nobody watches what torch does with it."""
    return (
        is_plain(x)
        and x.dtype is torch.float32
        and x.is_cpu
        and x.dim() >= 2
        and not (x.requires_grad and torch.is_grad_enabled())
        and not torch.is_autocast_enabled("cpu")
    )


class _Recorder(fx.Interpreter):
    """Runs a graph node by node and notes the shapes of tensors."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.extra_traceback = False  # errors of layers say what they have to say
        self.shapes: dict[fx.Node, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> Any:
        """As fx.Interpreter's."""
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.shapes[n] = tuple(result.shape)
        return result


class _Program:
    """A native program and what it was made of."""

    def __init__(
        self, graph: fx.GraphModule, native: core.RuntimeProgram, own: list[Tensor], shape: tuple[int, ...]
    ) -> None:
        self._native = native
        self._own = own
        self._shape = shape
        self._code = graph.code
        modules = list(graph.modules())
        self._norms = [(m, m.eps) for m in modules if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
        self._hooks = [hooks for m in modules for hooks in (m._forward_hooks, m._forward_pre_hooks)]
        self._contents: list[dict[str, Any]] = [
            held for m in modules for held in (m._modules, m._parameters, m._buffers) if held
        ]
        self._members = [member for held in self._contents for member in held.values()]
        self._tensors = [member for member in self._members if isinstance(member, Tensor)]
        self._addresses = list(map(Tensor.data_ptr, self._tensors))

    @classmethod
    def of(cls, graph: fx.GraphModule, shapes: dict[fx.Node, tuple[int, ...]]) -> _Program | None:
        """The program of a graph for these shapes, None if it has none."""
        lowered = lower(graph, shapes)
        if lowered is None:
            return None
        (output,) = (node for node in graph.graph.nodes if node.op == "output")
        return cls(graph, *lowered, shapes[output.args[0]][1:])

    def is_current(self, graph: fx.GraphModule) -> bool:
        """Whether the modules, and the places of their tensors, are those it was made of.

        Every call asks: a tensor may move without a new object's taking its place, as share_memory_() does.
        """
        members: Iterator[Any] = chain.from_iterable(map(dict.values, self._contents))
        return (
            all(map(operator.is_, members, self._members))
            and list(map(Tensor.data_ptr, self._tensors)) == self._addresses
            and sum(map(len, self._contents)) == len(self._members)
            and graph.code is self._code
            and not any(norm.training or norm.eps != eps for norm, eps in self._norms)
        )

    def is_watched(self) -> bool:
        """Whether somebody wants to know of the calls of a layer, or the gradient of a layer that has one."""
        return (
            any(self._hooks)
            or _has_any_global_hook()  # type: ignore[no-untyped-call]
            or (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in self._tensors))
        )

    def run(self, x: Tensor) -> Tensor:
        """The result for a batch."""
        x = x.resolve_neg().contiguous()
        batch = x.shape[0]
        out = x.new_empty((batch, *self._shape))
        self._native.run(x.data_ptr(), batch, out.data_ptr(), torch.get_num_threads())
        return out
