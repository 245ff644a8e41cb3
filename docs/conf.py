"""The site: the pages of this folder, and a reference made from docstrings. `nox -s docs` builds it."""

from __future__ import annotations

import builtins
import re
import sys
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

import ternzip

ROOT = Path(__file__).parents[1]

project = "ternzip"
author = "the authors of ternzip"
project_copyright = "the authors of ternzip, Apache-2.0"
version = release = ternzip.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["benchmarks", "results"]
myst_heading_anchors = 3  # links to headings, as code hosts make them

smartquotes_action = "D"  # dashes alone: quotes are meant as they stand

# Docstrings are prose in which `name` is code.
default_role = "code"
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True, "show-inheritance": False}
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # an attribute may be a documented property as well

html_theme = "furo"
html_title = f"ternzip {release}"
html_static_path = ["_static"]
html_css_files = ["ternzip.css"]
html_copy_source = False
html_show_sphinx = False


# Pages that stand at the root of the checkout, where code hosts look for them.
ROOT_PAGES = {
    "index": "README.md",
    "contributing": "CONTRIBUTING.md",
    "security": "SECURITY.md",
    "changelog": "CHANGELOG.md",
}
ADDRESSES = {f"({file})": f"({page}.md)" for page, file in ROOT_PAGES.items()} | {
    "(examples/README.md)": "(examples.md)",
    "(docs/": "(",
}


def add_root_pages(_: Sphinx, docname: str, source: list[str]) -> None:
    """The text of the root's page, in the place of the link to it; the README's without its account of the sources."""
    if docname not in ROOT_PAGES:
        return
    name = ROOT_PAGES[docname]
    text, _, _ = (ROOT / name).read_text(encoding="utf-8").partition("## Status\n")
    for address, moved in ADDRESSES.items():
        text = text.replace("]" + address, "]" + moved)
    source[0] = source[0].replace(f"[{name}](../{name})\n", text)


def add_commands(_: Sphinx, docname: str, source: list[str]) -> None:
    """Every command with its options, below the introduction of their page."""
    if docname == "reference/command-line":
        sys.path.insert(0, str(ROOT / "tools"))
        import command_reference

        source[0] += "\n" + command_reference.markdown()


def escape_marks(
    _: Sphinx, _what: str, _name: str, _object: object, _options: object, lines: list[str]
) -> None:
    """|w| in a docstring is an absolute value, "*.weight" a pattern; neither is markup."""
    lines[:] = [re.sub(r"(`[^`]*`)|[|*]", lambda m: m[1] or "\\" + m[0], line) for line in lines]


def keep_builtins(_: Sphinx, doctree: nodes.document) -> None:
    """`bytes` in a signature is Python's type, not an attribute of this name that some class of ours has."""
    for reference in doctree.findall(addnodes.pending_xref):
        if hasattr(builtins, reference.get("reftarget", "")):
            reference.attributes.pop("refspecific", None)  # by its full name or not at all


def setup(app: Sphinx) -> None:
    """Sphinx calls this once."""
    app.connect("source-read", add_root_pages)
    app.connect("source-read", add_commands)
    app.connect("autodoc-process-docstring", escape_marks, priority=400)  # before napoleon, at 500
    app.connect("doctree-read", keep_builtins)
