"""Native core of ternzip. Pointers are addresses; the callers hold the owners."""

__version__: str

def split_planes(src: int, count: int, width: int, rotate: bool, dst: int) -> None: ...
def merge_planes(src: int, count: int, width: int, rotate: bool, dst: int) -> None: ...
def active_isa() -> str: ...
def fast_encode(
    trits: int,
    n: int,
    negative: int,
    zero: int,
    positive: int,
    *,
    lanes: int = 0,
    block_bits: int = 0,
    max_length: int = 0,
    precision: int = 0,
) -> bytes: ...
def fast_decode(
    payload: int, size: int, n: int, negative: int, zero: int, positive: int, out: int
) -> bool: ...
def fast_decode_into(
    payload: int,
    size: int,
    n: int,
    negative: int,
    zero: int,
    positive: int,
    element_size: int,
    negative_bits: int,
    positive_bits: int,
    out: int,
) -> bool: ...
