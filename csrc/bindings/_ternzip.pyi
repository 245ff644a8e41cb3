"""Native core of ternzip. Pointers are addresses; the callers hold the owners."""

__version__: str

def split_planes(src: int, count: int, width: int, rotation: int, planes: list[int]) -> None: ...
def merge_planes(planes: list[int], count: int, width: int, rotation: int, dst: int) -> None: ...
def count_bytes(src: int, size: int, counts: int) -> None: ...
def has_repeats(src: int, count: int, width: int) -> bool: ...
def huffman_size(counts: int) -> int: ...
def huffman_encode(src: int, size: int, counts: int) -> bytes: ...
def huffman_decode(payload: int, payload_size: int, out: int, size: int) -> bool: ...

REST_OVERRUN: int

def split_zeros(plane: int, size: int, bitmap: int, rest: int) -> int: ...
def count_bitmap(bitmap: int, size: int) -> int | None: ...
def merge_zeros(bitmap: int, rest: int, ones: int, size: int, plane: int) -> bool: ...

# What is wrong with the frame; empty where out[0 .. size) now holds its content.
def zstd_decompress(frame: int, frame_size: int, out: int, size: int) -> str: ...

# Instruction sets, lowest first, of those this processor has. set_isa is for tests and benchmarks; the
# environment variable TERNZIP_ISA chooses at start.
def available_isas() -> list[str]: ...
def active_isa() -> str: ...
def set_isa(name: str) -> bool: ...

# Threads that wait for work in this process: none until a call wants some (core/base/thread_pool.hpp).
def pool_threads() -> int: ...

# Ternary tensors by bit pattern (csrc/core/tensor/ternary_tensor.hpp). dtype codes: 0 f64, 1 f32, 2 f16, 3 bf16,
# 4 f8_e4m3fn, 5 f8_e5m2, 6 f8_e4m3fnuz, 7 f8_e5m2fnuz, 8 i8, 9 i16, 10 i32, 11 i64; another code is a
# ValueError. Levels are raw bit patterns, 0 where a level does not occur.

# (height, width, negative_levels, positive_levels, negative, zero, positive, negative_zeros) of a tensor of some rows:
# how many rows and elements a block of levels has, an element of the dtype for each block, and how often each symbol
# occurs, `zero` counting zeros of both signs; None where the tensor is not ternary (csrc/core/tensor/block_levels.hpp).
def detect_levels(
    src: int, rows: int, row_size: int, dtype: int, threads: int = 1
) -> tuple[int, int, bytes, bytes, int, int, int, int] | None: ...

# int8 trits by sign.
def extract_trits(src: int, count: int, dtype: int, trits: int, threads: int = 1) -> None: ...

# Trits as elements of a tensor (csrc/core/tensor/element_writer.hpp): the level by the sign of each int8, +0 for 0,
# from `out` on. Levels: arrays of the dtype, one for each block of the grid, which is (elements of a row, rows and
# elements of a block); the tensor's first element to come has the number `first`. Returns (negative, zero, positive,
# invalid, missing): how many there were of each, and (block, symbol) where a symbol's level is 0, of the first block
# where that is so, else None. ValueError for a grid without elements.
_Grid = tuple[int, int, int]
_Written = tuple[int, int, int, int, tuple[int, int] | None]

def put_trits(
    trits: int,
    count: int,
    dtype: int,
    negative_levels: int,
    positive_levels: int,
    grid: _Grid,
    first: int,
    out: int,
) -> _Written: ...

# For every zero in order -1 (negative zero) or +1 into an int8 array as long as there are zeros; returns that number.
def extract_zero_signs(src: int, count: int, dtype: int, signs: int, room: int) -> int: ...

# The inverse in place. False, with nothing changed, if the number of zeros is not n_signs or a sign is
# negative and the dtype has no negative zero.
def apply_zero_signs(dst: int, count: int, dtype: int, signs: int, n_signs: int) -> bool: ...

# (negative, zero, positive, invalid) of an int8 array.
def count_trits(trits: int, count: int) -> tuple[int, int, int, int]: ...

# Five trits a byte, sum of (trit_j + 1) * 3^j, the last byte filled with the trit 0: ceil(count / 5) bytes.
def pack_trits(trits: int, count: int, packed: int) -> None: ...

# Writes count trits. False if a byte exceeds 242 or the filling is not the trit 0.
def unpack_trits(packed: int, count: int, trits: int) -> bool: ...

# Weights of a whole model in one call (csrc/core/weights/weights.hpp). Jobs are rows of numbers laid end to end; dtype
# codes 0 to 3, for count_many also 8 to 11, another is a ValueError. scalars: the addresses of the doubles lo, hi, neg,
# pos; each: whether an address holds one value for each job instead of one for all.

