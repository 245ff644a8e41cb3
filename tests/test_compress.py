"""ternzip.compress and ternzip.decompress: what the commands do, called from Python."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from samples import assert_same, trits

import ternzip
from ternzip import TernzipError
from ternzip.checkpoint.load import as_checkpoint
from ternzip.container.reader import Reader


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    weight = trits(40, 30).float() * 0.5
    return {"w": weight, "tied": weight, "dense": torch.randn(30, 30), "bias": torch.randn(30)}


@pytest.fixture
def path(tensors: dict[str, torch.Tensor], save: Callable[..., Path]) -> Path:
    return save(tensors)


def test_there_and_back(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    report = ternzip.compress(path)
    target = path.with_suffix(".tnz")
    assert (report.source, report.target) == (str(path), str(target))
    assert report.source_bytes == path.stat().st_size
    assert report.tensor_bytes == sum(t.nbytes for name, t in tensors.items() if name != "tied")
    assert report.file.bytes == target.stat().st_size
    assert report.not_stored == []
    assert_same(ternzip.load_file(target), tensors)
    assert ternzip.verify(target, path).equal

    back = ternzip.decompress(target, path.with_suffix(".safetensors"))
    assert back.target == str(path.with_suffix(".safetensors"))
    assert back.tensors == 4
    assert back.not_stored == ["ties (tied): .safetensors holds a copy for each name"]
    found = safetensors.torch.load_file(back.target)
    assert_same({name: found[name] for name in tensors}, tensors)


def test_weights_that_are_almost_ternary_are_reported(save: Callable[..., Path]) -> None:
    weight = trits(64, 64).float()
    stray = weight.clone()
    stray[0, 5] = 3
    path = save({"ternary": weight, "stray": stray, "dense": torch.randn(64, 64), "bias": stray[0].clone()})
    report = ternzip.compress(path)
    assert report.almost_ternary == {
        "stray": "4,095 of 4,096 elements take three values; 1 does not, the first at index 5"
    }


def test_streams(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    packed, plain = io.BytesIO(), io.BytesIO()
    ternzip.compress(io.BytesIO(path.read_bytes()), packed)
    assert_same(ternzip.load(packed.getvalue()), tensors)
    ternzip.decompress(io.BytesIO(packed.getvalue()), plain)
    assert set(safetensors.torch.load(plain.getvalue())) == set(tensors)
    assert ternzip.verify(io.BytesIO(packed.getvalue()), io.BytesIO(path.read_bytes())).equal
    for call in (ternzip.compress, ternzip.decompress):
        with pytest.raises(ValueError, match="target: expected a path or a stream"):
            call(io.BytesIO(b"x"))


def test_only_bytes_that_are_kept_make_a_file_smaller(save: Callable[..., Path]) -> None:
    """A checkpoint that is mostly no tensors does not become 1,000 times smaller by leaving them out."""
    path = save({"w": torch.randn(50, 50), "log": "x" * 1_000_000})
    report = ternzip.compress(path)
    assert report.source_bytes > 1_000_000
    assert report.tensor_bytes == 10_000
    assert report.ratio == pytest.approx(10_000 / report.file.bytes)
    assert report.not_stored == ["1 entry that is no tensor (log)"]


def test_the_kind_of_the_source_outlives_a_change_of_its_tensors(save: Callable[..., Path]) -> None:
    path = save({"w": -torch.ones(8, 8)})
    first = ternzip.compress(path)
    again = ternzip.compress(first.target, path.parent / "again.tnz", merge_zeros=True)
    assert again.not_stored == []
    assert Path(ternzip.decompress(again.target).target).suffix == Path(path).suffix


def test_a_source_is_decoded_by_as_many_threads_as_are_given(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, read_all = [], Reader.read_all
    ternzip.compress(path, tmp_path / "a.tnz")

    def spy(self: Reader, **options: Any) -> Any:
        asked.append(options["threads"])
        return read_all(self, **options)

    monkeypatch.setattr(Reader, "read_all", spy)
    ternzip.compress(tmp_path / "a.tnz", tmp_path / "b.tnz", threads=1)
    ternzip.verify(tmp_path / "a.tnz", tmp_path / "b.tnz", threads=1)
    assert asked
    assert set(asked) == {1}


@pytest.mark.parametrize("float_dtype", [None, "float16"])
def test_progress_adds_up(path: Path, float_dtype: str | None) -> None:
    seen: list[int] = []
    with as_checkpoint(path) as checkpoint:
        ternzip.compress(
            checkpoint, float_dtype=float_dtype, progress=lambda name, nbytes: seen.append(nbytes)
        )
        assert sum(seen) == sum(checkpoint.sizes.values()) > checkpoint.tensor_bytes


def test_limits_of_memory(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    ternzip.compress(path)
    path.rename(path.with_name("before.pt"))
    target, size = path.with_suffix(".tnz"), sum(t.nbytes for name, t in tensors.items() if name != "tied")
    for call in (ternzip.decompress, ternzip.verify):
        with pytest.raises(TernzipError, match=f"at most {size - 1:,} bytes in memory"):
            call(target, max_bytes=size - 1)
        call(target, max_bytes=size)


def test_ternarizing(save: Callable[..., Path]) -> None:
    path = save({"w": torch.randn(9, 9), "head": torch.randn(9, 9)})
    report = ternzip.compress(path, ternarize="twn", skip=["head"])
    assert report.ternarized is not None
    assert report.ternarized.changed == ["w"]
    with ternzip.safe_open(path.with_suffix(".tnz")) as file:
        assert file.info("w").levels is not None
        assert file.info("head").levels is None
    report = ternzip.compress(path, ternarize=0.5, overwrite=True)
    assert report.ternarized is not None
    assert report.ternarized.delta == 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ternarize": "ttq"}, "ternarize: expected a threshold or 'twn', found 'ttq'"),
        ({"skip": ["w"]}, "skip: expected them with ternarize only"),
        ({"scale": True}, "scale, skip"),
        ({"ternarize": 0.1, "skip": "w"}, "skip: expected a list of patterns, found the string 'w'"),
        ({"float_dtype": "float64"}, "float_dtype: expected one of bfloat16, float16, found 'float64'"),
        ({"codec": "zip"}, "zip"),
    ],
)
def test_options_that_make_no_sense(path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ternzip.compress(path, **options)  # type: ignore[arg-type]
    with pytest.raises(TernzipError, match="delta: expected a finite threshold"):
        ternzip.compress(path, ternarize=float("inf"))
    assert [file.name for file in path.parent.iterdir()] == ["model.pt"]


def test_a_library_names_no_option_of_the_shell(path: Path) -> None:
    target = path.with_suffix(".tnz")
    target.write_bytes(b"mine")
    with pytest.raises(TernzipError, match="exists already") as caught:
        ternzip.compress(path)
    assert "--" not in str(caught.value)
    assert target.read_bytes() == b"mine"
    ternzip.compress(path, overwrite=True)
    ternzip.verify(target)


@pytest.mark.parametrize("kind", ["same", "symbolic", "hard"])
def test_the_source_is_never_replaced(path: Path, tensors: dict[str, torch.Tensor], kind: str) -> None:
    tnz = path.with_name("other.tnz")
    ternzip.save_file(tensors, tnz)
    for source, call, suffix in ((path, ternzip.compress, ".tnz"), (tnz, ternzip.decompress, ".pt")):
        before = source.read_bytes()
        target = source
        if kind != "same":
            target = source.with_name(f"link{suffix}")
            (target.symlink_to if kind == "symbolic" else target.hardlink_to)(source)
        elif call is ternzip.decompress:
            target = source.rename(source.with_suffix(suffix))
            source = target
        with pytest.raises(TernzipError, match=rf"{target.name}: cannot write: it is the source"):
            call(source, target, overwrite=True)
        assert source.read_bytes() == before


def test_no_shard_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    safetensors.torch.save_file({"w": torch.ones(3)}, folder / "model.safetensors")
    with pytest.raises(TernzipError, match="it is the source"):
        ternzip.compress(folder, folder / "model.safetensors", overwrite=True)


def test_what_the_format_cannot_hold_names_the_source(save: Callable[..., Path]) -> None:
    path = save({"w": torch.empty(0, 1 << 62)})
    with pytest.raises(TernzipError, match=r"model\.pt: tensor 'w': shape: expected"):
        ternzip.compress(path)
    assert [file.name for file in path.parent.iterdir()] == ["model.pt"]


def test_a_file_that_changes_meanwhile_leaves_no_file(
    save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save({f"w{number}": torch.randn(200, 200) for number in range(9)})

    def touch(name: str, nbytes: int) -> None:
        os.utime(path, ns=(1, 1))

    with pytest.raises(TernzipError, match="changed while it was read"):
        ternzip.compress(path, threads=1, progress=touch)
    assert [file.name for file in path.parent.iterdir()] == ["model.pt"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_named_pipes_are_read_once(path: Path, tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    def through_a_pipe(content: bytes) -> Path:
        pipe = tmp_path / f"pipe{len(list(tmp_path.iterdir()))}"
        os.mkfifo(pipe)
        threading.Thread(target=pipe.write_bytes, args=(content,), daemon=True).start()
        return pipe

    target = tmp_path / "model.tnz"
    ternzip.compress(through_a_pipe(path.read_bytes()), target)
    assert_same(ternzip.load_file(target), tensors)
    assert ternzip.verify(through_a_pipe(target.read_bytes()), through_a_pipe(path.read_bytes())).equal
    ternzip.decompress(through_a_pipe(target.read_bytes()), tmp_path / "back.pt")
    assert_same(torch.load(tmp_path / "back.pt", weights_only=True), tensors)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="needs devices")
def test_devices_are_no_sources() -> None:
    """/dev/zero has no end."""
    for call in (ternzip.compress, ternzip.decompress, ternzip.verify):
        with pytest.raises(TernzipError, match=r"/dev/zero: cannot read: .* found a device"):
            call("/dev/zero")
