"""Puts measured figures into the documents: each table between its markers is made from a benchmark's JSON.

    python tools/readme_tables.py [--check]

With --check nothing is written; the exit status is 1 if a table is not what its JSON says.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import runtime_tables
import search_tables
from reproduce_plan import LATE, SHORT

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS = ROOT / "docs" / "benchmarks"


def _measured(result: dict[str, Any]) -> str:
    machine = result["machine"]
    return f"Measured on {result['date']}, {machine['processor']}, {machine['cores']} cores, {machine['system']}."


def files_table(result: dict[str, Any]) -> str:
    """Whole checkpoint files: sizes in bytes, and bits a ternary weight."""
    general = list(result["files"][0]["general"])
    head = ["checkpoint", "zeros", "as it is", *general, "**ternzip**", "bits/weight", "order-0 entropy"]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for row in result["files"]:
        if not row["weights"]:
            continue
        ours = row["ternzip"]["auto"]
        cells = [
            f"`{row['file']}`",
            f"{100 * row['sparsity']:.1f} %",
            f"{row['bytes']:,}",
            *(f"{row['general'][name]:,}" for name in general),
            f"**{ours['bytes']:,}**",
            f"{ours['bits_per_weight']:.4f}",
            f"{8 * row['predicted_bytes'] / row['weights']:.4f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", f"Bytes of whole files, every bit restored. {_measured(result)}"])


def codecs_table(result: dict[str, Any]) -> str:
    """Ternary payloads alone: bits a weight, and decoding in millions of weights a second, one thread."""
    section = result["sections"]["checkpoints"]
    inputs = section["results"]
    names = sorted(inputs[-1]["coders"], key=lambda name: inputs[-1]["coders"][name]["bits_per_weight"])
    head = ["coder", *(f"{one['input']}: bits/weight | decode" for one in inputs)]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (2 * len(inputs)) + "|"]
    for name in names:
        cells = [f"**{name}**" if name.startswith("ternzip") else name]
        for one in inputs:
            coder = one["coders"][name]
            cells += [f"{coder['bits_per_weight']:.4f}", f"{coder['decode_per_second'] / 1e6:,.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    note = "Symbols only, without levels and counts; decoding in 10^6 weights/s on one core."
    return "\n".join([*lines, "", f"{note} {_measured(section)}"])


def matrices_table(result: dict[str, Any]) -> str:
    """Large matrices by the default and by NNCodec: bits a weight, and decoding in millions of weights a second."""
    section = result["sections"]["matrices"]
    head = [
        "matrix",
        "entropy",
        "**context 2**: bits/weight",
        "decode",
        "NNCodec, best: bits/weight",
        "decode",
    ]
    head += ["NNCodec, quick: bits/weight", "decode"]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for one in section["results"]:
        cells = [one["input"], f"{one['entropy_bits_per_weight']:.4f}"]
        for name in ("ternzip context 2", "NNCodec, best", "NNCodec, quick"):
            coder = one["coders"][name]
            cells += [f"{coder['bits_per_weight']:.4f}", f"{coder['decode_per_second'] / 1e6:,.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    note = "Made matrices, whose rows and columns have different shares of zeros; decoding as above."
    return "\n".join([*lines, "", f"{note} {_measured(section)}"])


def quantizers_table(result: dict[str, Any]) -> str:
    """One network trained alike with every quantizer, and what the paper reports of its full training."""
    rows, paper, recipe = result["results"], result["paper"], result["recipe"]
    head = ["quantizer", "accuracy", "to FP", "zeros", "bits/weight", ".tnz, bytes"]
    head += ["paper: accuracy", "to FP", "zeros"]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    full = 100 * rows["full precision"]["accuracy_all_test_images"]
    for name, row in rows.items():
        accuracy, last = 100 * row["accuracy_all_test_images"], row["last"]
        reported = paper.get(name, {})
        ternary = name != "full precision"
        start = row.get("start_accuracy")  # of a method that starts trained, from a network of its own
        cells = [
            name if start is None else f"{name}, from {100 * start:.2f}",
            f"{accuracy:.2f}",
            f"{accuracy - (full if start is None else 100 * start):+.2f}" if ternary else "",
            f"{100 * last['sparsity']:.1f} %" if ternary else "",
            f"{last['entropy']:.3f}" if ternary else "",
            f"{last['file']:,}",
            f"{reported['accuracy']:.2f}" if reported else "",
            f"{reported['accuracy'] - reported['full_precision']:+.2f}" if reported and ternary else "",
            f"{reported['zeros']:.1f} %" if "zeros" in reported else "",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    note = (
        f"{result['data']}, accuracies in % on all test images: `{recipe['arch']}` at inflate {recipe['inflate']}, "
        f"{recipe['epochs']} epochs of {recipe['train_images']:,} training images, last epoch, one seed. "
        "Bits/weight is the entropy of the symbols; the file holds the whole network. "
        "TTQ and EC2T start, as in their papers, from a trained network in full precision (a published `he-resnet20`, "
        "first and last layer left alone), and are compared with that. "
        "The paper: 500 epochs of all images of the original CIFAR-10, at inflate 5; TTQ and EC2T a ResNet-20."
    )
    return "\n".join([*lines, "", f"{note} {_measured(result)}"])


def prepare_table(result: dict[str, Any]) -> str:
    """Usual models after a few steps: full precision, the default of `prepare`, and the paper's Delta."""
    head = ["model", "full precision", "default", "zeros at the start", "at the end"]
    head += ['`"delta"`', "its layers that start all zero"]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for name, row in result["results"].items():
        default, delta = row["default"], row["delta"]
        cells = [
            name,
            f"{row['full_precision']:.3f}",
            f"{default['loss']:.3f}",
            f"{100 * default['start']['zeros']:.0f} %",
            f"{100 * default['end']['zeros']:.0f} %",
            f"{delta['loss']:.3f}",
            f"{delta['start']['empty_layers']} of {delta['start']['layers']}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    note = (
        f"Loss after {result['steps']} steps of Adam at {result['lr']:g} from a random start, the same for all three; "
        f"chance is {result['chance']:.3f}."
    )
    return "\n".join([*lines, "", f"{note} {_measured(result)}"])


