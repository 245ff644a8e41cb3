"""Where the figures of a run are logged: Lightning's loggers by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from ternzip._core.errors import TernzipError
from ternzip._core.extras import require
from ternzip._core.text import first_line

# The package that a logger needs, and the extra that brings it.
NEEDED = {
    "tensorboard": ("tensorboard", "train"),
    "mlflow": ("mlflow", "mlflow"),
    "wandb": ("wandb", "wandb"),
}


def require_loggers(names: tuple[str, ...]) -> None:
    """TernzipError, which says what to install, where a logger's package is missing."""
    for name in names:
        if name in NEEDED:
            package, extra = NEEDED[name]
            require(f"logging to {name}", extra, package)


def loggers_named(names: tuple[str, ...], out: Path) -> list[Logger]:
    """The loggers of a run in the folder `out`, each with a new run of its own, also where a run goes on.

    Nothing leaves the machine unless its environment says so: MLflow writes to `out`/mlflow.db unless
    MLFLOW_TRACKING_URI names a server, Weights & Biases to `out`/wandb for `wandb sync` unless WANDB_MODE or
    WANDB_API_KEY is set.
    """
    require_loggers(names)
    makers: dict[str, Callable[[Path], Logger]] = {
        "csv": lambda folder: CSVLogger(folder, name="csv"),
        "tensorboard": lambda folder: TensorBoardLogger(folder, name="tensorboard", default_hp_metric=False),
        "mlflow": _mlflow,
        "wandb": _wandb,
    }
    return [makers[name](out) for name in names if name in makers]


def log_options(loggers: Iterable[Logger], options: dict[str, Any]) -> None:
    """Log what a run was told; a logger that cannot be reached or written to is a TernzipError."""
    for logger in loggers:
        try:
            logger.log_hyperparams(options)
        except Exception as error:  # every logger's service fails in its own way
            reason = first_line(error)
            raise TernzipError(f"--logger: {type(logger).__name__} cannot log: {reason}") from error


def _mlflow(out: Path) -> Logger:
    from lightning.pytorch.loggers import MLFlowLogger

    out.mkdir(parents=True, exist_ok=True)
    # MLflow refuses its older folders of files from version 3 on.
    database = f"sqlite:///{(out.absolute() / 'mlflow.db').as_posix()}"
    return MLFlowLogger(
        experiment_name="ternzip",
        run_name=out.absolute().name,
        tracking_uri=os.environ.get("MLFLOW_TRACKING_URI", database),
        artifact_location=None
        if "MLFLOW_TRACKING_URI" in os.environ
        else (out.absolute() / "mlflow").as_uri(),
    )


def _wandb(out: Path) -> Logger:
    from lightning.pytorch.loggers import WandbLogger

    out.mkdir(parents=True, exist_ok=True)
    offline = not {"WANDB_MODE", "WANDB_API_KEY"} & set(os.environ)
    return WandbLogger(project="ternzip", name=out.absolute().name, save_dir=out, offline=offline)
