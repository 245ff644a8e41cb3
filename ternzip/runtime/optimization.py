"""A ternary model, in memory or in a file, as one that runs from its trits."""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from ternzip._core.errors import TernzipError
from ternzip.container.reader import Reader
from ternzip.io.models import check_fit
from ternzip.io.tensors import from_raw, torch_dtype
from ternzip.quantization import quantize_inputs, ternary_layers
from ternzip.quantization.activations import check_calibrated, stored_quantizers
from ternzip.runtime.choice import FEW_WEIGHTS, MeasuringLayer, Times, by_rule, measured, native_kinds_of
from ternzip.runtime.dense_layers import ChannelsLastLayer, DenseLayer
from ternzip.runtime.folding import fold, has_hooks, traced
from ternzip.runtime.layers import RuntimeLayer
from ternzip.runtime.network import NativeNetwork
from ternzip.runtime.plan import LAYER_TYPES, LayerPlan, plan_of
from ternzip.runtime.trits import FloatWeight, TernaryWeight, stored_weight, ternary_weight

Inputs = Tensor | Sequence[Tensor]
_LAYOUTS = (DenseLayer, ChannelsLastLayer)


def optimize(model: nn.Module, example_inputs: Inputs | None = None) -> nn.Module:
    """A model that computes what `model` does in evaluation mode, faster, on the CPU.

    Every convolution (1-d, 2-d) and linear layer with ternary weights, of one pair of levels or one for each output (in
    linear layers also for groups of its inputs), runs from lists of the weights that are not zero, from tables of sums
    of two inputs, from bit planes where it reads ternary activations (`activations` of `ternzip.prepare`), or from
    dense weights. Batch norms, an addition and an activation that clamps (ReLU, ReLU6, Hardtanh) are folded into it
    where torch.fx can trace the model; the result is then a GraphModule. Everything else stays torch's own. Outputs
    equal the model's up to rounding (`ternzip.runtime.layers` states the bound).

    The result runs under torch.inference_mode and torch.compile, can be copied and pickled, and has a state_dict of its
    own; it takes float32 or bfloat16, and refuses to be trained. `model` stays as it is; the two share the tensors
    of layers that are not ternary.

    Args:
        model: converted, loaded, or any other plain module, on the CPU; it is read as in evaluation mode.
        example_inputs: a tensor, or the positional arguments of `model`. The model is run with them once, each layer
            tried each way and the quickest kept, and the result's outputs compared with the model's. None: a rule on
            density chooses, made for a batch of few.

    Raises TernzipError for a model that is prepared (convert it first) or holds no ternary layer.
    """
    if ternary_layers(model):
        raise TernzipError(f"{type(model).__name__} is prepared: call ternzip.convert first")
    weights = {}
    for name, module in model.named_modules():
        if is_candidate(module):
            assert isinstance(module.weight, Tensor)
            weight = ternary_weight(f"{name}.weight" if name else "weight", module.weight)
            if weight is not None:
                weights[name] = weight
    if not weights:
        raise TernzipError(f"{type(model).__name__} holds no ternary convolution or linear layer on the CPU")
    own = _copy(model)
    return _optimized(own, own, weights, _inputs(example_inputs))


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
    own = _copy(model)
    with Reader.open(path) as reader:
        check_fit(own, _shapes(reader), str(path), dtypes=True)
        quantize_inputs(own, stored_quantizers(reader.entries))
        weights: dict[str, TernaryWeight] = {}
        for name, module in own.named_modules():
            key = f"{name}.weight" if name else "weight"
            if is_candidate(module) and key in reader.entries:
                # Small tensors and those without zeros may be stored otherwise.
                weight = stored_weight(reader, key) or ternary_weight(key, from_raw(key, reader.read(key)))
                if weight is not None:
                    weights[name] = weight
        if not weights:
            raise TernzipError(
                f"{path}: holds no ternary convolution or linear layer of {type(model).__name__}"
            )
        ternary = {f"{name}.weight" if name else "weight" for name in weights}
        others = {
            name: from_raw(name, reader.read(name, threads=None))
            for name in reader.entries
            if name not in ternary
        }
    own.load_state_dict(others, strict=False, assign=True)
    return _optimized(own, None, weights, _inputs(example_inputs))


def is_candidate(module: nn.Module) -> bool:
    """Whether the kernels could stand for a module: torch's own layer, as it is."""
    plain = type(module) in LAYER_TYPES and not parametrize.is_parametrized(module)
    return plain and not has_hooks(module)


def _inputs(given: Inputs | None) -> tuple[Tensor, ...] | None:
    if given is None:
        return None
    return (given,) if isinstance(given, Tensor) else tuple(given)


