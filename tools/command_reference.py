"""The commands of `ternzip` with their arguments and options, as a Markdown page of the site.

python tools/command_reference.py
"""

from __future__ import annotations

import re
from typing import Any

import typer
import typer.main

from ternzip.cli import app

OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z-]*)")


def markdown() -> str:
    """A section for each command, in the order of `ternzip --help`."""
    root: Any = typer.main.get_command(app)
    context = typer.Context(root, info_name="ternzip")
    return "\n".join(_section(command, context) for command in root.commands.values())


def _section(command: Any, parent: typer.Context) -> str:
    context = typer.Context(command, info_name=command.name, parent=parent)
    usage = command.get_usage(context).removeprefix("Usage: ")
    lines = [f"## {command.name}", _text(command.help), "```console", f"$ {' '.join(usage.split())}", "```"]
    records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    lines += ["| argument or option | meaning |", "|---|---|"]
    lines += [f"| `{_cell(record[0])}` | {_text(record[1])} |" for record in records if record is not None]
    return "\n".join(lines) + "\n"


def _text(text: str) -> str:
    """Help as Markdown: nothing in it is meant as markup."""
    text = " ".join(text.split())
    return "".join(f"`{part}`" if part.startswith("--") else _plain(part) for part in OPTION.split(text))


def _plain(text: str) -> str:
    for mark in "\\`*_<>[]|":
        text = text.replace(mark, "\\" + mark)
    return text


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(markdown())
