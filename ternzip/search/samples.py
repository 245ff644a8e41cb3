"""Samples in memory: those that evaluations draw from, and those that nothing has seen before the end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset

from ternzip._core.errors import TernzipError
from ternzip._core.text import first_line
from ternzip.lowrank.passes import BATCH, modes_kept

SampleSource: TypeAlias = Tensor | tuple[Tensor, Tensor] | Iterable[Any]


@dataclass(frozen=True)
class Samples:
    """Inputs (n, ...), labels int64 (n,) or None, and the original network's outputs for them (n, classes)."""

    inputs: Tensor
    labels: Tensor | None
    outputs: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, index: Tensor) -> Samples:
        """Those of the indices, (m,)."""
        labels = None if self.labels is None else self.labels[index]
        return Samples(self.inputs[index], labels, self.outputs[index])


def gather(source: SampleSource, most: int | None = None) -> tuple[Tensor, Tensor | None]:
    """Inputs and labels of a tensor, a pair of tensors, or a loader of either, up to `most` samples.

    Raises TernzipError where there are none, for batches of different shapes, and for labels that are no class each.
    """
    if isinstance(source, Tensor):
        inputs, labels = source, None
    elif isinstance(source, tuple) and len(source) == 2 and all(isinstance(s, Tensor) for s in source):
        inputs, labels = source
    else:
        inputs, labels = _loaded(source, most)
    if not inputs.dim():
        raise TernzipError("samples: expected inputs of shape (n, ...), found a single number")
    if labels is not None:
        _check_labels(inputs, labels)
        labels = labels[:most].long().to("cpu")
    inputs = inputs[:most]
    if not len(inputs):
        raise TernzipError("samples: expected at least one, found none")
    return _channels_last(inputs.detach().to("cpu")), labels


def _check_labels(inputs: Tensor, labels: Tensor) -> None:
    # Labels of shape (n, 1) would be compared with (n,) answers each with each.
    if labels.dim() != 1:
        raise TernzipError(f"samples: expected labels of shape [{len(inputs)}], found {list(labels.shape)}")
    if len(labels) != len(inputs):
        raise TernzipError(f"samples: expected {len(inputs)} labels, found {len(labels)}")
    if labels.is_complex() or (labels.is_floating_point() and not torch.equal(labels, labels.trunc())):
        raise TernzipError("samples: expected whole numbers as labels, found others")


def _channels_last(inputs: Tensor) -> Tensor:
    """Images with their channels last in memory: convolutions on the CPU then take some two thirds of the time."""
    return inputs.contiguous(memory_format=torch.channels_last) if inputs.dim() == 4 else inputs


def _loaded(source: Iterable[Any], most: int | None) -> tuple[Tensor, Tensor | None]:
    inputs: list[Tensor] = []
    labels: list[Tensor] = []
    kind: type = type(source)
    if issubclass(kind, Dataset) and not issubclass(kind, IterableDataset):
        raise TernzipError(
            f"samples: expected batches, found single samples ({kind.__name__}): give a DataLoader of it"
        )
    for batch in source:
        pair = batch if isinstance(batch, tuple | list) else (batch,)
        if not pair or not all(isinstance(part, Tensor) for part in pair[:2]):
            raise TernzipError("samples: expected batches of a tensor, or of inputs and labels, found others")
        first = inputs[0] if inputs else pair[0]
        if not pair[0].dim() or pair[0].shape[1:] != first.shape[1:]:
            raise TernzipError(
                f"samples: expected batches of inputs of one shape, found {list(first.shape)} and "
                f"{list(pair[0].shape)}; inputs and labels of all samples are a tuple"
            )
        if len(pair) > 1:
            _check_labels(*pair[:2])
        inputs.append(pair[0])
        labels.extend(pair[1:2])
        if most is not None and sum(map(len, inputs)) >= most:
            break
    if not inputs:
        raise TernzipError("samples: expected at least one, found none")
    if labels and len(labels) != len(inputs):
        raise TernzipError(
            f"samples: expected labels with all batches or with none, found them with {len(labels)} of {len(inputs)}"
        )
    return torch.cat(inputs), torch.cat(labels) if labels else None


def outputs_of(model: nn.Module, inputs: Tensor) -> Tensor:
    """The model's outputs in eval mode, (n, classes), float64; modes are restored."""
    with modes_kept(model), torch.no_grad():
        model.eval()
        found = [model(batch) for batch in torch.split(inputs, BATCH)]
    if not all(isinstance(part, Tensor) and part.dim() == 2 for part in found):
        raise TernzipError("model: expected outputs of shape (batch, classes), found others")
    return torch.cat(found).double()


def samples_of(model: nn.Module, inputs: Tensor, labels: Tensor | None) -> Samples:
    """Samples with the original's outputs.

    Raises TernzipError where these hold NaN or infinity, for inputs that the model does not take, and for labels that
    are none of its classes.
    """
    try:
        outputs = outputs_of(model, inputs)
    except TernzipError:
        raise
    except Exception as error:  # whatever the model's own code raises
        raise TernzipError(
            f"samples: expected inputs that the model takes, found {inputs.dtype} of shape {list(inputs.shape)}: "
            f"{first_line(error)}"
        ) from error
    if not bool(outputs.isfinite().all()):
        raise TernzipError("model: expected finite outputs on the samples, found NaN or infinity")
    if labels is not None:
        classes, low, high = outputs.shape[1], int(labels.min()), int(labels.max())
        if low < 0 or high >= classes:
            raise TernzipError(
                f"samples: expected labels of 0 to {classes - 1}, as the model has outputs, found {low} to {high}"
            )
    return Samples(inputs, labels, outputs)


def drawn(samples: int, count: int, seed: int) -> Tensor:
    """Indices of `count` of so many samples, or of all, at random and in random order.

    The first ones would not do: data sets come sorted by class, as folders of images are read.
    """
    return torch.randperm(samples, generator=torch.Generator().manual_seed(seed))[:count]


def split(samples: Samples, held_out: float, seed: int) -> tuple[Samples, Samples]:
    """Those to search with, and a share that is held out, at random.

    Raises TernzipError where either side would have fewer than two.
    """
    order = drawn(len(samples), len(samples), seed)
    held = round(held_out * len(samples))
    if min(held, len(samples) - held) < 2:
        raise TernzipError(
            f"samples: expected at least 2 to search with and 2 held out, found {len(samples)} in all"
        )
    return samples.take(order[held:]), samples.take(order[:held])
