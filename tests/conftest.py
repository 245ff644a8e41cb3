"""Tests marked `cuda` need a device: without one they are skipped, or fail under TERNZIP_REQUIRE_CUDA=1."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_fixtures import folder, model, run, tnz  # noqa: F401 - fixtures of the test_cli files
from cuda_place import PLACES, Place, place_of
from training_fixtures import data, recipe  # noqa: F401 - fixtures of the test_training files


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


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Writes model.pt with torch.save, in the zip or the legacy format."""
    import torch

    def write(value: Any, legacy: bool = False) -> Path:
        path = tmp_path / "model.pt"
        torch.save(value, path, _use_new_zipfile_serialization=not legacy)
        return path

    return write
