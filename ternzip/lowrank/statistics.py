"""What data say about a layer: its inputs' second moments, and how much the loss depends on its rows.

| name | S (outputs) | T (inputs) | source |
|---|---|---|---|
| plain | I | I | Denil 2013, Denton 2014 |
| fisher | root of the row sums of squared gradients | I | FWSVD, Hsu et al. 2022 |
| activation | I | the inputs' RMS to the power alpha | ASVD, Yuan et al. 2023 |
| whitening | I | Cholesky factor of E[x x^T] + ridge | DRONE, Chen et al. 2021 |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ternzip._core.errors import TernzipError
from ternzip.lowrank.decomposition import Weighting
from ternzip.lowrank.layers import FACTORED_TYPES, Layer, as_matrix
from ternzip.lowrank.passes import modes_kept

WEIGHTINGS = ("plain", "fisher", "activation", "whitening")
_RIDGE = 1e-4
_FLOOR = 1e-3


@dataclass(frozen=True)
class LayerStatistics:
    """Of one layer, about the matrix that `matrix_of` gives.

    Attributes:
        moments: E[x x^T] over what the matrix's columns meet, (columns, columns), float64. For a convolution
            x is a column of a patch, kh pixels of all input channels; correlations between the columns of a
            patch are left out, as Tai's first factor sees one column at a time. Their diagonal alone, (columns,),
            where correlations were not asked for; only "whitening" needs more.
        fisher: sums over each row of the expected squared gradient, (rows,), float64; None where not asked for.
    """

    moments: Tensor
    fisher: Tensor | None = None


def weighting(
    name: str, statistics: LayerStatistics | None, *, alpha: float = 0.5, ridge: float = _RIDGE
) -> Weighting:
    """The weighting of that name, one of WEIGHTINGS.

    `ridge` is relative to the mean of the moments' diagonal; inputs and rows that the data never move are
    floored at a thousandth of the mean, so that S and T stay invertible. Raises TernzipError for another
    name, and where the statistics it needs are missing.
    """
    if name not in WEIGHTINGS:
        raise TernzipError(f"weighting: expected one of {', '.join(WEIGHTINGS)}, found {name!r}")
    if name == "plain":
        return Weighting()
    if (
        statistics is None
        or (name == "fisher" and statistics.fisher is None)
        or (name == "whitening" and statistics.moments.dim() == 1)
    ):
        raise TernzipError(f"weighting {name!r}: expected statistics of the layer, found none")
    if name == "fisher":
        assert statistics.fisher is not None
        return Weighting(rows=_floored(statistics.fisher.sqrt()))
    moments = statistics.moments
    if name == "activation":
        diagonal = moments if moments.dim() == 1 else moments.diagonal()
        return Weighting(columns=_floored(diagonal.sqrt()) ** alpha)
    level = float(moments.diagonal().mean()) or 1.0
    eye = torch.eye(len(moments), dtype=moments.dtype)
    return Weighting(columns=torch.linalg.cholesky(moments + ridge * level * eye))


def _floored(values: Tensor) -> Tensor:
    level = float(values.mean()) or 1.0
    return values.clamp_min(_FLOOR * level)


def collect_statistics(
    model: nn.Module,
    batches: Iterable[Tensor],
    layers: Mapping[str, nn.Module],
    *,
    fisher: bool = False,
    correlations: bool = True,
    labels: Tensor | None = None,
    most_gradients: int = 256,
    seed: int = 0,
) -> dict[str, LayerStatistics]:
    """Statistics of `layers` (by name) from forward passes over `batches`, and gradients if `fisher`.

    Args:
        model: run in eval mode; its mode is restored.
        batches: inputs, (n, ...) each; at least one.
        layers: nn.Linear and nn.Conv2d modules of `model`.
        fisher: whether to sum squared gradients of the log likelihood too, one sample at a time.
        correlations: whether to keep all of E[x x^T], 8 bytes for each pair of inputs of a layer, or its diagonal.
        labels: int64, of the samples in order; None draws them from the model's own softmax.
        most_gradients: samples that gradients are taken of.
        seed: of the labels drawn.

    Raises TernzipError where there is no data, or a layer never runs.
    """
    moments: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def record(name: str, layer: Layer, inputs: Tensor) -> None:
        rows = _columns_met(layer, inputs.detach())
        moments[name] = moments.get(name, 0) + (rows.T @ rows if correlations else rows.square().sum(0))
        counts[name] = counts.get(name, 0) + len(rows)

    handles = []
    for name, layer in layers.items():
        assert isinstance(layer, FACTORED_TYPES)
        handles.append(
            layer.register_forward_pre_hook(
                lambda module, inputs, named, name=name, layer=layer: record(
                    name, layer, inputs[0] if inputs else named["input"]
                ),
                with_kwargs=True,
            )
        )
    seen: list[Tensor] = []
    try:
        with modes_kept(model), torch.no_grad():
            model.eval()
            for batch in batches:
                model(batch)
                seen.append(batch)
    finally:
        for handle in handles:
            handle.remove()
    if not seen:
        raise TernzipError("statistics: expected samples, found none")
    for name in layers:
        if name not in counts:
            raise TernzipError(f"layer {name}: expected it to run on the samples, found that it never does")
    rows = _fisher_rows(model, torch.cat(seen)[:most_gradients], labels, layers, seed) if fisher else {}
    return {name: LayerStatistics(moments[name] / counts[name], rows.get(name)) for name in layers}


def _columns_met(layer: Layer, inputs: Tensor) -> Tensor:
    """What the columns of the layer's matrix are multiplied by: (n, columns), float64."""
    if isinstance(layer, nn.Linear):
        return inputs.reshape(-1, inputs.shape[-1]).to("cpu", torch.float64)
    height = layer.kernel_size[0]
    pad = layer.padding[0] if not isinstance(layer.padding, str) else layer.dilation[0] * (height - 1) // 2
    patches = F.unfold(
        inputs, (height, 1), dilation=(layer.dilation[0], 1), padding=(pad, 0), stride=(layer.stride[0], 1)
    )
    return patches.transpose(1, 2).reshape(-1, patches.shape[1]).to("cpu", torch.float64)


def _fisher_rows(
    model: nn.Module, samples: Tensor, labels: Tensor | None, layers: Mapping[str, nn.Module], seed: int
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weights = {name: layer.weight for name, layer in layers.items()}
    sums: dict[str, Tensor] = {}
    with modes_kept(model):
        model.eval()
        for i, sample in enumerate(samples):
            scores = model(sample[None])
            if labels is None:
                label = torch.multinomial(scores.detach().softmax(1).cpu(), 1, generator=generator)[0]
            else:
                label = labels[i : i + 1]
            loss = F.cross_entropy(scores, label.to(scores.device))
            gradients = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)  # type: ignore[arg-type]
            for (name, layer), gradient in zip(layers.items(), gradients, strict=True):
                assert isinstance(layer, FACTORED_TYPES)
                squares = as_matrix(layer, gradient).to("cpu", torch.float64).square().sum(1)
                sums[name] = sums.get(name, 0) + squares
    return {name: total / len(samples) for name, total in sums.items()}
