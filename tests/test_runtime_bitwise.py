"""Layers of ternary weights and inputs: sums are the exact integers, on every instruction set and for any threads."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from runtime_networks import make_ternary, random_trits
from torch import Tensor, nn

import ternzip
from ternzip import TernzipError
from ternzip._core.native import core
from ternzip.quantization import TernaryActivation, quantize_inputs
from ternzip.quantization.activations import input_quantizer
from ternzip.runtime import _kernels, operators
from ternzip.runtime.bitwise import BitwiseLayer, has_planes
from ternzip.runtime.choice import kinds_of
from ternzip.runtime.dense_layers import DenseLayer
from ternzip.runtime.layers import DirectLayer, LookupLayer, RuntimeLayer, SparseLayer
from ternzip.runtime.network import NativeNetwork
from ternzip.runtime.plan import LayerPlan, plan_of
from ternzip.runtime.trits import ternary_weight

INPUT_SCALE = 1.5

LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "odd channels": (nn.Conv2d(33, 19, 3, padding=1), (2, 33, 7, 6)),
    "one word": (nn.Conv2d(32, 16, 3, stride=2), (1, 32, 11, 9)),
    "many words": (nn.Conv2d(405, 3, 1), (1, 405, 3, 3)),
    "many pixels": (nn.Conv2d(3, 5, (2, 3), padding=(0, 2)), (3, 3, 12, 9)),
    "dilated": (nn.Conv2d(8, 34, 3, stride=(1, 3), padding=4, dilation=(2, 3)), (1, 8, 8, 10)),
    "groups": (nn.Conv2d(3 * 35, 3 * 17, 2, groups=3), (2, 105, 4, 4)),
    "depthwise": (nn.Conv2d(6, 12, 3, groups=6, padding="same"), (2, 6, 5, 5)),
    "wrapped": (nn.Conv2d(4, 4, 3, padding=2, padding_mode="circular"), (1, 4, 5, 5)),
    "one dimension": (nn.Conv1d(40, 18, 5, stride=2, padding=3), (2, 40, 21)),
    "unbatched": (nn.Conv2d(4, 4, 3), (4, 5, 5)),
    "linear": (nn.Linear(70, 37, bias=False), (3, 5, 70)),
    "vector": (nn.Linear(70, 37), (70,)),
    "no vectors": (nn.Linear(70, 37), (0, 70)),
    "no samples": (nn.Conv2d(4, 4, 3), (0, 4, 5, 5)),
}


@pytest.fixture(autouse=True)
def _same_isa_and_threads() -> Iterator[None]:
    isa, threads = core.active_isa(), torch.get_num_threads()
    yield
    core.set_isa(isa)
    torch.set_num_threads(threads)


def ternary(module: nn.Module, levels: str = "rows") -> nn.Module:
    """Random trits, with opposite levels for each row, or two of another kind, and a quantizer before the layer."""
    module = copy.deepcopy(module).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(5)
    shape = (module.weight.shape[0], *[1] * (module.weight.dim() - 1))
    trits = random_trits(tuple(module.weight.shape), 0.4, generator)
    positives = torch.rand(shape, generator=generator) + 0.5 if levels == "rows" else torch.full(shape, 0.75)
    negatives = positives * 0.5 if levels == "two" else positives
    module.weight.copy_(torch.where(trits > 0, positives, -negatives) * (trits != 0))
    quantize_inputs(module, [""])
    quantizer = input_quantizer(module)
    assert quantizer is not None
    quantizer.load_state_dict({"log_scale": torch.tensor(INPUT_SCALE).log()})
    return module


def plan(module: nn.Module) -> LayerPlan:
    weight = ternary_weight("weight", module.weight)
    assert weight is not None
    return plan_of("layer", module, weight)


def sums_of(module: nn.Module, x: Tensor) -> Tensor:
    """The sums of the products of trits, whole numbers in float64, by torch's own convolution."""
    plain = copy.deepcopy(module).double()
    del plain.input_quantizer
    plain._forward_pre_hooks.clear()
    plain.weight.copy_(plain.weight.sign())
    plain.bias = None
    half = float(module.input_quantizer.scale.detach()) / 2
    sums = plain((x > half).double() - (x < -half).double())
    assert torch.equal(sums, sums.round())
    return sums


def over_pixels(values: Tensor, module: nn.Module) -> Tensor:
    return values.view(-1, *[1] * (0 if isinstance(module, nn.Linear) else module.weight.dim() - 2))


@pytest.mark.parametrize("name", LAYERS)
def test_outputs_are_those_of_exact_sums(name: str) -> None:
    module, shape = LAYERS[name]
    module = ternary(module)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    made = plan(module).with_bounds(-20.0, 25.0)
    layer = BitwiseLayer(made)
    residual = torch.randn(sums_of(module, x).shape, generator=torch.Generator().manual_seed(2))
    # Level and scales are rounded once, the sums never; nothing is contracted.
    expected = sums_of(module, x).float() * over_pixels(layer.scales, module)
    expected = expected + over_pixels(layer.biases, module)
    for isa in core.available_isas():
        core.set_isa(isa)
        for threads in (1, 3):
            torch.set_num_threads(threads)
            assert torch.equal(layer(x), expected.clamp(-20, 25))
            assert torch.equal(layer(x, residual), (expected + residual).clamp(-20, 25))
    torch.testing.assert_close(layer(x), module(x).clamp(-20, 25), rtol=1e-5, atol=1e-4)


