"""The workflows test and build what pyproject.toml promises, with no more rights than they need."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

import ternzip

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
if not WORKFLOWS:
    pytest.skip("a source distribution has no workflows", allow_module_level=True)
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def jobs(name: str) -> dict[str, Any]:
    text = (ROOT / ".github" / "workflows" / name).read_text(encoding="utf-8")
    return dict(yaml.safe_load(text)["jobs"])


def promised() -> list[str]:
    """The versions of Python that wheels are built for."""
    return [f"3.{minor}" for minor in re.findall(r"\bcp3(\d+)-\*", PROJECT["tool"]["cibuildwheel"]["build"])]


def test_wheels_begin_with_the_oldest_python() -> None:
    assert PROJECT["project"]["requires-python"] == f">={promised()[0]}"
    minors = [int(version.removeprefix("3.")) for version in promised()]
    assert minors == list(range(minors[0], minors[-1] + 1))


def test_tests_run_on_the_oldest_and_the_newest_python() -> None:
    matrix = jobs("tests.yml")["tests"]["strategy"]["matrix"]
    assert matrix["python"] == [promised()[0], promised()[-1]]
    assert {name.split("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}


def test_nox_has_every_promised_python() -> None:
    text = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    assert f"@nox.session(python={promised()})\ndef tests(".replace("'", '"') in text


def test_other_jobs_run_on_the_newest_python() -> None:
    for path in WORKFLOWS:
        for version in re.findall(r'python-version: "(.*)"', path.read_text(encoding="utf-8")):
            assert version == promised()[-1], path.name


def test_wheels_are_built_for_every_promised_platform() -> None:
    settings = PROJECT["tool"]["cibuildwheel"]
    expected = {
        (system, arch)
        for system, key in (("ubuntu", "linux"), ("macos", "macos"), ("windows", "windows"))
        for arch in settings[key]["archs"]
    }
    rows = jobs("wheels.yml")["wheels"]["strategy"]["matrix"]["include"]
    assert {(row["os"].split("-")[0], row["arch"]) for row in rows} == expected
    assert {settings["linux"][f"manylinux-{arch}-image"] for arch in settings["linux"]["archs"]} == {
        "manylinux_2_28"
    }


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_rights_are_minimal(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    assert "secrets." not in text
    for name, job in workflow["jobs"].items():
        assert job.get("permissions") == ({"id-token": "write"} if name == "publish" else None)
        assert "timeout-minutes" in job
        for step in job["steps"]:
            if "uses" in step:
                assert re.search(r"@(release/)?v\d+$", step["uses"]), step["uses"]
                assert "checkout" not in step["uses"] or step["with"]["persist-credentials"] is False


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == ternzip.__version__
    assert citation["license"] == PROJECT["project"]["license"]
