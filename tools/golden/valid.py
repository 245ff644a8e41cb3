"""The valid golden files: each shows one part of the format, and together all of it."""

from __future__ import annotations

import hashlib
import io
import math
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from golden import builder as b
from ternzip._core.dtypes import BY_NAME, DType
from ternzip._core.tensor import RawTensor, Tie
from ternzip.container.layout import Storage
from ternzip.container.writer import Options, write_container

STATIC = Options(codec="static", threads=1)

FLOATS = {"float64": "<d", "float32": "<f", "float16": "<e"}
# The levels -0.5 and +0.5 of the types that struct does not know.
HALVES = {
    "bfloat16": 0x3F00,
    "float8_e4m3fn": 0x30,
    "float8_e5m2": 0x38,
    "float8_e4m3fnuz": 0x38,
    "float8_e5m2fnuz": 0x3C,
}


class Expected(NamedTuple):
    """A tensor as it was before it was stored."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes
    tied_to: str | None = None


class Golden(NamedTuple):
    description: str
    tensors: list[Expected]
    metadata: dict[str, str]
    data: bytes
    extensions: Mapping[str, bytes] = MappingProxyType({})


def noise(seed: str, size: int) -> bytes:
    """Bytes that are the same everywhere and always."""
    return hashlib.shake_128(seed.encode()).digest(size)


def symbols(seed: str, count: int, *, zeros: int = 128, negatives: int = 64) -> list[int]:
    """Symbols of which `zeros` in 256 are 0 and `negatives` in 256 are -1."""
    return [0 if n < zeros else -1 if n < zeros + negatives else 1 for n in noise(seed, count)]


def level(dtype: DType, value: float) -> bytes:
    """The bytes of a level: any value of a type that struct knows, else -0.5 or +0.5."""
    if dtype.name in FLOATS:
        return struct.pack(FLOATS[dtype.name], value)
    if dtype.name in HALVES:
        bits = HALVES[dtype.name] | (1 << (8 * dtype.itemsize - 1) if value < 0 else 0)
        return bits.to_bytes(dtype.itemsize, "little")
    return int(value).to_bytes(dtype.itemsize, "little", signed=True)


def elements(values: Iterable[int], dtype: DType, negative: float = -0.5, positive: float = 0.5) -> bytes:
    of = {-1: level(dtype, negative), 0: bytes(dtype.itemsize), 1: level(dtype, positive)}
    return b"".join(map(of.__getitem__, values))


def saved(
    description: str,
    tensors: list[Expected],
    metadata: Mapping[str, str] | None = None,
    options: Options = STATIC,
    storage: Mapping[str, Storage] | None = None,
    extensions: Mapping[str, bytes] = MappingProxyType({}),
) -> Golden:
    """A file as ternzip writes it; `storage` is what the names must have been stored as."""

    def raws() -> Iterable[tuple[str, RawTensor | Tie]]:
        for name, dtype, shape, data, tied_to in tensors:
            if tied_to is not None:
                yield name, Tie(tied_to)
            else:
                yield name, RawTensor(BY_NAME[dtype], shape, np.frombuffer(data, np.uint8))

    stream = io.BytesIO()
    entries = write_container(stream, raws(), options=options, metadata=metadata, extensions=extensions)
    for entry in entries:
        if storage is not None and entry.storage is not storage[entry.name]:
            raise AssertionError(f"{entry.name} is stored as {entry.storage.name}")
    return Golden(description, tensors, dict(metadata or {}), stream.getvalue(), extensions)


def built(
    description: str,
    items: list[b.Item],
    records: list[b.Record],
    data: list[bytes],
    metadata: Mapping[str, str] | None = None,
    content: bytes | None = None,
) -> Golden:
    """A file put together by hand, which shows what ternzip does not write."""
    names = {dtype.code: dtype.name for dtype in BY_NAME.values()}
    tensors = [
        Expected(item.name.decode(), names[item.dtype], tuple(item.shape), of, None)
        if item.storage != b.TIED
        else Expected(
            item.name.decode(),
            names[items[item.target].dtype],
            tuple(items[item.target].shape),
            of,
            items[item.target].name.decode(),
        )
        for item, of in zip(items, data, strict=True)
    ]
    pairs = [(key.encode(), value.encode()) for key, value in (metadata or {}).items()]
    file = b.file(items, records, pairs) if content is None else content
    return Golden(description, tensors, dict(metadata or {}), file)


def dense(name: str, dtype: str, shape: tuple[int, ...]) -> Expected:
    data = noise(name, math.prod(shape) * BY_NAME[dtype].itemsize)
    if dtype == "bool":
        data = bytes(byte & 1 for byte in data)
    return Expected(name, dtype, shape, data)


# --- sections 2 to 5 ----------------------------------------------------------------------------------------


def empty() -> Golden:
    return saved("no tensors, no metadata", [])


def metadata() -> Golden:
    texts = {"format": "pt", "": "an empty key", "empty value": "", "ключ ∞": "value with a NUL \0 and 🙂"}
    return saved("metadata: empty and other than ASCII", [], texts)


def names() -> Golden:
    tensors = [
        dense(name, "uint8", (2,)) for name in ["", "weight", "слой.1", "a/b\\c \0 \n", "🙂", "n" * 65536]
    ]
    return saved("names: empty, other than ASCII, 65,536 bytes; a directory that is compressed", tensors)


def shapes() -> Golden:
    tensors = [
        dense("scalar", "float32", ()),
        dense("none", "float32", (0,)),
        dense("none of three", "int64", (3, 0, 2)),
        dense("one", "float64", (1,)),
        dense("64 dimensions", "uint8", (1,) * 63 + (3,)),
        dense("long", "uint8", (300, 1)),
        dense("huge none", "int8", (1 << 40, 0, (1 << 22) - 1)),
    ]
    return saved("shapes: scalar, without elements, 64 dimensions, lengths of several bytes", tensors)


def nothing_but_nothing() -> Golden:
    return saved("a solid block without bytes", [dense("a", "float32", (0,)), dense("b", "int8", (0, 7))])


def solid_types() -> Golden:
    """In an order other than that of the codes."""
    order = sorted(BY_NAME, key=lambda name: noise(name, 4))
    tensors = [dense(f"{name}.{part}", name, (3 + part,)) for part in range(2) for name in order]
    return saved("one solid block with two tensors of each type", tensors)


def solid_blocks() -> Golden:
    """16 x 65,535 bytes leave 16 of 2^20 free: a tensor of 17 starts another block, one of 16 does not."""
    tensors = [Expected(f"z{i}", "int8", (65535,), bytes(65535)) for i in range(16)]
    tensors += [
        Expected("fills up", "uint8", (16,), noise("fills up", 16)),
        Expected("nothing more", "uint8", (0,), b""),
        Expected("next block", "float32", (1,), noise("next block", 4)),
    ]
    return saved("two solid blocks, the first exactly full", tensors)


def planes_types() -> Golden:
    items, records, data = [], [], []
    for number, dtype in enumerate(BY_NAME.values()):
        one = dense(dtype.name, dtype.name, (2, 3))
        items.append(b.Item(one.name.encode(), b.PLANES, dtype.code, one.shape))
        payload = b.block(one.data, dtype.plane_width, rotation=number % 2, zstd=number % 4 >= 2)
        records.append(b.Record(payload, len(one.data)))
        data.append(one.data)
    return built("planes of each type, rotated or not, stored or in a zstd frame", items, records, data)


def planes_rotation() -> Golden:
    """Wide elements, rotated as far as can be."""
    items, records, data = [], [], []
    for dtype in (BY_NAME[name] for name in ("uint8", "float16", "float32", "float64", "complex128")):
        for rotation in (0, 1, 4, 8 * dtype.plane_width - 1):
            one = dense(f"{dtype.name}.{rotation}", dtype.name, (4,))
            items.append(b.Item(one.name.encode(), b.PLANES, dtype.code, one.shape))
            records.append(b.Record(b.block(one.data, dtype.plane_width, rotation=rotation), len(one.data)))
            data.append(one.data)
    return built("rotated elements of each width", items, records, data)


def planes_records() -> Golden:
    size = (1 << 22) + 24
    ramp = b"".join(struct.pack("<d", i % 4096) for i in range(size // 8))
    return saved(
        "planes in two records, the second short; the first filled up with zeros",
        [Expected("ramp", "float64", (size // 8,), ramp), Expected("zero", "uint8", (size,), bytes(size))],
        storage={"ramp": Storage.PLANES, "zero": Storage.PLANES},
    )


def frames() -> Golden:
    """Zstd frames of every kind that the format allows."""
    data = noise("frames", 1500)
    xxh64_of_abc = bytes.fromhex("990977ad")  # the low half of XXH64("abc"), 44bc2cf5ad770999
    kinds = {
        "two raw blocks": (b.frame(data), data),
        "repeated byte": (b.repeated_frame(7, 100000), b"\x07" * 100000),
        "window of 8 MiB": (b.frame(b"x", header=bytes([13 << 3])), b"x"),
        "unused bit": (b.frame(b"x", descriptor=0b00010000), b"x"),
        "checksum": (b.frame(b"abc", descriptor=0b100, checksum=xxh64_of_abc), b"abc"),
    }
    items = [b.Item(k.encode(), b.PLANES, b.UINT8, (len(plain),)) for k, (_, plain) in kinds.items()]
    records = [b.Record(b"\0" + b.plane(f, method=1), len(plain)) for f, plain in kinds.values()]
    return built("zstd frames of every kind", items, records, [plain for _, plain in kinds.values()])


def directory_frame() -> Golden:
    item = b.Item(b"x", b.SOLID, b.UINT8, (1,))
    record = b.Record(b"\0" + b.plane(b"\x2a"), 1)
    table = b.table([item], [record])
    content = b.seal(record.data, b"", b.directory(table, method=1, body=b.frame(table)))
    return built("a directory of method 1", [item], [record], [b"\x2a"], content=content)


def ties() -> Golden:
    weight = symbols("ties", 300)
    data = elements(weight, BY_NAME["float32"])
    tensors = [
        Expected("embedding", "float32", (30, 10), data),
        Expected("bias", "float32", (2,), noise("bias", 8)),
        Expected("head", "float32", (30, 10), data, "embedding"),
        Expected("bias too", "float32", (2,), noise("bias", 8), "bias"),
        Expected("head again", "float32", (30, 10), data, "embedding"),
    ]
    return saved("ties to a ternary and to a solid tensor", tensors, {"ties": "three"})


# --- section 6 ----------------------------------------------------------------------------------------------

F32 = BY_NAME["float32"]
SIX = [1, 0, -1, 0, 0, 1]


def constants() -> Golden:
    """Tensors of one symbol: no codec, empty records, and zeros where there are many symbols."""
    many = (1 << 20) + 1
    half = level(F32, 0.5)
    minus_half, minus_zero = level(F32, -0.5), level(F32, -0.0)
    rows: list[tuple[str, int, bytes, tuple[int, ...], bytes]] = [
        ("zeros", 0, b"", (), bytes(4)),
        ("negative zeros", 16, b"", (), minus_zero),
        ("negative", 1, minus_half, (6,), minus_half),
        ("positive", 2, half, (6,), half),
    ]
    items = [
        b.Item(name.encode(), b.TERNARY, b.FLOAT32, (2, 3), b.ternary(flags, levels, counts, None))
        for name, flags, levels, counts, _ in rows
    ]
    items.append(b.Item(b"many", b.TERNARY, b.INT8, (many,), b.ternary(2, b"\x05", (many,), None)))
    records = [b.Record(b"", 6) for _ in rows] + [b.Record(b"", many)]
    data = [element * 6 for *_, element in rows] + [b"\x05" * many]
    return built("tensors of one symbol", items, records, data)


def zero_signs() -> Golden:
    items, records, data = [], [], []
    for dtype in list(BY_NAME.values())[:6]:
        zero, minus = (
            bytes(dtype.itemsize),
            (1 << (8 * dtype.itemsize - 1)).to_bytes(dtype.itemsize, "little"),
        )
        low, high = level(dtype, -0.5), level(dtype, 0.5)
        both = b.ternary(1 | 2 | 4 | 32, low, (1, 2), signs=b"\x02\0\0")  # two of three are -0.0
        items.append(b.Item(f"{dtype.name}.both".encode(), b.TERNARY, dtype.code, (2, 3), both))
        records += [b.Record(b.pack(SIX), 6), b.Record(b"\x02", 3)]
        data.append(high + minus + low + zero + minus + high)
        every = b.ternary(1 | 2 | 4 | 16, low, (1, 2))
        items.append(b.Item(f"{dtype.name}.all".encode(), b.TERNARY, dtype.code, (2, 3), every))
        records.append(b.Record(b.pack(SIX), 6))
        data.append(high + minus + low + minus + minus + high)
        only = b.ternary(32, b"", (), None, signs=b"\x01\0\0")
        items.append(b.Item(f"{dtype.name}.only".encode(), b.TERNARY, dtype.code, (2,), only))
        records += [b.Record(b"", 2), b.Record(b"\x02", 2)]
        data.append(minus + zero)
    return built("signs of zeros of all types that have them", items, records, data)


def level_bits() -> Golden:
    """Levels that are extreme: smallest, infinite, not a number, most negative."""
    items, records, data = [], [], []
    patterns = [
        ("float32", 0x80000001, 0x00000001),
        ("float32", 0xFF800000, 0x7F800000),
        ("float32", 0xFFC00001, 0x7FFFFFFF),
        ("float64", 0xFFFFFFFFFFFFFFFF, 0x0000000000000001),
        ("float8_e4m3fnuz", 0x81, 0x7F),
        ("int8", 0x80, 0x7F),
        ("int16", 0x8001, 0x7FFF),
        ("int64", 0x8000000000000000, 0x0000000000000001),
    ]
    for number, (name, negative, positive) in enumerate(patterns):
        dtype = BY_NAME[name]
        low, high = (bits.to_bytes(dtype.itemsize, "little") for bits in (negative, positive))
        parameters = b.ternary(1 | 2, low + high, (1, 2))
        items.append(b.Item(f"{number}".encode(), b.TERNARY, dtype.code, (6,), parameters))
        records.append(b.Record(b.pack(SIX), 6))
        data.append(high + bytes(dtype.itemsize) + low + bytes(2 * dtype.itemsize) + high)
    return built("levels by their bits, extreme ones", items, records, data)


def expectation(golden: Golden) -> dict[str, object]:
    """What the JSON beside a valid file says."""
    extensions = {
        name: {
            "bytes": len(data),
            "crc32": f"{zlib.crc32(data):08x}",
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        for name, data in golden.extensions.items()
    }
    return {
        "description": golden.description,
        "metadata": golden.metadata,
        "tensors": [
            {
                "name": name,
                "dtype": dtype,
                "shape": list(shape),
                **({} if tied_to is None else {"tied_to": tied_to}),
                "bytes": len(data),
                "crc32": f"{zlib.crc32(data):08x}",
                "sha256": hashlib.sha256(data).hexdigest(),
            }
            for name, dtype, shape, data, tied_to in golden.tensors
        ],
        **({"extensions": extensions} if extensions else {}),
    }


CASES: dict[str, Callable[[], Golden]] = {
    "empty": empty,
    "metadata": metadata,
    "names": names,
    "shapes": shapes,
    "no-bytes": nothing_but_nothing,
    "solid-types": solid_types,
    "solid-blocks": solid_blocks,
    "planes-types": planes_types,
    "planes-rotation": planes_rotation,
    "planes-records": planes_records,
    "zstd-frames": frames,
    "directory-frame": directory_frame,
    "ties": ties,
    "level-bits": level_bits,
    "constants": constants,
    "zero-signs": zero_signs,
}
