"""Levels on grids of blocks: which grid is found, that everything comes back, and that no file grows by it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from round_trips import describe, round_trip
from samples import TERNARY_DTYPES, assert_same, bits, grouped, name_of, trits

import ternzip
from ternzip._core.dtypes import BY_NAME
from ternzip._core.native import core
from ternzip.codecs.base import CorruptPayload
from ternzip.codecs.levels import Grid, restored_levels
from ternzip.codecs.ternary import detect
from ternzip.container.limits import MAX_EXPANSION
from ternzip.container.reader import Reader
from ternzip.io.tensors import to_raw

INTEGERS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


def planted(
    dtype: torch.dtype,
    grid: tuple[int, int, int, int],
    zeros: float,
    seed: int,
    *,
    pairs: bool,
    minus_zeros: bool,
) -> torch.Tensor:
    """A tensor of (rows, row_size) with blocks of (height, width), each of levels that no neighbour has."""
    rows, row_size, height, width = grid
    rng = np.random.default_rng(seed)
    uint = INTEGERS[dtype.itemsize]
    top = 1 << (8 * dtype.itemsize - 1)
    down, across = -(-rows // height), -(-row_size // width)
    # Small numbers as bit patterns: finite in every type, apart from the NaN at the sign bit of the fnuz ones.
    chosen = rng.integers(1, 40, (2, down, across)) * 2 + np.add.outer(np.arange(down), np.arange(across)) % 2
    high = chosen[0].astype(uint)
    magnitude = chosen[1 if pairs else 0].astype(uint)
    low = magnitude | uint(top) if dtype.is_floating_point else (-magnitude.astype(np.int64)).astype(uint)
    place = np.ix_(np.arange(rows) // height, np.arange(row_size) // width)
    symbols = rng.choice([-1, 0, 1], (rows, row_size), p=[(1 - zeros) / 2, zeros, (1 - zeros) / 2])
    zero = np.zeros((rows, row_size), uint)
    if minus_zeros and dtype.is_floating_point and "fnuz" not in str(dtype):
        zero[rng.random((rows, row_size)) < 0.5] = top
    elements = np.where(symbols < 0, low[place], np.where(symbols > 0, high[place], zero))
    return torch.from_numpy(elements.view(np.uint8).copy()).view(dtype).reshape(rows, row_size)


@pytest.mark.parametrize("dtype", TERNARY_DTYPES, ids=name_of)
@pytest.mark.parametrize("isa", core.available_isas())
@pytest.mark.parametrize(
    "grid",
    [
        (6, 256, 1, 128),
        (4, 96, 1, 32),
        (3, 100, 1, 32),  # the last group of a row is shorter
        (40, 60, 40, 12),  # shards of columns
        (40, 60, 20, 60),  # shards of rows
        (64, 64, 16, 16),
        (50, 50, 16, 16),
        (1, 640, 1, 64),
        (3, 200, 1, 8),
    ],
)
def test_planted_grids_are_found(dtype: torch.dtype, isa: str, grid: tuple[int, int, int, int]) -> None:
    before = core.active_isa()
    assert core.set_isa(isa)
    try:
        tensor = planted(dtype, grid, 0.2, 1, pairs=True, minus_zeros=True)
        if grid[0] == 1:
            tensor = tensor.view(-1)
        for threads in (1, 3):
            found = detect(to_raw("t", tensor), threads)
            assert found is not None
            assert found.grid.block_shape == grid[2:]
    finally:
        assert core.set_isa(before)
    info = round_trip(tensor, "packed")
    assert info.level_block_shape == grid[2:]
    assert info.levels is None


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_lies_on_a_grid_comes_back(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(TERNARY_DTYPES))
    rows, row_size = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 130))
    height, width = data.draw(st.integers(1, rows)), data.draw(st.integers(1, row_size))
    tensor = planted(
        dtype,
        (rows, row_size, height, width),
        data.draw(st.sampled_from([0.0, 0.4, 0.9])),
        data.draw(st.integers(0, 99)),
        pairs=data.draw(st.booleans()),
        minus_zeros=data.draw(st.booleans()),
    )
    flat = data.draw(st.booleans())
    round_trip(tensor.view(-1) if flat else tensor, data.draw(st.sampled_from(["packed", "fast", "context"])))


@settings(max_examples=100, deadline=None)
@given(
    rows=st.integers(1, 12),
    row_size=st.integers(9, 400),
    width=st.integers(8, 200),
    zeros=st.sampled_from([0.0, 0.5, 0.95]),
    seed=st.integers(0, 99),
)
def test_what_is_found_is_no_finer_than_what_was_planted(
    rows: int, row_size: int, width: int, zeros: float, seed: int
) -> None:
    assume(width < row_size)
    tensor = planted(torch.float32, (rows, row_size, 1, width), zeros, seed, pairs=True, minus_zeros=False)
    raw = to_raw("t", tensor)
    found = core.detect_levels(raw.data.ctypes.data, rows, row_size, raw.dtype.code)
    assert found is not None
    assert -(-row_size // found[1]) <= -(-row_size // width)


def test_neighbours_of_one_level_and_empty_blocks_do_not_hide_the_grid() -> None:
    tensor = grouped((6, 256), (1, 32))
    tensor[:, 32:64] = trits(6, 32).float() * tensor[:, :32].abs().amax(1, keepdim=True)
    tensor[:, 96:160] = 0
    tensor[2] = 0
    tensor[4, 64:96] = tensor[4, 64:96].abs()
    assert round_trip(tensor).level_block_shape == (1, 32)


def test_one_magnitude_serves_both_signs_also_where_one_is_missing() -> None:
    """Blocks without one of the signs leave its level open, so half the levels are stored."""
    tensor = grouped((64, 256), (1, 32), zeros=0.9)
    found = detect(to_raw("t", tensor))
    assert found is not None
    assert found.symmetric
    assert found.stored_levels == 64 * 8
    lopsided = torch.where(tensor < 0, 2 * tensor, tensor)
    found = detect(to_raw("t", lopsided))
    assert found is not None
    assert not found.symmetric
    assert found.stored_levels == 2 * 64 * 8
    assert round_trip(tensor).bytes < round_trip(lopsided).bytes


def test_the_smallest_integer_has_no_opposite_in_any_block() -> None:
    tensor = trits(8, 64).to(torch.int8) * 5
    tensor[3][tensor[3] < 0] = -128
    tensor[3][tensor[3] > 0] = 0
    found = detect(to_raw("t", tensor))
    assert found is not None
    assert not found.symmetric
    assert round_trip(tensor).level_block_shape == (1, 64)


@pytest.mark.parametrize("place", [0, 77, 5 * 256 + 255])
def test_a_nan_or_a_third_value_in_a_block_is_not_ternary(place: int) -> None:
    tensor = grouped((6, 256), (1, 32))
    tensor[tensor == 0] = 1e-3
    for value in (float("nan"), 12345.0):
        changed = tensor.clone()
        changed.view(-1)[place] = value
        info = round_trip(changed)
        assert info.counts is None


def test_levels_of_the_whole_tensor_stay_in_the_parameters() -> None:
    """Byte for byte: flags, level, two counts, codec and its parameters' length."""
    tensor = trits(20, 30).float()
    with Reader.open(ternzip.save({"t": tensor}, codec="packed")) as reader:
        assert reader.entries["t"].parameters_size == 1 + 4 + 2 + 2 + 2
        assert reader.entries["t"].level_record_count == 0


