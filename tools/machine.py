"""What a benchmark's figures were measured on and with, for its JSON."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from typing import Any

from ternzip import __version__

PACKAGES = (
    "brotli",
    "botorch",
    "constriction",
    "lightning",
    "nncodec",
    "numpy",
    "onnx",
    "onnxruntime",
    "optuna",
    "safetensors",
    "scikit-learn",
    "tmq",
    "torch",
    "transformers",
    "zipnn",
    "zstandard",
)


def provenance() -> dict[str, Any]:
    """Date, machine, and versions of whatever of PACKAGES is installed."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "machine": {
            "processor": _processor(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "versions": {"python": platform.python_version(), "ternzip": __version__, **_versions()},
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
