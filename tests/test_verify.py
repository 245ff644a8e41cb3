"""verify: every kind of difference has a name, and nothing confirms itself."""

from __future__ import annotations

import io
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from checkpoint_files import loaded, refused, some_tensors
from forge import PACKED, TERNARY, Forge, Tensor, levels
from samples import alpha_sign_mask, assert_same, random_bits

import ternzip
from ternzip._core.errors import TernzipError
from ternzip.checkpoint import archive
from ternzip.checkpoint import safetensors as safetensors_reader
from ternzip.checkpoint.load import open_checkpoint
from ternzip.checkpoint.verify import check_all
from ternzip.container.reader import Reader


def compare(stored: dict[str, torch.Tensor], path: Path) -> list[str]:
    report = ternzip.verify(io.BytesIO(ternzip.save(stored)), path)
    assert report.equal == (report.differences == [])
    return report.differences


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


def test_what_cannot_be_compared_is_said(save: Callable[..., Path], tmp_path: Path) -> None:
    path = save({"state_dict": OrderedDict(w=torch.ones(2, 3).t()), "epoch": 3})
    stored = ternzip.compress(path).not_stored
    report = ternzip.verify(tmp_path / "model.tnz", path)
    assert report.equal
    assert report.not_compared == stored
    assert stored == [
        "1 entry that is no tensor (epoch)",
        "the key 'state_dict' around the tensors",
        "strides: they come back contiguous (w)",
    ]


def test_a_mistake_of_the_reader_does_not_confirm_itself(
    save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    weight = {"w": torch.randn(40, 40)}
    other = tmp_path / "other.safetensors"
    safetensors.torch.save_file(weight, other)
    for path, reader in ((save(weight), archive.Archive), (other, safetensors_reader._File)):
        method = "tensor" if reader is archive.Archive else "read"
        right: Callable[..., Any] = getattr(reader, method)

        def wrong(self: Any, key: Any, right: Callable[..., Any] = right) -> Any:
            found = right(self, key)
            bytes_of = found.view(torch.uint8).numpy() if isinstance(found, torch.Tensor) else found.data
            bytes_of.reshape(-1)[500] ^= 1
            return found

        with monkeypatch.context() as patch:
            patch.setattr(reader, method, wrong)
            ternzip.compress(path, tmp_path / "model.tnz", overwrite=True)
            report = ternzip.verify(tmp_path / "model.tnz", path)
        assert len(report.differences) == 1
        assert report.differences[0].startswith("tensor 'w': 1 of 1600 elements differ, first at index 125")


def test_a_deflated_archive_is_stored_as_what_it_holds(save: Callable[..., Path], tmp_path: Path) -> None:
    tensors = {"w": torch.arange(10_000.0).reshape(100, 100), "b": torch.ones(5)}
    deflated = tmp_path / "deflated.pt"
    with zipfile.ZipFile(save(tensors)) as old, zipfile.ZipFile(deflated, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))
    report = ternzip.compress(deflated)
    assert report.source_bytes < report.tensor_bytes
    assert report.ratio == pytest.approx(report.source_bytes / report.file.bytes)
    assert_same(ternzip.load_file(tmp_path / "deflated.tnz"), tensors)
    assert ternzip.verify(tmp_path / "deflated.tnz", deflated).equal
    ternzip.save_file({**tensors, "b": torch.zeros(5)}, tmp_path / "wrong.tnz")
    assert not ternzip.verify(tmp_path / "wrong.tnz", deflated).equal


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


def test_tnz_files_are_checkpoints_too(tmp_path: Path) -> None:
    tensors = some_tensors()
    path = tmp_path / "model"
    ternzip.save_file(tensors, path, metadata={"k": "v"})
    checkpoint = open_checkpoint(str(path))
    assert checkpoint.metadata == {"k": "v"}
    assert checkpoint.ties == {"tied": "z.weight"}
    assert checkpoint.not_stored == []
    assert checkpoint.faithful
    found = loaded(checkpoint)
    assert_same(found, tensors)
    assert found["tied"] is found["z.weight"]
    path.write_bytes(path.read_bytes()[:-1])
    refused(path, "truncated")
