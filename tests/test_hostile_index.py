"""Hostile preambles and directories, forged field by field: each field is refused by its own rule."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import zstandard
from forge import (
    F32,
    I8,
    PACKED,
    PLANES,
    SOLID,
    STATIC,
    TERNARY,
    TIED,
    U8,
    Forge,
    Tensor,
    parts,
    preamble,
    seal,
    stored_directory,
    table_of,
    varint,
)
from reading import GOOD, elements, read, refused, with_directory

from ternzip import codecs
from ternzip._core.dtypes import BY_NAME as DTYPES
from ternzip._core.errors import TernzipError
from ternzip._core.tensor import RawTensor, Tie
from ternzip.codecs.zstd import compress_zstd
from ternzip.container.reader import Reader
from ternzip.container.writer import write_container


def test_a_forged_file_reads() -> None:
    assert elements(GOOD.to_bytes()) == b"abc"


def test_wrong_magic() -> None:
    refused(
        b"PK\x03\x04" + bytes(60), "offset 0: expected a .tnz file starting with 89544e5a.*found 504b0304"
    )
    refused(b"", "offset 0: expected a .tnz file")
    good = GOOD.to_bytes()
    for position in (5, 6, 7):  # the bytes that betray text-mode transfers
        damaged = good[:position] + b"\n" + good[position + 1 :]
        if damaged != good:
            refused(damaged, "offset 0: expected the magic")


@pytest.mark.parametrize("version", [0, 2, 255])
def test_other_major_versions(version: int) -> None:
    magic = b"\x89TNZ" + bytes([version]) + b"\r\n\x1a"
    refused(preamble(32, 0, 0, 0, magic), f"offset 4: format version {version}, this ternzip reads version 1")


def test_preamble_numbers() -> None:
    good = GOOD.to_bytes()
    refused(good[:31], "offset 31: truncated: expected a preamble of 32 bytes")
    refused(preamble(31, 0, 1, 0), "offset 8: index offset: expected at least 32, found 31")
    refused(preamble(32, 0, 1, 0), "offset 32: truncated: expected 33 bytes, found 32")
    refused(preamble((1 << 64) - 1, (1 << 32) - 1, (1 << 32) - 1, 0), "truncated: expected 184")
    refused(
        preamble(32, 0, 0, 0) + b"x", "offset 32: further bytes after its end: expected 32 bytes, found 33"
    )
    refused(good[:28] + bytes(4) + good[32:], "offset 28: preamble checksum")
    refused(good[:-1] + b"\xff", r"offset 38: index checksum: expected 0x\w{8}, found 0x\w{8}")
    refused(preamble(32, 0, 0, 0), "file offset 32: method: expected 1 bytes, found 0")


# --- directory ---------------------------------------------------------------------------------------------


def test_directory_methods() -> None:
    table = GOOD.table()
    frame = compress_zstd(table, 3)
    assert elements(with_directory(b"\1" + varint(len(table)) + frame)) == b"abc"
    refused(
        with_directory(b"\2" + varint(len(table)) + table), "expected method 1, or 0 with .* found method 2"
    )
    refused(with_directory(b"\0" + varint(len(table) + 1) + table), "expected method 1, or 0")
    refused(with_directory(b"\1" + varint(len(table)) + table), "zstd: ")
    refused(with_directory(b"\1" + varint(len(table)) + frame[:-1]), "zstd: ")
    refused(with_directory(b"\1" + varint(len(table)) + frame + b"x"), "zstd: ")
    refused(with_directory(b"\1" + varint(len(table) + 1) + frame), r"zstd: expected \d+ bytes, found \d+")
    refused(with_directory(b"\1" + varint(len(table) - 1) + frame), "zstd: ")
    refused(with_directory(b"\0\x80\0"), "integer not in its shortest form")
    refused(with_directory(b"\0" + b"\xff" * 10), "integer longer than 64 bits")
    refused(with_directory(b"\0" + b"\xff" * 9 + b"\x02"), "size: expected at most 66944, found|at most")


def test_directory_may_not_grow_without_bound() -> None:
    bomb = compress_zstd(bytes(1 << 26), 3)
    allowed = 128 * (1 + 4 + len(bomb)) + (1 << 16)
    refused(
        with_directory(b"\1" + varint(1 << 26) + bomb), f"size: expected at most {allowed}, found 67108864"
    )
    tracemalloc.start()
    refused(with_directory(b"\1" + varint(1 << 16) + bomb), "zstd: ")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_crowded_directories(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that compress too well are stored as they are; a frame that holds as many is refused."""
    monkeypatch.setattr("ternzip.container.limits.ENTRY_SLACK", 0)
    tensors = [("t", RawTensor(DTYPES["uint8"], (1,), np.zeros(1, np.uint8)))]
    tensors += [(f"tied.weight.{i:04}", Tie("t")) for i in range(300)]
    stream = io.BytesIO()
    write_container(stream, tensors, metadata={"key": "value"})
    records, parameters, directory = parts(stream.getvalue())
    assert directory[0] == 0
    assert list(read(stream.getvalue())) == [name for name, _ in tensors]
    table = table_of(directory)
    crowded = b"\1" + varint(len(table)) + compress_zstd(table, 19)
    limit = len(crowded) // 4
    assert limit < 302
    refused(seal(records, parameters, crowded), f"at most {limit} tensors, .*, found 302")


