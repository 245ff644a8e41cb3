"""Which paths on the command line are sources and which destinations, and the work done for each."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import typer

from ternzip._core.errors import TernzipError
from ternzip.cli.console import print_error, told
from ternzip.cli.reports import failure_json, print_json

STDIO = "-"
_Item = TypeVar("_Item")


def pairs_of(
    paths: list[str], output: str | None, endings: tuple[str, ...], default: Callable[[str], str]
) -> list[tuple[str, str]]:
    """(SRC, DST) of each file to be made: several SRC as zstd takes them, or one SRC with its DST.

    A DST may end in one of `endings`; without one it is the stem of its SRC and what `default` says of that.
    """
    if output is not None:
        if len(paths) > 1:
            raise typer.BadParameter(f"expected one SRC, found {len(paths)}", param_hint="--output")
        return [(paths[0], output)]
    if len(paths) == 2:
        src, dst = paths
        is_target = dst == STDIO or Path(dst).suffix in endings
        if is_target and Path(src).suffix in endings and os.path.exists(dst):
            raise typer.BadParameter(f"{dst}: a second SRC, or DST? Name DST with --output", param_hint="DST")
        if is_target:
            return [(src, dst)]
        if not os.path.exists(dst):
            expected = " or ".join(endings)
            raise typer.BadParameter(
                f"{dst}: no such SRC, and DST is expected to end in {expected}", param_hint="DST"
            )
    if len(paths) > 1 and STDIO in paths:
        raise typer.BadParameter("- cannot be one of several SRC", param_hint="SRC")
    sources: dict[str, str] = {}
    for path in paths:
        sources.setdefault(_place(path), path)
    pairs = [(src, _default_target(src, default)) for src in sources.values()]
    owners: dict[str, str] = {}
    for src, dst in pairs:
        if owners.setdefault(_place(dst), src) != src:
            raise typer.BadParameter(
                f"{owners[_place(dst)]} and {src} would both become {dst}", param_hint="SRC"
            )
    return pairs


def _place(path: str) -> str:
    """A path by which its entry in a folder is known, however the folder is called; a link is an entry of its own."""
    folder, name = os.path.split(Path(path))
    return path if path == STDIO or name in ("", "..") else os.path.join(os.path.realpath(folder), name)


def _default_target(src: str, default: Callable[[str], str]) -> str:
    from ternzip.checkpoint.targets import default_target

    return STDIO if src == STDIO else str(default_target(src, default(src)))


def _identity(path: str) -> tuple[int, int] | None:
    """What tells an existing file from all others, also on a disk that takes Model.tnz and model.tnz for one name."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def for_each(pairs: list[tuple[str, str]], work: Callable[[str, str], dict[str, Any]], as_json: bool) -> None:
    """Does the work for each SRC and DST; of several, one that fails does not stop the others."""
    # Files that nothing on this line may replace, under whatever name, and what they are.
    kept = {_identity(src): f"{src}, a source too" for src, _ in pairs}

    def guarded(pair: tuple[str, str]) -> dict[str, Any]:
        src, dst = pair
        found, own = _identity(dst), _identity(src)
        if found is not None and found in kept and found != own:  # of its own source `work` speaks
            raise TernzipError(f"{dst}: cannot write: it is {kept[found]}: expected another name")
        result = work(src, dst)
        kept[_identity(dst)] = f"what {src} became"
        return result

    def about(pair: tuple[str, str]) -> dict[str, Any]:
        return {"source": pair[0], "file": pair[1]}

    _over(pairs, guarded, about, as_json, to_stderr=pairs[0][1] == STDIO)


def each_of(
    paths: list[str],
    work: Callable[[str], dict[str, Any]],
    about: Callable[[str], dict[str, Any]],
    as_json: bool,
) -> list[dict[str, Any]]:
    """Does the work for each file, of which none is written; of several, one that fails does not stop the others.

    Returns what the work returned, in the order of the paths, and prints it as JSON on demand; `about` is what that
    says of a file that fails, beside the error.
    """
    if len(paths) > 1 and STDIO in paths:
        raise typer.BadParameter("- cannot be one of several SRC", param_hint="SRC")
    return _over(paths, work, about, as_json)


def _over(
    items: list[_Item],
    work: Callable[[_Item], dict[str, Any]],
    about: Callable[[_Item], dict[str, Any]],
    as_json: bool,
    *,
    to_stderr: bool = False,
) -> list[dict[str, Any]]:
    """What the work returned for each item, printed as JSON on demand: of one item its own, of several a list."""
    if len(items) == 1:
        with failure_json(as_json, about(items[0])):
            result = work(items[0])
        if as_json:
            print_json(result, to_stderr=to_stderr)
        return [result]
    results = []
    for item in items:
        try:
            results.append(work(item))
        except TernzipError as error:
            print_error(error)
            results.append(about(item) | {"error": told(error)})
    if as_json:
        print_json({"files": results})
    if any("error" in result for result in results):
        raise typer.Exit(1)
    return results
