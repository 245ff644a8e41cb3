"""Has ternzip and other readers read the same mutated files: all must refuse one, or find the same in it.

    python tools/fuzz_reference.py [--library LIBTERNZIP [--no-reference]] [--runs N | --seconds S] [--seed N]
        [--findings DIR]

The others are the reference decoder and, where a path is given, the C library. The mutations are those of
fuzz_container.py, of its files and of the smaller golden ones. The reference decoder bounds neither time nor memory by
a file's size, so files that ask for much are skipped: `skipped` in the JSON summary; `stricter` are those with a zstd
frame that the C library alone finds damaged. Linux and macOS only.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import signal
import sys
import time
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import reference_decoder
from c_library import File, Library, LibraryError
from fuzz_container import mutant, seed_file

from ternzip._core.errors import TernzipError
from ternzip.codecs import BY_NAME
from ternzip.container.reader import Reader

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "valid"
MOST_SEED_BYTES = 1 << 12
MOST_BYTES = 1 << 20
MOST_SECONDS = 2
ADDRESS_SPACE = 4 << 30

Contents = tuple[list[tuple[str, str, tuple[int, ...], bytes]], dict[str, str], dict[str, bytes]]
"""Tensors as (name, type, shape, elements), metadata, extensions."""

Reading = Callable[[bytes], Contents | None]


class TooMuch(Exception):
    """The file asks the reference decoder for more than a fuzzer has."""


def by_ternzip(data: bytes) -> Contents | None:
    """What ternzip reads; None where it refuses."""
    try:
        with Reader.open(data) as reader:
            if reader.decoded_bytes > MOST_BYTES:
                raise TooMuch
            raws = [(name, reader.read(name)) for name in reader.entries]
            extensions = dict(reader.extensions)
            metadata = dict(reader.metadata)
    except TernzipError:
        return None
    return [(name, raw.dtype.name, raw.shape, raw.data.tobytes()) for name, raw in raws], metadata, extensions


def by_reference(data: bytes) -> Contents | None:
    """The same of the reference decoder."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise TooMuch

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(MOST_SECONDS)
    try:
        content = reference_decoder.decode(data)
    except reference_decoder.FormatError:
        return None
    except MemoryError:
        raise TooMuch from None
    finally:
        signal.alarm(0)
    tensors = [(tensor.name, tensor.type, tensor.shape, tensor.data) for tensor in content.tensors]
    return tensors, content.metadata, content.extensions


def by_c_library(library: Library, data: bytes) -> Contents | None:
    """The same of libternzip."""
    try:
        with File(library, data, max_bytes=MOST_BYTES) as file:
            if file.decoded_bytes > MOST_BYTES:
                raise TooMuch
            tensors = [(one.name, one.dtype, one.shape, one.data) for one in file.tensors()]
            return tensors, file.metadata(), file.extensions()
    except LibraryError as error:
        if error.status not in ("DAMAGED", "UNSUPPORTED"):
            raise
        return None


def refuses_a_frame(library: Library, data: bytes) -> bool:
    """Whether libternzip finds a zstd frame damaged, the first time that it finds anything.

    It is stricter there than libzstd, which both other readers take: on processors with BMI2 that does not look whether
    the four streams of a block's literals were used up, as RFC 8878 asks, and elsewhere it does.
    """
    try:
        with File(library, data, max_bytes=MOST_BYTES) as file:
            file.verify()
    except LibraryError as error:
        return str(error).endswith("zstd: damaged")
    return False


def run(
    runs: int,
    seconds: float,
    seed: int,
    findings: Path,
    readers: Mapping[str, Reading] | None = None,
    library: Library | None = None,
) -> dict[str, Any]:
    """Compares `readers`, by default the reference decoder, and the C library with ternzip."""
    others = {"reference": by_reference} if readers is None else dict(readers)
    if library is not None:
        others["library"] = partial(by_c_library, library)
    rng = random.Random(seed)
    files = [
        seed_file(number, codec, signed_zeros, planes=False)
        for number, codec in enumerate(BY_NAME)
        for signed_zeros in (False, True)
    ]
    files += [
        path.read_bytes() for path in sorted(GOLDEN.glob("*.tnz")) if path.stat().st_size <= MOST_SEED_BYTES
    ]
    counts = {"read": 0, "refused": 0, "skipped": 0, "stricter": 0}
    found = []
    start = time.monotonic()
    while sum(counts.values()) < runs and time.monotonic() - start < seconds:
        data = mutant(files, rng)
        try:
            ours = by_ternzip(data)
            theirs = {name: read(data) for name, read in others.items()}
        except TooMuch:
            counts["skipped"] += 1
            continue
        if library is not None and ours is not None and refuses_a_frame(library, data):
            counts["stricter"] += 1
            continue
        counts["read" if ours is not None else "refused"] += 1
        if any(contents != ours for contents in theirs.values()):
            findings.mkdir(parents=True, exist_ok=True)
            path = findings / f"{zlib.crc32(data):08x}.tnz"
            path.write_bytes(data)
            verdicts = [
                f"{name} {'refused' if contents is None else 'read'}"
                for name, contents in {"ternzip": ours, **theirs}.items()
            ]
            found.append(f"{path}: {', '.join(verdicts)}")
    return {"seed": seed, **counts, "findings": found}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--library", type=Path)
    parser.add_argument("--no-reference", action="store_true")
    parser.add_argument("--runs", type=int, default=sys.maxsize)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--findings", type=Path, default=Path("findings"))
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    library = None if arguments.library is None else Library(arguments.library)
    readers: dict[str, Reading] = {} if arguments.no_reference else {"reference": by_reference}
    result = run(arguments.runs, arguments.seconds, arguments.seed, arguments.findings, readers, library)
    print(json.dumps(result, indent=2))
    return 1 if result["findings"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
