"""Time the operators and the `fast` decoder on a CUDA device, beside copy_, eager PyTorch and torch.compile.

    python tools/bench_cuda.py [--json FILE] [--seconds S] [--size N]

Every run is timed by CUDA events of its own, after warming up and in interleaved rounds; figures are medians. Sizes
are beyond the device's L2 cache. "bandwidth" counts the bytes a kernel has to move, and its measure is what
`dst.copy_(src)` moves of as many elements in the same run. What the host does meanwhile is part of a time only
where the table says "wall".
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
from bench_ops import (
    DELTA,
    RESNET20_STAR,
    compile_ternarize,
    compiled,
    compiled_model_step,
    eager_step,
    plain_backward,
    plain_ternarize,
)
from machine import provenance
from rich.console import Console
from torch import Tensor

import ternzip
from ternzip import ops
from ternzip.ops.backends import backend

Run = Callable[[], object]


def race(
    contenders: dict[str, Run], seconds: float, before: dict[str, Run] | None = None
) -> dict[str, dict[str, float]]:
    """Median and best seconds of each on the device; `before` runs ahead of a contender, untimed."""
    before = before or {}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for name, run in contenders.items():
        for _ in range(3):
            before.get(name, lambda: None)()
            run()
    torch.cuda.synchronize()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(times.values()))) < 7:
        events = {}
        for name, run in contenders.items():
            before.get(name, lambda: None)()
            start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            # The device still works while the launches of a run are queued, so that only its time counts.
            torch.cuda._sleep(200_000)  # type: ignore[no-untyped-call]
            start.record()
            run()
            stop.record()
            events[name] = start, stop
        torch.cuda.synchronize()
        for name, (start, stop) in events.items():
            times[name].append(start.elapsed_time(stop) / 1e3)
    return {name: {"median": statistics.median(t), "best": min(t)} for name, t in times.items()}


def wall(contenders: dict[str, Run], rounds: int = 7) -> dict[str, dict[str, float]]:
    """Median and best seconds of each, the host's work and all waiting included."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds + 1):
        for name, run in contenders.items():
            torch.cuda.synchronize()
            start = time.perf_counter()
            run()
            torch.cuda.synchronize()
            times[name].append(time.perf_counter() - start)
    return {name: {"median": statistics.median(t[1:]), "best": min(t[1:])} for name, t in times.items()}


def on_device(run: Run) -> list[tuple[str, float]]:
    """What the device does during a run: name and seconds of every kernel, copy and filling."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        run()
        torch.cuda.synchronize()
    events = profile.events() or []
    return [(e.name, e.device_time / 1e6) for e in events if e.device_type.name == "CUDA"]


def race_forward(n: int, seconds: float) -> dict[str, dict[str, float]]:
    torch._dynamo.reset()
    w, q = torch.randn(n, device="cuda"), torch.zeros(n, device="cuda")
    wide = w * 3
    restored = wide.clone()
    low, delta = (torch.tensor(v, device="cuda", dtype=torch.float64) for v in (-DELTA, DELTA))
    single = delta.float()
    fast = compiled(compile_ternarize)
    return race(
        {
            "copy": lambda: q.copy_(w),
            "ternzip": lambda: ops.clip_ternarize_count_([w], [q], low, delta, bound=None),
            "ternzip + clip": lambda: ops.clip_ternarize_count_([wide], [q], low, delta),
            "eager": lambda: plain_ternarize(w, single),
            "compile": lambda: fast(w, single),
        },
        seconds,
        {"ternzip + clip": lambda: wide.copy_(restored)},
    )


def race_backward(n: int, seconds: float) -> dict[str, dict[str, float]]:
    torch._dynamo.reset()
    w, grad, out = (torch.randn(n, device="cuda") for _ in range(3))
    fast = compiled(lambda grad, w: grad * (w.abs() <= 1.0))
    return race(
        {
            "copy": lambda: out.copy_(w),
            "ternzip": lambda: ops.ste_backward(grad, w, out=out),
            "eager": lambda: plain_backward(grad, w),
            "compile": lambda: fast(grad, w),
        },
        seconds,
    )


def captured(step: Run) -> Run:
    """The step as a replayed graph."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def race_model(seconds: float) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float]], list[str]]:
    """What one training step adds, for all 16 weights of ResNet-20*: device times, wall times, launches."""
    torch._dynamo.reset()
    weights = [(torch.randn(shape, device="cuda") * 0.3).requires_grad_() for shape in RESNET20_STAR]
    grads = [torch.randn_like(w) for w in weights]
    low, delta = (torch.tensor(v, device="cuda", dtype=torch.float64) for v in (-DELTA, DELTA))
    single = delta.float()

    compiled_step = compiled_model_step(weights, grads, single)
    outs = [torch.empty_like(w) for w in weights]
    ops.clip_ternarize_count_(weights, outs, low, delta)

    def ternzip_step() -> Tensor:
        quantized = ops.attach_ste(weights, outs, low, delta)
        torch.autograd.grad(quantized, weights, grads)
        return ops.clip_ternarize_count_(weights, outs, low, delta)

    expected = eager_step(weights, grads, single)
    for step in (ternzip_step, compiled_step):
        if not torch.equal(step()[:, :3], expected):
            raise RuntimeError(f"{step.__name__} counts differently from eager PyTorch")
    contenders: dict[str, Run] = {
        "ternzip": ternzip_step,
        "eager": lambda: eager_step(weights, grads, single),
        "compile": compiled_step,
    }
    launches = [name for name, _ in on_device(ternzip_step)]
    return (
        race({**contenders, "ternzip, graph": captured(ternzip_step)}, seconds),
        wall(contenders, 50),
        launches,
    )


