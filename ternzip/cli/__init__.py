"""The command line. Starts without torch; each command imports what it needs when it runs."""

from __future__ import annotations

from ternzip.cli.app import app
from ternzip.cli.entry import main

__all__ = ["app", "main"]
