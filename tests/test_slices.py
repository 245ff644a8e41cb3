"""`safe_open(...).get_slice(name)`: the parts that indexing gives, and no more of the file read than they need."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from samples import bits, trits

import ternzip
from ternzip import TernzipError
from ternzip.codecs.geometry import MAX_CHUNK_SYMBOLS

INDICES: list[Any] = [
    *(
        1,
        -1,
        (1, 2),
        (slice(None), slice(None), -1),
        ...,
        (..., 1),
        (),
        slice(-2, None),
        slice(None, None, 2),
    ),
    *(slice(3, 1), slice(0, 9), (1, slice(0, 9)), (slice(2, 5), slice(None)), (0, 0, 0), (slice(0, 2), ...)),
    *(None, (1, None), [0, 2], (slice(None), [0, 1]), (slice(1, 3), [1, 0], 1), np.int64(2), True),
]


def tensors() -> dict[str, torch.Tensor]:
    """Of every storage: a solid block, planes, ternary in several ways, tied; with all rows alike in length."""
    generator = torch.Generator().manual_seed(0)
    dense = torch.randn(4, 3, 2, generator=generator)
    weight = trits(4, 3, 2).float()
    rows = trits(4, 1500, 2).bfloat16() * torch.tensor([1.0, 2.0, 3.0, 4.0]).view(4, 1, 1)
    found = {"small": dense, "weight": weight, "rows": rows.bfloat16(), "tied": weight}
    found["large"] = torch.randn(4, 9000, 2, generator=generator)
    found["minus zeros"] = trits(4, 600, 2).float()
    found["minus zeros"][found["minus zeros"] == 0] *= -1
    found["some minus zeros"] = found["minus zeros"].clone()
    found["some minus zeros"][0] = found["some minus zeros"][0].abs()
    return found


@pytest.mark.parametrize("framework", ["pt", "np"])
def test_floating_point_types_are_told(framework: str) -> None:
    given = {
        "f": torch.ones(3, dtype=torch.float16),
        "b": torch.ones(3, dtype=torch.bfloat16),
        "i": torch.arange(3),
    }
    with ternzip.safe_open(io.BytesIO(ternzip.save(given)), framework=framework) as file:
        for name, tensor in given.items():
            assert file.get_slice(name).is_floating_point() == tensor.is_floating_point()


def test_slices_are_those_of_torch() -> None:
    given = tensors()
    with ternzip.safe_open(io.BytesIO(ternzip.save(given))) as file:
        for name, tensor in given.items():
            part = file.get_slice(name)
            assert (part.shape, part.dtype, part.get_shape()) == (
                tensor.shape,
                tensor.dtype,
                list(tensor.shape),
            )
            for index in INDICES:
                assert bits(part[index]) == bits(tensor[index]), (name, index)
                assert part[index].shape == tensor[index].shape


def test_slices_are_those_of_numpy() -> None:
    given = {name: tensor.numpy() for name, tensor in tensors().items() if name != "rows"}
    with ternzip.safe_open(io.BytesIO(ternzip.numpy.save(given)), "np") as file:
        for name, array in given.items():
            part = file.get_slice(name)
            assert part.dtype == array.dtype
            for index in [*INDICES, slice(None, None, -1), slice(3, 0, -2)]:
                assert part[index].tobytes() == array[index].tobytes(), (name, index)
                assert index is ... or part[index].base is None  # memory of its own


def test_types_are_called_as_in_safetensors(tmp_path: Path) -> None:
    given = {
        "a": torch.ones(2, 3),
        "b": torch.ones(3, dtype=torch.bfloat16),
        "c": torch.ones(2, dtype=torch.bool),
    }
    safetensors.torch.save_file(given, tmp_path / "x.safetensors")
    data = ternzip.save(given)
    with (
        safetensors.safe_open(tmp_path / "x.safetensors", "pt") as theirs,
        ternzip.safe_open(io.BytesIO(data)) as file,
    ):
        for name in given:
            assert file.get_slice(name).get_dtype() == theirs.get_slice(name).get_dtype()
            assert file.get_slice(name).get_shape() == theirs.get_slice(name).get_shape()


def test_what_is_not_there() -> None:
    data = ternzip.save({"a": torch.ones(4, 3), "s": torch.tensor(2.0), "e": torch.empty(0, 3)})
    with ternzip.safe_open(io.BytesIO(data)) as file:
        with pytest.raises(TernzipError, match="no tensor 'b' among 3"):
            file.get_slice("b")
        for row in (4, -5):
            with pytest.raises(IndexError, match=f"index {row} is out of bounds for dimension 0 of size 4"):
                file.get_slice("a")[row]
        assert file.get_slice("s")[...] == file.get_slice("s")[()] == 2.0
        with pytest.raises(IndexError):
            file.get_slice("s")[:]
        assert file.get_slice("e")[:].shape == (0, 3)
        part = file.get_slice("a")
    with pytest.raises(TernzipError, match="already closed"):
        part[1:2]


class Counting(io.BytesIO):
    """Counts the bytes that are read."""

    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


@pytest.mark.parametrize("codec", ["packed", "fast"])
def test_only_the_chunks_needed_are_read(codec: str) -> None:
    """Three chunks of two rows each, and noise in blocks of a row each; a damaged chunk hurts only its own rows."""
    weight = trits(6, MAX_CHUNK_SYMBOLS // 2 - 1, zeros=0.9)
    noise = torch.randint(0, 256, (3, 1 << 22), dtype=torch.uint8)
    data = bytearray(ternzip.save({"w": weight, "n": noise}, codec=codec))
    stream = Counting(data)
    with ternzip.safe_open(stream) as file:
        for name, tensor, rows in (("w", weight, slice(2, 4)), ("n", noise, slice(1, 2))):
            stored, stream.taken = file.info(name).bytes, 0
            assert torch.equal(file.get_slice(name)[rows], tensor[rows])
            assert 0.3 * stored < stream.taken < 0.4 * stored
        first = file._reader.entries["w"].records[0]
    data[first.offset + 5000] ^= 1
    with ternzip.safe_open(io.BytesIO(data), max_bytes=1 << 22) as file:
        assert torch.equal(file.get_slice("w")[3], weight[3])
        with pytest.raises(TernzipError, match=f"tensor 'w': offset {first.offset}: checksum"):
            file.get_slice("w")[1]
        with pytest.raises(
            TernzipError, match="tensor 'w': expected of a part at most 4,194,304 bytes in memory"
        ):
            file.get_slice("w")[2:6]
