"""Other coders of ternary weights, behind one interface, for bench_codec.py."""

from __future__ import annotations

import importlib
import importlib.util
import lzma
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from ternzip._core.native import core

Trits = NDArray[np.int8]
Network = list[Trits]
Payloads = list[bytes]


@dataclass
class Coder:
    """A way to store all tensors of a network.

    Attributes:
        encode: one payload or more for a network.
        decode: fills `out` from the payloads; of the network itself it may use shapes and counts only.
        prepare: called outside the timed runs.
        slow: needs minutes for tens of millions of weights.
    """

    name: str
    encode: Callable[[Network], Payloads]
    decode: Callable[[Payloads, Network, Network], None]
    prepare: Callable[[Network], object] | None = None
    slow: bool = False


def peers() -> tuple[list[Coder], dict[str, str]]:
    """The coders that are installed, and why the others are missing."""
    coders: list[Coder] = []
    missing: dict[str, str] = {}
    for name, make in (
        ("zstd", _zstd),
        ("xz", _xz),
        ("brotli", _brotli),
        ("constriction", _constriction),
        ("nncodec", _nncodec),
        ("tmq", _tmq),
    ):
        try:
            coders += make()
        except (ImportError, OSError, AttributeError) as error:
            missing[name] = str(error).splitlines()[0]
    return coders, missing


# Fixed-width packings, which general compressors are applied to.


