"""Top-1 accuracy of any checkpoint. Needs no Lightning."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ternzip import models
from ternzip._core.errors import TernzipError
from ternzip._core.text import first_line
from ternzip.checkpoint.base import LATENT_MARK
from ternzip.models.spec import NetworkSpec
from ternzip.models.stored import input_dtype
from ternzip.training.batches import ImageBatches, normalize
from ternzip.training.datasets import dataset_of
from ternzip.training.images import Split
from ternzip.training.network import normalization, restore, spec_of
from ternzip.training.objective import right
from ternzip.training.recipe import Recipe
from ternzip.training.runs import read_run_checkpoint


@dataclass(frozen=True)
class Score:
    """How many of the images a network got right.

    Attributes:
        correct, images: how many, of how many.
        notes: lines for the person about what was done to the images on the way: scaled, set aside.
    """

    correct: int
    images: int
    notes: tuple[str, ...] = ()

    @property
    def accuracy(self) -> float:
        """Share of the images, in [0, 1]."""
        return self.correct / self.images


def evaluate(
    path: str | Path,
    recipe: Recipe,
    *,
    device: str | torch.device = "cpu",
    spec: NetworkSpec | None = None,
    arch: str | None = None,
    trust_arch: bool = False,
) -> Score:
    """Accuracy of a checkpoint on the test images of the recipe's data set.

    Leaves the global random generator alone.

    Args:
        path: any file ternzip reads that fits the recipe's architecture, or a run's .ckpt, whose own recipe then says
            all but where the data lie and how many images to take.
        recipe: the architecture and the data.
        device: where to compute.
        spec: what the file says of its network (`ternzip.models.read_spec`), to be taken instead of the recipe's
            architecture and normalization; images are brought to the size and the channels that it names.
        arch, trust_arch: the code that the user has named as the network's, or whether any may be run, see
            `NetworkSpec.check_consent`.

    Raises TernzipError when names, shapes or classes do not fit, for a device that is not there, and for a file whose
    network is made by code that the user has not agreed to.
    """
    device = usable_device(device)
    if Path(path).suffix == ".ckpt":
        run = read_run_checkpoint(path)
        given = {name: getattr(recipe, name) for name in ("data", "download", "test_images")}
        recipe = run.recipe.with_options(given)
        network = restore(run, path, arch=arch, trust_arch=trust_arch)
        spec = spec_of(recipe, run.dataset)
        dataset = dataset_of(recipe, spec)
    else:
        stored = models.StoredNetwork.read(path)
        if any(LATENT_MARK in name for name in stored.tensors):
            raise TernzipError(f"{path}: holds latent weights: evaluate the run's .ckpt or a converted model")
        if spec is not None:
            spec.check_consent(path, arch, trust_arch)
        dataset = dataset_of(recipe, spec)
        spec = spec or spec_of(recipe, dataset.info)
        network = stored.build(spec)
    mean, std = (spec.mean, spec.std) if spec.mean else normalization(recipe, dataset.info)
    found = score(network.to(device).eval(), dataset.test.sample(recipe.test_images), mean, std)
    return dataclasses.replace(found, notes=dataset.notes)


def score(network: nn.Module, split: Split, mean: tuple[float, ...], std: tuple[float, ...]) -> Score:
    """Top-1 of a network in evaluation mode, 500 images at a time, on its device; TernzipError where it takes none."""
    device, dtype = next(network.parameters()).device, input_dtype(network)
    correct = 0
    with torch.no_grad():
        for images, labels, _ in ImageBatches(split, 500):
            inputs = normalize(images.to(device), mean, std).to(dtype)
            try:
                scores = network(inputs)
            except Exception as error:  # whatever the network's own code raises
                raise TernzipError(
                    f"expected a network that takes images of shape {tuple(inputs.shape)}: {first_line(error)}"
                ) from error
            correct += int(right(scores.cpu(), labels).sum())
    return Score(correct, len(split))


def usable_device(device: str | torch.device) -> torch.device:
    """The device by that name; TernzipError unless this machine and this build of torch can compute on it."""
    try:
        torch.zeros(1, device=device).item()
    except Exception as error:  # every backend says in its own way that it is not there
        reason = first_line(error)
        raise TernzipError(f"device {str(device)!r} cannot be used: {reason}") from error
    return torch.device(device)
