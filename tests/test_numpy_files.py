""".npz and .npy files as checkpoints: every array there and back, and what is refused."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from checkpoint_files import refused
from samples import random_bits, trits

import ternzip
from ternzip import TernzipError
from ternzip.checkpoint.load import open_checkpoint

Arrays = dict[str, np.ndarray[Any, Any]]


def some_arrays() -> Arrays:
    rng = np.random.default_rng(0)
    kinds = (
        "float64 float32 float16 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool complex64 complex128"
    )
    found = {kind: rng.integers(0, 2, (3, 5)).astype(kind) for kind in kinds.split()}
    found |= {"w": trits(40, 30).float().numpy(), "scalar": np.array(2.5), "empty": np.empty((0, 3))}
    return found | {"folder/name.npy": np.arange(3), "ü": np.arange(4), "f": rng.normal(size=70_000)}


def there_and_back(source: Path, target: Path) -> list[str]:
    """Also compares the file with its source, as numpy reads it; what was not stored."""
    tnz = source.with_suffix(".tnz")
    report = ternzip.compress(source, tnz, overwrite=True)
    assert ternzip.verify(tnz, source).equal
    assert ternzip.decompress(tnz, target, overwrite=True).not_stored == []
    return report.not_stored


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_files(tmp_path: Path, save: Any) -> None:
    given = some_arrays()
    save(tmp_path / "a.npz", **given)
    assert there_and_back(tmp_path / "a.npz", tmp_path / "b.npz") == []
    with np.load(tmp_path / "b.npz") as found:
        assert list(found) == list(given)
        for name, array in given.items():
            assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
            assert found[name].tobytes() == array.tobytes()


@pytest.mark.parametrize("name", some_arrays())
def test_npy_files(tmp_path: Path, name: str) -> None:
    np.save(tmp_path / "a.npy", some_arrays()[name])
    assert there_and_back(tmp_path / "a.npy", tmp_path / "b.npy") == []
    assert (tmp_path / "b.npy").read_bytes() == (tmp_path / "a.npy").read_bytes()


def test_the_suffix_of_the_source_is_the_default(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.eye(3))
    (tmp_path / "moved").write_bytes((tmp_path / "a.npz").read_bytes())  # its contents decide
    ternzip.compress(tmp_path / "moved", tmp_path / "b.tnz")
    assert ternzip.decompress(tmp_path / "b.tnz").target == str(tmp_path / "b.npz")


def test_other_orders_are_told(tmp_path: Path) -> None:
    given = {"f": np.asfortranarray(np.arange(12.0).reshape(3, 4)), "b": np.arange(6, dtype=">i4")}
    given |= {
        "both": np.asfortranarray(np.arange(24, dtype=">u2").reshape(2, 3, 4)),
        "c": np.array([1 + 2j], ">c8"),
    }
    np.savez(tmp_path / "a.npz", **given)
    assert there_and_back(tmp_path / "a.npz", tmp_path / "b.npz") == [
        "big-endian order of bytes: the same numbers come back little-endian (b, both, c)",
        "Fortran order of elements: they come back in C order (f, both)",
    ]
    with np.load(tmp_path / "b.npz") as found:
        assert all(np.array_equal(found[name], array) for name, array in given.items())


def test_versions_of_the_header(tmp_path: Path) -> None:
    for version in ((1, 0), (2, 0), (3, 0)):
        with (tmp_path / "a.npy").open("wb") as file:
            np.lib.format.write_array(file, np.eye(3), version=version)
        assert there_and_back(tmp_path / "a.npy", tmp_path / "b.npy") == []
        assert np.array_equal(np.load(tmp_path / "b.npy"), np.eye(3))


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("shape", ["(3L, 2L)", "(3L,2)", "(6L,)", "(6L, )"])
def test_headers_of_python_2(tmp_path: Path, version: int, shape: str) -> None:
    """It wrote long integers so, and numpy reads them."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    start = b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(header))
    data = start + header + np.arange(6, dtype="<f4").tobytes()
    (tmp_path / "a.npy").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", data)
    for suffix in (".npy", ".npz"):
        assert there_and_back(tmp_path / f"a{suffix}", tmp_path / f"b{suffix}") == []
    assert np.load(tmp_path / "b.npy").reshape(-1).tolist() == list(range(6))


def test_other_members_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.eye(3))
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("notes.txt", "mine")
    assert there_and_back(tmp_path / "a.npz", tmp_path / "b.npz") == [
        "members that are no arrays (notes.txt)"
    ]


