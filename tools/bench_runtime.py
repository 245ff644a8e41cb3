"""The runtime against dense engines on one core: convolutions, whole networks, a linear layer, memory.

    python tools/bench_runtime.py [--data data --checkpoints FOLDER] [--quick] [--output docs/benchmarks/runtime.json]

Every figure is the median of calls made in turns with those it is compared with; for layers, after calls of the same
that do not count. "quickest" is the quickest of the float32 ways: torch's default, channels last and without oneDNN for
layers; those of `ternzip bench` for networks. Networks are timed in 8-bit integers by ONNX Runtime as well, weights and
activations, which is no float32 way.
With --data (a folder of CIFAR-10's binary files) and --checkpoints (one with ec2t-resnet20-sparsity45.pt and
ec2t-resnet20-sparsity73.pt) two published networks are timed and their answers compared on all test images.
A measurement that fails is told in its place, and the others go on.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import functools
import json
import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from machine import provenance
from torch import Tensor, nn
from torch.nn import functional as F

from ternzip._core.text import first_line
from ternzip.models import he_resnet20, load_weights, resnet20
from ternzip.quantization import quantize_inputs
from ternzip.runtime import describe, optimize
from ternzip.runtime.benchmark import compare, in_turns
from ternzip.runtime.bitwise import BitwiseLayer
from ternzip.runtime.choice import weight_bytes
from ternzip.runtime.export import onnx_bytes
from ternzip.runtime.layers import LookupLayer, SparseLayer
from ternzip.runtime.plan import plan_of
from ternzip.runtime.trits import ternary_weight
from ternzip.training.batches import normalize
from ternzip.training.datasets import open_dataset

CONVOLUTIONS = ((80, 32), (160, 16), (320, 8))
"""(channels, height and width) of the 3x3 convolutions of ResNet-20*."""
CONVOLUTION_ZEROS = (0.45, 0.84, 0.90, 0.95)
LINE, DILATED = 100_000, (33, 12)
"""Samples of a signal; (height and width, dilation) of a convolution as networks for segmentation end in."""
LINEAR_ZEROS = (0.42, 0.90)
BITWISE_ZEROS = (0.45, 0.90)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def random_trits(shape: tuple[int, ...], zeros: float, seed: int) -> Tensor:
    """float32 of {-1, 0, +1} with that share of zeros, at random."""
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(0, 2, shape, generator=generator) * 2 - 1
    return (torch.rand(shape, generator=generator) >= zeros) * signs.float()


def with_random_weights(model: nn.Module, zeros: float) -> nn.Module:
    """Ternary weights of that share of zeros, whose sums stay near 1."""
    with torch.no_grad():
        for number, module in enumerate(model.modules()):
            if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
                trits = random_trits(tuple(module.weight.shape), zeros, number)
                module.weight.copy_(trits * (2 / module.weight[0].numel()) ** 0.5)
    return model.eval()


def medians(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Milliseconds by name, measured in turns; each call after a few of its own that do not count.

    Otherwise the caches would hold the data of other calls: a layer of a network finds its input there.
    """
    taken: dict[str, list[float]] = {name: [] for name in calls}
    with torch.inference_mode():
        for _ in range(rounds):
            for name, call in calls.items():
                taken[name] += in_turns([call], 1)[0]
    return {name: statistics.median(own) for name, own in taken.items()}


def dense_call(module: nn.Conv1d | nn.Conv2d) -> Callable[..., Tensor]:
    """The convolution of an input and a weight as torch computes it."""
    call: Callable[..., Tensor] = F.conv1d if isinstance(module, nn.Conv1d) else F.conv2d
    return functools.partial(call, padding=module.padding, dilation=module.dilation)


def convolution(
    what: str, module: nn.Conv1d | nn.Conv2d, size: tuple[int, ...], zeros: float, rounds: int
) -> dict[str, Any]:
    """A convolution from lists beside the dense ones, batch 1."""
    with_random_weights(nn.Sequential(module), zeros)
    weight = module.weight.detach()
    ternary = ternary_weight("weight", weight)
    assert ternary is not None
    sparse = SparseLayer(plan_of("convolution", module, ternary))
    x = torch.randn(1, module.in_channels, *size)
    dense = dense_call(module)

    def without_onednn() -> Tensor:
        with torch.backends.mkldnn.flags(enabled=False):
            return dense(x, weight)

    calls: dict[str, Callable[[], Tensor]] = {
        "torch": lambda: dense(x, weight),
        "without oneDNN": without_onednn,
    }
    if x.dim() == 4:
        last, last_weight = (t.to(memory_format=torch.channels_last) for t in (x, weight))
        calls["channels last"] = lambda: dense(last, last_weight)
    float32 = list(calls)
    half, half_weight = x.bfloat16(), weight.bfloat16()
    calls["bfloat16"] = lambda: dense(half, half_weight)
    calls["ternzip"] = lambda: sparse(x)
    times = medians(calls, rounds)
    return {
        "what": what,
        "channels": module.in_channels,
        "size": list(size),
        "zeros": zeros,
        "milliseconds": times,
        "speed": min(times[name] for name in float32) / times["ternzip"],
        "weight_bytes": {"float32": weight.nbytes, "ternzip": weight_bytes(sparse)},
    }


