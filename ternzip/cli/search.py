"""search: the best network of a file's size. Heavy imports wait until the command runs."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ternzip._core.errors import TernzipError
from ternzip._core.extras import require
from ternzip.cli.app import UsageError, app
from ternzip.cli.console import say
from ternzip.cli.networks import Arch, ArchArg, TrustArch, in_file
from ternzip.search.choices import ENGINES, METHODS, REPORT_SUFFIXES, Engine, LossName, Method, Share
from ternzip.training.catalog import AUTO, Statistics, statistics_for

if TYPE_CHECKING:
    from ternzip.search.problem import Evaluation
    from ternzip.search.result import Score, SearchResult
    from ternzip.search.study import OnTrial


_OBJECTIVE, _ENGINE, _AFTER = "Objective", "Engine", "Afterwards"


@app.command()
def search(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A trained network: .pt, .safetensors or .tnz.")
    ],
    arch: Arch = None,
    arch_arg: ArchArg = None,
    trust_arch: TrustArch = False,
    out: Annotated[Path, typer.Option(help="The .tnz file; its report goes beside it.")] = Path("best.tnz"),
    dataset: Annotated[
        str, typer.Option(help="Data set, or layout of its files, as of ternzip train; auto: what is found.")
    ] = AUTO,
    data: Annotated[Path, typer.Option(help="Folder of its files.")] = Path("data"),
    download: Annotated[
        bool, typer.Option("--download", help="Fetch missing files first, md5-checked.")
    ] = False,
    statistics: Annotated[
        Statistics | None,
        typer.Option(
            help="Whose mean and deviation normalize CIFAR; none leaves all images in 0 to 1.",
            show_default="what the file says, or imagenet",
        ),
    ] = None,
    images: Annotated[
        int, typer.Option(min=2, help="Training images to draw from and to fine-tune on, so many at random.")
    ] = 10_000,
    target_size: Annotated[
        str | None,
        typer.Option(
            help="Bytes the file may have: 200KB, 96KiB, ...",
            show_default="smallest kappa L + R instead",
            rich_help_panel=_OBJECTIVE,
        ),
    ] = None,
    method: Annotated[
        Method,
        typer.Option(
            metavar="NAME",
            help=f"What may be done to a layer: {', '.join(METHODS)}.",
            rich_help_panel=_OBJECTIVE,
        ),
    ] = "all",
    loss: Annotated[
        LossName,
        typer.Option(
            metavar="NAME",
            help="Distance from the original; or on labels, error or cross-entropy.",
            rich_help_panel=_OBJECTIVE,
        ),
    ] = "distance",
    kappa: Annotated[
        float, typer.Option(min=0, help="Weight of L beside R.", rich_help_panel=_OBJECTIVE)
    ] = 1.0,
    samples: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Fresh samples an evaluation.",
            show_default="an eighth of them, 50 to 400",
            rich_help_panel=_OBJECTIVE,
        ),
    ] = None,
    skip: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Keep layers of this name at 8 bits; repeatable.",
            rich_help_panel=_OBJECTIVE,
        ),
    ] = None,
    share: Annotated[
        Share,
        typer.Option(
            help="Layers that share one parameter: none, or those of one shape.",
            rich_help_panel=_OBJECTIVE,
        ),
    ] = "none",
    fold_batch_norm: Annotated[
        bool,
        typer.Option(
            "--fold-batch-norm",
            help="Make batch norms part of the layers before them.",
            rich_help_panel=_OBJECTIVE,
        ),
    ] = False,
    calibration: Annotated[
        int, typer.Option(min=1, help="Images that estimate batch norm.", rich_help_panel=_OBJECTIVE)
    ] = 512,
    keep_batch_norm: Annotated[
        bool,
        typer.Option(
            "--keep-batch-norm", help="Do not estimate batch norm anew.", rich_help_panel=_OBJECTIVE
        ),
    ] = False,
    evaluations: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Evaluations in all, the runoff's included.",
            show_default="4 d + 20",
            rich_help_panel=_ENGINE,
        ),
    ] = None,
    engine: Annotated[
        Engine,
        typer.Option(
            metavar="NAME",
            help=f"Who proposes settings: {', '.join(ENGINES)}.",
            rich_help_panel=_ENGINE,
        ),
    ] = "pac",
    delta: Annotated[
        float, typer.Option(min=0, help="What counts as better, in J.", rich_help_panel=_ENGINE)
    ] = 0.05,
    epsilon: Annotated[
        float, typer.Option(min=0, max=1, help="Risk of the certificate.", rich_help_panel=_ENGINE)
    ] = 0.005,
    study: Annotated[
        str | None,
        typer.Option(
            help="sqlite:///FILE, another database, grpc://HOST:PORT, or memory.",
            show_default="a file beside OUT",
            rich_help_panel=_ENGINE,
        ),
    ] = None,
    study_name: Annotated[
        str, typer.Option(help="The study's name there.", rich_help_panel=_ENGINE)
    ] = "ternzip",
    seed: Annotated[
        int, typer.Option(min=0, max=2**31, help="Of everything random.", rich_help_panel=_ENGINE)
    ] = 0,
    finetune: Annotated[
        int, typer.Option(metavar="EPOCHS", min=0, help="Train on, settings held.", rich_help_panel=_AFTER)
    ] = 0,
    learning_rate: Annotated[
        float, typer.Option(min=0, help="Of fine-tuning.", rich_help_panel=_AFTER)
    ] = 1e-3,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Replace OUT and its report if they exist.")
    ] = False,
) -> None:
    """Find the best compressed form of a trained network, of a file's size if one is given.

    May be stopped at any time: the same command goes on with the same study, and several at once share it.
    """
    require("ternzip search", "search", "torch")
    from ternzip.checkpoint.targets import check_target
    from ternzip.lowrank import fold_batch_norm as fold
    from ternzip.models import NetworkSpec, StoredNetwork
    from ternzip.models.own import parse_arguments
    from ternzip.models.stored import BATCH_NORM_KEY, FOLDED, input_dtype
    from ternzip.search import parse_size, write_report
    from ternzip.search import search as run
    from ternzip.search.samples import drawn
    from ternzip.training.batches import normalize
    from ternzip.training.datasets import open_dataset

    if target_size is not None:
        try:
            parse_size(target_size)
        except TernzipError as error:
            raise UsageError(str(error)) from error
    if out.suffix != ".tnz":
        raise UsageError(f"--out: expected a name that ends in .tnz, found {out}")
    report = out.with_suffix(".report")
    for path in (out, *(Path(f"{report}{suffix}") for suffix in REPORT_SUFFIXES)):
        check_target(path, sources=[str(model)], overwrite=force)
    spec = in_file(model, arch, changed=arch_arg is not None)
    if spec is not None:
        spec.check_consent(model, arch, trust_arch)
    stored = StoredNetwork.read(model)  # before the minutes that data may take
    if stored.description is not None:
        raise TernzipError(f"{model}: expected a trained network, found what a search has made of one")
    found = open_dataset(dataset, data, download=download, like=spec)
    for note in found.notes:
        say(note)
    if spec is None:
        shape, classes = found.info.image_shape, found.info.num_classes
        spec = NetworkSpec(arch or "", parse_arguments(arch_arg or ()), shape, classes)
    network = stored.build(spec)
    mean, std = statistics_for(spec, found.info, statistics)
    train = found.train.take(drawn(len(found.train), images, seed))
    dtype = input_dtype(network)
    pool, held = ((normalize(part.images, mean, std).to(dtype), part.labels) for part in (train, found.test))
    metadata = dataclasses.replace(spec, mean=mean, std=std).to_metadata()
    if fold_batch_norm:
        network = fold(network, pool[0][:1])
    if fold_batch_norm or stored.is_folded:
        metadata[BATCH_NORM_KEY] = FOLDED
    where = study or f"sqlite:///{out.with_suffix('.study.db')}"
    with _progress(evaluations) as on_trial:
        result = run(
            network,
            pool,
            test=held,
            target_size=target_size,
            compressor=method,
            loss=loss,
            kappa=kappa,
            samples_per_evaluation=samples,
            evaluations=evaluations,
            delta=delta,
            epsilon=epsilon,
            engine=engine,
            study=where,
            name=study_name,
            seed=seed,
            skip=skip or (),
            share=share,
            calibration=calibration,
            batch_norm=not keep_batch_norm,
            finetune=finetune,
            learning_rate=learning_rate,
            metadata=metadata,
            on_trial=on_trial,
        )
    result.save(out)
    written = write_report(result, report)
    _print_result(result, out)
    say(f"ternzip: report: {', '.join(str(path) for path in written)}; study: {where}")


def _print_result(result: SearchResult, out: Path) -> None:
    from ternzip.search.report import why_no_certificate

    def line(name: str, score: Score) -> None:
        right = "" if score.accuracy is None else f", accuracy {score.accuracy:.2%}"
        print(f"{name:>12}: {score.bytes:,} bytes, L {score.loss:.4f} +- {score.standard_error:.4f}{right}")

    line("original", result.dense)
    line("uniform", result.uniform)
    line("found", result.best)
    if result.finetuned is not None:
        line("fine-tuned", result.finetuned)
    for note in result.notes:
        say(f"ternzip: {note}")
    asked = "" if result.target is None else f" of {result.target:,} asked for"
    print(f"{'file':>12}: {out}: {result.bytes:,} bytes{asked}")
    if result.certificate is not None:
        print(f"{'certificate':>12}: {result.certificate.words()}")
    else:
        print(f"{'certificate':>12}: none after {len(result.visited)} trials: {why_no_certificate(result)}")


@contextmanager
def _progress(evaluations: int | None) -> Iterator[OnTrial | None]:
    """A bar of trials on stderr, with the latest's figures; nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from ternzip.search.runoff import finalist_count

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[latest]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        trials = None if evaluations is None else evaluations - finalist_count(evaluations)
        task = bar.add_task("search", total=trials, latest="")

        def advance(number: int, found: Evaluation) -> None:
            latest = f"J {found.value:.3f}, {found.bytes:,} bytes"
            bar.update(task, completed=number + 1, latest=latest)

        yield advance
