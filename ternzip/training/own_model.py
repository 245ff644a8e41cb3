"""Training of a model that the caller made: on a copy, so that an interrupted run leaves it as it was."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from ternzip import models
from ternzip._core.errors import TernzipError
from ternzip._core.text import first_line
from ternzip.io.tensors import shared_views
from ternzip.quantization import quantize_inputs, ternary_layers, ternary_state
from ternzip.quantization.activations import stored_quantizers
from ternzip.training.feeds import Feed
from ternzip.training.learner import Learner
from ternzip.training.network import check_norms, load_state, make_ternary
from ternzip.training.objective import Objective
from ternzip.training.recipe import Recipe
from ternzip.training.runs import RunCheckpoint, read_run_checkpoint
from ternzip.training.trainer import Result, run


def train_model(
    model: nn.Module,
    recipe: Recipe,
    out: str | Path,
    feed: Callable[[], Feed],
    objective: Objective,
    *,
    resume: bool = False,
    force: bool = False,
) -> Result | None:
    """Train a model as `ternzip.training.trainer.run` does; it then has the ternary weights of the last epoch.

    And its ternary activations, where the recipe has them.

    In processes other than the first it stays as it was.
    """

    for name, entry in model.state_dict().items():
        if not isinstance(entry, Tensor):  # which the .tnz files cannot hold
            raise TernzipError(
                f"{type(model).__name__}: {name}: expected a tensor, found {type(entry).__name__}"
            )
    _check_ties(model)
    for layer in ternary_layers(model)[:1]:
        raise TernzipError(
            f"{type(model).__name__}: layer {layer.name} is prepared already: expected a model as it was before "
            "ternzip.prepare, which training calls itself, by its options"
        )

    def make() -> Learner:
        torch.manual_seed(recipe.seed)
        network = _copy(model)
        if recipe.init is not None and not resume:  # whose weights a checkpoint replaces
            models.load_weights(network, recipe.init)
            check_norms(network, recipe)
        teacher = None
        if recipe.teacher is not None:
            teacher = models.load_weights(_copy(model), recipe.teacher).requires_grad_(False).eval()
        prepared = make_ternary(network, recipe)
        return Learner(recipe, prepared, feed(), objective=objective, teacher=teacher, resumed=resume)

    def restored(checkpoint: RunCheckpoint, source: str) -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of how the weights start that are replaced below
            network = make_ternary(_copy(model).cpu(), recipe)
        return load_state(network, checkpoint.state, source)

    result = run(make, recipe, out, restored=restored, resume=resume, force=force)
    if result is not None:
        last = Path(out) / "last.ckpt"
        state = ternary_state(restored(read_run_checkpoint(last), str(last)))
        quantize_inputs(model, stored_quantizers(state))
        model.load_state_dict(state)
    return result


def _check_ties(model: nn.Module) -> None:
    """TernzipError for parameters that are one by their memory alone: of a copy they are two, and trained apart."""
    for name, first in shared_views(dict(model.named_parameters())):
        raise TernzipError(
            f"{type(model).__name__}: {first} and {name} are two parameters in the same memory: expected one "
            "parameter under both names"
        )


def _copy(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as error:  # whatever a module of the user's does not let itself be copied for
        reason = first_line(error)
        raise TernzipError(f"{type(model).__name__}: the model cannot be copied: {reason}") from error
