"""Runs that an earlier report in the same folder tells of: what was found stands when their own folders are gone.

Runs take days, and may be spread over machines: each adds its own to one report.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reproduce_plan import Run
from reproduce_queue import same_recipe
from reproduce_results import Finished, identity

from ternzip._core.errors import TernzipError
from ternzip._core.text import first_line
from ternzip.training.recipe import Recipe
from ternzip.training.runs import RunRecord


def kept_runs(folder: Path, runs: Sequence[Run], out: Path, note: str | None) -> list[Finished]:
    """Those of `runs` that results.json of `folder` tells of, with the networks that lie beside it.

    Raises TernzipError where it cannot be read, holds a run by another recipe or of data called otherwise, or a run
    that is none of `runs` and has no folder in `out`, which a new report would lose.
    """
    path = folder / "results.json"
    if not path.is_file():
        return []
    networks = [(identity(network.read_bytes()), network) for network in sorted(folder.glob("*.tnz"))]
    planned = {run.name: run for run in runs}
    found = []
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        for told in record["runs"]:
            name = str(told["name"])
            if name in planned:
                found.append(_finished(told, planned[name], out, networks, record["commit"]))
            elif not (out / name).is_dir():
                raise TernzipError(
                    f"{path}: tells of a run that this report would leave out, {name}, and {out} does not hold it: "
                    "expected it in the plan (--only, --seeds), or another folder for the report"
                )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise TernzipError(f"{path}: cannot be read as an earlier report: {first_line(error)}") from error
    for one in found:
        same_recipe(one.run, one.record.recipe, f"{path}, {one.run.name}")
        called = one.files["last"]["source"]["note"]
        if called != note:
            raise TernzipError(
                f"{path}: {one.run.name} was measured on other data: expected {note!r} (--note), found {called!r}"
            )
    return found


def _finished(
    told: dict[str, Any], run: Run, out: Path, networks: list[tuple[dict[str, int], Path]], commit: str
) -> Finished:
    options = {
        name: tuple(value) if isinstance(value, list) else value for name, value in told["options"].items()
    }
    files: dict[str, dict[str, Any]] = {which: told[which] for which in ("best", "last")}
    by_name: dict[str, list[float]] = told["epochs"]
    recipe = Recipe().with_options(options, source=run.name)
    epochs: dict[int, dict[str, float]] = {
        epoch: {name: values[epoch - 1] for name, values in by_name.items() if len(values) == recipe.epochs}
        for epoch in range(1, recipe.epochs + 1)
    }
    paths = {
        which: path
        for which, found in files.items()
        for content, path in networks
        if content.items() <= found["source"].items()
    }
    return Finished(
        run,
        RunRecord(out / run.name, recipe, epochs, name=run.method),
        files,
        paths,
        told["starts"],
        float(told["hours"]),
        str(told.get("reported_by", commit)),
    )
