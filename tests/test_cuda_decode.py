"""`fast` payloads decoded by the CUDA kernels against the CPU's decoder: on a device, and emulated everywhere."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from cuda_place import PLACES, Place, place_of
from fast_strategies import densities, encoder_options
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import TERNARY_DTYPES, alpha_sign_mask, assert_same, grouped, trits

import ternzip
from ternzip._core.native import core
from ternzip.io import device_decoding
from ternzip.ops import _cuda

Trits = npt.NDArray[np.int8]
Counts = tuple[int, int, int]
INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
PATTERNS = (0x8182838485868788, 0, 0x0102030405060708)


def random_trits(seed: int, n: int, negative: float, zero: float) -> Trits:
    p = [negative, zero, max(0.0, 1 - negative - zero)]
    return np.random.default_rng(seed).choice(np.array([-1, 0, 1], np.int8), n, p=p)


def count(symbols: Trits) -> Counts:
    return int((symbols == -1).sum()), int((symbols == 0).sum()), int((symbols == 1).sum())


def encode(symbols: Trits, counts: Counts, **options: int) -> bytes:
    return core.fast_encode(symbols.ctypes.data, symbols.size, *counts, **options)


def on_cpu(payload: bytes, n: int, counts: Counts) -> Trits | None:
    data, out = np.frombuffer(payload, np.uint8), np.empty(n, np.int8)
    ok = core.fast_decode(data.ctypes.data, data.size, n, *counts, out.ctypes.data)
    return out if ok else None


def there(
    place: Place, payloads: list[bytes], sizes: list[int], counts: Counts, *, width: int = 1, offset: int = 0
) -> tuple[Trits | None, list[list[int]]]:
    """The trits of chunks as the kernels find them, between guards; None where anything is refused."""
    guard = 16 + offset
    firsts = np.cumsum([0, *sizes])
    n = int(firsts[-1])
    arrays = [np.frombuffer(p, np.uint8) for p in payloads]
    rows = [(a.ctypes.data, a.size, size, int(f)) for a, size, f in zip(arrays, sizes, firsts, strict=False)]
    read = core.cuda_fast_read(rows, *counts)
    if read is None:
        return None, []
    upload, size, scratch_size = read
    staging = torch.empty(size, dtype=torch.uint8)
    core.cuda_fast_write(upload, staging.data_ptr())
    sent = place.put(staging)
    scratch = torch.empty(scratch_size, dtype=torch.uint8, device=place.device)
    guarded = torch.full((n + 2 * guard,), 85, dtype=INTEGERS[width], device=place.device)
    found = torch.empty((len(sizes), 4), dtype=torch.int64, device=place.device)
    out = guarded[guard : guard + n]
    patterns = tuple(p & ((1 << 8 * width) - 1) for p in PATTERNS)
    core.cuda_fast_decode(
        upload, sent.data_ptr(), scratch.data_ptr(), out.data_ptr(), width, patterns, None, found.data_ptr(),
        *_cuda.target(place.device),
    )  # fmt: skip
    assert bool((guarded[:guard] == 85).all())
    assert bool((guarded[guard + n :] == 85).all())
    rows_found = found.tolist()
    if any(row[3] for row in rows_found):
        return None, rows_found
    values = out.cpu().numpy().view(f"u{width}")
    symbols = np.zeros(n, np.int8)
    symbols[values == patterns[0]] = -1
    symbols[values == patterns[2]] = 1
    assert bool(((symbols != 0) | (values == 0)).all())
    return symbols, rows_found


@pytest.mark.parametrize("native", PLACES)
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(1, 20000),
    density=densities,
    options=encoder_options,
    width=st.sampled_from([1, 2, 4, 8]),
    offset=st.integers(0, 3),
)
def test_round_trip(
    native: int,
    seed: int,
    n: int,
    density: tuple[float, float],
    options: dict[str, int],
    width: int,
    offset: int,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        symbols = random_trits(seed, n, *density)
        counts = count(symbols)
        if sum(c > 0 for c in counts) < 2:
            counts = (counts[0] + 1, counts[1] + 1, counts[2])
        payload = encode(symbols, counts, **options)
        decoded, found = there(place_of(native, patch), [payload], [n], counts, width=width, offset=offset)
        if payload[0] & 0x80:  # short payloads are left to the CPU
            assert decoded is None
            return
        assert decoded is not None
        assert np.array_equal(decoded, symbols)
        assert found == [[*count(symbols), 0]]


@pytest.mark.parametrize("native", PLACES)
@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(1, 4000),
    density=densities,
    options=encoder_options,
    data=st.data(),
)
def test_damaged_payloads_are_refused_as_on_the_cpu(
    native: int, seed: int, n: int, density: tuple[float, float], options: dict[str, int], data: st.DataObject
) -> None:
    symbols = random_trits(seed, n, *density)
    counts = count(symbols)
    if sum(c > 0 for c in counts) < 2:
        counts = (counts[0] + 1, counts[1] + 1, counts[2])
    damaged = bytearray(encode(symbols, counts, **options))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] ^= data.draw(st.integers(1, 255))
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(0, len(damaged))) :]
    expected = on_cpu(bytes(damaged), n, counts)
    with pytest.MonkeyPatch.context() as patch:
        decoded, _ = there(place_of(native, patch), [bytes(damaged)], [n], counts)
    if damaged and damaged[0] & 0x80:  # left to the CPU
        assert decoded is None
        return
    assert (decoded is None) == (expected is None)
    if expected is not None:
        assert decoded is not None
        assert np.array_equal(decoded, expected)


def test_chunks_of_a_tensor(place: Place) -> None:
    """Of different headers and tables, one element after the other."""
    parts = [random_trits(i, n, 0.1 * i, 0.5) for i, n in enumerate([70_000, 1, 5000, 33])]
    counts = count(np.concatenate(parts))
    payloads = [
        encode(part, counts, **each)
        for part, each in zip(
            parts,
            [{"lanes": 64, "block_bits": 14}, {"lanes": 1}, {"precision": 16}, {"precision": 8}],
            strict=True,
        )
    ]
    decoded, found = there(place, payloads, [p.size for p in parts], counts, width=2)
    assert decoded is not None
    assert np.array_equal(decoded, np.concatenate(parts))
    assert found == [[*count(part), 0] for part in parts]
    broken = bytearray(payloads[2])
    broken[-1] ^= 1
    decoded, found = there(
        place, [*payloads[:2], bytes(broken), payloads[3]], [p.size for p in parts], counts
    )
    assert decoded is None
    assert [row[3] > 0 for row in found] == [False, False, True, False]


def test_the_upload_checks_its_arguments(place: Place) -> None:
    assert core.cuda_fast_read([(0, 0, 0, 0)], 1, 1, 1) is None
    assert core.cuda_fast_read([(0, 0, 5, 0)], 1, 1, 1) is None
    read = core.cuda_fast_read([], 1, 1, 1)
    assert read is not None
    assert read[1:] == (0, 0)
    with pytest.raises(ValueError, match="1, 2, 4 or 8"):
        core.cuda_fast_decode(read[0], 0, 0, 0, 3, (1, 0, 1), None, 0, *_cuda.target(place.device))
    with pytest.raises(ValueError, match="what cuda_fast_read returned"):
        core.cuda_fast_write(datetime.datetime_CAPI, 0)


# --- files ------------------------------------------------------------------------------------------------


def per_row(rows: int, cols: int) -> torch.Tensor:
    levels = torch.linspace(0.5, 2.0, rows)
    levels[1] = 0.0  # a row without symbols
    w = trits(rows, cols, seed=4).float() * levels[:, None]
    w[2] = w[2].abs()  # one without negatives
    return w + 0.0


def samples() -> dict[str, torch.Tensor]:
    plain = {
        f"plain-{dtype}": trits(80, 131, seed=i).to(dtype)
        for i, dtype in enumerate(TERNARY_DTYPES)
        if dtype.itemsize > 1 or not dtype.is_floating_point
    }
    both = alpha_sign_mask(64, 270)
    return {
        **plain,
        "signs": both,
        "signs-bf16": both.to(torch.bfloat16),
        "minus": torch.where(both == 0, -0.0, both),
        "signs-rows": per_row(8, 1033) * torch.where(torch.arange(1033) % 3 == 0, -1.0, 1.0),
        "rows": per_row(9, 1401),
        "rows-vector": per_row(5, 3).to(torch.float16),
        "vector": trits(20_000, seed=3).half(),
        "groups": grouped((21, 960), (1, 32)).to(torch.bfloat16),
        "groups-of-vector": grouped((1, 20480), (1, 128)).view(-1),
        "groups-cut-off": grouped((21, 1000), (1, 32)),
        "columns": grouped((32, 640), (32, 16)),
        "tied": both,
        "constant": torch.ones(50, 3),
        "other": torch.randn(30, 2),
        "empty": torch.zeros(0, 4),
    }


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the tensors that were decoded by the kernels."""
    names: list[str] = []
    original = device_decoding.DeviceDecoder.start

    def start(self: object, entry: object, payload: object) -> object:
        finish = original(self, entry, payload)  # type: ignore[arg-type]
        if finish is None:
            return None

        def finished() -> object:
            tensor = finish()
            if tensor is not None:
                names.append(entry.name)  # type: ignore[attr-defined]
            return tensor

        return finished

    monkeypatch.setattr(device_decoding.DeviceDecoder, "start", start)
    return names


