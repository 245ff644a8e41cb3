#!/usr/bin/env python3
"""Print a small .tnz file byte by byte, with what each field is: the listing of docs/format-example.md.

    python tools/annotate_file.py FILE              print the listing
    python tools/annotate_file.py FILE --into PAGE  put it into the page, in place of the listing that is there

It follows docs/FORMAT.md section by section and shares no code with ternzip. It knows what the example needs: a
directory that is not compressed, levels for whole tensors, element types of four bytes, records of the codec `packed`,
planes that are stored or constant. It refuses anything else, and covers every byte once or says where it could not.
"""

from __future__ import annotations

import argparse
import re
import struct
import sys
from math import prod
from pathlib import Path

BYTES_A_LINE = 8
LISTING = re.compile(r"(?<=^```text\n).*?(?=^```$)", re.M | re.S)
STORAGES = ("tied", "solid", "planes", "ternary")
TYPES = {1: "float32", 10: "int32", 14: "uint32"}
TIED, SOLID, PLANES, TERNARY = range(4)


class Listing:
    """Takes fields off the front of a file, and keeps a line for each."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0
        self.lines: list[str] = []

    def title(self, text: str) -> None:
        self.lines += ["", text] if self.lines else [text]

    def take(self, size: int, meaning: str) -> bytes:
        """The next `size` bytes, of which the listing says `meaning`."""
        field = self.data[self.position : self.position + size]
        if len(field) < size:
            raise SystemExit(f"offset {self.position}: expected {size} bytes: {meaning}")
        for start in range(0, max(size, 1), BYTES_A_LINE):
            part = field[start : start + BYTES_A_LINE]
            text = f"{self.position + start:4}  {part.hex(' '):{3 * BYTES_A_LINE}} {'' if start else meaning}"
            self.lines.append(text.rstrip())
        self.position += size
        return field

    def integer(self, size: int, meaning: str) -> int:
        """A fixed-width integer; its value stands in place of braces in `meaning`."""
        value = int.from_bytes(self.data[self.position : self.position + size], "little")
        self.take(size, meaning.format(value))
        return value

    def varint(self, meaning: str) -> int:
        """As `integer`, for a varint."""
        value, end = 0, self.position
        while True:
            byte = self.data[end]
            value |= (byte & 127) << 7 * (end - self.position)
            end += 1
            if byte < 128:
                break
        self.take(end - self.position, meaning.format(value))
        return value

    def text(self, size: int, meaning: str) -> str:
        """UTF-8; it stands in place of braces in `meaning`."""
        data = self.data[self.position : self.position + size]
        try:
            content = data.decode()
        except UnicodeDecodeError:
            raise SystemExit(f"offset {self.position}: expected UTF-8: {meaning}") from None
        self.take(size, meaning.format(repr(content)))
        return content


class Tensor:
    """What the directory says of a tensor."""

    def __init__(self, storage: int) -> None:
        self.storage = storage
        self.dimensions = 0
        self.shape: list[int] = []
        self.symbols: list[str] = []  # the alphabet

    @property
    def count(self) -> int:
        return prod(self.shape)


def annotated(data: bytes) -> str:
    """The listing of a file, lines of text."""
    tables = Listing(data)  # the index says what the records are, but comes after them
    offset = struct.unpack_from("<Q", data, 8)[0]
    preamble(tables)
    head = tables.lines
    tables.lines, tables.position = [], offset
    tensors, extensions = index(tables)
    if tables.position != len(data):
        raise SystemExit(f"offset {tables.position}: expected the end of the file")
    records = Listing(data)
    records.position = 32
    list_records(records, tensors, extensions)
    if records.position != offset:
        raise SystemExit(f"offset {records.position}: expected the index")
    return "\n".join([*head, "", *records.lines, "", *tables.lines]) + "\n"


def preamble(file: Listing) -> None:
    file.title("Preamble (section 2)")
    file.take(8, "magic; the fifth byte is the version")
    file.integer(8, "index offset: {}")
    file.integer(4, "parameters size: {}")
    file.integer(4, "directory size: {}")
    file.integer(4, "CRC-32 of the index: {:08x}")
    file.integer(4, "CRC-32 of bytes 0 to 27: {:08x}")


def index(file: Listing) -> tuple[list[Tensor], list[tuple[str, int]]]:
    """The tensors, and the extensions as (name, size)."""
    # The parameters come first, but only the directory says how many there are.
    data = file.data
    offset, parameters_size = struct.unpack_from("<QI", data, 8)
    file.position = offset + parameters_size
    file.title("Directory (section 2)")
    if file.integer(1, "method 0: the table as it is"):
        raise SystemExit("expected a directory that is not compressed")
    file.varint("size of the table: {}")
    file.integer(1, "flags: {}")
    count = file.varint("T = {} tensors")
    pairs = file.varint("M = {} metadata entry")
    strings = file.varint("P = {} strings of codec parameters")
    extensions = file.varint("X = {} extension")
    tensors = [Tensor(file.data[file.position + number]) for number in range(count)]
    file.take(count, "storage: " + ", ".join(STORAGES[tensor.storage] for tensor in tensors))
    stored = [tensor for tensor in tensors if tensor.storage != TIED]
    codes = data[file.position : file.position + len(stored)]
    if not set(codes) <= set(TYPES):
        raise SystemExit(f"expected element types of four bytes, found {sorted(set(codes))}")
    file.take(len(stored), "element types: " + ", ".join(TYPES[code] for code in codes))
    for tensor, dimensions in zip(stored, data[file.position :], strict=False):
        tensor.dimensions = dimensions
    file.take(len(stored), "dimensions: " + ", ".join(str(tensor.dimensions) for tensor in stored))
    for tensor in stored:
        tensor.shape = [file.varint("length of a dimension: {}") for _ in range(tensor.dimensions)]
    for number, tensor in enumerate(tensors):
        if tensor.storage == TIED:
            target = file.varint(f"tensor {number} is tied to tensor {{}}")
            tensor.shape = tensors[target].shape
    lengths = [file.varint("length of codec parameters: {}") for _ in range(strings)]
    owners = [
        f"tensor {number}" for number, tensor in enumerate(tensors) if tensor.storage in (PLANES, TERNARY)
    ]
    owners += ["the solid block"] * any(tensor.storage == SOLID for tensor in tensors)
    owners += [f"extension {number}" for number in range(extensions)]
    sizes = [file.varint(f"size of the record of {owner}: {{}}") for owner in owners]
    for owner in owners:
        file.integer(4, f"CRC-32 of the record of {owner}: {{:08x}}")
    names = [file.varint(f"length of the name of tensor {number}: {{}}") for number in range(count)]
    texts = [file.varint(f"length of a metadata {('key', 'value')[i % 2]}: {{}}") for i in range(2 * pairs)]
    marks = [file.varint("length of an extension's name: {}") for _ in range(extensions)]
    for number, length in enumerate(names):
        file.text(length, f"name of tensor {number}: {{}}")
    for number, length in enumerate(texts):
        file.text(length, f"metadata {('key', 'value')[number % 2]}: {{}}")
    called = [file.text(length, "name of an extension: {}") for length in marks]

    directory, end = file.lines, file.position
    file.lines, file.position = [], offset
    file.title("Parameters (section 2)")
    for number, length in enumerate(lengths, 1):
        file.take(length, f"codec parameters {number}")
    for number, tensor in enumerate(tensors):
        if tensor.storage == TERNARY:
            ternary(file, f"tensor {number}", tensor)
    if file.position != offset + parameters_size:
        raise SystemExit(f"offset {file.position}: expected the directory")
    file.lines, file.position = [*file.lines, "", *directory], end
    return tensors, list(zip(called, sizes[len(sizes) - extensions :], strict=True))


def ternary(file: Listing, owner: str, tensor: Tensor) -> None:
    """Section 6."""
    flags = file.integer(1, f"{owner}: flags {{}} (section 6)")
    if flags & ~7:
        raise SystemExit(f"{owner}: expected levels for the tensor, and zeros of one sign")
    for wanted, name in ((flags & 1, "negative"), (flags & 2 and not flags & 4, "positive")):
        if wanted:
            number = struct.unpack_from("<f", file.data, file.position)[0]
            file.take(
                4, f"{name} level: {number}" + ("; the positive one is its opposite" if flags & 4 else "")
            )
    occurring = 0
    for flag, symbol in ((1, "-1"), (2, "+1")):
        if flags & flag:
            occurring += file.varint(f"symbols {symbol}: {{}}")
            tensor.symbols.append(symbol)
    if occurring < tensor.count:
        tensor.symbols.insert(flags & 1, "0")
    if len(tensor.symbols) > 1:
        if file.integer(1, "codec {}: packed"):
            raise SystemExit(f"{owner}: expected the codec packed")
        file.varint("number of its codec parameters: {}")


def list_records(file: Listing, tensors: list[Tensor], extensions: list[tuple[str, int]]) -> None:
    file.title("Records (section 4)")
    for number, tensor in enumerate(tensors):
        if tensor.storage == TERNARY:
            packed(file, number, tensor)
        elif tensor.storage == PLANES:
            planes(file, f"tensor {number}", 4 * tensor.count)
    solid = [tensor for tensor in tensors if tensor.storage == SOLID]
    if solid:
        planes(file, "the solid block", 4 * sum(tensor.count for tensor in solid))
    for number, (name, size) in enumerate(extensions):
        content = file.data[file.position : file.position + size]
        file.take(size, f"extension {number}, {name!r}: {content!r}")


def packed(file: Listing, number: int, tensor: Tensor) -> None:
    """Section 7.1."""
    base, group = (3, 5) if len(tensor.symbols) == 3 else (2, 8)
    digits: list[int] = []
    for start in range(0, tensor.count, group):
        byte = file.data[file.position]
        digits += [byte // base**j % base for j in range(group)]
        symbols = " ".join(tensor.symbols[digit] for digit in digits[start : tensor.count])
        file.take(1, f"tensor {number}, packed: {byte}, symbols {symbols}")


def planes(file: Listing, owner: str, size: int) -> None:
    """Section 5: one run of elements of four bytes."""
    file.integer(1, f"{owner}: rotated by {{}}")
    for plane in range(4):
        method = file.integer(1, f"plane {plane}: method {{}}")
        if method not in (0, 3):
            raise SystemExit(f"{owner}: expected planes that are stored or constant")
        length = file.varint("length: {}")
        file.take(length, f"its {size // 4} bytes" + (", all the same" if method == 3 else ""))


def main() -> int:
    parser = argparse.ArgumentParser(description="Print a small .tnz file byte by byte.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--into", type=Path, metavar="PAGE", help="replace the listing of a page")
    arguments = parser.parse_args()
    listing = annotated(arguments.file.read_bytes())
    if arguments.into is None:
        sys.stdout.write(listing)
        return 0
    page = arguments.into.read_text(encoding="utf-8")
    arguments.into.write_text(LISTING.sub(lambda _: listing, page), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
