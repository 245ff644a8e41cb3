"""How PyTorch's files are read: tensor by tensor, without a map, and never by a wrong way silently."""

from __future__ import annotations

import io
import os
import sys
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import torch
from checkpoint_files import formats, opened, readers, refused, some_tensors
from samples import assert_same, bits, random_bits, trits
from torch import nn

from ternzip._core.errors import TernzipError
from ternzip._core.tensor import RawTensor
from ternzip.checkpoint import pytorch
from ternzip.checkpoint.load import open_checkpoint


def repacked(path: Path, method: int) -> Path:
    """The same archive, as another zip tool would write it."""
    other = path.with_name("repacked.pt")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w", method) as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))
    return other


@readers
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
def test_archives_of_other_zip_tools(save: Callable[..., Path], method: int, whole: bool) -> None:
    """The compressed bytes of a deflated archive are no weights."""
    base = trits(40, 50).float()
    tensors = {
        "w": base,
        "part": base[3:5, 7:],
        "tied": base,
        "bias": torch.randn(9),
        "none": torch.empty(0, 3),
    }
    path = repacked(save(tensors), method)
    found = opened(path, whole=whole)
    assert_same(found, tensors)
    assert found["tied"] is found["w"]


def test_archives_by_other_methods_are_refused(save: Callable[..., Path]) -> None:
    refused(repacked(save(some_tensors()), zipfile.ZIP_LZMA), "not a readable PyTorch checkpoint: .")


def test_archives_without_checksums(save: Callable[..., Path]) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        path = save(some_tensors())
    finally:
        torch.serialization.set_crc32_options(True)
    assert_same(opened(path), some_tensors() | opened(path, whole=True))


def test_damage_that_torch_does_not_notice(save: Callable[..., Path]) -> None:
    """Also where a tensor is only a part of its storage."""
    weight = torch.arange(1000.0)
    for tensor in (weight, weight[990:]):
        path = save({"w": tensor})
        data = bytearray(path.read_bytes())
        data[data.index(weight.numpy().tobytes()) + 40] ^= 1
        path.write_bytes(data)
        torch.load(path, weights_only=True)
        refused(path, r"'model/data/0': checksum: expected 0x.{8}, found 0x")


def test_views_reach_no_further_than_their_storage(save: Callable[..., Path]) -> None:
    path = save({"w": torch.ones(7)})
    data = path.read_bytes()
    place = data.index(b"K\x07\x85")  # the shape (7,) in the pickle
    other = path.with_name("other.pt")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w") as new:
        for member in old.infolist():
            content = old.read(member)
            content = (
                content.replace(b"K\x07\x85", b"K\x09\x85") if member.filename.endswith(".pkl") else content
            )
            new.writestr(member.filename, content)
    assert place
    refused(other, "expected at least 36 bytes, found 28|out of bounds")


def test_storages_have_the_size_they_declare(save: Callable[..., Path]) -> None:
    path = save({"w": torch.ones(7)})
    other = path.with_name("other.pt")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w") as new:
        for member in old.infolist():
            content = old.read(member)
            new.writestr(member.filename, content[:-4] if member.filename.endswith("data/0") else content)
    refused(other, "storage '0': expected 28 bytes, found 24")


