"""What the public calls refuse, each with one line that names the tensor, what was expected and what was found."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ternzip.ops._dispatch import is_plain
from ternzip.ops._kernels import WEIGHT_CODES
from ternzip.ops._ternarizer import scalar


def check_tensor(what: str, i: int, value: object) -> None:
    """TypeError for what is no tensor, named as the i-th `what`."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{what} {i} is a {type(value).__name__}; expected a tensor")


def check_floating(weights: Sequence[Tensor], *, one_device: bool = True) -> None:
    """Weights are strided, of a dtype that can be trained, and (`one_device`) together."""
    for i, w in enumerate(weights):
        check_tensor("weight", i, w)
        if w.dtype not in WEIGHT_CODES:
            known = ", ".join(str(dtype).removeprefix("torch.") for dtype in WEIGHT_CODES)
            raise TypeError(f"weight {i} has dtype {w.dtype}; expected one of {known}")
        if w.layout is not torch.strided:
            raise TypeError(f"weight {i} has layout {w.layout}; expected torch.strided")
        if one_device and w.device != weights[0].device:
            raise ValueError(f"weight {i} is on {w.device}, weight 0 on {weights[0].device}")


def check_countable(tensors: Sequence[Tensor]) -> None:
    """Tensors are strided, of a dtype that has a sign, and on one device."""
    for i, t in enumerate(tensors):
        check_tensor("tensor", i, t)
        if t.dtype == torch.bool or t.is_complex() or t.is_quantized:
            raise TypeError(f"tensor {i} has dtype {t.dtype}; symbols are counted in floats and integers")
        if t.layout is not torch.strided:
            raise TypeError(f"tensor {i} has layout {t.layout}; expected torch.strided")
        if t.device != tensors[0].device:
            raise ValueError(f"tensor {i} is on {t.device}, tensor 0 on {tensors[0].device}")


def check_outputs(weights: Sequence[Tensor], outs: Sequence[Tensor]) -> None:
    """There is an output for each weight, of its shape and device, and of its dtype or int8."""
    if len(outs) != len(weights):
        raise ValueError(f"{len(outs)} outputs for {len(weights)} weights")
    for i, (w, out) in enumerate(zip(weights, outs, strict=True)):
        if out.shape != w.shape:
            raise ValueError(f"output {i} has shape {tuple(out.shape)}, its weight {tuple(w.shape)}")
        if out.dtype != w.dtype and out.dtype != torch.int8:
            raise TypeError(f"output {i} has dtype {out.dtype}; expected {w.dtype} or torch.int8")
        if out.device != w.device:
            raise ValueError(f"output {i} is on {out.device}, its weight on {w.device}")


def check_writable(name: str, tensors: Sequence[Tensor]) -> None:
    """Before anything is written: every element has a place in memory of its own."""
    for i, t in enumerate(tensors):
        if not t.is_contiguous() and any(
            stride == 0 and size > 1 for stride, size in zip(t.stride(), t.shape, strict=True)
        ):
            raise ValueError(f"{name} {i} is expanded: several elements share one place; expected a clone()")


def delta_of(delta: float | Tensor, w: Tensor) -> Tensor:
    """The threshold as a tensor for w; ValueError unless it is a finite number >= 0."""
    value: float | Tensor = delta
    if isinstance(delta, Tensor):
        if delta.dim():
            raise ValueError(f"delta has shape {tuple(delta.shape)}; expected one value")
        # Elsewhere than on the CPU a look would wait, and inside a transform there may be nothing to look at.
        if is_plain([delta]) and delta.is_cpu:
            value = delta.detach().item()
    if not isinstance(value, Tensor) and not 0 <= value < math.inf:
        raise ValueError(f"delta must be a finite number >= 0, not {value}")
    return scalar(delta, w.device)
