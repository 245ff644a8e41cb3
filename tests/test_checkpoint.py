"""Other people's files: what is found in them, what is refused, and what is written back."""

from __future__ import annotations

import io
import json
import os
import pickle
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from forge import PACKED, TERNARY, Forge, Tensor, levels
from samples import ALL_DTYPES, alpha_sign_mask, assert_same, bits, name_of, random_bits, trits
from torch import nn

import ternzip
from ternzip._core import dtypes
from ternzip._core.errors import TernzipError
from ternzip.checkpoint.base import Checkpoint
from ternzip.checkpoint.load import open_checkpoint
from ternzip.checkpoint.store import write_checkpoint
from ternzip.checkpoint.ternarize import Ternarization
from ternzip.checkpoint.verify import check_all, differences
from ternzip.container.reader import Reader
from ternzip.io.tensors import to_tensors

formats = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
IN_SAFETENSORS = [d for d in ALL_DTYPES if dtypes.BY_NAME[name_of(d)].safetensors is not None]


def opened(path: Path | str) -> dict[str, torch.Tensor]:
    return loaded(open_checkpoint(str(path)))


def loaded(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    try:
        return to_tensors(checkpoint.tensors())
    finally:
        checkpoint.close()


def refused(path: Path, match: str) -> None:
    """Opening or reading it is a TernzipError of one line that starts with the path."""
    with pytest.raises(TernzipError, match=match) as caught:
        opened(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    def write(value: object, legacy: bool = False) -> Path:
        path = tmp_path / "model.pt"
        torch.save(value, path, _use_new_zipfile_serialization=not legacy)
        return path

    return write


def some_tensors() -> dict[str, torch.Tensor]:
    weight = trits(4, 3, 3, 3).float()
    return {
        "z.weight": weight,
        "bias": torch.randn(4),
        "tied": weight,
        "steps": torch.tensor(7),
        "e": torch.empty(0),
    }


# --- PyTorch's files ---------------------------------------------------------------------------------------


@formats
def test_state_dicts(save: Callable[..., Path], legacy: bool) -> None:
    tensors = some_tensors()
    path = save(OrderedDict(tensors), legacy)
    checkpoint = open_checkpoint(str(path))
    assert checkpoint.sizes == {name: tensor.nbytes for name, tensor in tensors.items()}
    assert checkpoint.skipped == []
    assert checkpoint.faithful
    found = loaded(checkpoint)
    assert_same(found, tensors)
    assert found["tied"] is found["z.weight"]


@formats
def test_a_whole_modules_state(save: Callable[..., Path], legacy: bool) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.LSTM(2, 3))
    assert_same(opened(save(module.state_dict(), legacy)), module.state_dict())


@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=name_of)
def test_pt_files_of_every_dtype(save: Callable[..., Path], dtype: torch.dtype) -> None:
    tensors = {"t": random_bits(dtype, 3, 4), "strided": random_bits(dtype, 6, 4)[::2, 1:].t()}
    assert_same(opened(save(tensors)), tensors)


NESTED: dict[str, tuple[Callable[[dict[str, Any]], Any], list[str], list[str]]] = {
    "under state_dict": (lambda t: {"epoch": 3, "state_dict": t}, ["a", "b"], ["epoch"]),
    "under model": (lambda t: {"model": t, "args": {"lr": 0.1}, "step": None}, ["a", "b"], ["args", "step"]),
    "under two names": (lambda t: {"checkpoint": {"model": t}}, ["model.a", "model.b"], []),
    "beside an optimizer": (
        lambda t: {"state_dict": t, "optimizer": {"state": {0: {"m": torch.ones(2)}}}},
        ["a", "b"],
        ["optimizer"],
    ),
    "several models": (
        lambda t: {"generator": t, "critic": t, "note": "x"},
        ["generator.a", "generator.b", "critic.a", "critic.b"],
        ["note"],
    ),
    "beside tensors": (
        lambda t: {"state_dict": t, "mean": torch.ones(1)},
        ["state_dict.a", "state_dict.b", "mean"],
        [],
    ),
    "lightning": (
        lambda t: {
            "epoch": 1,
            "global_step": 10,
            "pytorch-lightning_version": "2.4.0",
            "state_dict": {f"model.{k}": v for k, v in t.items()},
            "loops": {"fit_loop": {"state_dict": {}}},
            "callbacks": {"ModelCheckpoint{}": {"best_model_score": torch.tensor(0.5)}},
            "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2)}}}],
            "hyper_parameters": {"lr": 0.1},
        },
        ["model.a", "model.b"],
        [
            "epoch",
            "global_step",
            "pytorch-lightning_version",
            "loops",
            "callbacks",
            "optimizer_states",
            "hyper_parameters",
        ],
    ),
    "data parallel": (
        lambda t: {"state_dict": {f"module.{k}": v for k, v in t.items()}},
        ["module.a", "module.b"],
        [],
    ),
    "odd keys": (lambda t: {1: t["a"], (2, 3): t["b"], None: 4}, ["1", "(2, 3)"], ["None"]),
    "other things": (lambda t: {**t, "list": [torch.ones(1)], "flag": True}, ["a", "b"], ["list", "flag"]),
    "empty dictionaries": (
        lambda t: {"state_dict": t, "empty": {}, "deep": {"x": {}}},
        ["a", "b"],
        ["empty", "deep"],
    ),
}


