"""What only a device can show: streams, graphs, torch.compile, several devices, huge tensors, no waiting."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from weight_samples import bits, draw

import ternzip
from ternzip import ops
from ternzip.ops import _cuda

pytestmark = pytest.mark.cuda


@pytest.fixture
def device() -> torch.device:
    device = torch.device("cuda", torch.cuda.current_device())
    assert _cuda.serves_device(device)
    return device


def expected_of(w: Tensor, delta: float = 0.1) -> bytes:
    return bits(ops.ternarize(w.cpu(), delta))


def test_the_backend_names_the_device(device: torch.device) -> None:
    found = ternzip.backend()["cuda"]
    assert found["compiled"]
    assert found["devices"][device.index]["native"]
    assert found["devices"][device.index]["reason"] is None


def test_calls_follow_the_current_stream(device: torch.device) -> None:
    """Behind a long wait on a side stream, and with no wait in between."""
    host = draw(1 << 20, torch.float32, 0.1)
    side = torch.cuda.Stream()
    w = torch.zeros_like(host, device=device)
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        torch.cuda._sleep(100_000_000)
        w.copy_(host.to(device))
        (q,), counts = ops.ternarize_many([w], -0.1, 0.1)
        finished = side.query()
    side.synchronize()
    assert not finished
    assert bits(q) == expected_of(host)
    assert ops.symbol_counts(counts) == [ops.symbol_counts(ops.ternarize_many([host], -0.1, 0.1)[1])[0]]


def test_a_step_does_not_wait_and_takes_few_launches(device: torch.device) -> None:
    shapes = [(80, 3, 3, 3), *[(80, 80, 3, 3)] * 4, (160, 80, 3, 3), *[(160, 160, 3, 3)] * 3, (160, 80, 1, 1)]
    shapes += [(320, 160, 3, 3), *[(320, 320, 3, 3)] * 3, (320, 160, 1, 1), (10, 320)]
    weights = [torch.randn(shape, device=device).requires_grad_() for shape in shapes]
    grads = [torch.randn_like(w) for w in weights]

    def step() -> Tensor:
        quantized, counts = ops.ternarize_many(weights, -0.05, 0.05)
        torch.autograd.grad(quantized, weights, grads)
        ops.clip_(weights)
        return counts

    step()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    launched = [event.name for event in profile.events() if event.device_type.name == "CUDA"]
    assert len(launched) <= 5, launched  # three kernels, and the zeros of two tables
    assert sum("Memset" not in name for name in launched) <= 4, launched


def test_graph_capture(device: torch.device) -> None:
    """New weights and a new threshold in the same places; the replayed graph sees them."""
    w = torch.randn(100_003, device=device)
    grad, out, delta = torch.randn_like(w), torch.empty_like(w), torch.tensor(0.1, device=device).double()

    def step() -> tuple[Tensor, Tensor]:
        return ops.clip_ternarize_count_([w], [out], -delta, delta), ops.ste_backward(grad, w, bound=0.7)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        counts, latent = step()
    for value in (0.2, 0.4):
        host = torch.randn(100_003) * 2
        w.copy_(host)
        delta.fill_(value)
        graph.replay()
        reference, plain = host.clone(), torch.empty_like(host)
        expected = ops.clip_ternarize_count_([reference], [plain], -value, value)
        assert counts.tolist() == expected.tolist()
        assert bits(w) == bits(reference)
        assert bits(out) == bits(plain)
        assert bits(latent) == bits(ops.ste_backward(grad.cpu(), reference, bound=0.7))


@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_compiled_models_train_the_same(device: torch.device, mode: str) -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = ternzip.prepare(
        torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten(), torch.nn.Linear(392, 4))
    )
    model.to(device)
    x = torch.randn(5, 3, 9, 9, device=device)
    model(x).sum().backward()
    expected = [p.grad.clone() for p in model.parameters()]
    compiled = torch.compile(model, fullgraph=True, mode=mode)
    for _ in range(3):
        model.zero_grad()
        compiled(x).sum().backward()
        for p, grad in zip(model.parameters(), expected, strict=True):
            torch.testing.assert_close(p.grad, grad)


def test_results_are_the_same_every_time(device: torch.device) -> None:
    weights = [draw(n, torch.float32, 0.2, seed=n, special=False).to(device) for n in (300_001, 5, 70_000)]
    grads = [draw(len(w), torch.float32, seed=1, special=False).to(device) for w in weights]
    seen = set()
    for _ in range(5):
        latent = [w.clone().requires_grad_() for w in weights]
        pos = torch.ones(3, device=device, dtype=torch.float64, requires_grad=True)
        quantized, counts = ops.ternarize_many(latent, -0.2, 0.2, -1.0, pos, ste="scaled")
        torch.autograd.backward(quantized, grads)
        seen.add((tuple(bits(w.grad) for w in latent), bits(pos.grad), bits(counts)))
    assert len(seen) == 1


def test_more_than_two_to_the_31_elements(device: torch.device) -> None:
    n = (1 << 31) + 12_345
    if torch.cuda.mem_get_info(device)[0] < 6 * n:
        pytest.skip("too little memory on the device")
    w = torch.zeros(n, dtype=torch.bfloat16, device=device)
    w[-3:] = torch.tensor([2.0, -2.0, 0.01])
    w[5] = 0.5
    counts = ops.clip_ternarize_count_([w], [w], -0.1, 0.1, -0.5, 0.25)
    assert counts.tolist() == [[1, n - 3, 2, 0]]
    assert w[-3:].tolist() == [0.25, -0.5, 0.0]
    assert ops.count_many([w]).tolist() == counts.tolist()
    ops.clip_(w, 0.125)
    assert w[-3:].tolist() == [0.125, -0.125, 0.0]
    assert ops.ste_backward(w, w, bound=0.1, out=w)[-3:].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two devices")
def test_other_devices_than_the_current_one(device: torch.device) -> None:
    other = torch.device("cuda", (device.index + 1) % torch.cuda.device_count())
    hosts = [draw(10_001, torch.float32, 0.1, seed=i) for i in range(2)]
    there = [hosts[0].to(device), hosts[1].to(other)]
    assert [bits(ops.ternarize(w, 0.1)) for w in there] == [expected_of(w) for w in hosts]
    ops.clip_(there, 0.5)
    assert [bits(w) for w in there] == [bits(torch.where(w.isnan(), w, w.clamp(-0.5, 0.5))) for w in hosts]
    data = ternzip.save({"w": ops.ternarize(hosts[0].nan_to_num(), 0.1)}, codec="fast")
    found = ternzip.load(data, device=other)["w"]
    assert found.device == other
    assert bits(found) == bits(ternzip.load(data)["w"])
    assert torch.cuda.current_device() == device.index


def test_an_error_leaves_the_device_usable(device: torch.device) -> None:
    with pytest.raises(ValueError, match="multiple of the element's 4 bytes"):
        _cuda.clip([torch.zeros(64, device=device).data_ptr() + 2, 4, 1], 1.0, torch.zeros(1, device=device))
    w = draw(100, torch.float32, 0.1)
    assert bits(ops.ternarize(w.to(device), 0.1)) == expected_of(w)