def race_training() -> dict[str, float]:
    """A ResNet-20* training step in bf16 under torch.compile, and what the ternary operations take of it."""
    torch._dynamo.reset()
    model = ternzip.prepare(ternzip.models.resnet20(inflate=5), "delta").cuda()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    network = torch.compile(model)
    x = torch.randn(256, 3, 32, 32, device="cuda").to(memory_format=torch.channels_last)
    y = torch.randint(0, 10, (256,), device="cuda")

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16):
            loss = torch.nn.functional.cross_entropy(network(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        ternzip.clip_latent_(model)

    whole = wall({"step": step}, 20)["step"]["median"]
    events = on_device(step)
    ours = sum(seconds for name, seconds in events if "ternzip" in name)
    return {"step": whole, "ternary kernels": ours, "all kernels": sum(seconds for _, seconds in events)}


def race_decoding(n: int) -> dict[str, Any]:
    """n weights at 90 % zeros, from the bytes of a file to bf16 on the device; and the kernels alone."""
    generator = torch.Generator().manual_seed(0)
    kept = torch.rand(n, generator=generator) >= 0.9
    signs = torch.randint(0, 2, (n,), generator=generator, dtype=torch.int8) * 2 - 1
    w = (signs * kept).to(torch.bfloat16).reshape(-1, 1024)
    data = ternzip.save({"w": w}, codec="fast")
    if not torch.equal(ternzip.load(data, device="cuda")["w"].cpu(), w):
        raise RuntimeError("the device decodes something else")
    times = wall(
        {
            "device": lambda: ternzip.load(data, device="cuda"),
            "host + copy": lambda: ternzip.load(data)["w"].to("cuda"),
        }
    )
    loads = [on_device(lambda: ternzip.load(data, device="cuda")) for _ in range(5)]
    kernels = [sum(seconds for name, seconds in load if "ternzip" in name) for load in loads]
    return {
        "seconds, wall": times,
        "seconds, kernels": statistics.median(kernels),
        "bytes": len(data),
    }


def device_of() -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(0)
    return {
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "processors": properties.multi_processor_count,
        "memory": properties.total_memory,
        "l2": getattr(properties, "L2_cache_size", None),
        "cuda": torch.version.cuda,
    }


def must_show(report: dict[str, Any], n: int) -> list[dict[str, Any]]:
    """The figures the kernels are judged by, as ratios within this run."""
    seconds = {name: result["median"] for name, result in report["forward"].items()}
    copy = 8 * n / seconds["copy"]
    back = {name: result["median"] for name, result in report["backward"].items()}
    model = {name: result["median"] for name, result in report["model"]["seconds"].items()}
    decoding = report["decoding"]
    walls = {name: result["median"] for name, result in decoding["seconds, wall"].items()}
    training = report["training"]
    rows = [
        ("forward with counts, bandwidth / copy's", 8 * n / seconds["ternzip"] / copy, 0.85),
        ("forward with clip and counts, bandwidth / copy's", 12 * n / seconds["ternzip + clip"] / copy, 0.85),
        ("backward, bandwidth / copy's", 12 * n / back["ternzip"] / (8 * n / back["copy"]), 0.85),
        ("step of ResNet-20*, launches", float(len(report["model"]["launches"])), -4.0),
        ("step of ResNet-20*, times as fast as eager", model["eager"] / model["ternzip"], 10.0),
        ("step of ResNet-20*, times as fast as torch.compile", model["compile"] / model["ternzip"], 2.0),
        ("share of a training step", training["ternary kernels"] / training["step"], -0.02),
        ("decoding, 1e9 weights/s", n / decoding["seconds, kernels"] / 1e9, 200.0),
        ("decoding, times as fast as on the host, with copy", walls["host + copy"] / walls["device"], 10.0),
    ]
    return [
        {
            "what": what,
            "figure": figure,
            "target": f"{'<=' if target < 0 else '>='} {abs(target):g}",
            "met": figure <= -target if target < 0 else figure >= target,
        }
        for what, figure, target in rows
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of each race")
    parser.add_argument("--size", type=int, default=1 << 26, help="elements of the large tensors")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("PyTorch finds no CUDA device")
    found = backend()["cuda"]
    if not found["compiled"] or found["devices"][0]["reason"]:
        parser.error(f"the native kernels cannot run: {found}")
    n, seconds = arguments.size, arguments.seconds
    steps, walls, launches = race_model(seconds)
    report: dict[str, Any] = {
        **provenance(),
        "device": device_of(),
        "architectures": found["devices"][0]["capability"],
        "weights": n,
        "forward": race_forward(n, seconds),
        "backward": race_backward(n, seconds),
        "model": {"seconds": steps, "seconds, wall": walls, "launches": launches},
        "training": race_training(),
        "decoding": race_decoding(n),
    }
    report["must show"] = must_show(report, n)
    console = Console()
    console.print(f"{report['device']['name']}, torch {torch.__version__}, CUDA {torch.version.cuda}")
    for row in report["must show"]:
        console.print(
            f"{'met   ' if row['met'] else 'MISSED'}  {row['what']}: {row['figure']:.3g} ({row['target']})"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
