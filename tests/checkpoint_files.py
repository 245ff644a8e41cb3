"""Checkpoints to read in tests, and how they are read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from samples import ALL_DTYPES, name_of, trits

from ternzip._core import dtypes
from ternzip._core.errors import TernzipError
from ternzip.checkpoint.base import Checkpoint
from ternzip.checkpoint.load import as_checkpoint, open_checkpoint
from ternzip.io.tensors import to_tensors

formats = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
IN_SAFETENSORS = [d for d in ALL_DTYPES if dtypes.BY_NAME[name_of(d)].safetensors is not None]
readers = pytest.mark.parametrize("whole", [False, True], ids=["lazy", "whole"])


def opened(path: Path | str, *, whole: bool = False) -> dict[str, torch.Tensor]:
    return loaded(open_checkpoint(str(path), whole=whole))


def loaded(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    try:
        return to_tensors(checkpoint.tensors())
    finally:
        checkpoint.close()


def described(path: Path | str, *, whole: bool = False) -> Checkpoint:
    """A checkpoint that has been closed: what it says of itself without being read."""
    with as_checkpoint(str(path), whole=whole) as checkpoint:
        return checkpoint


def refused(path: Path, match: str, *, whole: bool = False) -> None:
    """Opening or reading it is a TernzipError of one line that starts with the path."""
    with pytest.raises(TernzipError, match=match) as caught:
        opened(path, whole=whole)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def some_tensors() -> dict[str, torch.Tensor]:
    weight = trits(4, 3, 3, 3).float()
    return {
        "z.weight": weight,
        "bias": torch.randn(4),
        "tied": weight,
        "steps": torch.tensor(7),
        "e": torch.empty(0),
    }
