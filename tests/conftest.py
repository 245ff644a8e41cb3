"""Tests marked `cuda` need a device: without one they are skipped, or fail under TERNZIP_REQUIRE_CUDA=1."""

from __future__ import annotations

import os

import pytest
from cuda_place import PLACES, Place, place_of


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("cuda") is None:
        return
    import torch

    if torch.cuda.is_available():
        return
    if os.environ.get("TERNZIP_REQUIRE_CUDA") == "1":
        pytest.fail("TERNZIP_REQUIRE_CUDA=1, and PyTorch finds no CUDA device", pytrace=False)
    pytest.skip("PyTorch finds no CUDA device")


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Place:
    return place_of(request.param, monkeypatch)
