"""Native core of ternzip. Pointers are addresses; the callers hold the owners."""

__version__: str

def split_planes(src: int, count: int, width: int, rotate: bool, dst: int) -> None: ...
def merge_planes(src: int, count: int, width: int, rotate: bool, dst: int) -> None: ...

# One chunk: payload address and size, rows, cols, kernel, n_neg, n_zero, n_pos, effort, out address.
_ContextJob = tuple[int, int, int, int, int, int, int, int, int, int]

def context_encode(
    trits: int, rows: int, cols: int, kernel: int, n_neg: int, n_zero: int, n_pos: int, effort: int
) -> bytes: ...
def context_decode(
    payload: int,
    payload_size: int,
    rows: int,
    cols: int,
    kernel: int,
    n_neg: int,
    n_zero: int,
    n_pos: int,
    effort: int,
    out: int,
) -> bool: ...
def context_decode_many(jobs: list[_ContextJob]) -> list[bool]: ...
