"""How the threshold grows over training: Eq. 6 and 7 of the paper."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from ternzip._core.errors import TernzipError
from ternzip.quantization.choices import GROWTHS, check_share
from ternzip.quantization.layers import TernaryLayer, is_prepared, ternary_layers
from ternzip.quantization.quantizers import TWN, Delta

STATE = ("initial", "growth", "multiplier", "maximum", "steps_per_epoch", "steps")


class DeltaSchedule:
    """Delta(epoch) = min(initial + initial * multiplier * f(epoch), maximum), epochs counting from 1.

    What it moves is the Delta of every `Delta` layer, in units of the weights, as in the paper. In a model without
    any, it is the ratio of every `TWN` layer (the default of `prepare`): Delta in units of the layer's own mean
    magnitude, so that 0.7 is TWN's and no value below 1 makes a layer all zero. Other layers are left alone, and so
    are frozen ones (a latent weight with requires_grad False, or a quantizer that is `pinned`) for as long as they are.

    Used like a torch scheduler: the constructor applies epoch 1, `step()` after every epoch advances,
    `step(e)` sets epoch e, `state_dict()` resumes. With `steps_per_epoch=n`, call `step()` after every
    iteration instead: each advances by 1/n of an epoch.

    Args:
        model: a prepared model with at least one such layer, else TernzipError.
        initial: Delta_0 in [0, 1).
        growth: f: "fixed" (0), "linear" (x), "square" (x^2), "exp" (e^x), "log" (natural logarithm).
        multiplier: M >= 0.
        maximum: Delta_f in [initial, 1); TernzipError where a layer's own `scale` would take it to 1 or beyond.
        steps_per_epoch: iterations an epoch, for updates per iteration.
    """

    def __init__(
        self,
        model: nn.Module,
        initial: float = 0.1,
        growth: str = "log",
        multiplier: float = 1.9,
        maximum: float = 0.9,
        *,
        steps_per_epoch: int = 1,
    ) -> None:
        self._layers = _scheduled(model)
        if not self._layers:
            found = sorted({type(layer.quantizer).__name__ for layer in ternary_layers(model)})
            why = (
                f"expected Delta or TWN, found {', '.join(found)}" if found else "call ternzip.prepare first"
            )
            raise TernzipError(f"the model has no layer with a Delta to schedule: {why}")
        self._set(initial, growth, multiplier, maximum, steps_per_epoch, steps=0)

    def _set(
        self,
        initial: float,
        growth: str,
        multiplier: float,
        maximum: float,
        steps_per_epoch: int,
        steps: float,
    ) -> None:
        """Check everything, then take it over and apply it."""
        if growth not in GROWTHS:
            raise TernzipError(f"unknown growth {growth!r}: expected one of {', '.join(GROWTHS)}")
        initial = check_share(initial, "initial Delta")
        maximum = check_share(maximum, "maximum Delta")
        if initial > maximum:
            raise TernzipError(f"initial Delta {initial:g} exceeds maximum Delta {maximum:g}")
        if not 0 <= multiplier < math.inf:
            raise TernzipError(f"multiplier must be finite and >= 0, found {multiplier:g}")
        if not 1 <= steps_per_epoch < math.inf:
            raise ValueError(f"steps_per_epoch must be finite and >= 1, found {steps_per_epoch}")
        if not 0 <= steps < math.inf:
            raise TernzipError(f"steps must be finite and >= 0, found {steps:g}")
        largest = initial if growth == "fixed" or multiplier * initial == 0 else maximum
        for layer, quantizer in self._layers:
            if isinstance(quantizer, Delta) and quantizer.scale * largest >= 1:
                raise TernzipError(
                    f"layer {layer.name}: its scale of {quantizer.scale:g} makes a Delta of "
                    f"{quantizer.scale * largest:g} out of the schedule's largest, {largest:g}: expected less than 1"
                )
        self.initial, self.maximum, self.growth = initial, maximum, growth
        self.multiplier = float(multiplier)
        self.steps_per_epoch = steps_per_epoch
        self._steps = steps
        self._apply()

    @property
    def epoch(self) -> float:
        """The epoch whose Delta is applied, from 1; fractional when stepped per iteration."""
        return 1 + self._steps / self.steps_per_epoch

    @property
    def delta(self) -> float:
        """The Delta now applied."""
        return self.at(self.epoch)

    @property
    def finished(self) -> bool:
        """Whether Delta has stopped growing for good."""
        return self.growth == "fixed" or self.multiplier * self.initial == 0 or self.delta >= self.maximum

    def at(self, epoch: float) -> float:
        """Delta at an epoch >= 1."""
        growth = GROWTHS[self.growth](epoch)
        return min(self.initial + self.initial * self.multiplier * growth, self.maximum)

    def step(self, epoch: float | None = None) -> None:
        """Advance by one step (an epoch, or 1/steps_per_epoch of it), or go to `epoch` >= 1, whole or not."""
        if epoch is None:
            self._steps += 1
        elif epoch >= 1:
            self._steps = (epoch - 1) * self.steps_per_epoch
        else:
            raise ValueError(f"epochs count from 1, got {epoch}")
        self._apply()

    def apply_to(self, model: nn.Module) -> None:
        """Give a copy of the model, wrapped or not, every layer's own Delta, that of frozen ones too.

        An average of models needs this before it is evaluated: AveragedModel(use_buffers=True) averages Delta as well.
        TernzipError where the layers are not those of the model.
        """
        own = [quantizer for _, quantizer in self._layers]
        others = [quantizer for _, quantizer in _scheduled(model)]
        if [type(quantizer) for quantizer in own] != [type(quantizer) for quantizer in others]:
            raise TernzipError(
                f"expected a copy of the scheduled model, with a Delta in {len(own)} of its layers: "
                f"found one in {len(others)}"
            )
        for quantizer, other in zip(own, others, strict=True):
            _threshold(other).copy_(_threshold(quantizer))

    def state_dict(self) -> dict[str, Any]:
        """Everything but the model."""
        return {
            "initial": self.initial,
            "growth": self.growth,
            "multiplier": self.multiplier,
            "maximum": self.maximum,
            "steps_per_epoch": self.steps_per_epoch,
            "steps": self._steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from `state_dict()` and apply its Delta. A state that is damaged changes nothing (TernzipError)."""
        if set(state) != set(STATE):
            raise TernzipError(
                f"the state is no DeltaSchedule's: expected {', '.join(STATE)}, found {', '.join(map(str, state))}"
            )
        try:
            self._set(**state)
        except (TypeError, ValueError) as error:
            raise TernzipError(f"the state of a DeltaSchedule is damaged: {error}") from error

    def _apply(self) -> None:
        for layer, quantizer in self._layers:
            # A layer that has been converted since has no latent weight.
            if not is_prepared(layer.module, layer.parameter) or not layer.is_frozen:
                quantizer.set_threshold(self.delta)


def _scheduled(model: nn.Module) -> list[tuple[TernaryLayer, Delta]] | list[tuple[TernaryLayer, TWN]]:
    layers = [(layer, layer.quantizer) for layer in ternary_layers(model)]
    deltas = [(layer, quantizer) for layer, quantizer in layers if isinstance(quantizer, Delta)]
    return deltas or [(layer, quantizer) for layer, quantizer in layers if isinstance(quantizer, TWN)]


def _threshold(quantizer: Delta | TWN) -> Tensor:
    return quantizer.delta if isinstance(quantizer, Delta) else quantizer.ratio
