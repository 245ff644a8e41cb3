"""How Delta grows over training: Eq. 6 and 7 of the paper."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from ternzip._core.errors import TernzipError
from ternzip.quantization.choices import GROWTHS
from ternzip.quantization.modules import ternary_layers
from ternzip.quantization.quantizers import Delta, check_delta


class DeltaSchedule:
    """Delta(epoch) = min(initial + initial * multiplier * f(epoch), maximum), epochs counting from 1.

    Used like a torch scheduler: the constructor applies epoch 1, `step()` after every epoch advances,
    `step(e)` sets epoch e, `state_dict()` resumes. With `steps_per_epoch=n`, call `step()` after every
    iteration instead: each advances by 1/n of an epoch. Layers whose quantizer is not `quantizers.Delta`,
    and frozen ones, are left alone.

    Args:
        model: a prepared model with at least one `quantizers.Delta` layer, else TernzipError.
        initial: Delta_0 in [0, 1).
        growth: f: "fixed" (0), "linear" (x), "square" (x^2), "exp" (e^x), "log" (natural logarithm).
        multiplier: M >= 0.
        maximum: Delta_f in [initial, 1).
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
        if growth not in GROWTHS:
            raise TernzipError(f"unknown growth {growth!r}: expected one of {', '.join(GROWTHS)}")
        self.initial = check_delta(initial, "initial Delta")
        self.maximum = check_delta(maximum, "maximum Delta")
        if self.initial > self.maximum:
            raise TernzipError(f"initial Delta {initial:g} exceeds maximum Delta {maximum:g}")
        if not 0 <= multiplier < math.inf:
            raise TernzipError(f"multiplier must be finite and >= 0, found {multiplier:g}")
        if steps_per_epoch < 1:
            raise ValueError(f"steps_per_epoch must be >= 1, got {steps_per_epoch}")
        self.growth = growth
        self.multiplier = float(multiplier)
        self.steps_per_epoch = steps_per_epoch
        self._quantizers = [
            layer.quantizer for layer in ternary_layers(model) if isinstance(layer.quantizer, Delta)
        ]
        if not self._quantizers:
            raise TernzipError("the model has no layer with a Delta to schedule: call ternzip.prepare first")
        self._steps: float = 0
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
        """Resume from `state_dict()` and apply its Delta."""
        self.initial = state["initial"]
        self.growth = state["growth"]
        self.multiplier = state["multiplier"]
        self.maximum = state["maximum"]
        self.steps_per_epoch = state["steps_per_epoch"]
        self._steps = state["steps"]
        self._apply()

    def _apply(self) -> None:
        for quantizer in self._quantizers:
            quantizer.set_delta(self.delta)