@pytest.mark.parametrize("name", ["data.pkl", "byteorder", "data/0"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
@pytest.mark.parametrize("claimed", [1 << 28, 1 << 63])
def test_members_that_claim_more_than_the_file_has(
    save: Callable[..., Path], name: str, method: int, claimed: int
) -> None:
    path = save({"w": torch.ones(7)})
    other = path.with_name("other.pt")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w", method) as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))
            if member.filename.endswith(name):
                liar = new.getinfo(member.filename)
                liar.file_size = claimed
                liar.compress_size = liar.compress_size if method else claimed
    tracemalloc.start()
    refused(other, "truncated: expected|: expected at most .* deflated|storage '0': expected 28 bytes")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 24


def test_bits_of_conjugated_and_negated_tensors(save: Callable[..., Path]) -> None:
    numbers = random_bits(torch.complex64, 5).conj()
    assert numbers.is_conj()
    assert numbers.imag.is_neg()
    for tensor in (numbers, numbers.imag):
        path = save({"t": tensor})
        assert bits(opened(path)["t"]) == bits(opened(path, whole=True)["t"])
        assert bits(opened(path)["t"]) == bits(tensor.resolve_conj().resolve_neg())


@readers
@formats
def test_an_element_expanded_beyond_all_memory(save: Callable[..., Path], legacy: bool, whole: bool) -> None:
    path = save({"small": torch.ones(1).expand(3, 4), "w": torch.ones(1).expand(10**13)}, legacy)
    refused(
        path, "tensor 'w': cannot store 40,000,000,000,000 bytes, expanded from 4 in the file", whole=whole
    )
    refused(
        save({f"w{n}": torch.ones(n + 1).sum().expand(2**28) for n in range(5)}, legacy),
        "tensor 'w4'",
        whole=whole,
    )
    refused(save(torch.ones(1).expand(10**13), legacy), "tensor 'tensor': cannot store", whole=whole)
    small = save({"w": torch.tensor([2.5]).expand(3, 4)}, legacy)
    assert_same(opened(small, whole=whole), {"w": torch.full((3, 4), 2.5)})


def torchscript(path: Path) -> Path:
    """As much of an archive of torch.jit.save as torch.load looks at."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("data.pkl", "constants.pkl"):
            archive.writestr(f"script/{name}", b"\x80\x02).")
        archive.writestr("script/version", "3\n")
    return path


def test_a_torchscript_archive_is_called_so(tmp_path: Path) -> None:
    path = torchscript(tmp_path / "script.pt")
    for whole in (False, True):
        refused(
            path,
            "expected a checkpoint, found a TorchScript archive: load it with torch.jit.load",
            whole=whole,
        )


@pytest.mark.parametrize("size", [1, 16, 1000])
def test_zeros_are_called_so(tmp_path: Path, size: int) -> None:
    (tmp_path / "zeros.pt").write_bytes(bytes(size))
    refused(tmp_path / "zeros.pt", "expected a checkpoint, found zeros")


def test_nobody_is_told_to_switch_off_the_protection(save: Callable[..., Path], tmp_path: Path) -> None:
    torchscript(tmp_path / "script.pt")
    save(nn.Linear(2, 2))
    (tmp_path / "text.pt").write_bytes(b"\x80\x02hello")
    (tmp_path / "zeros.pt").write_bytes(bytes(99))
    for path in tmp_path.glob("*.pt"):
        with pytest.raises(TernzipError) as caught:
            opened(path)
        assert "weights_only" not in str(caught.value)


@formats
@pytest.mark.parametrize("change", ["cut", "written"])
def test_a_file_that_changes_while_it_is_read(save: Callable[..., Path], legacy: bool, change: str) -> None:
    """A mapped file that is cut short would end the process by a signal."""
    path = save({f"w{number}": torch.randn(50_000) for number in range(4)}, legacy)
    with closing(open_checkpoint(str(path))) as checkpoint:
        tensors = checkpoint.tensors()
        next(tensors)
        if change == "cut":
            os.truncate(path, 4096)
        else:
            os.utime(path, ns=(1, 1))
        expected = "truncated: expected|changed while it was read"
        with pytest.raises(TernzipError, match=rf"^{path}: .*({expected})"):
            list(tensors)


def test_only_what_is_wanted_is_in_memory(save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = save({f"w{number}": torch.ones(1 << 18) for number in range(64)})  # 64 MiB
    monkeypatch.setattr(pytorch, "_load_whole", None)  # whose memory is torch's and would not be seen
    tracemalloc.start()
    try:
        with closing(open_checkpoint(str(path))) as checkpoint:
            for _, tensor in checkpoint.tensors():
                assert isinstance(tensor, RawTensor)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_what_torch_cannot_unpickle_lazily_is_left_to_torch_load(
    save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(some_tensors())
    monkeypatch.setitem(sys.modules, "torch._weights_only_unpickler", None)
    with monkeypatch.context() as patch:
        patch.setattr(pytorch, "_load_whole", lambda file, devices: {"from": torch.ones(1)})
        assert list(opened(path)) == ["from"]


@readers
def test_torchs_advice_is_not_shown(tmp_path: Path, whole: bool) -> None:
    """It warns of pickles of protocol 3, which it reads as well."""
    tensors = {"w": torch.ones(3)}
    torch.save(tensors, tmp_path / "model.pt", pickle_protocol=3)
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        assert_same(opened(tmp_path / "model.pt", whole=whole), tensors)
    assert not shown


def test_sparse_tensors_do_not_disturb_the_next_load(save: Callable[..., Path]) -> None:
    path = save({"s": torch.eye(3).to_sparse()})
    refused(path, "cannot store a sparse_coo tensor")
    torch.load(io.BytesIO(save({"w": torch.ones(1)}).read_bytes()), weights_only=True)
