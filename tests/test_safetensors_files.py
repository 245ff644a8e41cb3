""".safetensors files, single and sharded: what is found in them and what is refused."""

from __future__ import annotations

import io
import json
import os
from contextlib import closing
from pathlib import Path

import pytest
import safetensors.torch
import torch
from checkpoint_files import IN_SAFETENSORS, described, loaded, opened, readers, refused
from samples import assert_same, bits, name_of, random_bits, trits

from ternzip._core.errors import TernzipError
from ternzip.checkpoint.load import open_checkpoint
from ternzip.io.tensors import to_tensors


@readers
@pytest.mark.parametrize("dtype", IN_SAFETENSORS, ids=name_of)
def test_safetensors_of_every_dtype(tmp_path: Path, dtype: torch.dtype, whole: bool) -> None:
    tensors = {"t": random_bits(dtype, 3, 4), "empty": random_bits(dtype, 0, 2)}
    if dtype != getattr(torch, "float4_e2m1fn_x2", None):  # of which a row holds pairs
        tensors["scalar"] = random_bits(dtype)
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(tensors, path)
    checkpoint = open_checkpoint(str(path), whole=whole)
    assert checkpoint.sizes == {name: tensors[name].nbytes for name in checkpoint.sizes}
    assert not checkpoint.faithful
    assert checkpoint.not_stored == []
    found = loaded(checkpoint)
    assert_same({name: found[name] for name in tensors}, tensors)


def test_float4_that_torch_cannot_hold(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    for shape, size in (([2, 3], 3), ([], 0)):
        header = {"f": {"dtype": "F4", "shape": shape, "data_offsets": [0, size]}}
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(size))
        refused(path, "tensor 'f': cannot store F4 of shape .*: expected pairs in a row")


def safetensors_file(entries: dict[str, tuple[list[int], int, int]], data: bytes, **more: object) -> bytes:
    """A .safetensors file by hand; float32 tensors, whose bytes may lie in any order."""
    header: dict[str, object] = dict(more)
    for name, (shape, start, end) in entries.items():
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def test_safetensors_keep_their_order_and_metadata(tmp_path: Path) -> None:
    """The order of the bytes, which no sorting of names gives."""
    entries = {"a": ([1], 8, 12), "z": ([2], 0, 8), "m": ([], 12, 16)}
    data = safetensors_file(entries, bytes(range(16)), __metadata__={"format": "pt", "\u00e9": "\u4e2d"})
    path = tmp_path / "no-suffix-at-all"
    path.write_bytes(data)
    checkpoint = open_checkpoint(str(path))
    assert checkpoint.metadata == {"format": "pt", "\u00e9": "\u4e2d"}
    assert list(checkpoint.sizes) == ["z", "a", "m"]
    found = loaded(checkpoint)
    assert list(found) == ["z", "a", "m"]
    assert b"".join(bits(tensor) for tensor in found.values()) == bytes(range(16))


@readers
def test_safetensors_from_a_pipe(whole: bool) -> None:
    entries = {"a": ([1], 8, 12), "z": ([2], 0, 8)}
    data = safetensors_file(entries, bytes(range(12)), __metadata__={"k": "v"})
    with closing(open_checkpoint(io.BytesIO(data), name="<stdin>", whole=whole)) as checkpoint:
        assert checkpoint.name == "<stdin>"
        assert checkpoint.metadata == {"k": "v"}
        assert list(checkpoint.sizes) == ["z", "a"]
        for _ in range(2):  # a second pass has the same tensors
            found = to_tensors(checkpoint.tensors())
            assert {name: bits(tensor) for name, tensor in found.items()} == {
                "z": bytes(range(8)),
                "a": bytes(range(8, 12)),
            }


@pytest.mark.parametrize(
    "data",
    [
        b"\x10\0\0\0\0\0\0\0{",
        safetensors_file({"a": ([1], 0, 4)}, b"abc"),
        safetensors_file({"a": ([2], 0, 4)}, b"abcd"),
        safetensors_file({"a": ([1], 4, 8)}, b"abcdefgh"),
        safetensors_file({}, b"") + b"more",
        b"\x04\0\0\0\0\0\0\0{[}]",
        b"not safetensors",
    ],
    ids=["header", "data", "size", "gap", "tail", "json", "text"],
)
@readers
def test_damaged_safetensors(tmp_path: Path, data: bytes, whole: bool) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    refused(path, "not a readable safetensors file: .", whole=whole)
    if data != b"not safetensors":
        with pytest.raises(TernzipError, match=r"^<stdin>: not a readable safetensors file: ."):
            open_checkpoint(io.BytesIO(data), name="<stdin>", whole=whole)


