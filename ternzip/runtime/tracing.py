"""A model as a graph of layers, by torch.fx, where that graph computes what the model does.

A trace runs `forward` once with stand-ins for its arguments, so it follows one way through the code. What makes code
take another way for a tensor than for its stand-in, or does something that no graph holds, is looked for, and such
models are not traced: they run as they are, with their layers replaced.
"""

from __future__ import annotations

import dis
import gc
import inspect
import keyword
import operator
import sys
import unicodedata
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

import torch
from torch import Tensor, fx, nn

from ternzip._core.errors import TernzipError
from ternzip.quantization.activations import TernaryActivation, quantize_input

IN_PLACE = tuple(
    getattr(operator, name)
    for name in (
        "iadd",
        "isub",
        "imul",
        "itruediv",
        "ifloordiv",
        "imod",
        "ipow",
        "imatmul",
        "iand",
        "ior",
        "ixor",
    )
)
_OTHERS = {*sys.stdlib_module_names, "torch", "ternzip"}


def traced(model: nn.Module, tensors: int | None = None) -> fx.GraphModule | None:
    """The model as a graph with torch's layers as its nodes, None where it has none that could be trusted.

    Args:
        model: run once with stand-ins, which it may keep: give a copy that is not needed afterwards.
        tensors: how many arguments it is called with, all of them tensors. None: unknown, which only a model of one
            argument may leave open.

    The graph refuses arguments that are not tensors. Refused are models that can be seen to be called in several ways,
    to ask what their arguments are, to catch exceptions, to make tensors out of nothing, to change or keep something,
    and to switch autocast on.
    """
    parameters = inspect.signature(model.forward).parameters.values()
    simple = inspect.Parameter.POSITIONAL_OR_KEYWORD
    if any(p.kind is not simple or p.default is not inspect.Parameter.empty for p in parameters):
        return None
    if len(parameters) != (1 if tensors is None else tensors) or has_hooks(model):
        return None
    if any(map(_is_misread, _parts(model))):
        return None

    tracer = _Tracer()
    before = _held(model)
    try:
        with _noting_code() as ran:
            graph = tracer.trace(model)
    except Exception:  # whatever a stand-in made somebody's code do
        return None
    if tracer.is_misled() or any(map(_may_be_misled, ran)) or _has_changed(model, before):
        return None
    if any(name.startswith("_tensor_constant") for name in vars(tracer.root)):
        return None
    for node in graph.nodes:
        node.type = None  # annotations that are strings could not be pickled
    _guard(graph, type(model).__name__)
    return fx.GraphModule(tracer.root, graph, type(model).__name__)


def has_hooks(module: nn.Module) -> bool:
    """Whether somebody wants to know of the module's calls, or calls something else; its own quantizer aside."""
    before = [hook for hook in module._forward_pre_hooks.values() if hook is not quantize_input]
    return bool(module._forward_hooks or before or "forward" in vars(module))


def only_tensor(argument: object, name: str, model: str) -> Tensor:
    """An argument of a traced model; TernzipError if it is no tensor, as the model may do other things for it."""
    if not isinstance(argument, Tensor):
        raise TernzipError(
            f"{model}: {name}: expected a tensor, found {type(argument).__name__}: give optimize example_inputs with "
            "what the model shall be called with"
        )
    return argument


def _guard(graph: fx.Graph, model: str) -> None:
    """Puts `only_tensor` behind each argument."""
    for node in [node for node in graph.nodes if node.op == "placeholder"]:
        with graph.inserting_after(node):
            checked = graph.call_function(only_tensor, (node, f"argument {node.target}", model))
        checked.meta["is_wrapped"] = True  # graphs are traced anew when they are unpickled
        node.replace_all_uses_with(checked, lambda user, checked=checked: user is not checked)


def _parts(model: nn.Module) -> Iterator[str]:
    """The names that modules, parameters and buffers have in the module that holds them."""
    return (name for module in model.modules() for name in _members(module))


def _is_misread(name: str) -> bool:
    """Whether a name says something else in Python code, as which torch.fx writes graphs, than in a module."""
    return keyword.iskeyword(name) or (name.isidentifier() and unicodedata.normalize("NFKC", name) != name)


# --- stand-ins ---


class _Proxy(fx.Proxy):
    """Stands for a tensor more carefully than torch's own does.

    It records `a += b` as what it is, not as `a = a + b`, which would leave other names of a alone; it has the
    attributes that a tensor has, and no others; and it notes when somebody's code asks whether it is a tensor, since
    the answer is wrong.
    """

    @property
    def __class__(self) -> type:  # what isinstance asks for
        asking: FrameType | None = sys._getframe(1)
        while asking is not None and asking.f_globals.get("__name__") == "torch.nn.parameter":
            asking = asking.f_back  # how a Parameter is told from other tensors, for whoever wants to know
        if asking is None or not str(asking.f_globals.get("__name__")).startswith("torch.fx"):
            assert isinstance(self.tracer, _Tracer)
            self.tracer.asked = True
        return type(self)

    @__class__.setter
    def __class__(self, value: type) -> None:
        raise TypeError(f"a stand-in for a tensor cannot become {value}")

    def __getattr__(self, name: str) -> _Attribute:  # type: ignore[override]
        if not hasattr(Tensor, name):
            raise AttributeError(f"'Tensor' object has no attribute {name!r}")
        return _Attribute(self, name)


