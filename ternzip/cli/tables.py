"""The table of `ternzip inspect`: aligned text that never cuts a number, whatever the width of the terminal."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from rich.cells import cell_len, chop_cells

from ternzip._core.symbols import SymbolCounts
from ternzip.cli.console import one_line, plural
from ternzip.cli.summaries import Alike, alike
from ternzip.container.describe import FileInfo, TensorInfo

_HEADINGS = ("shape", "dtype", "codec", "bytes", "levels", "zeros", "entropy", "bits/symbol")
_STORED = 4  # columns that every row has; the others are for ternary tensors
_RIGHT = (False, False, False, True, False, True, True, True)
_GAP = "  "
MOST_ROWS = 1000  # a file of more tensors is shown in groups
_NARROWEST_NAMES = 16  # below this, names get lines of their own
_WIDEST_NAMES = 60  # a longer one pushes its own row aside, not all others


def print_file(name: str, info: FileInfo, *, every: bool = False) -> None:
    """One row a tensor, a row of totals, and what the figures mean.

    Of more than MOST_ROWS tensors, those that are alike share a row, unless `every` one is to have its own.
    """
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    summarised = len(info.tensors) > MOST_ROWS and not every
    if summarised:
        rows = [_summary(group) for group in alike(info.tensors)]
    else:
        rows = [(_name(tensor), _cells(tensor)) for tensor in info.tensors]
    hidden = max(0, len(rows) - MOST_ROWS) if summarised else 0
    rows = rows[: len(rows) - hidden]
    total = (plural(len(info.tensors), "tensor"), _totals(info))
    layout = _layout([*rows, total], width)
    lines = [*layout.lines("tensor", _HEADINGS), layout.rule]
    for row in rows:
        lines += layout.lines(*row)
    if hidden:
        lines.append(f"... and {plural(hidden, 'more row')}")
    lines += [layout.rule, *layout.lines(*total), ""]
    notes = [
        f"{one_line(name)}: {info.bytes:,} bytes, of which header, framing and checksums {info.overhead:,}",
        *(f"metadata: {one_line(key)}: {one_line(value)}" for key, value in info.metadata.items()),
        *(f"extension: {one_line(name)}: {size:,} bytes" for name, size in info.extensions.items()),
    ]
    if summarised:
        notes.append(
            "A row with a number in front is for so many tensors of one type and shape, whose names have other numbers "
            "where * stands; its bytes are those of all. --all gives each a row of its own."
        )
    if info.counts.total:
        notes.append(
            f"Totals of zeros, entropy and bits/symbol are over {info.counts.total:,} weights: tensors of two "
            "dimensions or more with two symbols or more. Entropy is order 0, with one distribution a tensor."
        )
    if any(_beats_entropy(tensor) for tensor in info.tensors):
        notes.append(
            "Where bits/symbol is below the entropy that is no contradiction: order-0 entropy takes symbols as "
            "independent, and the context codec predicts each from its neighbours."
        )
    for note in notes:
        lines += [note] if width is None else _sentences(note, width)
    print("\n".join(lines))


def _sentences(text: str, width: int) -> list[str]:
    """Lines of whole words; a longer word (a path) is left to the terminal, where it can still be copied."""
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


_Group = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class _Layout:
    """Where columns stand.

    Attributes:
        names: width of the column of names; 0 where each name has lines of its own.
        width: of the terminal; None in a pipe, where names are never folded.
        groups: (column, its width) by line: one line, or several where the terminal is narrow.
    """

    names: int
    width: int | None
    groups: tuple[_Group, ...]

    @property
    def rule(self) -> str:
        """A line across the table."""
        first, *others = (sum(len(_GAP) + width for _, width in group) for group in self.groups)
        return "-" * max([self.names + first, *others])

    def lines(self, name: str, cells: Sequence[str]) -> Iterator[str]:
        """A row as lines of text."""
        first, *below = (_line(cells, group) for group in self.groups)
        folds = [name]
        if self.width is not None:
            folds = chop_cells(name, self.names or self.width) or [""]
        if self.names:
            padding = " " * (self.names - cell_len(folds[0]))
            folds[0] = (folds[0] + padding + first).rstrip()
        else:
            below.insert(0, first)
        yield from folds
        yield from filter(None, below)


def _line(cells: Sequence[str], group: _Group) -> str:
    placed = (
        cells[column].rjust(width) if _RIGHT[column] else cells[column].ljust(width)
        for column, width in group
    )
    return "".join(_GAP + cell for cell in placed).rstrip()


def _layout(rows: Sequence[tuple[str, Sequence[str]]], width: int | None) -> _Layout:
    """The first that fits: everything on one line; what only ternary tensors have below; names above the rest."""
    columns = tuple(
        (column, max(len(heading), *(len(cells[column]) for _, cells in rows)))
        for column, heading in enumerate(_HEADINGS)
    )
    longest = max(len("tensor"), *(cell_len(name) for name, _ in rows))
    if width is None:
        return _Layout(min(longest, _WIDEST_NAMES), None, (columns,))
    for group in (columns, columns[:_STORED]):
        room = width - sum(len(_GAP) + needed for _, needed in group)
        if room >= min(longest, _NARROWEST_NAMES):
            return _Layout(min(longest, room), width, (group, *_wrapped(columns[len(group) :], width)))
    return _Layout(0, width, tuple(_wrapped(columns, width)))


def _wrapped(columns: _Group, width: int) -> list[_Group]:
    """As many columns to a line as fit, one at least."""
    groups: list[_Group] = []
    used = width
    for column, needed in columns:
        used += len(_GAP) + needed
        if used > width:
            groups.append(())
            used = len(_GAP) + needed
        groups[-1] += ((column, needed),)
    return groups


def _name(tensor: TensorInfo) -> str:
    name = one_line(tensor.name)
    return name if tensor.tied_to is None else f"{name} = {one_line(tensor.tied_to)}"


def _cells(tensor: TensorInfo) -> tuple[str, ...]:
    shape = "x".join(str(length) for length in tensor.shape) or "scalar"
    stored = (shape, tensor.dtype, tensor.codec, f"{tensor.bytes:,}")
    if tensor.counts is None or tensor.tied_to is not None:
        return (*stored, "", "", "", "")
    return (
        *stored,
        _levels(tensor),
        f"{100 * tensor.counts.sparsity:.2f} %",
        f"{tensor.counts.entropy:.4f}",
        f"{tensor.bits_per_symbol:.4f}",
    )


def _summary(group: Alike) -> tuple[str, tuple[str, ...]]:
    """The row of tensors that are alike; of a single one, its own."""
    first = group.tensors[0]
    if len(group.tensors) == 1:
        return _name(first), _cells(first)
    name = f"{len(group.tensors):,} x {one_line(group.name)}"
    total = sum(tensor.bytes for tensor in group.tensors)
    stored = (*_cells(first)[: _STORED - 1], f"{total:,}")
    counted = [tensor.counts for tensor in group.tensors if tensor.counts is not None]
    if first.counts is None or first.tied_to is not None:
        return name, (*stored, "", "", "", "")
    counts = sum(counted, SymbolCounts())
    entropy = sum(own.entropy * own.total for own in counted) / counts.total
    levels = {_levels(tensor) for tensor in group.tensors}
    return name, (
        *stored,
        levels.pop() if len(levels) == 1 else "each its own",
        f"{100 * counts.sparsity:.2f} %",
        f"{entropy:.4f}",
        f"{8 * total / counts.total:.4f}",
    )


def _totals(info: FileInfo) -> tuple[str, ...]:
    stored = ("", "", "", f"{info.tensor_bytes:,}", "")
    if not info.counts.total:
        return (*stored, "", "", "")
    return (
        *stored,
        f"{100 * info.counts.sparsity:.2f} %",
        f"{info.entropy:.4f}",
        f"{8 * info.ternary_bytes / info.counts.total:.4f}",
    )


def _levels(tensor: TensorInfo) -> str:
    if tensor.levels is None:
        assert tensor.level_block_shape is not None
        height, width = tensor.level_block_shape
        per_row = height == 1 and len(tensor.shape) >= 2 and width == prod(tensor.shape[1:])
        return "per row" if per_row else f"{height} x {width} blocks"
    return " ".join(f"{level:+.5g}" for level in tensor.levels if level is not None) or "0"


def _beats_entropy(tensor: TensorInfo) -> bool:
    bits = tensor.bits_per_symbol
    return tensor.counted and tensor.counts is not None and bits is not None and bits < tensor.counts.entropy
