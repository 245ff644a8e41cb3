"""The network that a file holds: built as the file, or --arch, says, with the file's weights."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ternzip.lowrank import METADATA_KEY, Description, decode, fold_batch_norm, rebuild
from ternzip.models.own import is_own
from ternzip.models.spec import NetworkSpec
from ternzip.models.weights import fill, read_checkpoint

BATCH_NORM_KEY, FOLDED = "batch_norm", "folded"
"""Metadata of a file whose batch norms are part of the layers before them (`ternzip.lowrank.fold_batch_norm`)."""


def input_dtype(network: nn.Module) -> torch.dtype:
    """What a network is fed with, as in its training: images of the type of its first parameter."""
    return next((parameter.dtype for parameter in network.parameters()), torch.float32)


@dataclass(frozen=True)
class StoredNetwork:
    """What a file holds of a network.

    Attributes:
        path: the file, for messages.
        metadata: of the file.
        tensors: by name, on the CPU; those of a file of `ternzip search` are decoded.
        description: the layers of such a file.
    """

    path: str
    metadata: Mapping[str, str]
    tensors: Mapping[str, Tensor]
    description: Description | None

    @classmethod
    def read(cls, path: str | Path) -> StoredNetwork:
        """Any checkpoint ternzip reads. Runs no code from it; TernzipError for a missing, damaged or foreign file."""
        metadata, tensors = read_checkpoint(path)
        if METADATA_KEY not in metadata:
            return cls(str(path), metadata, tensors, None)
        description = Description.from_json(metadata[METADATA_KEY])
        return cls(str(path), metadata, decode(tensors, description), description)

    @property
    def is_folded(self) -> bool:
        """Whether its batch norms are part of the layers before them."""
        return self.metadata.get(BATCH_NORM_KEY) == FOLDED

    def build(self, spec: NetworkSpec) -> nn.Module:
        """The network with the file's weights, in evaluation mode, on the CPU; torch's generator stays as it was.

        A built-in architecture is built without memory (device "meta") and takes the file's own tensors where they
        fit, so that a file cannot ask for a network larger than itself. Code of the user's builds as it likes.

        Raises TernzipError where names or shapes do not match, naming the first that does not.
        """
        own = is_own(spec.arch)
        with torch.random.fork_rng(devices=[]), nullcontext() if own else torch.device("meta"):
            network = spec.build()
            if self.is_folded:
                network = fold_batch_norm(network, torch.zeros(1, *spec.image_shape))
            if self.description is not None:
                rebuild(network, self.description)
        fill(network, self.tensors, self.path, in_place=own)
        return network.eval()
