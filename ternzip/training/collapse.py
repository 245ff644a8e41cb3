"""Noticing that ternary training has died: layers that are all zero, gradients that are all but zero."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ternzip._core.errors import TernzipError
from ternzip._core.symbols import SymbolCounts
from ternzip.ops._sharded import is_sharded, local
from ternzip.quantization import ternary_layers


class CollapseWatch:
    """Warns once of each layer that is all zero or gets no gradient, and raises TernzipError when nothing can learn.

    That is when all ternary layers are all zero, or each of them has had no gradient for at least `patience` steps.
    (A layer that starts all zero often recovers within ten steps.) Every layer's steps are counted for itself, and
    "no gradient" means at most `tolerance` of the largest gradient of any parameter: behind a layer of zeros and a
    batch norm, what is left of a gradient is rounding, while the norm's own bias still gets a true one.

    The device is waited for once in `patience` steps.

    Args:
        model: the prepared model.
        patience: steps without any gradient before a layer is given up.
        carry_on: warn instead of raising.
        tolerance: share of the model's largest gradient that counts as none.
    """

    def __init__(
        self, model: nn.Module, patience: int = 20, carry_on: bool = False, tolerance: float = 1e-6
    ) -> None:
        self._model = model
        self._layers = ternary_layers(model)
        self.patience = patience
        self.carry_on = carry_on
        self.tolerance = tolerance
        self._steps = 0
        self._silent: Tensor | None = None  # steps without a gradient, a number a layer
        self._warned: set[str] = set()

    def after_backward(self) -> None:
        """Look at the gradients; for after every backward pass, before they are cleared."""
        everything = [p.grad for p in self._model.parameters() if p.grad is not None]
        latents = [layer.latent.grad for layer in self._layers]
        if not any(gradient is not None for gradient in latents):
            return
        device = everything[0].device
        largest = _largest(everything, device).max()
        # A layer without any gradient tensor is frozen: it neither learns nor keeps the others from being dead.
        own = _largest([torch.zeros(1, device=device) if g is None else g for g in latents], device)
        # Gradients that are not finite (a loss scale that was too large) say nothing of a layer.
        silent = (own <= self.tolerance * largest) & largest.isfinite()
        self._silent = silent * (1 if self._silent is None else self._silent + 1)
        self._steps += 1
        if self._steps % self.patience == 0:
            self._judge(self._silent.tolist())

    def _judge(self, silent: list[int]) -> None:
        dead = [
            layer.name
            for layer, steps in zip(self._layers, silent, strict=True)
            if steps >= self.patience and layer.latent.grad is not None
        ]
        if min(silent) >= self.patience:
            self._give_up(f"no latent weight has had a gradient for {self.patience} steps")
        for name in dead:
            self._warn_once(
                f"layer {name}: its latent weights have had no gradient for {self.patience} steps"
            )

    def after_counting(self, counts: Mapping[str, SymbolCounts]) -> None:
        """Look at the symbols of every layer (what `count_layers` returns)."""
        empty = [name for name, count in counts.items() if count.zero == count.total]
        if counts and len(empty) == len(counts):
            self._give_up("the weights of all ternary layers are all zero")
        for name in empty:
            self._warn_once(f"layer {name}: all ternary weights are zero")

    def _give_up(self, reason: str) -> None:
        message = (
            f"training has collapsed: {reason}: start with a smaller Delta, let it grow more slowly, or take the "
            "quantizer twn, whose threshold follows each layer"
        )
        if not self.carry_on:
            raise TernzipError(message)
        self._warn_once(message)

    def _warn_once(self, message: str) -> None:
        if message not in self._warned:
            warnings.warn(message, stacklevel=4)
            self._warned.add(message)


def _largest(gradients: list[Tensor], device: torch.device) -> Tensor:
    """The largest magnitude of each tensor, on one device, without waiting for it; of sharded ones over all ranks."""
    norms = torch._foreach_norm([_values(gradient) for gradient in gradients], float("inf"))
    largest = torch.stack([norm.to(device, torch.float32, non_blocking=True) for norm in norms])
    meshes: dict[Any, None] = dict.fromkeys(
        gradient.device_mesh  # type: ignore[attr-defined]
        for gradient in gradients
        if is_sharded([gradient])
    )
    for mesh in meshes:
        for group in mesh.get_all_groups():
            torch.distributed.all_reduce(largest, torch.distributed.ReduceOp.MAX, group)
    return largest


def _values(gradient: Tensor) -> Tensor:
    """The numbers that this rank holds of a gradient, at least one.

    Of a sparse one (nn.Embedding(sparse=True)) rows met twice are not summed, which would wait for the device.
    """
    (values,) = local([gradient])
    if values.is_sparse:
        values = values._values()
    return values if values.numel() else values.new_zeros(1)
