"""A tensor of a codec that only a later release knows: the rest of its file can be read."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest
import reference_decoder
import torch
from forge import F32, PACKED, SOLID, TERNARY, TIED, U8, Forge, Tensor, levels, varint

import ternzip
from ternzip._core.errors import TernzipError
from ternzip.container.describe import describe_file
from ternzip.container.reader import Reader

LEVELS_AND_COUNTS = b"\3" + levels(-1.0, 2.0) + varint(2) + varint(3)
SIGNS = b"\x23" + LEVELS_AND_COUNTS[1:] + bytes([PACKED, 0]) + b"\1"
# -1 0 1 0 1 | 1 -1 0, five digits of (symbol + 1) a byte, filled up with 0.
DIGITS = bytes([0 + 1 * 3 + 2 * 9 + 1 * 27 + 2 * 81, 2 + 0 * 3 + 1 * 9 + 1 * 27 + 1 * 81])

STRANGERS = {
    "codec": (LEVELS_AND_COUNTS + b"\x63\0", [b"whatever"], "codec 99 is not known"),
    "codec with parameters": (LEVELS_AND_COUNTS + b"\x63\1", [b"whatever"], "codec 99 is not known"),
    "codec of signs": (SIGNS + b"\x63\1", [DIGITS, b"whatever"], "codec 99 is not known"),
    "parameters": (
        LEVELS_AND_COUNTS + b"\0\1",
        [DIGITS],
        "packed: expected no parameters, found 65535 bytes",
    ),
}


def file_with(kind: str) -> bytes:
    parameters, records, _ = STRANGERS[kind]
    tensors = [
        Tensor("before", TERNARY, F32, (2, 4), parameters=LEVELS_AND_COUNTS + bytes([PACKED, 0])),
        Tensor("stranger", TERNARY, F32, (2, 4), parameters=parameters),
        Tensor("tied", TIED, tied=1),
        Tensor("after", SOLID, U8, (3,)),
    ]
    strings = [b"new" * 21_845] if parameters.endswith(b"\1") else []
    return Forge(tensors, [DIGITS, *records, b"\0\0\x03abc"], codec_parameters=strings).to_bytes()


@pytest.mark.parametrize("kind", STRANGERS)
def test_only_that_tensor_is_refused(kind: str, tmp_path: Path) -> None:
    problem = STRANGERS[kind][2]
    path = tmp_path / "new.tnz"
    path.write_bytes(file_with(kind))
    with ternzip.safe_open(path) as file:
        assert file.keys() == ["before", "stranger", "tied", "after"]
        assert file.get_tensor("before").tolist() == [[-1.0, 0.0, 2.0, 0.0], [2.0, 2.0, -1.0, 0.0]]
        assert file.get_tensor("after").tolist() == list(b"abc")
        assert file.info("stranger").shape == (2, 4)
        for name in ("stranger", "tied"):
            with pytest.raises(TernzipError, match=rf"new\.tnz: tensor 'stranger': {problem}"):
                file.get_tensor(name)
    with pytest.raises(TernzipError, match=rf"new\.tnz: tensor 'stranger': {problem}"):
        ternzip.load_file(path)


@pytest.mark.parametrize("threads", [1, 2])
def test_what_comes_before_it_is_read(threads: int) -> None:
    names = []
    with Reader.open(file_with("codec")) as reader, pytest.raises(TernzipError, match="tensor 'stranger'"):
        names.extend(name for name, _ in reader.read_all(threads=threads))
    assert names == ["before"]


def test_the_index_tells_what_it_can() -> None:
    with Reader.open(file_with("codec")) as reader:
        infos = {info.name: info for info in describe_file(reader).tensors}
    assert infos["stranger"].codec == "unknown (99)"
    assert infos["stranger"].counts == infos["before"].counts
    assert infos["stranger"].bytes == len(LEVELS_AND_COUNTS) + 2 + len(b"whatever")


@pytest.mark.parametrize("kind", STRANGERS)
def test_no_device_decodes_it_either(kind: str) -> None:
    """A decoder elsewhere knows the codec perhaps, but not its parameters."""

    class Eager:
        def start(self, entry: object, payload: object) -> NoReturn:
            raise AssertionError("asked to decode what cannot be")

    with Reader.open(file_with(kind)) as reader, pytest.raises(TernzipError, match="tensor 'stranger'"):
        reader.read_with(Eager(), "stranger")


@pytest.mark.parametrize("kind", STRANGERS)
def test_the_reference_decoder_agrees(kind: str) -> None:
    data = file_with(kind)
    content = reference_decoder.decode(data, ["before", "after"])
    with Reader.open(data) as reader:
        for tensor in content.tensors:
            assert tensor.data == reader.read(tensor.name).data.tobytes()
    assert [tensor.name for tensor in content.tensors] == ["before", "after"]
    for names in (["stranger"], ["tied"], None):
        with pytest.raises(reference_decoder.FormatError, match=r"^tensor 'stranger'"):
            reference_decoder.decode(data, names)


@pytest.mark.parametrize("kind", STRANGERS)
def test_nothing_is_loaded_into_tensors_beside_it(kind: str) -> None:
    out = {"before": torch.zeros(2, 4), "after": torch.zeros(3, dtype=torch.uint8)}
    out["stranger"] = out["tied"] = torch.zeros(2, 4)
    with pytest.raises(TernzipError, match=f"tensor 'stranger': {STRANGERS[kind][2]}"):
        ternzip.load(file_with(kind), out=out)
    assert not any(tensor.any() for tensor in out.values())
