"""The CUDA kernels over weights against the CPU's, bit for bit: on a device, and emulated everywhere."""

from __future__ import annotations

import itertools

import pytest
import torch
from cuda_place import Place
from torch import Tensor
from weight_samples import FLOATS, LENGTHS, THRESHOLDS, as_tensors, bits, clamped, draw, oracle, rounded

from ternzip import ops
from ternzip._core.native import core
from ternzip.ops import _aten, _cuda
from ternzip.ops._ternarizer import estimator

DEVICE_FLOATS = [dtype for dtype in FLOATS if dtype.itemsize <= 4]
all_floats = pytest.mark.parametrize("dtype", DEVICE_FLOATS, ids=str)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the native CUDA calls made, so that a test knows it has met them."""
    made: list[str] = []
    for name in ("ternarize", "backward", "clip", "count"):
        original = getattr(_cuda, name)

        def call(*args: object, _name: str = name, _original: object = original) -> object:
            made.append(_name)
            return _original(*args)  # type: ignore[operator]

        monkeypatch.setattr(_cuda, name, call)
    return made


@all_floats
def test_ternarize_against_the_oracle(place: Place, calls: list[str], dtype: torch.dtype) -> None:
    for n, (lo, hi, neg, pos) in zip(LENGTHS, itertools.cycle(THRESHOLDS), strict=False):
        w = draw(n, dtype, hi, lo, seed=n)
        expected, counted = oracle(w, lo, hi, neg, pos)
        (q,), counts = ops.ternarize_many([place.put(w)], *as_tensors(lo, hi, neg, pos))
        assert bits(q) == expected
        assert counts.tolist() == [counted]
    assert calls == ["ternarize"] * len(LENGTHS)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_every_16_bit_pattern(place: Place, dtype: torch.dtype) -> None:
    w = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int32).to(torch.int16).view(dtype)
    grad = draw(len(w), dtype, seed=1, special=False)
    for lo, hi, neg, pos in THRESHOLDS:
        expected, counted = oracle(w, lo, hi, neg, pos)
        (q,), counts = ops.ternarize_many([place.put(w)], *as_tensors(lo, hi, neg, pos))
        assert bits(q) == expected
        assert counts.tolist() == [counted]
    for ste in ("closed", "open", "identity"):
        got = ops.ste_backward(place.put(grad), place.put(w), ste=ste, bound=0.3)
        assert bits(got) == bits(_aten.backward(grad, w, estimator(ste, 0.3, w.device)))
    clipped = place.put(w)
    ops.clip_(clipped, 0.3)
    assert bits(clipped) == bits(clamped(w, 0.3))


@all_floats
@pytest.mark.parametrize("ste", ops.STE)
def test_gradients_are_those_of_the_cpu(place: Place, dtype: torch.dtype, ste: str) -> None:
    """Of weights and of levels: also the order of the sums is the CPU's."""
    sizes = [0, 1, 7, 8191, 8192, 8193, 20_011]
    weights = [draw(n, dtype, 0.5, 0.3, seed=n) for n in sizes]
    grads = [draw(n, dtype, seed=n + 1, special=False) for n in sizes]
    lo, hi = torch.tensor(-0.2, dtype=torch.float64), torch.linspace(0.1, 0.4, len(sizes)).double()
    neg, pos = torch.linspace(-1.5, -0.5, len(sizes)).double(), torch.tensor(0.7, dtype=torch.float64)

    def run(put: object) -> tuple[list[bytes], Tensor, Tensor]:
        latent = [put(w).requires_grad_() for w in weights]  # type: ignore[operator]
        levels = [put(v).requires_grad_() for v in (neg, pos)]  # type: ignore[operator]
        quantized, _ = ops.ternarize_many(latent, put(lo), put(hi), *levels, ste=ste, bound=0.5)  # type: ignore[operator]
        torch.autograd.backward(quantized, [put(g) for g in grads])  # type: ignore[operator]
        return [bits(w.grad) for w in latent], levels[0].grad, levels[1].grad

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_cuda, "serves_device", lambda device: False)
        expected, expected_neg, expected_pos = run(lambda t: t.clone())
    got, got_neg, got_pos = run(place.put)
    assert got == expected
    assert bits(got_neg) == bits(expected_neg)
    if dtype != torch.float16:  # aten adds the float64 sums of all weights, in an order of its own
        torch.testing.assert_close(got_pos.cpu(), expected_pos)


def test_alignments(place: Place) -> None:
    """Vectors where they can be, single elements where not; nothing beside the view is written."""
    for dtype, offset, n in itertools.product([torch.float32, torch.bfloat16], range(9), (1, 37, 9001)):
        base = draw(n + 16, dtype, 0.1, seed=n)
        w = place.put(base)[offset : offset + n]
        expected, counted = oracle(base[offset : offset + n], -0.1, 0.1, -1.0, 1.0)
        for shift in {offset, (offset + 3) % 9}:
            out = torch.full_like(place.put(base), 7.0)
            counts = ops.clip_ternarize_count_(
                [w.clone() if shift == offset else w], [out[shift : shift + n]], -0.1, 0.1, bound=None
            )
            assert bits(out[shift : shift + n]) == expected
            assert counts.tolist() == [counted]
            assert bool((out[:shift] == 7).all())
            assert bool((out[shift + n :] == 7).all())
        trits = torch.full((n + 16,), 7, dtype=torch.int8, device=place.device)
        finite = torch.where(w.isnan(), 0.0, w)
        ops.clip_ternarize_count_([finite], [trits[offset : offset + n]], -0.1, 0.1, bound=None)
        assert trits[offset : offset + n].tolist() == ops.ternarize(finite, 0.1).tolist()
        assert bool((trits[:offset] == 7).all())
        assert bool((trits[offset + n :] == 7).all())
        grad = place.put(draw(n + 16, dtype, seed=n + 2))[:n]
        got = ops.ste_backward(grad, w)
        assert bits(got) == bits(torch.where(w.abs() <= 1, grad, 0.0))
        assert bits(ops.ste_backward(grad, w, out=grad)) == bits(got)


