"""Damaged files: always a TernzipError, whatever their checksums say, and little memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterable, Iterator

import pytest
import torch
from forge import (
    F32,
    TERNARY,
    Forge,
    Tensor,
    levels,
    parts,
    reseal_record,
    seal,
    stored_directory,
    table_of,
    varint,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import elements, read, refused

import ternzip
from ternzip import codecs
from ternzip._core.errors import TernzipError
from ternzip.container.describe import describe_file
from ternzip.container.reader import Reader

CODECS = sorted(codecs.BY_NAME)


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
    assert infos["rows"].level_blocks == 3
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
