"""What ternary training can be told by name, for command lines and configuration files. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Callable

from ternzip._core.errors import TernzipError

QUANTIZERS = ("delta", "binary", "twn", "ttq", "ec2t")

# f of Eq. 6 by name. exp overflows a float64 beyond 709; any threshold has met its bound long before.
GROWTHS: dict[str, Callable[[float], float]] = {
    "fixed": lambda epoch: 0.0,
    "linear": lambda epoch: epoch,
    "square": lambda epoch: epoch * epoch,
    "exp": lambda epoch: math.exp(min(epoch, 700.0)),
    "log": math.log,
}


def check_share(value: float, name: str) -> float:
    """`value` as a float; TernzipError unless 0 <= value < 1."""
    value = float(value)
    if not 0.0 <= value < 1.0:
        raise TernzipError(f"{name} must lie in [0, 1): expected 0 <= {name} < 1, found {value:g}")
    return value
