"""The report of tools/reproduce.py: tables, figures, networks and one HTML page, of whatever is finished."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from machine import provenance
from reproduce_kept import kept_runs
from reproduce_plan import LATE, LOG_BOTH, SHORT, Run
from reproduce_questions import answers
from reproduce_queue import commit
from reproduce_results import FAILED, NOT_BEGUN, Finished, collect, summary

from ternzip.io.atomic import atomic_file
from ternzip.training import plotting
from ternzip.training.learner import lr_factor
from ternzip.training.recipe import OPTIONS
from ternzip.training.runs import hyperparameters

CAPTIONS = {
    "1": "Latent weights after the last epoch, cut by each layer's thresholds.",
    "2": "Accuracy for several fixed Deltas.",
    "3": "Accuracy, its change from epoch to epoch, and zeros.",
    "4": "Best accuracy against zeros and against entropy; full precision is the line across.",
    "5": "Best accuracy against training speed: the epoch it came in.",
    "-front": f"Mean accuracy of the last {LATE} epochs, and its deviation, against the bytes of the last one's file.",
    "-ablation": "The same of short runs, by the log method alone and with what may be added; across, their twin.",
}
STYLE = """
body { font: 15px/1.5 sans-serif; max-width: 75em; margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse; margin: 1em 0 } td, th { padding: .2em .7em; border-bottom: 1px solid #ccc }
td { text-align: right; font-variant-numeric: tabular-nums } td:first-child { text-align: left }
img { max-width: 100%; display: block } figure { margin: 2em 0 } pre { white-space: pre-wrap; font-size: 13px }
"""
Table = tuple[list[str], list[list[str]]]


def write_report(
    runs: Sequence[Run], out: Path, data: Path, folder: Path, note: str | None = None
) -> list[Path]:
    """Write results.json, results.md, report.html, the figures and the chosen networks; returns what was written.

    What an earlier report in `folder` tells of runs that are not finished in `out` is told again. `note` says what the
    data are; by default the data sets of the runs. Raises TernzipError as `collect` and `kept_runs` do.
    """
    by = commit()  # before what is written here changes the tree
    finished, missing = _known(runs, out, data, folder, note)
    rows = summary(finished)
    folder.mkdir(parents=True, exist_ok=True)
    pictures = _figures(finished, folder)
    networks = _networks(finished, folder)
    record = {
        **provenance(),
        "commit": by,
        "data": note or ", ".join(sorted({one.dataset for one in finished})) or "none yet",
        "summary": rows,
        "runs": [_run_record(one, by) for one in finished],
        "unfinished": missing,
        "networks": networks,
    }
    tables = {
        "What the paper claims": (["question", "answer"], answers(rows)),
        "Accuracy, zeros and entropy": _accuracy_table(rows),
        "Bytes of the ternary weights, and of the whole file": _bytes_table(rows),
        "How each method was trained": _schedule_table(finished),
        "Every run": _runs_table(finished),
    }
    if missing:
        tables["Not finished"] = (["run", "state"], [[name, state] for name, state in missing.items()])
    record["questions"] = dict(answers(rows))
    record["not_drawn"] = [name for name in CAPTIONS if not any(p.stem == f"figure{name}" for p in pictures)]
    written = {
        "results.json": json.dumps(record, indent=2) + "\n",
        "results.md": _markdown(tables, pictures, record),
        "report.html": _page(tables, pictures, record, folder),
    }
    for name, text in written.items():
        with atomic_file(folder / name) as stream:
            stream.write(text.encode())
    return [folder / name for name in [*written, *networks]] + pictures


def _known(
    runs: Sequence[Run], out: Path, data: Path, folder: Path, note: str | None
) -> tuple[list[Finished], dict[str, str]]:
    """Finished and missing runs as `collect` has them, and those that are kept from an earlier report."""
    kept = {one.run.name: one for one in kept_runs(folder, runs, out, note)}
    finished, missing = collect(runs, out, data, note)
    known = kept | {one.run.name: one for one in finished}
    return [known[run.name] for run in runs if run.name in known], {
        name: state for name, state in missing.items() if name not in known
    }


def _run_record(one: Finished, by: str) -> dict[str, Any]:
    epochs = {name: one.record.series(name)[1] for name in ("accuracy", "sparsity", "entropy", "delta")}
    return {
        "name": one.run.name,
        "method": one.run.method,
        "seed": one.run.seed,
        "options": _options(one),
        "last": one.files["last"],
        "best": one.files["best"],
        "hours": one.hours,
        "starts": one.starts,
        "reported_by": one.reported_by or by,
        "epochs": {name: values for name, values in epochs.items() if values},
    }


def _options(one: Finished) -> dict[str, Any]:
    """The run's own: those that the plan names, and what differs from the defaults; not where its data lay."""
    return {
        name: value
        for name, value in hyperparameters(one.record.recipe).items()
        if name != "data"
        and (name in one.run.options or getattr(one.record.recipe, name) != OPTIONS[name].default)
    }


def _figures(finished: Sequence[Finished], folder: Path) -> list[Path]:
    """The paper's figures, as far as the finished runs allow; 1 to 3 show the first seed. The ablation has its own."""
    short = [one for one in finished if one.run.method.startswith(SHORT)]
    long = [one for one in finished if one not in short]
    finished = [one for one in long if one.run.method != LOG_BOTH]  # whose growth is log's, as a marker tells
    first = [one.record for one in finished if one.run.seed == 0]
    weighed = [one for one in finished if one.run.seed == 0 and one.run.method in ("fixed", "log")]
    # The paper's figure 1 compares a fixed Delta with a growing one, figure 3 the regimes of Delta.
    regimes = [record for record in first if record.recipe.quantizer == "delta"]
    chosen = {
        "1": [one.record for one in weighed if one.reported_by is None],
        "2": first,
        "3": [record for record in regimes if record.recipe.growth != "fixed"]
        + [one.record for one in finished if one.run.seed == 0 and one.run.method == "fixed"],
        "4": [one.record for one in finished],
        "5": [one.record for one in finished],
    }
    # Of runs told of by an earlier report the weights are not at hand, but its picture is.
    before = [folder / f"figure1.{suffix}" for suffix in ("png", "svg")]
    stands = weighed and not chosen["1"] and all(path.is_file() for path in before)
    drawn = before if stands else []
    for figure, records in chosen.items():
        if not records:
            continue
        try:
            drawn += plotting.draw(records, folder, figure)
        except plotting.NothingToDraw:
            continue
    return drawn + _front(long, folder, "figure-front") + _front(short, folder, "figure-ablation")


def _front(finished: Sequence[Finished], folder: Path, name: str) -> list[Path]:
    points: dict[str, list[tuple[int, float, float]]] = {}
    reference = []
    for one in finished:
        accuracy, swing = one.late
        if one.is_ternary:
            points.setdefault(one.run.method, []).append((one.files["last"]["file"], accuracy, swing))
        else:
            reference.append(accuracy)
    if not points:
        return []
    paths = [folder / f"{name}.{suffix}" for suffix in ("png", "svg")]
    plotting.write(plotting.front(points, reference), *paths)
    return paths


def _networks(finished: Sequence[Finished], folder: Path) -> list[str]:
    """Copies of each method's best and smallest network; those in full precision are too large to be kept."""
    chosen: dict[str, bytes] = {}
    for method in {one.run.method: None for one in finished if one.is_ternary}:
        files = [
            (one.files[which], path)
            for one in finished
            if one.run.method == method
            for which, path in one.paths.items()
        ]
        if files:  # those of an earlier report may have been taken away
            _, best = max(files, key=lambda entry: float(entry[0]["accuracy"]))
            _, smallest = min(files, key=lambda entry: int(entry[0]["file"]))
            name = method.replace(",", "").replace(" ", "-")
            chosen |= {f"{name}-best.tnz": best.read_bytes(), f"{name}-smallest.tnz": smallest.read_bytes()}
    for name, content in chosen.items():
        with atomic_file(folder / name) as stream:
            stream.write(content)
    return list(chosen)


def _percent(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{100 * value:.{digits}f}"


def _count(value: float | None) -> str:
    return f"{value:,.0f}" if value else ""  # full precision has no ternary weights, NNCodec may be missing


def _accuracy_table(rows: Sequence[dict[str, Any]]) -> Table:
    heading = ["method", "epoch", "seeds", "accuracy, %", "deviation", "lost to full precision"]
    return [*heading, f"last {LATE} epochs, %", "zeros, %", "bits/weight", "hours"], [
        [
            row["method"],
            row["epoch"],
            str(len(row["seeds"])),
            _percent(row["accuracy"]),
            _percent(row["accuracy_deviation"]),
            _percent(row["loss"]),
            f"{_percent(row['late'])} ± {_percent(row['swing'])}" if row["epoch"] == "last" else "",
            _percent(row["zeros"] or None),
            f"{row['entropy']:.4f}" if row["entropy"] else "",
            f"{row['hours']:.2f}",
        ]
        for row in rows
    ]


def _bytes_table(rows: Sequence[dict[str, Any]]) -> Table:
    names = ("predicted", "static", "context", "nncodec", "file")
    return ["method", "epoch", "predicted", "static", "context", "NNCodec", "whole file"], [
        [row["method"], row["epoch"], *(_count(row[name]) for name in names)] for row in rows
    ]


def _schedule_table(finished: Sequence[Finished]) -> Table:
    """The rate of Adam and Delta at the epochs, from 1, in which they change or that tell how Delta grows."""
    lines: dict[str, list[str]] = {}
    for one in finished:
        recipe = one.record.recipe
        factor = lr_factor(recipe)
        rates = [recipe.lr * factor(epoch) for epoch in range(recipe.epochs)]
        changes = [i for i, rate in enumerate(rates) if i == 0 or rate != rates[i - 1]]
        deltas = one.record.epochs if recipe.quantizer == "delta" else {}
        shown = sorted({1, *(max(1, round(recipe.epochs * share)) for share in (0.1, 0.25, 0.5, 1))})
        lines[one.run.method] = [
            one.run.method,
            str(recipe.epochs),
            ", ".join(f"{rates[i]:.0e} from {i + 1}" for i in changes),
            ", ".join(f"{deltas[i]['delta']:.3g} in {i}" for i in shown if "delta" in deltas.get(i, {})),
            "" if recipe.init is None else recipe.init.split("/")[0],
        ]
    return ["method", "epochs", "rate", "Delta", "starts from"], list(lines.values())


def _runs_table(finished: Sequence[Finished]) -> Table:
    return [
        "run",
        "last, %",
        "best, %",
        "best epoch",
        "zeros, %",
        "file",
        "hours",
        "starts",
        "on",
        "commit",
    ], [
        [
            one.run.name,
            _percent(one.files["last"]["accuracy"]),
            _percent(one.files["best"]["accuracy"]),
            str(one.files["best"]["epoch"]),
            _percent(one.files["last"]["zeros"]),
            _count(one.files["last"]["file"]),
            f"{one.hours:.2f}",
            str(len(one.starts)),
            _listed(start.get("machine", {}).get("processor", "") for start in one.starts),
            _listed(start["commit"] for start in one.starts),
        ]
        for one in finished
    ]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def _about(record: dict[str, Any]) -> str:
    machine = record["machine"]
    done, missing = len(record["runs"]), len(record["unfinished"])
    failed = sum(state.startswith(FAILED) for state in record["unfinished"].values())
    begun = sum(state != NOT_BEGUN for state in record["unfinished"].values()) - failed
    progress = (
        "All runs are finished."
        if not missing
        else f"{done} of {done + missing} runs are finished, {begun} {'is' if begun == 1 else 'are'} under way, "
        f"{failed} failed: what follows is of the finished."
    )
    hidden = ", ".join(name.removeprefix("-") for name in record["not_drawn"])
    without = f" Not drawn, as no finished run belongs there: figure {hidden}." if hidden else ""
    told_by = (run["reported_by"] for run in record["runs"])
    earlier = sorted(f"commit {one}" for one in told_by if one != record["commit"])
    kept = f" Of these {len(earlier)} stand as reported before, by {_listed(earlier)}." if earlier else ""
    return (
        f"{progress}{kept}{without} Data: {record['data']}. "
        "Accuracies are those of the stored files on all test images, in float32; figures 2 to 5 show what was "
        f"measured in training, in its precision, as is the mean of the last {LATE} epochs and how far they swing (±, "
        "one deviation). The best epoch is picked on the test images, as the paper does, by what was measured in "
        "training: its file may be less accurate than the last one's. The same network in full "
        "precision, trained on the same data, is what they are to be compared with, and not published scores; of runs "
        "that are neither as long as it nor start from it no loss is told. "
        f"{record['date']}, commit {record['commit']}, {machine['processor']}, {machine['cores']} cores, "
        f"{machine['system']}."
    )


def _caption(picture: Path) -> str:
    name = picture.stem.removeprefix("figure")
    return f"Figure {name}. {CAPTIONS[name]}" if name.isdigit() else CAPTIONS[name]


def _markdown(tables: dict[str, Table], pictures: Sequence[Path], record: dict[str, Any]) -> str:
    parts = ["# Results", _about(record)]
    for title, (heading, rows) in tables.items():
        lines = [heading, ["---"] * len(heading), *rows]
        parts += [f"## {title}", "\n".join(f"| {' | '.join(line)} |" for line in lines)]
    for path in pictures:
        if path.suffix == ".svg":
            caption = _caption(path)
            parts += [f"![{caption}]({path.name})", caption]
    return "\n\n".join(parts) + "\n"


def _page(tables: dict[str, Table], pictures: Sequence[Path], record: dict[str, Any], folder: Path) -> str:
    """One HTML page that needs no other file."""
    escape = html.escape
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>ternzip: results</title>",
        f"<style>{STYLE}</style><h1>Results</h1><p>{escape(_about(record))}</p>",
    ]
    for title, (heading, rows) in tables.items():
        cells = "".join(f"<th>{escape(cell)}</th>" for cell in heading)
        body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
        parts.append(f"<h2>{escape(title)}</h2><table><tr>{cells}</tr>{body}</table>")
    for path in pictures:
        if path.suffix == ".svg":
            data = base64.b64encode(path.read_bytes()).decode()
            caption = _caption(path)
            image = f"<img alt='{escape(caption)}' src='data:image/svg+xml;base64,{data}'>"
            parts.append(f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>")
    kept = {name: record[name] for name in ("date", "commit", "machine", "versions", "data")}
    options = {one["name"]: one["options"] for one in record["runs"]}
    parts.append(
        f"<h2>Provenance</h2><pre>{escape(json.dumps({**kept, 'runs': options}, indent=1))}</pre></html>"
    )
    return "\n".join(parts) + "\n"