@readers
def test_shapes_beyond_all_numbers(tmp_path: Path, whole: bool) -> None:
    """Their product would take hours, and has more digits than Python prints."""
    path = tmp_path / "model.safetensors"
    for shape, words in (
        ([1 << 62] * 300_000, "tensor 'a': dimensions: expected at most 64, found 300000$"),
        ([1 << 62] * 64, "tensor 'a': shape: expected less than 2.63 bytes"),
        ([0, 1 << 62, 1 << 62], "tensor 'a': shape: expected less than 2.63 bytes"),
    ):
        path.write_bytes(safetensors_file({"a": (shape, 0, 4)}, b"abcd"))
        refused(path, words, whole=whole)


def test_what_the_library_refuses_is_refused(tmp_path: Path) -> None:
    """The header is read here, and no less strictly than the library does it."""
    path = tmp_path / "model.safetensors"
    good = safetensors_file({"a": ([1], 0, 4), "b": ([1], 4, 8)}, b"abcdefgh")
    path.write_bytes(good)
    opened(path)
    safetensors.deserialize(good)
    for old, new in (
        (b"[0, 4]", b"[0, 8]"),
        (b"[0, 4]", b"[4, 8]"),
        (b"[4, 8]", b"[0, 4]"),
        (b"[0, 4]", b"[0,-4]"),
        (b"[0, 4]", b"[0,.4]"),
        (b'"shape": [1]', b'"shape": [9]'),
        (b'"shape": [1]', b'"shape": "1"'),
        (b'"shape"', b'"shade"'),
        (b'"F32"', b'"F64"'),
        (b'"a": {', b'"b": {'),
        (b'"a": {"dtype"', b'"a": ["dtype"'),
    ):
        data = good.replace(old, new, 1)
        assert data != good
        path.write_bytes(data)
        with pytest.raises(safetensors.SafetensorError):
            safetensors.deserialize(data)
        refused(path, "not a readable safetensors file: .")
    path.write_bytes(safetensors_file({}, b"", __metadata__={"k": 1}))
    refused(path, "expected metadata of strings")


def test_safetensors_with_types_of_the_future(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors_file({"a": ([1], 0, 1)}, b"a").replace(b'"F32"', b'"F2" '))
    refused(path, "tensor 'a': cannot store F2: the format has no code for it")


@pytest.mark.parametrize("change", ["cut", "written"])
def test_a_file_that_changes_while_it_is_read(tmp_path: Path, change: str) -> None:
    """A mapped file that is cut short would end the process by a signal."""
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file({f"w{number}": torch.randn(50_000) for number in range(4)}, path)
    with closing(open_checkpoint(str(path))) as checkpoint:
        tensors = checkpoint.tensors()
        next(tensors)
        if change == "cut":
            os.truncate(path, 4096)
        else:
            os.utime(path, ns=(1, 1))
        with pytest.raises(
            TernzipError, match=rf"^{path}: .*(truncated: expected|changed while it was read)"
        ):
            list(tensors)


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs /proc")
def test_closing_a_checkpoint_closes_its_files(sharded: Path) -> None:
    def open_files() -> set[str]:
        links = (os.path.join("/proc/self/fd", number) for number in os.listdir("/proc/self/fd"))
        return {os.readlink(link) for link in links if os.path.exists(link)}

    for path in (sharded, sharded / "one.safetensors"):
        for whole in (False, True):
            checkpoint = open_checkpoint(str(path), whole=whole)
            list(checkpoint.tensors())
            assert any(name.endswith(".safetensors") for name in open_files())
            checkpoint.close()
            assert not any(name.endswith(".safetensors") for name in open_files())
            maps = Path("/proc/self/maps").read_text()
            assert str(sharded) not in maps


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    safetensors.torch.save_file({"b": torch.ones(3), "d": torch.zeros(2)}, folder / "one.safetensors")
    safetensors.torch.save_file({"a": trits(4, 4), "c": torch.tensor(5)}, folder / "two.safetensors")
    index(
        folder,
        {"a": "two.safetensors", "b": "one.safetensors", "c": "two.safetensors", "d": "one.safetensors"},
    )
    return folder


def index(folder: Path, weight_map: object) -> None:
    text = json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map})
    (folder / "model.safetensors.index.json").write_text(text)


