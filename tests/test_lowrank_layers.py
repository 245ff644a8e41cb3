"""Low rank against literal transcriptions: loops over entries, explicit inverses."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from ternzip import TernzipError
from ternzip.lowrank import (
    Weighting,
    decompose,
    factor_pair,
    factorize,
    largest_rank,
    matrix_of,
    triangular,
)
from ternzip.quantization import quantize_inputs


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def filled(layer: nn.Module, seed: int = 1) -> nn.Module:
    """The layer in float64, with weights of a seed."""
    layer = layer.double()
    for i, parameter in enumerate(layer.parameters()):
        parameter.data = random(*parameter.shape, seed=seed + i)
    return layer


def weightings(rows: int, columns: int) -> list[Weighting]:
    diagonal = random(rows, seed=5).abs() + 0.1, random(columns, seed=6).abs() + 0.1
    square = random(columns, columns, seed=7)
    triangle = torch.linalg.cholesky(square @ square.T + torch.eye(columns, dtype=torch.float64))
    return [
        Weighting(),
        Weighting(rows=diagonal[0]),
        Weighting(columns=diagonal[1]),
        Weighting(columns=triangle),
        Weighting(diagonal[0], triangle),
    ]


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("rank", [1, 3, 6])
def test_weighted_svd_is_its_formula_with_explicit_inverses(number: int, rank: int) -> None:
    matrix = random(6, 9)
    chosen = weightings(6, 9)[number]
    eye_rows, eye_columns = torch.eye(6, dtype=torch.float64), torch.eye(9, dtype=torch.float64)
    s = eye_rows if chosen.rows is None else chosen.rows.diag()
    t = eye_columns if chosen.columns is None else chosen.columns
    t = t.diag() if t.dim() == 1 else t
    u, values, vh = torch.linalg.svd(s @ matrix @ t)
    truncated = sum(values[k] * torch.outer(u[:, k], vh[k]) for k in range(rank))
    expected = torch.inverse(s) @ truncated @ torch.inverse(t)

    found = decompose(matrix, chosen)
    a, b = found.factors(rank)
    assert a.shape == (6, rank)
    assert b.shape == (rank, 9)
    torch.testing.assert_close(a @ b, expected)
    error = torch.linalg.norm(s @ (matrix - a @ b) @ t) / torch.linalg.norm(s @ matrix @ t)
    assert found.weighted_error(rank) == pytest.approx(float(error), abs=1e-7)


def test_no_other_factors_are_nearer() -> None:
    """Gradient descent from the optimum finds nothing better in the weighted norm."""
    matrix, chosen = random(5, 7), weightings(5, 7)[4]
    a, b = (factor.requires_grad_() for factor in decompose(matrix, chosen).factors(2))
    loss = torch.linalg.norm(chosen.apply(matrix - a @ b))
    gradients = torch.autograd.grad(loss, (a, b))
    assert max(float(gradient.abs().max()) for gradient in gradients) < 1e-9


@pytest.mark.parametrize(("shape", "rank"), [((1000, 784), 439), ((10, 1000), 9), ((2, 2), 1), ((1, 5), 0)])
def test_largest_rank_of_a_linear_layer(shape: tuple[int, int], rank: int) -> None:
    layer = nn.Linear(shape[1], shape[0])
    assert largest_rank(layer) == rank == shape[0] * shape[1] // sum(shape)


def test_largest_rank_of_a_convolution() -> None:
    # floor(k Ci Co / (Ci + Co)), Tai et al.
    assert largest_rank(nn.Conv2d(16, 32, 3)) == 3 * 16 * 32 // (16 + 32)
    assert largest_rank(nn.Conv2d(16, 32, 1)) == 16 * 32 // 48


def test_tais_matrix_entry_by_entry() -> None:
    layer = nn.Conv2d(3, 4, (2, 5))
    matrix = matrix_of(layer)
    assert matrix.shape == (4 * 5, 3 * 2)
    for out, inside, i, j in itertools.product(range(4), range(3), range(2), range(5)):
        assert matrix[out * 5 + j, inside * 2 + i] == layer.weight[out, inside, i, j]


def test_tais_pair_entry_by_entry() -> None:
    """The two kernels multiply to sum_k H[co, k, j] V[k, ci, i], as the paper writes it."""
    layer = filled(nn.Conv2d(3, 4, 3))
    first, second = (part.weight.detach() for part in factorize(layer, 2).module)
    a, b = decompose(matrix_of(layer)).factors(2)
    nearest = a @ b
    for out, inside, i, j in itertools.product(range(4), range(3), range(3), range(3)):
        product = sum(second[out, k, 0, j] * first[k, inside, i, 0] for k in range(2))
        assert float(product) == pytest.approx(float(nearest[out * 3 + j, inside * 3 + i]))


CONVOLUTIONS = [
    {"kernel_size": 3},
    {"kernel_size": 3, "padding": 1, "stride": 2},
    {"kernel_size": (3, 5), "padding": (1, 2), "stride": (2, 1), "dilation": (1, 2)},
    {"kernel_size": 3, "padding": "same", "dilation": 2},
    {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
    {"kernel_size": 1, "stride": 2, "padding": 1},
    {"kernel_size": (1, 3)},
    {"kernel_size": 3, "bias": False},
]


@pytest.mark.parametrize("options", CONVOLUTIONS)
def test_a_pair_of_full_rank_is_the_layer(options: dict[str, object]) -> None:
    layer = filled(nn.Conv2d(3, 4, **options))  # type: ignore[arg-type]
    full = min(matrix_of(layer).shape)
    low_rank = factorize(layer, full)
    images = random(2, 3, 11, 10, seed=9)
    torch.testing.assert_close(low_rank.module(images), layer(images))
    assert low_rank.error == pytest.approx(0, abs=1e-12)


def test_a_linear_pair_and_its_error() -> None:
    layer = filled(nn.Linear(8, 6))
    low_rank = factorize(layer, 3, weightings(6, 8)[4])
    product = low_rank.module[1].weight @ low_rank.module[0].weight
    torch.testing.assert_close(low_rank.module(random(5, 8)), random(5, 8) @ product.T + layer.bias)
    exact = layer.weight.detach()
    lost, norm = exact - product.detach(), torch.linalg.norm
    assert low_rank.error == pytest.approx(float(norm(lost) / norm(exact)))
    apply = weightings(6, 8)[4].apply
    assert low_rank.weighted_error == pytest.approx(float(norm(apply(lost)) / norm(apply(exact))))
    assert [type(part) for part in low_rank.module] == [nn.Linear, nn.Linear]
    assert low_rank.module[0].bias is None


def test_the_original_stays_as_it_is() -> None:
    layer = filled(nn.Linear(8, 6))
    before = layer.weight.detach().clone()
    pair = factorize(layer, 2).module
    pair[1].bias.data += 1
    assert torch.equal(layer.weight, before)
    assert not torch.equal(layer.bias, pair[1].bias)


def test_triangular_factors_multiply_to_the_same() -> None:
    a, b = decompose(random(9, 7)).factors(4)
    c, d = triangular(a, b)
    torch.testing.assert_close(c @ d, a @ b)
    assert int((d == 0).sum()) == 4 * 3 // 2
    assert torch.equal(d, d.triu())


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.Conv2d(4, 4, 3, groups=2), "expected a convolution of one group, found 2 groups"),
        (quantize_inputs(nn.Linear(4, 4), [""]), "expected a layer that reads floats"),
        (nn.Conv1d(4, 4, 3), r"expected nn.Linear or nn.Conv2d, found Conv1d"),
        (nn.ReLU(), "found ReLU"),
    ],
)
def test_layers_that_cannot_be_factored(layer: nn.Module, message: str) -> None:
    with pytest.raises(TernzipError, match=message):
        factorize(layer, 1)


@pytest.mark.parametrize("rank", [0, 5])
def test_ranks_beyond_the_matrix(rank: int) -> None:
    with pytest.raises(TernzipError, match=f"rank: expected 1 to 4, found {rank}"):
        factorize(nn.Linear(6, 4), rank)


def test_weights_that_are_not_finite() -> None:
    layer = nn.Linear(3, 3)
    layer.weight.data[1, 1] = float("nan")
    with pytest.raises(TernzipError, match="found NaN or infinity"):
        factorize(layer, 1)


def test_a_layer_of_zeros() -> None:
    layer = nn.Linear(3, 3)
    layer.weight.data.zero_()
    low_rank = factorize(layer, 1)
    assert low_rank.error == low_rank.weighted_error == 0
    assert torch.equal(low_rank.module(torch.ones(1, 3)), layer.bias[None])


def test_factor_pair_keeps_dtype_and_mode() -> None:
    layer = nn.Linear(6, 4, dtype=torch.bfloat16).eval()
    a, b = decompose(matrix_of(layer)).factors(2)
    pair = factor_pair(layer, a, b)
    assert {parameter.dtype for parameter in pair.parameters()} == {torch.bfloat16}
    assert not pair.training
    assert not pair[0].training
