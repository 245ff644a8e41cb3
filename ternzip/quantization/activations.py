"""Ternary activations: a quantizer for what a layer reads, beside the one for its weight.

The quantizer is a child of its layer, `input_quantizer`, and runs before it. `convert` leaves it there: with both
factors ternary, a product is a question of bits (`ternzip.runtime`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ternzip._core.errors import TernzipError
from ternzip.quantization.selection import TERNARIZED_TYPES

ACTIVATIONS = ("ternary",)
CHILD = "input_quantizer"


class TernaryActivation(nn.Module):
    """q = a where x > a / 2, -a where x < -a / 2, else 0; the scale a > 0 is learned, one for the layer.

    The gradient is that of learned step sizes (LSQ, arXiv 1902.08153) for the steps -1, 0 and +1: x receives it
    unchanged where -a <= x <= a and none beyond; a receives, summed over all elements, q / a - x / a within and the
    sign of x beyond, times 1 / sqrt(elements of one sample). What the optimizer moves is log a, as for learned levels:
    the scale stays positive (`parameter_groups` keeps weight decay away from it).

    The first input that the module sees sets a to twice its mean magnitude, as LSQ does. Where that is no positive
    number, as for zeros alone, it gives zeros and the next input sets the scale. `torch.compile(fullgraph=True)` wants
    a module that has seen one. Inputs may be of any floating-point dtype; the comparison is made in float32. NaN
    stays NaN.
    """

    log_scale: nn.Parameter

    def __init__(self) -> None:
        super().__init__()
        # NaN says in a state_dict, too, that no input has set the scale yet.
        self.log_scale = nn.Parameter(torch.tensor(math.nan))
        self.calibrated = False

    @property
    def scale(self) -> Tensor:
        """The value a of +1, 0-d; NaN before the first input."""
        return self.log_scale.exp()

    def forward(self, x: Tensor) -> Tensor:
        """The ternary activations, of x's shape and dtype.

        Raises TernzipError for a first input in distributed training, of which every process has another.
        """
        if not self.calibrated and not self._calibrate(x):
            return x * 0
        scale = _scaled_gradient(self.scale, 1 / math.sqrt(max(1, math.prod(x.shape[1:]))))
        clipped = (x.float() / scale).clamp(-1, 1)
        with torch.no_grad():
            steps = ternary_steps(x.float(), scale / 2)
        # Exactly the step: either `clipped` is at least half of it, and the difference exact, or the step is 0.
        return ((clipped + (steps - clipped).detach()) * scale).to(x.dtype)

    def has_scale(self) -> bool:
        """Whether an input, a state_dict, or what averages the parameters of other models has set the scale."""
        if not self.calibrated and not self.log_scale.is_meta:
            self.calibrated = bool(self.log_scale.detach().isfinite())
        return self.calibrated

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _calibrate(self, x: Tensor) -> bool:
        """Sets the scale by an input, unless there is one; False, and no change, where that says none."""
        if self.has_scale():
            return True
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        if distributed and torch.distributed.get_world_size() > 1:
            raise TernzipError(
                "a ternary activation has no scale yet: run one batch through the model before distributed training"
            )
        with torch.no_grad():
            start = (2 * x.detach().float().abs().mean()).log()
            self.calibrated = bool(start.isfinite())
            if self.calibrated:
                self.log_scale.copy_(start)
        return self.calibrated

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *rest)
        found = state_dict.get(f"{prefix}log_scale")
        if isinstance(found, Tensor) and not found.is_meta:
            self.calibrated = bool(found.isfinite().all())

    def extra_repr(self) -> str:
        return f"scale={float(self.scale.detach()):.4g}" if self.has_scale() else "no scale yet"


def ternary_steps(x: Tensor, threshold: Tensor | float) -> Tensor:
    """-1, 0 or +1 for each element, in x's dtype, by comparison with the threshold; NaN stays NaN."""
    return (x > threshold).to(x.dtype) - (x < -threshold).to(x.dtype) + torch.where(x.isnan(), x, 0.0)


def _scaled_gradient(value: Tensor, factor: float) -> Tensor:
    """The same value, bit for bit; its gradient times `factor`."""
    scaled = value * factor
    return (scaled - scaled.detach()) + value.detach()


def input_quantizer(module: nn.Module) -> TernaryActivation | None:
    """The quantizer of what a layer reads, None where it reads floats."""
    found = module._modules.get(CHILD)
    return found if isinstance(found, TernaryActivation) else None


def quantize_input(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The forward pre-hook of a layer with an input quantizer."""
    quantizer = input_quantizer(module)
    assert quantizer is not None
    if args:
        return (quantizer(args[0]), *args[1:]), kwargs
    return args, {**kwargs, "input": quantizer(kwargs["input"])}


def quantize_inputs(model: nn.Module, layers: Iterable[str]) -> nn.Module:
    """Gives layers of a model an input quantizer, in place; returns the model. A layer that has one keeps it.

    This is what `prepare(..., activations="ternary")` does beside the weights, and what a plain model needs before it
    can load the state of one that was prepared so (`ternzip.load_model` does it by itself).

    Args:
        model: any module.
        layers: names of convolutions and linear layers; "" is the model itself.

    Raises TernzipError, before anything is changed, for a name that is no such layer.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    chosen = list(layers)
    for name in chosen:
        if not takes_quantizer(modules.get(name)):
            found = type(modules[name]).__name__ if name in modules else "nothing"
            raise TernzipError(f"layer {name!r}: expected a convolution or a linear layer, found {found}")
    for name in chosen:
        module = modules[name]
        if input_quantizer(module) is None:
            quantizer = TernaryActivation().to(module.weight.device)
            module.add_module(CHILD, quantizer)
            module.register_forward_pre_hook(quantize_input, with_kwargs=True)
    for module in modules.values():
        if isinstance(module, nn.TransformerEncoder) and any(map(input_quantizer, module.modules())):
            # It makes nested tensors where a padding mask is given, which have no sizes.
            module.use_nested_tensor = False
    return model


def takes_quantizer(module: nn.Module | None) -> bool:
    """Whether a module is a layer whose input may be quantized.

    Not the output projection of nn.MultiheadAttention: its weight is read without the layer's being called.
    """
    by_weight_only = nn.modules.linear.NonDynamicallyQuantizableLinear
    return isinstance(module, TERNARIZED_TYPES) and not isinstance(module, by_weight_only)


def layers_to_quantize(model: nn.Module, ternary: Iterable[nn.Module]) -> list[str]:
    """Names of the layers with a ternary weight that shall read ternary inputs, the model's first layer aside.

    The first is that of the model's modules, which is the one that reads the network's input in any usual model.
    """
    wanted = {id(module) for module in ternary}
    layers = [(name, module) for name, module in model.named_modules() if takes_quantizer(module)]
    return [name for name, module in layers[1:] if id(module) in wanted]


def stored_quantizers(names: Iterable[str]) -> dict[str, str]:
    """The layers that have an input quantizer, and the names of their scales, among the names of a state's tensors."""
    ending = f"{CHILD}.log_scale"
    own = [name for name in names if name == ending or name.endswith(f".{ending}")]
    return {name.removesuffix(ending).removesuffix("."): name for name in own}


def check_calibrated(model: nn.Module) -> None:
    """TernzipError, naming the first, for layers whose input quantizer has seen no input."""
    for name, module in model.named_modules():
        if isinstance(module, TernaryActivation) and not module.has_scale():
            raise TernzipError(
                f"layer {name.removesuffix(CHILD).removesuffix('.')}: its ternary activation has no scale yet: "
                "run one batch through the model first"
            )
