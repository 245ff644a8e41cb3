"""Whether a ternary tensor is stored by symbols and levels, or like the tensors that are not ternary."""

from __future__ import annotations

import numpy as np

from ternzip._core.tensor import RawTensor
from ternzip.codecs.planes import Run, encode_block
from ternzip.codecs.ternary import Ternary, is_weight, occurring
from ternzip.container.level_records import encode_levels, level_pieces
from ternzip.container.limits import SOLID_LIMIT

_SAMPLES, _SAMPLE_BYTES = 4, 1 << 15


def worth_a_codec(tensor: RawTensor, found: Ternary) -> bool:
    """Whether symbols and levels of its own serve a ternary tensor better than a place among other bytes.

    Weights always get them, unless their levels take as much as they save; vectors once they are long; constants once
    they are too large for a solid block.
    """
    if found.level_bytes and not _levels_pay(tensor, found):
        return False
    if tensor.data.size >= SOLID_LIMIT or is_weight(tensor.shape, found.counts):
        return True
    return tensor.size >= 256 and occurring(found.counts) >= 2


def _levels_pay(tensor: RawTensor, found: Ternary) -> bool:
    raw_levels = sum(found.level_bytes)
    if tensor.data.size <= raw_levels + tensor.size // 4:
        return False
    if tensor.data.size < SOLID_LIMIT:
        return True
    # Levels in blocks are also found where values are merely repeated: steps, tiles. A match finder may say these in
    # less than one level a block.
    symbols = found.counts.entropy * tensor.size / 8
    planes = _planes_size(tensor)
    if symbols + raw_levels <= planes:
        return True
    if symbols >= planes:
        return False
    # Where a single element keeps a tensor from having one pair of levels, blocks are small and many, and nearly all
    # of their levels alike. Unlike with repeated values, it is symbols that take the bytes then.
    levels = sum(len(encode_levels(piece, tensor.dtype)) for piece in level_pieces(found))
    return levels <= min(symbols, planes - symbols)


def _planes_size(tensor: RawTensor) -> float:
    """About how many bytes the elements take as byte planes, by some samples."""
    size = min(_SAMPLE_BYTES, tensor.data.size // _SAMPLES) // tensor.dtype.itemsize * tensor.dtype.itemsize
    last = (tensor.data.size - size) // tensor.dtype.itemsize
    coded = 0
    for i in range(_SAMPLES):
        start = last * i // (_SAMPLES - 1) * tensor.dtype.itemsize
        sample = np.ascontiguousarray(tensor.data[start : start + size])
        coded += len(encode_block(sample, [Run(sample.size, tensor.dtype)], quick=True))
    return coded * tensor.data.size / (_SAMPLES * size)