def zstd(data: bytes, **options: object) -> bytes:
    dictionary = options.pop("dict_data", None)
    return zstandard.ZstdCompressor(
        dict_data=dictionary,  # type: ignore[arg-type]
        compression_params=zstandard.ZstdCompressionParameters(**options),  # type: ignore[arg-type]
    ).compress(data)


def test_zstd_frames_that_state_more_than_they_may() -> None:
    table = GOOD.table()
    stated = zstd(table, write_content_size=True)
    refused(with_directory(b"\1" + varint(len(table)) + stated), "without content size and dictionary")
    # A stated content size would decide how much is allocated.
    lie = bytearray(zstd(bytes(60000), write_content_size=True))
    refused(with_directory(b"\1" + varint(60000) + lie), "without content size and dictionary")
    dictionary = zstandard.train_dictionary(1024, [b"%d hello %d" % (i, i * i) * 9 for i in range(300)])
    named = zstd(table, write_content_size=False, write_dict_id=True, dict_data=dictionary)
    refused(with_directory(b"\1" + varint(len(table)) + named), "without content size and dictionary")
    buffer = io.BytesIO()
    wide = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=False)
    writer = zstandard.ZstdCompressor(compression_params=wide).stream_writer(buffer, closefd=False)
    writer.write(table)
    writer.flush(zstandard.FLUSH_FRAME)
    refused(with_directory(b"\1" + varint(len(table)) + buffer.getvalue()), "zstd: .*memory")


def test_table_fields() -> None:
    tensor = Tensor("t", SOLID, U8, (3,))
    record = [b"\0\0\x03abc"]
    refused(
        Forge([tensor], record, flags=1).to_bytes(),
        "flags: expected 0, found 0x01: features that this ternzip does not know",
    )
    refused(Forge([tensor], record, tensor_count=1 << 60).to_bytes(), "number of tensors: expected at most")
    refused(
        Forge([tensor], record, metadata_count=1 << 60).to_bytes(), "number of metadata entries: expected at"
    )
    refused(Forge([Tensor("t", 4)], record).to_bytes(), "storage: expected at most 3, found 4")
    refused(Forge([Tensor("t", SOLID, 22)], record).to_bytes(), "type: expected at most 21, found 22")
    refused(
        Forge([Tensor("t", SOLID, U8, [1] * 65)], record).to_bytes(),
        "dimensions: expected at most 64, found 65",
    )
    assert len(read(Forge([Tensor("t", SOLID, U8, [1] * 64)], [b"\0\0\x01a"]).to_bytes())) == 1
    refused(
        Forge([tensor], record, table_tail=b"\0").to_bytes(),
        "expected the end of the section, found 1 further",
    )
    refused(
        Forge([tensor], record, parameters_tail=b"\0").to_bytes(),
        "parameters, file offset 38: expected the end",
    )
    refused(Forge([tensor], record, tail=b"\0").to_bytes(), "further bytes")
    for cut in range(1, len(GOOD.table())):
        with pytest.raises(TernzipError):
            read(with_directory(stored_directory(GOOD.table()[:-cut])))