@readers
def test_sharded_folders(sharded: Path, whole: bool) -> None:
    expected = {"a": trits(4, 4), "b": torch.ones(3), "c": torch.tensor(5), "d": torch.zeros(2)}
    for path in (sharded, sharded / "model.safetensors.index.json"):
        found = opened(path, whole=whole)
        assert_same({name: found[name] for name in expected}, expected)
        checkpoint = described(path, whole=whole)
        assert list(checkpoint.sizes.items()) == [(name, t.nbytes) for name, t in expected.items()]
        files = sorted(sharded.glob("*.safetensors"))
        assert checkpoint.file_bytes == sum(file.stat().st_size for file in files)
        assert set(checkpoint.files) == {str(file) for file in sharded.iterdir()}
    assert list(opened(sharded)) == list(expected)


def test_metadata_of_shards(sharded: Path) -> None:
    for file, metadata in (("one", {"a": "1", "b": "2"}), ("two", {"a": "1", "b": "3", "c": "4"})):
        path = sharded / f"{file}.safetensors"
        safetensors.torch.save_file(safetensors.torch.load_file(path), path, {"format": "pt", **metadata})
    checkpoint = described(sharded)
    assert checkpoint.metadata == {"format": "pt", "a": "1", "c": "4"}
    assert checkpoint.not_stored == [
        "the division into files",
        "metadata of the index (total_size)",
        "metadata in which the files differ (b)",
    ]


def test_what_else_lies_in_a_folder_is_named(sharded: Path) -> None:
    (sharded / "config.json").write_text("{}")
    (sharded / "adapter_model.bin").write_bytes(b"weights")
    assert "what else lies in the folder (adapter_model.bin, config.json)" in described(sharded).not_stored


def test_a_tensor_in_two_shards(sharded: Path) -> None:
    safetensors.torch.save_file(
        {"b": torch.ones(3), "d": torch.zeros(2), "a": trits(4, 4)}, sharded / "one.safetensors"
    )
    refused(sharded, "tensor 'a': expected in one shard, found in several")


def test_a_folder_with_a_single_file(tmp_path: Path) -> None:
    safetensors.torch.save_file({"a": torch.ones(3)}, tmp_path / "model.safetensors")
    assert_same(opened(tmp_path), {"a": torch.ones(3)})
    safetensors.torch.save_file({"a": torch.ones(3)}, tmp_path / "other.safetensors")
    refused(tmp_path, "found 0 and 2")


def test_shards_outside_the_folder_are_refused(sharded: Path) -> None:
    outside = sharded.parent / "secret.safetensors"
    safetensors.torch.save_file({"a": torch.ones(3)}, outside)
    for shard in (
        "../secret.safetensors",
        str(outside),
        "sub/../../secret.safetensors",
        "./one.safetensors",
        "..",
    ):
        index(sharded, {"a": shard})
        refused(sharded, r"tensor 'a': expected a \.safetensors file in the folder, found ")
    index(sharded, {"a": "model.pt"})
    refused(sharded, r"tensor 'a': expected a \.safetensors file in the folder, found 'model\.pt'")


def test_shards_that_do_not_fit_their_index(sharded: Path) -> None:
    index(sharded, {"a": "three.safetensors"})
    refused(sharded, r"shard 'three\.safetensors': cannot read: No such file")
    index(sharded, {"x": "one.safetensors"})
    refused(sharded, r"tensor 'x': expected in shard 'one\.safetensors', not found there")
    index(sharded, {"a": "two.safetensors", "b": "one.safetensors", "c": "two.safetensors"})
    refused(sharded, "tensor 'd': in a shard but not in the index")
    (sharded / "one.safetensors").write_bytes(b"\xff" * 99)
    refused(sharded, r"shard 'one\.safetensors': not a readable safetensors file: .")
    for shard in ("two\nlines.safetensors", "\0.safetensors", "\ud800.safetensors"):
        index(sharded, {"a": shard})
        refused(sharded, r"tensor 'a': expected a \.safetensors file in the folder, found '.*\\")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"weight_map": 3}',
        '{"weight_map": {}}',
        '{"weight_map": {"a": 1}}',
        "[" * 100_000,
        "\xff",
    ],
    ids=["empty", "open", "list", "no map", "number", "nothing", "no name", "deep", "latin"],
)
def test_damaged_indexes(sharded: Path, text: str) -> None:
    (sharded / "model.safetensors.index.json").write_bytes(text.encode("latin-1"))
    refused(sharded, "not a readable shard index: .|expected weight_map to name a file for each tensor")


def test_two_indexes_are_one_too_many(sharded: Path) -> None:
    (sharded / "other.safetensors.index.json").write_text("{}")
    refused(sharded, "found 2 and 2")