@formats
@pytest.mark.parametrize("case", NESTED)
def test_tensors_are_found(save: Callable[..., Path], case: str, legacy: bool) -> None:
    build, names, skipped = NESTED[case]
    checkpoint = open_checkpoint(str(save(build({"a": torch.randn(2, 2), "b": torch.ones(3)}), legacy)))
    assert list(checkpoint.sizes) == names
    assert checkpoint.skipped == skipped
    assert list(loaded(checkpoint)) == names


def test_a_lone_tensor(save: Callable[..., Path]) -> None:
    assert_same(opened(save(torch.arange(3))), {"tensor": torch.arange(3)})


def test_latent_weights_are_recognised(save: Callable[..., Path]) -> None:
    model = ternzip.prepare(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(2, 2)))
    latent = [f"{layer}.parametrizations.weight.original" for layer in (0, 1)]
    assert set(latent) < set(model.state_dict())
    assert open_checkpoint(str(save(model.state_dict()))).latent == latent
    prefixed = {"state_dict": {f"model.{name}": value for name, value in model.state_dict().items()}}
    assert open_checkpoint(str(save(prefixed))).latent == [f"model.{name}" for name in latent]
    root = ternzip.prepare(nn.Sequential(nn.Linear(2, 2)))[0]
    assert open_checkpoint(str(save(root.state_dict()))).latent == ["parametrizations.weight.original"]
    assert open_checkpoint(str(save(ternzip.convert(model).state_dict()))).latent == []


class _Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.marker),)


@formats
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(
    save: Callable[..., Path], tmp_path: Path, legacy: bool
) -> None:
    marker = tmp_path / "ran"
    path = save({"w": torch.ones(2), "evil": _Evil(marker)}, legacy)
    refused(
        path, r"refused: expected tensors only, found a pickle that would run code .*\((posix|nt)\.mkdir\)"
    )
    assert not marker.exists()
    # The same file does run code where it is allowed to: the test has teeth.
    torch.load(path, weights_only=False)
    assert marker.exists()


def test_pickles_that_build_objects_are_refused(save: Callable[..., Path], tmp_path: Path) -> None:
    refused(save(nn.Linear(2, 2)), r"found a pickle that would .* \(torch\.nn\.modules\.linear\.Linear\)")
    plain = tmp_path / "plain.pkl"
    plain.write_bytes(pickle.dumps({"path": tmp_path}))
    refused(plain, r"refused: .*|not a readable PyTorch checkpoint")


def test_what_holds_no_tensors(save: Callable[..., Path]) -> None:
    refused(save([torch.ones(2)]), "expected a dictionary of tensors, found list")
    refused(save({}), "expected at least one tensor, found none among 0 entries")
    refused(save({"a": 1, "b": {"c": 2}}), "expected at least one tensor, found none among 2 entries")
    refused(
        save({"a": {"b.c": torch.ones(1)}, "a.b": {"c": torch.ones(1)}}), r"tensor 'a\.b\.c': duplicate name"
    )


