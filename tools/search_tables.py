"""The tables of docs/model-search.md, from the JSON of tools/bench_search.py."""

from __future__ import annotations

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
        "| method | asked for | bytes | of float32 | accuracy | uniform | evaluations | seconds | certified |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for row in result["rows"]:
        asked = "" if row["target_bytes"] is None else f"{row['target_bytes']:,}"
        lines.append(
            f"| {row['compressor']} | {asked} | {row['bytes']:,} | {row['share_of_float32']:.2%} | "
            f"{row['found']['accuracy']:.2%} | {row['uniform']['accuracy']:.2%} | {row['evaluations']} | "
            f"{row['seconds']:.0f} | {'yes' if row['certified'] else 'no'} |"
        )
    dense = result["rows"][0]["dense"]
    note = (
        f"{result['data']}; original {dense['accuracy']:.2%} at {dense['bytes']:,} bytes, trained for "
        f"{result['epochs']} epochs; accuracy on the 2,000, no fine-tuning. "
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


def resnet20_table(result: dict[str, Any]) -> str:
    """He's ResNet-20: the mean accuracy of each engine over its seeds, a row a method and size."""
    engines = list(dict.fromkeys(row["engine"] for row in result["rows"]))
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in result["rows"]:
        groups.setdefault((row["compressor"], row["target_bytes"]), []).append(row)
    lines = [
        f"| method | asked for | bytes | one setting | {' | '.join(engines)} | seeds | fine-tuned |",
        "|---|---:|---:|---:|" + "---:|" * len(engines) + "---:|---:|",
    ]
    for (method, target), rows in groups.items():
        cells = []
        for engine in engines:
            found = [row["found"]["accuracy"] for row in rows if row["engine"] == engine]
            cells.append(f"{sum(found) / len(found):.2%}" if found else "")
        sizes = [row["found"]["bytes"] for row in rows]
        size = f"{min(sizes):,}" if min(sizes) == max(sizes) else f"{min(sizes):,} to {max(sizes):,}"
        tuned = [row["finetuned"] for row in rows if row["finetuned"]]
        after = f"{tuned[0]['accuracy']:.2%} at {tuned[0]['bytes']:,}" if tuned else ""
        seeds = len({row["seed"] for row in rows})
        uniform = rows[0]["uniform"]["accuracy"]
        lines.append(
            f"| {method} | {target:,} | {size} | {uniform:.2%} | {' | '.join(cells)} | {seeds} | {after} |"
        )
    dense = result["dense"]
    note = (
        f"{result['data']}: {result['evaluations']} evaluations of {result['samples_per_evaluation']} samples each, "
        f"accuracy on all {result['test']:,} test images (its standard error is about 0.4 points); original "
        f"{dense['accuracy']:.2%} at {dense['bytes']:,} bytes. One number for each shape of layer, delta "
        f"{result['delta']:g}, batch norm estimated on {result['calibration']} images. Fine-tuned: 2 epochs of "
        f"{result['samples']:,} training images, from A_PAC's setting of seed 0. "
    )
    return "\n".join([*lines, "", note + _measured(result)])