def test_threads_share_a_batch() -> None:
    module = ternary(nn.Conv2d(160, 64, 3, padding=1))
    layer, x = BitwiseLayer(plan(module)), torch.randn(2, 160, 17, 19)
    torch.set_num_threads(1)
    expected = layer(x)
    torch.set_num_threads(3)
    assert torch.equal(layer(x), expected)


def test_bfloat16_is_rounded_once() -> None:
    module = ternary(nn.Conv2d(33, 19, 3, padding=1))
    layer, x = BitwiseLayer(plan(module)), torch.randn(2, 33, 7, 6).bfloat16()
    residual = torch.randn(2, 19, 7, 6).bfloat16()
    assert torch.equal(layer(x, residual), layer(x.float(), residual.float()).bfloat16())


@pytest.mark.parametrize("kind", [BitwiseLayer, SparseLayer, LookupLayer, DirectLayer, DenseLayer])
def test_every_kind_quantizes_its_input(kind: type[RuntimeLayer]) -> None:
    module = ternary(nn.Linear(50, 20))
    x = torch.randn(4, 50)
    torch.testing.assert_close(kind(plan(module))(x), module(x))


def test_infinities_are_clipped_and_a_nan_reaches_the_outputs_that_read_it() -> None:
    module = ternary(nn.Conv2d(70, 4, 3, padding=1, groups=2))
    x = torch.randn(2, 70, 6, 6)
    x[0, 3, 1, 1] = math.inf
    x[0, 4, 2, 2] = -math.inf
    layer = BitwiseLayer(plan(module))
    assert layer(x).isfinite().all()
    x[1, 69, 5, 5] = math.nan
    found, dense = layer(x), module(x)
    assert torch.equal(found.isnan(), dense.isnan())
    assert int(found.isnan().sum()) == 2 * 4
    torch.testing.assert_close(found, dense, equal_nan=True, rtol=1e-5, atol=1e-4)


def test_other_levels_take_other_layers() -> None:
    opposite, two = ternary(nn.Linear(64, 8)), ternary(nn.Linear(64, 8), "two")
    assert kinds_of(plan(opposite))[0] is BitwiseLayer
    assert has_planes(plan(ternary(nn.Linear(64, 8), "one")))
    assert BitwiseLayer not in kinds_of(plan(two))
    groups = ternary(nn.Linear(64, 8))
    groups.weight[:, 32:] *= 2
    assert BitwiseLayer not in kinds_of(plan(groups))
    floats = ternary(nn.Linear(64, 8))
    del floats.input_quantizer
    floats._forward_pre_hooks.clear()
    assert BitwiseLayer not in kinds_of(plan(floats))


# --- networks ----------------------------------------------------------------------------------------------


class Residual(nn.Module):
    """A block as networks have it, with all that can be folded into its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 3, padding=1)
        self.norm = nn.BatchNorm2d(24)
        self.conv1 = nn.Conv2d(24, 24, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(24)
        self.conv2 = nn.Conv2d(24, 24, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(24)
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        y = torch.relu(self.norm1(self.conv1(x)))
        y = torch.relu(self.norm2(self.conv2(y)) + x)
        return self.head(y.mean((2, 3)))


IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(7))


def network() -> nn.Module:
    torch.manual_seed(0)
    model = quantize_inputs(make_ternary(Residual(), 0.4), ["conv1", "conv2", "head"])
    with torch.no_grad():
        model(IMAGES)
    return model


def test_a_network_runs_from_bit_planes_and_answers_as_the_dense_one(tmp_path: Path) -> None:
    model = network()
    ternzip.save_model(model, tmp_path / "m.tnz")
    plain = Residual().eval()
    with torch.inference_mode():
        expected = model(IMAGES)
        for fast in (
            ternzip.runtime.optimize(model),
            ternzip.runtime.optimize(model, IMAGES),
            ternzip.runtime.load_model(plain, tmp_path / "m.tnz"),
        ):
            torch.testing.assert_close(fast(IMAGES), expected, rtol=1e-4, atol=1e-5)
        kinds = {choice.name: choice.kind for choice in ternzip.runtime.describe(fast)}
    assert {name for name, kind in kinds.items() if kind == "bitwise"} == {"conv1", "conv2", "head"}
    assert [name for name, _ in fast.named_modules() if "norm" in name] == []  # all of it is folded in
    assert input_quantizer(plain.conv1) is None


def test_optimized_networks_compile_copy_and_have_a_state() -> None:
    fast = ternzip.runtime.optimize(network())
    with torch.inference_mode():
        expected = fast(IMAGES)
        compiled = torch.compile(fast, backend="aot_eager", fullgraph=True)
        assert torch.equal(compiled(IMAGES), expected)
        assert torch.equal(copy.deepcopy(fast)(IMAGES), expected)
        assert torch.equal(pickle.loads(pickle.dumps(fast))(IMAGES), expected)
        other = network()
        other.conv1.input_quantizer.log_scale.data += 0.5
        other = ternzip.runtime.optimize(other)
        assert not torch.equal(other(IMAGES), expected)
        other.load_state_dict(fast.state_dict())
        assert torch.equal(other(IMAGES), expected)


def test_the_operator_is_a_good_one() -> None:
    layer = BitwiseLayer(plan(ternary(nn.Conv2d(5, 3, 3))))
    arguments = (layer.planes, layer.scales, layer.biases, None, layer.residual_scales, layer.native_window)
    x = torch.randn(1, 5, 4, 4)
    torch.library.opcheck(
        operators.runtime_convolve_bitwise, (x, *arguments, layer.input_scale, -math.inf, math.inf)
    )


class Reused(nn.Module):
    """Ternary activations as modules of their own: one that a layer alone reads, and two that may not move."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Conv2d(20, 20, 1) for _ in range(3))
        self.own, self.shared, self.early = TernaryActivation(), TernaryActivation(), TernaryActivation()

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.own(x))
        steps = self.shared(x)
        x = self.second(steps) + steps
        steps = self.early(x)
        x += 1
        return self.third(steps) * x


