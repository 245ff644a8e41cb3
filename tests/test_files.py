"""The Python verbs: save_file, load_file, save, load, safe_open."""

from __future__ import annotations

import pickle
import tracemalloc
from pathlib import Path

import pytest
import torch
from samples import assert_same, bits, trits
from torch import nn

import ternzip
from ternzip._core.errors import TernzipError
from ternzip.container.reader import Reader
from ternzip.container.sources import BufferSource


def some_tensors() -> dict[str, torch.Tensor]:
    weight = trits(16, 9, 3, 3).float() * 0.5
    return {
        "w": weight,
        "rows": trits(4, 30).float() * torch.arange(1.0, 5.0).view(4, 1),
        "big": torch.randn(70_000, generator=torch.Generator().manual_seed(0)),
        "small": torch.arange(5.0),
        "smaller": torch.tensor(7),
        "tied": weight,
    }


def test_files_and_bytes_are_the_same(tmp_path: Path) -> None:
    tensors = some_tensors()
    path = tmp_path / "model.tnz"
    assert ternzip.save_file(tensors, path, metadata={"k": "v"}) is None  # type: ignore[func-returns-value]
    assert path.read_bytes() == ternzip.save(tensors, metadata={"k": "v"})
    for loaded in (
        ternzip.load_file(path),
        ternzip.load_file(str(path)),
        ternzip.load(path.read_bytes()),
        ternzip.load(bytearray(path.read_bytes())),
        ternzip.load(memoryview(path.read_bytes())),
    ):
        assert_same(loaded, tensors)
        assert loaded["tied"] is loaded["w"]


def test_the_same_input_gives_the_same_bytes() -> None:
    assert ternzip.save(some_tensors()) == ternzip.save(some_tensors())


def test_a_model_comes_back(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 2))
    path = tmp_path / "model.tnz"
    ternzip.save_file(model.state_dict(), path)
    other = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 2))
    other.load_state_dict(ternzip.load_file(path))
    assert_same(other.state_dict(), model.state_dict())


def test_loaded_tensors_are_writable_and_apart() -> None:
    loaded = ternzip.load(ternzip.save(some_tensors()))
    before = {name: bits(tensor) for name, tensor in loaded.items()}
    for name in ("w", "big", "small", "smaller"):
        loaded[name] += 1
    for name, tensor in loaded.items():
        assert (bits(tensor) == before[name]) == (name == "rows")


def test_device() -> None:
    loaded = ternzip.load(ternzip.save(some_tensors()), device="meta")
    assert {tensor.device.type for tensor in loaded.values()} == {"meta"}
    assert [tensor.shape for tensor in loaded.values()] == [
        tensor.shape for tensor in some_tensors().values()
    ]


