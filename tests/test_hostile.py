"""Damaged and hostile files: always a TernzipError, whatever their checksums say, and little memory."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pytest
import torch
import zstandard
from forge import (
    BF16,
    E4M3,
    F32,
    F64,
    I8,
    I64,
    PACKED,
    PLANES,
    SOLID,
    STATIC,
    TERNARY,
    TIED,
    U8,
    Forge,
    Tensor,
    levels,
    parts,
    preamble,
    reseal_record,
    seal,
    stored_directory,
    table_of,
    varint,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import ternzip
from ternzip import codecs
from ternzip._core.dtypes import BY_NAME as DTYPES
from ternzip._core.errors import TernzipError
from ternzip._core.tensor import RawTensor, Tie
from ternzip.codecs.planes import compress_zstd
from ternzip.container.describe import describe_file
from ternzip.container.reader import Reader
from ternzip.container.writer import write_container

CODECS = sorted(codecs.BY_NAME)


def read(data: bytes) -> dict[str, RawTensor | Tie]:
    with Reader.open(data) as reader:
        return dict(reader.read_all(threads=1))


def elements(data: bytes, name: str = "t") -> bytes:
    raw = read(data)[name]
    assert isinstance(raw, RawTensor)
    return raw.data.tobytes()


def refused(data: bytes, match: str) -> None:
    """Refused on opening or decoding, in one line that names the source and the place."""
    with pytest.raises(TernzipError, match=match) as caught:
        read(data)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("<bytes>: ")


def rich_file(codec: str) -> bytes:
    """A small file with something of everything the format has."""
    signs = torch.tensor([[1.0, -0.0, 0.0, -1.0, 0.0, 1.0, -0.0, 0.0]] * 2)
    rows = torch.tensor([[0.5, 0.0, -0.5, 0.5], [0.0, 3.0, 0.0, 3.0], [-2.0, 0.0, 0.0, 0.0]])
    plain = torch.tensor([[1, 0, -1, 1, 1, 0, 0]], dtype=torch.int8)
    tensors = {
        "signs": signs * 0.25,
        "rows": rows.to(torch.bfloat16),
        "plain": plain,
        "binary": torch.tensor([[1.0, -1.0] * 5]),
        "bias": torch.tensor([0.125, 3.0, -7.5]),
        "steps": torch.tensor(12345),
        "tie": plain,
        "planes": torch.zeros(1 << 16, dtype=torch.uint8),
        "constant": torch.zeros(1 << 14),
        "minus": torch.full((1 << 14,), -0.0),
        "empty": torch.empty(0, 3),
        "complex": torch.tensor([1 + 2j]),
    }
    return ternzip.save(tensors, codec=codec, metadata={"author": "Ternary", "": "\u00e4"})


@pytest.fixture(scope="module", params=CODECS)
def rich(request: pytest.FixtureRequest) -> bytes:
    return rich_file(request.param)


@pytest.fixture(scope="module")
def auto() -> bytes:
    return rich_file("auto")


def test_the_rich_file_has_everything(rich: bytes) -> None:
    with Reader.open(rich) as reader:
        infos = {info.name: info for info in describe_file(reader).tensors}
        assert reader.metadata == {"author": "Ternary", "": "\u00e4"}
    assert {info.codec for info in infos.values()} > {"constant", "tied", "planes", "solid"}
    assert infos["rows"].level_rows == 3
    assert infos["signs"].negative_zeros == 4
    assert infos["minus"].negative_zeros == 1 << 14
    assert infos["tie"].tied_to == "plain"


def test_every_truncation(rich: bytes) -> None:
    for size in range(len(rich)):
        refused(rich[:size], r"offset \d+")


def test_every_byte_appended_or_inserted(rich: bytes) -> None:
    refused(rich + b"\0", "further bytes after its end")
    refused(rich + rich, "further bytes after its end")
    for start in range(0, len(rich), 7):
        with pytest.raises(TernzipError):
            read(rich[:start] + b"\0" + rich[start:])


def refuse_changes(data: bytes, values: Callable[[int, int], set[int]]) -> None:
    """`data` is refused with any byte changed to any of values(position, byte)."""
    for position, byte in enumerate(data):
        for value in values(position, byte) - {byte}:
            damaged = bytearray(data)
            damaged[position] = value
            with pytest.raises(TernzipError):
                read(bytes(damaged))


def test_every_byte_changed(rich: bytes) -> None:
    """Each byte with one bit flipped, with all bits flipped, and as zero."""
    refuse_changes(rich, lambda position, byte: {byte ^ 1 << position % 8, byte ^ 0xFF, 0})


def test_every_bit_flipped(auto: bytes) -> None:
    refuse_changes(auto, lambda _, byte: {byte ^ 1 << bit for bit in range(8)})


def test_swapped_records_are_noticed(rich: bytes) -> None:
    with Reader.open(rich) as reader:
        records = [r for entry in reader.entries.values() for r in entry.records if r.stored > 1]
    first, second = records[:2]
    cut = (
        rich[first.offset : first.offset + first.stored],
        rich[second.offset : second.offset + second.stored],
    )
    assert cut[0] != cut[1]
    size = min(first.stored, second.stored)
    damaged = bytearray(rich)
    damaged[first.offset : first.offset + size] = cut[1][:size]
    damaged[second.offset : second.offset + size] = cut[0][:size]
    refused(bytes(damaged), r"tensor 'signs': offset 32: checksum: expected 0x[0-9a-f]{8}, found 0x")


# --- the same with every checksum put right -----------------------------------------------------------------


def survive(files: Iterable[bytes]) -> None:
    """Each is refused or gives some tensors; nothing else happens. Memory is looked at now and then: slow."""
    outcomes = set()
    for number, data in enumerate(files):
        if number % 16 == 0:
            tracemalloc.start()
        try:
            read(data)
            outcomes.add("read")
        except TernzipError:
            outcomes.add("refused")
        if number % 16 == 0:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < 64 << 20
    assert "refused" in outcomes


def variants(data: bytes) -> Iterator[bytes]:
    """`data` with one byte changed."""
    for position, byte in enumerate(data):
        for value in {byte ^ 1 << position % 8, byte ^ 0x80, byte + 1 & 0xFF, 0, 0xFF} - {byte}:
            yield data[:position] + bytes([value]) + data[position + 1 :]


def test_resealed_tables(auto: bytes) -> None:
    records, parameters, directory = parts(auto)
    table = table_of(directory)
    assert len(read(seal(records, parameters, stored_directory(table)))) == 12  # unchanged, it reads
    survive(seal(records, parameters, stored_directory(changed)) for changed in variants(table))


def test_resealed_parameters(auto: bytes) -> None:
    records, parameters, directory = parts(auto)
    survive(seal(records, changed, directory) for changed in variants(parameters))


def test_resealed_directories(auto: bytes) -> None:
    records, parameters, directory = parts(auto)
    survive(seal(records, parameters, changed) for changed in variants(directory))
    survive(seal(records, parameters, directory[:size]) for size in range(len(directory)))


def test_resealed_records(rich: bytes) -> None:
    with Reader.open(rich) as reader:
        records = [r for entry in reader.entries.values() for r in entry.records if r.stored > 1]
        records += [block.record for block in reader.blocks if block.record]
    for record in records:
        payload = rich[record.offset : record.offset + record.stored]
        survive(
            reseal_record(rich, record.offset, payload, changed)
            for changed in [*variants(payload)][:: 1 + record.stored // 32]
        )


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("counts", [(10, 30, 60), (1, 0, 99), (0, 99, 1), (33, 34, 33)])
@settings(max_examples=60, deadline=None)
@given(payload=st.binary(max_size=60), filler=st.sampled_from([b"", b"\0", b"\xff", b"\x01"]))
def test_garbage_payloads(codec: str, counts: tuple[int, int, int], payload: bytes, filler: bytes) -> None:
    """With valid checksums: an error or some symbols, the same every time."""
    payload += filler * 20
    code = codecs.BY_NAME[codec].code
    kinds = (1 if counts[0] else 0) | (2 if counts[2] else 0)
    written = levels(-1.0) if counts[0] else b""
    written += levels(2.0) if counts[2] else b""
    numbers = b"".join(varint(n) for n in (counts[0], counts[2]) if n)
    parameters = bytes([kinds]) + written + numbers + bytes([code, 0])
    data = Forge([Tensor("t", TERNARY, F32, (10, 10), parameters=parameters)], [payload]).to_bytes()
    outcomes = []
    for _ in range(2):
        try:
            outcomes.append(elements(data))
        except TernzipError as error:
            outcomes.append(str(error).encode())
    assert outcomes[0] == outcomes[1]
    allowed = {levels(-1.0), levels(0.0), levels(2.0)}
    if not outcomes[0].startswith(b"<bytes>"):
        assert {outcomes[0][i : i + 4] for i in range(0, 400, 4)} <= allowed


# --- preamble ----------------------------------------------------------------------------------------------

GOOD = Forge([Tensor("t", SOLID, U8, (3,))], [b"\0\0\x03abc"])


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


def with_directory(directory: bytes) -> bytes:
    records, parameters, _ = parts(GOOD.to_bytes())
    return seal(records, parameters, directory)


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
    refused(seal(records, parameters, crowded), f"at most {limit} tensors and metadata entries .*, found 302")


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
    refused(Forge([tensor], record, flags=1).to_bytes(), "flags: expected reserved bits of zero")
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


# --- memory ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("storage", [PLANES, TERNARY])
@pytest.mark.parametrize("shape", [(1 << 60,), (1 << 30, 1 << 30), (2, 1 << 59), (1 << 59, 2, 1)])
@pytest.mark.parametrize("flags", [0, 1, 2, 8, 9, 10, 15, 32])
def test_a_header_that_claims_exa_elements(storage: int, shape: tuple[int, ...], flags: int) -> None:
    parameters = bytes([flags]) + levels(-1.0, 1.0) + varint(5) * 2 + b"\0\0"
    data = Forge([Tensor("t", storage, F32, shape, parameters=parameters * (storage == TERNARY))]).to_bytes()
    tracemalloc.start()
    with pytest.raises(TernzipError):
        read(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_the_greediest_file_of_100_bytes() -> None:
    chunks = 3
    tensor = Tensor("t", TERNARY, I64, (chunks << 22,), parameters=b"\0")
    data = Forge([tensor], [bytes(8)] * chunks, sizes=[0] * chunks).to_bytes()
    assert len(data) <= 100
    tracemalloc.start()
    try:
        raw = read(data)["t"]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(raw, RawTensor)
    assert raw.data.nbytes == chunks << 25
    assert peak < 256 << 20


def test_planes_do_not_burst() -> None:
    bomb = compress_zstd(bytes(1 << 26), 3)
    data = Forge([Tensor("t", PLANES, U8, (64,))], [b"\0\1" + varint(len(bomb)) + bomb]).to_bytes()
    tracemalloc.start()
    refused(data, "tensor 't': offset 32: zstd: ")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


# --- ternary parameters ------------------------------------------------------------------------------------


def ternary(
    parameters: bytes,
    record: bytes = b"",
    *,
    dtype: int = F32,
    shape: tuple[int, ...] = (2, 4),
    size: int = -1,
) -> bytes:
    tensor = Tensor("t", TERNARY, dtype, shape, parameters=parameters)
    # Eight symbols take a byte of file at least.
    filled = record or b"\0"
    return Forge([tensor], [filled], sizes=[len(record) if size < 0 else size]).to_bytes()


# Five digits of (symbol + 1) a byte: -1 0 1 0 1 | 1 -1 0, filled up with 0.
DIGITS = bytes([0 + 1 * 3 + 2 * 9 + 1 * 27 + 2 * 81, 2 + 0 * 3 + 1 * 9 + 1 * 27 + 1 * 81])
SYMBOLS = [-1, 0, 1, 0, 1, 1, -1, 0]
COUNTS = varint(2) + varint(3)


def test_forged_ternary_tensors_read() -> None:
    both = ternary(b"\3" + levels(-1.0, 2.0) + COUNTS + bytes([PACKED, 0]), DIGITS)
    assert elements(both) == levels(*({-1: -1.0, 0: 0.0, 1: 2.0}[s] for s in SYMBOLS))
    symmetric = ternary(b"\7" + levels(-3.0) + COUNTS + bytes([PACKED, 0]), DIGITS)
    assert elements(symmetric) == levels(*(3.0 * s for s in SYMBOLS))
    rows = ternary(b"\x0b" + levels(-1.0, -2.0, 3.0, 4.0) + COUNTS + bytes([PACKED, 0]), DIGITS)
    assert elements(rows) == levels(-1.0, 0.0, 3.0, 0.0, 4.0, 4.0, -2.0, 0.0)
    binary = ternary(b"\1" + levels(-1.0) + varint(3) + bytes([PACKED, 0]), bytes([0b10101011]), shape=(8,))
    assert elements(binary) == levels(0.0, 0.0, -1.0, 0.0, -1.0, 0.0, -1.0, 0.0)
    assert elements(ternary(b"\x10", b"")) == levels(-0.0) * 8
    assert elements(ternary(b"\1" + b"\x80" + varint(8), b"", dtype=I8)) == b"\x80" * 8


def test_zero_signs() -> None:
    tensor = Tensor("t", TERNARY, F32, (2, 4))
    tensor.parameters = b"\x23" + levels(-1.0, 2.0) + COUNTS + bytes([PACKED, 0]) + b"\1" + bytes([PACKED, 0])
    good = Forge([tensor], [DIGITS, bytes([0b101])]).to_bytes()
    assert elements(good) == levels(-1.0, 0.0, 2.0, -0.0, 2.0, 2.0, -1.0, 0.0)
    lie = "tensor 't': offset 32: signs of zeros -1, 0, .1: expected .1, 0, 2., found .2, 0, 1."
    refused(Forge([tensor], [DIGITS, bytes([0b010])]).to_bytes(), lie)
    for count in (0, 3, 4):
        tensor.parameters = tensor.parameters[:-3] + varint(count) + bytes([PACKED, 0])
        refused(Forge([tensor], [DIGITS, b"\5"]).to_bytes(), "count of negative zeros: expected at")


def test_counts_that_lie() -> None:
    """The symbols decide what is restored, the index what inspect says: they must agree."""
    wrong = bytes([DIGITS[0] - 27, DIGITS[1]])
    parameters = b"\3" + levels(-1.0, 2.0) + COUNTS + bytes([PACKED, 0])
    lie = "tensor 't': offset 32: symbols -1, 0, .1: expected .2, 3, 3., found .3, 2, 3."
    refused(ternary(parameters, wrong), lie)
    refused(
        ternary(b"\1" + levels(-1.0) + varint(3) + bytes([PACKED, 0]), b"\1", shape=(8,)),
        "expected .3, 5, 0.",
    )


def test_symbols_without_a_level_in_their_row() -> None:
    digits = bytes([2 + 0 * 3 + 1 * 9 + 1 * 27 + 1 * 81])  # +1 -1 | 0 0
    parameters = varint(1) * 2 + bytes([PACKED, 0])
    for lows, highs, found in (
        ((-1.0, 0.0), (1.0, 1.0), None),
        ((0.0, -1.0), (1.0, 1.0), "row 0: expected no symbol -1 without a level"),
        ((-1.0, -1.0), (0.0, 1.0), "row 0: expected no symbol .1 without a level"),
    ):
        data = ternary(b"\x0b" + levels(*lows, *highs) + parameters, digits, shape=(2, 2))
        if found is None:
            assert elements(data) == levels(1.0, -1.0, 0.0, 0.0)
        else:
            refused(data, f"tensor 't': offset 32: {found}")


BAD_PARAMETERS = {
    "reserved bit 64": (b"\x43", F32, "flags: expected reserved bits of zero, found 0x43"),
    "reserved bit 128": (b"\x83", F32, "flags: expected reserved bits of zero"),
    "signs of 3": (b"\x33", F32, "flags: expected reserved bits of zero"),
    "signs of integers": (b"\x13", I8, "flags: int8 has no negative zero"),
    "signs of fnuz": (b"\x20", E4M3 + 2, "flags: float8_e4m3fnuz has no negative zero"),
    "rows without levels": (b"\x08", F32, "flags: levels per row need a level"),
    "symmetric without both": (b"\5", F32, "flags: symmetric levels need both levels"),
    "symmetric without any": (b"\4", F32, "flags: symmetric levels need both levels"),
    "negative level is positive": (b"\1" + levels(1.0), F32, "levels: expected negative values"),
    "negative level is -0.0": (b"\1" + levels(-0.0), F32, "levels: expected negative values"),
    "negative level is 0": (b"\1" + levels(0.0), F32, "levels: expected at least one that is not zero"),
    "positive level is negative": (b"\2" + levels(-1.0), F32, "levels: expected positive values"),
    "positive level is -0.0": (b"\2" + levels(-0.0), F32, "levels: expected positive values"),
    "positive level is 0": (b"\2" + levels(0.0), F32, "levels: expected at least one that is not zero"),
    "rows of zeros": (b"\x0a" + levels(0.0, 0.0), F32, "levels: expected at least one that is not zero"),
    "no opposite": (b"\7\x80", I8, "levels: expected negatives that have an opposite"),
    "no opposite of -0.0": (b"\7\x00\x80", BF16, "levels: expected negative values"),
    "no room for levels": (b"\1\0\0", F32, "levels: expected 4 bytes, found 2"),
    "no room for flags": (b"", F32, "flags: expected 1 bytes, found 0"),
    "too many negatives": (
        b"\1" + levels(-1.0) + varint(9),
        F32,
        "count of negatives: expected at most 8, found 9",
    ),
    "too many positives": (
        b"\3" + levels(-1.0, 1.0) + varint(6) + varint(3),
        F32,
        "positives: expected at most 2",
    ),
    "no negatives": (
        b"\1" + levels(-1.0) + varint(0),
        F32,
        "counts: expected at least one symbol for each level",
    ),
    "no positives": (b"\3" + levels(-1.0, 1.0) + b"\1\0", F32, "counts: expected at least one symbol"),
    "signs without zeros": (b"\x13" + levels(-1.0, 1.0) + b"\4\4", F32, "flags: expected no signs of zeros"),
    "no room for codec": (b"\1" + levels(-1.0) + b"\1", F32, "codec: expected 1 bytes, found 0"),
    "long codec parameters": (
        b"\1" + levels(-1.0) + b"\1\1" + varint(256) + bytes(256),
        F32,
        "length of codec parameters: expected at most 255, found 256",
    ),
    "parameters of packed": (
        b"\1" + levels(-1.0) + b"\1\0\1x",
        F32,
        "tensor 't': packed: expected no parameters, found 1 bytes",
    ),
    "parameters of static": (
        b"\1" + levels(-1.0) + b"\1\1\1x",
        F32,
        "tensor 't': static: expected no parameters, found 1 bytes",
    ),
    "codec parameters cut off": (
        b"\1" + levels(-1.0) + b"\1\1\5x",
        F32,
        "codec parameters: expected 5 bytes, found 1",
    ),
    "more parameters": (b"\0\0", F32, "expected the end of the section, found 1 further bytes"),
}


@pytest.mark.parametrize("case", BAD_PARAMETERS)
def test_bad_parameters(case: str) -> None:
    parameters, dtype, message = BAD_PARAMETERS[case]
    refused(ternary(parameters, dtype=dtype), message)


@pytest.mark.parametrize("shape", [(8,), (1, 8), ()])
def test_levels_per_row_need_rows(shape: tuple[int, ...]) -> None:
    refused(ternary(b"\x0a" + levels(1.0), shape=shape), "flags: levels per row need two rows, found shape")


def test_rows_of_levels_are_those_of_the_file() -> None:
    """A shape may promise any number of rows; their levels must be there before any are made."""
    for flags in (9, 10, 11):
        parameters = bytes([flags]) + levels(-1.0, 1.0)
        refused(ternary(parameters, shape=(1 << 50, 2)), f"levels: expected {1 << 52} bytes, found 8")


# --- payloads ----------------------------------------------------------------------------------------------


def both_levels(codec: int) -> bytes:
    return b"\3" + levels(-1.0, 2.0) + COUNTS + bytes([codec, 0])


def test_packed_payloads() -> None:
    refused(
        ternary(both_levels(PACKED), DIGITS[:1]),
        "tensor 't': offset 32: packed payload: expected 2 bytes, found 1",
    )
    refused(ternary(both_levels(PACKED), DIGITS + b"\0"), "packed payload: expected 2 bytes, found 3")
    refused(ternary(both_levels(PACKED), b"\xf3" + DIGITS[1:]), "found a value above 242")
    refused(
        ternary(both_levels(PACKED), DIGITS[:1] + b"\x00"), "packed payload: expected five trits"
    )  # filling
    binary = b"\1" + levels(-1.0) + varint(3) + bytes([PACKED, 0])
    refused(ternary(binary, b"\0\0", shape=(8,)), "packed payload: expected 1 bytes, found 2")
    refused(ternary(binary, b"\x80", shape=(7,)), "packed payload: expected zero padding bits")


def test_static_payloads() -> None:
    good = ternzip.save({"t": torch.tensor(SYMBOLS * 30, dtype=torch.int8).reshape(2, -1)}, codec="static")
    with Reader.open(good) as reader:
        record = reader.entries["t"].records[0]
    payload = good[32 : 32 + record.size]
    assert len(payload) > 8

    def static(payload: bytes) -> bytes:
        _, parameters, _ = parts(good)
        return Forge([Tensor("t", TERNARY, I8, (2, 120), parameters=parameters)], [payload]).to_bytes()

    assert elements(static(payload)) == np.array(SYMBOLS * 30, np.int8).tobytes()
    refused(static(payload + b"\0"), "static payload: expected a last byte other than zero")
    refused(static(payload + b"\1"), "static payload: .* hold more than 240 symbols")
    refused(static(b"\1" * 4 + payload), "static payload: .* hold more than 240 symbols")
    with pytest.raises(TernzipError):
        read(static(payload[:-4].rstrip(b"\0") or b"\1"))


BAD_BLOCKS = {
    "nothing": (b"", "block, byte 0: transform: expected 1 bytes, found 0"),
    "transform": (b"\2\0\x02ab\0\x02cd", "block: expected transform 0 or 1, found 2"),
    "plane method": (b"\0\2\x02ab\0\x02cd", "plane: expected method 0 or 1, found 2"),
    "short plane": (b"\0\0\x01a\0\x02cd", "plane: expected 2 stored bytes, found 1"),
    "long plane": (b"\0\0\x03abb\0\x02cd", "plane: expected 2 stored bytes, found 3"),
    "missing plane": (b"\0\0\x02ab", "plane method: expected 1 bytes, found 0"),
    "plane cut off": (b"\0\0\x02ab\0\x02c", "plane: expected 2 bytes, found 1"),
    "plane length": (b"\0\0" + b"\xff" * 9 + b"\1", "plane: expected 18446744073709551615 bytes, found 0"),
    "further bytes": (b"\0\0\x02ab\0\x02cde", "expected the end of the section, found 1 further bytes"),
    "no zstd": (b"\0\1\x02ab\0\x02cd", "zstd: "),
    "zstd of one byte": (
        b"\0\1" + bytes([len(compress_zstd(b"a", 1))]) + compress_zstd(b"a", 1),
        "zstd: expected 2 b",
    ),
    "empty zstd": (b"\0\1\0\0\x02cd", "zstd: "),
}


@pytest.mark.parametrize("case", BAD_BLOCKS)
@pytest.mark.parametrize("storage", [PLANES, SOLID])
def test_bad_blocks(case: str, storage: int) -> None:
    block, message = BAD_BLOCKS[case]
    where = "tensor 't'" if storage == PLANES else "solid block of 1 tensors from 't' on"
    tensor = Tensor("t", storage, BF16, (2,))
    assert elements(Forge([tensor], [b"\0\0\x02ab\0\x02cd"]).to_bytes()) == b"acbd"
    refused(
        Forge([tensor], [block or b"\0"], sizes=[len(block)]).to_bytes(), f"{where}: offset 32: .*{message}"
    )


def test_rotated_blocks_of_every_width() -> None:
    for dtype, width in ((BF16, 2), (F32, 4), (F64, 8)):
        number = int.from_bytes(bytes(range(0xA1, 0xA1 + width)), "little")
        turned = (number << 1 | number >> 8 * width - 1) & (1 << 8 * width) - 1
        block = b"\1" + b"".join(b"\0\1" + bytes([byte]) for byte in turned.to_bytes(width, "little"))
        assert elements(Forge([Tensor("t", PLANES, dtype, ())], [block]).to_bytes()) == number.to_bytes(
            width, "little"
        )


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
