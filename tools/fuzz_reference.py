"""Has ternzip and the reference decoder read the same mutated files: both must refuse one, or find the same in it.

    python tools/fuzz_reference.py [--runs N | --seconds S] [--seed N] [--findings DIR]

The mutations are those of fuzz_container.py. The reference decoder bounds neither time nor memory by a file's size, so
files that ask for much are skipped: `skipped` in the JSON summary. Linux and macOS only.
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
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import reference_decoder
from fuzz_container import mutant, seed_file

from ternzip._core.errors import TernzipError
from ternzip.codecs import BY_NAME
from ternzip.container.reader import Reader

MOST_BYTES = 1 << 20
MOST_SECONDS = 2
ADDRESS_SPACE = 4 << 30

Contents = tuple[list[tuple[str, str, tuple[int, ...], bytes]], dict[str, str], dict[str, bytes]]
"""Tensors as (name, type, shape, elements), metadata, extensions."""


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


def run(runs: int, seconds: float, seed: int, findings: Path) -> dict[str, Any]:
    rng = random.Random(seed)
    files = [
        seed_file(number, codec, signed_zeros, planes=False)
        for number, codec in enumerate(BY_NAME)
        for signed_zeros in (False, True)
    ]
    counts = {"read": 0, "refused": 0, "skipped": 0}
    found = []
    start = time.monotonic()
    while sum(counts.values()) < runs and time.monotonic() - start < seconds:
        data = mutant(files, rng)
        try:
            ours, theirs = by_ternzip(data), by_reference(data)
        except TooMuch:
            counts["skipped"] += 1
            continue
        counts["read" if ours is not None else "refused"] += 1
        if ours != theirs:
            findings.mkdir(parents=True, exist_ok=True)
            path = findings / f"{zlib.crc32(data):08x}.tnz"
            path.write_bytes(data)
            verdicts = ["refused" if contents is None else "read" for contents in (ours, theirs)]
            found.append(f"{path}: ternzip {verdicts[0]}, reference {verdicts[1]}")
    return {"seed": seed, **counts, "findings": found}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=sys.maxsize)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--findings", type=Path, default=Path("findings"))
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    result = run(arguments.runs, arguments.seconds, arguments.seed, arguments.findings)
    print(json.dumps(result, indent=2))
    return 1 if result["findings"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
