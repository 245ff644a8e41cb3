"""Commands that train and evaluate: demo, train, eval, plot. Heavy imports wait until a command runs."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ternzip._core.errors import TernzipError
from ternzip.cli.app import UsageError, app
from ternzip.training.recipe import PRESETS, Recipe, flag, kind, preset, read_toml

if TYPE_CHECKING:
    from ternzip.training.run import Stored


def recipe_options(*panels: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of a Recipe, of some panels or all; those the user set are its `options`."""
    entries = [
        entry for entry in dataclasses.fields(Recipe) if not panels or entry.metadata["panel"] in panels
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        own = [p for p in signature.parameters.values() if p.name != "options"]
        names = {parameter.name for parameter in own}

        @functools.wraps(command)
        def run(**given: Any) -> None:
            options = {
                name: value for name, value in given.items() if name not in names and value is not None
            }
            command(options=options, **{name: value for name, value in given.items() if name in names})

        keywords = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        keywords += [_parameter(entry) for entry in entries]
        run.__signature__ = signature.replace(parameters=keywords)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in keywords}
        return run

    return decorate


def as_usage(check: Callable[[Any], Recipe], given: Any) -> Recipe:
    """check(given), what a person typed: an error in it is one of usage."""
    try:
        return check(given)
    except TernzipError as error:
        raise UsageError(str(error)) from error


def _parameter(entry: dataclasses.Field[Any]) -> inspect.Parameter:
    notes = []
    if entry.metadata["choices"]:
        notes.append(" | ".join(entry.metadata["choices"]))
    if isinstance(entry.default, bool):
        notes.append(f"default {'yes' if entry.default else 'no'}")
    elif entry.default in (None, ()):
        notes.append(f"default {entry.metadata['unset']}")
    else:
        notes.append(f"default {entry.default}")
    expected = kind(entry.name)
    hint: Any = list[str] if expected is tuple else expected
    # What is off by default needs no flag to turn it off.
    names = [flag(entry.name)] if entry.default is False else []
    option = typer.Option(
        *names,
        help=entry.metadata["help"] + (f" ({'; '.join(notes)})" if notes else ""),
        rich_help_panel=entry.metadata["panel"],
        show_default=False,
    )
    return inspect.Parameter(
        entry.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[hint | None, option]
    )


@app.command()
@recipe_options()
def train(
    out: Annotated[Path, typer.Option(help="Folder of the run: checkpoints, .tnz files, logs.")] = Path(
        "run"
    ),
    preset_name: Annotated[
        str, typer.Option("--preset", help=f"Recipe to start from: {' | '.join(PRESETS)}.")
    ] = "paper",
    config: Annotated[
        Path | None, typer.Option(help="TOML file of options, named as the flags are; flags win over it.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Start anew in a folder that holds a run.")] = False,
    options: dict[str, Any] = {},  # noqa: B006 - read only
) -> None:
    """Train a ternary network; then write its .tnz files and compare their size with the prediction.

    The default is the paper's recipe, hours on a GPU; `--preset quick` takes about ten minutes on a CPU.
    """
    recipe = as_usage(preset, preset_name)
    if resume and (out / "last.ckpt").is_file():
        from ternzip.training.run import stored_recipe

        recipe = stored_recipe(out / "last.ckpt")
    if config is not None:
        recipe = recipe.with_options(read_toml(config), source=str(config))
    recipe = as_usage(recipe.with_options, options)
    try:
        from ternzip.training.run import train as run
    except ImportError as error:
        raise TernzipError("training needs Lightning: pip install 'ternzip[train]'") from error
    result = run(recipe, out, resume=resume, force=force)
    if result is not None:
        for label, stored in (("best", result.best), ("last", result.last)):
            print_stored(label, stored)


def print_stored(label: str, stored: Stored) -> None:
    """One line: accuracy, zeros, and the file's size as predicted and as it is."""
    bits = 8 * stored.ternary / stored.weights if stored.weights else 0.0
    print(
        f"{label}: epoch {stored.epoch}, accuracy {stored.accuracy:.2%}, zeros {stored.sparsity:.2%}; "
        f"ternary weights {stored.predicted:,.0f} bytes predicted, {stored.ternary:,} real ({bits:.3f} bit/weight); "
        f"{stored.path}: {stored.file:,} bytes"
    )


@app.command(name="eval")
@recipe_options("Model", "Data")
def evaluate(
    file: Annotated[Path, typer.Argument(help=".tnz, .pt, .safetensors, or a run's .ckpt.")],
    device: Annotated[str, typer.Option(help="Torch device: cpu, cuda, ...")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    options: dict[str, Any] = {},  # noqa: B006 - read only
) -> None:
    """Top-1 accuracy of a checkpoint on a data set's test images."""
    from ternzip.training import run as training

    score = training.evaluate(file, as_usage(Recipe().with_options, options), device=device)
    if as_json:
        print(json.dumps({**dataclasses.asdict(score), "accuracy": score.accuracy}))
    else:
        print(f"{file}: {score.correct:,} of {score.images:,} images right: accuracy {score.accuracy:.2%}")


@app.command()
def plot(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders that ternzip train wrote.")],
    out: Annotated[Path, typer.Option(help="Folder for the figures.")] = Path("figures"),
    figure: Annotated[
        list[str] | None,
        typer.Option(help="1 weights, 3 accuracy over epochs, 4 against zeros and entropy, 5 against speed."),
    ] = None,
) -> None:
    """Draw the paper's figures 1, 3, 4 and 5 from the logs of runs, as PNG and SVG."""
    from ternzip.training import plotting
    from ternzip.training.runs import read_run_folder

    found = [read_run_folder(folder) for folder in runs]
    for path in plotting.draw(found, out, figure or list(plotting.FIGURES)):
        print(path)


@app.command()
def demo(
    folder: Annotated[
        Path, typer.Argument(help="Where digits.tnz and its picture go; made if missing.")
    ] = Path("ternzip-demo"),
    epochs: Annotated[int, typer.Option(min=1, help="Training length, in epochs.")] = 30,
    seed: Annotated[int, typer.Option(help="Seed of initialization and shuffling.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Train a small ternary network, store it, restore it and compare; under a minute, no download."""
    path = folder / "digits.tnz"
    if path.exists() and not force:
        raise TernzipError(f"{path}: exists already: choose another folder, or --force to replace it")

    from ternzip.training import demo as story

    print(f"{'epoch':>5} {'loss':>7} {'accuracy':>9} {'Delta':>6} {'zeros':>7} {'entropy':>14}")

    def line(e: story.Epoch) -> None:
        row = f"{e.epoch:5d} {e.loss:7.3f} {e.accuracy:9.2%} {e.delta:6.3f} {e.counts.sparsity:7.2%}"
        print(f"{row} {e.counts.entropy:5.3f} bit/weight", flush=True)

    model, history = story.train_digits(epochs, seed, line)
    told = story.tell(model, history, folder)
    same = {True: "identical, bit for bit", False: "DIFFERENT"}
    overhead = told.ternary / told.predicted - 1
    for label, text in (
        ("ternary weights", f"{told.weights:,}"),
        ("predicted by entropy", f"{told.predicted:,.0f} bytes"),
        (
            "really taken",
            f"{told.ternary:,} bytes ({overhead:+.1%}), {8 * told.ternary / told.weights:.3f} bit/weight",
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
