"""The writer refuses what the reader would: a good file is never replaced by one that nobody can read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import assert_same
from torch import Tensor

import ternzip
from ternzip._core.errors import TernzipError
from ternzip._core.tensor import Tie
from ternzip.container import limits
from ternzip.container.writer import write_container

# Tensors beyond the limits cost nothing: they have no elements, or one that is repeated.
BEYOND = {
    "65 dimensions": (torch.zeros([1] * 65), "dimensions: expected at most 64, found 65"),
    "2^63 bytes without elements": (
        torch.zeros(2**61, 0),
        r"shape: expected less than 2\^63 bytes, found \[2305843",
    ),
    "2^63 bytes after a zero": (
        torch.empty(0, 1 << 62),
        r"shape: expected less than 2\^63 bytes, found \[0, 4611",
    ),
}
WITHIN = {
    "64 dimensions": torch.zeros([1] * 64),
    "64 dimensions without elements": torch.zeros([1] * 63 + [0]),
    "just below 2^63 bytes": torch.zeros(2**61 - 1, 0),
    "just below 2^63 bytes of one": torch.empty(0, (1 << 63) - 1, dtype=torch.int8),
}


@pytest.mark.parametrize("kind", BEYOND)
def test_what_the_reader_refuses_is_not_written(kind: str, tmp_path: Path) -> None:
    tensor, message = BEYOND[kind]
    path = tmp_path / "model.tnz"
    path.write_bytes(b"the good one")
    with pytest.raises(TernzipError, match=f"^tensor 'x': {message}"):
        ternzip.save_file({"w": torch.ones(3), "x": tensor}, path)
    assert path.read_bytes() == b"the good one"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", WITHIN)
def test_what_is_within_the_limits_comes_back(kind: str) -> None:
    tensors = {"x": WITHIN[kind]}
    assert_same(ternzip.load(ternzip.save(tensors)), tensors)


# What users may come up with, around every limit that a name or a shape can meet.
lengths = st.sampled_from([0, 1, 2, 1 << 31, 1 << 61, (1 << 62) - 1, 1 << 62, (1 << 63) - 1])
texts = st.one_of(
    st.text(max_size=4),
    st.sampled_from(
        ["", "\0", "\ud800", "x\udfff", "n" * 65536, "n" * 65537, "\u00e9" * 32768, "\u00e9" * 32769]
    ),
)


@st.composite
def empty_tensors(draw: st.DrawFn) -> Tensor:
    shape = [*draw(st.lists(lengths, max_size=3)), *[1] * draw(st.sampled_from([0, 60, 64, 65]))]
    shape.insert(draw(st.integers(0, len(shape))), 0)
    try:
        return torch.empty(shape, dtype=draw(st.sampled_from([torch.int8, torch.float64, torch.complex128])))
    except (RuntimeError, TypeError):  # torch has a limit of its own, on strides
        return torch.empty(0)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(texts, empty_tensors(), max_size=3), st.dictionaries(texts, texts, max_size=2))
def test_whatever_is_saved_can_be_loaded(tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    try:
        data = ternzip.save(tensors, metadata=metadata)
    except TernzipError:
        return
    assert_same(ternzip.load(data), tensors)


@pytest.mark.parametrize("section", ["parameters", "directory"])
def test_sections_have_sizes_of_32_bits(
    section: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert limits.MAX_SECTION_BYTES == 2**32 - 1
    monkeypatch.setattr("ternzip.container.writer.MAX_SECTION_BYTES", 100)
    weight = torch.tensor([[1.0, -1.0, 0.0] * 20])
    tensors = {f"{n}": weight * (n + 1) if section == "parameters" else torch.ones(n) for n in range(50)}
    with pytest.raises(TernzipError, match=rf"^{section}: expected .* of at most 100 bytes, found \d+$"):
        ternzip.save_file(tensors, tmp_path / "model.tnz")
    assert list(tmp_path.iterdir()) == []


def test_long_names_are_cut_in_messages() -> None:
    with pytest.raises(TernzipError) as caught:
        ternzip.save({"n" * 60_000: torch.zeros([1] * 65)})
    assert str(caught.value) == f"tensor '{'n' * 40}'...: dimensions: expected at most 64, found 65"
    with pytest.raises(TernzipError) as caught:
        ternzip.save({}, metadata={"k" * 60_000: "\ud800"})
    assert str(caught.value).startswith(f"metadata '{'k' * 40}'...: expected text that UTF-8 can hold")


@pytest.mark.parametrize("names", [["tied"], ["w", "a", "tied"]])
def test_ties_that_no_reader_takes_are_mistakes_of_the_caller(names: list[str]) -> None:
    import io

    from ternzip.io.tensors import to_raw

    def tensors() -> Iterator[tuple[str, object]]:
        for name in names:
            yield name, to_raw(name, torch.ones(3)) if name == "w" else Tie("w" if name == "a" else "a")

    with pytest.raises(
        ValueError, match="tensor 'tied': expected a tie to an earlier tensor that is not tied"
    ):
        write_container(io.BytesIO(), tensors())  # type: ignore[arg-type]