@pytest.mark.parametrize(
    "shape",
    [(1 << 61,), (1 << 63,), (1 << 31, 1 << 32), (0, 1 << 62), ((1 << 64) - 1,), (1 << 40, 0, 1 << 40)],
)
def test_shapes_beyond_63_bits(shape: tuple[int, ...]) -> None:
    for storage in (SOLID, PLANES, TERNARY):
        refused(
            Forge([Tensor("t", storage, F32, shape)]).to_bytes(), r"shape: expected less than 2\^63 bytes"
        )


def test_ties() -> None:
    tensor = Tensor("t", SOLID, U8, (3,))
    record = [b"\0\0\x03abc"]
    tied = read(Forge([tensor, Tensor("u", TIED, tied=0), Tensor("v", TIED, tied=0)], record).to_bytes())
    assert tied["u"] == tied["v"] == Tie("t")
    for target in (1, 2, 3, 1 << 60):  # itself, a later one, none at all
        refused(
            Forge([tensor, Tensor("u", TIED, tied=target), Tensor("v", SOLID, U8, (0,))], record).to_bytes(),
            f"tensor 1: expected a tie to an earlier stored tensor, found {target}",
        )
    refused(
        Forge([tensor, Tensor("u", TIED, tied=0), Tensor("v", TIED, tied=1)], record).to_bytes(),
        "tensor 2: expected a tie to an earlier stored tensor, found 1",
    )
    refused(Forge([Tensor("u", TIED, tied=0)], []).to_bytes(), "tensor 0: expected a tie")


def test_storages_that_do_not_fit() -> None:
    refused(
        Forge([Tensor("t", SOLID, U8, (1 << 16,))], [b"\0"]).to_bytes(),
        "tensor 0: expected less than 65536 bytes in a solid block",
    )
    refused(
        Forge([Tensor("t", PLANES, U8, (0, 7))], []).to_bytes(), r"expected elements, found shape \[0, 7\]"
    )
    refused(
        Forge([Tensor("t", TERNARY, U8, (2, 2))]).to_bytes(), "non-empty tensor of a signed type, found uint8"
    )
    refused(
        Forge([Tensor("t", TERNARY, F32, (2, 0))]).to_bytes(),
        r"non-empty tensor of a signed type, found float32",
    )


def test_names_and_metadata() -> None:
    one, two = Tensor("a", SOLID, U8, (1,)), Tensor("a", SOLID, U8, (1,))
    block = [b"\0\0\x02xy"]
    refused(Forge([one, two], block).to_bytes(), "duplicate tensor name 'a'")
    refused(Forge([one, Tensor("a", TIED)], [b"\0\0\x01x"]).to_bytes(), "duplicate tensor name 'a'")
    one.name = b"\xff\xfe"
    refused(Forge([one, two], block).to_bytes(), "text: expected UTF-8: invalid start byte")
    one.name = "\ud800".encode(errors="surrogatepass")
    refused(Forge([one, two], block).to_bytes(), "text: expected UTF-8")
    one.name = "b"
    refused(
        Forge([one, two], block, [(b"k", b"v"), (b"k", b"w")]).to_bytes(), "metadata: expected each key once"
    )
    refused(Forge([one, two], block, [(b"k", b"\x80")]).to_bytes(), "text: expected UTF-8")
    with Reader.open(Forge([one, two], block, [(b"", b""), (b"k", b"v")]).to_bytes()) as reader:
        assert reader.metadata == {"": "", "k": "v"}
    refused(
        Forge([one, two], block, name_lengths=[1, 65537]).to_bytes(),
        "length of a name: expected at most 65536",
    )
    refused(Forge([one, two], block, name_lengths=[1, 9]).to_bytes(), "text: expected 9 bytes, found 1")
    refused(
        Forge([one, two], block, name_lengths=[1, 0]).to_bytes(), "expected the end of the section, found 1"
    )
    one.name = b"n" * 65536
    assert len(read(Forge([one, two], block).to_bytes())) == 2