def linear(features: int, zeros: float, rounds: int) -> dict[str, Any]:
    """A square linear layer that looks up its sums beside F.linear, one vector."""
    module = nn.Linear(features, features, bias=False)
    with_random_weights(module, zeros)
    weight = module.weight.detach()
    ternary = ternary_weight("weight", weight)
    assert ternary is not None
    lookup = LookupLayer(plan_of("linear", module, ternary))
    x = torch.randn(1, features)
    half, half_weight = x.bfloat16(), weight.bfloat16()
    times = medians(
        {
            "torch": lambda: F.linear(x, weight),
            "bfloat16": lambda: F.linear(half, half_weight),
            "ternzip": lambda: lookup(x),
        },
        rounds,
    )
    return {
        "features": features,
        "zeros": zeros,
        "milliseconds": times,
        "speed": times["torch"] / times["ternzip"],
        "weight_bytes": {"float32": weight.nbytes, "ternzip": weight_bytes(lookup)},
    }


def bitwise(module: nn.Module, x: Tensor, zeros: float, rounds: int) -> dict[str, Any]:
    """A layer of ternary activations from bit planes, making them included, beside layers that read floats."""
    with_random_weights(nn.Sequential(module), zeros)
    assert isinstance(module.weight, Tensor)
    weight = module.weight.detach()
    quantize_inputs(module, [""])
    with torch.no_grad():
        module(x)  # sets the scale
    ternary = ternary_weight("weight", weight)
    assert ternary is not None
    plan = plan_of("layer", module, ternary)
    planes = BitwiseLayer(plan)
    floats = dataclasses.replace(plan, input_scale=None)
    other = SparseLayer(floats) if isinstance(module, nn.Conv2d) else LookupLayer(floats)
    dense = dense_call(module) if isinstance(module, nn.Conv2d) else F.linear
    half, half_weight = x.bfloat16(), weight.bfloat16()
    times = medians(
        {
            "torch": lambda: dense(x, weight),
            "bfloat16": lambda: dense(half, half_weight),
            other.description: lambda: other(x),
            "ternzip": lambda: planes(x),
        },
        rounds,
    )
    return {
        "input": list(x.shape),
        "zeros": zeros,
        "milliseconds": times,
        "speed": times["torch"] / times["ternzip"],
        "weight_bytes": {"float32": weight.nbytes, "ternzip": weight_bytes(planes)},
    }


def bitwise_convolution(channels: int, size: int, zeros: float, rounds: int) -> dict[str, Any]:
    """A 3x3 convolution, batch 1."""
    module = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
    return bitwise(module, torch.randn(1, channels, size, size), zeros, rounds)


def bitwise_linear(features: int, zeros: float, rounds: int) -> dict[str, Any]:
    """The linear layer of `linear`, one vector."""
    return bitwise(nn.Linear(features, features, bias=False), torch.randn(1, features), zeros, rounds)