def test_a_pytorch_file_called_npz(tmp_path: Path) -> None:
    """What a file holds decides: taken for one of arrays, it had none."""
    torch.save({"w": trits(3, 4)}, tmp_path / "a.npz")
    report = ternzip.compress(tmp_path / "a.npz", tmp_path / "a.tnz")
    assert report.not_stored == []
    assert torch.equal(ternzip.load_file(tmp_path / "a.tnz")["w"], torch.load(tmp_path / "a.npz")["w"])
    assert ternzip.verify(tmp_path / "a.tnz", tmp_path / "a.npz").equal
    (tmp_path / "text.npz").write_bytes(b"no zip file")
    refused(tmp_path / "text.npz", "not a readable npz file")
    np.savez(tmp_path / "empty.npz")
    assert ternzip.compress(tmp_path / "empty.npz", tmp_path / "e.tnz").file.tensors == []


def test_types_that_are_refused(tmp_path: Path) -> None:
    for array, words in (
        (np.array(["a"]), "cannot store <U1"),
        (np.array([{}], dtype=object), r"cannot store \|O"),
        (np.zeros(2, [("a", "f4")]), "cannot store"),
        (np.zeros(2, ml_dtypes.bfloat16), r"cannot store <V2"),
    ):
        np.save(tmp_path / "a.npy", array)
        refused(tmp_path / "a.npy", f"a.npy: {words}")
        np.savez(tmp_path / "a.npz", x=array)
        refused(tmp_path / "a.npz", f"a.npz: tensor 'x': {words}")


def header(text: bytes, version: int = 1) -> bytes:
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x93NUMPY", "expected it to start"),
        (header(b"{}", 9), "expected a version of 1 to 3, found 9"),
        (b"\x93NUMPY\1\0\xff\xff{}", "expected a header of at most 12 bytes, found 65,545"),
        (header(b"{}"), "expected a header of descr"),
        (header(b"(" * 9000), "header: "),
        (header(b"__import__('os')"), "header: malformed"),
        (header(b"{'descr': '<f4', 'fortran_order': 1, 'shape': (2,)}"), "to be True or False, found int"),
        (header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}"), "expected a shape of lengths"),
        (
            header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (True,)}"),
            "expected a shape of lengths",
        ),
        (header(b"{'descr': ['<f4'], 'fortran_order': False, 'shape': (2,)}"), "cannot store"),
        (header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1 << 62,)}"), "malformed"),
        (
            header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904,)}"),
            "less than 2.63",
        ),
        (header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (461168601842738790,)}"), "found 82$"),
        (
            header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (%s)}" % (b"9," * 5000)),
            "at most 64, found 5000",
        ),
        (
            header(b"{'descr': '<f4', 'fortran_order': True, 'shape': (%s)}" % (b"1," * 65)) + bytes(4),
            "at most 64",
        ),
        (
            header(b"{'descr': '<f4', 'fortran_order': True, 'shape': (0, 1 %s)}" % (b", 9" * 60)),
            "less than 2.63",
        ),
        (
            header(b"{'descr': 0x%s, 'fortran_order': False, 'shape': ()}" % (b"f" * 9000)),
            "cannot store .* int",
        ),
        (header(b"{'descr': '<f4', 'fortran_order': 0x%s, 'shape': ()}" % (b"f" * 9000)), "found int$"),
        (header(b"{[]: 1}"), "header: .*unhashable"),
        (header(b"-" * 60_000 + b"1"), "header: ."),
        (header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}") + bytes(7), "bytes, found"),
        (header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}") + bytes(9), "bytes, found"),
    ],
)
def test_damaged_headers(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "a.npy").write_bytes(data)
    refused(tmp_path / "a.npy", words)


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", x=np.arange(100.0))
        whole = (tmp_path / "a.npz").read_bytes()
        damaged = bytearray(whole)
        damaged[-300 if save is np.savez else len(whole) // 2] ^= 1
        (tmp_path / "a.npz").write_bytes(damaged)
        for independent in (False, True):
            refused(tmp_path / "a.npz", "a.npz: ", whole=independent)
        (tmp_path / "a.npz").write_bytes(whole[:-40])
        refused(tmp_path / "a.npz", "not a readable npz file")


def test_a_zip_bomb_takes_no_memory(tmp_path: Path) -> None:
    """The directory's size and the header's shape must agree, and inflating stops at that size."""
    stream = io.BytesIO()
    np.save(stream, np.zeros(1 << 20, np.uint8))
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", stream.getvalue())
    data = (tmp_path / "a.npz").read_bytes()
    size = struct.pack("<I", len(stream.getvalue()))
    assert data.count(size) == 2
    (tmp_path / "a.npz").write_bytes(data.replace(size, struct.pack("<I", 1 << 30)))
    refused(tmp_path / "a.npz", r"tensor 'x': expected 1,048,704 bytes, found 1,073,741,824")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
@pytest.mark.parametrize("claimed", [1 << 28, (1 << 63) - 20])
def test_a_member_that_claims_more_than_the_file_has(tmp_path: Path, method: int, claimed: int) -> None:
    header = repr({"descr": "|i1", "fortran_order": False, "shape": (claimed,)}).encode()
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(70_000)
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.npy", data)
        member = archive.getinfo("a.npy")
        member.file_size = len(data) - 70_000 + claimed
        member.compress_size = member.compress_size if method else member.file_size
    tracemalloc.start()
    refused(path, "a.npz: .*(truncated: expected|: expected at most .* deflated)")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 24


@pytest.mark.parametrize("as_stream", [False, True], ids=["path", "stream"])
def test_a_member_before_the_file(tmp_path: Path, as_stream: bool) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, a=np.arange(3))
    data = bytearray(path.read_bytes())
    end = data.rindex(b"PK\5\6")
    (directory,) = struct.unpack_from("<I", data, end + 16)
    struct.pack_into("<I", data, end + 16, directory + 10)
    path.write_bytes(data)
    source = io.BytesIO(data) if as_stream else path
    with pytest.raises(TernzipError, match=r"'a\.npy': expected its header at offset -10"):
        ternzip.compress(source, tmp_path / "a.tnz")


