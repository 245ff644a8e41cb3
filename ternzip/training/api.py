"""`ternzip.train`: what the command `ternzip train` does, from Python, and for models and data of one's own."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ternzip._core.errors import TernzipError
from ternzip._core.extras import require
from ternzip._core.text import first_line
from ternzip.training.recipe import Recipe, recipe_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ternzip.training.trainer import Result

# Options that say what is trained and on what; a caller who gives these has no use for them.
OF_NETWORKS = ("arch", "arch_arg")
OF_IMAGES = (
    *("dataset", "data", "download", "image_size", "image_fit", "test_share"),
    *("augment", "mirror", "statistics", "train_images", "test_images"),
)


def train(
    model: nn.Module | None = None,
    train: Any = None,
    test: Any = None,
    *,
    out: str | Path = "run",
    loss: Callable[[Any, Tensor], Tensor] | None = None,
    accuracy: bool | None = None,
    preset: str | None = None,
    resume: bool = False,
    force: bool = False,
    trust_arch: bool = False,
    **options: Any,
) -> Result | None:
    """Train a ternary network; what comes of it is in the folder `out`, as after the command `ternzip train`.

    The model is prepared, trained, clipped and counted epoch by epoch. At the end the .tnz files of the best and the
    last epoch are written, and it holds the ternary weights of the last: the bits of `out`/last.tnz. Until then it is
    left alone, as a copy is trained.

    Args:
        model: what to train; without one, the architecture that the option `arch` names.
        train: training samples: a pair of tensors (inputs, targets), a Dataset of such pairs, or a DataLoader, whose
            batches are used as they come. Without them, images from the folder of the option `data`.
        test: test samples, likewise; the best epoch is told by them.
        out: folder of the run.
        loss: of the model's outputs and the targets, the mean over a batch, 0-d; by default the cross entropy.
        accuracy: whether outputs are scores (batch, classes) whose largest is to be the target's: the best epoch is
            then the most accurate one, and else that of the least test loss. By default yes, for no other `loss`.
        preset: recipe to start from: "paper", "quick" or "own"; by default "own" for a model.
        resume: go on from `out`, with the options that the run began with.
        force: start anew in a folder that holds a run.
        trust_arch: resume a run whose architecture is code, without `arch` naming it again.
        **options: of `ternzip train`, by their names with _ for -: epochs, batch_size, quantizer, skip, lr, ...

    Returns the result (`best`, `last`, `history`, `path`) in the first process and None in the others. Raises
    TernzipError, in terms of the command's flags, for an option that makes no sense or would not be used, for samples
    and models that do not fit, and as `ternzip.training.trainer.run` does.
    """
    require("training", "train", "lightning")
    if (train is None) != (test is None) or (train is not None and model is None):
        lacking = "model" if model is None else "train" if train is None else "test"
        raise TernzipError(f"{lacking}: expected a model, training and test samples together, found None")
    _check_unused(options, OF_NETWORKS if model is not None else (), "a model")
    _check_unused(options, OF_IMAGES if train is not None else (), "samples")
    if _are_loaders(train, test) and any(name.replace("-", "_") == "batch_size" for name in options):
        raise TernzipError("batch_size: not used with DataLoaders, which have their own")
    if train is None and (loss is not None or accuracy is not None):
        raise TernzipError("loss, accuracy: not used with a folder of images, whose task is their classes")
    if model is not None:
        options["arch"] = f"<{re.sub(r'[^A-Za-z0-9_]', '_', type(model).__name__)}>"
    from ternzip.training.runs import recipe_to_resume

    last = Path(out) / "last.ckpt"
    start = recipe_to_resume(last, options, trust_arch=trust_arch) if resume and last.is_file() else None
    recipe = recipe_of(options, preset, start=start)
    if model is None:
        from ternzip.training import trainer

        return trainer.train(recipe, out, resume=resume, force=force)
    return _train_model(model, train, test, recipe, out, loss, accuracy, resume, force)


def _train_model(
    model: nn.Module,
    train: Any,
    test: Any,
    recipe: Recipe,
    out: str | Path,
    loss: Callable[[Any, Tensor], Tensor] | None,
    accuracy: bool | None,
    resume: bool,
    force: bool,
) -> Result | None:
    from ternzip.training.datasets import dataset_of
    from ternzip.training.feeds import Feed, ImageFeed
    from ternzip.training.objective import Objective
    from ternzip.training.own_data import SampleFeed, check_images
    from ternzip.training.own_model import train_model

    objective = Objective(accuracy=loss is None if accuracy is None else accuracy)
    if loss is not None:
        objective = Objective(loss, objective.accuracy)

    def feed() -> Feed:
        made = ImageFeed(recipe, dataset_of(recipe)) if train is None else SampleFeed(recipe, train, test)
        try:
            if isinstance(made, ImageFeed):
                check_images(made, model, objective)
            else:
                made.check(model, objective)
        except TernzipError:
            raise
        except Exception as error:  # every model and loss fails in its own way
            reason = first_line(error)
            raise TernzipError(
                f"{type(model).__name__}: the model or its loss does not take the first test samples: {reason}"
            ) from error
        return made

    return train_model(model, recipe, out, feed, objective, resume=resume, force=force)


def _are_loaders(*samples: Any) -> bool:
    from torch.utils.data import DataLoader

    return all(isinstance(part, DataLoader) for part in samples)


def _check_unused(options: dict[str, Any], names: tuple[str, ...], given: str) -> None:
    for name in options:
        if name.replace("-", "_") in names:
            raise TernzipError(f"{name}: not used with {given} of one's own")
