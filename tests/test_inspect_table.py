"""The table of `ternzip inspect`: no number is ever cut, and names fold."""

from __future__ import annotations

import os
import sys

import pytest
import torch
from rich.cells import cell_len
from samples import alpha_sign_mask, grouped, trits

import ternzip
from ternzip.cli import tables
from ternzip.container.describe import FileInfo, describe_file
from ternzip.container.reader import Reader

LONG = "encoder.layers.11.attention.output.dense.parametrizations.weight"


@pytest.fixture(scope="module")
def info() -> FileInfo:
    generator = torch.Generator().manual_seed(0)
    weight = alpha_sign_mask(64, 32, 3, 3, alpha=0.125)
    tensors = {
        "conv1.weight": weight,
        "groups": grouped((32, 64), (8, 16)),
        LONG: trits(300, 100).float() * torch.arange(1.0, 301.0).view(300, 1),
        "bias": torch.randn(64, generator=generator),
        "big": torch.randn(70_000, generator=generator),
        "\u4e2d\u6587\u5c42.weight": trits(3, 70, seed=1).float(),
        "steps": torch.tensor(7),
        "head": weight,
    }
    with Reader.open(ternzip.save(tensors, metadata={"author": "someone"})) as reader:
        return describe_file(reader)


def printed(
    info: FileInfo,
    width: int | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    every: bool = False,
) -> list[str]:
    monkeypatch.setattr(tables.shutil, "get_terminal_size", lambda: os.terminal_size((width or 1, 24)))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: width is not None, raising=False)
    tables.print_file("model.tnz", info, every=every)
    return capsys.readouterr().out.splitlines()


def table_of(lines: list[str]) -> list[str]:
    return lines[: lines.index("")]


@pytest.mark.parametrize("width", [200, 120, 100, 80, 60, 40])
def test_no_figure_is_cut_at_any_width(
    width: int, info: FileInfo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = table_of(printed(info, width, monkeypatch, capsys))
    assert max(map(cell_len, table)) <= width
    words = " ".join(table).split()
    for tensor in info.tensors:
        assert f"{tensor.bytes:,}" in words
        if tensor.tied_to is None and tensor.counts is not None:
            assert f"{tensor.counts.entropy:.4f}" in words
            assert f"{tensor.bits_per_symbol:.4f}" in words
            assert f"{100 * tensor.counts.sparsity:.2f}" in words
    for word in (
        "64x32x3x3",
        "-0.125",
        "+0.125",
        "per",
        "row",
        "8",
        "x",
        "16",
        "blocks",
        "scalar",
        "bits/symbol",
    ):
        assert word in words
    squeezed = "".join("".join(line[:32].split()) for line in table)
    assert LONG[:16] in squeezed


def test_at_eighty_columns(
    info: FileInfo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What only ternary tensors have stands below; all other tensors take one line."""
    table = table_of(printed(info, 80, monkeypatch, capsys))
    assert table[0].split() == ["tensor", "shape", "dtype", "codec", "bytes"]
    assert table[1].split() == ["levels", "zeros", "entropy", "bits/symbol"]
    (bias,) = (line for line in table if line.startswith("bias"))
    assert bias.split()[1:4] == ["64", "float32", "solid"]
    first = next(number for number, line in enumerate(table) if line.startswith("conv1.weight"))
    assert table[first + 1].split()[:2] == ["-0.125", "+0.125"]


def test_notes_break_between_words(
    info: FileInfo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(info, 60, monkeypatch, capsys)
    notes = lines[lines.index("") + 1 :]
    assert max(map(len, notes)) <= 60
    whole = printed(info, None, monkeypatch, capsys)
    assert " ".join(notes) == " ".join(whole[whole.index("") + 1 :])


def test_pipes_get_one_line_for_each_tensor(
    info: FileInfo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = table_of(printed(info, None, monkeypatch, capsys))
    assert len(table) == len(info.tensors) + 4  # headings, two rules, totals
    names = [line.split("  ")[0] for line in table[2:-2]]
    assert names == [*(tensor.name for tensor in info.tensors[:-1]), "head = conv1.weight"]


def test_the_total_of_bytes_is_that_of_the_rows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Extensions, which every compressed checkpoint has, are no tensors: they have a line of their own."""
    data = ternzip.save({"w": trits(30, 30).float(), "b": torch.ones(3)}, extensions={"note": b"0123456789"})
    with Reader.open(data) as reader:
        info = describe_file(reader)
    lines = printed(info, None, monkeypatch, capsys)
    weight, bias = table_of(lines)[2:4]
    total = table_of(lines)[-1]
    assert int(total.split()[2]) == int(weight.split()[4]) + int(bias.split()[4])
    assert "extension: note: 10 bytes" in lines


def test_a_very_long_name_does_not_widen_all_rows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ternzip.save({"n" * 60_000: torch.ones(2), "short": torch.ones(2)})
    with Reader.open(data) as reader:
        info = describe_file(reader)
    long, short = table_of(printed(info, None, monkeypatch, capsys))[2:4]
    assert len(long) > 60_000
    assert len(short) < 160


def test_empty_files(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with Reader.open(ternzip.save({})) as reader:
        info = describe_file(reader)
    for width in (None, 80, 10):
        assert "0 tensors" in " ".join(printed(info, width, monkeypatch, capsys))


@pytest.fixture(scope="module")
def many() -> FileInfo:
    """Two tensors for each of 600 layers, one of them of another shape, and a tensor of its own."""
    weight = trits(4, 20, seed=2)
    tensors = {}
    for layer in range(600):
        tensors[f"layers.{layer}.q1.weight"] = weight.float() * (layer + 1)
        tensors[f"layers.{layer}.bias"] = torch.full((3 if layer != 7 else 4,), float(layer))
    tensors["norm2"] = torch.ones(5)
    with Reader.open(ternzip.save(tensors, codec="packed", threads=1)) as reader:
        return describe_file(reader)


def test_tensors_that_are_alike_share_a_row(
    many: FileInfo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(many, None, monkeypatch, capsys)
    rows = [line.split() for line in table_of(lines)]
    weights = [tensor for tensor in many.tensors if tensor.counts is not None]
    assert weights[0].counts is not None
    total = sum(tensor.bytes for tensor in weights)
    names = [" ".join(row[:3]) for row in rows[2:-2]]
    assert names == [
        "600 x layers.*.q*.weight",
        "599 x layers.*.bias",
        "layers.7.bias 4 float32",
        "norm2 5 float32",
    ]
    bits = f"{8 * total / many.counts.total:.4f}"
    zeros = f"{100 * many.counts.sparsity:.2f}"
    assert rows[2][3:] == [
        "4x20",
        "float32",
        "packed",
        f"{total:,}",
        "each",
        "its",
        "own",
        zeros,
        "%",
        f"{weights[0].counts.entropy:.4f}",
        bits,
    ]
    assert rows[-1][:2] == ["1,201", "tensors"]
    assert any("--all gives each a row of its own" in line for line in lines)
    for width in (80, 40):
        assert max(map(cell_len, table_of(printed(many, width, monkeypatch, capsys)))) <= width


def test_all_gives_every_tensor_its_row(
    many: FileInfo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(many, None, monkeypatch, capsys, every=True)
    assert len(table_of(lines)) == len(many.tensors) + 4
    assert not any("--all" in line for line in lines)


def test_rows_that_are_too_many_are_counted(
    many: FileInfo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tables, "MOST_ROWS", 3)
    table = table_of(printed(many, None, monkeypatch, capsys))
    assert table[-3] == "... and 1 more row"
    assert len(table) == 2 + 3 + 1 + 2
