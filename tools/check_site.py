"""Follows every link of the built site: those that stay within it must lead somewhere, the others are listed.

python tools/check_site.py build/site
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The links of one page, and the places on it that others may lead to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what the tag refers to, and the name that it gives itself."""
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.add(value)
            elif name == "id" and value:
                self.anchors.add(value)


def check(site: Path) -> tuple[list[str], set[str]]:
    """The dead links within a built site, each with its page; the addresses of all links that leave it."""
    pages = {path: Page(path) for path in sorted(site.resolve().rglob("*.html"))}
    dead, external = [], set()
    for path, page in pages.items():
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                external.add(link)
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not target.is_file() or (target in pages and anchor not in pages[target].anchors):
                dead.append(f"{path.relative_to(site.resolve())}: {link}")
    return dead, external


def main(site: Path) -> int:
    """Print both; 1 if a link is dead or there is no site."""
    dead, external = check(site)
    if not (site / "index.html").is_file():
        dead.append(f"{site}: no index.html")
    for address in sorted(address for address in external if address.startswith("http")):
        print(address)
    for link in dead:
        print(f"dead link: {link}", file=sys.stderr)
    return int(bool(dead))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
