"""What a search can be told by name, and what its report's files are called, for command lines. Imports no torch."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

Method: TypeAlias = Literal[
    "all",
    "ternary",
    "ternary-row",
    "rank",
    "rank-fisher",
    "rank-activation",
    "rank-whitening",
    "rank-ternary",
    "prune",
    "bits",
]
"""What may be done to a layer; see `ternzip.search.compressors.method`."""

LossName: TypeAlias = Literal["distance", "error", "cross-entropy"]
"""What is minimised; see `ternzip.search.objective.Loss`."""

Engine: TypeAlias = Literal["pac", "random", "tpe", "gp", "qlognei", "uniform"]
"""Who proposes settings; see `ternzip.search.engine.sampler.EngineSampler`."""

Share: TypeAlias = Literal["none", "shape"]
"""Which layers share one number: none, or all those of one type and shape."""

REPORT_SUFFIXES = (".md", ".json", ".svg")
"""Of the files that `ternzip.search.write_report` writes."""

METHODS: tuple[str, ...] = get_args(Method)
LOSSES: tuple[str, ...] = get_args(LossName)
ENGINES: tuple[str, ...] = get_args(Engine)
SHARES: tuple[str, ...] = get_args(Share)
