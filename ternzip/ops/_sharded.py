"""DTensors (FSDP2, tensor parallelism): every rank works on its own part, sums are taken over the ranks.

Ternarizing, clipping and the estimator treat each element by itself, so a shard needs nothing from the others. Counts
and the gradients of levels are sums over elements: each rank has a part, added up over the mesh. This stands beside
the operators because DTensor's own rules (`register_sharding`) have no lists of tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ternzip.ops._ternarizer import Ternarizer


def is_sharded(tensors: Sequence[Tensor]) -> bool:
    """Whether a DTensor is among them; told by an attribute, for importing the class takes a second."""
    return any(hasattr(t, "device_mesh") for t in tensors)


def local(tensors: Sequence[Tensor]) -> list[Tensor]:
    """What this rank holds of each, in the same memory. ValueError for sums not yet taken (Partial)."""
    parts = []
    for i, t in enumerate(tensors):
        if any(placement.is_partial() for placement in getattr(t, "placements", ())):
            raise ValueError(f"tensor {i} has the placements {t.placements}; expected shards or replicas")  # type: ignore[attr-defined]
        parts.append(t.to_local() if is_sharded([t]) else t)  # type: ignore[attr-defined]
    return parts


def local_rows(*columns: Sequence[Tensor]) -> list[list[Tensor]]:
    """`local` of several lists whose tensors belong together; ValueError where they are placed differently."""
    for i, row in enumerate(zip(*columns, strict=True)):
        places = [(getattr(t, "device_mesh", None), getattr(t, "placements", None)) for t in row]
        if any(place != places[0] for place in places):
            raise ValueError(f"weight {i} and what belongs to it are placed differently: {places}")
    return [local(column) for column in columns]


def ternarize(
    call: Callable[[list[Tensor], Ternarizer], tuple[list[Tensor], Tensor]],
    weights: Sequence[Tensor],
    t: Ternarizer,
) -> tuple[list[Tensor], Tensor]:
    """`call` on this rank's parts: (quantized, placed as the weights are; counts of the whole weights)."""
    whole = t.map(_replicated)
    quantized: dict[int, Tensor] = {}
    parts = torch.empty((len(weights), 4), dtype=torch.int64, device=weights[0].device)
    for indices, mesh, sharded in _groups(weights):
        own = whole.at(torch.tensor(indices, device="cpu"))
        own = own._replace(
            neg=_with_partial_gradient(own.neg, mesh, sharded),
            pos=_with_partial_gradient(own.pos, mesh, sharded),
        )
        outs, counts = call(local([weights[i] for i in indices]), own)
        quantized.update((i, _placed_like(weights[i], out)) for i, out in zip(indices, outs, strict=True))
        parts[indices] = counts
    return [quantized[i] for i in range(len(weights))], summed(parts, weights)


def summed(counts: Tensor, tensors: Sequence[Tensor]) -> Tensor:
    """Counts of the whole tensors from those of this rank's parts."""
    result = counts.clone()
    for indices, mesh, sharded in _groups(tensors):
        if mesh is not None:
            from torch.distributed.tensor import DTensor

            part = DTensor.from_local(counts[indices], mesh, _placements(sharded), run_check=False)
            result[indices] = part.full_tensor()
    return result


def _groups(tensors: Sequence[Tensor]) -> Iterator[tuple[list[int], Any, tuple[bool, ...]]]:
    """(indices, mesh or None, for each of its dimensions whether it shards) of tensors that are summed alike.

    On every rank in the same order, since each group is a collective call.
    """
    groups: dict[tuple[Any, tuple[bool, ...]], list[int]] = {}
    for i, t in enumerate(tensors):
        sharded = tuple(not placement.is_replicate() for placement in getattr(t, "placements", ()))
        groups.setdefault((getattr(t, "device_mesh", None), sharded), []).append(i)
    for (mesh, sharded), indices in groups.items():
        yield indices, mesh, sharded


def _replicated(value: Tensor) -> Tensor:
    return value.full_tensor() if is_sharded([value]) else value  # type: ignore[attr-defined]


def _placements(sharded: tuple[bool, ...]) -> list[Any]:
    """Of a sum over the elements that a rank holds."""
    from torch.distributed.tensor import Partial, Replicate

    return [Partial() if shards else Replicate() for shards in sharded]


def _with_partial_gradient(level: Tensor, mesh: Any, sharded: tuple[bool, ...]) -> Tensor:
    """The same level, whose gradient every rank knows in part."""
    if mesh is None or not level.requires_grad:
        return level
    from torch.distributed.tensor import DTensor, Replicate

    everywhere = DTensor.from_local(level, mesh, [Replicate() for _ in sharded], run_check=False)
    return everywhere.to_local(grad_placements=_placements(sharded))


def _placed_like(weight: Tensor, part: Tensor) -> Tensor:
    if not is_sharded([weight]):
        return part
    from torch.distributed.tensor import DTensor

    return DTensor.from_local(
        part,
        weight.device_mesh,  # type: ignore[attr-defined]
        weight.placements,  # type: ignore[attr-defined]
        run_check=False,
        shape=weight.shape,
        stride=weight.stride(),
    )
