"""The tables of docs/runtime.md, from the JSON of tools/bench_runtime.py."""

from __future__ import annotations

from typing import Any

_NETWORKS = {
    "resnet20-star": "ResNet-20*, 90 % zeros",
    "ec2t-resnet20-sparsity45": "He ResNet-20 (EC2T), 45 % zeros",
    "ec2t-resnet20-sparsity73": "He ResNet-20 (EC2T), 73 % zeros",
}


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def _share(sizes: dict[str, int]) -> str:
    return f"1/{sizes['float32'] / sizes['ternzip']:.0f}"


def _layer(what: str, entry: dict[str, Any], dense: tuple[str, ...]) -> list[str]:
    if "problem" in entry:
        return [what, entry["problem"], "", "", "", ""]
    times = entry["milliseconds"]
    return [
        what,
        f"{min(times[name] for name in dense if name in times):.3f}",
        f"{times['bfloat16']:.3f}",
        f"{times['ternzip']:.3f}",
        f"**{entry['speed']:.1f}**",
        _share(entry["weight_bytes"]),
    ]


def _bitwise_name(entry: dict[str, Any]) -> str:
    if "input" not in entry:
        return "ternary activations"
    channels, *size = entry["input"][1:]
    zeros = f"{entry['zeros']:.0%}".replace("%", " %")
    if not size:
        return f"linear, ternary activations, {channels} x {channels}, {zeros} zeros"
    return f"3x3 convolution, ternary activations, {channels} channels, {size[0]} x {size[1]}, {zeros} zeros"


def _convolution_name(entry: dict[str, Any]) -> str:
    if "what" not in entry:
        return "convolution"
    size = " x ".join(f"{extent:,}" for extent in entry["size"])
    zeros = f"{entry['zeros']:.0%}".replace("%", " %")
    line = "1-d " if len(entry["size"]) == 1 else ""
    return f"{line}{entry['what']}, {entry['channels']} channels, {size}, {zeros} zeros"


def layers_table(result: dict[str, Any]) -> str:
    """Layers alone: milliseconds, and how many times as fast as the quickest dense way in float32."""
    sections = result["sections"]
    rows = [
        _layer(_convolution_name(e), e, ("torch", "channels last", "without oneDNN"))
        for e in sections["convolutions"]
    ]
    rows += [
        _layer(
            f"linear, {e['features']} x {e['features']}, {e['zeros']:.0%} zeros".replace("%", " %")
            if "features" in e
            else "linear",
            e,
            ("torch",),
        )
        for e in sections["linear"]
    ]
    rows += [_layer(_bitwise_name(e), e, ("torch",)) for e in sections.get("bitwise", [])]
    head = [
        "batch 1, one core",
        "float32, ms",
        "bfloat16, ms",
        "ternzip, ms",
        "times as fast",
        "weights in memory",
    ]
    unit = "has a matrix unit (AMX)" if result["amx"] else "has no matrix unit (AMX)"
    note = (
        f"float32 is the quickest of torch's ways; for bfloat16 the processor {unit}. Medians of calls in turns, each "
        "after three of its own, as a layer finds its input in the caches."
    )
    return "\n".join([*_table(head, rows), "", note])


def networks_table(result: dict[str, Any]) -> str:
    """Whole networks: every engine's milliseconds, and what was said on test images."""
    names = ["torch", "torch, channels last", "torch.compile", "ONNX Runtime"]
    head = ["network", "batch", *names, "ternzip", "times as fast", "ONNX Runtime, int8", "weights in memory"]
    rows, notes = [], []
    for section, what in _NETWORKS.items():
        for entry in result["sections"].get(section, []):
            if "problem" in entry:
                rows.append([what, entry["problem"], *[""] * (len(head) - 2)])
                continue
            times = {t["name"]: t["milliseconds"] for t in entry["timings"]}
            int8 = entry["int8"].get("int8")
            rows.append(
                [
                    what,
                    str(entry["batch"]),
                    *("-" if times.get(name) is None else f"{times[name]:.2f}" for name in names),
                    f"**{times['ternzip']:.2f}**",
                    f"**{entry['speed']:.2f}**",
                    "-" if int8 is None else f"{int8:.2f}",
                    _share(entry["weight_bytes"]),
                ]
            )
        notes += [
            f"{what}: {entry['top1_differs']} of {entry['images']:,} test images are told otherwise than by the dense "
            f"network; scores differ by at most {entry['largest_difference']:.1e} of the largest."
            for entry in result["sections"].get(f"{section}, answers", [])
            if "problem" not in entry
        ]
    measure = (
        "Milliseconds a call on one core, median; times as fast as the quickest in float32. int8 has 8-bit "
        "activations too, so that its answers are others."
    )
    return "\n".join([*_table(head, rows), "", " ".join([measure, *notes])])
