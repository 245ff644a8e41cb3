"""PyTorch's files: what is found in them, what is refused, and how they are read."""

from __future__ import annotations

import os
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_files import described, formats, loaded, opened, readers, refused, some_tensors
from samples import ALL_DTYPES, assert_same, name_of, random_bits
from torch import nn

import ternzip
from ternzip._core.errors import TernzipError
from ternzip.checkpoint.load import open_checkpoint


@formats
@readers
def test_state_dicts(save: Callable[..., Path], legacy: bool, whole: bool) -> None:
    tensors = some_tensors()
    path = save(OrderedDict(tensors), legacy)
    checkpoint = open_checkpoint(str(path), whole=whole)
    assert checkpoint.sizes == {name: tensor.nbytes for name, tensor in tensors.items()}
    assert checkpoint.ties == {"tied": "z.weight"}
    assert checkpoint.tensor_bytes == sum(checkpoint.sizes.values()) - tensors["tied"].nbytes
    assert checkpoint.not_stored == []
    assert checkpoint.faithful
    assert checkpoint.file_bytes == path.stat().st_size
    found = loaded(checkpoint)
    assert_same(found, tensors)
    assert found["tied"] is found["z.weight"]


@formats
def test_a_whole_modules_state(save: Callable[..., Path], legacy: bool) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.LSTM(2, 3))
    path = save(module.state_dict(), legacy)
    assert_same(opened(path), module.state_dict())
    versions = "versions of modules, which torch adds to a state_dict (_metadata)"
    assert described(path).not_stored == [versions]


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=name_of)
@readers
def test_pt_files_of_every_dtype(save: Callable[..., Path], dtype: torch.dtype, whole: bool) -> None:
    tensors = {"t": random_bits(dtype, 3, 4), "strided": random_bits(dtype, 6, 4)[::2, 1:].t()}
    assert_same(opened(save(tensors), whole=whole), tensors)


WRAPPED = "the key {!r} around the tensors"
NESTING = "the nesting of dictionaries and lists (names are paths)"
NESTED: dict[str, tuple[Callable[[dict[str, Any]], Any], list[str], list[str]]] = {
    "under state_dict": (
        lambda t: {"epoch": 3, "state_dict": t},
        ["a", "b"],
        ["1 entry that is no tensor (epoch)", WRAPPED.format("state_dict")],
    ),
    "under model": (
        lambda t: {"model": t, "args": {"lr": 0.1}, "step": None},
        ["a", "b"],
        ["2 entries that are no tensors (args, step)", WRAPPED.format("model")],
    ),
    "under two names": (
        lambda t: {"checkpoint": {"model": t}},
        ["model.a", "model.b"],
        [WRAPPED.format("checkpoint"), NESTING],
    ),
    "beside an optimizer": (
        lambda t: {"state_dict": t, "optimizer": {"state": {0: {"m": torch.ones(2)}}, "lr": 0.1}},
        ["state_dict.a", "state_dict.b", "optimizer.state.0.m"],
        [
            "1 entry that is no tensor (optimizer.lr)",
            NESTING,
            "types of keys that are no strings (optimizer.state.0)",
        ],
    ),
    "beside averaged weights": (
        lambda t: {"state_dict": t, "ema_state_dict": {k: v + 1 for k, v in t.items()}},
        ["state_dict.a", "state_dict.b", "ema_state_dict.a", "ema_state_dict.b"],
        [NESTING],
    ),
    "several models": (
        lambda t: {"generator": t, "critic": t, "note": "x"},
        ["generator.a", "generator.b", "critic.a", "critic.b"],
        ["1 entry that is no tensor (note)", NESTING],
    ),
    "beside tensors": (
        lambda t: {"state_dict": t, "mean": torch.ones(1)},
        ["state_dict.a", "state_dict.b", "mean"],
        [NESTING],
    ),
    "lightning": (
        lambda t: {
            "epoch": 1,
            "state_dict": {f"model.{k}": v for k, v in t.items()},
            "loops": {"fit_loop": {"state_dict": {}}},
            "callbacks": {"ModelCheckpoint{}": {"best_model_score": torch.tensor(0.5)}},
            "optimizer_states": [{"state": {"0": {"exp_avg": torch.ones(2)}}}],
            "hyper_parameters": {"lr": 0.1},
        },
        [
            "state_dict.model.a",
            "state_dict.model.b",
            "callbacks.ModelCheckpoint{}.best_model_score",
            "optimizer_states.0.state.0.exp_avg",
        ],
        ["3 entries that are no tensors (epoch, loops, hyper_parameters)", NESTING],
    ),
    "data parallel": (
        lambda t: {"state_dict": {f"module.{k}": v for k, v in t.items()}},
        ["module.a", "module.b"],
        [WRAPPED.format("state_dict")],
    ),
    "odd keys": (
        lambda t: {1: t["a"], (2, 3): t["b"], None: 4},
        ["1", "(2, 3)"],
        ["1 entry that is no tensor (None)", "types of keys that are no strings (1, (2, 3))"],
    ),
    "lists and tuples": (
        lambda t: {**t, "list": [torch.ones(1), 3, (torch.zeros(1),)], "flag": True},
        ["a", "b", "list.0", "list.2.0"],
        ["2 entries that are no tensors (list.1, flag)", NESTING],
    ),
    "a list": (lambda t: [t["a"], {"x": t["b"]}], ["0", "1.x"], [NESTING]),
    "empty dictionaries": (
        lambda t: {"state_dict": t, "empty": {}, "deep": {"x": {}}},
        ["a", "b"],
        ["2 entries that are no tensors (empty, deep)", WRAPPED.format("state_dict")],
    ),
    "no dictionary": (
        lambda t: t["a"],
        ["tensor"],
        ["that this is a lone tensor (its name here is 'tensor')"],
    ),
}