def test_files_come_back_bit_for_bit(place: Place, tmp_path: Path, decoded: list[str]) -> None:
    tensors = samples()
    path = tmp_path / "all.tnz"
    ternzip.save_file(tensors, path, codec="fast")
    found = ternzip.load_file(path, device=place.device)
    assert all(t.device.type == place.device.type for t in found.values())
    assert_same({name: t.cpu() for name, t in found.items()}, tensors)
    assert found["tied"] is found["signs"]
    # The last has a short payload; the blocks of two before it are no runs of one length.
    on_cpu = ("tied", "constant", "other", "empty", "groups-cut-off", "columns", "rows-vector")
    assert set(decoded) == {n for n in tensors if n not in on_cpu}
    with ternzip.safe_open(path, device=place.device) as f:
        assert_same(
            {n: f.get_tensor(n).cpu() for n in ("rows", "tied")}, {n: tensors[n] for n in ("rows", "tied")}
        )
    assert_same(
        {n: t.cpu() for n, t in ternzip.load(path.read_bytes(), device=place.device).items()}, tensors
    )


def test_large_tensor_in_several_chunks(place: Place, decoded: list[str]) -> None:
    w = alpha_sign_mask(3000, 1500, zeros=0.9).to(torch.bfloat16)
    data = ternzip.save({"w": w}, codec="fast")
    assert_same({"w": ternzip.load(data, device=place.device)["w"].cpu()}, {"w": w})
    assert decoded == ["w"]


