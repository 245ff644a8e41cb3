"""Commands that train and evaluate: demo, train, eval, plot. Heavy imports wait until a command runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ternzip._core.errors import TernzipError
from ternzip._core.extras import require
from ternzip.cli.app import UsageError, app
from ternzip.cli.console import say
from ternzip.cli.networks import TrustArch, in_file
from ternzip.cli.recipe_options import recipe_options
from ternzip.cli.reports import print_json
from ternzip.models.own import is_own
from ternzip.training.options import flag, read_toml
from ternzip.training.recipe import PRESETS, Recipe, recipe_of

if TYPE_CHECKING:
    from ternzip.training.trainer import Stored

Given = TypeVar("Given")
Made = TypeVar("Made")
MOST_SEED = 4_000_000_000  # as a recipe's
# What evaluating takes of a recipe; the last few hold for a checkpoint with a recipe of its own as well.
NETWORK_OPTIONS = ("arch_arg", "inflate", "activation", "signed_activations")
PICTURE_OPTIONS = ("image_size", "image_fit", "test_share")
PLACE_OPTIONS = ("data", "download", "test_images")
EVAL_OPTIONS = ("arch", *NETWORK_OPTIONS, "dataset", "statistics", *PICTURE_OPTIONS, *PLACE_OPTIONS)


def as_usage(check: Callable[[Given], Made], given: Given) -> Made:
    """check(given), what a person typed: an error in it is one of usage."""
    try:
        return check(given)
    except TernzipError as error:
        raise UsageError(str(error)) from error


@app.command()
@recipe_options()
def train(
    out: Annotated[Path, typer.Option(help="Folder of the run: checkpoints, .tnz files, logs.")] = Path(
        "run"
    ),
    preset_name: Annotated[
        str | None,
        typer.Option(
            "--preset",
            help=f"Recipe to start from: {' | '.join(PRESETS)}.",
            show_default="paper, or own for --arch MODULE:FUNCTION",
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML file of options, named as the flags are; flags win over it.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Start anew in a folder that holds a run.")] = False,
    trust_arch: TrustArch = False,
    options: dict[str, Any] = {},  # noqa: B006 - read only
) -> None:
    """Train a ternary network; then write its .tnz files and compare their size with the prediction.

    The default is the paper's recipe, hours on a GPU; `--preset quick` takes about ten minutes on a CPU.
    """
    if config is not None:
        options = {**read_toml(config), **options}  # flags win over the file
    recipe = None
    if resume and (out / "last.ckpt").is_file():
        from ternzip.training.runs import recipe_to_resume

        recipe = recipe_to_resume(out / "last.ckpt", options, trust_arch=trust_arch)
    try:
        recipe = recipe_of(options, preset_name, "options" if config is None else str(config), start=recipe)
    except TernzipError as error:
        named = config is None or str(error).startswith(f"{config}: ")
        raise UsageError(str(error) if named else f"{error} ({config})") from error
    require("training", "train", "lightning")
    if recipe.fast:
        from ternzip.training.memory import keep_freed_memory

        keep_freed_memory()
    from ternzip.training.trainer import train as run

    result = run(recipe, out, resume=resume, force=force)
    if result is not None:
        for label, stored in (("best", result.best), ("last", result.last)):
            print_stored(label, stored)


def print_stored(label: str, stored: Stored) -> None:
    """Two lines: accuracy, zeros and file; the size of the ternary weights as predicted and as it is."""
    bits = 8 * stored.ternary / stored.weights if stored.weights else 0.0
    reached = f"loss {stored.loss}" if stored.accuracy is None else f"accuracy {stored.accuracy:.2%}"
    print(
        f"{label}: epoch {stored.epoch}, {reached}, zeros {stored.sparsity:.2%}, "
        f"{stored.path}: {stored.file:,} bytes\n"
        f"      ternary weights: {stored.predicted:,.0f} bytes predicted, {stored.ternary:,} real "
        f"({bits:.3f} bits/weight)"
    )


@app.command(name="eval")
@recipe_options(*EVAL_OPTIONS)
def evaluate(
    file: Annotated[Path, typer.Argument(help=".tnz, .pt, .safetensors, or a run's .ckpt.")],
    device: Annotated[str, typer.Option(help="Torch device: cpu, cuda, ...")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    trust_arch: TrustArch = False,
    options: dict[str, Any] = {},  # noqa: B006 - read only
) -> None:
    """Top-1 accuracy of a checkpoint on a data set's test images.

    A run's files know their own architecture, and how its images are normalized.
    """
    recipe = as_usage(Recipe().with_options, options)
    as_usage(recipe.check_used, list(options))
    if file.suffix == ".ckpt":
        for name in options:
            if name not in PLACE_OPTIONS and not (name == "arch" and is_own(recipe.arch)):
                allowed = ", ".join(map(flag, PLACE_OPTIONS))
                raise UsageError(f"{flag(name)}: a run's .ckpt has its own recipe: expected only {allowed}")
    from ternzip.training import evaluation

    place = as_usage(evaluation.usable_device, device)
    spec = None
    if file.suffix != ".ckpt":
        spec = in_file(file, options.get("arch"), changed=not set(NETWORK_OPTIONS).isdisjoint(options))
        if spec is not None:  # what is given wins over what the file says
            given: dict[str, Any] = dict.fromkeys({"image_fit", "test_share"}.intersection(options))
            if "statistics" in options:
                given |= {"mean": (), "std": ()}
            spec = dataclasses.replace(spec, **given)
    score = evaluation.evaluate(
        file,
        recipe,
        device=place,
        spec=spec,
        arch=options.get("arch"),
        trust_arch=trust_arch,
    )
    for note in score.notes:
        say(note)
    if as_json:
        print_json({"correct": score.correct, "images": score.images, "accuracy": score.accuracy})
    else:
        print(f"{file}: {score.correct:,} of {score.images:,} images right: accuracy {score.accuracy:.2%}")


@app.command()
def plot(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders that ternzip train wrote.")],
    out: Annotated[Path, typer.Option(help="Folder for the figures.")] = Path("figures"),
    figure: Annotated[
        list[str] | None,
        typer.Option(
            help="1 weights, 2 accuracy for fixed Deltas, 3 accuracy over epochs, 4 against zeros and entropy, "
            "5 against speed; repeatable. Default: all that the runs allow."
        ),
    ] = None,
    formats: Annotated[
        str, typer.Option("--format", help="Formats of the files: png, svg, pdf, with commas between them.")
    ] = "png,svg",
    size: Annotated[
        str | None,
        typer.Option(help="Width x height in inches, as 3.5x2.5.", show_default="each figure's own"),
    ] = None,
    trust_arch: Annotated[
        bool, typer.Option("--trust-arch", help="Run code that the runs name as their network's.")
    ] = False,
) -> None:
    """Draw the paper's figures from the checkpoints of runs."""
    inches = None if size is None else _inches(size)
    require("drawing", "train", "matplotlib")
    from ternzip.training import plotting
    from ternzip.training.runs import read_run_folder

    found = [read_run_folder(folder, trust_arch=trust_arch) for folder in runs]
    for name in figure or plotting.FIGURES:
        try:
            for path in plotting.draw(found, out, name, formats=formats.split(","), size=inches):
                print(path)
        except plotting.NothingToDraw as error:
            if figure:
                raise
            say(f"figure {name} is not drawn: {error}")


