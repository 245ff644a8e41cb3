"""The C library, libternzip, as Python sees it through ctypes: for tests and fuzzers, which compare it with ternzip."""

from __future__ import annotations

import ctypes
import os
from ctypes import byref, c_char, c_char_p, c_int, c_size_t, c_uint64, c_void_p
from pathlib import Path
from typing import Any, NamedTuple

NO_LIMIT = (1 << 64) - 1
FUNCTIONS = [
    "close",
    "decode",
    "decode_index",
    "decode_levels",
    "decode_packed_trits",
    "decode_trits",
    "decoded_bytes",
    "dtype_name",
    "extension",
    "extension_count",
    "find",
    "index",
    "metadata",
    "metadata_count",
    "open",
    "open_memory",
    "packed_bytes",
    "read_extension",
    "status_name",
    "tensor",
    "tensor_count",
    "verify",
    "version",
]


class LibraryError(Exception):
    """A function failed: `status` is the constant's name, without TERNZIP_ERROR_."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


class Error(ctypes.Structure):
    """ternzip_error."""

    _fields_ = [("status", c_int), ("message", c_char * 500)]


class Text(ctypes.Structure):
    """ternzip_text."""

    _fields_ = [("data", c_void_p), ("size", c_size_t)]

    def text(self) -> str:
        """What it holds; a NUL follows it."""
        data = ctypes.string_at(self.data, self.size + 1)
        assert data[-1] == 0
        return data[:-1].decode()


class Info(ctypes.Structure):
    """ternzip_tensor_info."""

    _fields_ = [
        ("name", Text),
        ("dtype", c_int),
        ("item_bytes", c_size_t),
        ("dimensions", c_size_t),
        ("shape", ctypes.POINTER(c_uint64)),
        ("elements", c_uint64),
        ("bytes", c_uint64),
        ("stored_bytes", c_uint64),
        ("storage", c_int),
        ("tied_to", c_size_t),
        ("is_readable", c_int),
        ("is_ternary", c_int),
        ("codec", c_int),
        ("negative", c_uint64),
        ("zero", c_uint64),
        ("positive", c_uint64),
        ("negative_zeros", c_uint64),
        ("level_blocks", c_uint64),
        ("level_rows", c_uint64),
        ("level_columns", c_uint64),
    ]


class IndexLayout(ctypes.Structure):
    """ternzip_index_layout."""

    _fields_ = [
        (name, c_size_t)
        for name in ("rows", "groups", "channels", "taps", "block_channels", "codes", "starts")
    ]


class Tensor(NamedTuple):
    """A tensor of a file, decoded."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes


