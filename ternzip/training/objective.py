"""What a run tries to make small, and by what its best epoch is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor
from torch.nn import functional as F

from ternzip._core.errors import TernzipError

Loss = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True)
class Objective:
    """A task: by default the classes of samples.

    Attributes:
        loss: of outputs and targets, the mean over a batch, 0-d.
        accuracy: whether outputs are scores (batch, classes) of which the largest is to be the target's. The best epoch
            is then the most accurate one on the test samples, and else that of the least loss.
    """

    loss: Loss = F.cross_entropy
    accuracy: bool = True

    @property
    def monitor(self) -> tuple[str, Literal["max", "min"]]:
        """The figure that the best epoch is told by, and whether it is the "max" or the "min" of it."""
        return ("accuracy", "max") if self.accuracy else ("test_loss", "min")

    def loss_of(self, outputs: Any, targets: Tensor) -> Tensor:
        """The loss of a batch, 0-d; TernzipError for a target that is no class, where torch notices it: on a CPU."""
        try:
            return self.loss(outputs, targets)
        except IndexError:
            if self.accuracy:
                check_labels(targets, outputs.shape[1])
            raise


def right(scores: Tensor, labels: Tensor) -> Tensor:
    """Whether each sample has its largest score for its class, (batch,); never with a NaN, which argmax would find."""
    return (scores.argmax(1) == labels) & ~scores.isnan().any(1)


def check_labels(labels: Tensor, classes: int) -> None:
    """TernzipError for a label that is no class."""
    least, largest = int(labels.min()), int(labels.max())
    if least < 0 or largest >= classes:
        raise TernzipError(
            f"expected targets from 0 to {classes - 1}, found {least if least < 0 else largest}"
        )
