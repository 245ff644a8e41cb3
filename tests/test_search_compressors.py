"""What becomes of layers: every compressor against its definition, and the bytes it costs."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import ternzip
from ternzip import TernzipError
from ternzip.lowrank import collect_statistics
from ternzip.search import Coder, parse_size
from ternzip.search.compressors import (
    METHODS,
    BitsCompressor,
    Codes,
    Frontier,
    Half,
    LayerView,
    PruneCompressor,
    RankCompressor,
    TernaryCompressor,
    TernaryLevels,
    compress_layer,
    method,
)
from ternzip.search.compressors.encodings import RowTernary
from ternzip.search.size import dense_bytes, entropy_bytes

NEEDS_DATA = {"all", "rank-fisher", "rank-activation", "rank-whitening"}


def weights(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def linear(rows: int = 24, columns: int = 30) -> nn.Linear:
    layer = nn.Linear(columns, rows)
    layer.weight.data = weights(rows, columns)
    layer.bias.data = weights(rows, seed=1)
    return layer


def conv(**options: int) -> nn.Conv2d:
    layer = nn.Conv2d(8, 12, 3, padding=1, **options)
    layer.weight.data = weights(*layer.weight.shape)
    return layer


def test_ternary_levels_by_a_loop() -> None:
    w = weights(4, 6)
    threshold = 0.8 * float(w.abs().mean())
    for per_row in (False, True):
        found = TernaryLevels(threshold, per_row).encode(w).value
        for r in range(4):
            group = w[r].tolist() if per_row else w.flatten().tolist()
            kept = [abs(v) for v in group if abs(v) > threshold]
            level = sum(kept) / len(kept)
            for c in range(6):
                v = float(w[r, c])
                expected = 0.0 if abs(v) <= threshold else math.copysign(level, v)
                assert float(found[r, c]) == pytest.approx(expected)


def test_a_threshold_beyond_every_weight_keeps_the_largest() -> None:
    w = weights(4, 6)
    found = TernaryLevels(100.0).encode(w).value
    assert int((found != 0).sum()) == 1
    assert float(found.abs().max()) == pytest.approx(float(w.abs().max()))
    assert not TernaryLevels(1.0).encode(torch.zeros(3, 3)).value.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("encoding", [TernaryLevels(0.4), TernaryLevels(100.0), RowTernary(0.5)])
def test_levels_of_sixteen_bits_are_found_in_float32(
    encoding: TernaryLevels | RowTernary, dtype: torch.dtype
) -> None:
    w = weights(400, 400).to(dtype)  # whose sum is beyond float16
    for one in (encoding, encoding.sparser(w, 0.25)):
        assert torch.equal(one.encode(w).value, one.encode(w.float()).value.to(dtype))
    assert encoding.sparser(w, 0.25) == encoding.sparser(w.float(), 0.25)
    found = encoding.encode(w).value
    assert found.any()
    assert found.isfinite().all()


def test_ternary_factors_have_thresholds_of_their_own() -> None:
    w = torch.tensor([[1.0, -1.0, 0.1], [10.0, -10.0, 1.0]])
    assert RowTernary(0.7).encode(w).value.tolist() == [[1, -1, 0], [10, -10, 0]]


@pytest.mark.parametrize("bits", [2, 4, 6, 8])
@pytest.mark.parametrize("axis", [0, 1])
def test_codes(bits: int, axis: int) -> None:
    w = weights(6, 7, 2)
    encoded = Codes(bits, axis).encode(w)
    assert encoded.stored.dtype == torch.int8
    assert int(encoded.stored.abs().max()) <= 2 ** (bits - 1) - 1
    assert encoded.scale is not None
    assert encoded.scale.shape == ((6, 1, 1) if axis == 0 else (1, 7, 1))
    assert torch.equal(encoded.value, encoded.stored.float() * encoded.scale.float())
    # No worse than plain rounding with the largest magnitude as the largest code.
    others = [dim for dim in range(3) if dim != axis]
    scale = (w.abs().amax(others, keepdim=True) / (2 ** (bits - 1) - 1)).half().float()
    plain = (w / scale).round() * scale
    assert float((encoded.value - w).square().sum()) <= float((plain - w).square().sum()) + 1e-9


def test_codes_of_zeros_and_of_one_bit() -> None:
    assert not Codes(8).encode(torch.zeros(3, 4)).value.any()
    with pytest.raises(TernzipError, match="expected 2 to 8, found 1"):
        Codes(1)


def test_masks_are_zeros() -> None:
    w, mask = weights(5, 5), weights(5, 5, seed=3) > 0
    assert torch.equal(Codes(8, mask=mask).encode(w).value != 0, mask)


def test_half_keeps_what_float16_cannot_hold() -> None:
    assert Half().encode(weights(10)).stored.dtype == torch.float16
    for value in (1e6, float("nan")):
        tensor = torch.tensor([1.0, value])
        assert Half().encode(tensor).stored.dtype == torch.float32


@pytest.mark.parametrize(
    "encoding", [TernaryLevels(0.4), TernaryLevels(0.4, True), RowTernary(0.5), Codes(8), Codes(7, axis=1)]
)
def test_sparser_makes_that_share_of_the_kept_zero(encoding: TernaryLevels | RowTernary | Codes) -> None:
    w = weights(40, 50)
    before = int((encoding.encode(w).value != 0).sum())
    after = int((encoding.sparser(w, 0.25).encode(w).value != 0).sum())
    assert after == pytest.approx(0.75 * before, rel=0.06)
    assert torch.equal(encoding.sparser(w, 0.0).encode(w).value, encoding.encode(w).value)


@pytest.mark.parametrize("theta", [0.25, 0.35, 1.0])
def test_the_threshold_runs_from_highest_to_lowest(theta: float) -> None:
    layer = linear()
    module, found = compress_layer(layer, TernaryCompressor(), theta)
    share = math.exp(math.log(5.0) + theta * (math.log(0.2) - math.log(5.0)))
    kept = layer.weight.abs() > share * layer.weight.abs().mean()
    assert torch.equal(module.weight != 0, kept)
    assert torch.equal(module.bias, layer.bias)
    assert found.error == pytest.approx(
        float(
            torch.linalg.norm((module.weight - layer.weight).detach())
            / torch.linalg.norm(layer.weight.detach())
        )
    )


def test_pruning_keeps_the_largest_share() -> None:
    layer = linear()
    module, _ = compress_layer(layer, PruneCompressor(least=0.01), 0.5)
    kept = module.weight != 0
    assert int(kept.sum()) == math.ceil(0.1 * 720)
    magnitude = layer.weight.detach().abs()
    assert float(magnitude[kept].min()) > float(magnitude[~kept].max())


def test_bits_fall_into_four_intervals() -> None:
    labels = [compress_layer(linear(), BitsCompressor(), theta)[1].label for theta in (0, 0.3, 0.6, 0.8, 1.0)]
    assert labels == ["4 bits", "6 bits", "8 bits", "16 bits", "16 bits"]


@pytest.mark.parametrize("layer", [linear(), conv()])
def test_ranks_from_one_to_whole(layer: nn.Module) -> None:
    view = LayerView("x", layer)
    lowest = RankCompressor().compress(view, 0.0)
    highest = RankCompressor().compress(view, 0.95)
    whole = RankCompressor().compress(view, 0.951)
    assert (lowest.rank, highest.rank, whole.rank) == (1, view.largest_rank, None)
    errors = [RankCompressor().compress(view, i / 20).error for i in range(20)]
    assert errors == sorted(errors, reverse=True)


def test_a_fraction_of_a_rank_keeps_that_share_of_the_last_component() -> None:
    view = LayerView("x", linear())
    theta = 0.95 * math.log(3.25) / math.log(view.largest_rank)
    found = RankCompressor(bits=16).compress(view, theta)
    assert found.rank == 4
    first, second = found.encoded["0.weight"].value, found.encoded["1.weight"].value
    assert int((first[-1] != 0).sum()) == math.ceil(0.25 * 30)
    assert int((second[:, -1] != 0).sum()) == math.ceil(0.25 * 24)


def test_upper_factors_have_their_zeros() -> None:
    found = RankCompressor(upper=True).compress(LayerView("x", linear()), 0.9)
    assert found.rank is not None
    below = found.encoded["0.weight"].value.tril(-1)
    assert not below.any()
    same = RankCompressor().compress(LayerView("x", linear()), 0.9)
    assert found.error == pytest.approx(same.error, abs=0.01)


def test_layers_that_cannot_be_factored_stay_whole() -> None:
    for layer in (conv(groups=2), nn.Conv1d(8, 8, 3), nn.Linear(40, 1)):
        assert RankCompressor().compress(LayerView("x", layer), 0.2).rank is None


@pytest.mark.parametrize("name", sorted(METHODS))
@pytest.mark.parametrize("layer", [linear(), conv(), conv(stride=2, groups=2), nn.Conv1d(16, 16, 3)])
def test_every_method_makes_a_module_that_works(name: str, layer: nn.Module) -> None:
    """Outputs keep their shape, stored tensors are what the module holds, the error is the module's."""
    inputs = weights(3, 30) if isinstance(layer, nn.Linear) else weights(3, 8, 6, 6)
    inputs = weights(3, 16, 9) if isinstance(layer, nn.Conv1d) else inputs
    view = LayerView("x", layer)
    statistics = None
    if view.obstacle is None and name in NEEDS_DATA:
        model = nn.Sequential(layer, nn.Flatten())
        statistics = collect_statistics(model, [inputs], {"0": layer}, fisher=True)["0"]
    before = layer.weight.detach().clone()
    for theta in (0.0, 0.5, 1.0):
        module, found = compress_layer(layer, method(name), theta, statistics)
        assert module(inputs).shape == layer(inputs).shape
        assert 0 <= found.error < 1.2
        loaded = ternzip.load(ternzip.save(found.stored()))
        for part, parameter in module.named_parameters():
            if part in found.encoded:
                scale = loaded.get(f"{part}.scale")
                value = loaded[part].float() if scale is None else loaded[part].float() * scale.float()
                assert torch.equal(parameter, value)
    assert torch.equal(layer.weight, before)


