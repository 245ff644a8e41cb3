"""libternzip, the C library, reads and refuses what the Python package does.

Building it takes a minute, so that is done elsewhere: TERNZIP_C_PREFIX names the folder it was installed to
(docs/c-library.md). Without it these tests are skipped; .ci/run sets it.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from c_library import File, Library, LibraryError
from c_library_files import GOLDEN, NEEDS_LIBRARY, PREFIX, TRITS, VALID, ternary_file
from forge import PACKED, PLANES, TERNARY, U8, Forge, Tensor, levels, preamble, varint
from fuzz_container import mutant, seed_file

from ternzip._core.errors import TernzipError
from ternzip._core.native import core
from ternzip._core.symbols import SymbolCounts
from ternzip.codecs.geometry import Geometry
from ternzip.codecs.static import StaticCodec
from ternzip.container.describe import describe_file
from ternzip.container.reader import Reader
from ternzip.numpy import save

pytest.importorskip("resource")  # which fuzz_reference.py bounds itself by
from fuzz_reference import by_c_library, by_ternzip

pytestmark = NEEDS_LIBRARY

REFUSED: dict[str, dict[str, str]] = json.loads((GOLDEN / "invalid" / "expected.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def library() -> Library:
    return Library.installed(Path(PREFIX))


def valid(name: str) -> bytes:
    return (GOLDEN / "valid" / f"{name}.tnz").read_bytes()


@pytest.mark.parametrize("name", VALID)
def test_valid_files_are_read_as_by_python(library: Library, name: str) -> None:
    data = valid(name)
    with Reader.open(data) as reader, File(library, data) as file:
        stated = describe_file(reader)
        assert file.metadata() == dict(reader.metadata)
        assert file.extensions() == dict(reader.extensions)
        assert file.decoded_bytes == reader.decoded_bytes
        assert len(file) == len(stated.tensors)
        file.verify()
        names = [info.name for info in stated.tensors]
        for number, info in enumerate(stated.tensors):
            raw, tensor, found = reader.read(info.name), file.tensor(number), file.info(number)
            assert tensor == (info.name, info.dtype, info.shape, raw.data.tobytes())
            assert file.find(info.name.encode()) == number
            assert found.tied_to == (number if info.tied_to is None else names.index(info.tied_to))
            assert (found.stored_bytes, found.is_readable) == (info.bytes, 1)
            assert found.is_ternary == (info.counts is not None)
            if info.counts is None:
                assert found.codec == -2
                continue
            counts = (info.counts.negative, info.counts.zero, info.counts.positive, info.negative_zeros)
            assert (found.negative, found.zero, found.positive, found.negative_zeros) == counts
            assert (found.level_rows, found.level_columns) == info.level_block_shape
            assert found.level_blocks == info.level_blocks
            symbols, pair = reader.read_trits(info.name)
            assert file.trits(number) == symbols.tobytes()
            packed = np.empty(-(-symbols.size // 5), np.uint8)
            core.pack_trits(symbols.ctypes.data, symbols.size, packed.ctypes.data)
            assert file.packed_trits(number) == packed.tobytes()
            assert file.levels(number) == (pair.negative.tobytes(), pair.positive.tobytes())


def test_codecs_have_their_codes(library: Library) -> None:
    for code, name in enumerate(("packed", "static", "context-1", "fast")):
        with File(library, valid(f"codec-{name}")) as file:
            assert {file.info(i).codec for i in range(len(file))} == {code}
    with File(library, valid("constants")) as file:
        assert file.info(0).codec == -1


@pytest.mark.parametrize("name", REFUSED)
def test_invalid_files_are_refused_as_by_python(library: Library, name: str) -> None:
    """At the same stage, on opening or when a tensor is asked for, for the same reason."""
    data = (GOLDEN / "invalid" / f"{name}.tnz").read_bytes()
    try:
        with Reader.open(data):
            pass
    except TernzipError:
        with pytest.raises(LibraryError) as caught, File(library, data):
            pass
    else:
        with File(library, data) as file, pytest.raises(LibraryError) as caught:
            file.verify()
    message = str(caught.value)
    assert re.search(REFUSED[name]["error"], message), message
    assert caught.value.status in ("DAMAGED", "UNSUPPORTED")
    assert message.isprintable()


def test_one_bad_tensor_leaves_the_others(library: Library) -> None:
    own = b"\3" + levels(-1.0, 1.0) + b"\2\2"
    tensors = [
        Tensor("later", TERNARY, shape=(6,), parameters=own + b"\xc8\0"),
        Tensor("now", TERNARY, shape=(6,), parameters=own + bytes([PACKED, 0])),
    ]
    packed = bytes([2 + 2 * 3 + 0 * 9 + 0 * 27 + 1 * 81, 1 + 3 + 9 + 27 + 81])
    with File(library, Forge(tensors, [b"??", packed]).to_bytes()) as file:
        assert [file.info(i).is_readable for i in (0, 1)] == [0, 1]
        assert file.info(0).codec == 200
        assert file.trits(1) == bytes([1, 1, 255, 255, 0, 0])
        with pytest.raises(LibraryError, match="tensor 'later': codec 200 is not known") as caught:
            file.tensor(0)
        assert caught.value.status == "UNSUPPORTED"


def test_an_index_beyond_64_bits(library: Library) -> None:
    data = preamble((1 << 64) - 16, 8, 8, 0) + bytes(99)
    with pytest.raises(LibraryError, match="offset 131: truncated: expected more than"), File(library, data):
        pass


@pytest.mark.parametrize("seed", range(2))
def test_mutants_are_read_as_by_python(library: Library, seed: int) -> None:
    files = [seed_file(number, "auto", bool(number), planes=False) for number in range(2)]
    rng = random.Random(seed)
    read = 0
    for _ in range(100):
        data = mutant(files, rng)
        expected = by_ternzip(data)
        read += expected is not None
        assert by_c_library(library, data) == expected
    assert 5 < read < 95


def plane_file(frame: bytes, size: int) -> bytes:
    """A tensor of bytes in one zstd frame."""
    block = b"\0\1" + varint(len(frame)) + frame
    return Forge([Tensor("t", PLANES, U8, (size,))], [block]).to_bytes()


def compressed(content: bytes, level: int, **options: Any) -> bytes:
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level, write_content_size=False, write_dict_id=False, **options
    )
    # Without the end of the input in sight, as a stream: else a small frame has a single segment.
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return compressor.compress(content) + compressor.flush()


def zstd_contents() -> list[bytes]:
    rng = np.random.default_rng(5)
    words = [b"ternary ", b"network ", b"weights ", b"zero "]
    text = b"".join(words[i] for i in rng.integers(0, 4, 3000))
    skewed = rng.geometric(0.1, 200_000).astype(np.uint8).tobytes()
    steps = np.cumsum(rng.integers(0, 3, 30_000)).astype("<u4").tobytes()
    return [
        b"a",
        b"abcabcabcabcabcabcabc",
        bytes(300_000),
        text,
        skewed,
        steps,
        rng.bytes(140_000),
        skewed[:500] * 40,
    ]


def test_zstd_frames_of_all_levels(library: Library) -> None:
    frames: list[tuple[int, dict[str, Any]]] = [
        (-5, {}),
        (1, {"write_checksum": True}),
        (3, {"window_log": 10}),
        (7, {}),
    ]
    for content in zstd_contents():
        for level, options in frames:
            frame = compressed(content, level, **options)
            with File(library, plane_file(frame, len(content))) as file:
                assert file.tensor(0).data == content, (level, options)
        few = content[:20_000]  # the highest level is slow
        with File(
            library, plane_file(compressed(few, 19, window_log=15, hash_log=12, chain_log=12), len(few))
        ) as file:
            assert file.tensor(0).data == few


def test_damaged_zstd_frames_are_read_as_by_python(library: Library) -> None:
    rng = random.Random(1)
    frames = [(compressed(c[:3000], level), len(c[:3000])) for c in zstd_contents() for level in (1, 19)]
    read = 0
    for _ in range(600):
        frame, size = rng.choice(frames)
        damaged = bytearray(frame)
        damaged[rng.randrange(4, min(len(damaged), 200))] = rng.randrange(256)
        data = plane_file(bytes(damaged), size)
        expected, found = by_ternzip(data), by_c_library(library, data)
        read += found is not None
        assert found == expected
    assert read > 20


def test_static_frequencies_of_any_counts(library: Library) -> None:
    """Lopsided counts, of two and of three symbols, beyond what a product in 64 bits could hold."""
    rng = np.random.default_rng(2)
    for shares in (
        (0.2, 0.5, 0.3),
        (1e-4, 1 - 2e-4, 1e-4),
        (0.5, 0.0, 0.5),
        (0.0, 0.999, 0.001),
        (0.9999, 1e-4, 0.0),
    ):
        trits = rng.choice(np.array([-1, 0, 1], np.int8), 300_000, p=shares)
        counts = SymbolCounts(*(int((trits == symbol).sum()) for symbol in (-1, 0, 1)))
        payload = StaticCodec().encode(trits, Geometry(1, trits.size, 1), counts, b"")
        own = bytes([(counts.negative > 0) | 2 * (counts.positive > 0)])
        own += levels(-1.0) * (counts.negative > 0) + levels(1.0) * (counts.positive > 0)
        own += varint(counts.negative) * (counts.negative > 0) + varint(counts.positive) * (
            counts.positive > 0
        )
        forged = Forge([Tensor("t", TERNARY, shape=trits.shape, parameters=own + b"\1\0")], [payload])
        with File(library, forged.to_bytes()) as file:
            assert file.trits(0) == trits.tobytes()


@pytest.mark.parametrize(("groups", "block_channels"), [(1, 0), (2, 0), (1, 2), (2, 1)])
def test_index_lists_are_those_of_the_runtime(library: Library, groups: int, block_channels: int) -> None:
    rng = np.random.default_rng(0)
    trits = rng.choice(np.array([-1, 0, 1], np.int8), (4, 5, 3, 3))
    with File(library, ternary_file(trits)) as file:
        layout, codes, starts = file.index(0, groups, block_channels)
    block = block_channels or 5
    assert (layout.rows, layout.groups, layout.channels, layout.taps) == (4, groups, 5, 9)
    assert layout.block_channels == block
    expected_codes, expected_starts = (
        np.empty(np.count_nonzero(trits), np.uint16),
        np.empty(len(starts), np.uint32),
    )
    core.runtime_build_index(
        trits.ctypes.data, (4, groups, 5, 9, block), expected_codes.ctypes.data, expected_starts.ctypes.data
    )
    assert codes == expected_codes.tolist()
    assert starts == expected_starts.tolist()


def test_blocks_of_index_lists_are_as_large_as_the_runtimes(library: Library) -> None:
    from ternzip.runtime.layers import BLOCK_CODES

    trits = np.tile(TRITS.reshape(-1), 2 * 100 * 9).reshape(20, 100, 9)
    with File(library, ternary_file(trits)) as file:
        layout = file.index(0)[0]
    assert layout.block_channels == -(-100 // round(900 / BLOCK_CODES))


def test_wrong_arguments_are_said(library: Library) -> None:
    data = ternary_file()
    with File(library, data) as file:
        out = ctypes.create_string_buffer(99)
        one, zero = ctypes.c_size_t(1), ctypes.c_size_t(0)
        for expected, message, name, arguments in (
            (
                "ARGUMENT",
                "out: expected a buffer of at least 40 bytes, found 39",
                "decode",
                (zero, out, ctypes.c_size_t(39)),
            ),
            (
                "ARGUMENT",
                "out: expected a buffer of at least 10 bytes, found 9",
                "decode_trits",
                (zero, out, ctypes.c_size_t(9)),
            ),
            ("ARGUMENT", "out: .* at least 2 bytes, found 1", "decode_packed_trits", (zero, out, one)),
            ("ARGUMENT", "negative: .* at least 4 bytes, found 1", "decode_levels", (zero, out, out, one)),
            ("ARGUMENT", "out: expected an address, found NULL", "decode", (zero, None, ctypes.c_size_t(40))),
            ("ARGUMENT", "info: expected an address", "tensor", (zero, None)),
            ("NOT_FOUND", "no tensor number 1 among 1", "decode", (one, out, ctypes.c_size_t(99))),
            ("NOT_FOUND", "no extension number 0 among 0", "read_extension", (zero, out, one)),
            ("NOT_FOUND", "no entry number 1 of the metadata among 0", "metadata", (one, out, out)),
        ):
            with pytest.raises(LibraryError, match=message) as caught:
                file.call(name, *arguments)
            assert caught.value.status == expected
        with pytest.raises(LibraryError, match=r"no tensor 'caf\\xc3\\xa9\\x0a' among 1"):
            file.find("café\n".encode())
        with pytest.raises(LibraryError, match="groups that divide 2 rows"):
            file.index(0, groups=3)
        with (
            pytest.raises(LibraryError, match="two dimensions or more"),
            File(library, ternary_file(shape=(10,))) as flat,
        ):
            flat.index(0)
    with (
        pytest.raises(LibraryError, match="expected a ternary tensor") as caught,
        File(library, plane_file(b"", 3)) as file,
    ):
        file.trits(0)
    assert caught.value.status == "NOT_TERNARY"
    # Nothing crashes without a file.
    for name in ("tensor_count", "metadata_count", "extension_count", "decoded_bytes"):
        assert library.function(name)(None) == 0
    library.function("close")(None)
    assert library.function("verify")(None, None) == 1  # without anyone to tell


def test_max_bytes(library: Library) -> None:
    data = ternary_file()
    with File(library, data, max_bytes=40) as file:
        assert len(file.tensor(0).data) == 40
        file.verify()
    with File(library, data, max_bytes=39) as file:
        for read in (file.verify, lambda: file.tensor(0)):
            with pytest.raises(LibraryError, match="at most 39 bytes in memory, found 40") as caught:
                read()
            assert caught.value.status == "LIMIT"
        assert len(file.trits(0)) == 10
    with File(library, data, max_bytes=9) as file:
        for read in (lambda: file.trits(0), lambda: file.packed_trits(0), lambda: file.index(0)):
            with pytest.raises(LibraryError, match="at most 9 bytes in memory, found 10"):
                read()
    rows = np.linspace(1, 2, 500)[:, None] * np.array([1, -1, 1])
    with File(library, save({"w": rows}), max_bytes=7_999) as file:  # a level a row: more bytes than symbols
        for read in (lambda: file.trits(0), lambda: file.packed_trits(0), lambda: file.index(0)):
            with pytest.raises(LibraryError, match="at most 7999 bytes in memory, found 8000"):
                read()
    with (
        File(library, valid("extensions"), max_bytes=0) as file,
        pytest.raises(LibraryError, match="extension '"),
    ):
        file.extensions()


def test_files_on_disk(library: Library, tmp_path: Path) -> None:
    path = tmp_path / "näme.tnz"
    path.write_bytes(valid("example"))
    with File(library, path) as file, File(library, valid("example")) as same:
        assert file.tensors() == same.tensors()
        os.truncate(path, 40)
        with pytest.raises(LibraryError, match=r"cannot read \d+ bytes at offset") as caught:
            file.verify()
        assert caught.value.status == "READ"
    for wrong in (tmp_path / "none", tmp_path):
        with pytest.raises(LibraryError, match="cannot read") as caught, File(library, wrong):
            pass
        assert caught.value.status == "READ"


def test_threads_share_a_file(library: Library) -> None:
    data = valid("solid-blocks")
    with File(library, data) as file:
        expected = file.tensors()
        found: list[list[Any]] = []
        threads = [threading.Thread(target=lambda: found.append(file.tensors())) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [expected] * 4


def test_small_constants(library: Library) -> None:
    from ternzip import __version__

    assert library.function("version")().decode() == __version__
    assert library.function("status_name")(5) == b"TERNZIP_ERROR_DAMAGED"
    assert library.function("status_name")(99) == b"unknown status"
    assert library.function("dtype_name")(99) == b"unknown"
    assert [library.function("packed_bytes")(ctypes.c_uint64(n)) for n in (0, 1, 5, 6)] == [0, 1, 1, 2]
