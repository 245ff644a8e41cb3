"""Codec parameters: one string for a file or one for a tensor, stored once, given to the codec on both sides."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
import reference_decoder
from forge import F32, PACKED, TERNARY, Forge, Tensor, levels, parts, varint

from ternzip import codecs
from ternzip._core.dtypes import BY_NAME as DTYPES
from ternzip._core.errors import TernzipError
from ternzip._core.symbols import SymbolCounts
from ternzip._core.tensor import RawTensor
from ternzip._core.varint import Cursor
from ternzip.codecs.base import CorruptPayload, Trits
from ternzip.codecs.geometry import Geometry
from ternzip.codecs.packed import PackedCodec
from ternzip.codecs.parameters import MAX_CODEC_PARAMETER_BYTES, ParameterTable, StoredParameters
from ternzip.container.describe import describe_file
from ternzip.container.reader import Reader
from ternzip.container.writer import Options, write_container


class Masked(PackedCodec):
    """`packed`, each byte masked by the sum of the parameters: what it is not given back it cannot decode."""

    code = 200
    name = "masked"

    def encode(self, trits: Trits, geometry: Geometry, counts: SymbolCounts, parameters: bytes) -> bytes:
        plain = super().encode(trits, geometry, counts, parameters)
        return bytes(byte ^ sum(parameters) & 255 for byte in plain)

    def decode(
        self, payload: memoryview, geometry: Geometry, counts: SymbolCounts, parameters: bytes, out: Trits
    ) -> None:
        plain = bytes(byte ^ sum(parameters) & 255 for byte in payload)
        super().decode(memoryview(plain), geometry, counts, parameters, out)

    def parameters_problem(self, parameters: bytes) -> str | None:
        return "masked: expected no exclamation mark" if b"!" in parameters else None


class Choosing(Masked):
    """Chooses what the whole file has for tensors of one row, and the number of zeros for others."""

    def choose_parameters(
        self, trits: Trits, geometry: Geometry, counts: SymbolCounts, shared: bytes
    ) -> bytes:
        if geometry.rows == 1:
            return shared
        return b"%d zeros" % np.count_nonzero(trits == 0)


def register(codec: Masked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(codecs.BY_CODE, codec.code, codec)
    monkeypatch.setitem(codecs.BY_NAME, codec.name, codec)
    monkeypatch.setattr(codecs, "CHOICES", (*codecs.CHOICES, codec.name))


@pytest.fixture
def masked(monkeypatch: pytest.MonkeyPatch) -> None:
    register(Masked(), monkeypatch)


@pytest.fixture
def choosing(monkeypatch: pytest.MonkeyPatch) -> None:
    register(Choosing(), monkeypatch)


def tensor(*trits: int, rows: int = 2) -> RawTensor:
    data = np.array(trits, np.float32).view(np.uint8)
    return RawTensor(DTYPES["float32"], (rows, len(trits) // rows), data)


TENSORS = {
    "a": tensor(1, 0, -1, 1),
    "b": tensor(1, 0, 0, 1),
    "c": tensor(-1, 0, 1, 1),
    "row": tensor(-1, 0, 1, 1, rows=1),
    "constant": tensor(1, 1, 1, 1),
}


def write(codec: str, threads: int = 1, **parameters: bytes) -> bytes:
    stream = io.BytesIO()
    options = Options(codec=codec, threads=threads, codec_parameters=parameters)
    write_container(stream, TENSORS.items(), options=options)
    return stream.getvalue()


def check(data: bytes) -> None:
    with Reader.open(data) as reader:
        for name, raw in TENSORS.items():
            assert reader.read(name).data.tobytes() == raw.data.tobytes(), name


def used(data: bytes) -> list[bytes | None]:
    with Reader.open(data) as reader:
        return [e.coding.symbol_parameters for e in reader.entries.values() if e.coding and e.coding.symbols]


@pytest.mark.usefixtures("masked")
def test_one_string_for_the_whole_file() -> None:
    state = bytes(range(34, 250)) * 3
    data = write("masked", masked=state)
    check(data)
    assert used(data) == [state] * 4
    assert data.count(state) == 1
    assert parts(data)[1].startswith(state)
    without = write("masked")
    check(without)
    assert used(without) == [b""] * 4
    assert len(data) - len(without) <= len(state) + 4


@pytest.mark.usefixtures("choosing")
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_string_for_each_tensor(threads: int) -> None:
    data = write("masked", threads, masked=b"shared")
    check(data)
    assert used(data) == [b"1 zeros", b"2 zeros", b"1 zeros", b"shared"]
    assert parts(data)[1].startswith(b"1 zeros2 zerosshared")
    assert data == write("masked", 1, masked=b"shared")


@pytest.mark.usefixtures("choosing")
def test_what_a_tensor_chooses_for_itself_counts_in_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Payloads are as large as those of `packed`, which comes later: only the parameters make a difference."""
    both = [codecs.candidates("masked", parameters={"masked": b"shared"})[0], *codecs.candidates("packed")]
    monkeypatch.setattr(Options, "candidates", lambda self: both)
    stream = io.BytesIO()
    write_container(stream, TENSORS.items(), options=Options(threads=1))
    with Reader.open(stream.getvalue()) as reader:
        chosen = [e.coding.symbols.name for e in reader.entries.values() if e.coding and e.coding.symbols]
    assert chosen == ["packed", "packed", "packed", "masked"]
    check(stream.getvalue())