def test_progress(tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []
    path = tmp_path / "model.tnz"
    ternzip.save_file(some_tensors(), path, progress=lambda *step: seen.append(step))
    assert sorted(seen) == sorted((name, tensor.nbytes) for name, tensor in some_tensors().items())
    seen.clear()
    ternzip.load_file(path, progress=lambda *step: seen.append(step))
    assert seen == [(name, tensor.nbytes) for name, tensor in some_tensors().items()]


# --- safe_open ---------------------------------------------------------------------------------------------


def test_safe_open(tmp_path: Path) -> None:
    tensors = some_tensors()
    path = tmp_path / "model.tnz"
    ternzip.save_file(tensors, path, metadata={"k": "v"})
    with ternzip.safe_open(path) as file:
        assert file.keys() == list(tensors)
        assert file.metadata() == {"k": "v"}
        for name in reversed(tensors):
            assert_same({name: file.get_tensor(name)}, {name: tensors[name]})
        info = file.info("w")
        assert (info.name, info.dtype, info.shape) == ("w", "float32", (16, 9, 3, 3))
        assert info.levels == (-0.5, 0.5)
        assert info.counts == ternzip.count_symbols(tensors["w"].sign())
        assert info.bytes == sum(record.stored for record in file._reader.entries["w"].records) + (
            file._reader.entries["w"].parameters_size
        )
        assert file.info("tied").tied_to == "w"
        assert (file.info("big").codec, file.info("small").codec) == ("planes", "solid")
        for ask in (file.get_tensor, file.info):
            with pytest.raises(TernzipError, match=r"model\.tnz: no tensor 'x' among 6"):
                ask("x")
    for name in ("w", "small"):
        with pytest.raises(TernzipError, match=r"model\.tnz: cannot read: already closed"):
            file.get_tensor(name)
    file.close()
    assert file.keys() == list(tensors)
    with ternzip.safe_open(path, device="meta", threads=2) as file:
        assert file.get_tensor("w").is_meta


def test_safe_open_as_in_safetensors(tmp_path: Path) -> None:
    tensors = some_tensors()
    path = tmp_path / "model.tnz"
    ternzip.save_file(tensors, path, {"format": "pt"})  # metadata third
    assert_same(ternzip.load_file(path, "cpu"), tensors)
    with ternzip.safe_open(path, "pt", "cpu") as file:
        assert file.metadata() == {"format": "pt"}
        assert list(file) == file.keys()
        assert len(file) == len(tensors)
        assert "w" in file
        assert "x" not in file
        assert file in {file}
        assert repr(file) == f"safe_open({str(path)!r}, device='cpu')"
    for framework in ("tf", "cuda", None):
        with pytest.raises(ValueError, match=r"^framework: expected 'pt' or 'numpy', got "):
            ternzip.safe_open(path, framework)  # type: ignore[arg-type]


def test_safe_open_can_be_pickled(tmp_path: Path) -> None:
    path = tmp_path / "model.tnz"
    ternzip.save_file(some_tensors(), path)
    with ternzip.safe_open(path, device="meta", threads=2, max_bytes=1 << 20) as file:
        data = pickle.dumps(file)
    with pickle.loads(data) as again:
        assert (again.path, again.device, again.threads) == (path, "meta", 2)
        assert again.get_tensor("w").is_meta
        assert again._reader.max_bytes == 1 << 20


def test_paths_and_bytes_are_not_mixed_up(tmp_path: Path) -> None:
    for path in ("x.tnz", tmp_path):
        with pytest.raises(TypeError, match=r"^load takes bytes, got \w+; load_file takes a path$"):
            ternzip.load(path)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^load takes bytes, got list$"):
        ternzip.load([1])  # type: ignore[arg-type]
    data = ternzip.save({})
    with pytest.raises(TypeError, match=r"^load_file takes a path; load takes bytes$"):
        ternzip.load_file(data)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^safe_open takes a path; load takes bytes$"):
        ternzip.safe_open(data)  # type: ignore[arg-type]


# --- limits ------------------------------------------------------------------------------------------------


def test_a_limit_on_memory(tmp_path: Path) -> None:
    tensors = some_tensors()
    path = tmp_path / "model.tnz"
    ternzip.save_file(tensors, path)
    total = sum(tensor.nbytes for name, tensor in tensors.items() if name != "tied")
    assert_same(ternzip.load_file(path, max_bytes=total), tensors)
    assert_same(ternzip.load(path.read_bytes(), max_bytes=total), tensors)
    message = f"expected tensors of at most {total - 1:,} bytes in memory, found {total:,}$"
    with pytest.raises(TernzipError, match=r"model\.tnz: " + message):
        ternzip.load_file(path, max_bytes=total - 1)
    with pytest.raises(TernzipError, match=r"^<bytes>: " + message):
        ternzip.load(path.read_bytes(), max_bytes=total - 1)
    with ternzip.safe_open(path, max_bytes=tensors["w"].nbytes) as file:
        assert bits(file.get_tensor("tied")) == bits(tensors["w"])
        with pytest.raises(
            TernzipError, match=r"tensor 'big': expected at most 5,184 bytes in memory, found 280,000$"
        ):
            file.get_tensor("big")
    with pytest.raises(ValueError, match="max_bytes: expected at least 0, got -1"):
        ternzip.load_file(path, max_bytes=-1)


def test_levels_in_blocks_count_where_symbols_or_a_part_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A level a row: more bytes than the symbols have, or a part."""
    rows = torch.linspace(1, 2, 500, dtype=torch.float64)[:, None] * torch.tensor([1, -1, 1])
    ternzip.save_file({"w": rows}, tmp_path / "w.tnz")
    with Reader.open(tmp_path / "w.tnz", max_bytes=8_000) as reader:
        assert reader.read_trits("w")[0].size == 1500
    # As of a tensor of many chunks.
    monkeypatch.setattr(
        "ternzip.container.reader.decodable_stretch", lambda _, start, stop: range(start, stop)
    )
    with Reader.open(tmp_path / "w.tnz", max_bytes=7_999) as reader:
        for read in (lambda: reader.read_trits("w"), lambda: reader.read_part("w", 0, 1)):
            with pytest.raises(TernzipError, match=r"of .*at most 7,999 bytes in memory, found 8,000"):
                read()


def test_a_limit_holds_before_anything_is_allocated() -> None:
    """A few kilobytes that ask for gigabytes are refused for nothing."""
    data = ternzip.save({"t": torch.zeros(1, dtype=torch.int8).expand(1 << 26)})
    assert len(data) < 500
    tracemalloc.start()
    try:
        with pytest.raises(TernzipError, match="at most 67,108,863 bytes in memory"):
            ternzip.load(data, max_bytes=(1 << 26) - 1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def test_safe_open_of_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(TernzipError, match=r"missing\.tnz: cannot read: No such file or directory"):
        ternzip.safe_open(tmp_path / "missing.tnz")
    with pytest.raises(TernzipError, match="cannot read: "):
        ternzip.safe_open(tmp_path)
    (tmp_path / "empty.tnz").touch()
    with pytest.raises(TernzipError, match=r"empty\.tnz: offset 0: expected a \.tnz file"):
        ternzip.safe_open(tmp_path / "empty.tnz")


class RecordingSource(BufferSource):
    """Remembers which bytes of the file were asked for."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.reads: list[tuple[int, int]] = []

    def read(self, offset: int, size: int) -> memoryview:
        self.reads.append((offset, size))
        return super().read(offset, size)


def test_reading_one_tensor_reads_its_bytes_only() -> None:
    data = ternzip.save(some_tensors())
    source = RecordingSource(data)
    with Reader(source) as reader:
        index = int.from_bytes(data[8:16], "little")
        assert source.reads == [(0, 32), (index, len(data) - index)]
        for name, entry in reader.entries.items():
            source.reads.clear()
            stored = entry if entry.tied_to is None else reader.entries[entry.tied_to]
            records = stored.records
            if stored.block >= 0:
                block = reader.blocks[stored.block].record
                assert block is not None
                records = [block]
            reader._cached_block = None
            reader.read(name)
            assert source.reads == [(record.offset, record.stored) for record in records]
            assert records
            # The members of a solid block are decoded together and kept.
            source.reads.clear()
            reader.read(name)
            assert len(source.reads) == (0 if stored.block >= 0 else len(records))


def test_damage_elsewhere_does_not_matter() -> None:
    data = bytearray(ternzip.save(some_tensors()))
    with Reader.open(bytes(data)) as reader:
        damaged = reader.entries["big"].records[0]
    data[damaged.offset + 9] ^= 1
    with Reader.open(bytes(data)) as reader:
        for name in ("w", "rows", "small", "tied"):
            assert reader.read(name).data.tobytes() == bits(some_tensors()[name])
        with pytest.raises(TernzipError, match=f"<bytes>: tensor 'big': offset {damaged.offset}: checksum"):
            reader.read("big")
        names = []
        with pytest.raises(TernzipError, match="tensor 'big'"):
            names.extend(name for name, _ in reader.read_all())
        assert names == ["w", "rows"]  # what comes before it


def test_a_reader_serves_several_threads(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    tensors = {f"t{n}": trits(5, 7 + n, seed=n).float() if n % 2 else torch.randn(50 + n) for n in range(40)}
    path = tmp_path / "model.tnz"
    ternzip.save_file(tensors, path)
    with ternzip.safe_open(path, threads=1) as file, ThreadPoolExecutor(4) as pool:
        names = list(tensors) * 5
        for name, tensor in zip(names, pool.map(file.get_tensor, names), strict=True):
            assert bits(tensor) == bits(tensors[name])


# --- failures leave no file --------------------------------------------------------------------------------


def test_a_failure_in_the_middle_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "model.tnz"
    tensors = {"good": torch.randn(100_000), "bad": torch.ones(2, device="meta")}
    with pytest.raises(TernzipError, match="tensor 'bad'"):
        ternzip.save_file(tensors, path)
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"old")
    with pytest.raises(TernzipError, match="tensor 'bad'"):
        ternzip.save_file(tensors, path)
    with pytest.raises(ValueError, match="codec"):
        ternzip.save_file({}, path, codec="zip")
    with pytest.raises(ZeroDivisionError):
        ternzip.save_file({"w": torch.ones(2)}, path, progress=lambda name, nbytes: 1 // 0)  # type: ignore[arg-type, return-value]
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.tnz"]


def test_errors_of_a_progress_callback_pass_unchanged(tmp_path: Path) -> None:
    error = OSError(28, "No space left on device", "progress.log")

    def progress(name: str, nbytes: int) -> None:
        raise error

    with pytest.raises(OSError, match=r"progress\.log") as caught:
        ternzip.save_file({"w": torch.ones(2)}, tmp_path / "model.tnz", progress=progress)
    assert caught.value is error
    assert list(tmp_path.iterdir()) == []


def test_paths_that_cannot_be_written(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path, "is a directory"),
        (tmp_path / "no" / "x.tnz", "No such file or directory"),
    ):
        with pytest.raises(TernzipError, match=f"cannot write: {reason}"):
            ternzip.save_file({"w": torch.ones(2)}, path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [0, 3, 31, 32, 100])
def test_truncated_files(tmp_path: Path, size: int) -> None:
    path = tmp_path / "model.tnz"
    path.write_bytes(ternzip.save(some_tensors())[:size])
    with pytest.raises(TernzipError, match=r"model\.tnz: offset \d+: "):
        ternzip.load_file(path)


def test_types_that_this_torch_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    from ternzip.io import tensors

    data = ternzip.save({"w": torch.ones(2, dtype=torch.uint16)})
    monkeypatch.delitem(tensors._TORCH_DTYPES, "uint16")
    with pytest.raises(TernzipError, match=r"tensor 'w': torch .* has no uint16: upgrade torch to load it"):
        ternzip.load(data)