# Rows (w, count, dtype, out, out_is_int8); out 0 counts only. With a bound, w is clipped in place first. counts:
# int64 (jobs, 4), negative, zero, positive, invalid.
def ternarize_many(
    jobs: list[int], scalars: list[int], each: list[bool], bound: float | None, counts: int, threads: int
) -> None: ...

# Rows (w, count, dtype).
def clip_many(jobs: list[int], bound: float, threads: int) -> None: ...

# Rows (w, count, dtype).
def count_many(jobs: list[int], counts: int, threads: int) -> None: ...

# Rows (grad, w, count, dtype, out). ste: 0 closed, 1 open, 2 identity, 3 scaled (dtypes 0 and 1 only). level_grads: 0,
# or float64 (jobs, 2) that gets the sums of grad over the elements at neg and at pos.
def backward_many(
    jobs: list[int],
    scalars: list[int],
    each: list[bool],
    ste: int,
    bound: float,
    level_grads: int,
    threads: int,
) -> None: ...

# One chunk by the fast codec (csrc/core/codecs/fast/fast.hpp); counts are those of the whole tensor.
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

# The same into elements, as by put_trits; None if the payload is refused.
def fast_decode_into(
    payload: int,
    size: int,
    n: int,
    negative: int,
    zero: int,
    positive: int,
    dtype: int,
    negative_levels: int,
    positive_levels: int,
    grid: _Grid,
    first: int,
    out: int,
) -> _Written | None: ...

# One chunk: payload address and size, rows, cols, kernel, negative, zero, positive, out address.
_ContextJob = tuple[int, int, int, int, int, int, int, int, int]

def context_encode(
    trits: int, rows: int, cols: int, kernel: int, negative: int, zero: int, positive: int, effort: int
) -> bytes: ...
def context_decode(
    payload: int,
    payload_size: int,
    rows: int,
    cols: int,
    kernel: int,
    negative: int,
    zero: int,
    positive: int,
    out: int,
) -> bool: ...
def context_decode_many(jobs: list[_ContextJob]) -> list[bool]: ...

# Ternary layers on floating-point activations (csrc/core/runtime). shape: (rows, groups, channels of a group, taps,
# channels of a block); another than the kernels take is a ValueError.
_IndexShape = tuple[int, int, int, int, int]

# int16 codes, one for each trit that is not 0, and int32 starts[2 * rows * blocks + 1] of int8 trits.
def runtime_build_index(trits: int, shape: _IndexShape, codes: int, starts: int) -> None: ...

# Whether lists can be run; if so, and trits is not 0, writes their trits.
def runtime_read_index(codes: int, n_codes: int, starts: int, shape: _IndexShape, trits: int) -> bool: ...

# (rows, columns, width of a group of columns), all positive.
_MatrixShape = tuple[int, int, int]

# int32 codes[ceil(rows / 16)][groups][ceil(group width / 16)][16] of int8 trits (rows, columns), and back.
def runtime_build_codes(trits: int, shape: _MatrixShape, codes: int) -> None: ...
def runtime_read_codes(codes: int, shape: _MatrixShape, trits: int) -> None: ...

# One direction: input, output, taps, stride, dilation, padding before.
_Axis = tuple[int, int, int, int, int, int]

# codes, starts, ratios, scales and dense weights (rows, channels of a group, taps): the lists, or the last, are 0.
_ConvolutionWeights = tuple[int, int, int, int, int]

# x and out of dtype 1 or 3. The lists of weights must be valid, the others are float32[rows]. epilogue: biases,
# residual or 0, residual scales.
def runtime_convolve(
    x: int,
    dtype: int,
    batch: int,
    rows: _Axis,
    columns: _Axis,
    shape: _IndexShape,
    weights: _ConvolutionWeights,
    epilogue: tuple[int, int, int],
    lowest: float,
    highest: float,
    out: int,
    threads: int,
) -> None: ...

# weights: codes, positive and negative levels, float32[groups][16 * ceil(rows / 16)], or 0 for opposite ones.
def runtime_multiply(
    x: int,
    dtype: int,
    batch: int,
    shape: _MatrixShape,
    weights: tuple[int, int, int],
    epilogue: tuple[int, int, int],
    lowest: float,
    highest: float,
    out: int,
    threads: int,
) -> None: ...