def test_dictionaries_without_end(save: Callable[..., Path]) -> None:
    circle: dict[str, Any] = {"w": torch.ones(1)}
    circle["again"] = circle
    refused(save(circle), "expected at most .* dictionaries, nested at most 32 deep")
    deep: dict[str, Any] = {"w": torch.ones(1)}
    for _ in range(31):
        deep = {"d": deep}
    assert list(opened(save(deep))) == ["d." * 30 + "w"]
    refused(save({"d": deep}), "nested at most 32 deep")
    doubled: dict[str, Any] = {}
    for _ in range(31):  # two thousand million dictionaries, if one goes through them
        doubled = {"a": doubled, "b": doubled}
    refused(save(doubled), "expected at most 1048576 dictionaries")


@pytest.mark.filterwarnings("ignore")  # torch's own, about these kinds of tensors
@formats
def test_tensors_that_cannot_be_stored_are_named(save: Callable[..., Path], legacy: bool) -> None:
    for value, message in (
        (torch.eye(3).to_sparse(), "cannot store a sparse_coo tensor"),
        (torch.ones(2, device="meta"), "cannot store a meta tensor"),
        (torch.quantize_per_tensor(torch.eye(3), 0.1, 0, torch.qint8), r"cannot store torch\.qint8"),
    ):
        refused(save({"good": torch.ones(2), "odd one": value}, legacy), f"tensor 'odd one': {message}")