def test_fused_pass_clips_ternarizes_and_counts(place: Place, calls: list[str]) -> None:
    """Many weights of all types, empty ones among them, in more launches than one."""
    sizes = [5, 0, 4096, 8193, 1, 300, 33_000, *([17, 64] * 60)]
    dtypes = itertools.cycle(DEVICE_FLOATS)
    weights = [draw(n, dtype, 0.5, seed=i) for i, (n, dtype) in enumerate(zip(sizes, dtypes, strict=False))]
    hi = torch.linspace(0.1, 0.6, len(sizes)).double()
    there = [place.put(w) for w in weights]
    outs = [torch.empty_like(w) for w in there]
    counts = ops.clip_ternarize_count_(there, outs, -0.2, place.put(hi), -0.5, 0.5, bound=0.5)
    assert calls == ["ternarize"]
    assert counts.device.type == place.device.type
    for i, (w, t, out) in enumerate(zip(weights, there, outs, strict=True)):
        assert bits(t) == bits(clamped(w, rounded(0.5, w.dtype)))
        expected, counted = oracle(clamped(w, 0.5), -0.2, float(hi[i]), -0.5, 0.5)
        assert bits(out) == expected
        assert counts[i].tolist() == counted


def test_clip_and_counts(place: Place, calls: list[str]) -> None:
    tensors = [draw(n, dtype, 0.3, seed=n) for n, dtype in zip([9000, 3, 0], DEVICE_FLOATS, strict=True)]
    there = [place.put(t) for t in tensors]
    ops.clip_(there, 0.3)
    assert [bits(t) for t in there] == [bits(clamped(t, rounded(0.3, t.dtype))) for t in tensors]
    integers = [
        torch.randint(-2, 3, (n,)).to(d)
        for n, d in zip([20_001, 3, 7000], [torch.int8, torch.int16, torch.int32], strict=True)
    ]
    expected = [
        [int((t < 0).sum()), int((t == 0).sum()), int((t > 0).sum()), int((t != t).sum())]
        for t in [*integers, *tensors]
    ]
    assert ops.count_many([place.put(t) for t in [*integers, *tensors]]).tolist() == expected
    assert calls == ["clip", "count"]


def test_layouts(place: Place) -> None:
    w = draw(6 * 4 * 3 * 5, torch.float32, 0.1).reshape(6, 4, 3, 5)
    w = torch.where(w.isnan() | w.isinf(), 0.5, w)
    expected = bits(
        torch.where(w > rounded(0.1, w.dtype), 1.0, torch.where(w < rounded(-0.1, w.dtype), -1.0, 0.0))
    )
    wide = torch.zeros(6, 4, 3, 8)
    wide[..., 1:6] = w
    for t in (
        place.put(w).contiguous(memory_format=torch.channels_last),
        place.put(w.transpose(0, 3).contiguous()).transpose(0, 3),
        place.put(wide)[..., 1:6],
    ):
        assert bits(ops.ternarize(t, 0.1)) == expected
        ops.clip_(t, 0.25)
        assert bits(t) == bits(w.clamp(-0.25, 0.25))


def test_refusals(place: Place) -> None:
    raw = place.put(torch.zeros(64, dtype=torch.uint8))
    with pytest.raises(ValueError, match="multiple of the element's 4 bytes"):
        core.cuda_clip_many([raw.data_ptr() + 1, 4, 1], 1.0, *_cuda.target(place.device))
    with pytest.raises(ValueError, match="at most 32 bits"):
        core.cuda_clip_many([raw.data_ptr(), 4, 0], 1.0, *_cuda.target(place.device))
    with pytest.raises(ValueError, match="no kernel for the dtype code 8"):
        core.cuda_clip_many([raw.data_ptr(), 4, 8], 1.0, *_cuda.target(place.device))
    with pytest.raises(ValueError, match="four scalars"):
        core.cuda_ternarize_many([], [], None, 0, *_cuda.target(place.device))
    with pytest.raises(ValueError, match="no such estimator"):
        core.cuda_backward_many([], [(0, 0.0, False)] * 4, 4, 1.0, 0, 0, *_cuda.target(place.device))


def test_wider_elements_go_another_way(place: Place, calls: list[str]) -> None:
    """float64 and int64 have no kernels on a device; the results are the same."""
    w = draw(1000, torch.float64, 0.1)
    expected, counted = oracle(w, -0.1, 0.1, -1.0, 1.0)
    (q,), counts = ops.ternarize_many([place.put(w)], -0.1, 0.1)
    assert bits(q) == expected
    assert counts.tolist() == [counted]
    assert ops.count_many([place.put(torch.arange(-5, 3))]).tolist() == [[5, 1, 2, 0]]
    assert calls == []
