"""Ternarizers, all of one kind: two thresholds, two levels and a straight-through estimator.

A quantizer is the parametrization of one weight: latent weight in, ternary weight out. `prepare` copies the one it is
given for every weight, so a quantizer may hold thresholds or levels of its own.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ternzip._core.errors import TernzipError
from ternzip._core.symbols import SymbolCounts
from ternzip.ops import SATURATING, symbol_counts, ternarize_many
from ternzip.quantization.choices import check_share

Scalar = float | Tensor
CONVERT_FIRST = (
    "a prepared model cannot be traced, scripted or exported to ONNX: call ternzip.convert first "
    "(ternzip.convert(copy.deepcopy(model)) keeps the original)"
)


class Quantizer(nn.Module):
    """Base class: q = pos where w > hi, neg where w < lo, else 0.

    Attributes:
        ste: which gradient reaches the latent weight (ternzip.ops.STE).
        bound: where "closed" and "open" saturate, and where `clip_latent_` then clips the latent weights.
        pinned: whether a schedule leaves this layer's threshold alone, and `clip_latent_` its weights: it is frozen.
    """

    ste: str = "closed"
    bound: float = 1.0
    pinned: bool = False
    _scheduled: tuple[str, ...] = ()  # buffers that a schedule moves

    def reset(self, weight: Tensor, size_share: float = 1.0) -> None:
        """Start from this latent weight; called once, when a layer is prepared, and not for meta tensors.

        `size_share` is the layer's number of weights over that of the largest layer prepared with it.
        """

    def thresholds(self, weight: Tensor) -> tuple[Scalar, Scalar]:
        """(lo, hi) for this latent weight, floats or 0-d tensors."""
        raise NotImplementedError

    def levels(self, weight: Tensor) -> tuple[Scalar, Scalar]:
        """(neg, pos), floats or 0-d tensors; those that require a gradient are learned."""
        return -1.0, 1.0

    def settings(self) -> dict[str, Any]:
        """What a state_dict's tensors do not say; two quantizers of one kind and equal settings fit each other."""
        return {"ste": self.ste, "bound": self.bound}

    def forward(self, weight: Tensor) -> Tensor:
        """The ternary weight, of the latent one's shape and dtype.

        Raises TernzipError while a tracer records the model: it would burn the weights in, or lose them.
        """
        if torch._C._get_tracing_state() is not None or _exporting_to_onnx():
            raise TernzipError(CONVERT_FIRST)
        return self._ternarize(weight)[0]

    def __prepare_scriptable__(self) -> Quantizer:
        raise TernzipError(CONVERT_FIRST)

    def count(self, weight: Tensor) -> SymbolCounts:
        """The symbols that `forward` gives. Waits for the device."""
        with torch.no_grad():
            return symbol_counts(self._ternarize(weight)[1])[0]

    def _ternarize(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        scalars = *self.thresholds(weight), *self.levels(weight)
        (ternary,), counts = ternarize_many([weight], *scalars, ste=self.ste, bound=self.bound)
        return ternary, counts

    def right_inverse(self, weight: Tensor) -> Tensor:
        """What is assigned to a prepared layer's weight becomes its latent weight."""
        return weight

    def for_weight(self, weight: Tensor, size_share: float = 1.0) -> Quantizer:
        """A copy of this quantizer, on the weight's device, started from `weight`.

        On the meta device nothing is started, and thresholds have no value before a state is loaded.
        """
        own = copy.deepcopy(self).to(weight.device)
        if not weight.is_meta:
            with torch.no_grad():
                own.reset(weight, size_share)
        return own

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Quantizer:
        """Thresholds keep their float64 where a model is made another type: 0.1 is 0.1001 in bfloat16."""
        doubles = {
            name: tensor
            for name, tensor in self._buffers.items()
            if tensor is not None and tensor.dtype == torch.float64
        }
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, exact in doubles.items():
            now = self._buffers[name]
            # Apple's devices have no float64.
            if now is not None and now.dtype != torch.float64 and now.device.type != "mps":
                self._buffers[name] = exact.to(now.device)
        return self

    # Settings travel in the state as the bytes of a JSON text in a uint8 tensor: a state_dict of tensors alone is
    # what safetensors, EMA and sharded checkpoints can hold.

    def get_extra_state(self) -> Tensor:
        text = json.dumps({"quantizer": type(self).__name__, **self.settings()}, sort_keys=True)
        return torch.tensor(list(text.encode()), dtype=torch.uint8, device="cpu")

    def set_extra_state(self, state: Any) -> None:
        """Raises TernzipError where the state was made with other settings."""
        own = {"quantizer": type(self).__name__, **self.settings()}
        try:
            stored = json.loads(bytes(state.tolist()))
            assert isinstance(stored, dict)
        except (AssertionError, AttributeError, TypeError, ValueError):
            raise TernzipError("the state's quantizer settings are damaged: expected JSON bytes") from None
        changed = sorted(
            key for key in {*own, *stored} if json.loads(json.dumps(own.get(key))) != stored.get(key)
        )
        if changed:
            expected, found = (", ".join(f"{key}={s.get(key)}" for key in changed) for s in (own, stored))
            raise TernzipError(f"the state fits another quantizer: expected {expected}, found {found}")

    def extra_repr(self) -> str:
        shown: dict[str, Any] = {}
        for name in self._scheduled:
            threshold = self._buffers[name]
            # It has no value on the meta device, nor as a fake tensor of torch.compile.
            if type(threshold) is Tensor and not threshold.is_meta:
                shown[name] = f"{float(threshold):.4g}"
        shown.update(self.settings())
        if self.ste not in SATURATING:
            shown.pop("bound", None)  # nothing heeds it
        return ", ".join(f"{key}={value}" for key, value in shown.items())


class Delta(Quantizer):
    """The paper's: thresholds -Delta and +Delta, fixed or moved by a DeltaSchedule; levels fixed (Eq. 5).

    Delta is in units of the weights: 0.1 is beyond every weight of a wide linear layer in torch's own initialization.

    Args:
        delta: threshold in [0, 1); a float64 buffer of the module.
        levels: the values written for -1 and +1.
        ste: "closed" (gradient where |w| <= 1) or "open" (|w| < 1).
        scale: what `delta`, and whatever a schedule sets later, is multiplied by in this layer, > 0.
    """

    delta: Tensor
    _scheduled = ("delta",)

    def __init__(
        self,
        delta: float = 0.1,
        *,
        levels: tuple[float, float] = (-1.0, 1.0),
        ste: str = "closed",
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        if not levels[0] < 0 < levels[1]:
            raise TernzipError(f"levels must be (negative, positive), found {levels}")
        if not 0 < scale < float("inf"):
            raise TernzipError(f"Delta's scale must be finite and > 0, found {scale:g}")
        self.register_buffer("delta", scalar(check_share(scale * delta, "Delta")))
        self.scale = float(scale)
        self.fixed_levels = (float(levels[0]), float(levels[1]))
        self.ste = ste

    def set_threshold(self, delta: float) -> None:
        """Move Delta to `delta` times the layer's scale, unless the layer is frozen (`pinned`)."""
        if not self.pinned:
            self.delta.fill_(check_share(self.scale * delta, "Delta"))

    def thresholds(self, weight: Tensor) -> tuple[Scalar, Scalar]:
        return -self.delta, self.delta.clone()  # a schedule may move it before the backward pass

    def levels(self, weight: Tensor) -> tuple[Scalar, Scalar]:
        return self.fixed_levels

    def settings(self) -> dict[str, Any]:
        own = {} if self.scale == 1 else {"scale": self.scale}
        return {**super().settings(), "levels": self.fixed_levels, **own}


class Binary(Quantizer):
    """BinaryConnect: -1 where w < 0, else +1; never a zero (arXiv 1511.00363)."""

    def __init__(self, *, ste: str = "closed") -> None:
        super().__init__()
        self.ste = ste

    def thresholds(self, weight: Tensor) -> tuple[Scalar, Scalar]:
        # w > hi is then w >= 0: hi is the largest number below zero.
        info = torch.finfo(weight.dtype)
        smallest = info.tiny * info.eps
        # With torch.set_flush_denormal(True), which floats of Python heed too, subnormal numbers are zeros. Those of
        # float16 are none in float32, in which they are compared.
        flushed = sys.float_info.min / 2 == 0 and smallest < torch.finfo(torch.float32).tiny
        return 0.0, -info.tiny if flushed else -smallest


class TWN(Quantizer):
    """Ternary weight networks: Delta = ratio * mean|w|, level = mean of the kept |w| (arXiv 1605.04711).

    The default of `prepare`: both follow the layer's own scale, so that it fits any model and its initialization.
    With a ratio below 1 no layer is ever all zero, as its largest weight is no smaller than the mean.

    Args:
        ratio: threshold in units of the layer's mean magnitude, >= 0; a float64 buffer, moved by a DeltaSchedule.
        ste: "identity", "closed" or "open"; the last two also make `clip_latent_` clip, to 1 in units of the weights.
    """

    ratio: Tensor
    _scheduled = ("ratio",)

    def __init__(self, ratio: float = 0.7, *, ste: str = "identity") -> None:
        super().__init__()
        if not 0 <= ratio < float("inf"):
            raise TernzipError(f"TWN's ratio must be finite and >= 0, found {ratio:g}")
        self.register_buffer("ratio", scalar(float(ratio)))
        self.ste = ste

    def set_threshold(self, ratio: float) -> None:
        """Move the ratio, unless the layer is frozen (`pinned`)."""
        if not self.pinned:
            self.ratio.fill_(ratio)

    def thresholds(self, weight: Tensor) -> tuple[Scalar, Scalar]:
        delta = self.ratio * mean_magnitude(weight)
        return -delta, delta

    def levels(self, weight: Tensor) -> tuple[Scalar, Scalar]:
        magnitude = weight.detach().abs()
        kept = magnitude > (self.ratio * mean_magnitude(weight)).to(weight.dtype)
        total = torch.where(kept, magnitude, 0.0).sum(dtype=wide(weight))
        scale = total / kept.sum().clamp(min=1)
        return -scale, scale


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _exporting_to_onnx() -> bool:
    # Within torch.export torch takes its own answer for False; as a constant that is asked for it is the true one.
    return torch.onnx.is_in_onnx_export()


def scalar(value: float, dtype: torch.dtype = torch.float64) -> Tensor:
    """A 0-d tensor on the CPU, whatever torch's default device: on "meta" it would lose its value."""
    return torch.tensor(value, dtype=dtype, device="cpu")


def wide(weight: Tensor) -> torch.dtype:
    """A dtype for sums over `weight`: float32, in which half precision neither overflows nor rounds, or float64."""
    return torch.promote_types(weight.dtype, torch.float32)


def mean_magnitude(weight: Tensor) -> Tensor:
    """mean|w|, 0-d, without a gradient; 0 for an empty tensor."""
    weight = weight.detach()
    total: Tensor = torch.linalg.vector_norm(weight, 1, dtype=wide(weight))
    return total / max(weight.numel(), 1)