def pack_five(trits: Trits) -> bytes:
    packed = np.empty(-(-trits.size // 5), np.uint8)
    core.pack_trits(trits.ctypes.data, trits.size, packed.ctypes.data)
    return packed.tobytes()


def unpack_five(data: bytes, out: Trits) -> None:
    packed = np.frombuffer(data, np.uint8)
    if not core.unpack_trits(packed.ctypes.data, out.size, out.ctypes.data):
        raise ValueError("not five trits a byte")


_FOUR = np.array([[(byte >> shift & 3) - 1 for shift in (0, 2, 4, 6)] for byte in range(256)], np.int8)


def pack_two_bits(trits: Trits) -> bytes:
    codes = np.zeros(-(-trits.size // 4) * 4, np.uint8)
    codes[: trits.size] = trits.reshape(-1) + 1
    return (codes[0::4] | codes[1::4] << 2 | codes[2::4] << 4 | codes[3::4] << 6).tobytes()


def unpack_two_bits(data: bytes, out: Trits) -> None:
    out.reshape(-1)[:] = _FOUR[np.frombuffer(data, np.uint8)].reshape(-1)[: out.size]


def _packed_coders(
    name: str, compress: Callable[[bytes], bytes], decompress: Callable[[bytes], bytes], slow: bool = True
) -> list[Coder]:
    coders = []
    for label, pack, unpack in (
        ("5 trits", pack_five, unpack_five),
        ("2 bits", pack_two_bits, unpack_two_bits),
    ):

        def encode(network: Network, pack: Callable[[Trits], bytes] = pack) -> Payloads:
            return [compress(pack(tensor)) for tensor in network]

        def decode(
            payloads: Payloads,
            network: Network,
            out: Network,
            unpack: Callable[[bytes, Trits], None] = unpack,
        ) -> None:
            for payload, tensor in zip(payloads, out, strict=True):
                unpack(decompress(payload), tensor)

        coders.append(Coder(f"{name} of {label}" if name else label, encode, decode, slow=slow))
    return coders


def _zstd() -> list[Coder]:
    plain = _packed_coders("", bytes, bytes, slow=False)
    compress = zstandard.ZstdCompressor(level=19).compress
    return plain + _packed_coders("zstd -19", compress, zstandard.ZstdDecompressor().decompress)


def _xz() -> list[Coder]:
    return _packed_coders(
        "xz -9e", lambda data: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME), lzma.decompress
    )


def _brotli() -> list[Coder]:
    brotli: Any = importlib.import_module("brotli")
    return _packed_coders(
        "brotli -11", lambda data: brotli.compress(data, quality=11, lgwin=24), brotli.decompress
    )


# Order-0 entropy coding with constriction: trit by trit, and five trits at a time.


def _frequencies(trits: Trits) -> NDArray[np.float64]:
    return np.array([(trits == value).sum() for value in (-1, 0, 1)], np.float64) / trits.size


def _five_frequencies(trits: Trits) -> NDArray[np.float64]:
    one = _frequencies(trits)
    product = np.ones(1)
    for _ in range(5):
        product = np.outer(one, product).reshape(-1)  # the first trit is the lowest digit
    return product


def _constriction() -> list[Coder]:
    constriction: Any = importlib.import_module("constriction")
    model = constriction.stream.model.Categorical
    coder = constriction.stream.stack.AnsCoder
    cache: dict[tuple[int, bool], list[Any]] = {}

    def models(network: Network, five: bool) -> list[Any]:
        key = id(network), five
        if key not in cache:
            cache.clear()
            frequencies = _five_frequencies if five else _frequencies
            cache[key] = [model(frequencies(tensor), perfect=False) for tensor in network]
        return cache[key]

    def make(five: bool) -> Coder:
        def encode(network: Network) -> Payloads:
            payloads = []
            for tensor, known in zip(network, models(network, five), strict=True):
                symbols = np.frombuffer(pack_five(tensor), np.uint8) if five else tensor.reshape(-1) + 1
                stream = coder()
                stream.encode_reverse(symbols.astype(np.int32), known)
                payloads.append(stream.get_compressed().tobytes())
            return payloads

        def decode(payloads: Payloads, network: Network, out: Network) -> None:
            for payload, tensor, known in zip(payloads, out, models(network, five), strict=True):
                stream = coder(np.frombuffer(payload, np.uint32))
                symbols = stream.decode(known, -(-tensor.size // 5) if five else tensor.size)
                if five:
                    unpack_five(symbols.astype(np.uint8).tobytes(), tensor)
                else:
                    tensor.reshape(-1)[:] = symbols - 1

        name = "constriction, 243-ary" if five else "constriction, trits"
        return Coder(name, encode, decode, prepare=lambda network: models(network, five), slow=not five)

    return [make(False), make(True)]


# NNCodec: DeepCABAC of ISO/IEC 15938-17. Its extension is loaded without the package, which needs much more.


def _extension(package: str, name: str) -> ModuleType:
    found = importlib.util.find_spec(package)
    for folder in (found.submodule_search_locations or []) if found is not None else []:
        for path in sorted(Path(folder).glob(f"**/{name}.*")):
            if path.suffix in (".so", ".pyd"):
                spec = importlib.util.spec_from_file_location(name, path)
                if spec is not None and spec.loader is not None:
                    module = importlib.util.module_from_spec(spec)
                    spec.loader.exec_module(module)
                    return module
    raise ImportError(f"no extension {name} in package {package}")


def _nncodec() -> list[Coder]:
    cabac: Any = _extension("nncodec", "deepCABAC")
    off = (cabac.HdspMode.AlwaysOff, np.zeros(2, np.int8))

    def encode_one(tensor: NDArray[np.int32], unary: int, optimize: int) -> bytes:
        encoder = cabac.Encoder()
        encoder.initCtxModels(unary, optimize)
        rows = tensor.reshape(tensor.shape[0] if tensor.ndim else 1, -1)
        skipped = (~rows.any(axis=1)).astype(np.int32)
        encoder.encodeLayer(tensor, 0, 0, 1, 0, int(tensor.ndim > 1), skipped, *off, 0, 0)
        return bytes([unary]) + bytes(encoder.finish().tobytes())

    def decode(payloads: Payloads, network: Network, out: Network) -> None:
        for payload, tensor in zip(payloads, out, strict=True):
            decoder = cabac.Decoder()
            decoder.setStream(np.frombuffer(payload, np.uint8, offset=1))
            decoder.initCtxModels(payload[0])
            values = np.zeros(tensor.shape, np.int32)
            decoder.decodeLayer(values, 0, 0, 1, 0, *off, 0, 0)
            tensor[...] = values

    def best(network: Network) -> Payloads:
        return [
            min((encode_one(tensor.astype(np.int32), unary, 1) for unary in (0, 1, 2, 10)), key=len)
            for tensor in network
        ]

    def quick(network: Network) -> Payloads:
        return [encode_one(tensor.astype(np.int32), 0, 0) for tensor in network]

    return [
        Coder("NNCodec, best", best, decode, slow=True),
        Coder("NNCodec, quick", quick, decode, slow=True),
    ]


def _tmq() -> list[Coder]:
    importlib.import_module("torch")
    native: Any = _extension("tmq", "tmq_native")
    from_numpy: Any = importlib.import_module("torch").from_numpy

    def shape(tensor: Trits) -> list[int]:  # what it calls a convolution; of matrices it loses the order
        return [tensor.shape[0] if tensor.ndim else 1, -1, 1, 1]

    def encode(network: Network) -> Payloads:
        weights = [from_numpy(tensor.astype(np.float32)).reshape(shape(tensor)) for tensor in network]
        return [native.compress_ternary(w, w.shape, False).numpy().tobytes() for w in weights]

    def decode(payloads: Payloads, network: Network, out: Network) -> None:
        for payload, tensor in zip(payloads, out, strict=True):
            sizes = [tensor.shape[0] if tensor.ndim else 1, 1, 1, 1]
            sizes[1] = tensor.size // sizes[0]
            compact = native.decompress_ternary(from_numpy(np.frombuffer(payload, np.int8).copy()), sizes)
            tensor[...] = native.expand_ternary(compact, sizes, False).numpy().reshape(tensor.shape)

    return [Coder("TMQ", encode, decode, slow=True)]