def test_blocks_have_two_elements_or_more() -> None:
    """A magnitude for each row of two is as fine as it gets; a row of one has none of its own."""
    pairs = torch.arange(1.0, 501.0).repeat_interleave(2) * torch.tensor([1.0, -1.0]).repeat(500)
    info = round_trip(pairs.view(500, 2))
    assert info.level_blocks == 500
    assert round_trip(pairs.view(1000, 1)).level_blocks == 0


def test_group_levels_cost_what_they_should() -> None:
    """bf16 in groups of 128 with 42 % zeros: entropy 1.5614, levels at most 16 / 128 more."""
    generator = torch.Generator().manual_seed(0)
    levels = torch.rand(512, 8, 1, generator=generator) * 0.05 + 1e-3
    symbols = trits(512, 8, 128, zeros=0.42).float()
    info = round_trip((symbols * levels).view(512, 1024).to(torch.bfloat16), "fast")
    assert info.level_block_shape == (1, 128)
    assert info.bits_per_symbol is not None
    assert info.bits_per_symbol < 1.69


def test_levels_are_read_lazily_and_only_those_of_the_tensor(tmp_path: Path) -> None:
    tensors = {"a": grouped((64, 256), (1, 32)), "b": grouped((64, 256), (1, 64), seed=1)}
    data = bytearray(ternzip.save(tensors, codec="fast"))
    with Reader.open(bytes(data)) as reader:
        record = reader.entries["a"].records[0]
        assert reader.entries["a"].ternary is not None
        assert reader.entries["a"].ternary.levels is None
    data[record.offset] ^= 1
    path = tmp_path / "damaged.tnz"
    path.write_bytes(data)
    with ternzip.safe_open(path) as file:
        assert bits(file.get_tensor("b")) == bits(tensors["b"])
        assert file.info("a").level_block_shape == (1, 32)
        with pytest.raises(ternzip.TernzipError, match=f"tensor 'a': offset {record.offset}: checksum"):
            file.get_tensor("a")


