"""load_file and load into tensors that exist: their memory is filled, or nothing is written and an error says why."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from samples import ALL_DTYPES, alpha_sign_mask, assert_same, trits

import ternzip


def samples() -> dict[str, torch.Tensor]:
    both = alpha_sign_mask(40, 31)
    large = alpha_sign_mask(300, 1001, seed=2)
    return {
        "signs": both,
        "large": large,
        "rows": trits(60, 50, seed=1).float() * torch.linspace(0.5, 2.0, 60)[:, None] + 0.0,
        "groups": (trits(64, 512, seed=6).view(64, 4, 128) * torch.linspace(0.5, 2.0, 256).view(64, 4, 1))
        .view(64, 512)
        .bfloat16(),
        "pruned": torch.where(
            trits(200, 300, seed=7, zeros=0.9) != 0, torch.linspace(-1, 1, 60_000).view(200, 300), 0.0
        ),
        "floats": torch.randn(200, 300, generator=torch.Generator().manual_seed(0)),
        "halves": torch.randn(7, generator=torch.Generator().manual_seed(1)).half(),
        "constant": torch.ones(200, 100),
        "lone": torch.tensor(3.5),
        "flag": torch.tensor([True, False]),
        "complex": torch.tensor([1 + 2j, 3 - 1j]),
        "empty": torch.zeros(0, 4),
        "tied": both,
    }


def like(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Other memory of the same types and shapes, in another order."""
    return {name: torch.full_like(t, 1) for name, t in reversed(tensors.items())}


