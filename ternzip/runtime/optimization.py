"""A ternary model, in memory or in a file, as one that runs from its trits."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, fx, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from ternzip._core.copies import model_copy
from ternzip._core.errors import TernzipError
from ternzip.container.reader import Reader
from ternzip.io.models import check_fit
from ternzip.io.tensors import from_raw, torch_dtype
from ternzip.lowrank.within_torch import inside_torch
from ternzip.quantization import quantize_inputs, ternary_layers
from ternzip.quantization.activations import check_calibrated, stored_quantizers
from ternzip.runtime.choice import FEW_WEIGHTS, MeasuringLayer, Times, by_rule, measured, native_kinds_of
from ternzip.runtime.dense_layers import ChannelsLastLayer, DenseLayer
from ternzip.runtime.folding import fold
from ternzip.runtime.layers import RuntimeLayer, UnreadableError
from ternzip.runtime.network import NativeNetwork
from ternzip.runtime.plan import LAYER_TYPES, LayerPlan, plan_of
from ternzip.runtime.tracing import has_hooks, traced
from ternzip.runtime.trits import WEIGHT_DTYPES, FloatWeight, TernaryWeight, stored_weight, ternary_weight

Inputs = Tensor | Sequence[Any]
Arguments = tuple[Any, ...]
_Module = TypeVar("_Module", bound=nn.Module)
_LAYOUTS = (DenseLayer, ChannelsLastLayer)


def optimize(model: nn.Module, example_inputs: Inputs | None = None) -> nn.Module:
    """A model that computes what `model` does in evaluation mode, faster, on the CPU.

    Every convolution (1-d, 2-d) and linear layer with ternary weights, of one pair of levels or one for each output (in
    linear layers also for groups of its inputs), runs from lists of the weights that are not zero, from tables of sums
    of two inputs, from bit planes where it reads ternary activations (`activations` of `ternzip.prepare`), or from
    dense weights. Batch norms, an addition and an activation that clamps (ReLU, ReLU6, Hardtanh) are folded into it
    where torch.fx can trace the model; the result is then a GraphModule, or a NativeNetwork around one, and takes
    tensors alone. Everything else stays torch's own, as do layers of which the model reads more than their outputs.
    Outputs equal the model's up to rounding (`ternzip.runtime.layers` states the bound).

    The result runs under torch.inference_mode and torch.compile, can be copied and pickled, and has a state_dict of its
    own; it takes float32 or bfloat16, and refuses to be trained. `model` stays as it is; the two share the parameters
    of layers that are not ternary.

    Args:
        model: converted, loaded, or any other plain module, on the CPU; it is read as in evaluation mode.
        example_inputs: a tensor, or the positional arguments of `model`. Copies of the model are run with them, each
            layer tried each way and the quickest kept, and the result's outputs compared with the model's. None: a
            rule on density chooses, made for a batch of few; layers are then replaced one by one in a model of more
            arguments than one, as nobody knows whether all are tensors.

    Raises TernzipError for a model that is prepared (convert it first), not initialized, or holds no ternary layer in
    one of these types, or cannot be copied, and where the outputs differ from the model's.
    """
    if ternary_layers(model):
        raise TernzipError(f"{type(model).__name__} is prepared: call ternzip.convert first")
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if is_lazy(tensor):
            raise TernzipError(f"tensor {name!r}: expected values, found none before the model's first call")
    with _as_usual():
        weights = {}
        for name, module in candidates(model).items():
            assert isinstance(module.weight, Tensor)
            weight = ternary_weight(_weight_name(name), module.weight)
            if weight is not None:
                weights[name] = weight
        if not weights:
            for name, module in candidates(model).items():
                assert isinstance(module.weight, Tensor)
                dtype, wide = module.weight.dtype, module.weight.float()
                if dtype not in WEIGHT_DTYPES and ternary_weight(_weight_name(name), wide) is not None:
                    raise TernzipError(
                        f"{type(model).__name__}: ternary weights are {_name_of(dtype)}: expected float32 or bfloat16: "
                        "call model.float()"
                    )
            raise TernzipError(
                f"{type(model).__name__} holds no ternary convolution or linear layer on the CPU"
            )
        return _optimized(_copy(model), weights, _inputs(example_inputs), has_weights=True)


def load_model(
    model: nn.Module, path: str | os.PathLike[str], example_inputs: Inputs | None = None
) -> nn.Module:
    """As `optimize` of a model loaded from a .tnz file, whose ternary weights never become dense ones on the way.

    Args:
        model: of the file's architecture; its own values do not matter, so it may lie on the meta device. It stays
            as it is.
        path: the file.
        example_inputs: as for optimize.

    Raises TernzipError as ternzip.load_model and optimize do, and for a model with a buffer on the meta device that the
    file does not hold.
    """
    if ternary_layers(model):
        raise TernzipError(f"{path}: cannot be loaded into a prepared model: load it into a plain one")
    with _as_usual():
        own = _copy(model)
        with Reader.open(path) as reader:
            check_fit(own, _shapes(reader), str(path), dtypes=True)
            quantize_inputs(own, stored_quantizers(reader.entries))
            weights: dict[str, TernaryWeight] = {}
            for name in candidates(own):
                key = _weight_name(name)
                if key in reader.entries:
                    # Small tensors and those without zeros may be stored otherwise.
                    weight = stored_weight(reader, key) or ternary_weight(
                        key, from_raw(key, reader.read(key))
                    )
                    if weight is not None:
                        weights[name] = weight
            if not weights:
                entries = [reader.entries.get(_weight_name(name)) for name in candidates(own)]
                for entry in entries:
                    dtype = None if entry is None or entry.ternary is None else torch_dtype(entry.dtype.name)
                    if dtype is not None and dtype not in WEIGHT_DTYPES:
                        raise TernzipError(
                            f"{path}: ternary weights are {_name_of(dtype)}: expected float32 or bfloat16: load it by "
                            "ternzip.load_model, and optimize model.float()"
                        )
                raise TernzipError(
                    f"{path}: holds no ternary convolution or linear layer of {type(model).__name__}"
                )
            ternary = set(map(_weight_name, weights))
            others = {
                name: from_raw(name, reader.read(name, threads=None))
                for name in reader.entries
                if name not in ternary
            }
        own.load_state_dict(others, strict=False, assign=True)
        return _optimized(own, weights, _inputs(example_inputs), has_weights=False)


def candidates(model: nn.Module) -> dict[str, nn.Module]:
    """The modules, by their names, that the kernels could stand for.

    torch's own layers, as they are; but not inside another module of torch, which may read their weights.
    """
    inside = inside_torch(model)
    return {
        name: module
        for name, module in model.named_modules()
        if type(module) in LAYER_TYPES
        and id(module) not in inside
        and not parametrize.is_parametrized(module)
        and not has_hooks(module)
    }


def _weight_name(layer: str) -> str:
    return f"{layer}.weight" if layer else "weight"


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@contextmanager
def _as_usual() -> Iterator[None]:
    """Whatever the mode of the caller, tensors are made that every mode can use."""
    with torch.inference_mode(False), torch.no_grad():
        yield


def _inputs(given: Inputs | None) -> Arguments | None:
    if given is None:
        return None
    return (given,) if isinstance(given, Tensor) else tuple(given)


def _copy(model: _Module) -> _Module:
    """The modules anew, in evaluation mode and without gradients: parameters in the same memory, buffers in their own.

    Calls may write into buffers.
    """
    same: dict[int, Any] = {id(buffer): buffer.clone() for buffer in model.buffers()}
    same |= {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in model.parameters()}
    return model_copy(model, same).eval()


def _clones(inputs: Arguments) -> Arguments:
    """Inputs that may be written into."""
    return tuple(x.clone() if isinstance(x, Tensor) else x for x in inputs)


def _shapes(reader: Reader) -> dict[str, Tensor]:
    """What a file holds, as tensors without elements."""
    found = {}
    for name, entry in reader.entries.items():
        dtype = torch_dtype(entry.dtype.name)
        if dtype is None:
            raise TernzipError(
                f"{reader.name}: tensor {name!r}: torch has no {entry.dtype.name}: upgrade torch"
            )
        found[name] = torch.empty(entry.shape, dtype=dtype, device="meta")
    return found


def _optimized(
    model: nn.Module, weights: Mapping[str, TernaryWeight], inputs: Arguments | None, *, has_weights: bool
) -> nn.Module:
    """`model` with the layers of `weights` replaced, as a graph where that can be had and computes what it shall.

    `has_weights`: whether the model holds those weights itself, so that it computes what the result shall.
    """
    check_calibrated(model)
    _check_values(model, set(map(_weight_name, weights)))
    plans = {name: plan_of(name, model.get_submodule(name), weight) for name, weight in weights.items()}
    graph = _graph_of(model, inputs)
    all_plans = plans if graph is None else plans | _float_plans(model, plans)
    if inputs is None:
        if graph is None:
            return _replaced(model, plans, by_rule)
        fast: nn.Module = _folded(graph, all_plans, by_rule)
        return NativeNetwork.of(fast) or fast

    untouched = _copy(model)

    def expected() -> object:
        own = _copy(untouched)
        try:
            return _outputs(own if has_weights else _replaced(own, plans, by_rule), inputs)
        except UnreadableError:
            return None  # which nothing is the same as: such layers cannot be replaced

    if graph is not None:
        found = _measured_graph(graph, all_plans, inputs)
        # Its trace may have taken a turn that the model itself does not take.
        if found is not None and _same(expected(), found[1]):
            return found[0]
    fast = _measured_layers(model, plans, inputs, has_weights=has_weights)
    if has_weights:
        wanted = expected()
        differs = not _same(wanted, _outputs(_copy(fast), inputs))
        if differs and _same(wanted, expected()):  # and it is not that the model has another answer each time
            raise TernzipError(
                f"{type(model).__name__}: expected the same outputs from its layers' trits, found others: something "
                "in it looks into its layers"
            )
    return fast


def _check_values(model: nn.Module, ternary: set[str]) -> None:
    """That every tensor has values, but for the weights of `ternary`."""
    tensors = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    for name, tensor in tensors:
        if tensor.is_meta and name not in ternary:
            raise TernzipError(f"tensor {name!r}: expected values, found a meta tensor that no file gave any")


def _graph_of(model: nn.Module, inputs: Arguments | None) -> fx.GraphModule | None:
    """The model as a graph, None where it has none."""
    if type(model) in LAYER_TYPES:
        return None
    if inputs is not None and not all(isinstance(x, Tensor) for x in inputs):
        return None
    return traced(_copy(model), None if inputs is None else len(inputs))


def _outputs(model: nn.Module, inputs: Arguments) -> object:
    """What a model, or a copy of one that remembers its calls, returns."""
    with torch.inference_mode():
        return model(*_clones(inputs))


def _measured_graph(
    graph: fx.GraphModule, plans: Mapping[str, LayerPlan], inputs: Arguments
) -> tuple[nn.Module, object] | None:
    """The graph with its layers replaced by what is quickest, and its outputs; None if it cannot be run."""
    times: Times = {}
    try:
        trial = _folded(_copy(graph), plans, functools.partial(MeasuringLayer, times=times))
        _outputs(trial, inputs)
        fast: nn.Module = trial
        for name, module in list(trial.named_modules(remove_duplicate=False)):
            if isinstance(module, MeasuringLayer):
                fast = _with(fast, name, module.settled())
        fast = _quickest(graph, plans, fast, times, inputs)
        return fast, _outputs(fast, inputs)
    except Exception:  # of anybody's code, where the trace took a turn that the model does not take
        return None


def _measured_layers(
    model: nn.Module, plans: Mapping[str, LayerPlan], inputs: Arguments, *, has_weights: bool
) -> nn.Module:
    """The model, changed: each planned layer is replaced by what is quickest, but for those that the model reads."""
    trial = _replaced(_copy(model), plans, functools.partial(MeasuringLayer, times={}))
    _outputs(trial, inputs)
    layers = [layer for layer in trial.modules() if isinstance(layer, MeasuringLayer)]
    chosen = {layer.plan.name: layer.settled() for layer in layers if not layer.was_read}
    if not has_weights:
        for name in plans.keys() - chosen.keys():
            weight = plans[name].weight
            layer: Any = model.get_submodule(name)
            layer.weight = nn.Parameter(weight.dense().to(weight.dtype), requires_grad=False)
    return _replaced(model, {name: plans[name] for name in chosen}, lambda plan: chosen[plan.name])


def _float_plans(model: nn.Module, ternary: Mapping[str, LayerPlan]) -> dict[str, LayerPlan]:
    """The small float32 convolutions that are not ternary, which a graph lets us fold."""
    return {
        name: plan_of(name, module, FloatWeight(module.weight.detach()))
        for name, module in candidates(model).items()
        if name not in ternary
        and isinstance(module, nn.Conv1d | nn.Conv2d)
        and module.weight.dtype == torch.float32
        and module.weight.is_cpu
        and module.weight.numel() <= FEW_WEIGHTS
    }


def _folded(
    graph: fx.GraphModule, plans: Mapping[str, LayerPlan], make: Callable[[LayerPlan], nn.Module]
) -> fx.GraphModule:
    """The graph with each planned layer and what follows it replaced; ternary layers wherever they stand.

    But for layers of which the graph reads the weights.
    """
    read = {str(node.target).rpartition(".")[0] for node in graph.graph.nodes if node.op == "get_attr"}
    plans = {name: plan for name, plan in plans.items() if name not in read}
    done = fold(graph, plans, make)
    left = {name: plan for name, plan in plans.items() if name not in done and plan.is_ternary}
    replaced = _replaced(graph, left, make)
    assert isinstance(replaced, fx.GraphModule)
    return replaced


def _dense_kind(
    kinds: Mapping[str, type[RuntimeLayer]], dense: type[RuntimeLayer], plan: LayerPlan
) -> type[RuntimeLayer]:
    return dense if plan.window.dimensions == 2 else kinds[plan.name]


def _quickest(
    graph: fx.GraphModule,
    plans: Mapping[str, LayerPlan],
    fast: nn.Module,
    times: Times,
    inputs: Arguments,
) -> nn.Module:
    """`fast`, whose layers were chosen one by one, or another choice for all of them that is quicker in the whole.

    All convolutions dense, in one layout: where one layer alone changes the layout it pays for that, and where all do
    only the first. Or those that a native program runs, in one call.
    """
    kinds = {layer.plan_name: type(layer) for layer in fast.modules() if isinstance(layer, RuntimeLayer)}

    def network(kind_of: Callable[[LayerPlan], type[RuntimeLayer]]) -> fx.GraphModule:
        return _folded(_copy(graph), plans, lambda plan: kind_of(plan)(plan))

    def native(plan: LayerPlan) -> type[RuntimeLayer]:
        candidates = native_kinds_of(plan)
        known = times.get(plan.name, {})
        return min(candidates or [kinds[plan.name]], key=lambda kind: known.get(kind, 0.0))

    networks: list[nn.Module] = [fast]
    if any(issubclass(kind, DenseLayer) and plans[n].window.dimensions == 2 for n, kind in kinds.items()):
        networks += [network(functools.partial(_dense_kind, kinds, dense)) for dense in _LAYOUTS]
    whole = NativeNetwork.of(network(native))
    if whole is not None:
        networks.append(whole)
    if len(networks) == 1:
        return fast
    with torch.inference_mode():
        seconds = measured([functools.partial(candidate, *_clones(inputs)) for candidate in networks])
    return networks[seconds.index(min(seconds))]


def _replaced(
    model: nn.Module, plans: Mapping[str, LayerPlan], make: Callable[[LayerPlan], nn.Module]
) -> nn.Module:
    """The model, changed: each planned layer is replaced wherever it stands."""
    modules = dict(model.named_modules(remove_duplicate=False))
    made = {id(modules[name]): make(plan) for name, plan in plans.items() if name in modules}
    for name, module in modules.items():
        if id(module) in made:
            model = _with(model, name, made[id(module)])
    return model


def _with(model: nn.Module, name: str, module: nn.Module) -> nn.Module:
    if not name:
        return module
    model.set_submodule(name, module)
    return model


def _same(expected: object, found: object) -> bool:
    """Whether tensors, or sequences of them, are equal up to what rounding may do in a whole network.

    A weight that is zero does not see an infinite input, so only finite numbers are compared; and rounding may turn
    over what was decided by numbers, so of a hundred whole ones or truths one may differ.
    """
    if isinstance(expected, Tensor) and isinstance(found, Tensor):
        if expected.shape != found.shape or expected.dtype != found.dtype:
            return False
        if not (expected.is_floating_point() or expected.is_complex()):
            return int((expected != found).sum()) <= max(1, expected.numel() // 100)
        finite = expected.isfinite()
        wanted = expected[finite]
        if not wanted.numel():
            return True
        tolerance = 0.1 if found.dtype == torch.bfloat16 else 1e-3
        scale = float(wanted.abs().max())
        return torch.allclose(found[finite], wanted, rtol=tolerance, atol=tolerance * scale)
    if isinstance(expected, tuple | list) and isinstance(found, tuple | list):
        return len(expected) == len(found) and all(map(_same, expected, found))
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        return expected.keys() == found.keys() and all(_same(expected[key], found[key]) for key in expected)
    return type(expected) is type(found)
