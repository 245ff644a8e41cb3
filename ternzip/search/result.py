"""What a search has found."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from ternzip.io.atomic import atomic_file
from ternzip.search.certificate import Certificate, Confirmation
from ternzip.search.network import CompressedNetwork
from ternzip.search.problem import Evaluation
from ternzip.search.runoff import Finalist


@dataclass(frozen=True)
class Score:
    """A network on the held-out samples: L, its standard error, and accuracy where there are labels."""

    bytes: int
    loss: float
    standard_error: float
    accuracy: float | None


@dataclass(frozen=True)
class Visited:
    """One evaluated setting, and what the model says of it in the end (None without a model)."""

    number: int
    point: tuple[float, ...]
    evaluation: Evaluation
    mean: float | None
    deviation: float | None


@dataclass(frozen=True)
class SearchResult:
    """The best network found, and how it was found.

    Attributes:
        network: the compressed network; `model` is an ordinary module in eval mode.
        data: its .tnz file.
        theta: of each searched layer.
        dense: the original on the held-out samples; bytes are those of the float32 file.
        best: the compressed network before fine-tuning, on the same samples.
        uniform: one number for all layers, likewise: of the target's size, or of the best's.
        finetuned: after fine-tuning; None where none was asked for, or it was given up.
        certificate: None where the evaluations were over before.
        confirmations: all that were tried, those that failed too.
        visited: every evaluation of the study in order; those of the runoff are not among them.
        runoff: the finalists, the best first; empty where there were too few evaluations for one.
        chosen: the point of `best`: the runoff's winner, else the incumbent.
        parameters: the study's names of them.
        target: bytes asked for, or None.
        settings: of the search, for the report.
        seconds: of this call; earlier ones on the same study not counted.
        notes: what else there is to know, a line each: layers that were left alone, fine-tuning that was given up.
    """

    network: CompressedNetwork = field(repr=False)
    data: bytes = field(repr=False)
    theta: dict[str, float]
    dense: Score
    best: Score
    uniform: Score
    finetuned: Score | None
    certificate: Certificate | None
    confirmations: list[Confirmation] = field(repr=False)
    visited: list[Visited] = field(repr=False)
    runoff: list[Finalist] = field(repr=False)
    chosen: tuple[float, ...]
    parameters: list[str] = field(repr=False)
    target: int | None
    settings: dict[str, object] = field(repr=False)
    seconds: float
    notes: list[str] = field(default_factory=list, repr=False)

    @property
    def model(self) -> nn.Module:
        """The compressed network, ready to run."""
        return self.network.model

    @property
    def bytes(self) -> int:
        """Size of the file."""
        return len(self.data)

    def save(self, path: str | Path) -> None:
        """Writes the .tnz file; `ternzip.lowrank.load_compressed` reads it into the dense architecture."""
        with atomic_file(path) as stream:
            stream.write(self.data)