def test_the_frontier_is_beaten_by_none_of_its_members() -> None:
    members = (TernaryCompressor(), PruneCompressor(bits=4), RankCompressor())
    frontier, view = Frontier(members, grid=5), LayerView("x", linear(40, 60))
    points = frontier.points(view)
    assert [p.bytes for p in points] == sorted(p.bytes for p in points)
    assert [p.error for p in points] == sorted((p.error for p in points), reverse=True)
    for compressor in members:
        for i in range(5):
            found = compressor.compress(view, i / 4)
            size = entropy_bytes(found.stored())
            assert min(p.error for p in points if p.bytes <= size) <= found.weighted_error
    sizes = [entropy_bytes(frontier.compress(view, i / 20).stored()) for i in range(21)]
    assert sizes[0] == points[0].bytes
    assert sizes[-1] == points[-1].bytes


def test_unknown_methods() -> None:
    with pytest.raises(TernzipError, match=r"method: expected one of all, ternary, .*found 'magic'"):
        method("magic")


@pytest.mark.parametrize("name", ["ternary", "ternary-row", "prune", "bits", "rank"])
@pytest.mark.parametrize("theta", [0.3, 0.7, 1.0])
def test_entropy_is_near_the_real_size(name: str, theta: float) -> None:
    stored = method(name).compress(LayerView("x", linear(200, 300)), theta).stored()
    real = len(Coder().file(stored, {}))
    assert entropy_bytes(stored) == pytest.approx(real, rel=0.25, abs=300)


