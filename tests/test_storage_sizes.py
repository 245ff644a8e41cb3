"""What is stored takes no more than it should."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from round_trips import describe, round_trip
from samples import alpha_sign_mask, assert_same, random_bits, trits
from torch import Tensor

import ternzip
from ternzip import codecs
from ternzip.container.reader import Reader

CODECS = sorted(codecs.BY_NAME)


@pytest.mark.parametrize("zeros", [0.0, 0.2, 0.45, 0.73, 0.99, 0.9999])
@pytest.mark.parametrize("shape", [(2, 1), (4, 4, 3, 3), (64, 64, 3, 3), (1, 700_001), (1000, 1000)])
def test_static_takes_what_the_entropy_predicts(shape: tuple[int, ...], zeros: float) -> None:
    weight = alpha_sign_mask(*shape, zeros=zeros) + 0.0  # + 0.0 turns -0.0 into +0.0
    data = ternzip.save({"t": weight}, codec="static")
    assert_same(ternzip.load(data), {"t": weight})
    info = describe(data).tensors[0]
    if info.counts is not None and info.codec == "static":
        assert info.bytes <= 1.001 * info.counts.entropy * info.counts.total / 8 + 32
        assert info.bytes == describe(data).ternary_bytes
    else:
        assert torch.unique(weight).numel() == 1


@pytest.mark.parametrize("counts", [(1, 10**6, 1), (500_000, 1, 3), (0, 999_999, 1), (400_000, 0, 7)])
def test_static_with_rare_symbols(counts: tuple[int, int, int]) -> None:
    symbols = torch.repeat_interleave(torch.tensor([-1, 0, 1], dtype=torch.int8), torch.tensor(counts))
    order = torch.randperm(len(symbols), generator=torch.Generator().manual_seed(1))
    info = round_trip(symbols[order].view(1, -1), "static")
    assert info.counts is not None
    assert info.bytes <= 1.001 * info.counts.entropy * info.counts.total / 8 + 32


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(2, 60)),
    zeros=st.sampled_from([0.0, 0.1, 0.33, 0.6]),
    seed=st.integers(0, 999),
)
def test_auto_never_exceeds_five_trits_a_byte(shape: tuple[int, int], zeros: float, seed: int) -> None:
    tensor = trits(*shape, seed=seed, zeros=zeros)
    with Reader.open(ternzip.save({"t": tensor})) as reader:
        entry = reader.entries["t"]
    if entry.ternary is not None:
        assert sum(record.stored for record in entry.records) <= -(-tensor.numel() // 5)


def test_auto_is_as_small_as_any_codec() -> None:
    for seed, zeros in ((0, 0.1), (1, 0.5), (2, 0.9)):
        for shape in ((4, 4, 3, 3), (64, 32, 3, 3)):
            tensors = {"t": trits(*shape, seed=seed, zeros=zeros).float()}
            sizes = [len(ternzip.save(tensors, codec=codec)) for codec in CODECS]
            assert len(ternzip.save(tensors)) <= min(sizes)


def test_random_bytes_are_stored_as_they_are() -> None:
    info = round_trip(random_bits(torch.uint8, 1 << 20))
    assert info.bytes <= (1 << 20) + 16


def test_shares_add_up() -> None:
    """Every byte of a file is some tensor's or overhead."""
    tensors = {"w": trits(30, 30).float(), "b": torch.randn(30), "c": torch.randn(7), "p": torch.randn(20000)}
    data = ternzip.save(tensors)
    info = describe(data)
    assert info.bytes == len(data) == info.overhead + sum(tensor.bytes for tensor in info.tensors)
    assert info.overhead < 32 + 100


def test_overhead_of_a_checkpoint() -> None:
    """116 tensors as in a ResNet-20: header, framing and checksums take at most 1,500 bytes."""
    tensors: dict[str, Tensor] = {}
    for number in range(19):
        tensors[f"layer{number // 6}.{number}.conv.weight"] = trits(8, 8, 3, 3, seed=number).float()
        for what in ("weight", "bias", "running_mean", "running_var"):
            tensors[f"layer{number // 6}.{number}.bn.{what}"] = torch.randn(8)
        tensors[f"layer{number // 6}.{number}.bn.num_batches_tracked"] = torch.tensor(5)
    tensors |= {"linear.weight": trits(10, 64).float(), "linear.bias": torch.randn(10)}
    assert len(tensors) == 116
    assert describe(ternzip.save(tensors)).overhead <= 1500


def test_a_stray_value_makes_blocks_of_levels_that_are_nearly_free() -> None:
    """Blocks are small then, but their levels nearly all the same: a quarter less than as planes of bytes."""
    weight = trits(512, 2048, zeros=0.9).float()
    weight[300, 1000] = 0.5
    info = round_trip(weight, "fast")
    assert info.level_blocks > 10_000
    assert info.bytes < 0.8 * 102_294
