"""Prepared models in all the places a model can be put: threads, checkpointed activations, compilers, averages."""

from __future__ import annotations

import copy
import io
import threading
from collections.abc import Callable

import pytest
import torch
from small_network import IMAGES, small
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.checkpoint import checkpoint

import ternzip
from ternzip import TernzipError
from ternzip.quantization import EC2T, TTQ, ternary_layers


def test_channels_last_and_autocast() -> None:
    model = ternzip.prepare(small(), "delta").to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        out = model(IMAGES.to(memory_format=torch.channels_last))
    assert out.dtype == torch.bfloat16
    out.sum().backward()
    assert ternary_layers(model)[0].latent.grad.dtype == torch.float32


def test_functional_call_grad_and_vmap() -> None:
    from torch.func import functional_call, grad, vmap

    model = ternzip.prepare(nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1)))
    parameters = dict(model.named_parameters())
    x = torch.randn(5, 4)

    def loss(parameters: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        return functional_call(model, parameters, (x,)).square().sum()

    whole = grad(loss)(parameters, x)
    single = vmap(grad(loss), in_dims=(None, 0))(parameters, x)
    loss(parameters, x).backward()
    for name, parameter in parameters.items():
        torch.testing.assert_close(whole[name], parameter.grad)
        torch.testing.assert_close(single[name].sum(0), parameter.grad)


@pytest.mark.parametrize("quantizer", ["delta", "twn"])
def test_compile_makes_one_graph_whatever_the_schedule_does(quantizer: str) -> None:
    graphs = []

    def backend(graph: torch.fx.GraphModule, inputs: object) -> object:
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    model = ternzip.prepare(small(), quantizer).eval()
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    schedule = ternzip.DeltaSchedule(model, 0.02)
    for _ in range(3):
        torch.testing.assert_close(compiled(IMAGES), model(IMAGES))
        schedule.step()
    assert len(graphs) == 1
    explanation = torch._dynamo.explain(model)(IMAGES)
    assert (explanation.graph_break_count, explanation.graph_count) == (0, 1)


@pytest.mark.parametrize("quantizer", ["ttq", "ec2t", "binary"])
def test_other_quantizers_compile_too(quantizer: str) -> None:
    torch._dynamo.reset()
    model = ternzip.prepare(small(), quantizer)
    plain = model(IMAGES)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")(IMAGES)
    torch.testing.assert_close(compiled, plain)
    compiled.sum().backward()
    assert all(layer.latent.grad is not None for layer in ternary_layers(model))


def test_export() -> None:
    model = ternzip.prepare(small(), "delta").eval()
    program = torch.export.export(model, (IMAGES,))
    torch.testing.assert_close(program.module()(IMAGES), model(IMAGES))


def gradients(model: nn.Module) -> list[torch.Tensor]:
    return [torch.as_tensor(layer.latent.grad).clone() for layer in ternary_layers(model)]


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_activations_give_the_same_gradients(reentrant: bool) -> None:
    class Checkpointed(nn.Module):
        def __init__(self, inner: nn.Sequential) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = checkpoint(self.inner, x, use_reentrant=reentrant)
            return out

    plain, saving = small(), Checkpointed(small())
    images = IMAGES.clone().requires_grad_()  # the reentrant kind needs an input with a gradient
    for model in (ternzip.prepare(plain), ternzip.prepare(saving)):
        model(images).square().sum().backward()
    for one, other in zip(gradients(plain), gradients(saving), strict=True):
        assert torch.equal(one, other)


def test_inference_in_another_thread_takes_no_gradient_away() -> None:
    """The training forward runs while a forward without gradients waits inside the model."""
    entered, leave = threading.Event(), threading.Event()

    class Waiting(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if not torch.is_grad_enabled():
                entered.set()
                leave.wait(20)
            return x

    model = ternzip.prepare(nn.Sequential(Waiting(), nn.Linear(4, 4)))

    def infer() -> None:
        with torch.no_grad():
            model(torch.ones(1, 4))

    other = threading.Thread(target=infer)
    other.start()
    assert entered.wait(20)
    out = model(torch.ones(1, 4))
    leave.set()
    other.join()
    out.sum().backward()
    assert ternary_layers(model)[0].latent.grad is not None


def test_recurrent_weights_are_not_kept_between_forwards() -> None:
    model = ternzip.prepare(nn.LSTM(3, 4), include=nn.LSTM)
    with torch.no_grad():
        model(torch.ones(2, 1, 3))
    assert not any(isinstance(entry, list) and entry for entry in _computed(model))
    model(torch.ones(2, 1, 3))[0].sum().backward()
    assert all(layer.latent.grad is not None for layer in ternary_layers(model))


def _computed(module: nn.Module) -> list[object]:
    """What the module keeps of tensors that have been computed, not registered."""
    return [
        [t for t in value if isinstance(t, torch.Tensor) and not isinstance(t, nn.Parameter)]
        for value in vars(module).values()
        if isinstance(value, list)
    ]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    "record",
    [
        lambda model: torch.onnx.export(model, (IMAGES,), io.BytesIO(), dynamo=False),
        lambda model: torch.jit.trace(model, (IMAGES,)),
        torch.jit.script,
    ],
    ids=["onnx", "trace", "script"],
)
def test_tracers_are_refused_in_one_line(record: Callable[[nn.Module], object]) -> None:
    model = ternzip.prepare(small()).eval()
    with pytest.raises(TernzipError, match=r"call ternzip\.convert first") as raised:
        record(model)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("strict", [False, True])
def test_exporting_to_onnx_by_torch_export_is_refused(strict: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.onnx.export(dynamo=True) tries both ways and reports the first that failed, if both have."""
    model = ternzip.prepare(small()).eval()
    monkeypatch.setattr("torch.onnx._internal.exporter._flags._is_onnx_exporting", True)
    with pytest.raises(Exception, match=r"call ternzip\.convert first"):
        torch.export.export(model, (IMAGES,), strict=strict)
    monkeypatch.undo()
    assert torch.equal(torch.export.export(model, (IMAGES,), strict=strict).module()(IMAGES), model(IMAGES))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_converted_model_is_traced() -> None:
    model = ternzip.convert(ternzip.prepare(small())).eval()
    assert torch.equal(torch.jit.trace(model, (IMAGES,))(IMAGES), model(IMAGES))


def test_symbolic_trace_follows_the_latent_weights() -> None:
    model = ternzip.prepare(small(), "delta").eval()
    traced = torch.fx.symbolic_trace(model)
    with torch.no_grad():
        ternary_layers(model)[0].latent.neg_()
    assert torch.equal(traced(IMAGES), model(IMAGES))


@pytest.mark.parametrize("quantizer", ["delta", "twn", TTQ(), EC2T()])
def test_meta_models_are_prepared_and_take_a_state(quantizer: object) -> None:
    with torch.device("meta"):
        hollow = small()
    ternzip.prepare(hollow, quantizer)  # type: ignore[arg-type]
    assert hollow(IMAGES.to("meta")).shape == (6, 5)
    full = ternzip.prepare(small(), quantizer).eval()  # type: ignore[arg-type]
    hollow.load_state_dict(full.state_dict(), assign=True)
    assert torch.equal(hollow.eval()(IMAGES), full(IMAGES))


@pytest.mark.parametrize("quantizer", ["delta", "binary", "twn", "ttq", "ec2t"])
def test_the_default_device_does_not_matter(quantizer: str) -> None:
    model, other = small(), small()
    with torch.device("meta"):
        ternzip.prepare(model, quantizer)
    ternzip.prepare(other, quantizer)
    assert torch.equal(model.eval()(IMAGES), other.eval()(IMAGES))


@pytest.mark.parametrize("use_buffers", [False, True])
def test_an_average_is_given_the_schedules_delta(use_buffers: bool) -> None:
    model = ternzip.prepare(small(), "delta")
    schedule = ternzip.DeltaSchedule(model, 0.02, "linear", 1.0)
    average = AveragedModel(model, use_buffers=use_buffers)
    for _ in range(3):
        average.update_parameters(model)
        schedule.step()
    schedule.apply_to(average)
    for layer in ternary_layers(average):
        assert layer.quantizer.delta.item() == schedule.delta  # type: ignore[union-attr]


def test_copies_do_not_share_their_thresholds() -> None:
    model = ternzip.prepare(small())
    kept = copy.deepcopy(model)
    ternzip.DeltaSchedule(model, 0.3)
    ratios = [[layer.quantizer.ratio.item() for layer in ternary_layers(m)] for m in (model, kept)]  # type: ignore[union-attr]
    assert ratios == [[0.3, 0.3], [0.7, 0.7]]


def test_copies_of_recurrent_layers_convert_on_their_own() -> None:
    model = ternzip.prepare(nn.GRU(3, 4), include=nn.GRU)
    baked = ternzip.convert(copy.deepcopy(model)).double()
    x = torch.ones(2, 1, 3)
    torch.testing.assert_close(baked(x.double())[0].float(), model(x)[0])
    model(x)[0].sum().backward()
    model.double()(x.double())[0].sum().backward()