def test_what_numpys_files_cannot_hold(tmp_path: Path) -> None:
    for tensors, name, words in (
        ({"a": torch.ones(2), "b": torch.ones(2)}, "x.npy", r"expected one tensor for a \.npy file, found 2"),
        ({"a": random_bits(torch.bfloat16, 3)}, "x.npz", "have no bfloat16: decompress to .safetensors"),
        ({"a": random_bits(torch.bfloat16, 3)}, "x.npy", "have no bfloat16: decompress to .safetensors"),
        (
            {"a": random_bits(torch.float8_e5m2, 3)},
            "x.npz",
            "have no float8_e5m2: decompress to .safetensors",
        ),
        ({"a": random_bits(torch.complex32, 3)}, "x.npz", "have no complex32: decompress to .pt"),
        ({"a\0b": torch.ones(2)}, "x.npz", "without NUL"),
    ):
        data = ternzip.save(tensors)
        with pytest.raises(TernzipError, match=words):
            ternzip.decompress(io.BytesIO(data), tmp_path / name)
        assert not (tmp_path / name).exists()
    tied = torch.ones(3)
    data = ternzip.save({"a": tied, "b": tied}, {"k": "v"})
    report = ternzip.decompress(io.BytesIO(data), tmp_path / "x.npz")
    assert report.not_stored == [
        "metadata (k): a .npz file has no place for it",
        "ties (b): .npz holds a copy for each name",
    ]
    with np.load(tmp_path / "x.npz") as found:
        assert np.array_equal(found["b"], np.ones(3))
    for name, lost in {
        "w": ["the name of the tensor (w): a .npy file has no place for it"],
        "tensor": [],
    }.items():
        data = ternzip.save({name: torch.ones(3)})
        assert ternzip.decompress(io.BytesIO(data), tmp_path / f"{name}.npy").not_stored == lost


def test_a_stream_of_an_npz_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.eye(3))
    opened = open_checkpoint(io.BytesIO((tmp_path / "a.npz").read_bytes()))
    assert (list(opened.sizes), opened.suffix, opened.files) == (["x"], ".npz", [])


def test_names_that_differ_in_the_suffix_only(tmp_path: Path) -> None:
    """numpy takes both names of such a member, and would find the other array by one of them."""
    np.savez(tmp_path / "a.npz", **{"x": np.arange(3), "x.npy": np.arange(4)})
    assert there_and_back(tmp_path / "a.npz", tmp_path / "b.npz") == []
    with np.load(tmp_path / "b.npz") as found:
        assert np.array_equal(found["x.npy.npy"], np.arange(4))
