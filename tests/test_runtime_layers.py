"""Layers of the runtime compute what torch's dense ones do, within the stated bound, whatever the shape."""

from __future__ import annotations

import copy
import math
import pickle
import subprocess
import sys

import pytest
import torch
from hypothesis import assume, currently_in_test_context, given, settings
from hypothesis import strategies as st
from runtime_networks import bound_of, random_trits
from torch import Tensor, nn

import ternzip
from ternzip._core.native import core
from ternzip.runtime.choice import kinds_of
from ternzip.runtime.dense_layers import ChannelsLastLayer, DenseLayer
from ternzip.runtime.layers import DirectLayer, LookupLayer, RuntimeLayer, SparseLayer
from ternzip.runtime.plan import LayerPlan, plan_of
from ternzip.runtime.trits import TernaryWeight, ternary_weight

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
SEEDS = st.integers(0, 2**31)


def plan(module: nn.Module) -> LayerPlan:
    weight = ternary_weight("weight", module.weight.detach())
    if currently_in_test_context():  # a few weights with levels of their own are no ternary tensor
        assume(weight is not None)
    assert weight is not None
    return plan_of("layer", module, weight)


def with_levels(module: nn.Module, zeros: float, levels: str, generator: torch.Generator) -> nn.Module:
    """Random trits with one pair of opposite levels, one pair of different ones, or a pair for each row."""
    rows = module.weight.shape[0]
    shape = (rows, *[1] * (module.weight.dim() - 1))
    trits = random_trits(tuple(module.weight.shape), zeros, generator)
    positives, negatives = torch.full(shape, 0.75), torch.full(shape, 0.75)
    if levels == "two":
        negatives = torch.full(shape, 0.3)
    if levels == "rows":
        positives = torch.rand(shape, generator=generator) + 0.1
        negatives = torch.rand(shape, generator=generator) + 0.1
    with torch.no_grad():
        module.weight.copy_(torch.where(trits > 0, positives, -negatives) * (trits != 0))
    return module.eval().requires_grad_(False)


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    """A ternary convolution in one or two dimensions, and an input it takes."""
    generator = torch.Generator().manual_seed(draw(SEEDS))
    dimensions = draw(st.sampled_from([1, 2]))
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    depthwise = draw(st.booleans()) and groups > 1
    channels = groups * (1 if depthwise else draw(st.integers(1, 12)))
    rows = groups * draw(st.integers(1, 6))
    kernel = [draw(st.integers(1, 4)) for _ in range(dimensions)]
    dilation = [draw(st.integers(1, 3)) for _ in range(dimensions)]
    stride = [draw(st.integers(1, 4)) for _ in range(dimensions)]
    padding: object = [draw(st.integers(0, 3)) for _ in range(dimensions)]
    if draw(st.booleans()) and set(stride) == {1}:
        padding = draw(st.sampled_from(["same", "valid"]))
    extra = [draw(st.integers(0, 40 if i == dimensions - 1 else 6)) for i in range(dimensions)]
    size = [d * (k - 1) + 1 + e for d, k, e in zip(dilation, kernel, extra, strict=True)]
    mode = draw(st.sampled_from(["zeros", "zeros", "replicate", "circular"]))
    if mode == "circular" and not isinstance(padding, str):
        padding = [min(p, s) for p, s in zip(padding, size, strict=True)]  # type: ignore[call-overload]
    kind = nn.Conv1d if dimensions == 1 else nn.Conv2d
    module = kind(
        channels,
        rows,
        tuple(kernel),
        tuple(stride),
        padding if isinstance(padding, str) else tuple(padding),  # type: ignore[arg-type]
        tuple(dilation),
        groups,
        draw(st.booleans()),
        mode,
    )
    levels = draw(st.sampled_from(["one", "two", "rows"]))
    module = with_levels(module, draw(st.sampled_from([0.0, 0.5, 0.9])), levels, generator)
    batch = draw(st.integers(0, 3))
    dtype = draw(st.sampled_from([torch.float32, torch.float32, torch.bfloat16]))
    return module, torch.randn(batch, channels, *size, generator=generator).to(dtype)