def test_records_fill_the_file_exactly() -> None:
    """No record can overlap another or leave a gap: offsets are not stored, and sizes must add up."""
    tensors = [Tensor("a", PLANES, U8, (3,)), Tensor("b", PLANES, U8, (2,))]
    records = [b"\0\0\x03abc", b"\0\0\x02xy"]
    assert elements(Forge(tensors, records).to_bytes(), "b") == b"xy"
    refused(
        Forge(tensors, records, sizes=[6, 6]).to_bytes(), "records: expected their end at offset 43, found 44"
    )
    refused(
        Forge(tensors, records, sizes=[6, 4]).to_bytes(), "records: expected their end at offset 43, found 42"
    )
    refused(Forge(tensors, records, sizes=[5, 6]).to_bytes(), "tensor 'a': offset 32: checksum")
    refused(Forge(tensors, records, sizes=[1 << 63, 5]).to_bytes(), "size of a record: expected at most 43")
    refused(
        Forge(tensors, records, checksums=[0, 0]).to_bytes(),
        "tensor 'a': offset 32: checksum: expected 0x0000",
    )
    refused(
        Forge(tensors, [*records, b"more"], sizes=[6, 5], checksums=[0, 0]).to_bytes(), "expected their end"
    )
    refused(Forge(tensors, []).to_bytes(), "records: expected more than the 0 bytes there are")


def test_records_are_filled_up_with_zeros() -> None:
    """2^20 zeros may not take less than two bytes of file, whatever their codec needs."""
    tensor = Tensor("t", TERNARY, I8, (1 << 20,), parameters=b"\0")
    assert elements(Forge([tensor], [b"\0\0"], sizes=[0]).to_bytes()) == bytes(1 << 20)
    refused(Forge([tensor], [b"\0\1"], sizes=[0]).to_bytes(), "expected zeros after the first 0 bytes")
    refused(
        Forge([tensor], [b"\0\0"], sizes=[1]).to_bytes(),
        "expected an empty record for a constant, found 1 bytes",
    )
    refused(Forge([tensor], [b"\0"], sizes=[0]).to_bytes(), "records: expected more than the 1 bytes")
    refused(Forge([tensor], [b"\0\0\0"], sizes=[0]).to_bytes(), "expected their end at offset 35, found 34")


def test_an_unknown_name_is_an_error() -> None:
    with (
        Reader.open(GOOD.to_bytes()) as reader,
        pytest.raises(TernzipError, match="<bytes>: no tensor 'x' among 1"),
    ):
        reader.read("x")


def test_a_file_that_shrinks_while_it_is_read(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "t.tnz"
    path.write_bytes(GOOD.to_bytes())
    with Reader.open(path) as reader:
        path.write_bytes(GOOD.to_bytes()[:34])
        with pytest.raises(TernzipError, match=r"t\.tnz: .*offset 34: truncated: expected 4 more bytes"):
            reader.read("t")


def test_checksums_are_crc32() -> None:
    """The check values of the format's CRC, so that a change of polynomial cannot pass unnoticed."""
    data = GOOD.to_bytes()
    assert zlib.crc32(b"123456789") == 0xCBF43926
    assert struct.unpack_from("<I", data, 28)[0] == zlib.crc32(data[:28])
    assert struct.unpack_from("<I", data, 24)[0] == zlib.crc32(data[38:])
    assert codecs.BY_NAME["static"].code == STATIC
    assert codecs.BY_NAME["packed"].code == PACKED
