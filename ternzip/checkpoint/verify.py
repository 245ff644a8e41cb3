"""Proves a .tnz file whole, and equal to a checkpoint: what `ternzip verify` does, for Python."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from ternzip._core.tensor import RawTensor, Tie
from ternzip._core.text import quoted
from ternzip.checkpoint.base import Checkpoint, Source
from ternzip.checkpoint.gguf.head import EXTENSION as GGUF_HEAD
from ternzip.checkpoint.load import as_checkpoint, as_reader
from ternzip.checkpoint.store import SOURCE
from ternzip.container.reader import Reader


@dataclass(frozen=True)
class VerifyReport:
    """What a check found.

    Attributes:
        file: the .tnz file's name; it is whole, or there would be no report.
        tensors: how many it holds.
        against: the checkpoint's name, if there was one to compare with.
        differences: one line for each.
        not_compared: what the checkpoint holds beside what a .tnz file can hold, a few words each.
    """

    file: str
    tensors: int
    against: str | None = None
    differences: list[str] = field(default_factory=list)
    not_compared: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether no difference was found, in what was compared."""
        return not self.differences


def verify(
    source: Source | Reader,
    against: Source | Checkpoint | None = None,
    *,
    threads: int | None = None,
    max_bytes: int | None = None,
) -> VerifyReport:
    """Checks every checksum of a .tnz file and decodes everything; compares it with a checkpoint bit for bit.

    The checkpoint is read by PyTorch's, numpy's and the safetensors library's own readers, not by those of `compress`,
    so that no mistake can confirm itself. They read it at once: that takes memory for the whole file, and for
    .safetensors twice (of a sharded folder, one file at a time).

    Args:
        source: a .tnz file, a stream with the bytes of one, or a reader that is open already.
        against: any checkpoint `compress` takes, or one that was opened with `whole`.
        threads: how many threads decode; None: all processors.
        max_bytes: the most bytes that the tensors may take in memory, tied ones counted once; None: no limit. A
            reader that is open already has its own.

    Returns a report: `equal` is False where the two differ, and `differences` says in what.

    Raises TernzipError for a file or a checkpoint that is missing or damaged, or a file beyond `max_bytes`; that the
    two differ is no error.
    """
    with as_reader(source, max_bytes=max_bytes) as reader:
        count = check_all(reader, threads)
        if against is None:
            return VerifyReport(reader.name, count)
        with as_checkpoint(against, whole=True, threads=threads) as checkpoint:
            found = list(differences(reader, checkpoint, threads))
            not_compared = list(checkpoint.not_stored)
            if checkpoint.extensions and _of_another_kind(reader.extensions, checkpoint.extensions):
                not_compared.append("GGUF metadata: only one of the two comes from a .gguf file")
            return VerifyReport(reader.name, count, checkpoint.name, found, not_compared)


def check_all(reader: Reader, threads: int | None = None) -> int:
    """Decodes every tensor, checksums, counts and all, and reads every extension.

    Returns the number of tensors, or raises TernzipError.
    """
    for _ in reader.read_all(threads=threads):
        pass
    for _ in reader.extensions.values():
        pass
    return len(reader.entries)


def differences(reader: Reader, checkpoint: Checkpoint, threads: int | None = None) -> Iterator[str]:
    """What differs between a file and a checkpoint, one line each; nothing where they are equal bit for bit.

    Names, types, shapes, elements; order and ties where the checkpoint's format keeps them; metadata and extensions
    where the checkpoint has some.
    """
    stored = list(reader.entries)
    for name in stored:
        if name not in checkpoint.sizes:
            yield f"tensor {quoted(name)}: in the file, not in {checkpoint.name}"
    for name in checkpoint.sizes:
        if name not in reader.entries:
            yield f"tensor {quoted(name)}: in {checkpoint.name}, not in the file"
    if checkpoint.faithful and set(stored) == set(checkpoint.sizes) and stored != list(checkpoint.sizes):
        first = next(a for a, b in zip(stored, checkpoint.sizes, strict=True) if a != b)
        yield f"tensor {first!r}: the order of tensors differs from here on"
    for name, tensor in checkpoint.tensors():
        if name not in reader.entries:
            continue
        tied_to = reader.entries[name].tied_to
        expected = tensor.target if isinstance(tensor, Tie) else None
        if checkpoint.faithful and tied_to != expected:
            yield (
                f"tensor {quoted(name)}: in the file {_tie(tied_to)}, in {checkpoint.name} {_tie(expected)}"
            )
        if isinstance(tensor, RawTensor):
            found = reader.read(name, threads=threads)
            problem = _difference(found, tensor)
            if problem:
                yield f"tensor {quoted(name)}: {problem}"
    if checkpoint.metadata:
        yield from _metadata_differences(reader.metadata, checkpoint)
    if checkpoint.extensions:
        yield from _extension_differences(reader.extensions, checkpoint)


def _metadata_differences(found: dict[str, str], checkpoint: Checkpoint) -> Iterator[str]:
    for key in sorted({**checkpoint.metadata, **found}):  # .safetensors keeps no order
        expected, value = (_quoted(side.get(key)) for side in (checkpoint.metadata, found))
        if checkpoint.metadata.get(key) != found.get(key):
            yield f"metadata {key!r}: expected {expected}, found {value} in the file"


def _extension_differences(found: Mapping[str, bytes], checkpoint: Checkpoint) -> Iterator[str]:
    names = {**dict.fromkeys(checkpoint.extensions), **dict.fromkeys(found)}
    names.pop(SOURCE, None)  # the same tensors may come from files of two kinds
    for name in [name for name in names if name not in _of_another_kind(found, checkpoint.extensions)]:
        if name not in found:
            yield f"extension {quoted(name)}: in {checkpoint.name}, not in the file"
        elif name not in checkpoint.extensions:
            yield f"extension {quoted(name)}: in the file, not in {checkpoint.name}"
        elif found[name] != checkpoint.extensions[name]:
            yield f"extension {quoted(name)}: its bytes differ"


def _of_another_kind(found: Mapping[str, bytes], other: Mapping[str, bytes]) -> set[str]:
    """The extension that restores a GGUF file, where one side has it and the other does not claim to come from one."""
    for one, without in ((found, other), (other, found)):
        if GGUF_HEAD in one and GGUF_HEAD not in without and without.get(SOURCE) != b".gguf":
            return {GGUF_HEAD}
    return set()


def _quoted(text: str | None, longest: int = 60) -> str:
    """A value in a message of one line."""
    if text is None:
        return "none"
    return repr(text) if len(text) <= longest else f"{text[:longest]!r}... of {len(text)} characters"


def _tie(target: str | None) -> str:
    return f"tied to {target!r}" if target else "not tied"


def _difference(found: RawTensor, expected: RawTensor) -> str | None:
    if found.dtype != expected.dtype:
        return f"expected {expected.dtype.name}, found {found.dtype.name} in the file"
    if found.shape != expected.shape:
        return f"expected shape {list(expected.shape)}, found {list(found.shape)} in the file"
    unequal = np.flatnonzero(found.data != expected.data)
    if not unequal.size:
        return None
    width = expected.dtype.itemsize
    elements = np.unique(unequal // width)
    first = int(elements[0])
    old, new = (bytes(raw.data[first * width : (first + 1) * width])[::-1].hex() for raw in (expected, found))
    return (
        f"{elements.size} of {expected.size} elements differ, first at index {first}: "
        f"expected bits {old}, found {new}"
    )