class _Attribute(_Proxy):
    """An attribute or a method of a stand-in; a node once something else than a call makes use of it."""

    def __init__(self, root: _Proxy, name: str) -> None:
        self.root = root
        self.name = name
        self.tracer = root.tracer
        self._node: fx.Node | None = None
        assert isinstance(self.tracer, _Tracer)
        self._number = self.tracer.attributes
        self.tracer.attributes += 1
        self.tracer.unused.add(self._number)

    @property
    def node(self) -> fx.Node:  # type: ignore[override]
        """The node, made when it is first asked for."""
        if self._node is None:
            self._count_as_used()
            self._node = self.tracer.create_proxy("call_function", getattr, (self.root, self.name), {}).node
        return self._node

    def __call__(self, *args: Any, **kwargs: Any) -> fx.Proxy:
        self._count_as_used()
        return self.tracer.create_proxy("call_method", self.name, (self.root, *args), kwargs)

    def _count_as_used(self) -> None:
        assert isinstance(self.tracer, _Tracer)
        self.tracer.unused.discard(self._number)


def _in_place(function: Callable[..., Any]) -> Callable[[_Proxy, Any], fx.Proxy]:
    def record(self: _Proxy, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", function, (self, other), {})

    return record


for _function in IN_PLACE:
    setattr(_Proxy, f"__{_function.__name__}__", _in_place(_function))


class _Tracer(fx.Tracer):
    """Records nodes, and what no node says.

    Attributes:
        asked: whether somebody's code asked what a stand-in is.
        attributes: how many attributes of stand-ins were asked for.
        unused: the numbers of those that no node makes use of: they were compared, or looked for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked = False
        self.attributes = 0
        self.unused: set[int] = set()
        self._autocast = torch.is_autocast_enabled("cpu")
        self._switched = False
        self._made: list[weakref.ref[fx.Proxy]] = []

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        """torch's own modules, and those that are called in a way of their own."""
        return (
            has_hooks(module) or isinstance(module, TernaryActivation) or super().is_leaf_module(module, name)
        )

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """A stand-in for what a node gives."""
        self._switched = self._switched or torch.is_autocast_enabled("cpu") != self._autocast
        proxy = _Proxy(node, self)
        self._made.append(weakref.ref(proxy))
        return proxy

    def is_misled(self) -> bool:
        """Whether the graph is not all that happened."""
        if self.asked or self.unused or self._switched:
            return True
        # Whatever is still there after the trace was kept by somebody, for the next call.
        alive = any(made() is not None for made in self._made)
        if alive:
            gc.collect()
        return alive and any(made() is not None for made in self._made)


# --- what else could mislead a trace ---


_Held = list[tuple[nn.Module, dict[str, object], dict[str, int]]]


def _held(model: nn.Module) -> _Held:
    """What each module holds, how many elements its containers have, and how often its buffers were written."""
    return [(module, _members(module), _counts(module)) for module in model.modules()]


def _members(module: nn.Module) -> dict[str, object]:
    return {**vars(module), **module._parameters, **module._buffers, **module._modules}


def _counts(module: nn.Module) -> dict[str, int]:
    lengths = {
        name: len(value) for name, value in vars(module).items() if isinstance(value, list | dict | set)
    }
    return lengths | {name: value._version for name, value in module._buffers.items() if value is not None}


def _has_changed(model: nn.Module, before: _Held) -> bool:
    """Whether the modules hold anything else than before: no graph holds what a call changes."""
    modules = list(model.modules())
    return len(modules) != len(before) or any(
        module is not then
        or list(_members(module)) != list(held)
        or not all(map(operator.is_, _members(module).values(), held.values()))
        or _counts(module) != counts
        for module, (then, held, counts) in zip(modules, before, strict=True)
    )


@contextmanager
def _noting_code() -> Iterator[set[CodeType]]:
    """The code of all functions that are called meanwhile: those of models, not of Python, torch or ternzip."""
    found: set[CodeType] = set()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        if event == "call" and package not in _OTHERS:
            found.add(frame.f_code)

    before = sys.getprofile()
    collects = gc.isenabled()
    gc.disable()  # what it calls has nothing to do with the model
    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(before)
        if collects:
            gc.enable()


def _may_be_misled(code: CodeType) -> bool:
    """Whether code asks for the very type of something, or catches exceptions, which stand-ins do not raise."""
    return any(
        instruction.opname in ("CHECK_EXC_MATCH", "JUMP_IF_NOT_EXC_MATCH")
        or (instruction.opname == "LOAD_GLOBAL" and instruction.argval == "type")
        for instruction in dis.get_instructions(code)
    )
