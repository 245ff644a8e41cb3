"""Time the operators on this CPU beside copy_, eager PyTorch and torch.compile, all in one run.

    python tools/bench_ops.py [--json FILE] [--threads N] [--seconds S] [--sizes N ...]

Rounds are interleaved, so that whatever else the machine does meets all contenders; each figure is the best
of its rounds. On one thread the clock is the thread's own CPU time, which a busy machine does not stretch by
taking the processor away; on more it is the wall's. Speeds are in 1e9 weights/s; "x copy" is the ratio to
`dst.copy_(src)` of as many float32.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from machine import provenance
from rich.console import Console
from rich.table import Table
from torch import Tensor

from ternzip import ops
from ternzip.ops.backends import backend

SIZES = (37_000, 461_000, 4_331_760, 1 << 26)
DELTA = 0.05
# The 16 ternarized weights of ResNet-20* (inflate 5): stem, two blocks a stage, two shortcuts, linear.
RESNET20_STAR = [
    (80, 3, 3, 3), *[(80, 80, 3, 3)] * 4,
    (160, 80, 3, 3), *[(160, 160, 3, 3)] * 3, (160, 80, 1, 1),
    (320, 160, 3, 3), *[(320, 320, 3, 3)] * 3, (320, 160, 1, 1),
    (10, 320),
]  # fmt: skip

Contenders = dict[str, Callable[[], object]]


def race(contenders: Contenders, seconds: float) -> dict[str, dict[str, float]]:
    """Best and median seconds of each, in interleaved rounds after one for warming up."""
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for run in contenders.values():
        run()
        run()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(times.values()))) < 5:
        for name, run in contenders.items():
            start = clock()
            run()
            times[name].append(clock() - start)
    return {name: {"best": min(t), "median": statistics.median(t)} for name, t in times.items()}


# --- eager PyTorch, as one writes it ---


def plain_ternarize(w: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
    q = torch.where(w > delta, 1.0, torch.where(w < -delta, -1.0, 0.0))
    return q, torch.stack([(q < 0).sum(), (q == 0).sum(), (q > 0).sum()])


def plain_backward(grad: Tensor, w: Tensor) -> Tensor:
    return grad * (w.abs() <= 1.0).to(grad.dtype)


# --- eager PyTorch, written well: comparisons shared with the counts, no temporaries that can be avoided ---


def eager_ternarize(w: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
    above, below = w > delta, w < -delta
    positive, negative = torch.count_nonzero(above), torch.count_nonzero(below)
    q = (above.view(torch.int8) - below.view(torch.int8)).to(w.dtype)
    return q, torch.stack([negative, w.numel() - negative - positive, positive])


def eager_ternarize_out(w: Tensor, delta: Tensor, q: Tensor, above: Tensor, below: Tensor) -> Tensor:
    torch.gt(w, delta, out=above)
    torch.lt(w, -delta, out=below)
    positive, negative = torch.count_nonzero(above), torch.count_nonzero(below)
    q.copy_(above.view(torch.int8).sub_(below.view(torch.int8)))
    return torch.stack([negative, w.numel() - negative - positive, positive])


def eager_backward_out(grad: Tensor, w: Tensor, out: Tensor, mask: Tensor) -> None:
    torch.le(w.abs(), 1.0, out=mask)
    torch.mul(grad, mask, out=out)


class EagerSte(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, w: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
        q, counts = eager_ternarize(w, delta)
        ctx.save_for_backward(w)
        ctx.mark_non_differentiable(counts)
        return q, counts

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (w,) = ctx.saved_tensors
        return grads[0] * (w.abs() <= 1.0), None


# --- for torch.compile: the form that inductor makes the fastest code of (int64 sums are not vectorized) ---


def compile_ternarize(w: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
    above, below = w > delta, w < -delta
    positive, negative = above.sum(dtype=torch.int32), below.sum(dtype=torch.int32)
    q = torch.where(above, 1.0, torch.where(below, -1.0, 0.0))
    return q, torch.stack([negative, w.numel() - negative - positive, positive])


class CompileSte(EagerSte):
    @staticmethod
    def forward(ctx: Any, w: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
        q, counts = compile_ternarize(w, delta)
        ctx.save_for_backward(w)
        ctx.mark_non_differentiable(counts)
        return q, counts


# --- the races --------------------------------------------------------------------------------------------


def eager_step(weights: list[Tensor], grads: list[Tensor], delta: Tensor) -> Tensor:
    pairs = [EagerSte.apply(w, delta) for w in weights]  # type: ignore[no-untyped-call]
    torch.autograd.grad([q for q, _ in pairs], weights, grads)
    with torch.no_grad():
        torch._foreach_clamp_max_(weights, 1.0)
        torch._foreach_clamp_min_(weights, -1.0)
    return torch.stack([counts for _, counts in pairs])


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    torch._dynamo.config.cache_size_limit = 64
    result: Callable[..., Any] = torch.compile(function, fullgraph=True, dynamic=False)
    return result


def race_forward(n: int, seconds: float) -> dict[str, dict[str, float]]:
    torch._dynamo.reset()
    w, q = torch.randn(n) * 0.1, torch.zeros(n)
    delta, low = torch.tensor(DELTA), torch.tensor(-DELTA)
    above, below = torch.zeros(n, dtype=torch.bool), torch.zeros(n, dtype=torch.bool)
    fast = compiled(compile_ternarize)

    def fast_out(w: Tensor, delta: Tensor, q: Tensor) -> Tensor:
        result, counts = compile_ternarize(w, delta)
        q.copy_(result)
        return counts

    fast_into = compiled(fast_out)

    return race(
        {
            "copy": lambda: q.copy_(w),
            "copy, fresh": lambda: w.clone(),
            "ternzip": lambda: ops.clip_ternarize_count_([w], [q], low, delta, bound=None),
            "ternzip + clip": lambda: ops.clip_ternarize_count_([w], [q], low, delta),
            "ternzip, fresh": lambda: ops.ternarize_many([w], low, delta),
            "eager": lambda: plain_ternarize(w, delta),
            "eager, tuned": lambda: eager_ternarize_out(w, delta, q, above, below),
            "compile": lambda: fast_into(w, delta, q),
            "compile, fresh": lambda: fast(w, delta),
        },
        seconds,
    )


def race_backward(n: int, seconds: float) -> dict[str, dict[str, float]]:
    torch._dynamo.reset()
    w, grad, out = torch.randn(n), torch.randn(n), torch.zeros(n)
    mask = torch.zeros(n, dtype=torch.bool)

    def fast_out(grad: Tensor, w: Tensor, out: Tensor) -> None:
        out.copy_(grad * (w.abs() <= 1.0))

    fast_into = compiled(fast_out)
    fast = compiled(lambda grad, w: grad * (w.abs() <= 1.0))
    return race(
        {
            "copy": lambda: out.copy_(w),
            "copy, fresh": lambda: w.clone(),
            "ternzip": lambda: ops.ste_backward(grad, w, out=out),
            "ternzip, fresh": lambda: ops.ste_backward(grad, w),
            "eager": lambda: plain_backward(grad, w),
            "eager, tuned": lambda: eager_backward_out(grad, w, out, mask),
            "compile": lambda: fast_into(grad, w, out),
            "compile, fresh": lambda: fast(grad, w),
        },
        seconds,
    )


def compiled_model_step(weights: list[Tensor], grads: list[Tensor], delta: Tensor) -> Callable[[], Tensor]:
    """One step over all weights as torch.compile makes it: forward, backward, clip; returns the counts."""

    def forward(weights: list[Tensor], delta: Tensor) -> tuple[list[Tensor], Tensor]:
        pairs = [CompileSte.apply(w, delta) for w in weights]  # type: ignore[no-untyped-call]
        return [q for q, _ in pairs], torch.stack([counts for _, counts in pairs])

    def clip(weights: list[Tensor]) -> None:
        for w in weights:
            w.clamp_(-1.0, 1.0)

    fast_forward, fast_clip = compiled(forward), compiled(clip)

    def compiled_step() -> Tensor:
        counts: Tensor
        quantized, counts = fast_forward(weights, delta)
        torch.autograd.grad(quantized, weights, grads)
        with torch.no_grad():
            fast_clip(weights)
        return counts

    return compiled_step


def race_model(seconds: float) -> dict[str, dict[str, float]]:
    """Forward, backward, clip and counts of all 16 weights of ResNet-20*: what one training step adds."""
    torch._dynamo.reset()
    weights = [(torch.randn(shape) * 0.3).requires_grad_() for shape in RESNET20_STAR]
    grads = [torch.randn_like(w) for w in weights]
    delta, low = torch.tensor(DELTA), torch.tensor(-DELTA)

    compiled_step = compiled_model_step(weights, grads, delta)
    outs = [torch.empty_like(w) for w in weights]
    ops.clip_ternarize_count_(weights, outs, low, delta)

    def ternzip_step() -> Tensor:
        """The clip after the optimizer's step ternarizes and counts for the next forward."""
        quantized = ops.attach_ste(weights, outs, low, delta)
        torch.autograd.grad(quantized, weights, grads)
        return ops.clip_ternarize_count_(weights, outs, low, delta)

    def ternzip_apart() -> Tensor:
        quantized, counts = ops.ternarize_many(weights, low, delta)
        torch.autograd.grad(quantized, weights, grads)
        ops.clip_(weights)
        return counts

    copies = [torch.empty_like(w) for w in weights]

    def copy() -> None:
        with torch.no_grad():
            torch._foreach_copy_(copies, weights)

    expected = eager_step(weights, grads, delta)
    for step in (ternzip_step, ternzip_apart, compiled_step):
        if not torch.equal(step()[:, :3], expected):
            raise RuntimeError(f"{step.__name__} counts differently from eager PyTorch")
    return race(
        {
            "copy": copy,
            "ternzip": ternzip_step,
            "ternzip, clip apart": ternzip_apart,
            "eager, tuned": lambda: eager_step(weights, grads, delta),
            "compile": compiled_step,
        },
        seconds,
    )