def onnx_int8(model: nn.Module, x: Tensor) -> Callable[[], object]:
    """The network by ONNX Runtime with 8-bit weights and activations, calibrated on random images."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    image = x.shape[1:]
    data = onnx_bytes(model, torch.zeros(2, *image), "int8", torch.randn(32, *image))
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    inputs = {session.get_inputs()[0].name: x.numpy()}
    return lambda: session.run(None, inputs)


def network(model: nn.Module, batch: int, rounds: int) -> dict[str, Any]:
    """A whole network by every engine there is."""
    x = torch.randn(batch, 3, 32, 32)
    optimized = optimize(model, x)
    timings = {timing.name: timing for timing in compare(model, optimized, x, rounds=rounds)}
    own = timings["ternzip"].milliseconds
    assert own is not None, timings["ternzip"].problem
    times = {name: t.milliseconds for name, t in timings.items() if t.milliseconds is not None}
    del times["ternzip"]
    quickest = min(times, key=lambda name: times[name])
    entry = {
        "batch": batch,
        "timings": [dataclasses.asdict(timing) for timing in timings.values()],
        "quickest": quickest,
        "speed": times[quickest] / own,
        "speed_beside_torch": min(times["torch"], times["torch, channels last"]) / own,
        "kinds": collections.Counter(layer.kind for layer in describe(optimized)),
        "weight_bytes": {"float32": weight_bytes(model), "ternzip": weight_bytes(optimized)},
    }
    try:
        with torch.inference_mode():
            entry["int8"] = medians({"int8": onnx_int8(model, x), "ternzip": lambda: optimized(x)}, rounds)
    except Exception as error:  # an engine that is not installed, or cannot
        entry["int8"] = {"problem": first_line(error)}
    return entry


def answers(model: nn.Module, folder: Path) -> dict[str, Any]:
    """Whether the optimized network says what the dense one says, on all test images."""
    images = open_dataset("cifar10", folder).test.images
    optimized = optimize(model)
    differing, largest, size = 0, 0.0, 0.0
    with torch.inference_mode():
        for batch in torch.split(images, 500):
            x = normalize(batch, *IMAGENET)
            wanted, found = model(x), optimized(x)
            differing += int((wanted.argmax(1) != found.argmax(1)).sum())
            largest = max(largest, float((wanted - found).abs().max()))
            size = max(size, float(wanted.abs().max()))
    return {"images": len(images), "top1_differs": differing, "largest_difference": largest / size}


def has_amx() -> bool:
    """Whether the processor has a matrix unit for bfloat16."""
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split()
    except OSError:
        return False


def measurements(
    arguments: argparse.Namespace, rounds: int
) -> list[tuple[str, Callable[[], dict[str, Any]]]]:
    """(section, what measures one entry of it), in order."""
    star = with_random_weights(resnet20(inflate=5), 0.9)
    few = max(2, rounds // 5)
    made: list[tuple[str, Callable[[], dict[str, Any]]]] = []
    for channels, size in CONVOLUTIONS:
        square = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        made += [
            (
                "convolutions",
                functools.partial(convolution, "3x3 convolution", square, (size, size), zeros, rounds),
            )
            for zeros in CONVOLUTION_ZEROS
        ]
    line = nn.Conv1d(64, 64, 3, padding=1, bias=False)
    size, dilation = DILATED
    dilated = nn.Conv2d(256, 64, 3, padding=dilation, dilation=dilation, bias=False)
    for what, module, extent, times in (
        ("convolution of 3", line, (LINE,), few),
        (f"3x3 convolution, dilation {dilation}", dilated, (size, size), rounds),
    ):
        made.append(("convolutions", functools.partial(convolution, what, module, extent, 0.9, times)))
    made += [("linear", functools.partial(linear, 2560, zeros, rounds)) for zeros in LINEAR_ZEROS]
    made += [
        ("bitwise", functools.partial(bitwise_convolution, channels, size, zeros, rounds))
        for channels, size in CONVOLUTIONS
        for zeros in BITWISE_ZEROS
    ]
    made.append(("bitwise", functools.partial(bitwise_linear, 2560, LINEAR_ZEROS[0], rounds)))
    made += [
        ("resnet20-star", functools.partial(network, star, batch, rounds if batch == 1 else few))
        for batch in (1, 32)
    ]
    for path in sorted(arguments.checkpoints.glob("ec2t-*.pt")) if arguments.checkpoints else []:
        model = load_weights(he_resnet20(), path).eval()
        made += [(path.stem, functools.partial(network, model, batch, rounds)) for batch in (1, 32)]
        if arguments.data:
            made.append((f"{path.stem}, answers", functools.partial(answers, model, arguments.data)))
    return made


def main() -> None:
    """Measures what the machine has, and writes JSON; the exit status is 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--checkpoints", type=Path)
    parser.add_argument("--quick", action="store_true", help="few calls: to see that everything runs")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rounds = 3 if arguments.quick else 50
    sections: dict[str, list[dict[str, Any]]] = {}
    result = {**provenance(), "threads": 1, "rounds": rounds, "amx": has_amx(), "sections": sections}
    failed = False
    for section, measure in measurements(arguments, rounds):
        print(section, file=sys.stderr, flush=True)
        try:
            entry = measure()
        except Exception as error:  # the others must not be lost
            entry, failed = {"problem": first_line(error)}, True
        sections.setdefault(section, []).append(entry)
        if arguments.output:
            arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))
    sys.exit(failed)


if __name__ == "__main__":
    main()