def _copy(model: nn.Module) -> nn.Module:
    """The modules anew, in evaluation mode and without gradients, over the same memory."""
    same: dict[int, object] = {id(t): t for t in model.buffers()}
    same |= {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in model.parameters()}
    return copy.deepcopy(model, same).eval()


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
    model: nn.Module,
    reference: nn.Module | None,
    weights: Mapping[str, TernaryWeight],
    inputs: tuple[Tensor, ...] | None,
) -> nn.Module:
    """`model` with the layers of `weights` replaced, as a graph where that can be had and computes what it shall.

    `reference` computes what the model shall; None: the model with its layers replaced one by one.
    """
    check_calibrated(model)
    plans = {name: plan_of(name, model.get_submodule(name), weight) for name, weight in weights.items()}
    graph = None if type(model) in LAYER_TYPES else traced(model)
    times: Times = {}
    make = by_rule if inputs is None else functools.partial(MeasuringLayer, times=times)
    if graph is None:
        return _settled(_replaced(model, plans, make), inputs)
    all_plans = plans | _float_plans(model, plans)
    fast = _settled(_folded(graph, all_plans, make), inputs)
    if inputs is None:
        return NativeNetwork.of(fast) or fast
    fast = _quickest(model, all_plans, fast, times, inputs)
    if reference is None:
        reference = _replaced(_copy(model), plans, by_rule)
    with torch.inference_mode():
        same = _same(reference(*inputs), fast(*inputs))
    # Tracing may have taken a turn that the model itself does not take.
    return fast if same else _settled(_replaced(model, plans, make), inputs)


def _float_plans(model: nn.Module, ternary: Mapping[str, LayerPlan]) -> dict[str, LayerPlan]:
    """The small float32 convolutions that are not ternary, which a graph lets us fold."""
    return {
        name: plan_of(name, module, FloatWeight(module.weight.detach()))
        for name, module in model.named_modules()
        if name not in ternary
        and isinstance(module, nn.Conv1d | nn.Conv2d)
        and is_candidate(module)
        and module.weight.dtype == torch.float32
        and module.weight.is_cpu
        and module.weight.numel() <= FEW_WEIGHTS
    }


def _folded(
    graph: fx.GraphModule, plans: Mapping[str, LayerPlan], make: Callable[[LayerPlan], nn.Module]
) -> fx.GraphModule:
    """The graph with each planned layer and what follows it replaced; ternary layers wherever they stand."""
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
    model: nn.Module,
    plans: Mapping[str, LayerPlan],
    fast: nn.Module,
    times: Times,
    inputs: tuple[Tensor, ...],
) -> nn.Module:
    """`fast`, whose layers were chosen one by one, or another choice for all of them that is quicker in the whole.

    All convolutions dense, in one layout: where one layer alone changes the layout it pays for that, and where all do
    only the first. Or those that a native program runs, in one call.
    """
    kinds = {layer.plan_name: type(layer) for layer in fast.modules() if isinstance(layer, RuntimeLayer)}

    def network(kind_of: Callable[[LayerPlan], type[RuntimeLayer]]) -> fx.GraphModule:
        graph = traced(model)
        assert graph is not None  # as before
        return _folded(graph, plans, lambda plan: kind_of(plan)(plan))

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
        seconds = measured([functools.partial(candidate, *inputs) for candidate in networks])
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


def _settled(model: nn.Module, inputs: tuple[Tensor, ...] | None) -> nn.Module:
    """The model with every layer chosen: it is run once where they are to be measured."""
    for name, tensor in model.state_dict(keep_vars=True).items():
        if tensor.is_meta:
            raise TernzipError(f"tensor {name!r}: expected values, found a meta tensor that no file gave any")
    if inputs is None:
        return model
    with torch.inference_mode():
        model(*inputs)
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if isinstance(module, MeasuringLayer):
            model = _with(model, name, module.settled())
    return model


def _same(expected: object, found: object) -> bool:
    """Whether tensors, or sequences of them, are equal up to what rounding may do in a whole network."""
    if isinstance(expected, Tensor) and isinstance(found, Tensor):
        if expected.shape != found.shape or expected.dtype != found.dtype or not expected.numel():
            return expected.shape == found.shape and expected.dtype == found.dtype
        tolerance = 0.1 if found.dtype == torch.bfloat16 else 1e-3
        scale = float(expected.abs().max())
        return torch.allclose(found, expected, rtol=tolerance, atol=tolerance * scale, equal_nan=True)
    if isinstance(expected, tuple | list) and isinstance(found, tuple | list):
        return len(expected) == len(found) and all(map(_same, expected, found))
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        return expected.keys() == found.keys() and all(_same(expected[key], found[key]) for key in expected)
    return type(expected) is type(found)