@formats
@readers
@pytest.mark.parametrize("case", NESTED)
def test_tensors_are_found(save: Callable[..., Path], case: str, legacy: bool, whole: bool) -> None:
    build, names, not_stored = NESTED[case]
    path = save(build({"a": torch.randn(2, 2), "b": torch.ones(3)}), legacy)
    checkpoint = open_checkpoint(str(path), whole=whole)
    assert list(checkpoint.sizes) == names
    assert checkpoint.not_stored == not_stored
    assert list(loaded(checkpoint)) == names


def test_many_entries_make_one_line(save: Callable[..., Path]) -> None:
    path = save({"w": torch.ones(2), **{f"scalar{number}": number for number in range(20_000)}})
    assert described(path).not_stored == [
        "20,000 entries that are no tensors (scalar0, scalar1, scalar2 and 19,997 more)"
    ]


@readers
def test_what_tensors_lose_is_said(save: Callable[..., Path], whole: bool) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    marked = torch.ones(2)
    marked.note = "mine"  # type: ignore[attr-defined]
    path = save(
        {
            "transposed": torch.randn(2, 3).t(),
            "channels": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
            "trained": nn.Parameter(torch.ones(2)),
            "marked": marked,
            "base": base,
            "part": base[1:],
            "same": base,
        }
    )
    assert described(path, whole=whole).not_stored == [
        "requires_grad and torch.nn.Parameter (trained)",
        "Python classes and attributes (marked)",
        "strides: they come back contiguous (transposed, channels)",
        "shared storage: each view is stored by itself (base, part)",
    ]


@readers
@pytest.mark.parametrize("value", [{1: 3.0, "1": 4.0}, {"a": [5.0], "a.0": 6.0}], ids=["int", "path"])
def test_names_that_collide_are_refused(save: Callable[..., Path], value: Any, whole: bool) -> None:
    def tensors(value: Any) -> Any:
        if isinstance(value, float):
            return torch.tensor(value)
        return (
            [tensors(v) for v in value]
            if isinstance(value, list)
            else {k: tensors(v) for k, v in value.items()}
        )

    refused(save(tensors(value)), r"tensor '(1|a\.0)': duplicate name", whole=whole)


def test_tensors_of_sets_are_refused(save: Callable[..., Path]) -> None:
    refused(save({"w": torch.ones(1), "s": {torch.ones(2)}}), "'s': cannot store tensors of a set")


@pytest.mark.parametrize("whole", [False, True])
def test_a_lone_tensor(save: Callable[..., Path], whole: bool) -> None:
    assert_same(opened(save(torch.arange(3)), whole=whole), {"tensor": torch.arange(3)})


def test_latent_weights_are_recognised(save: Callable[..., Path]) -> None:
    model = ternzip.prepare(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(2, 2)))
    latent = [f"{layer}.parametrizations.weight.original" for layer in (0, 1)]
    assert set(latent) < set(model.state_dict())
    assert described(save(model.state_dict())).latent == latent
    prefixed = {"state_dict": {f"model.{name}": value for name, value in model.state_dict().items()}}
    assert described(save(prefixed)).latent == [f"model.{name}" for name in latent]
    root = ternzip.prepare(nn.Sequential(nn.Linear(2, 2)))[0]
    assert described(save(root.state_dict())).latent == ["parametrizations.weight.original"]
    assert described(save(ternzip.convert(model).state_dict())).latent == []


