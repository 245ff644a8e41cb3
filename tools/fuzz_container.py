"""Fuzzes the reader of .tnz files: mutated files must be read or refused with a TernzipError, nothing else.

    python tools/fuzz_container.py [--runs N | --seconds S] [--seed N] [--findings DIR]

Mutations know the format: they change records (those of extensions too), parameters, or the decompressed directory
table, and then put sizes, offsets and checksums right, so that most inputs get past them. Some are left wrong on
purpose. A codec that exists here alone takes codec parameters. Whatever is opened is described too. Findings
(another exception, a warning, more than 5 s, or 1 GiB of memory) are written to DIR. Prints a JSON summary.
tools/fuzz_container_atheris.py lets coverage guide the same mutations.
"""

from __future__ import annotations

import argparse
import copy
import functools
import importlib
import io
import json
import random
import struct
import sys
import time
import traceback
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from ternzip._core.dtypes import BY_NAME as DTYPES
from ternzip._core.errors import TernzipError
from ternzip._core.symbols import SymbolCounts
from ternzip._core.tensor import RawTensor, Tie
from ternzip.codecs import BY_CODE, BY_NAME, Candidate
from ternzip.codecs.base import Trits
from ternzip.codecs.geometry import Geometry
from ternzip.codecs.packed import PackedCodec
from ternzip.container.describe import describe_file
from ternzip.container.reader import Reader
from ternzip.container.writer import Options, write_container

SLOW_SECONDS = 5.0
LARGE_KIBIBYTES = 1 << 20
INTERESTING = (0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 129, 191, 192, 242, 243, 254, 255)


class Masked(PackedCodec):
    """`packed`, its bytes masked by the codec parameters, of which there are one or two kinds in a file."""

    code = 250
    name = "masked"

    def choose_parameters(
        self, trits: Trits, geometry: Geometry, counts: SymbolCounts, shared: bytes
    ) -> bytes:
        return shared if geometry.rows % 2 else b"rows %d" % geometry.rows

    def encode(self, trits: Trits, geometry: Geometry, counts: SymbolCounts, parameters: bytes) -> bytes:
        mask = zlib.crc32(parameters) & 255
        return bytes(byte ^ mask for byte in super().encode(trits, geometry, counts, b""))

    def decode(
        self, payload: memoryview, geometry: Geometry, counts: SymbolCounts, parameters: bytes, out: Trits
    ) -> None:
        mask = zlib.crc32(parameters) & 255
        super().decode(memoryview(bytes(byte ^ mask for byte in payload)), geometry, counts, b"", out)

    def parameters_problem(self, parameters: bytes) -> str | None:
        return "masked: expected at most 99 bytes of parameters" if len(parameters) > 99 else None


@dataclass(frozen=True)
class MaskedOptions(Options):
    """Has every ternary tensor coded by `Masked`."""

    def candidates(self) -> list[Candidate]:
        codec = Masked()
        return [Candidate(codec, b"for the whole file", codec)]


def seed_tensors(
    rng: np.random.Generator, signed_zeros: bool, planes: bool
) -> list[tuple[str, RawTensor | Tie]]:
    """Ternary tensors of several shapes, types and densities, others, ties, empty ones."""
    tensors: list[tuple[str, RawTensor | Tie]] = []
    shapes = [(6, 4, 3, 3), (17, 31), (50,), (), (0, 3), (3, 2, 2, 2, 2), (40, 60), (7,), (10, 50)]
    for i, shape in enumerate(shapes):
        zero = (0.5, 0.9, 0.3)[i % 3]
        trits = rng.choice(np.array([-1, 0, 1]), shape, p=[(1 - zero) / 2, zero, (1 - zero) / 2])
        values = (trits * np.float32(0.25)).astype(np.float32)
        if i == 6:
            values *= np.arange(1, shape[0] + 1, dtype=np.float32).reshape(-1, 1)  # levels per row
        if i == 8:  # levels per group of 16, the last one cut off; another one for the negatives
            groups = np.arange(1, 41, dtype=np.float32).reshape(10, 4).repeat(16, axis=1)[:, :50]
            values = np.where(values < 0, values * (groups + 1), values * groups)
        if signed_zeros:
            values = np.where((values == 0) & (rng.random(shape) < 0.5), np.float32(-0.0), values)
        data = np.ascontiguousarray(values, np.float32).reshape(-1).view(np.uint8)
        tensors.append((f"ternary.{i}", RawTensor(DTYPES["float32"], shape, data)))
    noise = rng.standard_normal(300).astype(np.float32).view(np.uint8)
    tensors.append(("other", RawTensor(DTYPES["float32"], (300,), noise)))
    kept = rng.random(600) < 0.1  # of a pruned tensor, whose planes are sparse
    pruned = np.where(kept, rng.standard_normal(600), 0).astype(np.float16).view(np.uint8)
    tensors.append(("pruned", RawTensor(DTYPES["float16"], (600,), pruned)))
    counter = np.array([7], np.int64).view(np.uint8)
    tensors.append(("counter", RawTensor(DTYPES["int64"], (), counter)))
    if planes:  # the smallest that is not solid takes longer to read than all others together
        large = np.cumsum(rng.integers(0, 3, 16400)).astype(np.float32).view(np.uint8)
        tensors.append(("planes", RawTensor(DTYPES["float32"], (16400,), large)))
    tensors.append(("tied", Tie("ternary.0")))
    return tensors


