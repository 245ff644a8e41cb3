"""Prints a command that the README gives, so that CI runs exactly what a reader would.

    python tools/readme_command.py test

The command stands alone in a fenced block below the comment `<!-- command: NAME -->`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"


def readme_command(name: str) -> str:
    """The command of that name; SystemExit if the README has none."""
    text = README.read_text(encoding="utf-8")
    found = re.search(rf"<!-- command: {re.escape(name)} -->\s*```sh\n(.*?)\n```", text, re.DOTALL)
    if found is None:
        sys.exit(f"{README.name}: no command {name!r}")
    return found.group(1)


if __name__ == "__main__":
    print(readme_command(sys.argv[1]))