def show(console: Console, title: str, n: int, results: dict[str, dict[str, float]]) -> None:
    table = Table(title=title, title_justify="left")
    for column in ("", "1e9 weights/s", "x copy", "x eager", "x tuned", "x compile"):
        table.add_column(column, justify="left" if not column else "right")
    for name, result in results.items():
        tail = ", fresh" if name.endswith(", fresh") else ""
        ratios = []
        for other in ("copy", "eager", "eager, tuned", "compile"):
            against = results.get(other + tail, results.get(other))
            ratios.append(f"{against['best'] / result['best']:.2f}" if against else "")
        table.add_row(name, f"{n / result['best'] / 1e9:.3f}", *ratios)
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of each race")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="elements, float32")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    console = Console()
    report: dict[str, Any] = {
        **provenance(),
        "isa": backend()["cpu"]["isa"],
        "threads": arguments.threads,
        "clock": "thread CPU time" if arguments.threads == 1 else "wall",
        "results": [],
    }
    console.print(
        f"{report['machine']['processor']}, {report['isa']}, {report['threads']} thread(s), "
        f"torch {torch.__version__}"
    )

    def record(what: str, n: int, results: dict[str, dict[str, float]]) -> None:
        show(console, f"{what}, {n:,} float32 weights", n, results)
        report["results"].append({"what": what, "weights": n, "seconds": results})

    total = sum(int(torch.Size(shape).numel()) for shape in RESNET20_STAR)
    record("ResNet-20*: forward + backward + clip + count", total, race_model(arguments.seconds))
    for n in arguments.sizes:
        record("forward with counts", n, race_forward(n, arguments.seconds))
        record("backward", n, race_backward(n, arguments.seconds))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
