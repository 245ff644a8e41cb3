"""How tests read the files they have forged or damaged."""

from __future__ import annotations

import pytest
from forge import SOLID, U8, Forge, Tensor, parts, seal

from ternzip._core.errors import TernzipError
from ternzip._core.tensor import RawTensor, Tie
from ternzip.container.reader import Reader

# One tensor of three bytes.
GOOD = Forge([Tensor("t", SOLID, U8, (3,))], [b"\0\0\x03abc"])


def read(data: bytes) -> dict[str, RawTensor | Tie]:
    """All tensors of a file."""
    with Reader.open(data) as reader:
        return dict(reader.read_all(threads=1))


def elements(data: bytes, name: str = "t") -> bytes:
    """The bytes of one tensor's elements."""
    raw = read(data)[name]
    assert isinstance(raw, RawTensor)
    return raw.data.tobytes()


def refused(data: bytes, match: str) -> None:
    """Refused on opening or decoding, in one line that names the source and the place."""
    with pytest.raises(TernzipError, match=match) as caught:
        read(data)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("<bytes>: ")


def with_directory(directory: bytes) -> bytes:
    """The good file with another directory."""
    records, parameters, _ = parts(GOOD.to_bytes())
    return seal(records, parameters, directory)