def test_many_levels_take_several_records() -> None:
    rows = (1 << 20) // 8 + 1
    tensor = (torch.arange(rows * 8, dtype=torch.int64).view(rows, 8, 1) + 1) * trits(
        rows, 8, 8, zeros=0.3
    ).long()
    tensor = tensor.view(rows, 64)
    data = ternzip.save({"t": tensor}, codec="packed", threads=2)
    for threads in (1, 2):
        assert torch.equal(ternzip.load(data, threads=threads)["t"], tensor)
    with Reader.open(data) as reader:
        entry = reader.entries["t"]
        assert entry.level_record_count == 3
        assert [record.units for record in entry.records[:3]] == [1 << 22, 1 << 22, 64]
        assert all(record.stored * MAX_EXPANSION >= record.units for record in entry.records)


# --- what is not worth it ----------------------------------------------------------------------------------


def generated(make: Callable[[torch.Generator], torch.Tensor]) -> torch.Tensor:
    return make(torch.Generator().manual_seed(5))


def sparse(share: float, shape: tuple[int, ...] = (256, 512)) -> Callable[[torch.Generator], torch.Tensor]:
    def make(generator: torch.Generator) -> torch.Tensor:
        full = torch.randn(shape, generator=generator)
        return torch.where(torch.rand(shape, generator=generator) < share, full, torch.zeros(()))

    return make


NOT_WORTH_IT = {
    "normal": lambda g: torch.randn(256, 512, generator=g),
    "half zeros": sparse(0.5),
    "a tenth": sparse(0.1),
    "one in fifty": sparse(0.02),
    "one in a thousand": sparse(0.001),
    "one in a thousand, short rows": sparse(0.001, (16384, 8)),
    "few values": lambda g: torch.randint(-3, 4, (256, 512), generator=g).float(),
    "four bits in groups": lambda g: (
        torch.randint(-7, 8, (256, 4, 128), generator=g) * torch.rand(256, 4, 1, generator=g)
    ),
    "rows of two": lambda g: torch.randn(40000, 2, generator=g),
    "runs of two": lambda g: torch.randn(256, 256, generator=g).repeat_interleave(2, 1),
    "runs of eight": lambda g: torch.randn(256, 64, generator=g).repeat_interleave(8, 1),
    "runs of eight, unsigned": lambda g: torch.rand(256, 64, generator=g).repeat_interleave(8, 1),
    "ramp": lambda g: torch.arange(1 << 17).div(4096, rounding_mode="floor").float(),
    "steps": lambda g: torch.arange(1 << 17).div(16, rounding_mode="floor").float(),
    "counting": lambda g: torch.arange(1 << 17).float(),
    "tiles": lambda g: grouped((8, 64), (1, 8)).repeat(32, 8),
    "one stray": lambda g: (
        trits(256, 512).float().index_put((torch.tensor(255), torch.tensor(511)), torch.tensor(9.0))
    ),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=name_of)
