"""What ternary training adds to a Lightning loop: Delta, clipping, counting, and the watch for collapse."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, RichProgressBar
from torch import nn

from ternzip._core.errors import TernzipError
from ternzip._core.symbols import SymbolCounts
from ternzip.quantization import DeltaSchedule, clip_latent_, count_layers, ternary_layers
from ternzip.training.collapse import CollapseWatch
from ternzip.training.sizes import project


class TernaryCallback(Callback):
    """For any LightningModule with prepared layers inside.

    Sets Delta for every epoch, or every step with `per_iteration` (for epochs of known length); clips the
    latent weights after every optimizer step; before every validation logs `delta`, `sparsity`, `entropy`
    (bits/weight) and `projected_bytes`; stops a training that has collapsed (TernzipError), unless `carry_on`.
    """

    def __init__(
        self, schedule: DeltaSchedule | None = None, *, per_iteration: bool = False, carry_on: bool = False
    ) -> None:
        self.schedule = schedule
        self.per_iteration = per_iteration
        self.carry_on = carry_on
        self._epoch: int | None = None  # whose Delta has been set, from 0

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Find the prepared layers."""
        self.ternary = bool(ternary_layers(pl_module))
        self.watch = CollapseWatch(pl_module, carry_on=self.carry_on)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin anew; TernzipError where no step could know its share of an epoch."""
        self._epoch = None
        if self.schedule is not None and self.per_iteration and math.isinf(trainer.num_training_batches):
            raise TernzipError(
                "per_iteration: the training data have no length, so Delta would not grow within an epoch: "
                "give the Trainer limit_train_batches=N, or TernaryCallback per_iteration=False"
            )

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Set Delta for the epoch or the step."""
        # A run that goes on from within an epoch does not begin with batch 0.
        if self.schedule is None or (self._epoch == trainer.current_epoch and not self.per_iteration):
            return
        self._epoch = trainer.current_epoch
        # The epoch alone decides, so a resumed run needs no state of its own.
        progress = batch_idx / trainer.num_training_batches if self.per_iteration else 0.0
        self.schedule.step(trainer.current_epoch + 1 + progress)

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        """Look at the gradients."""
        self.watch.after_backward()

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Clip the latent weights."""
        clip_latent_(pl_module)

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Count, watch and log."""
        if not self.ternary or trainer.sanity_checking:
            return
        counts = count_layers(pl_module)
        self.watch.after_counting(counts)
        total = sum(counts.values(), SymbolCounts())
        figures = {"sparsity": total.sparsity, "entropy": total.entropy}
        if self.schedule is not None:
            figures["delta"] = self.schedule.delta
        # Weights are replicated over processes: every process counts the same, and nothing is summed.
        for name, value in figures.items():
            pl_module.log(name, value, prog_bar=True)
        pl_module.log("projected_bytes", project(pl_module, counts).total, prog_bar=True)


class EpochLine(Callback):
    """One line an epoch on stdout, from the first process."""

    COLUMNS = (
        ("loss_epoch", "loss", "{:8.4f}"),
        ("test_loss", "test loss", "{:9.4f}"),
        ("accuracy", "accuracy", "{:8.2%}"),
        ("delta", "Delta", "{:8.4f}"),
        ("sparsity", "zeros", "{:8.2%}"),
        ("entropy", "bits/weight", "{:11.4f}"),
        ("projected_bytes", "file, bytes", "{:11,.0f}"),
    )

    def __init__(self) -> None:
        self.titled = False

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Print the line, below a heading the first time."""
        if not trainer.is_global_zero:
            return
        figures = trainer.callback_metrics
        shown = [(title, form, figures[key]) for key, title, form in self.COLUMNS if key in figures]
        cells = [form.format(float(value)) for _, form, value in shown]
        if not self.titled:
            print(
                "epoch", *(title.rjust(len(cell)) for (title, _, _), cell in zip(shown, cells, strict=True))
            )
            self.titled = True
        print(f"{trainer.current_epoch + 1:5d}", *cells, flush=True)


class LayerTable(Callback):
    """Every so many epochs, and after the last, a table of the ternary layers on stdout, from the first process.

    At most 80 columns wide: a name that is longer keeps its end.
    """

    NAME = 32

    def __init__(self, every: int) -> None:
        self.every = every

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Print the table if it is due."""
        epoch = trainer.current_epoch + 1
        if trainer.is_global_zero and (epoch % self.every == 0 or epoch == trainer.max_epochs):
            for line in self.lines(pl_module.model):
                print(line, flush=True)

    def lines(self, model: nn.Module) -> list[str]:
        """The heading and a line a layer.

        Delta is the threshold of both signs, or the lower and the upper one where they differ.
        """
        found = [f"      {'layer':<{self.NAME}} {'Delta':>13} {'zeros':>8} {'bits/weight':>11}"]
        counts = count_layers(model)
        for layer in ternary_layers(model):
            with torch.no_grad():
                low, high = (float(part) for part in layer.quantizer.thresholds(layer.latent))
            delta = (
                f"{high:.4f}" if abs(low + high) < 1e-6 * max(abs(high), 1e-6) else f"{low:.3f}, {high:.3f}"
            )
            name, count = layer.name, counts[layer.name]
            shown = name if len(name) <= self.NAME else f"...{name[3 - self.NAME :]}"
            found.append(
                f"      {shown:<{self.NAME}} {delta:>13} {count.sparsity:8.2%} {count.entropy:11.4f}"
            )
        return found


class LiveBar(RichProgressBar):
    """The bar of the running epoch with the loss of its last step: all else changes once an epoch, and has its line.

    So the bar takes one line of 80 columns, which is as long as it can be redrawn.
    """

    def get_metrics(self, trainer: Any, pl_module: Any) -> dict[str, Any]:
        """What stands behind the bar."""
        loss = super().get_metrics(trainer, pl_module).get("loss_step", math.nan)
        return {"loss": f"{float(loss):.4f}"}  # type: ignore[arg-type]

    def _get_train_description(self, current_epoch: int) -> str:
        """Epochs count from 1, as in the lines above the bar, and not from 0 as Lightning's do."""
        name = f"Epoch {current_epoch + 1}"
        if self.trainer.max_epochs is not None:
            name += f"/{self.trainer.max_epochs}"
        return name.ljust(len(self.validation_description))  # both bars begin in one column


class MovableCheckpoint(ModelCheckpoint):
    """A checkpoint in a folder that may have been moved since it was written, which resuming must not mistake.

    Lightning's own forgets the best accuracy then, and overwrites the best checkpoint by the next one that comes.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the state of a run that goes on here, wherever it was begun."""
        here = {**state_dict, "dirpath": self.dirpath}
        for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
            here[name] = self._moved(state_dict[name])
        known = state_dict["best_k_models"].items()
        here["best_k_models"] = {self._moved(path): score for path, score in known}
        super().load_state_dict(here)

    def _moved(self, path: str) -> str:
        return str(Path(str(self.dirpath)) / Path(path).name) if path else path


class ArmedEarlyStopping(EarlyStopping):
    """Early stopping on a figure that only begins to count once Delta has stopped growing."""

    def __init__(self, patience: int, figure: str = "accuracy", mode: str = "max") -> None:
        super().__init__(figure, mode=mode, patience=patience, check_on_train_epoch_end=False)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Train no further where the run that goes on had been stopped."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Judge the epoch, if Delta stands still."""
        if pl_module.delta_stands_still:
            super().on_validation_end(trainer, pl_module)
