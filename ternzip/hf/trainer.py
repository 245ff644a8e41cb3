"""Ternary training in transformers' Trainer."""

from __future__ import annotations

import math
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from ternzip._core.errors import TernzipError
from ternzip._core.symbols import SymbolCounts
from ternzip.quantization import DeltaSchedule, clip_latent_, count_layers, ternary_layers
from ternzip.training.collapse import CollapseWatch


class TernaryTrainerCallback(TrainerCallback, ExportableState):  # type: ignore[misc]
    """For a Trainer whose model has been prepared: Delta, clipping, counting, and the watch for collapse.

        model = ternzip.prepare(AutoModelForCausalLM.from_pretrained(...))
        Trainer(model, ..., callbacks=[TernaryTrainerCallback({"growth": "log", "maximum": 0.7})])

    Sets Delta for every epoch, or every step with `per_step`; clips the latent weights after every optimizer step;
    adds `sparsity`, `entropy` (bits/weight) and, with a schedule, `delta` to what the Trainer logs; stops a training
    that has collapsed (TernzipError), unless `carry_on`. Delta follows from the epoch alone and the arguments are in
    the Trainer's checkpoints, so a run that resumes goes on with the same Delta, also from a callback without
    arguments under `restore_callback_states_from_checkpoint=True`.

    Args:
        schedule: keyword arguments of `ternzip.DeltaSchedule`; None: Delta stays as it was prepared.
        per_step: set Delta every step.
        carry_on: warn of a collapse instead of stopping.
    """

    def __init__(
        self, schedule: dict[str, Any] | None = None, *, per_step: bool = False, carry_on: bool = False
    ) -> None:
        self.arguments = None if schedule is None else dict(schedule)
        self.per_step = per_step
        self.carry_on = carry_on
        self._schedule: DeltaSchedule | None = None
        self._watch: CollapseWatch | None = None
        self._epoch: int | None = None

    def state(self) -> dict[str, Any]:
        """What the Trainer's checkpoints hold of this callback."""
        arguments = {"schedule": self.arguments, "per_step": self.per_step, "carry_on": self.carry_on}
        return {"args": arguments, "attributes": {}}

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **more: Any) -> None:
        """Find the prepared layers; TernzipError where there are none."""
        if not ternary_layers(model):
            raise TernzipError(
                "the model has no ternary layer: call ternzip.prepare before the Trainer is made"
            )
        self._watch = CollapseWatch(model, carry_on=self.carry_on)
        self._epoch = None
        if self.arguments is not None:
            self._schedule = DeltaSchedule(model, **self.arguments)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Set the epoch's Delta."""
        # Of data without a length, the Trainer's own count is behind when an epoch begins: 0.33 after one whole epoch.
        self._epoch = 1 + math.floor(state.epoch or 0) if self._epoch is None else self._epoch + 1
        if self._schedule is not None and not self.per_step:
            self._schedule.step(self._epoch)

    def on_step_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Set the step's Delta."""
        if self._schedule is not None and self.per_step:
            self._schedule.step(1 + (state.epoch or 0))

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Look at the gradients."""
        if self._watch is not None:
            self._watch.after_backward()

    def on_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **more: Any) -> None:
        """Clip the latent weights."""
        clip_latent_(model)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Any = None, model: Any = None, **more: Any
    ) -> None:
        """Count, watch, and add the figures to what is logged."""
        if logs is None or self._watch is None:
            return
        counts = count_layers(model)
        self._watch.after_counting(counts)
        total = sum(counts.values(), SymbolCounts())
        figures = {"sparsity": total.sparsity, "entropy": total.entropy}
        if self._schedule is not None:
            figures["delta"] = self._schedule.delta
        logs.update(figures)
        if state.log_history:  # the Trainer has put a copy there already
            state.log_history[-1].update(figures)
