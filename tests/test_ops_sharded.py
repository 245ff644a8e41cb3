"""The calls on DTensors: every rank its part, counts and level gradients over all ranks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from process_group import be_a_rank, free_port, member, run_on_two_ranks
from torch import Tensor

from ternzip import ops

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="PyTorch is built without torch.distributed")


def check_everything(rank: int, ranks: int, port: int) -> None:
    """Whole tensors give what must come out; run on every rank."""
    from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor

    with member(rank, ranks, port) as mesh:
        torch.manual_seed(0)
        whole = [torch.randn(7, 4), torch.randn(6, 3), torch.randn(3, 5), torch.randn(9)]
        grads = [torch.randn_like(w) for w in whole]
        placements = [[Shard(0)], [Shard(1)], [Replicate()], None]

        def put(t: Tensor, placement: list[object] | None) -> Tensor:
            return t.clone() if placement is None else distribute_tensor(t, mesh, placement)  # type: ignore[arg-type]

        def gathered(t: Tensor) -> Tensor:
            return t.full_tensor() if isinstance(t, DTensor) else t

        def step(latent: list[Tensor], above: list[Tensor]) -> list[Tensor]:
            for w in latent:
                w.requires_grad_()
            neg = torch.tensor([-0.4, -0.5, -0.6, -0.7], requires_grad=True)
            pos = torch.tensor(0.8, requires_grad=True)
            quantized, counts = ops.ternarize_many(latent, -0.2, 0.3, neg, pos, ste="scaled")
            torch.autograd.backward(quantized, above)
            latent = [w.detach() for w in latent]
            outs = [torch.empty_like(w) for w in latent]
            latent_grads = [ops.ste_backward(g, w, bound=0.7) for g, w in zip(above, latent, strict=True)]
            found = [*quantized, counts, neg.grad, pos.grad, *latent_grads, ops.count_many(latent)]
            found += [ops.clip_ternarize_count_(latent, outs, -0.2, 0.3, bound=0.9), *latent, *outs]
            ops.clip_(latent, 0.5)
            return [*found, *latent]

        expected = step([w.clone() for w in whole], grads)
        rows = [list(pair) for pair in (whole, grads)]
        sharded = [[put(t, p) for t, p in zip(row, placements, strict=True)] for row in rows]
        got = step(*sharded)
        assert isinstance(got[0], DTensor)
        assert got[0].placements == (Shard(0),)
        for e, g in zip(expected, got, strict=True):
            torch.testing.assert_close(gathered(g), e, rtol=1e-6, atol=1e-6)

        threshold = 0.7 * sharded[0][0].abs().mean()  # a DTensor itself
        quantized = ops.ternarize(sharded[0][0], threshold)
        assert torch.equal(gathered(quantized), ops.ternarize(gathered(sharded[0][0]), gathered(threshold)))
        with pytest.raises(ValueError, match=r"tensor 0 has the placements .*expected shards or replicas"):
            ops.clip_(DTensor.from_local(torch.ones(3), mesh, [Partial()]))
        with pytest.raises(ValueError, match="weight 0 and what belongs to it are placed differently"):
            ops.clip_ternarize_count_([sharded[0][0]], [torch.zeros(7, 4)], -0.1, 0.1)
        with pytest.raises(TypeError, match="attach_ste takes no DTensors"):
            ops.attach_ste([sharded[0][0]], [quantized], -0.1, 0.1)


@pytest.fixture(autouse=True)
def _no_process_group_left() -> Iterator[None]:
    yield
    assert not dist.is_initialized()


def test_one_rank() -> None:
    check_everything(0, 1, free_port())


def test_two_ranks() -> None:
    run_on_two_ranks(__file__)


if __name__ == "__main__":
    be_a_rank(check_everything)
