"""Train ternary networks, count their cost in bits, store them in files that really are that small."""

from ternzip._version import __version__
from ternzip.errors import TernzipError

__all__ = ["TernzipError", "__version__"]