def _inches(text: str) -> tuple[float, float]:
    try:
        width, height = (float(part) for part in text.lower().split("x"))
    except ValueError:
        width = height = 0.0
    if not (0.5 <= width <= 100 and 0.5 <= height <= 100):
        raise UsageError(
            f"--size: expected width x height in inches, 0.5 to 100 each, as 3.5x2.5, found {text!r}"
        )
    return width, height


@app.command()
def demo(
    folder: Annotated[
        Path, typer.Argument(help="Where digits.tnz and its picture go; made if missing.")
    ] = Path("ternzip-demo"),
    epochs: Annotated[int, typer.Option(min=1, help="Training length, in epochs.")] = 30,
    seed: Annotated[
        int, typer.Option(min=0, max=MOST_SEED, help="Seed of initialization and shuffling.")
    ] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Train a small ternary network, store it, restore it and compare; under a minute, no download."""
    path = folder / "digits.tnz"
    if path.exists() and not force:
        raise TernzipError(f"{path}: exists already: choose another folder, or --force to replace it")

    require("the demo", "demo", "sklearn", "matplotlib")  # before a minute of training
    from ternzip.io.atomic import make_folder
    from ternzip.training import demo as story

    make_folder(folder)
    print(f"{'epoch':>5} {'loss':>7} {'accuracy':>9} {'Delta':>6} {'zeros':>7} {'entropy':>17}")

    def line(e: story.Epoch) -> None:
        row = f"{e.epoch:5d} {e.loss:7.3f} {e.accuracy:9.2%} {e.delta:6.3f} {e.counts.sparsity:7.2%}"
        print(f"{row} {e.counts.entropy:5.3f} bits/weight", flush=True)

    model, history = story.train_digits(epochs, seed, line)
    told = story.tell(model, history, folder)
    same = {True: "identical, bit for bit", False: "DIFFERENT"}
    overhead = told.ternary / told.predicted - 1
    for label, text in (
        ("ternary weights", f"{told.weights:,}"),
        ("predicted by entropy", f"{told.predicted:,.0f} bytes"),
        (
            "really taken",
            f"{told.ternary:,} bytes ({overhead:+.1%}), {8 * told.ternary / told.weights:.3f} bits/weight",
        ),
        (
            "whole file",
            f"{told.file:,} bytes, {told.dense / told.file:.1f} x smaller than {told.dense:,} in 32-bit",
        ),
        ("restored tensors", same[told.identical_tensors]),
        ("outputs on the test images", same[told.identical_outputs]),
        ("file", str(told.path)),
        ("picture", str(told.picture)),
    ):
        print(f"{label:>27}  {text}")
    if not (told.identical_tensors and told.identical_outputs):
        raise TernzipError(f"{told.path}: what was read back differs from what was written")