def test_other_codecs_are_decoded_on_the_cpu(place: Place, decoded: list[str]) -> None:
    tensors = {"w": trits(50, 60).float()}
    for codec in ("context", "static", "packed"):
        found = ternzip.load(ternzip.save(tensors, codec=codec), device=place.device)
        assert_same({"w": found["w"].cpu()}, tensors)
    assert decoded == []


@pytest.mark.parametrize(
    "name",
    ["fast-word-missing", "fast-tail-state", "fast-symbols-many", "counts-differ", "row-without-positive"],
)
def test_hostile_files_fail_with_the_same_words(place: Place, name: str) -> None:
    path = Path(__file__).parent / "golden" / "invalid" / f"{name}.tnz"
    with pytest.raises(ternzip.TernzipError) as on_device:
        ternzip.load_file(path, device=place.device)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_cuda, "serves_device", lambda device: False)
        with pytest.raises(ternzip.TernzipError) as expected:
            ternzip.load_file(path)
    assert str(on_device.value) == str(expected.value)


def test_golden_files(place: Place) -> None:
    for path in sorted((Path(__file__).parent / "golden" / "valid").glob("*.tnz")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_cuda, "serves_device", lambda device: False)
            expected = ternzip.load_file(path)
        assert_same({n: t.cpu() for n, t in ternzip.load_file(path, device=place.device).items()}, expected)
