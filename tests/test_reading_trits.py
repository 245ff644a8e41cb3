"""Symbols read from a file without their elements are those of the elements."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from runtime_networks import random_trits

import ternzip
from ternzip.codecs.levels import Levels
from ternzip.container.reader import Reader

TRITS = random_trits((6, 5, 3, 3), 0.5, torch.Generator().manual_seed(0))
LEVELS = torch.linspace(0.5, 2.0, 6).view(6, 1, 1, 1)


@pytest.mark.parametrize("codec", ["auto", "context", "fast", "static", "packed"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8])
def test_symbols_of_a_file(codec: str, dtype: torch.dtype) -> None:
    one_sided = TRITS.clone()
    one_sided[2] = one_sided[2].abs()
    tensors = {
        "plain": TRITS.to(dtype),
        "negative zeros": (TRITS * -1).to(dtype),
        "constant": torch.ones(300, 300).to(dtype),
    }
    if dtype.is_floating_point:
        tensors["rows"] = (one_sided * LEVELS).to(dtype)
        tensors["tied"] = tensors["rows"]
    with Reader.open(ternzip.save(tensors, codec=codec)) as reader:
        for name, tensor in tensors.items():
            found, levels = reader.read_trits(name)
            assert len(levels.positive) == (6 if name in ("rows", "tied") else 1)
            assert found.dtype == np.int8
            assert np.array_equal(found, np.sign(tensor.float().numpy()).ravel())


def test_other_tensors() -> None:
    data = ternzip.save({"float": torch.randn(50, 50), "weight": TRITS})
    with Reader.open(data) as reader:
        with pytest.raises(
            ternzip.TernzipError, match="tensor 'float': expected a ternary tensor, found other values"
        ):
            reader.read_trits("float")
        with pytest.raises(
            ternzip.TernzipError, match="tensor 'none': expected a ternary tensor, found no tensor"
        ):
            reader.read_trits("none")
    with (
        Reader.open(data, max_bytes=100) as reader,
        pytest.raises(ternzip.TernzipError, match="at most 100 bytes"),
    ):
        reader.read_trits("weight")
    with pytest.raises(ternzip.TernzipError, match="already closed"):
        reader.read_trits("weight")


def test_a_symbol_without_a_level_is_found() -> None:
    """A row that lacks a level, in a file that says so and stores the symbol all the same."""
    weight = random_trits((2, 40), 0.5, torch.Generator().manual_seed(0))
    weight[0] *= torch.where(weight[0] < 0, 1.0, 0.5)
    weight[1] = weight[1].abs() * 0.25
    with Reader.open(ternzip.save({"weight": weight}, codec="packed")) as reader:
        (entry,) = reader.entries.values()
        _, levels = reader.read_trits("weight")
        assert levels.negative.tolist()[1] == 0
        assert entry.ternary is not None
        wrong = Levels(levels.negative[::-1].copy(), levels.positive)
        reader.entries["weight"] = replace(entry, ternary=replace(entry.ternary, levels=wrong))
        with pytest.raises(
            ternzip.TernzipError, match="block 0 of levels: expected no symbol -1 without a level"
        ):
            reader.read_trits("weight")
