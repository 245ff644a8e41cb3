"""Prints the requirements of an extra of this project, one a line, without the project itself.

python tools/requirements.py dev | xargs -d '\\n' pip install
"""

from __future__ import annotations

import importlib.metadata
import re
import sys


def requirements(extra: str) -> list[str]:
    """Of the installed ternzip, as its metadata states them."""
    found = []
    for requirement in importlib.metadata.requires("ternzip") or []:
        name, _, marker = requirement.partition(";")
        if f'extra == "{extra}"' in marker.replace("'", '"') and not re.match(r"ternzip\b", name):
            found.append(name.strip())
    return found


if __name__ == "__main__":
    print("\n".join(requirements(sys.argv[1])))