def hf_table(result: dict[str, Any]) -> str:
    """A Llama of random weights, opened by transformers: each kind of folder beside safetensors."""
    lines = ["| weights | folder of | bytes | seconds | of safetensors | peak memory, MB | of safetensors |"]
    lines.append("|---|---|---:|---:|---:|---:|---:|")
    for model in result["models"]:
        base_seconds = model["seconds_to_logits"]["safetensors"]
        base_peak = model["peak_bytes"]["safetensors"]
        for kind, size in model["bytes"].items():
            seconds, peak = model["seconds_to_logits"][kind], model["peak_bytes"][kind]
            lines.append(
                f"| {model['weights']} | {kind} | {size:,} | {seconds:.2f} | {seconds / base_seconds:.2f} | "
                f"{peak / 1e6:.0f} | {peak / base_peak:.2f} |"
            )
    if not all(model["logits_equal"] for model in result["models"]):
        raise SystemExit("hf.json: the logits of some folder differ from those of safetensors")
    return "\n".join(
        [*lines, "", f"From the folder to the first logits, which are the same bits. {_measured(result)}"]
    )


STEPS = {
    "float32": "`ternzip train`",
    "compiled": "compiled",
    "bfloat16": "bfloat16",
    "fast": "**`--fast`**: both",
}


def steps_table(result: dict[str, Any]) -> str:
    """A step of training by each setting, and what its multiplications alone would take."""
    bounds = result["multiplications"]
    rows = [
        *((title, result["step_seconds"][name], result["of_float32"][name]) for name, title in STEPS.items()),
        *(
            (f"multiplications alone, {kind}", seconds, bounds["of_float32"][kind])
            for kind, seconds in bounds["seconds"].items()
        ),
    ]
    lines = ["| | s a step | of plain float32 |", "|---|---:|---:|"]
    lines += [f"| {name} | {seconds:.3f} | {share:.2f} |" for name, seconds, share in rows]
    rates = ", ".join(
        f"{1e-9 * rate:.0f} in {kind}" for kind, rate in bounds["operations_per_second"].items()
    )
    about = (
        f"ResNet-20, inflate 1, batches of {result['batch_size']}, {result['threads']} thread. The last rows are what "
        f"the step's {1e-9 * bounds['operations']:.1f} billion operations would take at the rate of one large matrix "
        f"product, in billions a second {rates}. Ternarizing is {result['ternarizing_share_of_fast']:.1%} of a step "
        f"with `--fast`."
    )
    return "\n".join([*lines, "", f"{about} {_measured(result)}"])