@pytest.mark.parametrize("codec", ["auto", "context", "fast", "static", "packed"])
@pytest.mark.parametrize("threads", [1, 3])
def test_tensors_are_filled_in_place(codec: str, threads: int, tmp_path: Path) -> None:
    tensors = samples()
    path = tmp_path / "all.tnz"
    ternzip.save_file(tensors, path, codec=codec)
    for load in (ternzip.load_file, lambda p, **rest: ternzip.load(p.read_bytes(), **rest)):
        out = like(tensors)
        addresses = {name: t.data_ptr() for name, t in out.items()}
        found = load(path, out=out, threads=threads)
        assert list(found) == list(tensors)
        assert all(found[name] is out[name] for name in out)
        assert {name: t.data_ptr() for name, t in out.items()} == addresses
        assert_same(found, tensors)


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
def test_every_type_is_filled(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(3)
    data = torch.randint(0, 2, (64 * dtype.itemsize,), dtype=torch.uint8, generator=generator).view(dtype)
    out = torch.zeros_like(data.view(torch.uint8)).view(dtype)
    ternzip.load(ternzip.save({"t": data}), out={"t": out})
    assert torch.equal(out.view(torch.uint8), data.view(torch.uint8))


def test_a_module_is_filled_through_its_state() -> None:
    model, other = (torch.nn.Sequential(torch.nn.Linear(9, 5), torch.nn.BatchNorm1d(5)) for _ in range(2))
    data = ternzip.save(model.state_dict())
    ternzip.load(data, out=other.state_dict())
    assert_same(other.state_dict(), model.state_dict())


def test_names_that_the_file_ties() -> None:
    w = torch.randn(4, 5)
    data = ternzip.save({"a": w, "b": w})
    one = torch.zeros(4, 5)
    assert_same(ternzip.load(data, out={"a": one, "b": one}), {"a": w, "b": w})
    apart = {"a": torch.zeros(4, 5), "b": torch.zeros(4, 5)}
    assert_same(ternzip.load(data, out=apart), {"a": w, "b": w})
    assert apart["a"].data_ptr() != apart["b"].data_ptr()


def test_autograd_hears_of_the_change() -> None:
    w, x = torch.ones(3), torch.ones(3, requires_grad=True)
    product = (w * x).sum()
    ternzip.load(ternzip.save({"w": torch.zeros(3)}), out={"w": w})
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.backward()


BASE = torch.zeros(100)
WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.full((4,), 7.0)}
REFUSED: dict[str, tuple[dict[str, torch.Tensor], str]] = {
    "missing": ({"a": torch.zeros(2, 3)}, "names of out do not fit: 1 missing, first 'b'"),
    "unknown": (
        {"a": torch.zeros(2, 3), "b": torch.zeros(4), "c": torch.zeros(1), "d": torch.zeros(1)},
        "names of out do not fit: 2 not in the file, first 'c'",
    ),
    "both": (
        {"b": torch.zeros(4), "c": torch.zeros(1)},
        "names of out do not fit: 1 missing, first 'a'; 1 not in the file, first 'c'",
    ),
    "type": (
        {"a": torch.zeros(2, 3), "b": torch.zeros(4, dtype=torch.float64)},
        r"out['b']: expected type float32, found float64",
    ),
    "shape": ({"a": torch.zeros(2, 3), "b": torch.zeros(5)}, "out['b']: expected shape [4], found [5]"),
    "strides": (
        {"a": torch.zeros(3, 2).T, "b": torch.zeros(4)},
        "out['a']: expected a contiguous tensor, found strides [1, 2]",
    ),
    "device": (
        {"a": torch.zeros(2, 3), "b": torch.zeros(4, device="meta")},
        "out['b']: expected a tensor on the CPU, found meta",
    ),
    "sparse": (
        {"a": torch.zeros(2, 3), "b": torch.zeros(4).to_sparse()},
        "out['b']: expected a dense tensor",
    ),
    "grad": (
        {"a": torch.zeros(2, 3), "b": torch.zeros(4, requires_grad=True)},
        "out['b']: it requires grad",
    ),
    "no tensor": (
        {"a": torch.zeros(2, 3), "b": [0.0] * 4},
        "out['b']: expected a plain torch.Tensor, found list",
    ),  # type: ignore[dict-item]
    "overlap": (
        {"a": BASE[:6].view(2, 3), "b": BASE[5:9]},
        "out['b'] and out['a']: they overlap in memory",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_before_anything_is_written(case: str, tmp_path: Path) -> None:
    out, message = REFUSED[case]
    path = tmp_path / "w.tnz"
    ternzip.save_file(WEIGHTS, path)
    with pytest.raises(ternzip.TernzipError, match=re.escape(message)) as caught:
        ternzip.load_file(path, out=out)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    for tensor in out.values():
        if isinstance(tensor, torch.Tensor) and tensor.device.type == "cpu" and not tensor.is_sparse:
            assert not tensor.any()


def test_one_tensor_for_two_that_the_file_stores_apart() -> None:
    data = ternzip.save({"a": torch.ones(3), "b": torch.zeros(3)})
    shared = torch.full((3,), 5.0)
    with pytest.raises(ternzip.TernzipError, match=r"share memory, and the file stores them apart"):
        ternzip.load(data, out={"a": shared, "b": shared})
    with pytest.raises(ternzip.TernzipError, match=r"share memory, and the file stores them apart"):
        ternzip.load(data, out={"a": shared, "b": shared.detach()})
    assert (shared == 5).all()


def test_tensors_that_require_grad_under_no_grad() -> None:
    w = torch.zeros(4, requires_grad=True)
    with torch.no_grad():
        ternzip.load(ternzip.save({"w": torch.arange(4.0)}), out={"w": w})
    assert w.requires_grad
    assert w.tolist() == [0, 1, 2, 3]


def test_arguments() -> None:
    data = ternzip.save({"w": torch.zeros(4)})
    with pytest.raises(TypeError, match="out: expected a mapping of names to tensors, got list"):
        ternzip.load(data, out=[torch.zeros(4)])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="device: expected the CPU together with out, got cuda"):
        ternzip.load(data, "cuda", out={"w": torch.zeros(4)})
    with pytest.raises(ternzip.TernzipError, match="at most 3 bytes in memory, found 16"):
        ternzip.load(data, out={"w": torch.ones(4)}, max_bytes=3)


@pytest.mark.parametrize("codec", ["fast", "context"])
def test_damage_is_an_error_whatever_was_written(codec: str, tmp_path: Path) -> None:
    path = tmp_path / "w.tnz"
    tensors = {"first": alpha_sign_mask(100, 100), "second": alpha_sign_mask(90, 100, seed=1)}
    ternzip.save_file(tensors, path, codec=codec)
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    with pytest.raises(ternzip.TernzipError, match=r"tensor 'first'.*checksum"):
        ternzip.load(bytes(data), out=like(tensors))
