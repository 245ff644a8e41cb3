"""The test vectors of the codecs: what decoders must make of payloads, and what encoders make of symbols."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import reference_decoder
from golden.vectors import SHAPES, Vector, vectors

from ternzip import codecs
from ternzip._core.symbols import SymbolCounts
from ternzip.codecs.geometry import Geometry

VECTORS: list[Vector] = json.loads((Path(__file__).parent / "golden" / "vectors.json").read_text("utf-8"))
LABELS = [f"{v['name']}-{v['effort']}-{v['rows']}x{v['cols']}x{v['kernel']}" for v in VECTORS]


def test_every_codec_has_vectors() -> None:
    assert {(v["codec"], v["name"]) for v in VECTORS} == {(c.code, c.name) for c in codecs.BY_CODE.values()}
    assert len(VECTORS) == len(SHAPES) * (len(codecs.BY_CODE) + 2)
    assert any(
        v["name"] == "context" and 244 <= bytes.fromhex(v["payload"])[0] < 250
        for v in VECTORS
        if v["payload"]
    )
    alphabets = {tuple(count > 0 for count in v["counts"]) for v in VECTORS}
    assert len(alphabets) == 4  # all symbols, and each pair of them


def test_the_encoders_still_make_them() -> None:
    """Changed payloads need a codec of another code; before the first release: make_golden.py --force."""
    assert vectors() == VECTORS


@pytest.mark.parametrize("vector", VECTORS, ids=LABELS)
def test_ternzip_decodes_them(vector: Vector) -> None:
    codec = codecs.BY_CODE[vector["codec"]]
    geometry = Geometry(vector["rows"], vector["cols"], vector["kernel"])
    parameters = bytes.fromhex(vector["parameters"])
    assert codec.parameters_problem(parameters) is None
    out = np.full(geometry.symbols, 9, np.int8)
    payload = memoryview(bytes.fromhex(vector["payload"]))
    codec.decode(payload, geometry, SymbolCounts(*vector["counts"]), parameters, out)
    assert f"{zlib.crc32(out.tobytes()):08x}" == vector["crc32"]
    assert [int((out == symbol).sum()) for symbol in (-1, 0, 1)] == vector["counts"]


@pytest.mark.parametrize("vector", VECTORS, ids=LABELS)
def test_the_reference_decoder_decodes_them(vector: Vector) -> None:
    chunk = reference_decoder.Chunk(vector["rows"], vector["cols"], vector["kernel"])
    decode = reference_decoder.CODECS[vector["codec"]].decode
    found = decode(
        bytes.fromhex(vector["payload"]),
        bytes.fromhex(vector["parameters"]),
        chunk,
        reference_decoder.Counts(*vector["counts"]),
        "vector",
    )
    data = bytes(symbol & 255 for symbol in found)
    assert f"{zlib.crc32(data):08x}" == vector["crc32"]