@pytest.mark.usefixtures("masked")
def test_codec_parameters_are_shared_out() -> None:
    state = bytes(range(100, 201))  # 101 bytes do not divide by four
    with Reader.open(write("masked", masked=state)) as reader, Reader.open(write("masked")) as plain:
        shares = [reader.shares[name] - plain.shares[name] for name in TENSORS]
        assert shares == [25, 25, 25, 26, 0]
        assert describe_file(reader).overhead - describe_file(plain).overhead <= 3


@pytest.mark.usefixtures("masked")
def test_parameters_of_a_later_version_are_refused_when_the_tensor_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Masked, "parameters_problem", lambda self, parameters: None)
        data = write("masked", masked=b"new!")
    with Reader.open(data) as reader:
        assert reader.read("constant").data.tobytes() == TENSORS["constant"].data.tobytes()
        with pytest.raises(
            TernzipError, match=r"^<bytes>: tensor 'b': masked: expected no exclamation mark$"
        ):
            reader.read("b")


@pytest.mark.parametrize("threads", [1, 2])
def test_a_choice_that_fails_is_no_file(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def choose(self: object, *arguments: object) -> bytes:
        raise CorruptPayload("planted")

    monkeypatch.setattr(Choosing, "choose_parameters", choose)
    register(Choosing(), monkeypatch)
    with pytest.raises(CorruptPayload, match="planted"):
        write("masked", threads)


WRONG = {
    "an unknown codec": ({"nobody": b"x"}, "codec parameters: expected those of packed, .*, got 'nobody'"),
    "none of this codec": ({"fast": b"x"}, "fast: expected no parameters, found 1 bytes"),
    "not these": ({"masked": b"!"}, "masked: expected no exclamation mark"),
    "too long": (
        {"masked": bytes(65_536)},
        "masked: expected at most 65,535 bytes of parameters, got 65,536",
    ),
}


@pytest.mark.usefixtures("masked")
@pytest.mark.parametrize("kind", WRONG)
def test_wrong_parameters_are_refused_before_anything_is_written(kind: str) -> None:
    parameters, message = WRONG[kind]
    stream = io.BytesIO()

    def tensors() -> Iterator[tuple[str, RawTensor]]:
        raise AssertionError("asked for tensors")
        yield

    with pytest.raises(ValueError, match=f"^{message}$"):
        write_container(stream, tensors(), options=Options(codec_parameters=parameters))
    assert not stream.getvalue()


@pytest.mark.usefixtures("masked")
def test_the_longest_parameters() -> None:
    state = bytes(MAX_CODEC_PARAMETER_BYTES)
    assert len(state) == 65_535
    data = write("masked", masked=state)
    check(data)
    assert used(data) == [state] * 4


def test_a_codec_may_not_choose_longer_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Choosing, "choose_parameters", lambda self, *arguments: bytes(65_536))
    register(Choosing(), monkeypatch)
    with pytest.raises(ValueError, match="codec parameters: expected at most 65535 bytes, got 65536"):
        write("masked")


def test_numbers_follow_the_order_of_first_use() -> None:
    table = ParameterTable()
    assert [table.number(s) for s in (b"", b"x", b"y", b"x", b"")] == [0, 1, 2, 1, 0]
    assert table.strings == [b"x", b"y"]
    stored = StoredParameters(table.strings)
    cursor = Cursor(bytes([0, 1, 2, 1, 0]), "numbers")
    assert [stored.read(cursor) for _ in range(5)] == [b"", b"x", b"y", b"x", b""]
    stored.check(cursor)


def test_both_decoders_agree_on_every_number() -> None:
    """Two tensors, two strings, all pairs of numbers up to 3: only first uses in order, all used, are read."""

    def file(first: int, second: int) -> bytes:
        head = b"\3" + levels(-1.0, 2.0) + varint(2) + varint(3) + bytes([99])
        tensors = [
            Tensor(name, TERNARY, F32, (2, 4), parameters=head + varint(number))
            for name, number in (("one", first), ("two", second))
        ]
        tensors.append(Tensor("plain", TERNARY, F32, (2, 4), parameters=head[:-1] + bytes([PACKED, 0])))
        digits = bytes([0 + 1 * 3 + 2 * 9 + 1 * 27 + 2 * 81, 2 + 0 * 3 + 1 * 9 + 1 * 27 + 1 * 81])
        return Forge(tensors, [b"x", b"y", digits], codec_parameters=[b"first", b"second"]).to_bytes()

    for first in range(4):
        for second in range(4):
            data = file(first, second)
            if (first, second) == (1, 2):
                with Reader.open(data) as reader:
                    plain = reader.read("plain").data.tobytes()
                assert reference_decoder.decode(data, ["plain"]).tensors[0].data == plain
                continue
            with pytest.raises(TernzipError, match="codec parameters"):
                Reader.open(data)
            with pytest.raises(reference_decoder.FormatError):
                reference_decoder.decode(data, ["plain"])
