"""What ternary training can be told by name, for command lines and configuration files. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Callable

QUANTIZERS = ("delta", "binary", "twn", "ttq", "ec2t")

# f of Eq. 6 by name. exp overflows a float64 beyond 709; any threshold has met its bound long before.
GROWTHS: dict[str, Callable[[float], float]] = {
    "fixed": lambda epoch: 0.0,
    "linear": lambda epoch: epoch,
    "square": lambda epoch: epoch * epoch,
    "exp": lambda epoch: math.exp(min(epoch, 700.0)),
    "log": math.log,
}
