"""Commands that train and evaluate: demo, train, eval, plot. Heavy imports wait until a command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ternzip.cli.app import app


@app.command()
def demo(
    folder: Annotated[
        Path, typer.Argument(help="Where digits.tnz and its picture go; made if missing.")
    ] = Path("ternzip-demo"),
    epochs: Annotated[int, typer.Option(min=1, help="Training length, in epochs.")] = 30,
    seed: Annotated[int, typer.Option(help="Seed of initialization and shuffling.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Train a small ternary network on digits, store it, restore it and compare: under a minute, no network."""
    from ternzip.errors import TernzipError

    path = folder / "digits.tnz"
    if path.exists() and not force:
        raise TernzipError(f"{path}: exists already: choose another folder, or --force to replace it")

    from ternzip import demo as story

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
