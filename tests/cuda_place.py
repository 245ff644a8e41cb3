"""Where a test of the CUDA kernels runs them: on a device, or emulated on the CPU by the same code.

Emulated, tensors stay on the CPU and every call that a CUDA tensor would make is made for them.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from ternzip.ops import _cuda

on_device = pytest.mark.cuda


@dataclass(frozen=True)
class Place:
    device: torch.device
    native: int  # the index that native calls get

    def put(self, t: Tensor) -> Tensor:
        """t there, with its strides, sharing nothing with it."""
        return t.detach().to(self.device, copy=True)


PLACES = [
    pytest.param(-1, id="emulated"),
    pytest.param(-2, id="emulated-reversed"),
    pytest.param(-12345, id="emulated-shuffled"),
    pytest.param(0, id="device", marks=on_device),
]


def place_of(native: int, monkeypatch: pytest.MonkeyPatch) -> Place:
    if native >= 0:
        assert _cuda.serves_device(torch.device("cuda", native))
        return Place(torch.device("cuda", native), native)
    monkeypatch.setattr(_cuda, "serves_device", lambda device: True)
    monkeypatch.setattr(_cuda, "target", lambda device: (native, 0))
    return Place(torch.device("cpu"), native)
