"""How long a network takes by torch, torch.compile, ONNX Runtime and ternzip's runtime, measured in turns."""

from __future__ import annotations

import copy
import io
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ternzip._core.errors import TernzipError
from ternzip._core.text import first_line
from ternzip.runtime.choice import weight_bytes
from ternzip.runtime.export import onnx_bytes
from ternzip.runtime.plan import window_of

_WARM_UP = 3


@dataclass(frozen=True)
class Timing:
    """One way to run a network.

    Attributes:
        name: "torch", "torch, channels last", "torch.compile", "ONNX Runtime" or "ternzip".
        milliseconds: the median of one call; None where it could not be measured.
        least: the shortest call, in milliseconds.
        weight_bytes: what its parameters and buffers take in memory; None where that is not known.
        problem: why it could not be measured.
    """

    name: str
    milliseconds: float | None = None
    least: float | None = None
    weight_bytes: int | None = None
    problem: str | None = None


Call = Callable[[], object]


def compare(
    model: nn.Module,
    optimized: nn.Module,
    x: Tensor,
    *,
    rounds: int = 30,
    compiled: bool = True,
    onnx: bool = True,
) -> list[Timing]:
    """Times of a model's ways to run, in turns, on the threads that torch has.

    Args:
        model: plain, in evaluation mode, float32.
        optimized: what runtime.optimize made of it.
        x: a batch.
        rounds: calls of each that count.
        compiled, onnx: whether torch.compile (with frozen weights) and ONNX Runtime are tried; a way that the
            machine does not have is reported, not raised.
    """
    ways: list[tuple[str, Callable[[], tuple[Call, int | None]]]] = [("torch", lambda: _torch(model, x))]
    if x.dim() == 4:
        ways.append(("torch, channels last", lambda: _channels_last(model, x)))
    if compiled:
        ways.append(("torch.compile", lambda: _compiled(model, x)))
    if onnx:
        ways.append(("ONNX Runtime", lambda: _onnx(model, x)))
    ways.append(("ternzip", lambda: _torch(optimized, x)))
    calls: dict[str, Call] = {}
    sizes: dict[str, int | None] = {}
    problems: dict[str, str] = {}
    with torch.inference_mode():
        for name, make in ways:
            try:
                calls[name], sizes[name] = make()
                calls[name]()
            except Exception as error:  # a compiler that is missing, an engine that is not installed
                calls.pop(name, None)
                problems[name] = first_line(error)
        times = dict(zip(calls, in_turns(list(calls.values()), rounds), strict=True))
    return [
        Timing(name, statistics.median(times[name]), min(times[name]), sizes[name])
        if name in times
        else Timing(name, problem=problems[name])
        for name, _ in ways
    ]


def in_turns(calls: Sequence[Call], rounds: int) -> list[list[float]]:
    """Milliseconds of each call, `rounds` of each, after a few that do not count."""
    times: list[list[float]] = [[] for _ in calls]
    for number in range(_WARM_UP + rounds):
        for call, own in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            taken = 1e3 * (time.perf_counter() - start)
            if number >= _WARM_UP:
                own.append(taken)
    return times


def _torch(model: nn.Module, x: Tensor) -> tuple[Call, int]:
    return (lambda: model(x)), weight_bytes(model)


def _channels_last(model: nn.Module, x: Tensor) -> tuple[Call, int]:
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and window_of(module).may_read_padding_only:
            raise TernzipError(f"layer {name}: torch reads out of bounds for outputs of padding alone")
    own = copy.deepcopy(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    batch = x.to(memory_format=torch.channels_last)
    return (lambda: own(batch)), weight_bytes(own)


def _compiled(model: nn.Module, x: Tensor) -> tuple[Call, None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        own = torch.compile(copy.deepcopy(model), options={"freezing": True})

        def call() -> object:
            with torch.no_grad():  # inference mode keeps weights from being frozen
                return own(x)

        call()
    return call, None


def _onnx(model: nn.Module, x: Tensor) -> tuple[Call, None]:
    try:
        import onnxruntime
    except ImportError:
        raise TernzipError("not installed: pip install 'ternzip[onnx]'") from None
    example = torch.cat([x, x])[:2] if len(x) else x
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        onnx_bytes(model, example), options, providers=["CPUExecutionProvider"]
    )
    (name,) = (entry.name for entry in session.get_inputs())
    batch = {name: x.numpy()}
    return (lambda: session.run(None, batch)), None


def table(timings: Sequence[Timing]) -> str:
    """Rows of at most 80 columns; speed is how many times as fast as the quickest that is not ternzip."""
    others = [t.milliseconds for t in timings if t.milliseconds is not None and t.name != "ternzip"]
    out = io.StringIO()
    print(f"{'':22}{'median ms':>11}{'least ms':>11}{'weights, bytes':>17}{'speed':>9}", file=out)
    for timing in timings:
        if timing.milliseconds is None or timing.least is None:
            print(f"{timing.name:22}  {timing.problem}"[:80], file=out)
            continue
        size = "-" if timing.weight_bytes is None else f"{timing.weight_bytes:,}"
        speed = min(others) / timing.milliseconds if others else 1.0
        print(
            f"{timing.name:22}{timing.milliseconds:11.3f}{timing.least:11.3f}{size:>17}{speed:8.2f}x",
            file=out,
        )
    return out.getvalue().rstrip("\n")