@pytest.mark.parametrize("quantizer", ["delta", "binary", "twn", "ttq", "ec2t"])
def test_latent_weights_of_every_quantizer(save: Callable[..., Path], quantizer: str) -> None:
    model = ternzip.prepare(nn.Sequential(nn.Linear(2, 2)), quantizer)
    assert described(save(model.state_dict())).latent == ["0.parametrizations.weight.original"]


@pytest.mark.parametrize("parametrization", ["weight_norm", "spectral_norm", "orthogonal"])
def test_torchs_own_parametrizations_are_not_latent(save: Callable[..., Path], parametrization: str) -> None:
    layer = getattr(nn.utils.parametrizations, parametrization)(nn.Linear(3, 3))
    path = save(layer.state_dict())
    assert any("parametrizations.weight.original" in name for name in layer.state_dict())
    assert described(path).latent == []


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


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", [4, 5])
def test_pickles_that_are_too_new_are_called_so(tmp_path: Path, protocol: int, legacy: bool) -> None:
    path = tmp_path / "new.pt"
    torch.save(
        {"w": torch.ones(3)}, path, pickle_protocol=protocol, _use_new_zipfile_serialization=not legacy
    )
    refused(path, "expected a pickle of protocol 2 or 3, found one of protocol 4 or later")


def test_what_holds_no_tensors(save: Callable[..., Path]) -> None:
    refused(save("text"), "expected a dictionary of tensors, found str")
    refused(save({}), "expected at least one tensor, found none among 0 entries")
    refused(save({"a": 1, "b": {"c": 2}}), "expected at least one tensor, found none among 2 entries")
    refused(
        save({"a": {"b.c": torch.ones(1)}, "a.b": {"c": torch.ones(1)}}), r"tensor 'a\.b\.c': duplicate name"
    )


def test_dictionaries_without_end(save: Callable[..., Path]) -> None:
    circle: dict[str, Any] = {"w": torch.ones(1)}
    circle["again"] = circle
    refused(save(circle), "expected at most .* dictionaries and lists, nested at most 32 deep")
    deep: dict[str, Any] = {"w": torch.ones(1)}
    for _ in range(31):
        deep = {"d": deep}
    assert list(opened(save(deep))) == ["d." * 30 + "w"]
    refused(save({"d": deep}), "nested at most 32 deep")
    doubled: dict[str, Any] = {}
    for _ in range(31):  # two thousand million dictionaries, if one goes through them
        doubled = {"a": doubled, "b": doubled}
    refused(save(doubled), "expected at most 1048576 dictionaries")
    many = [None] * 30_000  # a hundred kilobytes; whoever goes through them all needs hours
    refused(save({"w": torch.ones(1), "many": [many] * 30_000}), "at most 4194304 entries in .* found more")
    few = [None] * 1000
    assert list(opened(save({"w": torch.ones(1), "few": [few] * 1000}))) == ["w"]
    lists: list[Any] = [torch.ones(1)]
    lists.append(lists)
    refused(save(lists), "nested at most 32 deep")


@pytest.mark.filterwarnings("ignore")  # torch's own, about these kinds of tensors
@formats
def test_tensors_that_cannot_be_stored_are_named(save: Callable[..., Path], legacy: bool) -> None:
    for value, message in (
        (torch.eye(3).to_sparse(), "cannot store a sparse_coo tensor"),
        (torch.ones(2, device="meta"), "cannot store a meta tensor"),
        (torch.quantize_per_tensor(torch.eye(3), 0.1, 0, torch.qint8), r"cannot store torch\.qint8"),
    ):
        refused(save({"good": torch.ones(2), "odd one": value}, legacy), f"tensor 'odd one': {message}")


@readers
def test_a_device_that_is_no_text(save: Callable[..., Path], whole: bool) -> None:
    path = save({"w": torch.ones(2)}, True)
    data = path.read_bytes()
    cpu = b"X\3\0\0\0cpu"  # a string in a pickle; K 7 is the number 7
    assert data.count(cpu) == 1
    path.write_bytes(data.replace(cpu, b"K\7"))
    assert described(path, whole=whole).not_stored == ["devices (7)"]


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


@pytest.mark.parametrize(
    "data",
    [b"\x89HDF\r\n\x1a\n", b"\x1f\x8b\x08", b"PK\5\6" + bytes(18), b"sys_info", b"\x08\x07\x12\x04onnx"],
)
def test_files_of_other_tools_are_called_so(tmp_path: Path, data: bytes) -> None:
    """HDF5, gzip, an empty zip file, torch's tar files of long ago, ONNX: each by how it begins."""
    path = tmp_path / "model.bin"
    path.write_bytes(data)
    refused(path, f"expected a zip file or a pickle, found {re.escape(repr(data[:8]))} at its start$")


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