def ablation_table(result: dict[str, Any]) -> str:
    """Runs of tools/reproduce.py with what goes beyond the paper, beside the same without: means over their seeds."""
    rows = [row for row in result["summary"] if row["method"].startswith(SHORT) and row["epoch"] == "last"]
    head = ["run", "zeros", "bits/weight, order 0", "whole file", f"accuracy, last {LATE} epochs"]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for row in rows:
        ternary = bool(row["zeros"])
        cells = [
            row["method"],
            f"{100 * row['zeros']:.1f} %" if ternary else "",
            f"{row['entropy']:.3f}" if ternary else "",
            f"{row['file']:,.0f}",
            f"{100 * row['late']:.2f} ± {100 * row['swing']:.2f} %",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    seeds = max((len(row["seeds"]) for row in rows), default=0)
    recipes = {run["method"]: run["options"] for run in result["runs"]}
    epochs = " or ".join(sorted({str(recipes[row["method"]]["epochs"]) for row in rows}))
    prices = ", ".join(
        f"{recipes[row['method']]['rate']:g} for “{row['method']}”"
        for row in rows
        if recipes[row["method"]].get("rate")
    )
    about = (
        f"ResNet-20 at inflate 1, {epochs} epochs of {result['data']}, {seeds} seed{'s' * (seeds > 1)}; ± is the "
        f"deviation of these epochs, which swing. Prices of a kibibyte: {prices}. From "
        "`docs/results/results.md`."
    )
    return "\n".join([*lines, "", about])


def measured_too(table: Callable[[dict[str, Any]], str]) -> Callable[[dict[str, Any]], str]:
    """The table with when and where it was measured."""
    return lambda result: f"{table(result)} {_measured(result)}"


TABLES: dict[str, tuple[str, str, Callable[[dict[str, Any]], str]]] = {
    "files": ("README.md", "files.json", files_table),
    "codecs": ("README.md", "codec.json", codecs_table),
    "matrices": ("README.md", "codec.json", matrices_table),
    "hf": ("docs/huggingface.md", "hf.json", hf_table),
    "prepare": ("docs/guide.md", "prepare.json", prepare_table),
    "quantizers": ("docs/guide.md", "quantizers.json", quantizers_table),
    "steps": ("docs/guide.md", "training_step.json", steps_table),
    "ablation": ("docs/guide.md", "../results/results.json", ablation_table),
    "runtime-layers": ("docs/runtime.md", "runtime.json", measured_too(runtime_tables.layers_table)),
    "runtime-networks": ("docs/runtime.md", "runtime.json", measured_too(runtime_tables.networks_table)),
    "search-certificate": (
        "docs/model-search.md",
        "search_certificate.json",
        search_tables.certificate_table,
    ),
    "search-fc3": ("docs/model-search.md", "search_fc3.json", search_tables.fc3_table),
    "search-resnet20": ("docs/model-search.md", "search_resnet20.json", search_tables.resnet20_table),
    "search-svd": ("docs/model-search.md", "search_svd.json", search_tables.svd_table),
}


def updated(document: str) -> str:
    """A document with every table of its made anew."""
    text = (ROOT / document).read_text(encoding="utf-8")
    for name, (home, source, make) in TABLES.items():
        if home != document or not (BENCHMARKS / source).exists():
            continue  # of another document, or not measured yet
        table = make(json.loads((BENCHMARKS / source).read_text(encoding="utf-8")))
        pattern = rf"(<!-- table: {name} -->\n).*?(<!-- end -->)"
        text, count = re.subn(pattern, lambda m, t=table: m[1] + t + "\n" + m[2], text, flags=re.DOTALL)  # type: ignore[misc]
        if count != 1:
            sys.exit(f"{document}: expected one table {name!r}, found {count}")
    return text


def main() -> None:
    for document in sorted({home for home, _, _ in TABLES.values()}):
        path, new = ROOT / document, updated(document)
        if "--check" not in sys.argv[1:]:
            path.write_text(new, encoding="utf-8")
        elif new != path.read_text(encoding="utf-8"):
            sys.exit(f"{document}: tables differ from docs/benchmarks; run tools/readme_tables.py")


if __name__ == "__main__":
    main()