@formats
def test_damaged_pt_files(save: Callable[..., Path], legacy: bool) -> None:
    path = save(some_tensors(), legacy)
    whole = path.read_bytes()
    for size in [0, 1, 2, 4, 8, 16, 64, *range(100, len(whole), max(1, len(whole) // 40)), len(whole) - 1]:
        path.write_bytes(whole[:size])
        refused(
            path, "expected a checkpoint, found an empty file|refused: |not a readable PyTorch checkpoint: ."
        )
    for start in range(0, len(whole), max(1, len(whole) // 60)):
        path.write_bytes(whole[:start] + bytes([whole[start] ^ 0xFF]) + whole[start + 1 :])
        try:
            opened(path)  # a flip in the data goes unnoticed by torch; nothing but TernzipError may come
        except TernzipError as error:
            assert str(error).startswith(f"{path}: ")  # noqa: PT017


@pytest.mark.parametrize(
    "data",
    [
        b"x",
        b"\x80",
        b"\x89T",
        b"garbage here",
        b"PK\x03\x04" + b"x" * 99,
        b"\x80\x02}q\x00.",
        b"\x80\x02X\x05",
    ],
)
def test_what_is_no_checkpoint_at_all(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(data)
    refused(path, "refused: |not a readable PyTorch checkpoint: .")


def test_paths_that_cannot_be_read(tmp_path: Path) -> None:
    refused(tmp_path / "missing.pt", "cannot read: No such file or directory")
    refused(tmp_path / "no" / "folder.pt", "cannot read: No such file or directory")
    (tmp_path / "empty.pt").touch()
    refused(tmp_path / "empty.pt", "expected a checkpoint, found an empty file")
    refused(tmp_path, r"expected one \.safetensors\.index\.json .* found 0 and 0")
    locked = tmp_path / "locked.pt"
    locked.write_bytes(b"x")
    locked.chmod(0)
    if not os.access(locked, os.R_OK):
        refused(locked, "cannot read: Permission denied")


# --- .safetensors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", IN_SAFETENSORS, ids=name_of)
def test_safetensors_of_every_dtype(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {"t": random_bits(dtype, 3, 4), "scalar": random_bits(dtype), "empty": random_bits(dtype, 0, 2)}
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(tensors, path)
    checkpoint = open_checkpoint(str(path))
    assert checkpoint.sizes == {name: tensors[name].nbytes for name in checkpoint.sizes}
    assert not checkpoint.faithful
    found = loaded(checkpoint)
    assert_same({name: found[name] for name in tensors}, tensors)


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


def test_safetensors_from_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = {"a": ([1], 8, 12), "z": ([2], 0, 8)}
    data = safetensors_file(entries, bytes(range(12)), __metadata__={"k": "v"})

    class Stdin:
        buffer = io.BytesIO(data)

    monkeypatch.setattr(sys, "stdin", Stdin)
    checkpoint = open_checkpoint("-")
    assert checkpoint.name == "<stdin>"
    assert checkpoint.metadata == {"k": "v"}
    assert list(checkpoint.sizes) == ["z", "a"]
    assert [bits(tensor) for tensor in loaded(checkpoint).values()] == [bytes(range(8)), bytes(range(8, 12))]


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
def test_damaged_safetensors(tmp_path: Path, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    refused(path, "not a readable safetensors file: .")
    if data != b"not safetensors":

        class Stdin:
            buffer = io.BytesIO(data)

        monkeypatch.setattr(sys, "stdin", Stdin)
        with pytest.raises(TernzipError, match=r"^<stdin>: not a readable safetensors file: ."):
            open_checkpoint("-")


def test_safetensors_with_types_of_the_future(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    data = safetensors_file({"a": ([2], 0, 1)}, b"a").replace(b'"F32"', b'"F4" ')
    path.write_bytes(data)
    refused(
        path, "tensor 'a': cannot store F4: the format has no code for it|not a readable safetensors file"
    )


# --- sharded folders ---------------------------------------------------------------------------------------


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


def test_sharded_folders(sharded: Path) -> None:
    expected = {"a": trits(4, 4), "b": torch.ones(3), "c": torch.tensor(5), "d": torch.zeros(2)}
    assert_same(opened(sharded), expected)
    assert_same(opened(sharded / "model.safetensors.index.json"), expected)
    assert open_checkpoint(str(sharded)).sizes == {name: tensor.nbytes for name, tensor in expected.items()}


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


# --- .tnz as a checkpoint ----------------------------------------------------------------------------------


def test_tnz_files_are_checkpoints_too(tmp_path: Path) -> None:
    tensors = some_tensors()
    path = tmp_path / "model"
    ternzip.save_file(tensors, path, metadata={"k": "v"})
    checkpoint = open_checkpoint(str(path))
    assert checkpoint.metadata == {"k": "v"}
    assert checkpoint.faithful
    found = loaded(checkpoint)
    assert_same(found, tensors)
    assert found["tied"] is found["z.weight"]
    path.write_bytes(path.read_bytes()[:-1])
    refused(path, "truncated")


# --- writing -----------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
def test_pt_files_keep_everything(tmp_path: Path) -> None:
    tensors = {name_of(dtype): random_bits(dtype, 2, 4) for dtype in ALL_DTYPES}
    tensors |= {"tied": tensors["float32"], "scalar": torch.tensor(1.0), "empty": torch.empty(0, 3)}
    restored = ternzip.load(ternzip.save(tensors))
    for suffix in (".pt", ".pth"):
        path = tmp_path / f"model{suffix}"
        assert write_checkpoint(restored, str(path), metadata={}) == []
        again = torch.load(path, weights_only=True)
        assert_same(again, tensors)
        assert again["tied"].data_ptr() == again["float32"].data_ptr()
    lost = write_checkpoint(restored, str(path), metadata={"k": "v"}, overwrite=True)
    assert lost == ["metadata (1 entries) has no place in a .pt file"]


def test_each_tensor_of_a_pt_file_takes_its_own_bytes_only(tmp_path: Path) -> None:
    """Small tensors share a block in a .tnz file, which must not be saved with each of them."""
    tensors = {f"t{number}": torch.randn(1000) for number in range(50)}
    path = tmp_path / "model.pt"
    write_checkpoint(ternzip.load(ternzip.save(tensors)), str(path), metadata={})
    assert path.stat().st_size < 50 * 4000 * 1.3


def test_safetensors_files_keep_what_they_can(tmp_path: Path) -> None:
    tensors = {name_of(dtype): random_bits(dtype, 2, 4) for dtype in IN_SAFETENSORS}
    tensors |= {"tied": tensors["float32"], "scalar": torch.tensor(1.0), "empty": torch.empty(0, 3)}
    path = tmp_path / "model.safetensors"
    lost = write_checkpoint(ternzip.load(ternzip.save(tensors)), str(path), metadata={"k": "v"})
    assert lost == [
        "tensor 'tied' is tied to 'float32': .safetensors holds it twice",
        "the order of tensors is .safetensors' own (by type, then by name)",
    ]
    found = safetensors.torch.load_file(path)
    assert_same({name: found[name] for name in tensors}, tensors)
    with safetensors.safe_open(path, "pt") as handle:
        assert handle.metadata() == {"k": "v"}
    assert write_checkpoint({"a": torch.ones(1)}, str(path), metadata={}, overwrite=True) == []


def test_what_safetensors_cannot_hold(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    for name, tensor, message in (
        ("c", torch.tensor([1j], dtype=torch.complex128), "tensor 'c': .safetensors has no complex128"),
        ("__metadata__", torch.ones(1), "tensor '__metadata__': .safetensors reserves the name"),
    ):
        with pytest.raises(TernzipError, match=f"{message}: decompress to .pt"):
            write_checkpoint({"a": torch.ones(1), name: tensor}, str(path), metadata={})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["model", "model.onnx", "model.tnz", "pt"])
def test_other_suffixes_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(TernzipError, match=r"expected a name ending in \.pt, \.pth, \.safetensors, found"):
        write_checkpoint({}, str(tmp_path / name), metadata={})


def test_existing_files_are_kept(tmp_path: Path) -> None:
    for name in ("model.pt", "model.safetensors"):
        path = tmp_path / name
        path.write_bytes(b"mine")
        with pytest.raises(TernzipError, match="exists already"):
            write_checkpoint({"a": torch.ones(1)}, str(path), metadata={})
        assert path.read_bytes() == b"mine"
    assert len(list(tmp_path.iterdir())) == 2


# --- ternarizing on the way in -----------------------------------------------------------------------------


def ternarized(tensors: dict[str, torch.Tensor], how: Ternarization, path: Path) -> dict[str, torch.Tensor]:
    torch.save(tensors, path)
    return loaded(how.applied_to(open_checkpoint(str(path))))


def test_ternarizing_by_a_fixed_threshold(tmp_path: Path) -> None:
    weight = torch.tensor([[0.5, -0.25, 0.0], [-0.5, 0.1, -0.1]])
    tensors = {
        "w": weight,
        "tied": weight,
        "bias": torch.randn(3),
        "done": trits(3, 3).float(),
        "ids": torch.ones(2, 2).int(),
    }
    how = Ternarization(0.25, scaled=False)
    found = ternarized(tensors, how, tmp_path / "model.pt")
    assert found["w"].tolist() == [[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]
    assert found["tied"] is found["w"]
    assert_same(
        {k: found[k] for k in ("bias", "done", "ids")}, {k: tensors[k] for k in ("bias", "done", "ids")}
    )
    assert how.changed == ["w"]
    assert how.kept == ["done"]
    assert (how.counts.negative, how.counts.zero, how.counts.positive) == (1, 4, 1)


def test_ternarizing_with_levels_of_the_mean(tmp_path: Path) -> None:
    weight = torch.tensor([[3.0, -1.0, 0.5, -0.25]])
    how = Ternarization(0.5, scaled=True)
    assert ternarized({"w": weight}, how, tmp_path / "model.pt")["w"].tolist() == [[2.0, -2.0, 0.0, 0.0]]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=name_of)
def test_ternarizing_as_twn_does(tmp_path: Path, dtype: torch.dtype) -> None:
    weight = torch.randn(8, 6, 3, 3, generator=torch.Generator().manual_seed(2)).to(dtype)
    found = ternarized({"w": weight}, Ternarization(None, scaled=True), tmp_path / "model.pt")["w"]
    threshold = 0.7 * weight.double().abs().mean()
    kept = weight.double().abs() > threshold.to(dtype).double()
    level = weight.double().abs()[kept].mean().to(dtype)
    assert found.dtype == dtype
    assert torch.equal(found, torch.where(kept, weight.sign() * level, torch.zeros_like(weight)))


def test_ternarizing_skips_what_it_is_told_to(tmp_path: Path) -> None:
    tensors = {"conv.weight": torch.randn(3, 3), "fc.weight": torch.randn(3, 3), "head": torch.randn(3, 3)}
    how = Ternarization(0.1, scaled=False, skip=("fc.*", "hea?"))
    found = ternarized(tensors, how, tmp_path / "model.pt")
    assert how.changed == ["conv.weight"]
    assert how.kept == ["fc.weight", "head"]
    assert bits(found["head"]) == bits(tensors["head"])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_ternarizing_needs_finite_weights(tmp_path: Path, value: float) -> None:
    path = tmp_path / "model.pt"
    with pytest.raises(
        TernzipError, match=r"model\.pt: tensor 'w': cannot ternarize: expected finite weights"
    ):
        ternarized({"w": torch.tensor([[1.0, value]])}, Ternarization(0.1, scaled=False), path)


@pytest.mark.parametrize("delta", [-0.1, float("nan"), float("inf")])
def test_thresholds_that_are_none(delta: float) -> None:
    with pytest.raises(TernzipError, match="delta: expected a finite threshold of at least 0"):
        Ternarization(delta, scaled=False)


# --- verify ------------------------------------------------------------------------------------------------


def compare(stored: dict[str, torch.Tensor], path: Path) -> list[str]:
    checkpoint = open_checkpoint(str(path))
    try:
        with Reader.open(ternzip.save(stored)) as reader:
            return list(differences(reader, checkpoint))
    finally:
        checkpoint.close()


def test_equal_checkpoints_have_no_differences(save: Callable[..., Path], tmp_path: Path) -> None:
    tensors = some_tensors() | {"nan": random_bits(torch.float32, 9), "masked": alpha_sign_mask(5, 5)}
    assert compare(tensors, save(tensors)) == []
    assert compare(tensors, save({"state_dict": tensors, "epoch": 3}, True)) == []
    other = tmp_path / "model.safetensors"
    separate = {name: tensor.clone() for name, tensor in tensors.items()}
    safetensors.torch.save_file(separate, other)
    assert compare(tensors, other) == []  # which keeps neither order nor ties
    again = tmp_path / "again.tnz"
    ternzip.save_file(tensors, again, codec="packed")
    assert compare(tensors, again) == []


def test_each_kind_of_difference_is_named(save: Callable[..., Path]) -> None:
    tensors = some_tensors()

    def changed(**tensor: torch.Tensor) -> Path:
        return save({**tensors, **tensor})

    bit = tensors["bias"].clone()
    bit.view(torch.int32)[2] ^= 1
    found, expected = (t.view(torch.int32)[2].item() & 0xFFFFFFFF for t in (tensors["bias"], bit))
    assert compare(tensors, changed(bias=bit)) == [
        "tensor 'bias': 1 of 4 elements differ, first at index 2: "
        f"expected bits {expected:08x}, found {found:08x}"
    ]
    zero = tensors["z.weight"].clone()
    first = int((zero.view(-1) == 0).nonzero()[0])
    zero.view(-1)[first] = -0.0
    both = {"z.weight": zero, "tied": zero}
    assert compare(tensors, save({**tensors, **both})) == [
        f"tensor 'z.weight': 1 of 108 elements differ, first at index {first}: "
        "expected bits 80000000, found 00000000"
    ]
    assert compare(tensors, changed(steps=torch.tensor(7, dtype=torch.int32))) == [
        "tensor 'steps': expected int32, found int64 in the file"
    ]
    assert compare(tensors, changed(bias=tensors["bias"].view(2, 2))) == [
        "tensor 'bias': expected shape [2, 2], found [4] in the file"
    ]
    path = save({("offset" if name == "bias" else name): tensor for name, tensor in tensors.items()})
    assert compare(tensors, path) == [
        f"tensor 'bias': in the file, not in {path}",
        f"tensor 'offset': in {path}, not in the file",
    ]
    path = changed(tied=tensors["tied"].clone())
    assert compare(tensors, path) == [f"tensor 'tied': in the file tied to 'z.weight', in {path} not tied"]
    untied = {**tensors, "tied": tensors["tied"].clone()}
    assert compare(untied, changed()) == [
        f"tensor 'tied': in the file not tied, in {path} tied to 'z.weight'"
    ]
    assert compare(tensors, save(dict(sorted(tensors.items())))) == [
        "tensor 'z.weight': the order of tensors differs from here on",
        f"tensor 'tied': in the file tied to 'z.weight', in {path} not tied",
        f"tensor 'z.weight': in the file not tied, in {path} tied to 'tied'",
    ]


def test_a_full_check_decodes_everything() -> None:
    whole = ternzip.save(some_tensors())
    with Reader.open(whole) as reader:
        assert check_all(reader) == len(some_tensors())
    digits = bytes([0 + 1 * 3 + 2 * 9 + 1 * 27 + 2 * 81])  # -1 0 +1 0 +1
    parameters = b"\3" + levels(-1.0, 1.0) + b"\2\1" + bytes([PACKED, 0])  # says -1 -1 0 0 +1
    data = Forge([Tensor("t", TERNARY, shape=(1, 5), parameters=parameters)], [digits]).to_bytes()
    with (
        Reader.open(data) as reader,
        pytest.raises(TernzipError, match="tensor 't': offset 32: symbols -1, 0"),
    ):
        check_all(reader)
