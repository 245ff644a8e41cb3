"""What decides between the CUDA kernels and PyTorch's own operations, and what a user gets to know of it."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import ternzip
from ternzip._core.native import core
from ternzip.ops import _cuda
from ternzip.ops._ternarizer import Ternarizer, scalar


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """No device has been asked yet."""
    monkeypatch.setattr(_cuda, "_served", {})
    monkeypatch.setattr(_cuda, "_warned", set())


def test_without_a_device_nothing_is_listed() -> None:
    found = ternzip.backend()["cuda"]
    assert found["compiled"] is core.cuda_compiled()
    assert len(found["devices"]) == torch.cuda.device_count()


def test_one_warning_names_the_reason(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = {0: "too old", 1: "too old", 2: "", 3: "broken"}
    monkeypatch.setattr(_cuda, "obstacle", lambda index: reasons[index])
    with pytest.warns(UserWarning, match=r"cuda:0 goes through PyTorch's own operations: too old"):
        assert not _cuda.serves_device(torch.device("cuda:0"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not _cuda.serves_device(torch.device("cuda:0"))
        assert not _cuda.serves_device(torch.device("cuda:1"))
        assert _cuda.serves_device(torch.device("cuda:2"))
        assert not _cuda.serves_device(torch.device("cpu"))
    with pytest.warns(UserWarning, match=r"cuda:3 .*broken"):
        assert not _cuda.serves_device(torch.device("cuda:3"))


def test_obstacles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "hip", "6.0")
    assert "ROCm" in _cuda.obstacle(0)
    monkeypatch.setattr(torch.version, "hip", None)
    asked: list[tuple[int, int, bool]] = []

    def answer(index: int, capability: int, thorough: bool) -> str:
        asked.append((index, capability, thorough))
        return "as asked"

    kernels = SimpleNamespace(cuda_compiled=lambda: True, cuda_obstacle=answer)
    monkeypatch.setattr(_cuda, "core", kernels)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9, index))
    assert _cuda.obstacle(3) == "as asked"
    assert _cuda.obstacle(3, thorough=False) == "as asked"
    assert asked == [(3, 93, True), (3, 93, False)]
    kernels.cuda_compiled = lambda: False
    _cuda.obstacle(1)
    assert asked[-1] == (1, 0, False)


def test_backend_lists_devices_with_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU {index}")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (8 + index, 6))
    asked = []

    def obstacle(index: int, *, thorough: bool) -> str:
        asked.append((index, thorough))
        return "" if index else "no driver"

    monkeypatch.setattr(_cuda, "obstacle", obstacle)
    assert ternzip.backend()["cuda"]["devices"] == [
        {"index": 0, "name": "GPU 0", "capability": "8.6", "native": False, "reason": "no driver"},
        {"index": 1, "name": "GPU 1", "capability": "9.6", "native": True, "reason": None},
    ]
    assert asked == [(0, False), (1, True)]


@pytest.mark.skipif(core.cuda_compiled() and torch.cuda.is_available(), reason="there is nothing in the way")
def test_the_core_says_what_is_in_the_way() -> None:
    reason = core.cuda_obstacle(0, 90, False)
    if core.cuda_compiled():
        assert "driver" in reason or "device" in reason
        assert core.cuda_architectures()
    else:
        assert reason == "this build of ternzip holds no CUDA kernels"
        assert core.cuda_architectures() == []
    w = torch.zeros(4)
    with pytest.raises(RuntimeError, match=r"CUDA|driver"):
        core.cuda_clip_many([w.data_ptr(), 4, 1], 1.0, 0, 0)


def test_scalars_travel_by_value_or_by_address() -> None:
    one, each = torch.tensor(0.5, dtype=torch.float64), torch.tensor([0.1, 0.2], dtype=torch.float64)
    owners, rows = _cuda._scalars(Ternarizer(one, each, one, one), torch.device("cpu"))
    by_value = (0, 0.5, False)
    assert rows == [by_value, (owners[0].data_ptr(), 0.0, True), by_value, by_value]


def test_numbers_stay_beside_a_device_unless_compiled() -> None:
    """A float for a CUDA tensor makes no tensor there; a compiled graph keeps to one device."""
    assert scalar(0.5, torch.device("cuda")).device.type == "cpu"
    assert scalar(0.5, torch.device("meta")).device.type == "meta"


@pytest.mark.parametrize(("required", "outcome"), [("1", "error"), ("0", "skipped")])
def test_the_switch_that_makes_a_missing_device_an_error(required: str, outcome: str, tmp_path: Path) -> None:
    """In a process that sees no device."""
    here = Path(__file__).parent
    (tmp_path / "conftest.py").write_text((here / "conftest.py").read_text())
    (tmp_path / "test_it.py").write_text("import pytest\n\n\n@pytest.mark.cuda\ndef test_it():\n    pass\n")
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {here}\nmarkers = cuda: needs a device\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        env={**os.environ, "TERNZIP_REQUIRE_CUDA": required, "CUDA_VISIBLE_DEVICES": ""},
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert f"1 {outcome}" in done.stdout
    assert done.returncode == (1 if outcome == "error" else 0)