def test_ternary_activations_as_modules_join_the_layer_where_they_may() -> None:
    model = make_ternary(Reused(), 0.4)
    x = torch.randn(2, 20, 4, 4)
    with torch.inference_mode():
        model(x)
        expected = model(x)
        fast = ternzip.runtime.optimize(model)
        torch.testing.assert_close(fast(x), expected)
    kinds = {choice.name: choice.kind for choice in ternzip.runtime.describe(fast)}
    assert {name for name, kind in kinds.items() if kind == "bitwise"} == {"first"}
    left = [name for name, module in fast.named_modules() if isinstance(module, TernaryActivation)]
    assert left == ["shared", "early"]


@pytest.mark.parametrize("zeros", [0.2, 0.9])
def test_a_native_program_never_leaves_ternary_activations_out(zeros: float) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(5, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3)).eval()
    with torch.no_grad():
        trits = random_trits((6, 5, 3, 3), zeros, torch.Generator().manual_seed(3))
        model[0].weight.copy_(torch.where(trits > 0, 0.5, trits))  # levels that bit planes do not take
        quantize_inputs(model, ["0", "3"])
        x = torch.randn(2, 5, 4, 4)
        model(x)
    with torch.inference_mode():
        expected = model(x)
        for fast in (ternzip.runtime.optimize(model), ternzip.runtime.optimize(model, x)):
            assert not isinstance(fast, NativeNetwork)
            for _ in range(2):  # a program is made by the first call, and runs the second
                torch.testing.assert_close(fast(x), expected)


def test_a_network_that_has_seen_no_input_is_refused() -> None:
    model = quantize_inputs(make_ternary(Residual()), ["conv1"])
    with pytest.raises(TernzipError, match="layer conv1: its ternary activation has no scale yet"):
        ternzip.runtime.optimize(model)


def test_planes_hold_the_trits() -> None:
    trits = random_trits((2 * 17, 37, 6), 0.4, torch.Generator().manual_seed(0)).to(torch.int8)
    planes = _kernels.build_planes(trits, 2)
    assert torch.equal(_kernels.read_planes(planes, 34, 2, 37, 6), trits)


AXIS, PLANES = (4, 4, 1, 1, 1, 0), (2, 1, 3, 1)


@pytest.mark.parametrize(
    ("rows", "planes", "threshold"),
    [
        ((4, 4, 2, 1, 1, 0), PLANES, 0.5),  # taps that the planes have not
        ((4, 0, 1, 1, 1, 0), PLANES, 0.5),
        ((4, 4, 1, 0, 1, 0), PLANES, 0.5),
        ((4, 4, 1, 1, 1, 2**31), PLANES, 0.5),
        ((2**62, 4, 1, 1, 1, 0), PLANES, 0.5),
        (AXIS, (3, 2, 3, 1), 0.5),
        (AXIS, (2, 1, 2**29, 4), 0.5),
        (AXIS, (2**30, 1, 2**29, 1), 0.5),
        (AXIS, (2, 0, 3, 1), 0.5),
        (AXIS, PLANES, -0.5),
        (AXIS, PLANES, math.nan),
    ],
)
def test_shapes_that_cannot_be_are_refused(
    rows: tuple[int, ...], planes: tuple[int, ...], threshold: float
) -> None:
    with pytest.raises(ValueError, match="not valid"):
        core.runtime_convolve_bitwise(
            0, 1, 1, rows, AXIS, planes, (0, 0), threshold, (0, 0, 0), 0.0, 0.0, 0, 1
        )


def test_an_input_smaller_than_the_kernel_is_refused() -> None:
    layer = BitwiseLayer(plan(ternary(nn.Conv2d(4, 4, 3))))
    with pytest.raises(TernzipError, match="found 2 x 5 for a kernel of 3 x 3"):
        layer(torch.randn(1, 4, 2, 5))
