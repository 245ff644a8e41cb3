"""The container's fuzzer: a short run finds nothing, and a planted fault is found and kept."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
import fuzz_container

from ternzip._core.errors import TernzipError
from ternzip.codecs import BY_CODE


@pytest.fixture(autouse=True)
def no_codec_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fuzzer's own codec is known to the tests of this file alone."""
    monkeypatch.setitem(BY_CODE, fuzz_container.Masked.code, fuzz_container.Masked())


def test_short_run_finds_nothing(tmp_path: Path) -> None:
    result = fuzz_container.run(runs=400, seconds=60, seed=1, findings=tmp_path)
    assert result["findings"] == []
    assert result["runs"] == result["read"] + result["refused"] == 400
    assert result["read"] > 20  # mutations get past the checksums
    assert result["refused"] > 100


def test_faults_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    healthy = fuzz_container.check
    files = set(fuzz_container.seed_files())

    def faulty(data: bytes) -> str:
        if data not in files:
            raise IndexError("planted")
        return healthy(data)

    monkeypatch.setattr(fuzz_container, "check", faulty)
    result = fuzz_container.run(runs=3, seconds=60, seed=2, findings=tmp_path)
    assert len(result["findings"]) == 3
    assert all("IndexError: planted" in finding for finding in result["findings"])
    assert {path.suffix for path in tmp_path.iterdir()} == {".tnz", ".txt"}


@pytest.mark.skipif(sys.platform == "win32", reason="fuzz_reference.py bounds itself by signals")
def test_the_reference_decoder_agrees_on_mutants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fuzz_reference

    result = fuzz_reference.run(runs=40, seconds=60, seed=3, findings=tmp_path)
    assert result["findings"] == []
    assert result["read"] > 0
    assert result["refused"] > 5
    monkeypatch.setattr(fuzz_reference, "by_reference", lambda data: None)
    assert fuzz_reference.run(runs=20, seconds=60, seed=3, findings=tmp_path)["findings"]
    assert list(tmp_path.glob("*.tnz"))


def test_messages_of_several_lines_are_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(data: bytes) -> None:
        raise TernzipError("one\ntwo")

    monkeypatch.setattr(fuzz_container.Reader, "open", refuse)
    with pytest.raises(AssertionError, match="one line"):
        fuzz_container.check(b"")