@pytest.mark.parametrize("name", NOT_WORTH_IT)
def test_no_file_grows_by_levels_in_blocks(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compared with a ternzip that knows levels for a tensor only."""
    tensor = generated(NOT_WORTH_IT[name]).to(dtype)
    with_grids = ternzip.save({"t": tensor}, codec="auto")
    assert_same(ternzip.load(with_grids), {"t": tensor})

    def without_grids(raw: object, threads: int = 1) -> object:
        found = detect(raw, threads)  # type: ignore[arg-type]
        return found if found is None or found.grid.blocks == 1 else None

    monkeypatch.setattr("ternzip.container.writer.detect", without_grids)
    without = ternzip.save({"t": tensor}, codec="auto")
    assert len(with_grids) <= len(without) + tensor.nbytes // 1000


def test_values_that_no_two_elements_share_are_not_ternary() -> None:
    for name in ("one in a thousand", "one in a thousand, short rows", "one in fifty"):
        assert detect(to_raw("t", generated(NOT_WORTH_IT[name]))) is None


# --- grids -------------------------------------------------------------------------------------------------


def test_blocks_are_counted_as_the_format_says() -> None:
    for rows, row_size, height, width in itertools.product((1, 2, 7), (1, 5, 9), (1, 2, 7), (1, 4, 9)):
        grid = Grid(rows, row_size, min(height, rows), min(width, row_size))
        numbers = {
            (row // grid.height) * grid.blocks_per_row + column // grid.width
            for row in range(rows)
            for column in range(row_size)
        }
        assert numbers == set(range(grid.blocks))
        assert grid.stored_shape == (height if height < rows else 0, width if width < row_size else 0)


def test_inspect_names_the_blocks() -> None:
    data = ternzip.save({"groups": grouped((8, 256), (1, 32)), "rows": grouped((8, 32), (1, 32))})
    infos = {info.name: info for info in describe(data).tensors}
    assert (infos["groups"].level_block_shape, infos["groups"].level_blocks) == ((1, 32), 64)
    assert (infos["rows"].level_block_shape, infos["rows"].level_blocks) == ((1, 32), 8)


@settings(max_examples=200, deadline=None)
@given(
    dtype=st.sampled_from(TERNARY_DTYPES),
    flags=st.sampled_from(
        [(True, False, False), (False, True, False), (True, True, False), (True, True, True)]
    ),
    draw=st.data(),
)
def test_one_block_of_levels_is_checked_as_several_are(
    dtype: torch.dtype, flags: tuple[bool, bool, bool], draw: st.DataObject
) -> None:
    """One block takes another way through the code than two with the same levels."""
    negative, positive, symmetric = flags
    kind = BY_NAME[name_of(dtype)]
    top = 1 << (8 * kind.itemsize - 1)
    edges = st.sampled_from([0, 1, top - 1, top, top + 1, 2 * top - 1])
    patterns = [
        draw.draw(edges | st.integers(0, 2 * top - 1)) for _ in range(negative + (positive > symmetric))
    ]

    def outcome(blocks: int) -> object:
        sequences = [np.frombuffer(p.to_bytes(kind.itemsize, "little") * blocks, np.uint8) for p in patterns]
        try:
            found = restored_levels(
                sequences, blocks, kind, negative=negative, positive=positive, symmetric=symmetric
            )
        except CorruptPayload as error:
            return str(error)
        return [(int(levels[0]), levels.dtype) for levels in (found.negative, found.positive)]

    assert outcome(1) == outcome(2)
