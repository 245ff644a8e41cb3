"""The tables of docs/model-search.md, from the JSON of tools/bench_search.py."""

from __future__ import annotations

import statistics
from typing import Any


def _measured(result: dict[str, Any]) -> str:
    machine = result["machine"]
    return f"{machine['processor']}, one thread among other jobs, {result['date']}."


def certificate_table(result: dict[str, Any]) -> str:
    """How often certificates were true where the optimum is known."""
    lines = [
        "| parameters | runs | certified | of these true | incumbent within delta | evaluations (median) |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['dimension']} | {row['runs']} | {row['certified']} | {row['certified_and_true']} | "
        f"{row['incumbent_within_delta']} | {row['median_evaluations']:g} of {row['most_evaluations']} |"
        for row in result["rows"]
    ]
    note = (
        f"Means of d smooth curves with one to three minima each, ranging over about 1, noise of known variance around "
        f"0.05²; delta {result['delta']}, epsilon {result['epsilon']}; here without held-out samples to confirm. "
        + "".join(
            f"{row['dimension']} parameters: {row['note']}. " for row in result["rows"] if "note" in row
        )
    )
    return "\n".join([*lines, "", note + _measured(result)])


def fc3_table(result: dict[str, Any]) -> str:
    """FC3 on MNIST's test images, a row a search."""
    lines = [
        "| method | asked for | bytes | of float32 | accuracy | uniform | fine-tuned | trials | seconds | certified |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for row in result["rows"]:
        asked = "" if row["target_bytes"] is None else f"{row['target_bytes']:,}"
        tuned = f"{row['finetuned']['accuracy']:.2%}" if row["finetuned"] else ""
        lines.append(
            f"| {row['compressor']} | {asked} | {row['bytes']:,} | {row['share_of_float32']:.2%} | "
            f"{row['found']['accuracy']:.2%} | {row['uniform']['accuracy']:.2%} | {tuned} | {row['evaluations']} | "
            f"{row['seconds']:.0f} | {'yes' if row['certified'] else 'no'} |"
        )
    dense = result["rows"][0]["dense"]
    note = (
        f"{result['data']}; original {dense['accuracy']:.2%} at {dense['bytes']:,} bytes, trained for "
        f"{result['epochs']} epochs; accuracy on the 2,000; fine-tuned: 2 epochs of the 8,000, in a file of that size. "
    )
    return "\n".join([*lines, "", note + _measured(result)])


def svd_table(result: dict[str, Any]) -> str:
    """Four weightings at equal bytes: errors of the two large layers, and what they give."""
    lines = [
        "| weighting | bytes | fc1: error | weighted | fc2: error | weighted | L | accuracy |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in result["rows"]:
        errors = (
            f"{row['layers'][name][kind]:.1%}"
            for name in ("fc1", "fc2")
            for kind in ("error", "activation_weighted_error")
        )
        lines.append(
            f"| {row['weighting']} | {row['bytes']:,} | {' | '.join(errors)} | {row['loss']:.3f} | "
            f"{row['accuracy']:.2%} |"
        )
    note = (
        "One theta for all layers, int8 factors; errors are relative Frobenius errors, weighted by the inputs' RMS "
        f"to the power 1/2. {result['data']}. "
    )
    return "\n".join([*lines, "", note + _measured(result)])


_SEARCHES = 180
"""Four methods, three sizes, five engines, three seeds."""
_ENGINES = {"pac": "A_PAC", "uniform": "one ratio", "random": "random", "tpe": "TPE", "qlognei": "qLogNEI"}


def resnet20_table(result: dict[str, Any]) -> str:
    """He's ResNet-20: the mean accuracy of each engine over its seeds, a row a method and size; A_PAC against each."""
    rows = result["rows"]
    engines = [name for name in _ENGINES if any(row["engine"] == name for row in rows)]
    lines = [
        f"| method | asked for | bytes | uniform | {' | '.join(_ENGINES[name] for name in engines)} | seeds |",
        "|---|---:|---:|---:|" + "---:|" * len(engines) + "---:|",
    ]
    for method, target in sorted({(row["compressor"], row["target_bytes"]) for row in rows}):
        group = [row for row in rows if (row["compressor"], row["target_bytes"]) == (method, target)]
        cells = [_mean_and_spread([r for r in group if r["engine"] == engine]) for engine in engines]
        sizes = [row["found"]["bytes"] for row in group]
        size = f"{min(sizes):,}" if min(sizes) == max(sizes) else f"{min(sizes):,} to {max(sizes):,}"
        seeds = len({row["seed"] for row in group})
        uniform = group[0]["uniform"]["accuracy"]
        lines.append(f"| {method} | {target:,} | {size} | {uniform:.2%} | {' | '.join(cells)} | {seeds} |")
    ahead = [_ahead(rows, None), *("" if name == "pac" else _ahead(rows, name) for name in engines)]
    lines.append(f"| *A_PAC ahead by, points* | | | {' | '.join(ahead)} | |")
    return "\n".join([*lines, "", _about_resnet20(result) + _measured(result)])


def _mean_and_spread(rows: list[dict[str, Any]]) -> str:
    """The mean accuracy over seeds, and the standard deviation between them."""
    found = [row["found"]["accuracy"] for row in rows]
    if not found:
        return ""
    spread = f" ± {100 * statistics.stdev(found):.2f}" if len(found) > 1 else ""
    return f"{statistics.fmean(found):.2%}{spread}"


def _ahead(rows: list[dict[str, Any]], engine: str | None) -> str:
    """By how much A_PAC's accuracy is above another engine's (None: the uniform setting's), and its standard error.

    Over pairs of the same method, size and seed; a search that no size binds counts once.
    """

    def key(row: dict[str, Any]) -> tuple[Any, ...]:
        return row["compressor"], row["target_bytes"] if row["binding"] else None, row["seed"]

    ours = {key(row): row for row in rows if row["engine"] == "pac"}
    others = {
        key(row): row["uniform" if engine is None else "found"]["accuracy"]
        for row in rows
        if row["engine"] == (engine or "pac")
    }
    found = [100 * (row["found"]["accuracy"] - others[k]) for k, row in ours.items() if k in others]
    error = f" ± {statistics.stdev(found) / len(found) ** 0.5:.2f}" if len(found) > 1 else ""
    return f"{statistics.fmean(found):+.2f}{error} ({len(found)})" if found else ""


def _about_resnet20(result: dict[str, Any]) -> str:
    rows, dense = result["rows"], result["dense"]
    error = 100 * (dense["accuracy"] * (1 - dense["accuracy"]) / result["test"]) ** 0.5
    bound = [row["found"]["bytes"] / row["target_bytes"] for row in rows if row["binding"]]
    tuned = [
        f"{row['compressor']} {row['finetuned']['accuracy']:.2%} in {row['finetuned']['bytes']:,} bytes"
        for row in rows
        if row["finetuned"]
    ]
    missing = f"{len(rows)} of {_SEARCHES} searches are done. " if len(rows) < _SEARCHES else ""
    return missing + (
        f"{result['data']}: {result['evaluations']} evaluations, {result['of_these_in_the_runoff']} of them in the "
        f"runoff, of {result['samples_per_evaluation']} training images each; accuracy on {result['test']:,} test "
        f"images that nothing is chosen by (standard error {error:.1f} points; less between settings, as the images "
        f"are the same), mean ± standard deviation over the seeds. Original {dense['accuracy']:.2%} at "
        f"{dense['bytes']:,} bytes. Last line: mean of the differences ± its standard error (number of pairs). Of "
        f"{len(bound)} files of a size that binds the smallest is {min(bound):.2%} of it, the largest "
        f"{max(bound):.2%}. One number for each shape of layer, delta {result['delta']:g}, batch norm estimated on "
        f"{result['calibration']} images. After 2 epochs of fine-tuning on {result['samples']:,} images, from A_PAC's "
        f"setting of seed 0: {'; '.join(dict.fromkeys(tuned))}. "
    )