EXTENSIONS = {"example.note": b"words", "empty": b""}


def seed_file(number: int, codec: str, signed_zeros: bool, planes: bool) -> bytes:
    """A file of `codec`; one with signed zeros has extensions too."""
    stream = io.BytesIO()
    tensors = seed_tensors(np.random.default_rng(number), signed_zeros, planes)
    write_container(
        stream,
        tensors,
        options=MaskedOptions(threads=1) if codec == "masked" else Options(codec=codec, threads=1),
        metadata={"key": "value"},
        extensions=EXTENSIONS if signed_zeros else {},
    )
    return stream.getvalue()


def seed_files() -> list[bytes]:
    BY_CODE[Masked.code] = Masked()
    return [
        seed_file(number, codec, signed_zeros, planes=codec == "packed")
        for number, codec in enumerate((*BY_NAME, "auto", "masked"))
        for signed_zeros in (False, True)
    ]


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


class Parts:
    """A file taken apart: records, parameters and the decompressed directory table."""

    def __init__(self, data: bytes) -> None:
        offset, parameters, directory = struct.unpack_from("<QII", data, 8)
        self.magic = data[:8]
        self.records = bytearray(data[32:offset])
        self.parameters = bytearray(data[offset : offset + parameters])
        packed = data[offset + parameters : offset + parameters + directory]
        size, at = 0, 1
        while True:
            size |= (packed[at] & 127) << 7 * (at - 1)
            at += 1
            if packed[at - 1] < 128:
                break
        body = packed[at:]
        if packed[0]:
            body = zstandard.ZstdDecompressor().decompress(body, max_output_size=size)
        self.table = bytearray(body)
        self.spans = self._spans(data)

    def _spans(self, data: bytes) -> list[tuple[int, int]]:
        """Start and end of every record that the reader of this package finds, among the records."""
        with Reader.open(data) as reader:
            found = [record for entry in reader.entries.values() for record in entry.records]
            found += [block.record for block in reader.blocks if block.record is not None]
            found += reader.extensions.records.values()
        return sorted((record.offset - 32, record.offset - 32 + record.stored) for record in found)

    def copy(self) -> Parts:
        other = copy.copy(self)
        other.records, other.parameters, other.table = self.records[:], self.parameters[:], self.table[:]
        return other

    def change_record(self, index: int, change: Callable[[bytearray], None]) -> None:
        """Changes the bytes of one record, not their number, and its checksum in the table."""
        start, end = self.spans[index]
        record = self.records[start:end]
        before = struct.pack("<I", zlib.crc32(record))
        change(record)
        if len(record) != end - start:
            return
        at = self.table.find(before)
        if at >= 0:
            self.table[at : at + 4] = struct.pack("<I", zlib.crc32(record))
        self.records[start:end] = record

    def to_bytes(self, compress: bool = False) -> bytes:
        table = bytes(self.table)
        if compress:
            frame = zstandard.ZstdCompressor(write_content_size=False).compress(table)
            directory = b"\1" + varint(len(table)) + frame
        else:
            directory = b"\0" + varint(len(table)) + table
        index = bytes(self.parameters) + directory
        offset = 32 + len(self.records)
        head = self.magic + struct.pack("<QII", offset, len(self.parameters), len(directory))
        head += struct.pack("<I", zlib.crc32(index))
        return head + struct.pack("<I", zlib.crc32(head)) + bytes(self.records) + index