def exact(module: nn.Module, x: Tensor) -> Tensor:
    return copy.deepcopy(module).double()(x.double())


def check(layer: RuntimeLayer, module: nn.Module, x: Tensor) -> None:
    found, wanted = layer(x), exact(module, x)
    assert found.shape == wanted.shape
    assert found.dtype == x.dtype
    assert ((found.double() - wanted).abs() <= bound_of(module, x, wanted)).all()


@settings(deadline=None, max_examples=80)
@given(convolutions())
def test_convolutions(case: tuple[nn.Module, Tensor]) -> None:
    module, x = case
    check(SparseLayer(plan(module)), module, x)
    check(DirectLayer(plan(module)), module, x)


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"), [(1, 1, 1, 1), (3, 0, 1, 2), (1, 700, 700, 1), (2, 7, 9, 2)]
)
def test_lines_longer_than_the_cache_are_cut(stride: int, padding: int, dilation: int, groups: int) -> None:
    generator = torch.Generator().manual_seed(4)
    module = nn.Conv1d(8, 12, 3, stride, padding, dilation, groups)
    module = with_levels(module, 0.6, "rows", generator)
    x = torch.randn(2, 8, 30_000, generator=generator)
    for kind in (SparseLayer, DirectLayer):
        layer = kind(plan(module))
        check(layer, module, x)
        # As a line of the second of two rows, which is not cut, and with another number of threads.
        whole = copy.deepcopy(module)
        wide = nn.Conv2d(8, 12, (1, 3), (1, stride), (0, padding), (1, dilation), groups)
        wide.weight, wide.bias = nn.Parameter(whole.weight.unsqueeze(2)), whole.bias
        uncut = kind(plan(wide))(torch.stack([x * 0, x], 2))[:, :, 1]
        threads = torch.get_num_threads()
        try:
            torch.set_num_threads(3)
            assert torch.equal(layer(x), uncut)
        finally:
            torch.set_num_threads(threads)


@pytest.mark.parametrize("dilation", [7, 40, 10**7])
def test_rows_between_dilated_taps_are_not_copied(dilation: int) -> None:
    generator = torch.Generator().manual_seed(5)
    module = nn.Conv2d(20, 6, 3, 1, (dilation, 2), (dilation, 2))
    module = with_levels(module, 0.5, "rows", generator)
    x = torch.randn(2, 20, 9, 11, generator=generator)
    check(SparseLayer(plan(module)), module, x)
    check(DirectLayer(plan(module)), module, x)


