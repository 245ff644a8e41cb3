"""What ternarizing costs of a whole training step, and what one pass instead of two would save; writes JSON.

    python tools/bench_training_step.py --json docs/benchmarks/training_step.json

`prepare` ternarizes in the forward and `clip_latent_` clips after the optimizer's step. The operators also have both in
one pass, with the forward only attaching the estimator; `one_pass` measures them bare, without any check that the
prepared values are still those of the weights, so it is the most that such a scheme could save.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from machine import provenance
from torch.nn import functional as F

from ternzip import ops, prepare
from ternzip.models import resnet20
from ternzip.quantization import clip_latent_, count_layers, ternary_layers


def seconds(call: Callable[[], object], repeats: int) -> float:
    """Median time of a call, after two to warm up."""
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, default=Path("training_step.json"))
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    torch.manual_seed(0)
    network = resnet20()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model = prepare(network, "delta")
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    images = torch.randn(arguments.batch_size, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (arguments.batch_size,))

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        clip_latent_(model)

    def ternarizing() -> None:
        """What `prepare` and the loop add: forward, backward, clipping, and counting, which a loop does less often."""
        model_with_nothing_else(None)
        clip_latent_(model)
        count_layers(model)

    class Nothing(torch.nn.Module):
        """The same layers, asked for their weights and for nothing more."""

        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.ModuleList(torch.nn.Conv2d(1, 1, 1) for _ in ternary_layers(model))
            for own, layer in zip(self.layers, ternary_layers(model), strict=True):
                own.weight = torch.nn.Parameter(layer.latent.detach().clone())

        def forward(self, _: None) -> list[torch.Tensor]:
            return [torch.as_tensor(layer.weight) for layer in self.layers]

    bare = prepare(Nothing(), "delta")
    upstream = [torch.randn_like(layer.latent) for layer in ternary_layers(bare)]

    def model_with_nothing_else(_: None) -> None:
        bare.zero_grad()
        torch.autograd.backward(bare(None), upstream)

    latents = [layer.latent for layer in ternary_layers(bare)]
    ternary = [torch.empty_like(latent) for latent in latents]

    def two_passes() -> None:
        bare.zero_grad()
        torch.autograd.backward(ops.ternarize_many(latents, -0.1, 0.1)[0], upstream)
        ops.clip_(latents)

    def one_pass() -> None:
        bare.zero_grad()
        torch.autograd.backward(ops.attach_ste(latents, ternary, -0.1, 0.1), upstream)
        ops.clip_ternarize_count_(latents, ternary, -0.1, 0.1)

    one_pass()
    whole, part = seconds(step, arguments.repeats), seconds(ternarizing, 20 * arguments.repeats)
    two, one = (seconds(call, 40 * arguments.repeats) for call in (two_passes, one_pass))
    record = {
        **provenance(),
        "threads": arguments.threads,
        "batch_size": arguments.batch_size,
        "weights": sum(layer.latent.numel() for layer in ternary_layers(model)),
        "step_seconds": whole,
        "ternarizing_seconds": part,
        "share": part / whole,
        "two_passes_seconds": two,
        "one_pass_seconds": one,
        "one_pass_saves_share": (two - one) / whole,
    }
    arguments.json.write_text(json.dumps(record, indent=2) + "\n")
    print(f"step {whole:.3f} s, ternarizing {1e3 * part:.2f} ms, share {part / whole:.2%}")
    print(
        f"operators alone: {1e3 * two:.2f} ms in two passes, {1e3 * one:.2f} ms in one: {(two - one) / whole:.4%}"
    )


if __name__ == "__main__":
    main()
