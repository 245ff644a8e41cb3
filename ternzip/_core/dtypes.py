"""Element types a .tnz file can hold: their codes in the file, and their names elsewhere.

Codes 0 to 11 are the types that may be ternary; the native core uses the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What the bits of an element mean, as far as a codec cares."""

    FLOAT = "float"  # sign and magnitude
    SIGNED = "signed"  # two's complement
    OTHER = "other"  # unsigned, boolean, complex, packed


@dataclass(frozen=True)
class DType:
    """One element type.

    Attributes:
        code: the number in the file.
        name: torch's name (``torch.<name>``).
        itemsize: bytes per element.
        kind: what the bits mean.
        safetensors: the name in a .safetensors header, or None where that format has none.
        negative_zero: whether the type has a second zero, its sign bit alone.
        planes: width in bytes of the parts whose byte planes are split (half the item for complex types).
        rotations: by how many bits those parts may be rotated left first, so that the highest byte holds of the
            exponent what varies: without the sign, and of 11 bits without the highest three.
    """

    code: int
    name: str
    itemsize: int
    kind: Kind
    safetensors: str | None
    negative_zero: bool = False
    planes: int = 0
    rotations: tuple[int, ...] = (0,)

    @property
    def plane_width(self) -> int:
        """Bytes of the parts that byte planes are made of; FORMAT.md calls it the width."""
        return self.planes or self.itemsize

    @property
    def may_be_ternary(self) -> bool:
        """Whether the type has negative and positive numbers, which levels are."""
        return self.code <= 11


_TABLE = (
    DType(0, "float64", 8, Kind.FLOAT, "F64", negative_zero=True, rotations=(4, 1)),
    DType(1, "float32", 4, Kind.FLOAT, "F32", negative_zero=True, rotations=(1,)),
    DType(2, "float16", 2, Kind.FLOAT, "F16", negative_zero=True, rotations=(1,)),
    DType(3, "bfloat16", 2, Kind.FLOAT, "BF16", negative_zero=True, rotations=(1,)),
    DType(4, "float8_e4m3fn", 1, Kind.FLOAT, "F8_E4M3", negative_zero=True),
    DType(5, "float8_e5m2", 1, Kind.FLOAT, "F8_E5M2", negative_zero=True),
    DType(6, "float8_e4m3fnuz", 1, Kind.FLOAT, "F8_E4M3FNUZ"),
    DType(7, "float8_e5m2fnuz", 1, Kind.FLOAT, "F8_E5M2FNUZ"),
    DType(8, "int8", 1, Kind.SIGNED, "I8"),
    DType(9, "int16", 2, Kind.SIGNED, "I16"),
    DType(10, "int32", 4, Kind.SIGNED, "I32"),
    DType(11, "int64", 8, Kind.SIGNED, "I64"),
    DType(12, "uint8", 1, Kind.OTHER, "U8"),
    DType(13, "uint16", 2, Kind.OTHER, "U16"),
    DType(14, "uint32", 4, Kind.OTHER, "U32"),
    DType(15, "uint64", 8, Kind.OTHER, "U64"),
    DType(16, "bool", 1, Kind.OTHER, "BOOL"),
    DType(17, "complex32", 4, Kind.OTHER, None, planes=2, rotations=(1,)),
    DType(18, "complex64", 8, Kind.OTHER, "C64", planes=4, rotations=(1,)),
    DType(19, "complex128", 16, Kind.OTHER, None, planes=8, rotations=(4, 1)),
    DType(20, "float8_e8m0fnu", 1, Kind.OTHER, "F8_E8M0"),
    DType(21, "float4_e2m1fn_x2", 1, Kind.OTHER, "F4"),
)

BY_CODE: dict[int, DType] = {dtype.code: dtype for dtype in _TABLE}
BY_NAME: dict[str, DType] = {dtype.name: dtype for dtype in _TABLE}
BY_SAFETENSORS: dict[str, DType] = {d.safetensors: d for d in _TABLE if d.safetensors is not None}
