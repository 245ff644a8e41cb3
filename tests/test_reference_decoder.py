"""The reference decoder and ternzip agree on files of any content, and on what is damaged."""

from __future__ import annotations

import io
import math
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import reference_decoder
from forge import F32, PACKED, SOLID, TERNARY, U8, Forge, Tensor, levels, varint
from hypothesis import given, settings
from hypothesis import strategies as st

from ternzip import codecs
from ternzip._core.dtypes import BY_NAME, DType, Kind
from ternzip._core.errors import TernzipError
from ternzip._core.tensor import RawTensor, Tie
from ternzip.container.reader import Reader
from ternzip.container.writer import Options, write_container

Tensors = list[tuple[str, RawTensor | Tie]]


def test_types_agree() -> None:
    assert [(kind.code, kind.name, kind.size, kind.width) for kind in reference_decoder.TYPES] == [
        (dtype.code, dtype.name, dtype.itemsize, dtype.plane_width)
        for dtype in sorted(BY_NAME.values(), key=lambda dtype: dtype.code)
    ]


@st.composite
def ternary_data(draw: st.DrawFn, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
    """The bytes of a ternary tensor: any levels, for the tensor or for each row, and signs of zeros."""
    bits = 8 * dtype.itemsize
    sign = 1 << (bits - 1)
    unsigned = np.dtype(f"<u{dtype.itemsize}")
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = math.prod(shape)
    weights = draw(st.sampled_from([(1, 2, 1), (1, 30, 1), (0, 1, 1), (3, 1, 0), (1, 0, 2), (0, 1, 0)]))
    trits = random.choice([-1, 0, 1], size=count, p=np.array(weights) / sum(weights))
    rows = shape[0] if len(shape) > 1 and draw(st.booleans()) else 1
    low = random.integers(1, sign, size=rows, dtype=np.uint64)
    negative = (low + np.uint64(sign)) if dtype.kind is Kind.FLOAT else np.uint64(2 * sign - 1) - low
    positive = low if draw(st.booleans()) else random.integers(1, sign, size=rows, dtype=np.uint64)
    zero = np.zeros(count, np.uint64)
    if dtype.negative_zero:
        zero[random.random(count) < draw(st.sampled_from([0.0, 0.0, 0.3, 1.0]))] = sign
    row = np.arange(count) * rows // max(count, 1)
    elements = np.where(trits < 0, negative[row], np.where(trits > 0, positive[row], zero))
    return np.frombuffer(elements.astype(unsigned).tobytes(), np.uint8)


@st.composite
def raw_tensors(draw: st.DrawFn) -> RawTensor:
    dtype = draw(st.sampled_from(sorted(BY_NAME.values(), key=lambda dtype: dtype.code)))
    shape = tuple(draw(st.lists(st.integers(0, 12), max_size=4)))
    size = math.prod(shape) * dtype.itemsize
    if dtype.may_be_ternary and draw(st.booleans()):
        return RawTensor(dtype, shape, draw(ternary_data(dtype, shape)))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if draw(st.integers(0, 19)) == 0:  # large enough for planes of its own
        shape = (-(-65536 // dtype.itemsize),)
        size = math.prod(shape) * dtype.itemsize
    high = draw(st.sampled_from([2, 16, 256]))
    return RawTensor(dtype, shape, random.integers(0, high, size, dtype=np.uint8))


@st.composite
def tensor_lists(draw: st.DrawFn) -> Tensors:
    names = draw(st.lists(st.text(max_size=20), max_size=8, unique=True))
    tensors: Tensors = []
    for name in names:
        untied = [name for name, tensor in tensors if isinstance(tensor, RawTensor)]
        if untied and draw(st.integers(0, 4)) == 0:
            tensors.append((name, Tie(draw(st.sampled_from(untied)))))
        else:
            tensors.append((name, draw(raw_tensors())))
    return tensors


def file_of(tensors: Tensors, codec: str = "auto", metadata: dict[str, str] | None = None) -> bytes:
    stream = io.BytesIO()
    write_container(stream, tensors, options=Options(codec=codec, threads=1), metadata=metadata)
    return stream.getvalue()


KNOWN = sorted(codec.name for codec in reference_decoder.CODECS.values())


@settings(deadline=None, max_examples=30)
@given(tensor_lists(), st.sampled_from(KNOWN), st.dictionaries(st.text(), st.text(), max_size=3))
def test_decodes_what_ternzip_writes(tensors: Tensors, codec: str, metadata: dict[str, str]) -> None:
    content = reference_decoder.decode(file_of(tensors, codec, metadata))
    stored = dict(tensors)
    assert content.metadata == metadata
    assert [tensor.name for tensor in content.tensors] == list(stored)
    assert content.ties == {name: raw.target for name, raw in tensors if isinstance(raw, Tie)}
    for name, kind, shape, data in content.tensors:
        raw = stored[name]
        raw = stored[raw.target] if isinstance(raw, Tie) else raw
        assert isinstance(raw, RawTensor)
        assert (kind, shape, data) == (raw.dtype.name, raw.shape, raw.data.tobytes())


def test_knows_the_codecs() -> None:
    for code, codec in reference_decoder.CODECS.items():
        assert codecs.BY_CODE[code].name == codec.name


def small_file() -> bytes:
    trits = np.array([1, 0, -1, 0, 0, 1, 1, 0], np.float32).view(np.uint8)
    tensors: Tensors = [
        ("w", RawTensor(BY_NAME["float32"], (2, 4), trits)),
        ("b", RawTensor(BY_NAME["float64"], (2,), np.arange(16, dtype=np.uint8))),
        ("tied", Tie("w")),
    ]
    return file_of(tensors, "static", {"key": "value"})


def resealed(data: bytearray) -> bytes:
    """With right checksums of preamble and index, so that damage is seen where it lies."""
    start = int.from_bytes(data[8:16], "little")
    data[24:28] = zlib.crc32(data[start:]).to_bytes(4, "little")
    data[28:32] = zlib.crc32(data[:28]).to_bytes(4, "little")
    return bytes(data)


def contents_by_ternzip(data: bytes) -> list[tuple[str, str, tuple[int, ...], bytes]] | None:
    try:
        with Reader.open(data) as reader:
            raws = [(name, reader.read(name)) for name in reader.entries]
    except TernzipError:
        return None
    return [(name, raw.dtype.name, raw.shape, raw.data.tobytes()) for name, raw in raws]


def contents_by_reference(data: bytes) -> list[tuple[str, str, tuple[int, ...], bytes]] | None:
    try:
        return [tuple(tensor) for tensor in reference_decoder.decode(data).tensors]
    except reference_decoder.FormatError:
        return None


def test_agree_on_damaged_indexes() -> None:
    """Each byte of an index changed in several ways, checksums made right: both refuse or read the same."""
    data = small_file()
    start = int.from_bytes(data[8:16], "little")
    refused = 0
    for position in range(start, len(data)):
        for change in (1, 2, 4, 8, 64, 128, 255):
            damaged = bytearray(data)
            damaged[position] ^= change
            file = resealed(damaged)
            found = contents_by_ternzip(file)
            assert found == contents_by_reference(file), (position, change)
            refused += found is None
    assert refused > 100


def later_file() -> bytes:
    """What a later release could write: codec parameters, an unknown codec, extensions."""
    head = b"\3" + levels(-1.0, 2.0) + varint(2) + varint(3)
    digits = bytes([0 + 1 * 3 + 2 * 9 + 1 * 27 + 2 * 81, 2 + 0 * 3 + 1 * 9 + 1 * 27 + 1 * 81])
    tensors = [
        Tensor("one", TERNARY, F32, (2, 4), parameters=head + bytes([99, 1])),
        Tensor("plain", TERNARY, F32, (2, 4), parameters=head + bytes([PACKED, 0])),
        Tensor("two", TERNARY, F32, (8,), parameters=head + bytes([99, 2])),
        Tensor("bytes", SOLID, U8, (3,)),
    ]
    records = [b"one", digits, b"two", b"\0\0\3abc"]
    extensions = [(b"a", b"first"), (b"b", b"")]
    return Forge(tensors, records, codec_parameters=[b"x", b"yz"], extensions=extensions).to_bytes()


def contents_of_later_by_ternzip(data: bytes) -> dict[str, bytes | None] | None:
    """Each tensor that can be read, None for one that cannot, and the extensions; None for a file that is refused."""
    found: dict[str, bytes | None] = {}
    try:
        with Reader.open(data) as reader:
            for name in reader.entries:
                try:
                    found[f"tensor {name}"] = reader.read(name).data.tobytes()
                except TernzipError:
                    found[f"tensor {name}"] = None
            found |= {f"extension {name}": content for name, content in reader.extensions.items()}
    except TernzipError:
        return None
    return found


def contents_of_later_by_reference(data: bytes) -> dict[str, bytes | None] | None:
    try:
        content = reference_decoder.decode(data, [])
    except reference_decoder.FormatError:
        return None
    found: dict[str, bytes | None] = {}
    with Reader.open(data) as reader:
        names = list(reader.entries)
    for name in names:
        try:
            found[f"tensor {name}"] = reference_decoder.decode(data, [name]).tensors[0].data
        except reference_decoder.FormatError:
            found[f"tensor {name}"] = None
    return found | {f"extension {name}": content for name, content in content.extensions.items()}


def test_agree_on_damaged_indexes_of_later_files() -> None:
    data = later_file()
    whole = contents_of_later_by_ternzip(data)
    assert whole is not None
    assert [name for name, content in whole.items() if content is None] == ["tensor one", "tensor two"]
    start = int.from_bytes(data[8:16], "little")
    refused = 0
    for position in range(start, len(data)):
        for change in (1, 2, 3, 4, 128, 255):
            damaged = bytearray(data)
            damaged[position] ^= change
            file = resealed(damaged)
            try:
                reference_decoder.decode(file, [])
            except reference_decoder.FormatError as error:
                if "CRC-32 mismatch" in str(
                    error
                ):  # the reference looks at all records, ternzip at those it needs
                    continue
            found = contents_of_later_by_ternzip(file)
            refused += found is None
            assert found == contents_of_later_by_reference(file), (position, change)
    assert refused > 100


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "small.tnz"
    path.write_bytes(small_file())
    monkeypatch.setattr(sys, "argv", ["reference_decoder.py", str(path)])
    assert reference_decoder.main() == 0
    crc = zlib.crc32(np.array([1, 0, -1, 0, 0, 1, 1, 0], np.float32).tobytes())
    assert capsys.readouterr().out.splitlines() == [
        f"w float32 2x4 {crc:08x}",
        f"b float64 2 {zlib.crc32(bytes(range(16))):08x}",
        f"tied float32 2x4 {crc:08x} = w",
        "key: value",
    ]
    path.write_bytes(small_file()[:-1])
    assert reference_decoder.main() == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"{path}: preamble: the file has ")