def test_dense_bytes_count_ties_once() -> None:
    shared = torch.zeros(10)
    assert dense_bytes({"a": shared, "b": shared, "c": torch.zeros(3, dtype=torch.int64)}) == 64
    assert dense_bytes({"a": shared, "head": shared[:2]}) == 48


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dense_bytes_are_those_in_float32(dtype: torch.dtype) -> None:
    assert dense_bytes({"a": torch.zeros(5, dtype=dtype), "steps": torch.tensor(3)}) == 28


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("200KB", 200_000),
        ("96 KiB", 98_304),
        ("1.5mb", 1_500_000),
        ("17", 17),
        (5, 5),
        ("2k", 2000),
        ("3TB", 3 * 10**12),
    ],
)
def test_sizes_are_read(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "frog", "-1", "0", "5 miles", "1e5", 0, -3, "0.2", "9" * 400, "9000000000TB"]
)
def test_sizes_that_are_refused(text: str | int) -> None:
    with pytest.raises(TernzipError, match="size: expected"):
        parse_size(text)


def test_coders_that_there_are_not() -> None:
    with pytest.raises(
        TernzipError, match="codec: expected one of auto, packed, static, context, fast, found 'bogus'"
    ):
        Coder("bogus")
    with pytest.raises(TernzipError, match="effort: expected one of 1, 2, 3, found 9"):
        Coder("context", 9)