class Library:
    """A loaded libternzip."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.native = ctypes.CDLL(os.fspath(path))
        for name in ("status_name", "dtype_name", "version"):
            self.function(name).restype = c_char_p
        for name in ("tensor_count", "metadata_count", "extension_count"):
            self.function(name).restype = c_size_t
        self.function("packed_bytes").restype = self.function("decoded_bytes").restype = c_uint64

    @classmethod
    def installed(cls, prefix: Path) -> Library:
        """The one that was installed under a prefix."""
        found = [
            *prefix.glob("lib*/libternzip.so"),
            *prefix.glob("lib*/libternzip.dylib"),
            *prefix.glob("bin/ternzip.dll"),
        ]
        (path,) = found
        return cls(path)

    def function(self, name: str) -> Any:
        """One of FUNCTIONS."""
        return getattr(self.native, f"ternzip_{name}")

    def call(self, name: str, *arguments: Any) -> None:
        """Calls a function that takes a ternzip_error at its end; LibraryError where it fails."""
        error = Error(status=-1, message=b"unset")
        status = self.function(name)(*arguments, byref(error))
        assert error.status == status
        if status:
            text = self.function("status_name")(status).decode().removeprefix("TERNZIP_ERROR_")
            raise LibraryError(text, error.message.decode("ascii"))
        assert error.message == b""


class File:
    """An open file: bytes, or a path."""

    def __init__(self, library: Library, source: bytes | Path, max_bytes: int = NO_LIMIT) -> None:
        self._library = library
        self._source = source  # the library does not copy memory
        self.handle = c_void_p()
        limit = c_uint64(max_bytes)
        if isinstance(source, bytes):
            library.call("open_memory", source, c_size_t(len(source)), limit, byref(self.handle))
        else:
            library.call("open", os.fsencode(source), limit, byref(self.handle))

    def __enter__(self) -> File:
        return self

    def __exit__(self, *_: object) -> None:
        self._library.function("close")(self.handle)
        self.handle = c_void_p()

    def __len__(self) -> int:
        return int(self._library.function("tensor_count")(self.handle))

    def call(self, name: str, *arguments: Any) -> None:
        """A function of this file that may fail."""
        self._library.call(name, self.handle, *arguments)

    def find(self, name: bytes) -> int:
        """The number of a tensor."""
        number = c_size_t()
        self.call("find", name, c_size_t(len(name)), byref(number))
        return number.value

    def info(self, number: int) -> Any:
        """The Info of a tensor."""
        info = Info()
        self.call("tensor", c_size_t(number), byref(info))
        return info

    def _buffer(self, name: str, number: int, size: int) -> bytes:
        # A byte more, which must stay as it is.
        out = ctypes.create_string_buffer(b"\xa5" * (size + 1), size + 1)
        self.call(name, c_size_t(number), out, c_size_t(size))
        assert out.raw[-1] == 0xA5
        return out.raw[:-1]

    def tensor(self, number: int) -> Tensor:
        """A tensor, decoded."""
        info = self.info(number)
        dtype = self._library.function("dtype_name")(info.dtype).decode()
        shape = tuple(info.shape[: info.dimensions])
        return Tensor(info.name.text(), dtype, shape, self._buffer("decode", number, info.bytes))

    def tensors(self) -> list[Tensor]:
        """All of them."""
        return [self.tensor(number) for number in range(len(self))]

    def trits(self, number: int) -> bytes:
        """The symbols, one a byte."""
        return self._buffer("decode_trits", number, self.info(number).elements)

    def packed_trits(self, number: int) -> bytes:
        """The symbols, five a byte."""
        size = self._library.function("packed_bytes")(c_uint64(self.info(number).elements))
        return self._buffer("decode_packed_trits", number, size)

    def levels(self, number: int) -> tuple[bytes, bytes]:
        """The levels of all blocks, negative and positive ones."""
        info = self.info(number)
        size = info.level_blocks * info.item_bytes
        out = [ctypes.create_string_buffer(size) for _ in range(2)]
        self.call("decode_levels", c_size_t(number), *out, c_size_t(size))
        return out[0].raw, out[1].raw

    def index(
        self, number: int, groups: int = 1, block_channels: int = 0
    ) -> tuple[Any, list[int], list[int]]:
        """The layout of a tensor's index lists, their codes and starts."""
        layout = IndexLayout()
        self.call("index", c_size_t(number), c_size_t(groups), c_size_t(block_channels), byref(layout))
        codes, starts = (ctypes.c_uint16 * layout.codes)(), (ctypes.c_uint32 * layout.starts)()
        self.call("decode_index", c_size_t(number), byref(layout), codes, starts)
        return layout, list(codes), list(starts)

    def metadata(self) -> dict[str, str]:
        """All of it."""
        entries: dict[str, str] = {}
        for number in range(self._library.function("metadata_count")(self.handle)):
            key, value = Text(), Text()
            self.call("metadata", c_size_t(number), byref(key), byref(value))
            entries[key.text()] = value.text()
        return entries

    def extensions(self) -> dict[str, bytes]:
        """All of them."""
        found: dict[str, bytes] = {}
        for number in range(self._library.function("extension_count")(self.handle)):
            name, size = Text(), c_uint64()
            self.call("extension", c_size_t(number), byref(name), byref(size))
            found[name.text()] = self._buffer("read_extension", number, size.value)
        return found

    def verify(self) -> None:
        """Decodes everything."""
        self.call("verify")

    @property
    def decoded_bytes(self) -> int:
        """Bytes of all tensors in memory."""
        return int(self._library.function("decoded_bytes")(self.handle))
