"""The members of a zip file, which PyTorch's and numpy's files are, read by position and checked."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping

from ternzip._core.errors import TernzipError
from ternzip._core.text import first_line
from ternzip.checkpoint.source_file import SourceFile

ZIP = b"PK\3\4"
"""How a zip file with members begins."""

_LOCAL_HEADER = 30  # bytes before the name in the header that precedes each member
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_MOST_EXPANSION = 1032
"""Bytes that one deflated byte can stand for: 258 in two bits."""


class ZipMembers:
    """Every member of a zip file.

    Attributes:
        infos: what the directory says of each by name, in its order.

    Args:
        file: the zip file; it is not closed here.
        kind: what messages call such a file: "PyTorch checkpoint".
        zero_is_no_checksum: whether a checksum of 0 stands for none.

    Raises TernzipError for a file that is damaged or names a member twice.
    """

    def __init__(self, file: SourceFile, kind: str, *, zero_is_no_checksum: bool = False) -> None:
        self._file = file
        self._kind = kind
        self._unchecked = {0} if zero_is_no_checksum else set()
        try:
            with zipfile.ZipFile(file.stream) as archive:
                found = archive.infolist()
        except TernzipError:
            raise
        except Exception as error:  # zipfile has many for what is damaged
            reason = first_line(error)
            raise self._unreadable(reason) from None
        self.infos: Mapping[str, zipfile.ZipInfo] = {member.filename: member for member in found}
        if len(self.infos) != len(found):
            raise self._unreadable("expected each name once in the archive")

    def is_readable(self, name: str) -> bool:
        """Whether a member is there, and stored or deflated: others are not read here."""
        member = self.infos.get(name)
        return member is not None and member.compress_type in _METHODS

    def is_stored(self, name: str) -> bool:
        """Whether a member's bytes lie in the file as they are."""
        return self.infos[name].compress_type == zipfile.ZIP_STORED

    def read(self, name: str) -> bytearray:
        """A whole member that `is_readable`, unpacked and compared with its checksum."""
        member = self.infos[name]
        stored = self._file.read(self.offset(name), member.compress_size)
        if member.compress_type == zipfile.ZIP_STORED:
            if len(stored) != member.file_size:
                raise self.damaged(name, f"expected {member.file_size:,} bytes, found {len(stored):,}")
            self.check(name, zlib.crc32(stored))
            return stored
        if member.file_size > _MOST_EXPANSION * len(stored):
            raise self.damaged(
                name,
                f"expected at most {_MOST_EXPANSION * len(stored):,} bytes of {len(stored):,} deflated ones, "
                f"found {member.file_size:,}",
            )
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            data = bytearray(inflate.decompress(stored, member.file_size + 1))
        except zlib.error as error:
            raise self.damaged(name, f"cannot inflate: {error}") from None
        if len(data) != member.file_size:
            raise self.damaged(name, f"expected {member.file_size:,} bytes, found others")
        self.check(name, zlib.crc32(data))
        return data

    def head(self, name: str, size: int) -> bytes:
        """The first bytes of a member that `is_readable`, at most `size` of them; no checksum covers them alone."""
        member = self.infos[name]
        stored = self._file.read(self.offset(name), min(size, member.compress_size))
        if member.compress_type == zipfile.ZIP_STORED:
            return bytes(stored)
        try:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(stored, size)
        except zlib.error as error:
            raise self.damaged(name, f"cannot inflate: {error}") from None

    def offset(self, name: str) -> int:
        """Where a member's bytes begin in the file."""
        member = self.infos[name]
        # A directory that is said to lie further on than it does puts members before the file's start.
        header = self._file.read(member.header_offset, _LOCAL_HEADER) if member.header_offset >= 0 else b""
        if header[:4] != ZIP:
            raise self.damaged(name, f"expected its header at offset {member.header_offset}")
        label, extra = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
        return member.header_offset + _LOCAL_HEADER + label + extra

    def check(self, name: str, crc: int) -> None:
        """TernzipError unless a member's bytes have the checksum that the directory states."""
        expected = self.infos[name].CRC
        if crc != expected and expected not in self._unchecked:
            raise self.damaged(name, f"checksum: expected {expected:#010x}, found {crc:#010x}")

    def damaged(self, name: str, problem: str) -> TernzipError:
        """The error about a member."""
        return self._unreadable(f"{name!r}: {problem}")

    def _unreadable(self, problem: str) -> TernzipError:
        return TernzipError(f"{self._file.name}: not a readable {self._kind}: {problem}")