def mutate_bytes(data: bytearray, rng: random.Random) -> None:
    """A few random edits, most of which keep the length."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(data)) if data else 0
        kind = rng.randrange(9)
        if kind == 0 and data:
            data[at] ^= 1 << rng.randrange(8)
        elif kind in (1, 2) and data:
            data[at] = rng.choice(INTERESTING)
        elif kind == 3 and data:
            data[at] = rng.randrange(256)
        elif kind == 4 and data:
            data[at] = (data[at] + rng.choice((-1, 1))) & 255
        elif kind == 5 and len(data) >= 4:
            at = rng.randrange(len(data) - 3)
            data[at : at + 4] = rng.choice((bytes(4), b"\xff" * 4, rng.randbytes(4), b"\0\0\0\x80"))
        elif kind == 6:
            data[at:at] = rng.choice(
                (b"\0", b"\xff" * 9 + b"\1", varint(rng.getrandbits(rng.randrange(1, 70))))
            )
        elif kind == 7 and data:
            del data[at : at + rng.choice((1, 1, 2, 8, 1000))]
        elif kind == 8 and len(data) > 1:
            other = rng.randrange(len(data))
            data[at], data[other] = data[other], data[at]


@functools.cache
def parts_of(data: bytes) -> Parts:
    return Parts(data)


def mutant(files: list[bytes], rng: random.Random) -> bytes:
    parts = parts_of(rng.choice(files)).copy()
    kind = rng.randrange(10)
    if kind < 4 and parts.spans:
        index = rng.randrange(len(parts.spans))
        parts.change_record(index, lambda record: mutate_bytes(record, rng))
    elif kind < 6:
        mutate_bytes(parts.parameters, rng)
    elif kind < 8:
        mutate_bytes(parts.table, rng)
    elif kind == 8:  # lengths of two records exchanged, a record put into another's place
        mutate_bytes(parts.table, rng)
        mutate_bytes(parts.parameters, rng)
    data = bytearray(parts.to_bytes(compress=rng.random() < 0.3))
    if kind == 9:  # without putting anything right
        mutate_bytes(data, rng)
    return bytes(data)


def check(data: bytes) -> str:
    """'read' or 'refused'; anything else raises."""
    try:
        with Reader.open(data) as reader:
            describe_file(reader)
            for _ in reader.extensions.values():
                pass
            for _ in reader.read_all(threads=1):
                pass
    except TernzipError as error:
        if "\n" in str(error) or not str(error):
            raise AssertionError(f"a message of one line expected: {error!r}") from error
        return "refused"
    return "read"


def peak_kibibytes() -> int:
    try:
        resource = importlib.import_module("resource")
    except ImportError:  # Windows
        return 0
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def run(runs: int, seconds: float, seed: int, findings: Path) -> dict[str, Any]:
    rng = random.Random(seed)
    files = seed_files()
    for data in files:
        if check(data) != "read":
            raise SystemExit("a file that was not mutated is refused")
    outcomes = {"read": 0, "refused": 0}
    found: list[str] = []
    start = time.monotonic()
    done = 0
    peak = peak_kibibytes()
    while done < runs and time.monotonic() - start < seconds:
        data = mutant(files, rng)
        before = time.monotonic()
        problem = ""
        try:
            outcomes[check(data)] += 1
        except Exception:
            problem = traceback.format_exc()
        took = time.monotonic() - before
        grown = peak_kibibytes() - peak
        if not problem and took > SLOW_SECONDS:
            problem = f"took {took:.1f} s"
        if not problem and grown > LARGE_KIBIBYTES:
            problem = f"took {grown} KiB more than everything before"
        peak = max(peak, peak_kibibytes())
        if problem:
            findings.mkdir(parents=True, exist_ok=True)
            path = findings / f"{zlib.crc32(data):08x}.tnz"
            path.write_bytes(data)
            path.with_suffix(".txt").write_text(problem, encoding="utf-8")
            found.append(f"{path}: {problem.strip().splitlines()[-1]}")
        done += 1
    return {
        "runs": done,
        "seconds": round(time.monotonic() - start, 1),
        "seed": seed,
        **outcomes,
        "peak_mebibytes": peak // 1024,
        "findings": found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=sys.maxsize)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--findings", type=Path, default=Path("findings"))
    arguments = parser.parse_args()
    warnings.simplefilter("error")
    result = run(arguments.runs, arguments.seconds, arguments.seed, arguments.findings)
    print(json.dumps(result, indent=2))
    if result["findings"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
