"""GGUF files as checkpoints: ternary blocks become float16 tensors, other packed types keep their bytes."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ternzip._core import dtypes
from ternzip._core.errors import TernzipError
from ternzip._core.tensor import RawTensor, Tie
from ternzip.checkpoint.base import Checkpoint, located
from ternzip.checkpoint.gguf.blocks import TERNARY, decode
from ternzip.checkpoint.gguf.head import EXTENSION, Head, encode_head
from ternzip.checkpoint.gguf.layout import GgufLayout, GgufTensor, read_layout
from ternzip.checkpoint.source_file import SourceFile


def open_gguf(file: SourceFile) -> Checkpoint:
    """The tensors of a GGUF file, read one by one; closes the file when the checkpoint is closed.

    Plain types keep their element types. Blocks of TQ1_0 and TQ2_0 become float16 tensors of the same weights, if
    these give back every bit of the blocks; else, and for all other packed types, a tensor is the blocks' bytes,
    uint8, a row for each row. Header and metadata are an extension, so that the file itself can be restored.

    Raises TernzipError for a file that is damaged or hostile, or holds a type that cannot be told for sure.
    """
    layout = read_layout(file)
    _check_apart(layout, file)
    lost = [] if _padding_is_zero(layout, file) else ["padding between tensors that is not zero"]

    def tensors() -> Iterator[tuple[str, RawTensor | Tie]]:
        for tensor in layout.tensors:
            yield tensor.name, _read(file, tensor)
        file.check_unchanged()

    head = Head(bytes(file.read(0, layout.head)), file.size)
    return Checkpoint(
        file.name,
        lambda: located(file.name, tensors()),
        {tensor.name: _size(tensor) for tensor in layout.tensors},
        extensions={} if lost else {EXTENSION: encode_head(head)},
        not_stored=lost + (["GGUF metadata, which needs the same padding"] if lost else []),
        suffix=".gguf",
        files=[] if file.path is None else [file.path],
        file_bytes=file.size,
        close=file.close,
    )


def _read(file: SourceFile, tensor: GgufTensor) -> RawTensor:
    data = np.frombuffer(file.read(tensor.offset, tensor.nbytes), np.uint8)
    if tensor.kind.dtype is not None:
        return RawTensor(dtypes.BY_NAME[tensor.kind.dtype], tensor.shape, data)
    if tensor.kind.code in TERNARY:
        weights = decode(TERNARY[tensor.kind.code], data)
        if weights is not None:
            return RawTensor(dtypes.BY_NAME["float16"], tensor.shape, weights)
    return RawTensor(dtypes.BY_NAME["uint8"], tensor.packed_shape, data)


def _size(tensor: GgufTensor) -> int:
    """Bytes in memory, were all ternary blocks to become float16."""
    return 2 * math.prod(tensor.shape) if tensor.kind.code in TERNARY else tensor.nbytes


def _check_apart(layout: GgufLayout, file: SourceFile) -> None:
    end = layout.head
    for tensor in layout.by_offset:
        if tensor.offset < end:
            raise TernzipError(
                f"{file.name}: tensor {tensor.name!r}: expected bytes of its own, found others' among them"
            )
        end = tensor.offset + tensor.nbytes


def _padding_is_zero(layout: GgufLayout, file: SourceFile) -> bool:
    """Whether all bytes that belong to no tensor are zero, and fewer than alignment asks for."""
    end = layout.head
    for tensor in [*layout.by_offset, None]:
        start = file.size if tensor is None else tensor.offset
        if start - end >= max(layout.alignment, 1) or any(file.read(end, start - end)):
            return False
        end = start if tensor is None else tensor.offset + tensor.nbytes
    return True
