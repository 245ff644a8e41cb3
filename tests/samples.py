"""Tensors that many tests need, and the comparison that counts: bit for bit."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
SMALL_FLOATS = [
    getattr(torch, name)
    for name in ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")
    if hasattr(torch, name)
]
SIGNED = [torch.int8, torch.int16, torch.int32, torch.int64]
OTHERS = [
    getattr(torch, name)
    for name in (
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "bool",
        "complex32",
        "complex64",
        "complex128",
        "float8_e8m0fnu",
        "float4_e2m1fn_x2",
    )
    if hasattr(torch, name)
]
TERNARY_DTYPES = [*FLOATS, *SMALL_FLOATS, *SIGNED]
ALL_DTYPES = [*TERNARY_DTYPES, *OTHERS]


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def bits(tensor: Tensor) -> bytes:
    """The elements in C order, as they lie in memory."""
    if not tensor.numel():
        return b""
    plain = tensor.detach().resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format)
    return plain.reshape(-1).view(torch.uint8).numpy().tobytes()


def random_bits(dtype: torch.dtype, *shape: int, seed: int = 0) -> Tensor:
    """A tensor of any bit patterns at all, NaNs of every kind among them."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.Size(shape).numel() * dtype.itemsize
    raw = torch.randint(0, 256 if dtype != torch.bool else 2, (size,), generator=generator, dtype=torch.uint8)
    return raw.view(dtype).reshape(shape)


def trits(*shape: int, seed: int = 0, zeros: float = 0.5) -> Tensor:
    """int8 symbols with a given share of zeros."""
    generator = torch.Generator().manual_seed(seed)
    kept = torch.rand(shape, generator=generator) >= zeros
    signs = torch.randint(0, 2, shape, generator=generator, dtype=torch.int8) * 2 - 1
    return signs * kept


def alpha_sign_mask(*shape: int, alpha: float = 0.125, seed: int = 0, zeros: float = 0.5) -> Tensor:
    """The commonest recipe, alpha * sign(w) * mask, which leaves zeros of both signs."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(shape, generator=generator)
    mask = (torch.rand(shape, generator=generator) >= zeros).float()
    return alpha * torch.sign(weights) * mask


def assert_same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Same names in the same order, and every tensor the same type, shape and bits."""
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert found[name].shape == tensor.shape, name
        assert bits(found[name]) == bits(tensor), name


def grouped(shape: tuple[int, int], block: tuple[int, int], *, seed: int = 0, zeros: float = 0.4) -> Tensor:
    """float32 of `shape` whose blocks of `block` rows and columns each have a level of their own, for both signs."""
    rows, cols = (-(-size // step) for size, step in zip(shape, block, strict=True))
    levels = 0.5 + torch.arange(rows * cols, dtype=torch.float32).view(rows, cols) / 256
    spread = levels.repeat_interleave(block[0], 0).repeat_interleave(block[1], 1)
    return trits(*shape, seed=seed, zeros=zeros).float() * spread[: shape[0], : shape[1]] + 0.0
