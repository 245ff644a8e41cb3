"""The table of `ternzip inspect`."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ternzip.cli.console import one_line
from ternzip.container.describe import FileInfo, TensorInfo


def print_file(name: str, info: FileInfo) -> None:
    """One row a tensor, a row of totals, and what the figures mean."""
    table = Table(box=box.SIMPLE_HEAD, show_footer=True, pad_edge=False)
    bits = f"{8 * info.ternary_bytes / info.counts.total:.4f}" if info.counts.total else ""
    predicted = f"{8 * info.predicted_bytes / info.counts.total:.4f}" if info.counts.total else ""
    zeros = f"{100 * info.counts.sparsity:.2f} %" if info.counts.total else ""
    count = f"{len(info.tensors):,} tensors"
    table.add_column("tensor", count, overflow="fold", min_width=12)
    table.add_column("shape", f"{info.counts.total:,} weights", overflow="fold")
    table.add_column("dtype")
    table.add_column("codec")
    table.add_column("levels")
    table.add_column("zeros", zeros, justify="right")
    table.add_column("entropy", predicted, justify="right")
    table.add_column("bits/symbol", bits, justify="right")
    table.add_column("bytes", f"{info.bytes - info.overhead:,}", justify="right")
    for tensor in info.tensors:
        table.add_row(*(Text(one_line(cell)) for cell in _row(tensor)))
    # Names are what matters: a pipe or a narrow terminal gets them whole.
    console = Console(width=None if Console().is_terminal else 160)
    console.print(table)
    console.print(
        f"{one_line(name)}: {info.bytes:,} bytes, of which header, framing and checksums {info.overhead:,}",
        highlight=False,
        markup=False,
        emoji=False,
    )
    for key, value in info.metadata.items():
        console.print(Text(f"metadata: {one_line(key)}: {one_line(value)}"))
    if info.counts.total:
        console.print(
            "Totals of zeros, entropy and bits/symbol are over weights: tensors of two dimensions or more "
            "with two symbols or more. Entropy is order 0, with one distribution a tensor.",
            highlight=False,
        )
    if any(_beats_entropy(tensor) for tensor in info.tensors):
        console.print(
            "Where bits/symbol is below the entropy that is no contradiction: order-0 entropy takes symbols as "
            "independent, and the context codec predicts each from its neighbours.",
            highlight=False,
        )


def _beats_entropy(tensor: TensorInfo) -> bool:
    bits = tensor.bits_per_symbol
    return tensor.counted and tensor.counts is not None and bits is not None and bits < tensor.counts.entropy


def _row(tensor: TensorInfo) -> tuple[str, ...]:
    shape = " x ".join(str(length) for length in tensor.shape) or "scalar"
    codec = tensor.codec if tensor.tied_to is None else f"= {tensor.tied_to}"
    if tensor.counts is None or tensor.tied_to is not None:
        return tensor.name, shape, tensor.dtype, codec, "", "", "", "", f"{tensor.bytes:,}"
    return (
        tensor.name,
        shape,
        tensor.dtype,
        codec,
        _levels(tensor),
        f"{100 * tensor.counts.sparsity:.2f} %",
        f"{tensor.counts.entropy:.4f}",
        f"{tensor.bits_per_symbol:.4f}",
        f"{tensor.bytes:,}",
    )


def _levels(tensor: TensorInfo) -> str:
    if tensor.levels is None:
        return f"{tensor.level_rows} pairs"
    return " ".join(f"{level:+.5g}" for level in tensor.levels if level is not None) or "0"