@settings(deadline=None, max_examples=30)
@given(convolutions())
def test_dense_ones(case: tuple[nn.Module, Tensor]) -> None:
    """With room for oneDNN's own ways of adding up, which are not within the bound of plain sums."""
    module, x = case
    found, wanted = DenseLayer(plan(module))(x), exact(module, x)
    torch.testing.assert_close(
        found.double(), wanted, rtol=1e-2 if x.dtype == torch.bfloat16 else 1e-4, atol=1e-4
    )


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 70),
    st.integers(1, 100),
    st.lists(st.integers(0, 5), max_size=2),
    st.sampled_from(["one", "two", "rows"]),
    st.sampled_from([0.0, 0.5, 0.9]),
    st.sampled_from([torch.float32, torch.bfloat16]),
    st.sampled_from([LookupLayer, SparseLayer]),
    SEEDS,
)
def test_linear_layers(
    rows: int,
    columns: int,
    lead: list[int],
    levels: str,
    zeros: float,
    dtype: torch.dtype,
    kind: type[RuntimeLayer],
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    module = with_levels(nn.Linear(columns, rows), zeros, levels, generator)
    x = torch.randn(*lead, columns, generator=generator).to(dtype)
    check(kind(plan(module)), module, x)


def test_many_vectors_by_tables() -> None:
    generator = torch.Generator().manual_seed(3)
    module = with_levels(nn.Linear(70, 30), 0.5, "rows", generator)
    for vectors in (40, 300):
        check(LookupLayer(plan(module)), module, torch.randn(vectors, 70, generator=generator))


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 40),
    st.integers(2, 200),
    st.integers(1, 100),
    st.booleans(),
    st.sampled_from([1, 3, 20]),
    st.sampled_from([torch.float32, torch.bfloat16]),
    SEEDS,
)
def test_levels_of_groups_within_a_row(
    rows: int, columns: int, width: int, opposite: bool, vectors: int, dtype: torch.dtype, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    width = min(width, columns)
    trits = random_trits((rows, columns), 0.5, generator).to(torch.int8)
    shape = (rows, -(-columns // width))
    positives, negatives = (torch.rand(shape, generator=generator) + 0.1 for _ in range(2))
    weight = TernaryWeight(trits, -positives if opposite else -negatives, positives, width, torch.float32)
    module = nn.Linear(columns, rows).requires_grad_(False)
    module.weight.copy_(weight.dense())
    layer = LookupLayer(plan_of("layer", module, weight))
    assert (layer.negatives is None) == opposite
    check(layer, module, torch.randn(vectors, columns, generator=generator).to(dtype))


def large_layer() -> tuple[nn.Module, Tensor]:
    """More rows, channels, pixels and bands than any one block holds."""
    generator = torch.Generator().manual_seed(5)
    module = with_levels(nn.Conv2d(130, 300, 3, padding=1), 0.9, "rows", generator)
    return module, torch.randn(3, 130, 37, 41, generator=generator)


def test_a_layer_of_many_blocks() -> None:
    module, x = large_layer()
    check(SparseLayer(plan(module)), module, x)
    check(DirectLayer(plan(module)), module, x[:1, :, :20])


@pytest.mark.parametrize(
    ("kind", "levels"),
    [(SparseLayer, "rows"), (DirectLayer, "rows"), (LookupLayer, "rows"), (LookupLayer, "one")],
)
def test_the_same_bits_on_every_instruction_set_and_number_of_threads(
    kind: type[RuntimeLayer], levels: str
) -> None:
    if kind is not LookupLayer:
        module, x = large_layer()
        x = x if kind is SparseLayer else x[:2, :, :8]
    else:
        generator = torch.Generator().manual_seed(6)
        module = with_levels(nn.Linear(2100, 2101), 0.5, levels, generator)
        x = torch.randn(3, 2100, generator=generator)
    before, threads = core.active_isa(), torch.get_num_threads()
    layer = kind(plan(module))
    try:
        found = []
        for isa in core.available_isas():
            assert core.set_isa(isa)
            for count in (1, 2, 5):
                torch.set_num_threads(count)
                found.append(layer(x))
                found.append(layer(x.bfloat16()))
    finally:
        core.set_isa(before)
        torch.set_num_threads(threads)
    for pair in (found[::2], found[1::2]):
        assert all(torch.equal(pair[0], other) for other in pair)


@pytest.mark.parametrize("kind", [SparseLayer, DirectLayer])
def test_a_sample_does_not_depend_on_its_batch(kind: type[RuntimeLayer]) -> None:
    module, x = large_layer()
    layer = kind(plan(module))
    assert torch.equal(layer(x)[1:2], layer(x[1:2]))


def test_residual_and_activation() -> None:
    generator = torch.Generator().manual_seed(1)
    module = with_levels(nn.Conv2d(8, 6, 3, stride=2, padding=1), 0.7, "two", generator)
    own = plan(module).with_residual().with_bounds(-0.5, 1.0)
    x = torch.randn(2, 8, 9, 9, generator=generator)
    for shape in ((2, 6, 5, 5), (1, 6, 1, 1), (5,)):  # the last two by torch's broadcasting
        residual = torch.randn(shape, generator=generator)
        wanted = (module(x) + residual).clamp(-0.5, 1.0)
        for kind in (SparseLayer, DenseLayer):
            torch.testing.assert_close(kind(own)(x, residual), wanted)
    half = torch.randn(2, 6, 5, 5, generator=generator).bfloat16()
    wanted = (module(x.bfloat16().float()) + half.float()).clamp(-0.5, 1.0)
    torch.testing.assert_close(SparseLayer(own)(x.bfloat16(), half).float(), wanted, rtol=1e-2, atol=1e-2)


def test_linear_residual() -> None:
    generator = torch.Generator().manual_seed(1)
    module = with_levels(nn.Linear(50, 20), 0.7, "two", generator)
    own = plan(module).with_residual().with_bounds(0.0, math.inf)
    for batch in (1, 7, 40):
        x, residual = torch.randn(batch, 50, generator=generator), torch.randn(batch, 20, generator=generator)
        for kind in (SparseLayer, LookupLayer, DenseLayer):
            torch.testing.assert_close(kind(own)(x, residual), (module(x) + residual).relu())


def test_layouts_of_the_input() -> None:
    generator = torch.Generator().manual_seed(2)
    module = with_levels(nn.Conv2d(4, 5, 3, padding=1), 0.5, "one", generator)
    layer = SparseLayer(plan(module))
    x = torch.randn(2, 4, 7, 6, generator=generator)
    wanted = layer(x)
    assert torch.equal(layer(x.to(memory_format=torch.channels_last)), wanted)
    assert torch.equal(layer(torch.randn(2, 4, 6, 7).mT.copy_(x)), wanted)
    assert torch.equal(layer(torch.complex(torch.zeros_like(x), -x).conj().imag), wanted)  # a lazy minus
    assert torch.equal(layer(x[0]), wanted[0])
    assert torch.equal(layer(input=x), wanted)


def test_weights_of_zeros_and_of_one_sign() -> None:
    generator = torch.Generator().manual_seed(2)
    module = nn.Conv2d(3, 4, 3)
    with torch.no_grad():
        module.weight.copy_(random_trits((4, 3, 3, 3), 0.5, generator))
        module.weight[0] = 0
        module.weight[1].abs_()
        module.weight[2].abs_().neg_()
    module.requires_grad_(False)
    check(SparseLayer(plan(module)), module, torch.randn(1, 3, 6, 6, generator=generator))


def test_a_zero_weight_does_not_see_its_input() -> None:
    module = nn.Linear(2, 2, bias=False).requires_grad_(False)
    module.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
    for kind in (SparseLayer, LookupLayer):
        y = kind(plan(module))(torch.tensor([[2.0, math.inf]]))
        assert y.tolist() == [[2.0, -math.inf]]


def test_not_a_number_passes_an_activation() -> None:
    module = nn.Linear(1, 1, bias=False).requires_grad_(False)
    module.weight.fill_(1.0)
    for kind in (SparseLayer, LookupLayer, DenseLayer):
        for dtype in (torch.float32, torch.bfloat16):
            layer = kind(plan(module).with_bounds(0.0, 6.0))
            found = layer(torch.tensor([[math.nan], [-1.0], [9.0]], dtype=dtype))
            assert found[0].isnan().all()
            assert found[1:].flatten().tolist() == [0.0, 6.0]


def test_levels_that_float32_cannot_divide_stay_dense() -> None:
    module = nn.Linear(4, 1, bias=False).requires_grad_(False)
    module.weight.copy_(torch.tensor([[1e30, -1e-30, 0.0, 0.0]]))
    assert SparseLayer not in kinds_of(plan(module))
    module.weight.copy_(torch.tensor([[1.0, -1.0, 0.0, 0.0]]))
    assert SparseLayer in kinds_of(plan(module))


def test_a_channel_that_its_norm_scales_to_nothing() -> None:
    """Networks have such channels after training; the layer need not be dense for them."""
    generator = torch.Generator().manual_seed(9)
    module = with_levels(nn.Conv2d(8, 6, 3), 0.7, "two", generator)
    norm = nn.BatchNorm2d(6).eval().requires_grad_(False)
    norm.weight[2] = 1e-40
    own = plan(module).with_norm(norm)
    assert SparseLayer in kinds_of(own)
    x = torch.randn(2, 8, 7, 7, generator=generator)
    torch.testing.assert_close(SparseLayer(own)(x), norm(module(x)))


def test_channels_last() -> None:
    generator = torch.Generator().manual_seed(9)
    module = with_levels(nn.Conv2d(8, 6, 3), 0.4, "two", generator)
    own = plan(module).with_residual().with_bounds(0.0, math.inf)
    x, residual = torch.randn(2, 8, 7, 7, generator=generator), torch.randn(2, 6, 5, 5, generator=generator)
    layer = ChannelsLastLayer(own)
    wanted = (module(x) + residual).relu()
    for made in (layer, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert made.weights.is_contiguous(memory_format=torch.channels_last)
        found = made(x, residual)
        torch.testing.assert_close(found, wanted)
        assert found.is_contiguous()
        made.keeps_layout = True
        found = made(x, residual)
        torch.testing.assert_close(found, wanted)
        assert found.is_contiguous(memory_format=torch.channels_last)


OUTSIDE = """
import itertools, torch, ternzip
from torch import nn
from ternzip.runtime import benchmark, optimize
from ternzip.runtime.dense_layers import ChannelsLastLayer, DenseLayer
from ternzip.runtime.plan import plan_of
from ternzip.runtime.trits import ternary_weight

torch.manual_seed(0)
module = nn.Conv2d(32, 4, (3, 1), stride=2, padding=1, dilation=2, groups=2)
model = ternzip.convert(ternzip.prepare(nn.Sequential(module))).eval()
x = torch.randn(2, 32, 16, 1)
with torch.no_grad():
    wanted = model(x)
    found = [optimize(model, x)(x)]
    plan = plan_of("0", model[0], ternary_weight("0.weight", model[0].weight))
    layouts = torch.contiguous_format, torch.channels_last
    for kind, layout in itertools.product((DenseLayer, ChannelsLastLayer), layouts):
        found.append(kind(plan)(x.to(memory_format=layout)))
    for y in found:
        torch.testing.assert_close(y, wanted)
timings = benchmark.compare(model, model, x, rounds=1, compiled=False, onnx=False)
print([timing.problem for timing in timings])
"""


def test_outputs_of_padding_alone_in_every_layout() -> None:
    """In a process of its own: torch's convolution ends it where inputs or weights are channels_last."""
    done = subprocess.run([sys.executable, "-c", OUTSIDE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout == f"{[None, 'layer 0: torch reads out of bounds for outputs of padding alone', None]}\n"
    )


def test_scales_of_the_residual_that_are_loaded_count() -> None:
    module = with_levels(nn.Linear(8, 4), 0.4, "two", torch.Generator().manual_seed(9))
    layer = DenseLayer(plan(module).with_residual())
    layer.load_state_dict({**layer.state_dict(), "residual_scales": torch.full((4,), 3.0)})
    x, residual = torch.randn(2, 8), torch.randn(2, 4)
    torch.testing.assert_close(layer(x, residual), module(x) + 3 * residual)


def layer_of(kind: type[RuntimeLayer]) -> RuntimeLayer:
    generator = torch.Generator().manual_seed(8)
    return kind(plan(with_levels(nn.Linear(40, 9), 0.6, "rows", generator)))


@pytest.mark.parametrize("kind", [SparseLayer, LookupLayer, DirectLayer, DenseLayer])
def test_copies_pickles_and_states(kind: type[RuntimeLayer]) -> None:
    layer = layer_of(kind)
    x = torch.randn(3, 40)
    wanted = layer(x)
    assert torch.equal(copy.deepcopy(layer)(x), wanted)
    assert torch.equal(pickle.loads(pickle.dumps(layer))(x), wanted)
    other = copy.deepcopy(layer)
    for buffer in other.buffers():
        if buffer.is_floating_point():
            buffer.zero_()
    assert not torch.equal(other(x), wanted)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(x), wanted)


def test_lists_that_would_read_elsewhere_are_not_loaded() -> None:
    layer = layer_of(SparseLayer)
    x = torch.randn(3, 40)
    wanted = layer(x)
    for name, value in (("codes", 30000), ("codes", -1), ("starts", 10**6), ("starts", -5)):
        state = {key: tensor.clone() for key, tensor in layer.state_dict().items()}
        state[name][1] = value
        with pytest.raises(RuntimeError, match="expected lists of weights of this layer"):
            layer.load_state_dict(state)
        assert torch.equal(layer(x), wanted)
        state[name] = state[name].long()  # torch would cast it
        with pytest.raises(RuntimeError, match="expected lists of weights of this layer"):
            layer.load_state_dict(state)
        assert torch.equal(layer(x), wanted)


def test_lists_with_a_weight_of_two_signs_are_not_loaded() -> None:
    layer = layer_of(SparseLayer)
    state = {key: tensor.clone() for key, tensor in layer.state_dict().items()}
    assert state["starts"][0] < state["starts"][1] < state["starts"][2]
    # The first row's plus list begins with a code; so does its minus list now.
    first, second = state["starts"][:2].tolist()
    state["codes"][second] = state["codes"][first] = min(state["codes"][first], state["codes"][second])
    with pytest.raises(RuntimeError, match="expected lists of weights of this layer"):
        layer.load_state_dict(state)


@pytest.mark.parametrize("kind", [SparseLayer, LookupLayer, DirectLayer])
def test_tensors_that_are_assigned_take_the_form_that_kernels_read(kind: type[RuntimeLayer]) -> None:
    layer = layer_of(kind)
    x = torch.randn(3, 40)
    wanted = layer(x)
    state = {
        name: torch.stack([t, t], -1).to(torch.float64 if t.is_floating_point() else torch.int64)[..., 0]
        for name, t in layer.state_dict().items()
    }
    layer.load_state_dict(state, assign=True)
    assert torch.equal(layer(x), wanted)
    assert torch.equal(layer.to(memory_format=torch.channels_last)(x), wanted)


@pytest.mark.parametrize("kind", [SparseLayer, LookupLayer, DirectLayer, DenseLayer])
def test_other_dtypes_and_devices(kind: type[RuntimeLayer]) -> None:
    layer = layer_of(kind)
    x = torch.randn(2, 40)
    wanted = layer(x)
    assert torch.equal(layer.bfloat16()(x), wanted)
    assert torch.equal(layer.double().float()(x), wanted)
    with pytest.raises(ternzip.TernzipError, match="runs on the cpu: found meta"):
        layer.to("meta")
    with pytest.raises(ternzip.TernzipError, match=r"float32 or bfloat16 on the cpu, found torch\.float64"):
        layer(x.double())
    with pytest.raises(
        ternzip.TernzipError, match=r"expected 40 features, found an input of shape \(2, 39\)"
    ):
        layer(x[:, 1:])


@pytest.mark.parametrize("kind", [SparseLayer, LookupLayer, DirectLayer, DenseLayer])
def test_training_is_refused(kind: type[RuntimeLayer]) -> None:
    layer = layer_of(kind)
    x = torch.randn(2, 40, requires_grad=True)
    with pytest.raises(ternzip.TernzipError, match=r"layer layer: an optimized model has no gradient"):
        layer(x)
    with torch.inference_mode():
        assert layer(x).shape == (2, 9)
    with pytest.raises(ternzip.TernzipError, match="cannot be trained"):
        layer.train()
    assert layer.eval() is layer


def test_an_input_smaller_than_the_kernel() -> None:
    generator = torch.Generator().manual_seed(2)
    module = with_levels(nn.Conv2d(4, 5, 3), 0.5, "one", generator)
    with pytest.raises(ternzip.TernzipError, match="at least the kernel's size, found 2 x 9"):
        SparseLayer(plan(module))(torch.randn(1, 4, 2, 9))


def test_the_binding_refuses_what_the_kernel_cannot_run() -> None:
    trits = torch.zeros(4, dtype=torch.int8)
    for shape in ((2, 3, 1, 1, 1), (0, 1, 1, 1, 1), (2, 1, 2, 1, 40000), (2**20, 1, 2**10, 9, 1)):
        with pytest.raises(ValueError, match="index: the shape is not valid"):
            core.runtime_build_index(trits.data_ptr(), shape, 0, 0)