# A network as one call (csrc/core/runtime/program.hpp): steps return the number of the value they make, 0 is the
# input, float32 (channels, height, width) a sample. Addresses must stay; what does not fit is a ValueError. epilogue:
# biases, residual scales; residual: a value, or -1.
class RuntimeProgram:
    def __init__(self, shape: tuple[int, int, int]) -> None: ...
    def convolve(
        self,
        x: int,
        residual: int,
        rows: _Axis,
        columns: _Axis,
        shape: _IndexShape,
        n_codes: int,
        weights: _ConvolutionWeights,
        epilogue: tuple[int, int],
        lowest: float,
        highest: float,
    ) -> int: ...
    def multiply(
        self,
        x: int,
        residual: int,
        shape: _MatrixShape,
        weights: tuple[int, int, int],
        epilogue: tuple[int, int],
        lowest: float,
        highest: float,
    ) -> int: ...
    def add(self, x: int, y: int, lowest: float, highest: float) -> int: ...
    def clamp(self, x: int, lowest: float, highest: float) -> int: ...

    # norm: means, variances, weights or 0, biases or 0.
    def normalize(self, x: int, norm: tuple[int, int, int, int], epsilon: float) -> int: ...

    # Each direction: extent, stride, padding.
    def average(self, x: int, rows: tuple[int, int, int], columns: tuple[int, int, int]) -> int: ...
    def largest(self, x: int, rows: tuple[int, int, int], columns: tuple[int, int, int]) -> int: ...

    # Each direction: first, step, count; and channels of zeros.
    def slice(
        self, x: int, rows: tuple[int, int, int], columns: tuple[int, int, int], before: int, behind: int
    ) -> int: ...
    def flatten(self, x: int) -> int: ...
    def shape(self, value: int) -> tuple[int, int, int]: ...
    def finish(self, value: int) -> None: ...

    # x and out are float32; any number of threads may call it at once.
    def run(self, x: int, batch: int, out: int, threads: int) -> None: ...

# The kernels for CUDA (csrc/cuda). `device` is its index and `stream` a cudaStream_t; -1 emulates the kernels on the
# CPU, -2 the same with the last warp first, -3 and below with warps in a random order of that seed, for tests: pointers
# are the host's then. Nothing waits for the device.
def cuda_compiled() -> bool: ...

# Compute capabilities the kernels were compiled for, as 80; the driver compiles the last one for newer ones.
def cuda_architectures() -> list[int]: ...

# Why a device of this compute capability cannot run them; empty if it can. Thorough: asks the device, which makes a
# context on it where there is none.
def cuda_obstacle(device: int, capability: int, thorough: bool) -> str: ...

# lo, hi, neg, pos: (address of doubles on the device or 0, value if 0, whether one for each job).
_CudaScalars = list[tuple[int, float, bool]]

# The jobs of ternarize_many and its neighbours; every pointer lies on the device, aligned to its element.
def cuda_ternarize_many(
    jobs: list[int], scalars: _CudaScalars, bound: float | None, counts: int, device: int, stream: int
) -> None: ...
def cuda_clip_many(jobs: list[int], bound: float, device: int, stream: int) -> None: ...
def cuda_count_many(jobs: list[int], counts: int, device: int, stream: int) -> None: ...

# Doubles that gradients of levels need to be summed up.
def cuda_level_scratch(jobs: list[int]) -> int: ...

# scratch: 0 leaves the level_grads at 0.
def cuda_backward_many(
    jobs: list[int],
    scalars: _CudaScalars,
    ste: int,
    bound: float,
    level_grads: int,
    scratch: int,
    device: int,
    stream: int,
) -> None: ...

# The chunks of a tensor by the fast codec on their way to a device (csrc/cuda/fast/plan.hpp): rows (payload,
# size, symbols, first element), counts of the whole tensor. Returns (upload, its bytes, bytes of scratch), None if a
# chunk's headers are refused. The payloads must outlive the upload.
def cuda_fast_read(
    chunks: list[tuple[int, int, int, int]], negative: int, zero: int, positive: int
) -> tuple[object, int, int] | None: ...

# Writes the upload's bytes.
def cuda_fast_write(upload: object, to: int) -> None: ...

# Decodes the copy `sent` of these bytes, on a boundary of 16. Patterns of -1, 0, +1; rows: (negatives, positives,
# elements of a row) with uint64 arrays on the device. counts: int64 (chunks, 4): -1, 0, +1, blocks refused.
def cuda_fast_decode(
    upload: object,
    sent: int,
    scratch: int,
    out: int,
    element_size: int,
    patterns: tuple[int, int, int],
    rows: tuple[int, int, int] | None,
    counts: int,
    device: int,
    stream: int,
) -> None: ...

# (rows, groups, channels of a group, taps), all positive.
_PlaneShape = tuple[int, int, int, int]

# int32 planes[groups][ceil(rows of a group / 16)][taps][ceil(channels / 32)][2][16] of int8 trits (rows, channels,
# taps), and back.
def runtime_build_planes(trits: int, shape: _PlaneShape, planes: int) -> None: ...
def runtime_read_planes(planes: int, shape: _PlaneShape, trits: int) -> None: ...

# x and out of dtype 1 or 3. weights: planes, scales float32[rows]. epilogue: as for runtime_convolve.
def runtime_convolve_bitwise(
    x: int,
    dtype: int,
    batch: int,
    rows: _Axis,
    columns: _Axis,
    shape: _PlaneShape,
    weights: tuple[int, int],
    threshold: float,
    epilogue: tuple[int, int, int],
    lowest: float,
    highest: float,
    out: int,
    threads: int,
) -> None: ...
